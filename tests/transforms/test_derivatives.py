"""grad, vjp, jvp, linearize, vmap: their arguments, their nesting, their refusals."""

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der, rosen_hess

import pullback as pb
from pullback.errors import ArgumentError, DTypeError, NotDifferentiableError, ShapeError


@dataclasses.dataclass
class Point:  # is not registered as a container
    x: float


def rosenbrock(x: Any) -> Any:
    return np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


POINT = np.array([-1.2, 1.0, 0.7])


def test_the_gradient_of_a_polynomial() -> None:
    value, gradient = pb.value_and_grad(rosenbrock)(POINT)
    assert float(value) == pytest.approx(rosen(POINT), rel=1e-14)
    np.testing.assert_allclose(gradient, rosen_der(POINT), rtol=1e-13)
    assert type(gradient) is np.ndarray
    assert gradient.flags.writeable


@pytest.mark.parametrize(
    "hessian_times",
    [
        lambda v: pb.jvp(pb.grad(rosenbrock), (POINT,), (v,))[1],
        lambda v: pb.grad(lambda x: pb.jvp(rosenbrock, (x,), (v,))[1])(POINT),
        lambda v: pb.grad(lambda x: np.sum(pb.grad(rosenbrock)(x) * v))(POINT),
        lambda v: pb.jvp(
            lambda x: pb.vmap(lambda e: pb.jvp(rosenbrock, (x,), (e,))[1])(np.eye(3)),
            (POINT,),
            (v,),
        )[1],
        lambda v: pb.linearize(pb.grad(rosenbrock), POINT)[1](v),
        lambda v: pb.vjp(pb.grad(rosenbrock), POINT)[1](v)[0],
    ],
    ids=["forward-reverse", "reverse-forward", "reverse-reverse", "forward^2", "linearize", "vjp"],
)
def test_all_orders_of_nesting_agree(hessian_times: Any) -> None:
    vector = np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(hessian_times(vector), rosen_hess(POINT) @ vector, rtol=1e-12)


def test_third_derivatives() -> None:
    cube = lambda x: x**3
    assert float(pb.grad(pb.grad(pb.grad(cube)))(2.0)) == pytest.approx(6.0)


class TestArguments:
    def test_argnums(self) -> None:
        f = lambda a, b, c: a * b**2 + c
        assert float(pb.grad(f, argnums=1)(2.0, 3.0, 5.0)) == 12.0
        assert float(pb.grad(f, argnums=-2)(2.0, 3.0, 5.0)) == 12.0
        both = pb.grad(f, argnums=(0, 2))(2.0, 3.0, 5.0)
        assert tuple(map(float, both)) == (9.0, 1.0)

    def test_keywords_are_constants(self) -> None:
        assert float(pb.grad(lambda x, power: x**power)(2.0, power=3)) == 12.0

    def test_containers_keep_their_structure(self) -> None:
        params = {"b": (np.ones(2), None), "a": [np.array(2.0)]}
        grads = pb.grad(lambda p: np.sum(p["b"][0]) * p["a"][0])(params)
        assert grads["b"][1] is None
        np.testing.assert_array_equal(grads["b"][0], [2.0, 2.0])
        assert float(grads["a"][0]) == 2.0

    def test_aux_is_passed_through_as_plain_arrays(self) -> None:
        (value, aux), gradient = pb.value_and_grad(
            lambda x: (x**2, {"twice": 2 * x}), has_aux=True
        )(3.0)
        assert (float(value), float(aux["twice"]), float(gradient)) == (9.0, 6.0, 6.0)
        assert aux["twice"] + 1 == 7.0

    def test_an_argument_without_influence_has_gradient_zero(self) -> None:
        unused, used = pb.grad(lambda a, b: b * 2.0, argnums=(0, 1))(np.ones(3), 1.0)
        np.testing.assert_array_equal(unused, np.zeros(3))
        unused[0] = 1.0
        assert float(used) == 2.0

    def test_gradients_share_no_memory(self) -> None:
        a, b = pb.grad(lambda a, b: np.sum(a + b), argnums=(0, 1))(np.ones(3), np.ones(3))
        a += 1.0
        np.testing.assert_array_equal(b, np.ones(3))

    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_gradients_have_the_dtype_of_the_argument(self, dtype: str) -> None:
        mixed = lambda x: np.sum(x * np.ones(3, "f8"))
        assert pb.grad(mixed)(np.ones(3, dtype)).dtype == dtype


