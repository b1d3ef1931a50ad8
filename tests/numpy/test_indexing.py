"""Every index form of NumPy, read and written, against NumPy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numpy.oracle import check

import pullback as pb
import pullback.numpy as pnp
from pullback.core.types import type_of
from pullback.errors import StagingError, TracedValueError
from pullback.transforms.stage import stage

RNG = np.random.default_rng(7)
X = RNG.normal(size=(3, 4, 5))
ROW, J = np.array([[2], [0]]), np.array([1, 3, 1])
MASK = RNG.random((3, 4, 5)) < 0.4
ROWS = np.array([True, False, True])
COLUMNS = np.array([False, True, True, False])
S = np.s_

KEYS = {
    "integer": S[1],
    "negative": S[-1, 2],
    "element": S[0, 1, 2],
    "numpy integer": S[np.int64(1), np.uint8(2)],
    "slice": S[1:],
    "strided": S[::2, 3:0:-2],
    "backward": S[::-1, ::-1],
    "empty slice": S[2:1],
    "beyond": S[1:99, -99:2],
    "ellipsis": S[..., 1],
    "ellipsis middle": S[0, ..., ::2],
    "ellipsis of nothing": S[0, 1, 2, ...],
    "only ellipsis": S[...],
    "new axis": S[:, None, 1],
    "new axes": S[None, ..., None],
    "empty tuple": (),
    "list": S[[2, 0, 0]],
    "array": S[ROW],
    "array second": S[:, J],
    "array last": S[..., J],
    "two arrays": S[ROW, J],
    "two arrays later": S[:, ROW, J],
    "separated": S[ROW, :, J],
    "separated by integer": S[0, :, J],
    "integer and array": S[1, J],
    "array and slice": S[1:, J, ::2],
    "array and new axis": S[J - 1, None],
    "separated by new axis": S[ROW, None, J],
    "new axis in front": S[None, ROW, J],
    "three arrays": S[ROW, J, 2],
    "0-d array": S[np.array(1)],
    "0-d arrays": S[np.array(1), :, np.array(2)],
    "empty list": S[[]],
    "empty array": S[:, np.zeros((0, 2), int)],
    "negative array": S[[-1, -3]],
    "mask": S[MASK],
    "row mask": S[ROWS],
    "row mask and slice": S[ROWS, 1:3],
    "column mask": S[:, COLUMNS],
    "two masks": S[np.array([True, True, False]), COLUMNS],
    "mask of two axes": S[MASK[..., 0]],
    "mask and array": S[ROWS, :, [1, 4]],
    "mask of last axes": S[1, MASK[0]],
    "False": S[False],
    "True": S[True],
    "True and slice": S[True, 1:],
    "0-d mask": S[np.array(True)],
    "lists": S[[0, 1], [2, 3]],
    "bool list": S[[True, False, True]],
    "uint": S[np.array([0, 2], np.uint16)],
}


@pytest.mark.parametrize("name", KEYS)
def test_reading(name: str) -> None:
    key = KEYS[name]
    check(lambda x: x[key], X)


@pytest.mark.parametrize("name", KEYS)
def test_writing(name: str) -> None:
    """Numbers, arrays of the right shape and arrays to broadcast; no place is written twice."""
    key = KEYS[name]
    shape = X[key].shape
    repeated = np.zeros(X.shape, int)
    np.add.at(repeated, key, 1)

    def program(x: Any, v: Any) -> Any:
        y = x * 1.0
        y[key] = 2.5 if repeated.max(initial=0) > 1 else v
        y[key] *= 3
        return y

    check(program, X, RNG.normal(size=shape))
    if len(shape):
        check(program, X, RNG.normal(size=(1, *shape[1:])))


def test_of_values_written_to_one_place_the_last_stays() -> None:
    def program(x: Any, v: Any) -> Any:
        y = x * 1.0
        y[[0, 2, 0]] = v
        return y

    check(program, X, RNG.normal(size=(3, 4, 5)))


def test_reading_repeated_places_adds_their_cotangents() -> None:
    np.testing.assert_array_equal(pb.grad(lambda x: np.sum(x[[0, 1, 0, 0]]))(np.ones(3)), [3, 1, 0])


@st.composite
def keys(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """A shape and a key of NumPy that fits it, arrays broadcasting to one common shape."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    picked = tuple(draw(st.lists(st.integers(0, 3), max_size=2)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    bounds = st.none() | st.integers(-5, 5)
    items: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["integer", "slice", "array", "stretched", "mask"]))
        if kind == "integer":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            step = draw(st.sampled_from([None, 1, 2, -1, -2]))
            items.append(slice(draw(bounds), draw(bounds), step))
        elif kind == "mask":
            mask = rng.random(n) < 0.5
            items.append(mask if not picked and not any(np.ndim(i) for i in items) else slice(None))
        else:
            shrunk = tuple(1 if kind == "stretched" and rng.random() < 0.5 else m for m in picked)
            items.append(rng.integers(-n, n, shrunk))
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    if draw(st.booleans()):
        items.insert(draw(st.integers(0, len(items))), Ellipsis)
        try:
            np.zeros(shape)[tuple(items)]
        except IndexError:
            items.remove(Ellipsis)
    try:
        np.zeros(shape)[tuple(items)]
    except IndexError:
        items = [slice(None)]
    return shape, tuple(items)


