"""Traced arrays: NumPy's behavior, views that alias, and doors that refuse to cut a gradient."""

import math
import operator
from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import (
    DTypeError,
    LeakedTracerError,
    MutationError,
    TracedValueError,
    UnsupportedError,
)

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    operator.mod,
    operator.floordiv,
]
COMPARE = [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne]


def through(function: Any, *args: Any) -> Any:
    """What ``function`` gives on traced arguments."""
    seen = []

    def wrapped(*traced: Any) -> Any:
        result = function(*traced)
        seen.append(result)
        return np.sum(traced[0])

    _, aux = pb.grad(lambda *a: (wrapped(*a), seen[-1]), has_aux=True)(*args)
    return aux


@pytest.mark.parametrize("op", BINARY + COMPARE, ids=lambda op: op.__name__)
@pytest.mark.parametrize("other", [2, 2.5, np.float32(1.5), np.array([0.5, 2.0, 3.0])], ids=repr)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_operators_are_numpys(op: Any, other: Any, dtype: str) -> None:
    x = np.array([1.5, 2.0, 4.0], dtype)
    for forward in (lambda a: op(a, other), lambda a: op(other, a)):
        expected, got = forward(x), through(forward, x)
        np.testing.assert_array_equal(got, expected)
        assert got.dtype == expected.dtype


def test_attributes_are_numpys() -> None:
    x = np.zeros((2, 3), "f4")

    def look(a: Any) -> Any:
        assert (a.shape, a.dtype, a.ndim, a.size) == (x.shape, x.dtype, x.ndim, x.size)
        assert (a.itemsize, a.nbytes, len(a), a.T.shape) == (4, 24, 2, (3, 2))
        assert [row.shape for row in a] == [(3,), (3,)]
        assert len(list(a.flat)) == 6
        return np.sum(a)

    pb.grad(look)(x)


def test_control_flow_sees_the_value() -> None:
    def newton(a: Any) -> Any:
        x = a
        while abs(x * x - a) > 1e-12:
            x = 0.5 * (x + a / x)
        return x

    # d sqrt(a) / da = 1 / (2 sqrt(a)), by the implicit function theorem
    assert float(pb.grad(newton)(2.0)) == pytest.approx(0.5 / math.sqrt(2.0), rel=1e-9)


@pytest.mark.parametrize(
    "cut",
    [
        float,
        int,
        complex,
        math.sin,
        np.array,
        np.asarray,
        lambda x: x.item(),
        lambda x: x.tolist(),
        lambda x: [0, 1, 2][x],
        lambda x: np.zeros(2).__setitem__(0, x),
    ],
)
def test_what_would_cut_a_gradient_is_refused(cut: Any) -> None:
    with pytest.raises(TracedValueError, match="would cut its gradient") as caught:
        pb.grad(lambda x: cut(x) * x)(1.0)
    assert "Fix: " in str(caught.value)
    assert "test_array.py" in str(caught.value)


def test_the_remedy_fits_the_line() -> None:
    def assign(x: Any) -> Any:
        buffer = np.zeros(2)
        buffer[0] = x
        return buffer.sum()

    with pytest.raises(TracedValueError, match=r"Fix: .*import pullback\.numpy as np"):
        pb.grad(assign)(1.0)
    with pytest.raises(TracedValueError, match=r"Fix: use the NumPy function of the same name"):
        pb.grad(lambda x: math.cos(x))(1.0)


def test_unknown_functions_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"numpy\.packbits has no traced form"):
        pb.grad(lambda x: np.packbits(x).sum())(np.ones(3))
    with pytest.raises(AttributeError, match="byteswap"):
        pb.grad(lambda x: x.byteswap())(np.ones(3))


def test_foreign_dtypes_are_refused() -> None:
    with pytest.raises(DTypeError):
        pb.grad(lambda x: np.sum(x * np.array([None])))(np.ones(1))


