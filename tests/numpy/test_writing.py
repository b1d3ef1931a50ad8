"""In-place programs: the same code on plain NumPy gives the values, differences the slopes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.numpy.oracle import check

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import MutationError, TracedValueError, UnsupportedError

RNG = np.random.default_rng(8)
X = RNG.normal(size=(4, 4))
V = RNG.normal(size=(4,))


def augmented(x: Any, v: Any) -> Any:
    y = x * 1.0
    y += v
    y -= x * v
    y *= y
    y /= 1 + v * v
    y **= 2
    return y


def augmented_parts(x: Any, v: Any) -> Any:
    y = x * 1.0
    y[1:] += v
    y[:, 0] *= 2
    y[0, 0] -= v[1]
    y[[0, 2]] += v
    y[::-1][0] /= 3
    return y


def alias(x: Any, v: Any) -> Any:
    y = x * 1.0
    z = y
    z[0] = v
    return y + z


def chain_of_views(x: Any, v: Any) -> Any:
    y = x * 1.0
    part = y[1:3]
    row = part[0]
    cell = row[1:2]
    cell[:] = v[0] * 5
    row += v
    part *= 2
    y[1, 1] += 1
    return y, part, row, cell


def swap(x: Any, v: Any) -> Any:
    y = x * 1.0
    y[[0, 1]] = y[[1, 0]]
    y[:, 0], y[:, 1] = y[:, 1].copy(), y[:, 0].copy()
    return y


def overlapping(x: Any, v: Any) -> Any:
    y = v * 1.0
    y[1:] = y[:-1]
    y[:-1] += y[1:]
    return y


def triangular_solve(x: Any, v: Any) -> Any:
    y = np.zeros_like(v)
    for i in range(4):
        y[i] = (v[i] - x[i, :i] @ y[:i]) / (x[i, i] ** 2 + 1)
    return y


def recurrence(x: Any, v: Any) -> Any:
    states = np.empty_like(x)
    states[0] = v
    for t in range(1, 4):
        states[t] = np.tanh(x @ states[t - 1])
    return states


def gauss(x: Any, v: Any) -> Any:
    a = x + 5 * np.eye(4)
    for k in range(3):
        a[k + 1 :, k] /= a[k, k]
        a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return a


def masks(x: Any, v: Any) -> Any:
    y = x * 1.0
    positive = np.array([True, False, True, False])
    y[positive] += v
    y[:, positive] = 0.5
    y[~positive, 0] = v[:2]
    return y


def copyto(x: Any, v: Any) -> Any:
    y = x * 1.0
    np.copyto(y, v, where=np.array([[True], [False], [True], [False]]))
    np.copyto(y[3], 2 * v)
    return y


def out_arguments(x: Any, v: Any) -> Any:
    y = x * 1.0
    np.multiply(y, v, out=y)
    np.exp(y[0], out=y[1])
    np.sum(x, axis=0, out=y[2])
    np.add(y, 1, out=y, where=np.array([True, False, True, True]))
    np.dot(x, v, out=y[3])
    np.clip(y, -1, 1, out=y)
    return y


def add_at(x: Any, v: Any) -> Any:
    y = v * 1.0
    np.add.at(y, [0, 1, 0, 0], x[0])
    np.subtract.at(y, 2, v[3])
    z = x * 1.0
    np.add.at(z, (slice(None), [0, 0]), 1.5)
    return y, z


def puts(x: Any, v: Any) -> Any:
    y = x * 1.0
    np.put(y, [0, 5, -1], v[:3])
    y.put([2, 3], 7.0)
    np.put_along_axis(y, np.array([[1], [0], [3], [2]]), v[:, None], axis=1)
    np.putmask(y, np.tri(4) > 0, 2 * v)
    np.place(y, np.eye(4) > 0, v[:3])
    np.fill_diagonal(y[:, ::-1], v[2])
    return y


def fill(x: Any, v: Any) -> Any:
    y = x * 1.0
    y[1].fill(3.0)
    y[2].fill(v[0])
    np.fill_diagonal(y, v)
    return y


def number_is_no_view(x: Any, v: Any) -> Any:
    y = v * 1.0
    first = y[0]
    y[0] = 9.0
    first += 1
    total = np.sum(y)
    total += first
    return y, first, total


def cell_is_a_view(x: Any, v: Any) -> Any:
    y = v * 1.0
    cell = y[0, ...]
    y[0] = 9.0 * v[1]
    return cell * v[2]


def write_through_transpose(x: Any, v: Any) -> Any:
    y = x * 1.0
    y.T[0] = v
    y.reshape(2, 8)[1] *= 2
    y.ravel()[3:5] = v[:2]
    y.flatten()[0] = 99.0
    return y


def saved_before_write(x: Any, v: Any) -> Any:
    y = np.exp(x)
    z = y * v
    y[:] = 0.0
    return z + y


PROGRAMS = [
    augmented, augmented_parts, alias, chain_of_views, swap, overlapping, triangular_solve,
    recurrence, gauss, masks, copyto, out_arguments, add_at, puts, fill, number_is_no_view,
    cell_is_a_view, write_through_transpose, saved_before_write,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_programs_that_write(program: Any) -> None:
    check(program, X, V)


VIEWS = {
    "rows": lambda y: y[1:3],
    "columns": lambda y: y[:, ::2],
    "backward": lambda y: y[::-1],
    "T": lambda y: y.T,
    "whole": lambda y: y[...],
    "quarter": lambda y: y[:2, 2:],
    "flat": lambda y: y.reshape(-1),
    "row": lambda y: y[2],
}
WRITES = {
    "set": lambda part, v: part.__setitem__(..., v.sum()),
    "add": lambda part, v: part.__iadd__(v[0]),
    "multiply": lambda part, v: part.__imul__(1 + v[1] ** 2),
    "first": lambda part, v: part.__setitem__(0, v[2]),
    "exp": lambda part, v: np.tanh(part, out=part),
    "copyto": lambda part, v: np.copyto(part, part * v[3]),
}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(sorted(VIEWS)), st.sampled_from(sorted(WRITES))
        ),
        min_size=1,
        max_size=5,
    )
)
def test_generated_programs(steps: list[tuple[int, str, str]]) -> None:
    """Views of views of one array, each written at some time, all returned at the end."""

    def program(x: Any, v: Any) -> Any:
        alive = [x * 1.0]
        for source, view, write in steps:
            base = alive[source % len(alive)]
            part = VIEWS[view](base) if base.ndim == 2 and min(base.shape) >= 3 else base[:1]
            alive.append(part)
            WRITES[write](part, v)
            alive[0] *= 0.5
        return alive

    check(program, X, V)


def test_buffers_of_pullback_numpy_record() -> None:
    def program(x: Any) -> Any:
        parts = [
            pnp.zeros(2),
            pnp.ones((2,)),
            pnp.empty(2),
            pnp.full(2, 3.0),
            pnp.eye(2)[0],
            pnp.array([1.0, 2.0]),
            pnp.asarray([3.0, 4.0]),
            pnp.zeros_like(np.ones(2)),
            pnp.identity(2)[1],
            pnp.tri(2)[0],
        ]
        for part in parts:
            part[1] = x**2
        return sum(np.sum(part) for part in parts)

    assert pb.grad(program)(3.0) == 60.0


def test_a_plain_buffer_refuses_a_traced_value() -> None:
    plain = np.zeros((2, 2))
    writes = [
        lambda x: plain.__setitem__(0, x),
        lambda x: np.copyto(plain, x),
        lambda x: np.put(plain, 0, x),
        lambda x: np.fill_diagonal(plain, x),
        lambda x: np.putmask(plain, plain == 0, x),
        lambda x: np.place(plain, plain == 0, x),
        lambda x: np.add.at(plain, 0, x),
        lambda x: np.multiply(x, 2.0, out=plain[0, :1]),
        lambda x: np.put_along_axis(plain, np.array([[0], [0]]), x, axis=1),
    ]
    for write in writes:
        with pytest.raises(
            (TracedValueError, UnsupportedError), match=r"import pullback\.numpy|Fix"
        ):
            pb.grad(lambda x, write=write: write(x) or x)(1.0)
    assert not plain.any()


def test_an_argument_may_not_be_written() -> None:
    def program(x: Any) -> Any:
        x[0] = 1.0
        return np.sum(x)

    before = V.copy()
    pb.grad(program)(V)
    np.testing.assert_array_equal(V, before)


def test_a_captured_buffer_may_not_be_written_inside_another_transform() -> None:
    def outer(x: Any) -> Any:
        buffer = pnp.zeros(2)

        def inner(y: Any) -> Any:
            buffer[0] = y
            return y * y

        return pb.grad(inner)(x)

    with pytest.raises(MutationError, match="made outside"):
        pb.grad(outer)(1.0)