@settings(max_examples=150, deadline=None)
@given(keys(), st.integers(0, 9))
def test_generated_keys(case: tuple[tuple[int, ...], tuple[Any, ...]], seed: int) -> None:
    shape, key = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)

    def program(x: Any, v: Any) -> Any:
        y = x * 1.0
        read = y[key] * 2
        y[key] = v
        return read, y

    check(program, x, rng.normal(size=x[key].shape))


BAD = {
    "beyond": (S[5], "out of bounds"),
    "beyond in array": (S[[0, 7]], "out of bounds"),
    "too many": (S[0, 0, 0, 0], "too many indices"),
    "too many arrays": (S[[0], [0], [0], [0]], "too many indices"),
    "two ellipses": (S[..., 0, ...], "single ellipsis"),
    "float": (S[1.5], "integers|integer"),
    "float array": (S[np.array([0.0, 1.0])], "integer"),
    "mask of wrong size": (S[np.array([True, False])], "boolean index|out of bounds"),
    "no broadcast": (S[[0, 1], [0, 1, 2]], "broadcast"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_keys_raise_as_in_numpy(name: str) -> None:
    key, match = BAD[name]
    with pytest.raises((IndexError, ValueError)):
        X[key]
    with pytest.raises((IndexError, ValueError), match=match):
        pb.grad(lambda x: np.sum(x[key]))(X)

    def program(x: Any) -> Any:
        y = x * 1.0
        y[key] = 0
        return np.sum(y)

    with pytest.raises((IndexError, ValueError), match=match):
        pb.grad(program)(X)


def test_values_of_the_wrong_shape_are_refused() -> None:
    def program(x: Any) -> Any:
        y = x * 1.0
        y[0] = np.ones(3)
        return np.sum(y)

    with pytest.raises(ValueError, match="could not broadcast input array from shape"):
        pb.grad(program)(X)


def test_traced_positions() -> None:
    """Integers that are computed from traced values index, also while only shapes are known."""
    check(lambda x: x[np.argmax(x[:, 0, 0])], X)
    check(lambda x: np.take(x, np.argsort(x[0, 0]), axis=2), X)
    check(lambda x: x[:, np.argsort(x[0], axis=0)[0], 1], X)


def test_a_traced_mask_needs_values() -> None:
    check(lambda x: x[x > 0], X, staged=False)
    with pytest.raises(StagingError, match="boolean mask"):
        stage(lambda x: [x[x > 0]], [type_of(X)])


def test_a_traced_mask_that_keeps_the_shape_needs_none() -> None:
    def program(x: Any) -> Any:
        y = x * 1.0
        y[x > 0] = 0.5
        y[y < -1] *= 2
        y[y < -0.5] += x[0, 0, 0]
        return y

    check(program, X, staged=False)

    def relu(x: Any) -> Any:
        y = x * 1.0
        y[y < 0] = 0
        return y

    check(relu, X)


def test_a_plain_table_indexed_by_a_traced_integer_names_the_remedy() -> None:
    table = np.arange(5.0)
    with pytest.raises(TracedValueError, match=r"Fix: .*pullback\.numpy\.array\(table\)\[i\]"):
        pb.vmap(lambda x: table[np.argmax(x)])(X[0])
    found = pb.vmap(lambda x: pnp.array(table)[np.argmax(x)])(X[0])
    np.testing.assert_array_equal(found, table[np.argmax(X[0], axis=1)])


PARTED = [
    np.s_[:, [0, 1], ..., [0, 1]],
    np.s_[[0, 1], ..., :, [1, 0]],
    np.s_[..., [0, 1], [1, 1]],
    np.s_[[1, 0], [0, 1], ...],
    np.s_[1, ..., [0, 1]],
    np.s_[:, 0, ..., [1, 0]],
    np.s_[[True, False], ..., [0, 1]],
    np.s_[:, [0, 1], ..., None, [0, 1]],
]


@pytest.mark.parametrize("key", PARTED, ids=str)
def test_an_ellipsis_parts_arrays_even_where_it_stands_for_no_axis(key: Any) -> None:
    base = np.arange(8.0).reshape(2, 2, 2)
    check(lambda x: x[key] * 2, base)
    new = np.arange(100.0, 100.0 + base[key].size).reshape(base[key].shape)

    def assigned(x: Any, v: Any) -> Any:
        y = x * 1
        y[key] = v * 3
        return y

    check(assigned, base, new, staged=base[key].ndim < 3)
