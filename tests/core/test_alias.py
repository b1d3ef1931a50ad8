"""Views that alias: a write through one name is seen through all, and differentiated."""

from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import DTypeError, MutationError


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