class TestRefusals:
    def test_an_output_that_is_not_scalar(self) -> None:
        with pytest.raises(ShapeError, match=r"one scalar; .* returned float64\[2\]"):
            pb.grad(lambda x: x * 2)(np.ones(2))

    def test_an_output_that_is_not_floating(self) -> None:
        with pytest.raises(NotDifferentiableError, match="returned int64"):
            pb.grad(lambda x: np.argmax(x))(np.ones(2))

    def test_an_integer_argument_names_its_path(self) -> None:
        with pytest.raises(NotDifferentiableError, match=r"args\[0\]\['w'\]\[1\] has dtype int64"):
            pb.grad(lambda p: p["w"][0])({"w": [1.0, np.array([2, 3])]})

    @pytest.mark.parametrize(
        ("leaf", "what", "remedy"),
        [
            (np.sin, "is a ufunc", "arguments come after the function"),
            ("adam", "is a str", r"leave it out of what is differentiated \(argnums\)"),
            (np.array(["a"]), "is an array of dtype <U1", "pass an array of floats"),
            (Point(1.0), "is a Point", r"pullback.tree.dataclass\(Point\)"),
        ],
        ids=["function", "text", "texts", "dataclass"],
    )
    def test_what_is_no_array_says_so(self, leaf: Any, what: str, remedy: str) -> None:
        said = rf"args\[0\]\['p'\] {what}[^$]*test_derivatives[^$]*{remedy}"
        with pytest.raises(DTypeError, match=said):
            pb.grad(lambda params: np.sum(params["w"]))({"w": np.ones(2), "p": leaf})

    def test_argnums_out_of_range(self) -> None:
        with pytest.raises(ArgumentError, match="argnums=1"):
            pb.grad(lambda x: x, argnums=1)(1.0)

    def test_a_missing_aux(self) -> None:
        with pytest.raises(ArgumentError, match=r"\(value, aux\)"):
            pb.grad(lambda x: x, has_aux=True)(1.0)

    @pytest.mark.parametrize("product", [pb.jvp, pb.hvp])
    def test_an_array_in_place_of_a_tuple_of_arguments(self, product: Any) -> None:
        x = np.ones(1)  # of one row, which would pass for one argument
        with pytest.raises(ArgumentError, match=r"primals is ndarray.*\n.*\n.*\(primal,\)"):
            product(lambda x: np.sum(x * x), x, (x,))
        with pytest.raises(ArgumentError, match="is ndarray, not a tuple"):
            product(lambda x: np.sum(x * x), (x,), x)

    def test_cotangents_and_tangents_that_do_not_fit(self) -> None:
        _, vjp_fn = pb.vjp(np.sin, np.zeros(3))
        with pytest.raises(ShapeError, match=r"cotangent of shape \(2,\)"):
            vjp_fn(np.ones(2))
        with pytest.raises(ArgumentError, match="another structure"):
            vjp_fn([np.ones(3)])
        with pytest.raises(ShapeError, match=r"tangent of shape \(2,\)"):
            pb.jvp(np.sin, (np.zeros(3),), (np.ones(2),))


class TestVJP:
    def test_products_with_the_jacobian_are_dual(self, rng: np.random.Generator) -> None:
        matrix = rng.normal(size=(4, 3))
        f = lambda x: np.tanh(matrix @ x) * x[0]
        x, u, v = rng.normal(size=3), rng.normal(size=3), rng.normal(size=4)
        pushed = pb.jvp(f, (x,), (u,))[1]
        (pulled,) = pb.vjp(f, x)[1](v)
        assert np.dot(v, pushed) == pytest.approx(np.dot(pulled, u), rel=1e-13)

    def test_it_may_be_called_again(self) -> None:
        _, vjp_fn = pb.vjp(np.exp, np.zeros(2))
        first, second = vjp_fn(np.ones(2)), vjp_fn(np.full(2, 3.0))
        np.testing.assert_array_equal(3 * first[0], second[0])

    def test_outputs_are_containers(self) -> None:
        out, vjp_fn = pb.vjp(lambda a, b: {"p": a * b, "s": [a + b]}, 2.0, 3.0)
        assert (float(out["p"]), float(out["s"][0])) == (6.0, 5.0)
        assert tuple(map(float, vjp_fn({"p": 1.0, "s": [10.0]}))) == (13.0, 12.0)


class TestLinearize:
    def test_the_primal_work_is_done_once(self) -> None:
        calls = []

        def f(x: Any) -> Any:
            calls.append(1)
            return np.sin(x) * x if x[0] > 0 else -x

        value, jvp_fn = pb.linearize(f, np.array([1.0, 2.0]))
        for direction in np.eye(2):
            expected = pb.jvp(f, (np.array([1.0, 2.0]),), (direction,))
            np.testing.assert_allclose(jvp_fn(direction), expected[1], rtol=1e-15)
            np.testing.assert_allclose(value, expected[0])
        assert len(calls) == 3

    def test_it_is_linear(self, rng: np.random.Generator) -> None:
        _, jvp_fn = pb.linearize(lambda x: np.exp(x) / np.sum(np.exp(x)), rng.normal(size=4))
        u, v = rng.normal(size=(2, 4))
        np.testing.assert_allclose(jvp_fn(2 * u - v), 2 * jvp_fn(u) - jvp_fn(v), atol=1e-15)


