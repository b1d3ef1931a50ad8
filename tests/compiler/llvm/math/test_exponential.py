"""Inlined elementary functions: ulps against mpmath, special values as in NumPy."""

import re
from fractions import Fraction
from functools import lru_cache

import mpmath
import numpy as np
import pytest
from scipy import special

import pullback as pb
from pullback.compiler.llvm.math.functions import BEYOND, INLINE, LIMIT

UNARY = {  # NumPy's function, mpmath's, and what is allowed, in units in the last place
    "exp": (np.exp, mpmath.exp, 2),
    "exp2": (np.exp2, lambda x: mpmath.mpf(2) ** x, 2),
    "expm1": (np.expm1, mpmath.expm1, 2),
    "log": (np.log, mpmath.log, 2),
    "log1p": (np.log1p, mpmath.log1p, 2),
    "log2": (np.log2, lambda x: mpmath.log(x, 2), 2),
    "log10": (np.log10, mpmath.log10, 2),
    "sinh": (np.sinh, mpmath.sinh, 2),
    "cosh": (np.cosh, mpmath.cosh, 2),
    "tanh": (np.tanh, mpmath.tanh, 4),
    "asinh": (np.arcsinh, mpmath.asinh, 2),
    "acosh": (np.arccosh, mpmath.acosh, 2),
    "atanh": (np.arctanh, mpmath.atanh, 2),
    "cbrt": (np.cbrt, lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), 2),
    "erf": (special.erf, mpmath.erf, 2),
    "erfc": (special.erfc, lambda x: mpmath.erfc(max(min(x, 30), -30)), 2),
    "sin": (np.sin, mpmath.sin, 2),
    "cos": (np.cos, mpmath.cos, 2),
    "tan": (np.tan, mpmath.tan, 2),
    "asin": (np.arcsin, mpmath.asin, 2),
    "acos": (np.arccos, mpmath.acos, 2),
    "atan": (np.arctan, mpmath.atan, 2),
}
BINARY = {
    "atan2": (np.arctan2, mpmath.atan2, 2),
    "hypot": (np.hypot, mpmath.hypot, 2),
    "pow": (np.power, mpmath.power, 4),
}
FUNCTIONS = UNARY | BINARY
DTYPES = [np.float64, np.float32]


@lru_cache
def compiled(name, dtype):
    """One per dtype, as each is called with many shapes."""
    function = FUNCTIONS[name][0]
    return pb.compile((lambda x: function(x)) if name in UNARY else lambda x, y: function(x, y))


def points(dtype):
    """All magnitudes, ordinary numbers, and the ends of the reduced intervals."""
    rng = np.random.default_rng(0)
    form = np.finfo(dtype)
    lowest = np.log2(float(form.smallest_subnormal))
    sizes = 2.0 ** rng.uniform(lowest, form.maxexp, 800)
    everywhere = sizes * rng.choice([-1, 1], sizes.size)
    edges = (np.arange(-60, 60) + 0.5) * np.log(2)
    near = np.concatenate([edges, edges / 2, 2.0 ** np.arange(-20, 20), np.sqrt(2) ** np.arange(9)])
    near = np.concatenate([near, near - 1, 1 / near])
    parts = [
        everywhere,
        rng.normal(size=800),
        rng.uniform(-1, 1, 400),
        1 + rng.uniform(-0.5, 0.5, 400),
    ]
    x = np.concatenate([*parts, rng.uniform(-750, 715, 400), rng.uniform(-105, 90, 400), near])
    x = x.astype(dtype)
    return x[np.isfinite(x)]


def pairs(name, dtype):
    """Pairs of all magnitudes and of similar ones; for powers, those whose result varies."""
    rng = np.random.default_rng(1)
    x = points(dtype)
    mixed = rng.permutation(x)
    if name == "pow":
        limit = np.log(float(np.finfo(dtype).max))
        with np.errstate(divide="ignore"):
            y = rng.uniform(-1.08, 1.05, x.size) * limit / np.log(np.abs(x.astype(np.float64)))
        y = np.clip(np.where(x < 0, np.rint(y), y), -1e30, 1e30).astype(dtype)
    else:
        y = x * rng.uniform(0.1, 1, x.size).astype(dtype)
    return np.concatenate([x, x]), np.concatenate([mixed, y])


