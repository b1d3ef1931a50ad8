"""Derivatives of SciPy's ufuncs against mpmath, and where they have none."""

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

import pullback as pb
from pullback.errors import MissingRuleError, UnsupportedError

HALF = mp.mpf(1) / 2


def incomplete_beta(a: object, b: object, x: object) -> object:
    return mp.betainc(a, b, 0, x, regularized=True)


# SciPy's function, mpmath's, the points, and the operands that have a derivative.
CASES: dict[str, tuple[Callable, list[tuple[float, ...]], tuple[int, ...]]] = {
    "gamma": (mp.gamma, [(0.3,), (4.5,)], (0,)),
    "gammaln": (lambda x: mp.re(mp.loggamma(x)), [(0.3,), (40.0,)], (0,)),
    "psi": (mp.digamma, [(0.3,), (7.0,), (-1.3,)], (0,)),
    "rgamma": (mp.rgamma, [(0.7,), (3.0,)], (0,)),
    "beta": (mp.beta, [(0.5, 2.0), (3.0, 4.0)], (0, 1)),
    "betaln": (lambda a, b: mp.log(mp.beta(a, b)), [(0.5, 2.0), (30.0, 4.0)], (0, 1)),
    "binom": (mp.binomial, [(5.5, 2.5)], (0, 1)),
    "poch": (mp.rf, [(2.5, 1.5)], (0, 1)),
    "gammainc": (
        lambda a, x: mp.gammainc(a, 0, x, regularized=True),
        [(2.5, 1.0), (2.5, 9.0)],
        (1,),
    ),
    "gammaincc": (lambda a, x: mp.gammainc(a, x, regularized=True), [(2.5, 1.0)], (1,)),
    "betainc": (incomplete_beta, [(2.0, 3.0, 0.3)], (2,)),
    "erfinv": (mp.erfinv, [(0.3,), (-0.99,)], (0,)),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), [(0.3,), (5.0,)], (0,)),
    "erfi": (mp.erfi, [(0.7,)], (0,)),
    "ndtr": (mp.ncdf, [(0.4,), (-8.0,)], (0,)),
    "log_ndtr": (lambda x: mp.log(mp.ncdf(x)), [(0.4,), (-30.0,)], (0,)),
    "ndtri": (lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), [(0.3,), (0.999,)], (0,)),
    "entr": (lambda x: -x * mp.log(x), [(0.3,)], (0,)),
    "rel_entr": (lambda x, y: x * mp.log(x / y), [(0.3, 0.7)], (0, 1)),
    "kl_div": (lambda x, y: x * mp.log(x / y) - x + y, [(0.3, 0.7)], (0, 1)),
    "xlog1py": (lambda x, y: x * mp.log(1 + y), [(0.3, 0.7)], (0, 1)),
    "logit": (lambda x: mp.log(x / (1 - x)), [(0.3,)], (0,)),
    "pseudo_huber": (lambda d, r: d**2 * (mp.sqrt(1 + (r / d) ** 2) - 1), [(1.5, 2.0)], (0, 1)),
    "exprel": (lambda x: mp.expm1(x) / x, [(1e-3,), (0.009,), (0.011,), (2.0,)], (0,)),
    "boxcox": (lambda x, k: (x**k - 1) / k, [(2.0, 0.7), (3.0, 1e-5)], (0, 1)),
    "inv_boxcox": (lambda y, k: (k * y + 1) ** (1 / k), [(0.7, 0.5)], (0, 1)),
    "exp1": (mp.e1, [(0.7,), (9.0,)], (0,)),
    "expi": (mp.ei, [(0.7,)], (0,)),
    "spence": (lambda x: mp.polylog(2, 1 - x), [(0.3,), (1.0001,), (2.5,)], (0,)),
    "ellipk": (mp.ellipk, [(0.3,), (0.99,)], (0,)),
    "ellipe": (mp.ellipe, [(0.3,), (0.99,)], (0,)),
    "ellipkinc": (mp.ellipf, [(0.8, 0.4)], (0, 1)),
    "ellipeinc": (mp.ellipe, [(0.8, 0.4)], (0, 1)),
    "jv": (mp.besselj, [(1.5, 0.7), (0.0, 12.0)], (1,)),
    "yv": (mp.bessely, [(1.5, 0.7)], (1,)),
    "iv": (mp.besseli, [(1.5, 0.7)], (1,)),
    "kv": (mp.besselk, [(1.5, 0.7)], (1,)),
    "j0": (mp.j0, [(0.0,), (3.0,)], (0,)),
    "j1": (mp.j1, [(0.0,), (3.0,)], (0,)),
    "y0": (lambda x: mp.bessely(0, x), [(0.7,)], (0,)),
    "i0e": (lambda x: mp.exp(-x) * mp.besseli(0, x), [(0.7,), (50.0,)], (0,)),
    "k1e": (lambda x: mp.exp(x) * mp.besselk(1, x), [(0.7,), (50.0,)], (0,)),
    "struve": (mp.struveh, [(1.5, 0.7)], (1,)),
    "hyp1f1": (mp.hyp1f1, [(1.5, 0.7, 0.3)], (2,)),
    "hyp0f1": (mp.hyp0f1, [(1.5, 0.7)], (1,)),
    "eval_legendre": (mp.legendre, [(4.0, 0.3), (3.0, 1.0)], (1,)),
    "eval_chebyt": (mp.chebyt, [(4.0, 0.3)], (1,)),
    "eval_laguerre": (lambda n, x: mp.laguerre(n, 0, x), [(4.0, 0.3)], (1,)),
    "stdtr": (
        lambda df, t: 1 - incomplete_beta(df / 2, HALF, df / (df + t * t)) / 2,
        [(3.0, 0.7), (3.0, 6.0)],
        (1,),
    ),
    "chdtr": (lambda v, x: mp.gammainc(v / 2, 0, x / 2, regularized=True), [(3.0, 2.0)], (1,)),
}


