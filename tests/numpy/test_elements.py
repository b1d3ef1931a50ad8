"""Composed elementwise functions, ufunc options, and chosen derivatives at kinks."""

import math

import mpmath
import numpy as np
import pytest
from tests.numpy.oracle import check, check_slopes, check_values

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import TracedValueError, UnsupportedError

RNG = np.random.default_rng(4)
X = RNG.uniform(0.2, 2.9, (3, 4)) * np.where(RNG.random((3, 4)) < 0.5, -1, 1)
POSITIVE = np.abs(X)
Y = RNG.uniform(0.3, 2.0, (4,))

CASES = {
    "x ** 2": lambda x, y: x**2,
    "x ** 0.5": lambda x, y: np.abs(x) ** 0.5,
    "x ** -1": lambda x, y: x**-1,
    "x ** 3": lambda x, y: x**3,
    "x ** array": lambda x, y: np.abs(x) ** y,
    "2 ** x": lambda x, y: 2**x,
    "float_power": lambda x, y: np.float_power(np.abs(x), y),
    "+x": lambda x, y: +x,
    "-x": lambda x, y: -x,
    "abs": lambda x, y: abs(x),
    "conjugate": lambda x, y: np.conjugate(x) + x.conj() + x.conjugate(),
    "reciprocal": lambda x, y: np.reciprocal(x),
    "fabs": lambda x, y: np.fabs(x),
    "x // y": lambda x, y: x // y,
    "x % y": lambda x, y: x % y,
    "9 % x": lambda x, y: 9 % (x + 5),
    "divmod": lambda x, y: np.divmod(x, y),
    "builtin divmod": lambda x, y: divmod(x, y),
    "modf": lambda x, y: np.modf(x),
    "ldexp": lambda x, y: np.ldexp(x, [1, 2, -3, 0]),
    "fmax": lambda x, y: np.fmax(x, y),
    "fmin": lambda x, y: np.fmin(x, np.array([np.nan, 0.1, np.nan, -3.0])),
    "clip": lambda x, y: np.clip(x, -0.5, 0.7),
    "clip one side": lambda x, y: np.clip(x, None, y),
    "clip min=": lambda x, y: np.clip(x, min=y),
    "clip method": lambda x, y: x.clip(-1, 1),
    "round": lambda x, y: np.round(x),
    "round decimals": lambda x, y: x.round(1),
    "round tens": lambda x, y: np.around(100 * x, -1),
    "fix": lambda x, y: np.fix(x),
    "logaddexp2": lambda x, y: np.logaddexp2(x, y),
    "degrees": lambda x, y: np.degrees(x),
    "deg2rad": lambda x, y: np.deg2rad(x),
    "sinc": lambda x, y: np.sinc(x),
    "i0": lambda x, y: np.i0(4 * x),
    "nan_to_num": lambda x, y: np.nan_to_num(x),
    "polyval": lambda x, y: np.polyval(y, x),
    "out=": lambda x, y: np.add(x, y, out=pnp.zeros((3, 4))),
    "out= and where=": lambda x, y: np.multiply(x, y, out=pnp.ones((3, 4)), where=X > 0),
    "x += y": lambda x, y: __import__("operator").iadd(np.copy(x), y),
    "where": lambda x, y: np.where(x > 0, x, y),
    "nan trap": lambda x, y: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1)), 0.0),
}


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", CASES)
def test_composed_functions(name: str) -> None:
    check(CASES[name], X, Y, staged=name != "i0")


@pytest.mark.parametrize(
    "function",
    [np.isclose, np.greater, np.logical_xor, np.floor_divide, np.remainder, np.float_power],
    ids=lambda f: f.__name__,
)
def test_values_with_numpys_promotion(function: np.ufunc) -> None:
    check_values(function, POSITIVE, Y)
    check_values(lambda x: function(x, 2), np.arange(1, 5))
    check_values(function, np.float32([1, 2]), np.float32([2, 2]))
    check_values(function, np.arange(1, 5, dtype=np.int32), np.float32([2, 2, 3, 1]))


@pytest.mark.parametrize(
    "function",
    [
        np.isnan,
        np.isinf,
        np.isfinite,
        np.signbit,
        np.isposinf,
        np.isneginf,
        np.isreal,
        np.iscomplex,
        np.nan_to_num,
        np.sign,
        np.modf,
        np.rint,
        np.fabs,
    ],
    ids=lambda f: f.__name__,
)
def test_values_of_special_numbers(function: np.ufunc) -> None:
    check_values(function, np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -2.5]))


@pytest.mark.parametrize(
    "function",
    [
        np.fmax,
        np.fmin,
        np.logaddexp,
        np.copysign,
        np.heaviside,
        np.hypot,
        np.arctan2,
        np.maximum,
        np.minimum,
    ],
    ids=lambda f: f.__name__,
)
def test_values_of_pairs_of_special_numbers(function: np.ufunc) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5, -2.5])
    with np.errstate(all="ignore"):
        check_values(lambda x, y: function(x[:, None], y), values, values[::-1].copy())


