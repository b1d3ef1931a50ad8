"""Guards: memory that others own must not change between forward and backward pass."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.core.guard import Guard, root
from pullback.errors import MutationError

SIZES = [3, 5000]  # compared whole, and by checksum


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("layout", [lambda a: a, lambda a: a[::2], lambda a: a[::-1]])
def test_a_changed_array_is_noticed(n: int, layout: Any) -> None:
    owner = np.arange(n, dtype=float)
    guard = Guard()
    guard.foreign(owner)
    guard.keep(layout(owner))
    guard.check()
    owner[2] += 1e-12
    with pytest.raises(MutationError, match="changed after a traced operation used it"):
        guard.check()


CHANGES: dict[str, Any] = {
    "all signs": lambda a: np.negative(a, out=a),
    "signs of a column": lambda a: np.negative(a[:, 1], out=a[:, 1]),
    "signs of a row": lambda a: np.negative(a[5], out=a[5]),
    "signs of all rows but some": lambda a: np.negative(a[::2], out=a[::2]),
    "order of the columns": lambda a: a.__setitem__(..., a[:, ::-1].copy()),
    "order of the rows": lambda a: a.__setitem__(..., a[::-1].copy()),
    "two rows swapped": lambda a: a.__setitem__([3, 9], a[[9, 3]]),
    "rolled": lambda a: a.__setitem__(..., np.roll(a, 64)),
    "doubled": lambda a: np.multiply(a, 2, out=a),
    "one bit": lambda a: a.view(np.uint8).__ixor__(
        np.eye(1, a.nbytes, 77, np.uint8).reshape(a.shape[0], -1)
    ),
}


@pytest.mark.parametrize("columns", [1, 2, 8, 64, 100, 512])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8])
@pytest.mark.parametrize("change", CHANGES)
def test_changes_in_patterns_are_noticed(change: str, dtype: Any, columns: int) -> None:
    rng = np.random.default_rng(0)
    signs = rng.choice([1, -1], size=(600_000 // columns, columns)).astype(dtype)
    if columns == 1 and "column" in change:
        pytest.skip("one column has no order")
    before = signs.copy()
    guard = Guard()
    guard.keep(signs, foreign=True)
    CHANGES[change](signs)
    assert not np.array_equal(signs, before)
    with pytest.raises(MutationError):
        guard.check()


def test_memory_declared_constant_is_not_read_for_a_fingerprint() -> None:
    data = np.zeros(5000)
    data.flags.writeable = False
    guard = Guard()
    guard.keep(data[1:], foreign=True)
    guard.keep(np.broadcast_to(np.zeros(1), 5000), foreign=True)
    assert [kept[0].base.shape for kept in guard.kept.values()] == [(1,)]


def test_arrays_of_our_own_are_not_watched() -> None:
    guard = Guard()
    own = np.zeros(3)
    guard.keep(own)
    own[0] = 1.0
    guard.check()


def test_the_root_owns_the_memory() -> None:
    owner = np.zeros((4, 4))
    assert root(owner[1:].T[0]) is owner


@pytest.mark.parametrize("n", SIZES)
def test_a_captured_array_changed_during_the_function_is_refused(n: int) -> None:
    weights = np.ones(n)

    def loss(x: Any) -> Any:
        y = np.sum(x * weights)
        weights[0] = 2.0
        return y

    with pytest.raises(MutationError, match=r"test_guard.py:\d+ in loss: y = np.sum"):
        pb.grad(loss)(np.ones(n))


def test_an_argument_changed_before_the_backward_pass_is_refused() -> None:
    x = np.ones(3)
    _, vjp_fn = pb.vjp(lambda x: x * x, x)
    x[0] = 5.0
    with pytest.raises(MutationError):
        vjp_fn(np.ones(3))


def test_an_array_that_no_rule_reads_may_change() -> None:
    bias = np.ones(3)

    def loss(x: Any) -> Any:
        y = np.sum(x + bias)
        bias[0] = 2.0
        return y

    np.testing.assert_array_equal(pb.grad(loss)(np.ones(3)), np.ones(3))


def test_an_output_changed_by_its_owner_before_the_backward_pass_is_refused() -> None:
    out, vjp_fn = pb.vjp(np.exp, np.zeros(2))
    out[0] = 7.0
    with pytest.raises(MutationError):
        vjp_fn(np.ones(2))


W = np.array([2.0, 3.0])


def times_weights(x: Any) -> Any:
    return x * W


def looped(x: Any) -> Any:
    return pb.scan(lambda c, _: (c * W, None), x, None, length=2)[0]


custom = pb.custom_vjp(times_weights)
custom.defvjp(lambda x: (x * W, W), lambda kept, ct: (kept * ct,))

HOLDERS: dict[str, Any] = {
    "checkpoint": pb.checkpoint(times_weights),
    "scan": looped,
    "cond": lambda x: pb.cond(np.sum(x) > 0, times_weights, lambda x: x, x),
    "compile": pb.compile(times_weights),
    "custom_vjp": custom,
    "checkpointed scan": pb.checkpoint(looped),
    "nested": pb.compile(pb.checkpoint(times_weights)),
}


@pytest.mark.parametrize("name", HOLDERS)
def test_what_an_operation_with_a_graph_captured_is_guarded(name: str) -> None:
    _, vjp_fn = pb.vjp(lambda x: np.sum(HOLDERS[name](x)), np.ones(2))
    before = W.copy()
    vjp_fn(1.0)
    try:
        W[:] = 100.0
        with pytest.raises(MutationError):
            vjp_fn(1.0)
    finally:
        W[:] = before


def test_a_statistic_updated_behind_a_checkpoint_is_refused() -> None:
    mean = np.array([1.0])

    @pb.checkpoint
    def layer(x: Any) -> Any:
        return x * mean

    def loss(x: Any) -> Any:
        y = layer(x)
        mean[:] = -7.0
        return np.sum(y * 6)

    with pytest.raises(MutationError, match=r"test_guard\.py"):
        pb.grad(loss)(np.ones(1))


def test_an_index_array_changed_before_the_backward_pass_is_refused() -> None:
    places = np.array([0, 2])
    _, vjp_fn = pb.vjp(lambda x: x[places], np.arange(3.0))
    places[0] = 1
    with pytest.raises(MutationError):
        vjp_fn(np.ones(2))