@pytest.mark.parametrize("name", CASES)
def test_derivatives(name: str) -> None:
    exact, points, operands = CASES[name]
    function = getattr(special, name)
    for point in points:
        for i in operands:
            order = tuple(int(k == i) for k in range(len(point)))
            with mp.workdps(40):
                expected = float(mp.diff(exact, tuple(map(mp.mpf, point)), order))
            found = pb.grad(function, i)(*point)
            assert_allclose(found, expected, rtol=1e-12, atol=1e-300, err_msg=f"{name}{point}")


@pytest.mark.parametrize("name", ["gammaln", "jv", "ndtr", "xlog1py", "ellipk", "boxcox"])
def test_second_derivatives(name: str) -> None:
    exact, points, operands = CASES[name]
    function = getattr(special, name)
    for point in points[:1]:
        for i in operands:
            order = tuple(2 * int(k == i) for k in range(len(point)))
            with mp.workdps(40):
                expected = float(mp.diff(exact, tuple(map(mp.mpf, point)), order))
            found = pb.grad(pb.grad(function, i), i)(*point)
            assert_allclose(found, expected, rtol=1e-11)


def test_values_are_scipys_and_dtypes_stay() -> None:
    x = np.linspace(0.5, 3, 4, dtype=np.float32)
    value, grad = pb.value_and_grad(lambda x: np.sum(special.gammaln(x)))(x)
    assert value == np.sum(special.gammaln(x))
    assert value.dtype == grad.dtype == np.float32


def test_compiled_and_batched() -> None:
    x = np.linspace(0.5, 3, 5)
    gradient = pb.grad(lambda x: np.sum(special.jv(1, x) * special.gammaln(x)))
    assert_allclose(pb.compile(gradient)(x), gradient(x))
    assert_allclose(pb.vmap(pb.grad(special.gammaln))(x), special.psi(x))


def test_ends_of_the_domain() -> None:
    assert pb.grad(special.xlog1py, 1)(0.0, -1.0) == 0
    assert pb.grad(special.gammainc, 1)(2.5, 0.0) == 0
    assert pb.grad(special.log_ndtr)(-1e10) == pytest.approx(1e10)
    assert pb.grad(special.exprel)(0.0) == 0.5
    assert pb.grad(special.ellipk)(0.0) == pytest.approx(np.pi / 8)


@pytest.mark.parametrize(("name", "point"), [("hyp1f1", (2.0, 1.0, 0.5)), ("struve", (1.5, 1.0))])
def test_what_has_no_closed_form_is_refused(name: str, point: tuple[float, ...]) -> None:
    with pytest.raises(MissingRuleError, match=f"{name}: no derivative rule for operand 1"):
        pb.grad(getattr(special, name))(*point)


def test_other_ufuncs_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="mathieu_a has no traced form"):
        pb.grad(special.mathieu_a, 1)(1.0, 2.0)
