"""Native forms of operations that are more than loops over arithmetic, against NumPy's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pullback as pb
from pullback.core.primitive import registry
from pullback.errors import CompileError


def native(name, *args, **params):
    """The result of the operation as native code, without NumPy."""
    return pb.compile(lambda *xs: registry[name](*xs, **params), callbacks=False)(*args)


def test_random_bits_are_numpys():
    rng = np.random.default_rng(0)
    for n in (0, 3, 4, 1003):
        key0, key1, counter = (int(k) for k in rng.integers(0, 2**64, 3, np.uint64))
        for start in (counter, 0, 2**64 - 2):  # the last one carries into the second word
            philox = np.random.Philox(key=np.array([key0, key1], np.uint64), counter=start)
            state = np.array([key0, key1, start], np.uint64)
            np.testing.assert_array_equal(
                native("random_bits", state, shape=(n,)), philox.random_raw(n)
            )


def test_random_bits_of_a_stack_of_states():
    states = np.arange(18, dtype=np.uint64).reshape(2, 3, 3)
    bits = native("random_bits", states, shape=(5, 3))
    assert bits.shape == (2, 3, 5, 3)
    for i, j in np.ndindex(2, 3):
        key0, key1, counter = states[i, j]
        philox = np.random.Philox(key=np.array([key0, key1]), counter=int(counter))
        np.testing.assert_array_equal(bits[i, j].ravel(), philox.random_raw(15))


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((1, 1), (1, 1)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((3, 0), (0, 2)),
    ((0, 4), (4, 2)),
    ((0, 3, 4), (4, 2)),
]
INTEGERS = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)


@pytest.mark.parametrize("dtype", [*INTEGERS, np.bool_])
def test_integer_products_are_numpys(dtype):
    rng = np.random.default_rng(1)
    for left, right in SHAPES if dtype in (np.int64, np.bool_) else [SHAPES[0], SHAPES[7]]:
        a, b = (rng.integers(0, 2**63, s).astype(dtype) for s in (left, right))
        if dtype == np.bool_:
            a, b = (rng.uniform(size=s) < 0.3 for s in (left, right))
        found = native("matmul", a, b)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.matmul(a, b))


def test_integer_products_of_mixed_and_transposed_operands():
    rng = np.random.default_rng(2)
    a, b = rng.integers(-99, 99, (3, 4)).astype(np.int8), rng.integers(0, 255, (5, 4), np.uint8)
    np.testing.assert_array_equal(native("matmul", a, b.T.astype(np.int64)), a @ b.T.astype(int))
    for f in (
        lambda a, b: a @ b.T,
        lambda a, b: (b @ a.T).T,
        lambda a, b: (a > 0) @ (b > 99).T,
        lambda a, b: a.T @ a + 1,
    ):
        found = pb.compile(f, callbacks=False)(a, b)
        np.testing.assert_array_equal(found, f(a, b), strict=True)


MIXED = [("f4", "f8"), ("f8", "f4"), ("i8", "f8"), ("i1", "f4"), ("?", "f8"), ("f4", "u8")]


@pytest.mark.parametrize(
    ("dtypes", "callbacks"), [*((d, False) for d in MIXED), (("f2", "f2"), True)]
)
def test_products_of_several_dtypes(dtypes, callbacks):
    """Small integers, whose products have no rounding: the same numbers as NumPy's."""
    a, b = (np.arange(n).reshape(-1, 4).astype(d) for n, d in zip((12, 20), dtypes, strict=True))

    def products(a, b):
        return (
            a @ b.T,
            a @ b[0],
            a @ np.stack([b.T, b.T]),
            pb.grad(lambda c: np.sum(c @ b.T))(a * 1.0),
        )

    found = pb.compile(products, callbacks=callbacks)(a, b)
    for got, expected in zip(found, products(a, b), strict=True):
        np.testing.assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize(("x_dtype", "w_dtype"), [("f4", "f8"), ("u1", "f4")])
def test_convolutions_of_several_dtypes(x_dtype, w_dtype):
    x = np.arange(96).reshape(2, 3, 4, 4).astype(x_dtype)
    w = np.arange(54).reshape(2, 3, 3, 3).astype(w_dtype)
    found = pb.compile(lambda x, w: pb.nn.conv(x, w, padding=1), callbacks=False)(x, w)
    np.testing.assert_array_equal(found, pb.nn.conv(x, w, padding=1), strict=True)


