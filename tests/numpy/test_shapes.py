"""Shape functions against NumPy, and their view semantics."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb
import pullback.numpy as pnp

RNG = np.random.default_rng(2)
X = RNG.normal(size=(3, 4))
CUBE = RNG.normal(size=(2, 3, 4))

CASES = {
    "reshape": lambda x: np.reshape(x, (4, 6)),
    "reshape -1": lambda x: np.reshape(x, (2, -1)),
    "reshape int": lambda x: x.reshape(24),
    "reshape method": lambda x: x.reshape(6, 4),
    "reshape F": lambda x: x.reshape((4, 6), order="F"),
    "reshape transposed": lambda x: np.transpose(x).reshape(4, 6),
    "ravel": lambda x: np.ravel(x),
    "ravel F": lambda x: x.ravel("F"),
    "flatten": lambda x: x.flatten(),
    "transpose": lambda x: np.transpose(x, (2, 0, 1)),
    "transpose method": lambda x: x.transpose(1, 0, 2),
    "transpose tuple": lambda x: x.transpose((1, 2, 0)),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "permute_dims": lambda x: np.permute_dims(x, (1, 0, 2)),
    "matrix_transpose": lambda x: np.matrix_transpose(x),
    "linalg.matrix_transpose": lambda x: np.linalg.matrix_transpose(x),
    "swapaxes": lambda x: np.swapaxes(x, 0, -1),
    "moveaxis": lambda x: np.moveaxis(x, [0, 1], [-1, 0]),
    "rollaxis": lambda x: np.rollaxis(x, 2),
    "rollaxis start": lambda x: np.rollaxis(x, 0, 3),
    "expand_dims": lambda x: np.expand_dims(x, (0, 2)),
    "squeeze": lambda x: np.squeeze(x[:1]),
    "squeeze axis": lambda x: np.squeeze(x[:1, None], axis=1),
    "broadcast_to": lambda x: np.broadcast_to(x, (5, 2, 3, 4)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, x[0], x[:, :, :1]),
    "astype": lambda x: x.astype(np.float64),
    "np.astype": lambda x: np.astype(x, np.float64),
    "copy": lambda x: np.copy(x),
    "diagonal": lambda x: np.diagonal(x),
    "diagonal offset": lambda x: np.diagonal(x, 1, 1, 2),
    "diagonal below": lambda x: x.diagonal(-1, 2, 1),
    "linalg.diagonal": lambda x: np.linalg.diagonal(x),
    "trace": lambda x: np.trace(x, 1, 1, 2),
    "linalg.trace": lambda x: np.linalg.trace(x),
    "diag": lambda x: np.diag(x[0, 0], 1),
    "diag matrix": lambda x: np.diag(x[0], -1),
    "diagflat": lambda x: np.diagflat(x[0], -2),
    "tril": lambda x: np.tril(x),
    "triu": lambda x: np.triu(x, 1),
    "atleast_1d": lambda x: np.atleast_1d(x.sum()),
    "atleast_2d": lambda x: np.atleast_2d(x[0, 0], x),
    "atleast_3d": lambda x: np.atleast_3d(x[0]),
    "flip": lambda x: np.flip(x),
    "flip axis": lambda x: np.flip(x, (0, 2)),
    "fliplr": lambda x: np.fliplr(x),
    "flipud": lambda x: np.flipud(x),
    "rot90": lambda x: np.rot90(x[0]),
    "rot90 axes": lambda x: np.rot90(x, 3, (1, 2)),
    "real": lambda x: np.real(x) + x.real,
    "resize": lambda x: np.resize(x, (3, 11)),
    "vander": lambda x: np.vander(x[0, 0], 3),
}


@pytest.mark.parametrize("name", CASES)
def test_shape_functions(name: str) -> None:
    check(CASES[name], CUBE)


def test_conversions_of_type() -> None:
    check_values(lambda x: x.astype(np.float32), X)
    check_values(lambda x: (3 * x).astype(np.int64), X)
    check_values(lambda x: x.astype(bool), np.array([0.0, 1.0, -2.0, 0.5, -1e-9, np.nan]))
    check_values(lambda x: x.astype(np.float32), np.arange(3))
    assert pb.grad(lambda x: np.sum(x.astype(np.float32)))(X).dtype == np.float64


def test_questions_about_type_and_shape() -> None:
    def ask(x: object) -> object:
        y = pnp.zeros(3, np.float32)
        answers.append(
            (
                np.shape(x),
                np.ndim(x),
                np.size(x),
                np.size(x, 0),
                len(x),
                x.nbytes,
                np.result_type(x, y),
                np.can_cast(x.dtype, np.float32),
                np.iscomplexobj(x),
                np.isrealobj(x),
                np.common_type(x, y),
            )
        )
        return np.sum(x)

    answers: list = []
    pb.grad(ask)(X)
    assert answers[0] == ((3, 4), 2, 12, 3, 3, 96, np.float64, False, False, True, np.float64)


VIEWS = {
    "basic": lambda x: x[1:, ::2],
    "row": lambda x: x[1],
    "backward": lambda x: x[::-1, None],
    "T": lambda x: x.T,
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "reshape": lambda x: x.reshape(2, 6),
    "ravel": lambda x: np.ravel(x),
    "ravel F": lambda x: x.ravel("F"),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "squeeze": lambda x: np.squeeze(x[:1]),
    "flip": lambda x: np.flip(x),
    "rot90": lambda x: np.rot90(x),
    "split": lambda x: np.split(x, 2, axis=1)[1],
    "hsplit": lambda x: np.hsplit(x, [1])[1],
    "view of a view": lambda x: x.T[1:].reshape(3, 3)[0],
    "reshaped columns": lambda x: x[:, 1:3].reshape(6),
    "reshaped rows": lambda x: x[1:].reshape(8),
    "reshaped transpose": lambda x: x.T.reshape(12),
    "unstack": lambda x: np.unstack(x, axis=1)[2],
    "atleast_3d": lambda x: np.atleast_3d(x),
    "astype": lambda x: x.astype(np.float64, copy=False),
    "copy": lambda x: x[0].copy(),
    "flatten": lambda x: x.flatten(),
    "fancy": lambda x: x[[0, 1]],
    "mask": lambda x: x[x > 0],
    "tile": lambda x: np.tile(x, 1),
    "repeat": lambda x: np.repeat(x, 1, axis=0),
    "roll": lambda x: np.roll(x, 0),
    "positive": lambda x: +x,
    "triu": lambda x: np.triu(x),
    "pad": lambda x: np.pad(x, 0),
    "take": lambda x: np.take(x, [0, 1], axis=0),
    "stack": lambda x: np.stack([x])[0],
    "clip": lambda x: np.clip(x, -9, 9),
    "sort": lambda x: np.sort(x),
    "delete": lambda x: np.delete(x, 0, axis=0),
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_is_a_view_in_numpy_is_one_here(name: str) -> None:
    """Write into the part, then into the whole: each is seen by the other exactly as in NumPy."""
    take = VIEWS[name]

    def program(x: np.ndarray) -> tuple:
        whole = x * 1.0
        part = take(whole)
        part[...] = part * 2 + 1
        seen = np.copy(whole)
        whole[0, :] = -3 * whole[1, :]
        return whole, part, seen

    check(program, X, staged=name != "mask")


@pytest.mark.parametrize(
    "take", [lambda x: np.diagonal(x), lambda x: np.broadcast_to(x, (2, 3, 4))]
)
def test_read_only_views_refuse_writes(take: object) -> None:
    def program(x: np.ndarray) -> object:
        whole = x * 1.0
        take(whole)[...] = 0
        return np.sum(whole)

    with pytest.raises(ValueError, match="read-only"):
        pb.grad(program)(X)


def test_a_read_only_view_follows_its_base() -> None:
    def program(x: np.ndarray) -> object:
        whole = x * 1.0
        diagonal = np.diagonal(whole)
        whole[0, 0] = x[2, 2] ** 2
        return np.sum(diagonal * diagonal)

    check(program, X)


def test_bad_shapes_are_refused_as_by_numpy() -> None:
    with pytest.raises(ValueError, match="cannot reshape array of size 12 into shape"):
        pb.grad(lambda x: np.sum(x.reshape(5, 2)))(X)
    with pytest.raises(ValueError, match="axes don't match array"):
        pb.grad(lambda x: np.sum(np.transpose(x, (0, 0))))(X)
    with pytest.raises(ValueError, match="not equal to one"):
        pb.grad(lambda x: np.sum(np.squeeze(x, 0)))(X)
    with pytest.raises(ValueError, match="broadcast"):
        pb.grad(lambda x: np.sum(np.broadcast_to(x, (3, 5))))(X)
    with pytest.raises(ValueError, match="order must be one of 'C', 'F', 'A', or 'K'"):
        pb.grad(lambda x: np.sum(x.ravel(order="Z")))(X)