class TestVmap:
    @pytest.mark.parametrize("in_axis", [0, 1, -1])
    @pytest.mark.parametrize("out_axis", [0, 1])
    def test_it_is_a_loop(self, in_axis: int, out_axis: int, rng: np.random.Generator) -> None:
        x = rng.normal(size=(3, 4, 5))
        f = lambda a: np.cumsum(np.tanh(a @ a.T), axis=0)
        expected = np.stack([f(a) for a in np.moveaxis(x, in_axis, 0)], axis=out_axis)
        got = pb.vmap(f, in_axes=in_axis, out_axes=out_axis)(x)
        np.testing.assert_allclose(got, expected, rtol=1e-14)

    def test_per_example_gradients_add_up(self, rng: np.random.Generator) -> None:
        w, x = rng.normal(size=3), rng.normal(size=(6, 3))
        loss = lambda w, x: np.tanh(x @ w) ** 2
        single = pb.vmap(pb.grad(loss), in_axes=(None, 0))(w, x)
        total = pb.grad(lambda w: np.sum(np.tanh(x @ w) ** 2))(w)
        assert single.shape == (6, 3)
        np.testing.assert_allclose(single.sum(axis=0), total, rtol=1e-12)

    def test_nested(self, rng: np.random.Generator) -> None:
        a, b = rng.normal(size=(3, 5)), rng.normal(size=(4, 5))
        table = pb.vmap(lambda x: pb.vmap(lambda y: np.dot(x, y))(b))(a)
        np.testing.assert_allclose(table, a @ b.T, rtol=1e-14)

    def test_in_axes_reach_into_containers(self) -> None:
        f = lambda p, x: p["scale"] * x + p["shift"]
        p = {"scale": np.arange(3.0), "shift": np.array(10.0)}
        got = pb.vmap(f, in_axes=({"scale": 0, "shift": None}, 0))(p, np.ones(3))
        np.testing.assert_array_equal(got, [10.0, 11.0, 12.0])

    def test_sizes_that_disagree_are_listed(self) -> None:
        with pytest.raises(ShapeError, match=r"args\[1\]: float64\[4\], axis 0"):
            pb.vmap(np.add)(np.ones(3), np.ones(4))
        with pytest.raises(ShapeError, match="no argument has a batch axis"):
            pb.vmap(np.add, in_axes=None)(np.ones(3), np.ones(3))

    def test_control_flow_on_a_batched_value_is_refused(self) -> None:
        with pytest.raises(TypeError, match="it has 3 values at once"):
            pb.vmap(lambda x: x if x > 0 else -x)(np.ones(3))


def test_stop_gradient_cuts_on_purpose() -> None:
    f = lambda x: x * pb.stop_gradient(x)
    assert float(pb.grad(f)(3.0)) == 3.0
    assert float(pb.jvp(f, (3.0,), (1.0,))[1]) == 3.0


def test_stopped_numbers_leave_the_dtype_of_arrays() -> None:
    x = np.ones(3, np.float32)
    for number in (0.5, 2, True):
        assert type(pb.stop_gradient(number)) is type(number)
        assert (x * pb.stop_gradient(number)).dtype == np.float32
    assert (x * pb.stop_gradient(np.float64(0.5))).dtype == np.float64


def test_residuals_are_freed_while_the_gradient_sweeps_back() -> None:
    n, steps = 100_000, 20
    held: list[int] = []

    @pb.custom_vjp
    def probe(x: Any) -> Any:
        return x

    def backward(_: Any, ct: Any) -> Any:
        held.append(tracemalloc.get_traced_memory()[0])
        return (ct,)

    probe.defvjp(lambda x: (x, ()), backward)

    def chain(x: Any) -> Any:
        h = probe(x)
        for _ in range(steps):
            h = np.sin(h)
        return np.sum(probe(h))

    tracemalloc.start()
    pb.grad(chain)(np.ones(n))
    tracemalloc.stop()
    first, last = held
    assert first - last > (steps - 2) * 8 * n


@pytest.mark.parametrize("wrap", [lambda f: f, pb.compile])
@pytest.mark.parametrize(
    "f",
    [np.mean, np.var, np.std, np.median, np.average, lambda x: np.linalg.norm(x, 3.5)],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nothing_depends_on_no_elements(f, wrap):
    """Both modes say so: duality holds with the empty gradient of reverse mode."""
    whole = lambda x: f(x[:0]) + x[1]
    push = wrap(lambda x, t: pb.jvp(whole, (x,), (t,))[1])
    t = np.array([2.0, 3.0])
    assert push(np.ones(2), t) == t @ pb.grad(whole)(np.ones(2)) == 3.0
    assert wrap(lambda x: pb.jvp(f, (x,), (x,))[1])(np.zeros(0)) == 0