FOREIGN = {  # of float32 and float16
    "concatenate": lambda s, h: np.concatenate([s.T, h.T * 2]),
    "stack": lambda s, h: h @ np.stack([h.T, h.T]),
    "fold": lambda s, h: np.sum(h.T, axis=0),
    "two folds": lambda s, h: np.sum(h, axis=1) + np.max(h, axis=1) * np.sum(s * 2, axis=1),
    "running": lambda s, h: np.cumprod((s * h).T, axis=0) @ h,
    "astype": lambda s, h: (h.T.astype("f4") * 2, (s * 2).astype("f2") * h),
    "place": lambda s, h: pb.grad(lambda h: np.sum(h[0] * h[1]))(h),
    "reshape": lambda s, h: np.sum(np.reshape(h.T, (3, 2))[:, :1] * 2),
    "squeeze": lambda s, h: np.reshape(h.T, (3, 1, 2)) + h[:, None, :, None],
    "roll": lambda s, h: np.roll(h.T * 2, 1, axis=0),
    "pad": lambda s, h: np.pad(h.T, 1).astype("f4") * 2,
    "scan": lambda s, h: pb.scan(lambda c, x: (c + x.T, c * 2), h[0], h.T[:, :1] * h[0]),
    "cond": lambda s, h: pb.cond(s[0, 0] > 0, lambda h: h.T * 2, lambda h: h.T, h),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_values_of_a_dtype_without_native_code(name):
    """NumPy computes them, from operands that native code has written to memory."""
    f, s, h = FOREIGN[name], np.ones((2, 3), "f4"), np.arange(6).reshape(2, 3).astype("f2")
    found, expected = (pb.tree.leaves(g(s, h)) for g in (pb.compile(f), f))
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y, strict=True)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.max(x * 2, axis=0),
        lambda x: np.argmin(x + 1, axis=0),
        lambda x: (np.sum(x.T * 2, axis=1), np.min(x.T * 2, axis=1)),
        lambda x: np.exp(x.T - np.max(x.T, axis=1, keepdims=True)),
    ],
)
def test_extremes_of_nothing_are_the_error_of_numpy(f):
    with pytest.raises(ValueError, match=r"zero-size array|empty sequence"):
        pb.compile(f)(np.ones((0, 3)))


def numbers(rng, dtype, shape):
    """Few different values, so that many are equal, and the special ones of the dtype."""
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if np.dtype(dtype).kind == "f":
        tiny = np.finfo(dtype).smallest_subnormal
        special = [np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, 1.5, -2.0]
        return rng.choice(np.array([*special, *rng.normal(size=9)], dtype), shape)
    limits = np.iinfo(dtype)
    small = rng.integers(0, 9, 5).astype(dtype)
    return rng.choice(np.array([limits.min, limits.max, limits.max - 1, *small], dtype), shape)


NUMBERS = (*INTEGERS, np.bool_, np.float32, np.float64)


@pytest.mark.parametrize("dtype", NUMBERS)
def test_argsort_is_numpys_stable_sort(dtype):
    rng = np.random.default_rng(3)
    sort = pb.compile(lambda x: np.argsort(x, axis=1, kind="stable"), callbacks=False)
    for _ in range(20):
        x = numbers(rng, dtype, (2, 37, 3))
        np.testing.assert_array_equal(sort(x), np.argsort(x, axis=1, kind="stable"))


def test_argsort_of_any_length():
    rng = np.random.default_rng(4)
    cases = [((n,), 0) for n in (0, 1, 2, 8, 9, 17, 1025)]
    for shape, axis in [*cases, ((20, 3), 0), ((0, 4), 1), ((4, 0), 0)]:
        sort = pb.compile(lambda x, a=axis: np.argsort(x, axis=a, kind="stable"), callbacks=False)
        for x in (
            numbers(rng, np.float64, shape),
            np.zeros(shape),
            np.arange(np.prod(shape, dtype=int)).reshape(shape) // 3.0,
            -np.arange(np.prod(shape, dtype=int)).reshape(shape) // 3.0,
        ):
            np.testing.assert_array_equal(sort(x), np.argsort(x, axis=axis, kind="stable"))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", NUMBERS)
