"""Inlined elementary functions: ulps against mpmath, special values as in NumPy."""

import re

import mpmath
import numpy as np
import pytest
from scipy import special

import pullback as pb
from pullback.compile.elementary import INLINE, LIMIT, LIMITED

FUNCTIONS = {  # NumPy's function, mpmath's, and what is allowed, in units in the last place
    "exp": (np.exp, mpmath.exp, 2),
    "expm1": (np.expm1, mpmath.expm1, 2),
    "log": (np.log, mpmath.log, 2),
    "log1p": (np.log1p, mpmath.log1p, 2),
    "tanh": (np.tanh, mpmath.tanh, 4),
    "erf": (special.erf, mpmath.erf, 2),
    "erfc": (special.erfc, lambda x: mpmath.erfc(max(min(x, 30), -30)), 2),
    "sin": (np.sin, mpmath.sin, 2),
    "cos": (np.cos, mpmath.cos, 2),
    "tan": (np.tan, mpmath.tan, 2),
}
DTYPES = [np.float64, np.float32]


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


def test_every_inlined_function_is_measured():
    assert set(FUNCTIONS) == set(INLINE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_units_in_the_last_place(name, dtype):
    function, exact, bound = FUNCTIONS[name]
    x = points(dtype)
    with np.errstate(all="ignore"):
        x = x[np.isfinite(function(x))]
    if name in LIMITED:
        x = x[np.abs(x) <= LIMIT]
    got = pb.compile(lambda x: function(x))(x)
    with mpmath.workprec(140):
        want = [exact(mpmath.mpf(float(v))) for v in x]
        unit = np.spacing(np.abs(np.array([float(w) for w in want], dtype)))
        errors = np.array(
            [
                float(abs(mpmath.mpf(float(g)) - w) / float(u))
                for g, w, u in zip(got, want, unit, strict=True)
            ]
        )
    worst = int(np.argmax(errors))
    assert errors[worst] <= bound, f"at {x[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_those_of_numpy(name, dtype):
    function = FUNCTIONS[name][0]
    form = np.finfo(dtype)
    ends = [form.max, form.tiny, form.smallest_subnormal, np.inf, 0.0, 1e3]
    x = np.array([*ends, *(-e for e in ends), np.nan, -1.0, -2.0], dtype)
    with np.errstate(all="ignore"):
        want = function(x)
    got = pb.compile(lambda x: function(x))(x)
    np.testing.assert_allclose(got, want, rtol=4 * form.eps, atol=0)
    number = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(LIMITED))
def test_a_large_argument_is_left_to_the_library(name, dtype):
    function = FUNCTIONS[name][0]
    x = np.array([[0.5, 1e9, 2.0], [3.0, -1e30, LIMIT]], dtype)
    got = pb.compile(lambda x: (function(x), function(x.T[1:])))(x)
    np.testing.assert_allclose(got[0], function(x), rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(got[1], function(x.T[1:]), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - LIMITED))
def test_loops_call_nothing(name):
    function = FUNCTIONS[name][0]
    compiled = pb.compile(lambda x: function(x))
    declared = re.findall(r'declare double @"(.*?)"', compiled.show("llvm", np.zeros(64)))
    assert all(name.startswith("llvm.") for name in declared)
