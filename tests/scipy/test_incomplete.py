"""Incomplete gamma and beta functions in their parameters, against mpmath, tails included."""

from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

import pullback as pb


def lower(a: object, x: object) -> object:
    return mp.gammainc(a, 0, x, regularized=True)


def share(a: object, b: object, x: object) -> object:
    return mp.betainc(a, b, 0, x, regularized=True)


def student(df: object, t: object) -> object:
    half = share(df / 2, mp.mpf(1) / 2, df / (df + t * t)) / 2
    return 1 - half if t > 0 else half


def ratio(m: object, n: object, x: object) -> object:
    return share(m / 2, n / 2, m * x / (m * x + n))


CASES: dict[str, tuple[Callable, list[tuple[float, ...]], tuple[int, ...]]] = {
    "gammainc": (lower, [(0.01, 1e-5), (2.5, 1.0), (15.0, 35.0), (2000.0, 2010.0)], (0,)),
    "gammaincc": (
        lambda a, x: mp.gammainc(a, x, mp.inf, regularized=True),
        [(0.05, 3.0), (2.5, 60.0), (100.0, 80.0)],
        (0,),
    ),
    "betainc": (
        share,
        [(0.05, 5.0, 1e-4), (3.0, 60.0, 0.1), (40.0, 0.1, 0.999), (3.0, 1.0, 0.5)],
        (0, 1),
    ),
    "stdtr": (student, [(0.5, 0.1), (3.0, -4.0), (30.0, 1.0)], (0, 1)),
    "chdtr": (lambda v, x: lower(v / 2, x / 2), [(3.0, 2.0)], (0,)),
    "gdtr": (lambda a, b, x: lower(b, a * x), [(2.0, 1.5, 0.7)], (0, 1, 2)),
    "fdtr": (ratio, [(3.0, 5.0, 0.8), (7.0, 2.0, 4.0)], (0, 1, 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_slopes_by_parameters(name: str) -> None:
    exact, points, operands = CASES[name]
    for point in points:
        for i in operands:
            order = tuple(int(k == i) for k in range(len(point)))
            with mp.workdps(60):
                expected = float(mp.diff(exact, tuple(map(mp.mpf, point)), order))
            found = pb.grad(getattr(special, name), i)(*point)
            assert_allclose(found, expected, rtol=1e-12, err_msg=f"{name}{point} by {i}")


def test_a_large_number_of_degrees_of_freedom_costs_digits_in_proportion() -> None:
    with mp.workdps(60):
        expected = float(mp.diff(student, (mp.mpf(200), mp.mpf("0.1")), (1, 0)))
    assert_allclose(pb.grad(special.stdtr)(200.0, 0.1), expected, rtol=1e-11)


@pytest.mark.parametrize(("name", "value"), [("gammaincinv", 2.5), ("gammainccinv", 2.5)])
def test_inverses_undo_their_functions(name: str, value: float) -> None:
    back = getattr(special, name.removesuffix("inv"))
    slope = pb.grad(lambda a: back(a, getattr(special, name)(a, 0.3)))(value)
    assert abs(slope) < 1e-13
    for i in (0, 1):
        beta = pb.grad(lambda *p: special.betainc(*p, special.betaincinv(*p, 0.3)), i)(value, 0.7)
        assert abs(beta) < 1e-13


@pytest.mark.parametrize("point", [(2.5, 1.0), (2.5, 4.0)])
def test_second_derivatives(point: tuple[float, float]) -> None:
    with mp.workdps(40):
        expected = float(mp.diff(lower, tuple(map(mp.mpf, point)), (2, 0)))
        mixed = float(mp.diff(lower, tuple(map(mp.mpf, point)), (1, 1)))
    slope = pb.grad(special.gammainc)
    assert_allclose(pb.grad(slope)(*point), expected, rtol=1e-11)
    assert_allclose(pb.grad(slope, 1)(*point), mixed, rtol=1e-11)


def test_ends_batches_and_compiled() -> None:
    slope = pb.grad(special.gammainc)
    assert slope(2.5, 0.0) == slope(2.5, np.inf) == 0
    assert pb.grad(special.betainc)(2.0, 3.0, 1.0) == 0
    a = np.array([0.5, 3.0])
    expected = [slope(v, 1.2) for v in a]
    assert_allclose(pb.vmap(slope, (0, None))(a, 1.2), expected, rtol=1e-13)
    assert_allclose(pb.compile(slope)(3.0, 1.2), expected[1], rtol=1e-13)