def test_integers_are_numbers_already() -> None:
    for x in (np.array([1, -2]), np.array([True, False])):
        check_values(np.nan_to_num, x)


def test_integer_functions() -> None:
    a, b = np.array([-7, 7, 5, 12]), np.array([2, -2, 3, 4])
    for function in (
        np.bitwise_and,
        np.bitwise_or,
        np.bitwise_xor,
        np.floor_divide,
        np.remainder,
        np.fmod,
        np.maximum,
    ):
        check_values(function, a, b)
    check_values(lambda x: ~x, a)
    check_values(lambda x: (x << 2) | (x >> 1), a)
    check_values(lambda x, y: (x > 0) & (y > 0) ^ (x < y), a, b)
    check_values(np.reciprocal, np.array([1, -1, 3]))


def test_sinc_has_all_derivatives_at_zero() -> None:
    second = pb.grad(pb.grad(np.sinc))
    assert np.sinc(0.0) == pb.vjp(np.sinc, 0.0)[0] == 1
    assert pb.grad(np.sinc)(0.0) == 0
    assert second(0.0) == pytest.approx(-(math.pi**2) / 3, rel=1e-14)
    for x in (1e-9, 0.03, 0.0318, 0.0319, 0.4):
        with mpmath.workdps(40):
            exact = mpmath.diff(lambda t: mpmath.sincpi(t), x, 2)
        assert second(x) == pytest.approx(float(exact), rel=1e-11)


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (np.abs, 0.0, 0.0),
        (np.fabs, 0.0, 0.0),
        (np.sign, 0.0, 0.0),
        (lambda x: np.maximum(x, 1.0), 1.0, 0.5),
        (lambda x: np.minimum(1.0, x), 1.0, 0.5),
        (lambda x: np.clip(x, 0.0, 1.0), 0.0, 0.5),
        (lambda x: np.hypot(x, 0.0), 0.0, 0.0),
        (np.sqrt, 0.0, math.inf),
        (np.cbrt, 0.0, math.inf),
        (lambda x: x**2, 0.0, 0.0),
        (lambda x: x**3, 0.0, 0.0),
        (lambda x: x**1, 0.0, 1.0),
        (lambda x: x**0, 0.0, 0.0),
        (lambda x: 0.0**x, 2.0, 0.0),
        (pnp.relu, 0.0, 0.0),
        (lambda x: np.linalg.norm(x * np.ones(2)), 0.0, 0.0),
        (lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0), 0.0, 0.0),
    ],
)
def test_derivatives_chosen_at_kinks(function: object, at: float, expected: float) -> None:
    with np.errstate(divide="ignore"):
        assert pb.grad(function)(at) == expected


SCIPY_NAMES = ["expit", "log_expit", "logit", "erf", "erfc", "ndtr"]


@pytest.mark.parametrize("name", SCIPY_NAMES)
def test_scipys_functions_are_known_by_name(name: str) -> None:
    special = pytest.importorskip("scipy.special")
    x = np.array([0.1, 0.3, 0.5, 0.9]) if name == "logit" else np.array([-3.0, -0.1, 0.0, 0.7, 4.0])
    function = getattr(special, name)
    actual = pb.vjp(function, x)[0]
    np.testing.assert_allclose(actual, function(x), rtol=4e-15, atol=1e-16)
    check_slopes(function, x)


def test_xlogy() -> None:
    special = pytest.importorskip("scipy.special")
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.5, 3.0])
    value, pull = pb.vjp(special.xlogy, x, y)
    np.testing.assert_allclose(value, special.xlogy(x, y))
    with np.errstate(divide="ignore"):
        x_bar, y_bar = pull(np.ones(3))
    np.testing.assert_allclose(x_bar, [-np.inf, np.log(0.5), np.log(3)])
    np.testing.assert_allclose(y_bar, [0, 2, 2 / 3])
    assert pb.grad(lambda x: special.xlogy(x, 2.0))(0.0) == np.log(2)
    assert np.isnan(pb.vjp(special.xlogy, 0.0, np.nan)[0])
    check_slopes(special.xlogy, np.array([0.0, 1.0]), np.array([2.0, 3.0]))
    check_slopes(pb.grad(lambda x, y: np.sum(special.xlogy(x, y)), (0, 1)), x[1:], y[1:])


def test_logit_keeps_digits_near_one_half() -> None:
    special = pytest.importorskip("scipy.special")
    x = 0.5 + np.array([1e-12, -3e-9, 1e-4, 0.19, 0.21])
    with mpmath.workdps(40):
        expected = [float(mpmath.log(mpmath.mpf(v) / (1 - mpmath.mpf(v)))) for v in x.tolist()]
    np.testing.assert_allclose(pb.vjp(special.logit, x)[0], expected, rtol=1e-15)


def test_the_exponent_of_zero_has_its_derivative() -> None:
    of_exponent = pb.grad(lambda x, p: x**p, 1)
    with np.errstate(divide="ignore"):
        assert of_exponent(0.0, 2.0) == 0
        assert of_exponent(0.0, 0.0) == -np.inf  # from 1 down to 0


