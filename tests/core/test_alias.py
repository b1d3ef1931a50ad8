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


BOX = np.array([[1.5, 2.0, 3.0], [4.0, 5.0, 7.0]])


def scalar_made_an_array(np: Any, x: Any) -> Any:
    s = np.sum(x)
    for make in (np.atleast_1d, lambda a: a[None], lambda a: a.reshape(1), np.ravel):
        b = make(s)
        b *= 10
    return s


def write_into_ravel(of: Any) -> Any:
    def program(np: Any, x: Any) -> Any:
        y = of(np, x)
        v = y.ravel()
        v[0] = 100
        return y.sum()

    return program


def zero_axes(np: Any, x: Any) -> Any:
    a = x[..., 0, 0]
    a += 7
    return x.sum()


def conjugated(np: Any, x: Any) -> Any:
    y = np.conj(x)
    y[0] = 0
    return x.sum()


def taken(np: Any, x: Any) -> Any:
    y = np.take(x, [0, 1], axis=1)
    y.ravel()[0] = 100
    return y.sum()


def squeezed(np: Any, x: Any) -> Any:
    one = np.squeeze(x[:1, :1])
    one += 5
    return x.sum()


def swapped(np: Any, x: Any) -> Any:
    x[0], x[1] = x[1], x[0]  # both rows are views: the second write reads the first
    return np.sum(x * np.arange(6.0).reshape(2, 3))


PROGRAMS = {
    "scalar": scalar_made_an_array,
    "turned": write_into_ravel(lambda np, x: x.T * 2),
    "sin": write_into_ravel(lambda np, x: np.sin(x.T)),
    "clip": write_into_ravel(lambda np, x: np.clip(x.T, 2.2, 4.4)),
    "where": write_into_ravel(lambda np, x: np.where(x.T > 2.2, x.T, 0.5)),
    "astype": write_into_ravel(lambda np, x: x.T.astype(float)),
    "sort": write_into_ravel(lambda np, x: np.sort(x.T, axis=0)),
    "cumsum": write_into_ravel(lambda np, x: np.cumsum(x.T, axis=0)),
    "concatenate": write_into_ravel(lambda np, x: np.concatenate([x.T, x.T])),
    "argument": write_into_ravel(lambda np, x: x),
    "zero axes": zero_axes,
    "conj": conjugated,
    "take": taken,
    "squeeze": squeezed,
    "swap": swapped,
}
ORDERS = {
    "C": lambda x: x.copy(),
    "F": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_memory_is_numpys(name: str, order: str) -> None:
    """Value and gradient, eager and compiled, of NumPy on an array that lies the same way."""
    program, build = PROGRAMS[name], ORDERS[order]
    expected = program(np, build(BOX))
    slopes = np.zeros_like(BOX)
    for place in np.ndindex(*BOX.shape):
        step = np.zeros_like(BOX)
        step[place] = 1e-6
        slopes[place] = program(np, build(BOX + step)) - program(np, build(BOX - step))
    traced = pb.value_and_grad(lambda x: program(pnp, x))
    for run in (traced, pb.compile(traced)):
        value, grad = run(build(BOX))
        assert value == pytest.approx(expected, rel=1e-14)
        np.testing.assert_allclose(grad, slopes / 2e-6, rtol=1e-8, atol=1e-8)


class TestSameArrayTwice:
    @staticmethod
    def step(a: Any, b: Any) -> Any:
        a *= 2
        return np.sum(a * b)

    @pytest.mark.parametrize(
        "run",
        [
            lambda f, z: f(z, z),
            lambda f, z: pb.value_and_grad(f)(z, z)[0],
            lambda f, z: pb.value_and_grad(f, argnums=(0, 1))(z, z)[0],
            lambda f, z: pb.value_and_grad(f, argnums=1)(z, z)[0],
            lambda f, z: pb.compile(f)(z, z),
            lambda f, z: pb.compile(pb.value_and_grad(f))(z, z)[0],
            lambda f, z: pb.jvp(f, (z, z), (z, z))[0],
        ],
    )
    def test_a_write_to_one_is_seen_in_the_other(self, run: Any) -> None:
        assert run(self.step, np.ones(3)) == 12.0

    def test_the_gradient_is_that_of_the_memory(self) -> None:
        z = np.array([1.0, 2.0, 3.0])
        ga, gb = pb.grad(self.step, argnums=(0, 1))(z, z)
        np.testing.assert_allclose(ga + gb, 8 * z)  # of 4 z^2

    def test_without_a_write_they_are_two_arguments(self) -> None:
        z = np.array([1.0, 2.0])
        ga, gb = pb.grad(lambda a, b: np.sum(a**2 * b), argnums=(0, 1))(z, z)
        np.testing.assert_allclose(ga, 2 * z * z)
        np.testing.assert_allclose(gb, z**2)

    def test_compiled_after_two_arrays(self) -> None:
        compiled = pb.compile(self.step)
        for _ in range(3):
            assert compiled(np.ones(3), np.ones(3)) == 6.0
        z = np.ones(3)
        assert compiled(z, z) == 12.0
        assert compiled(np.ones(3), np.ones(3)) == 6.0


def test_compiled_programs_follow_the_order_of_their_arguments() -> None:
    program = write_into_ravel(lambda np, x: x * 2)
    compiled = pb.compile(lambda x: program(pnp, x))
    for build in (*ORDERS.values(), *ORDERS.values()):
        assert compiled(build(BOX)) == program(np, build(BOX))


def test_a_scalar_cannot_be_written_to() -> None:
    def run(write: Any) -> None:
        pb.grad(lambda x: (write(np.sum(x)), np.sum(x))[1])(BOX)

    for write in (
        lambda s: s.__setitem__(0, 1.0),
        lambda s: np.copyto(s, 1.0),
        lambda s: np.add(s, 1.0, out=s),
    ):
        with pytest.raises(TypeError):
            run(write)
