"""NumPy's refusals leave a transform with the user's line, whatever was called and however."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import OperationError, PullbackError

X = np.ones((3, 4))
AxisError = np.exceptions.AxisError
LinAlgError = np.linalg.LinAlgError

# What NumPy refuses, the class of its refusal, and words of ours.
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda x: np.sum(x, axis=2), AxisError, "np.sum: axis 2 is out of bounds"),
    (lambda x: x.sum(axis=5), AxisError, "sum: axis 5 is out of bounds"),
    (lambda x: np.moveaxis(x, 0, 4), AxisError, "pass an axis from -2 to 1"),
    (lambda x: np.einsum("ij,jk->ik", x, x), ValueError, "np.einsum: "),
    (lambda x: np.concatenate([x, x[:, :2]]), ValueError, "arrays: float64[3,4], float64[3,2]"),
    (lambda x: np.stack([x, x[0]]), ValueError, "np.stack: all input arrays must have"),
    (lambda x: x.reshape(5, 5), ValueError, "reshape: cannot reshape array of size 12"),
    (lambda x: np.reshape(x, (5, 5)), ValueError, "shape: (5, 5)"),
    (lambda x: x.transpose(0, 0), ValueError, "transpose: axes don't match array"),
    (lambda x: x[5, 0], IndexError, "x[index]: index 5 is out of bounds for axis 0 with size 3"),
    (lambda x: x[0, 0, 0], IndexError, "too many indices"),
    (lambda x: x[[0, 7]], IndexError, "index 7 is out of bounds"),
    (lambda x: x.copy().__setitem__(0, np.ones(7)), ValueError, "x[index] = value: could not"),
    (lambda x: np.split(x, 5), ValueError, "np.split: array split does not result"),
    (lambda x: np.linalg.inv(x[:, :3] * 0), LinAlgError, "np.linalg.inv: Singular matrix"),
    (lambda x: np.convolve(x, x), ValueError, "np.convolve: object of too small depth"),
    (lambda x: np.add.reduceat(x, [0, 5]), IndexError, "np.add: index 5 out-of-bounds"),
    (lambda x: np.histogram(x, 0), ValueError, "np.histogram: `bins` must be positive"),
]
# What a compiled program notices when it runs, with its own words and the line.
AT_RUN_TIME = ("index 7 is out of bounds", "np.linalg.inv: Singular matrix")


@pytest.mark.parametrize(("call", "kind", "words"), REFUSED, ids=[r[2][:24] for r in REFUSED])
def test_the_line_the_operands_and_the_class(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind):
        call(X)
    runs = [lambda: pb.vjp(call, X), lambda: pb.jvp(call, (X,), (X,))]
    if words not in AT_RUN_TIME:
        runs.append(lambda: pb.compile(call)(X))
    for run in runs:
        with pytest.raises(kind) as caught:
            run()
        text = str(caught.value)
        assert isinstance(caught.value, PullbackError)
        assert "test_refusals.py:" in text
        assert "Fix: " in text
        if isinstance(caught.value, OperationError):
            assert words in text
            assert "float64[3" in text


def test_errors_of_the_user_and_of_plain_arrays_are_left_alone() -> None:
    class OwnError(ValueError):
        pass

    def own(x: Any) -> Any:
        raise OwnError("mine")

    with pytest.raises(OwnError, match=r"^mine$"):
        pb.grad(own)(1.0)
    with pytest.raises(ValueError, match=r"^operands could not be broadcast"):
        pb.grad(lambda x: x * (np.ones(2) + np.ones(3)))(1.0)
    with pytest.raises(ValueError, match=r"^cannot reshape"):
        pb.grad(lambda x: x * np.reshape(np.ones(2), 3))(1.0)


def test_a_refusal_can_be_caught_inside_as_numpys() -> None:
    def careful(x: Any) -> Any:
        try:
            return np.sum(x, axis=7)
        except AxisError as error:
            caught.append(error)
            return np.sum(x * x)

    caught: list[Exception] = []

    np.testing.assert_array_equal(pb.grad(careful)(X), 2 * X)
    assert not isinstance(caught[0], PullbackError)


def test_nested_transforms_name_the_innermost_line_once() -> None:
    def inner(x: Any) -> Any:
        return np.sum(x, axis=3)

    with pytest.raises(OperationError) as caught:
        pb.grad(lambda x: np.sum(pb.grad(inner)(x)))(X)
    assert str(caught.value).count("test_refusals.py:") == 1
    assert "in inner: return np.sum(x, axis=3)" in str(caught.value)


def test_one_class_for_each_of_numpys() -> None:
    kind = OperationError.of(AxisError)
    assert kind is OperationError.of(AxisError)
    assert issubclass(kind, (AxisError, IndexError))
    assert str(kind("words", fix="do")) == "words\n  Fix: do"


def test_numpys_code_with_a_traced_value_names_the_user() -> None:
    with pytest.raises(ValueError, match=r"test_refusals\.py:\d+ in <lambda>"):
        pb.grad(lambda x: pnp.r_[x, pnp.ones((2, 2))].sum())(X[0])