def test_searchsorted_is_numpys(dtype, side):
    rng = np.random.default_rng(5)
    search = pb.compile(lambda a, v: np.searchsorted(a, v, side), callbacks=False)
    for _ in range(20):
        a, v = np.sort(numbers(rng, dtype, 37)), numbers(rng, dtype, (5, 7))
        np.testing.assert_array_equal(search(a, v), np.searchsorted(a, v, side))
    v = rng.integers(0, 3, ()).astype(np.int8)  # of another dtype, and without axes
    np.testing.assert_array_equal(search(a, v), np.searchsorted(a, v, side))


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted_in_any_length(side):
    rng = np.random.default_rng(6)
    search = pb.compile(lambda a, v: np.searchsorted(a, v, side), callbacks=False)
    with warnings.catch_warnings(action="ignore"):  # many signatures
        for n in (0, 1, 2, 3, 5, 8, 100):
            a, v = np.sort(numbers(rng, np.float64, n)), numbers(rng, np.float64, 50)
            np.testing.assert_array_equal(search(a, v), np.searchsorted(a, v, side))


def test_working_memory_of_sorts_inside_loops():
    x = np.random.default_rng(7).normal(size=(4, 50))

    def step(carry, row):
        order = np.argsort(carry + row, kind="stable")
        return carry * 0.5 + (row * 2 + 1)[order], np.sort(row * 3) + carry

    def f(x):
        carry, rows = pb.scan(step, x[0] + 1, x)
        return np.sort(carry * 2) + carry, rows + x, np.argsort(x * 2, axis=0)

    for found, expected in zip(pb.compile(f, callbacks=False)(x), f(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "sum", "prod"])
def test_reductions_of_extreme_integers_are_numpys(name):
    function = getattr(np, name)
    reduce = pb.compile(lambda x: (function(x, axis=0), function(x, axis=1)), callbacks=False)
    with warnings.catch_warnings(action="ignore"):  # many signatures
        for dtype in NUMBERS[:-2]:
            x = numbers(np.random.default_rng(8), dtype, (3, 4))
            for y in (
                x,
                np.zeros_like(x),
                np.full_like(x, np.iinfo(dtype).min if x.dtype.kind != "b" else 1),
            ):
                for axis, found in enumerate(reduce(y)):
                    np.testing.assert_array_equal(found, function(y, axis=axis), strict=True)


def test_variances_of_few_elements_are_numpys():
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for n, ddof in ((0, 0), (0, 1), (1, 1), (1, 2), (2, 3)):
            x = np.arange(3.0 * n).reshape(n, 3)
            var = pb.compile(lambda x, d=ddof: np.var(x, axis=0, ddof=d), callbacks=False)
            np.testing.assert_array_equal(var(x), np.var(x, axis=0, ddof=ddof))


def test_the_largest_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="zero-size"):
        pb.compile(np.max)(np.zeros((0, 3)))
    with pytest.raises(CompileError, match="of no elements"):
        pb.compile(np.max, callbacks=False)(np.zeros((0, 3)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.bool_])
def test_signs_of_small_integers_are_numpys(dtype):
    x = np.array([0, 1, 127, -1, -128]).astype(dtype)  # NumPy asks them in float16
    np.testing.assert_array_equal(native("signbit", x), np.signbit(x), strict=True)


@pytest.mark.parametrize("shape", [(20_000, 3), (30_000, 2), (5, 4000, 3), (60_000,)])
def test_long_sums_round_little_whatever_their_axes(shape):
    """Less than one by one (12 units on average), where the operand is computed on the way."""
    errors = []
    row = np.linspace(1.0, 2.0, shape[-1]).astype(np.float32)
    f = pb.compile(lambda x, row: np.sum(x * row))
    for seed in range(10):
        x = np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype(np.float32)
        exact = np.sum((x * row).astype(np.longdouble))
        errors.append(abs(f(x, row) - exact) / exact / np.finfo(np.float32).eps)
    assert np.mean(errors) < 2