def test_a_leaked_tracer_is_refused() -> None:
    kept = []
    pb.grad(lambda x: kept.append(x) or x * x)(1.0)  # type: ignore[func-returns-value]
    with pytest.raises(LeakedTracerError, match="of a finished grad is used"):
        kept[0] + 1.0


def test_a_traced_array_has_no_hash() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        pb.grad(lambda x: {x: 1} and x)(1.0)


class TestViews:
    """Writes through one name are seen through every other name of the same memory."""

    def run(self, program: Any) -> None:
        """The program must do to a traced buffer what it does to NumPy's."""
        x = np.arange(1.0, 13.0).reshape(3, 4)
        expected = program(x.copy(), np)
        got, vjp_fn = pb.vjp(lambda a: program(a.copy(), pnp), x)
        np.testing.assert_array_equal(got, expected)
        seed = np.random.default_rng(0).normal(size=got.shape)
        (gradient,) = vjp_fn(seed)
        step = 1e-6
        for index in np.ndindex(x.shape):
            up, down = x.copy(), x.copy()
            up[index] += step
            down[index] -= step
            slope = np.sum(seed * (program(up, np) - program(down, np))) / (2 * step)
            assert gradient[index] == pytest.approx(slope, rel=1e-6, abs=1e-6)

    def test_a_slice_writes_its_base(self) -> None:
        def program(a: Any, np: Any) -> Any:
            row = a[1]
            row *= a[0]
            return a * 1.0

        self.run(program)

    def test_a_base_write_is_seen_by_views(self) -> None:
        def program(a: Any, np: Any) -> Any:
            corner = a[:2, :2]
            a[0, 0] = a[2, 3] ** 2
            return corner * 1.0

        self.run(program)

    def test_views_of_views(self) -> None:
        def program(a: Any, np: Any) -> Any:
            inner = a[1:][:, ::2]
            inner[0] = inner[1] * 3.0
            return a * a

        self.run(program)

    def test_transposes_and_reshapes_alias(self) -> None:
        def program(a: Any, np: Any) -> Any:
            a.T[0] = a[:, 1] ** 2
            a.reshape(-1)[5] = a[0, 0]
            return a * a

        self.run(program)

    def test_masks_and_integers_copy(self) -> None:
        def program(a: Any, np: Any) -> Any:
            picked = a[[0, 2]]
            picked[0] = 0.0
            a[a > 6.5] *= 2.0
            return a * 1.0 + picked.sum()

        self.run(program)

    def test_zero_size_and_broadcast_writes(self) -> None:
        def program(a: Any, np: Any) -> Any:
            a[:0] = 5.0
            a[:, 1:3] = a[:, :1]
            return a * a

        self.run(program)


def test_an_outer_buffer_cannot_be_written_inside() -> None:
    def outer(x: Any) -> Any:
        buffer = pnp.zeros(2)

        def inner(y: Any) -> Any:
            buffer[0] = y
            return y * y

        return pb.grad(inner)(x) + buffer.sum()

    with pytest.raises(MutationError, match="made outside of this grad is written inside it"):
        pb.grad(outer)(1.0)


def test_floats_do_not_go_into_integer_buffers() -> None:
    def write(x: Any) -> Any:
        counts = pnp.zeros(2, dtype=int)
        counts[0] = x
        return x

    with pytest.raises(DTypeError, match="would cut their gradient"):
        pb.grad(write)(1.5)


def test_the_callers_array_keeps_its_values() -> None:
    x = np.ones(3)

    def clobber(a: Any) -> Any:
        a *= 5.0
        return a.sum()

    np.testing.assert_array_equal(pb.grad(clobber)(x), np.full(3, 5.0))
    np.testing.assert_array_equal(x, np.ones(3))


def test_nested_levels_are_not_confused() -> None:
    # d/dx [x * d/dy (x + y)] = 1: the inner derivative does not depend on x (Siskind & Pearlmutter)
    inner = lambda x: pb.grad(lambda y: x + y)(1.0)
    assert float(pb.grad(lambda x: x * inner(x))(1.0)) == 1.0