def test_every_inlined_function_is_measured():
    assert set(FUNCTIONS) == set(INLINE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_units_in_the_last_place(name, dtype):
    function, exact, bound = FUNCTIONS[name]
    args = (points(dtype),) if name in UNARY else pairs(name, dtype)
    with np.errstate(all="ignore"):
        is_finite = np.isfinite(function(*args))
    args = [a[is_finite] for a in args]
    check_units(compiled(name, dtype), exact, bound, args)


def check_units(compiled, exact, bound, args):
    got, dtype = compiled(*args), args[0].dtype
    with mpmath.workprec(140):
        want = [exact(*map(mpmath.mpf, p)) for p in zip(*(a.tolist() for a in args), strict=True)]
        unit = np.spacing(np.abs(np.array([float(w) for w in want], dtype)))
        errors = [
            float(abs(mpmath.mpf(float(g)) - w) / float(u))
            for g, w, u in zip(got, want, unit, strict=True)
        ]
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound, f"at {[a[worst] for a in args]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_those_of_numpy(name, dtype):
    form = np.finfo(dtype)
    ends = [form.max, form.tiny, form.smallest_subnormal, np.inf, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 1e3]
    x = np.array([*ends, *(-e for e in ends), np.nan], dtype)
    args = (x,) if name in UNARY else [a.ravel() for a in np.meshgrid(x, x)]
    with np.errstate(all="ignore"):
        want = FUNCTIONS[name][0](*args)
    got = compiled(name, dtype)(*args)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=4 * form.eps, atol=0)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])


def near_quarter_turns(dtype):
    """Floats closer to a multiple of pi / 2 than others of their size, from continued fractions."""
    form, found = np.finfo(dtype), [8.676341128915087e210]  # a library was 21,000 units off there
    with mpmath.workprec(1300):
        half_pi = Fraction(int(mpmath.pi * 2**1200), 2**1201)
    for exponent in range(0, int(form.maxexp) - form.nmant - 1, 1 + form.nmant // 4):
        rest = half_pi / 2**exponent
        before, p = 0, 1
        while p < 2**form.nmant:
            found.append(max(p, 1) * 2.0**exponent)
            before, p = p, int(rest) * p + before
            rest = 1 / (rest - int(rest))
    x = np.array([v for v in found if v < float(form.max)], dtype)
    return np.concatenate([x, -x])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(BEYOND))
@pytest.mark.parametrize("is_far", [False, True])
def test_arguments_where_the_reduction_cancels_most(name, dtype, is_far):
    x = near_quarter_turns(dtype)
    x = x[(np.abs(x) > LIMIT) == is_far]
    assert x.size > 10
    check_units(compiled(name, dtype), *UNARY[name][1:], [x])


@pytest.mark.parametrize("name", sorted(BEYOND))
def test_one_large_argument_is_seen_in_every_kind_of_loop(name):
    function, exact, bound = UNARY[name]
    x = np.array([[0.5, 1e9, 2.0], [3.0, -1e30, LIMIT]])
    flat, turned, summed = pb.compile(
        lambda x: (function(x), function(x.T[1:]), np.sum(function(x[:, 1:]), axis=1))
    )(x)
    with mpmath.workprec(140):
        want = np.array([[float(exact(mpmath.mpf(v))) for v in row] for row in x])
    eps = np.finfo(np.float64).eps
    np.testing.assert_allclose(flat, want, rtol=bound * eps)
    np.testing.assert_allclose(turned, want.T[1:], rtol=bound * eps)
    np.testing.assert_allclose(summed, want[:, 1:].sum(axis=1), rtol=4 * eps)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_loops_call_nothing(name):
    text = compiled(name, np.float64).show("llvm", *[np.zeros(64)] * (1 if name in UNARY else 2))
    declared = re.findall(r'declare double @"(.*?)"', text)
    assert all(name.startswith("llvm.") for name in declared)


@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "sinh", "cosh"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_infinite_power_is_infinite_in_a_difference_too(name, dtype):
    """Not a large number that a fused multiply-add has not rounded yet: inf - inf is no number."""
    power = getattr(np, name)
    for f in (lambda x: x - power(x), lambda x: np.inf - power(x), lambda x: power(x) - x):
        for n in (1, 2, 7, 65):
            x = np.full(n, np.inf, dtype)
            x[:: max(2, n // 3)] = 1.0
            with np.errstate(invalid="ignore"):
                np.testing.assert_allclose(pb.compile(f)(x), f(x), rtol=1e-6)