@pytest.mark.parametrize("exponent", [3, -4, 1100, -1100, 2000])
def test_ldexp_beyond_the_range_of_powers(exponent: int) -> None:
    x = np.array([1.5, -5e-324, 1e300, 0.0])
    with np.errstate(all="ignore"):
        actual = pb.vjp(lambda x: np.ldexp(x, exponent), x)[0]
        np.testing.assert_array_equal(actual, np.ldexp(x, exponent))
        small = np.float32([1.5, 1e-45])
        found = pb.vjp(lambda x: np.ldexp(x, 10), small)[0]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, np.ldexp(small, 10))
    with pytest.raises(TypeError, match="integer"):
        pb.vjp(lambda x: np.ldexp(x, 1.5), x)


INF = np.inf


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (INF, 1, (1, 0)),
        (1, INF, (0, 1)),
        (-INF, 1, (0, 1)),
        (INF, INF, (0.5, 0.5)),
        (-INF, -INF, (0, 0)),
        (INF, -INF, (1, 0)),
        (1e4, 1e4, (0.5, 0.5)),
    ],
)
def test_logaddexp_at_infinity(x: float, y: float, expected: tuple[float, float]) -> None:
    gradient = pb.grad(np.logaddexp, (0, 1))
    x, y = float(x), float(y)
    assert gradient(x, y) == expected
    assert tuple(map(float, pb.compile(gradient)(x, y))) == expected
    assert pb.jvp(np.logaddexp, (x, y), (1.0, 0.0))[1] == expected[0]


def test_an_infinite_slope_does_not_pass_a_choice() -> None:
    cases = [
        (lambda x: np.arccos(np.clip(x, -1, 1)), 10.0),
        (lambda x: np.arcsin(np.minimum(x, 1)), 3.0),
        (lambda x: np.sqrt(np.maximum(x, 0)), -1.0),
        (lambda x: np.sqrt(np.fmax(x, 0)), -1.0),
        (lambda x: np.sqrt(pnp.relu(x)), -1.0),
    ]
    with np.errstate(all="ignore"):
        for f, x in cases:
            for gradient in (pb.grad(f), pb.compile(pb.grad(f))):
                assert gradient(x) == 0
            assert pb.jvp(f, (x,), (1.0,))[1] == 0
    for f in (lambda x: np.sqrt(x**2), lambda x: np.arccos(np.cos(x))):  # turn back: |x|
        with np.errstate(all="ignore"):
            assert pb.jvp(f, (0.0,), (1.0,))[1] == 0


def test_relu_keeps_nan() -> None:
    assert np.isnan(pnp.relu(np.array([np.nan, 1.0]))[0])


@pytest.mark.parametrize("name", ["expit", "log_expit", "erf", "erfc"])
def test_special_functions_in_every_type(name: str) -> None:
    function = getattr(pnp, name)
    for x in (np.float64([-800, -1, 0, 2, 800]), np.float32([-90, 0.5]), np.array([1, 2]), 0.25):
        with np.errstate(all="raise", under="ignore"):
            y = function(x)
        assert y.dtype == (np.float32 if np.asarray(x).dtype == np.float32 else np.float64)
        assert np.all(np.isfinite(y))
        assert np.shape(y) == np.shape(x)


def test_softmax_sums_to_one() -> None:
    y = pnp.softmax(X, axis=0)
    np.testing.assert_allclose(y.sum(axis=0), 1)
    np.testing.assert_allclose(np.log(y), pnp.log_softmax(X, axis=0))
    check_slopes(lambda x: pnp.softmax(x), X)


def test_out_of_a_plain_array_refuses_a_traced_value() -> None:
    plain = np.zeros((3, 4))
    with pytest.raises(TracedValueError, match="plain NumPy array"):
        pb.grad(lambda x: np.sum(np.add(x, 1, out=plain)))(X)
    with pytest.raises(UnsupportedError, match="where="):
        pb.grad(lambda x: np.sum(np.sqrt(x, where=X > 0)))(X)


def test_integer_powers() -> None:
    for n in (1, 2, 3, 7, 10):
        check_values(lambda x, n=n: x**n, np.array([-3, 0, 2, 5], np.int32))
    check_values(lambda x: x**0, np.array([-3, 0, 2]))
    check_values(np.power, np.array([-3, 0, 2]), np.array([3, 2, 5]))


@pytest.mark.parametrize("dtype", [np.complex128, np.complex64])
def test_sign_of_infinite_complex_numbers(dtype: type) -> None:
    parts = [0.0, 1.0, -2.0, np.inf, -np.inf, np.nan]
    z = np.array([complex(a, b) for a in parts for b in parts], dtype)
    with np.errstate(all="ignore"):
        found = pb.vjp(np.sign, z)[0]
        np.testing.assert_allclose(found, np.sign(z), rtol=1e-6)
    assert found.dtype == dtype
