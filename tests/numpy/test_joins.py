"""Joining, splitting, repeating and padding against NumPy."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb
from pullback.errors import UnsupportedError
from pullback.ops import index

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4))
Y = RNG.normal(size=(2, 4))

CASES = {
    "concatenate": lambda x, y: np.concatenate([x, y]),
    "concatenate axis": lambda x, y: np.concatenate([x[:2], y, y * x[0]], axis=-1),
    "concatenate flat": lambda x, y: np.concatenate([x, y, [[1.0]]], axis=None),
    "stack": lambda x, y: np.stack([x[:2], y], axis=1),
    "stack last": lambda x, y: np.stack([x[1:], y], axis=-1),
    "vstack": lambda x, y: np.vstack([x, y, y[0]]),
    "hstack": lambda x, y: np.hstack([x[:2], y]),
    "hstack vectors": lambda x, y: np.hstack([x[0], y[1]]),
    "dstack": lambda x, y: np.dstack([x[:2], y]),
    "column_stack": lambda x, y: np.column_stack([x[0], y[1], y.T]),
    "block": lambda x, y: np.block([[x, x], [y, 2 * y]]),
    "append": lambda x, y: np.append(x, y, axis=0),
    "append flat": lambda x, y: np.append(x, y[0]),
    "split": lambda x, y: np.split(x, [1, 2]),
    "split equal": lambda x, y: np.split(y, 2, axis=1),
    "array_split": lambda x, y: np.array_split(x, 3, axis=1),
    "hsplit": lambda x, y: np.hsplit(x, 2),
    "vsplit": lambda x, y: np.vsplit(y, 2),
    "dsplit": lambda x, y: np.dsplit(x[None], 2),
    "unstack": lambda x, y: np.unstack(x, axis=1),
    "meshgrid": lambda x, y: np.meshgrid(x[0], y[1]),
    "meshgrid ij": lambda x, y: np.meshgrid(x[0], y[1], indexing="ij", sparse=True),
    "roll": lambda x, y: np.roll(x, 2),
    "roll axis": lambda x, y: np.roll(x, -1, axis=1),
    "roll axes": lambda x, y: np.roll(x, (1, 2), axis=(0, 1)),
    "repeat": lambda x, y: np.repeat(x, 3),
    "repeat axis": lambda x, y: np.repeat(x, 2, axis=1),
    "repeat counts": lambda x, y: x.repeat([2, 0, 1], axis=0),
    "tile": lambda x, y: np.tile(x, (2, 3)),
    "tile new axis": lambda x, y: np.tile(x, (2, 1, 2)),
    "tile short": lambda x, y: np.tile(x, 2),
    "delete": lambda x, y: np.delete(x, 1, axis=0),
    "delete several": lambda x, y: np.delete(x, [0, -1], axis=1),
    "delete slice": lambda x, y: np.delete(x, slice(None, None, 2), axis=1),
    "delete flat": lambda x, y: np.delete(x, [3, 5]),
    "delete mask": lambda x, y: np.delete(x, np.array([True, False, True]), axis=0),
    "insert": lambda x, y: np.insert(x, 1, y[0], axis=0),
    "insert number": lambda x, y: np.insert(x, 1, 5.0, axis=1),
    "insert rows": lambda x, y: np.insert(x, [1], y, axis=0),
    "insert several": lambda x, y: np.insert(x, [0, 2], y, axis=0),
    "insert columns": lambda x, y: np.insert(x, 2, y[0, :3], axis=1),
    "insert flat": lambda x, y: np.insert(x, [0, -1], [9.0, 8.0]),
    "insert slice": lambda x, y: np.insert(x[0], slice(1, 3), y[0, :2]),
    "linspace": lambda x, y: np.linspace(x[0], y[0], 5),
    "linspace axis": lambda x, y: np.linspace(x[0], 3, 4, endpoint=False, axis=-1),
    "linspace step": lambda x, y: np.linspace(x[0, 0], y[0, 0], 4, retstep=True),
    "logspace": lambda x, y: np.logspace(x[0], y[0], 3, base=2.0),
    "ediff1d": lambda x, y: np.ediff1d(x, to_begin=y[0], to_end=[1.0]),
    "array of tracers": lambda x, y: np.stack([x[0], np.array([1.0, 2.0, 3.0, 4.0])]),
}


@pytest.mark.parametrize("name", CASES)
def test_joins(name: str) -> None:
    check(CASES[name], X, Y)


PADS = {
    "zeros": lambda x: np.pad(x, 1),
    "pair": lambda x: np.pad(x, (1, 2)),
    "pairs": lambda x: np.pad(x, ((1, 0), (0, 2))),
    "constant": lambda x: np.pad(x, 1, constant_values=3),
    "constants": lambda x: np.pad(x, 2, constant_values=((1, 2), (3, 4))),
    "traced constant": lambda x: np.pad(x, 1, constant_values=x[0, 0]),
    "edge": lambda x: np.pad(x, ((1, 2), (3, 0)), "edge"),
    "reflect": lambda x: np.pad(x, 2, "reflect"),
    "reflect beyond": lambda x: np.pad(x, 5, "reflect"),
    "symmetric": lambda x: np.pad(x, (1, 3), "symmetric"),
    "wrap": lambda x: np.pad(x, 5, "wrap"),
    "linear_ramp": lambda x: np.pad(x, (2, 3), "linear_ramp", end_values=(5, -4)),
    "maximum": lambda x: np.pad(x, 1, "maximum"),
    "minimum": lambda x: np.pad(x, 2, "minimum", stat_length=2),
    "mean": lambda x: np.pad(x, (1, 2), "mean", stat_length=((1, 2), (3, 1))),
    "median": lambda x: np.pad(x, 1, "median"),
}


@pytest.mark.parametrize("name", PADS)
def test_padding(name: str) -> None:
    check(PADS[name], X)


def test_padding_by_a_dictionary_of_axes() -> None:
    padded = pb.vjp(lambda x: np.pad(x, {-1: (1, 2)}), X)[0]  # NumPy itself: from 2.4 on
    np.testing.assert_array_equal(padded, np.pad(X, ((0, 0), (1, 2))))


def test_integers_are_joined_with_numpys_promotion() -> None:
    check_values(lambda x, y: np.concatenate([x, y]), np.arange(3), np.float32([1, 2]))
    check_values(lambda x: np.pad(x, 1), np.arange(3))
    check_values(lambda x: np.pad(x, 2, "linear_ramp"), np.array([4.0, 8.0]))


def test_what_cannot_be_joined_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot concatenate shapes"):
        pb.grad(lambda x: np.sum(np.concatenate([x, Y.T])))(X)
    with pytest.raises(ValueError, match="same shape"):
        pb.grad(lambda x: np.sum(np.stack([x, Y])))(X)
    with pytest.raises(UnsupportedError, match="mode='nearby'"):
        pb.grad(lambda x: np.sum(np.pad(x, 1, "nearby")))(X)


def test_odd_reflections_further_than_the_array() -> None:
    for mode in ("reflect", "symmetric"):
        check(
            lambda x, mode=mode: np.pad(x, (7, 5), mode, reflect_type="odd"),
            np.array([1.5, 0.2, 3.0]),
        )


@pytest.mark.parametrize("width", [-1, (0, -1), ((1, 1), (-2, 0))])
@pytest.mark.parametrize("wrap", [pb.vjp, lambda f, x: pb.compile(f)(x)])
def test_negative_widths_are_refused_as_numpy_refuses_them(wrap, width) -> None:
    with pytest.raises(ValueError, match="can't contain negative") as caught:
        wrap(lambda x: np.pad(x, width), X)
    assert "test_joins.py" in str(caught.value)
    with pytest.raises(ValueError, match="can't contain negative"):
        np.pad(X, width)


def test_a_value_that_does_not_fit_its_place_is_not_compiled() -> None:
    with pytest.raises(ValueError, match=r"could not place an array of shape \(4,\)"):
        pb.compile(lambda x: index.place(x, shape=(3,), key=((0, 3, 1),)))(X[0])


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_geomspace_has_numpys_dtype(dtype) -> None:
    x = np.array([1.5, 8.0], dtype)
    ours, numpys = pb.vjp(lambda x: np.geomspace(x[0], x[1], 4), x)[0], np.geomspace(x[0], x[1], 4)
    assert ours.dtype == numpys.dtype
    np.testing.assert_allclose(ours, numpys, rtol=1e-12)
