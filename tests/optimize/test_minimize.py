"""minimize against SciPy's own runs with derivatives written by hand, and closed-form optima."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import pullback as pb
from pullback.errors import ArgumentError, ShapeError

START = np.array([-1.2, 1.0, -0.5, 0.8])


def rosenbrock(x: np.ndarray) -> np.ndarray:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.parametrize("method", ["CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", None])
def test_first_order_methods_take_the_steps_of_scipy(method: str | None) -> None:
    expected = optimize.minimize(optimize.rosen, START, jac=optimize.rosen_der, method=method)
    result = pb.optimize.minimize(rosenbrock, START, method=method)
    # The gradients are equal up to rounding, which moves a run by a few steps at most.
    assert abs(result.nit - expected.nit) <= 0.1 * expected.nit + 2
    assert_allclose(result.x, expected.x, atol=1e-2)


@pytest.mark.parametrize("method", ["Newton-CG", "trust-ncg", "trust-krylov"])
def test_hessian_products_are_those_of_scipy(method: str) -> None:
    expected = optimize.minimize(
        optimize.rosen, START, jac=optimize.rosen_der, hessp=optimize.rosen_hess_prod, method=method
    )
    result = pb.optimize.minimize(rosenbrock, START, method=method)
    assert result.success
    assert abs(result.nit - expected.nit) <= 0.1 * expected.nit + 2
    assert_allclose(result.x, 1, atol=1e-3)


@pytest.mark.parametrize("method", ["trust-exact", "dogleg", "trust-constr"])
def test_whole_hessians_are_given_where_a_method_wants_them(method: str) -> None:
    start = np.array([1.3, 0.7, 0.8, 1.9, 1.2]) * 0.9 + 0.1
    bowl = np.array([1.0, 4.0, 2.0, 3.0, 5.0])
    result = pb.optimize.minimize(lambda x: np.sum(bowl * np.cosh(x - 1)), start, method=method)
    assert_allclose(result.x, 1, atol=1e-4)
    assert result.nit < 40


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell", "COBYLA"])
def test_methods_without_derivatives_run_the_plain_function(method: str) -> None:
    kinds = set()

    def bowl(x: np.ndarray) -> float:
        kinds.add(type(x))
        return float(np.sum((x - 2) ** 2))  # float() would be refused on a traced array

    assert_allclose(pb.optimize.minimize(bowl, [0.0, 0.0], method=method).x, 2, atol=1e-3)
    assert kinds == {np.ndarray}


def test_containers_keep_structure_shapes_and_dtypes() -> None:
    def loss(p: dict) -> np.ndarray:
        return np.sum((p["w"] @ np.array([1, -2], np.float32) - 3) ** 2) + (p["b"] - 1) ** 2

    start = {"w": np.ones((3, 2), np.float32), "b": np.float32(0)}
    result = pb.optimize.minimize(loss, start)
    assert result.x["w"].shape == (3, 2)
    assert {leaf.dtype for leaf in pb.tree.leaves(result.x)} == {np.dtype(np.float32)}
    assert_allclose(result.x["w"] @ [1, -2], 3, atol=1e-3)
    assert result.jac["w"].shape == (3, 2)


@pytest.mark.parametrize(
    "bounds",
    [
        ({"w": 0.5, "b": None}, {"w": 1.5, "b": 0.25}),
        ({"w": np.full(2, 0.5), "b": -9.0}, {"w": np.full(2, 1.5), "b": 0.25}),
    ],
)
def test_bounds_have_the_shape_of_the_unknowns(bounds: tuple) -> None:
    def loss(p: dict) -> np.ndarray:
        return np.sum((p["w"] - np.array([0.0, 9.0])) ** 2) + (p["b"] - 1) ** 2

    result = pb.optimize.minimize(loss, {"w": np.ones(2), "b": 0.0}, bounds=bounds)
    assert_allclose(result.x["w"], [0.5, 1.5])
    assert_allclose(result.x["b"], 0.25)


def test_bounds_of_vectors_are_scipys() -> None:
    result = pb.optimize.minimize(
        lambda x: np.sum((x - 2) ** 2), [0.5, 0.5], bounds=[(0, 1), (None, None)]
    )
    assert_allclose(result.x, [1, 2], atol=1e-6)


# The example of SciPy's tutorial; its optimum lies on both constraints of the first kind.
@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
@pytest.mark.parametrize("kind", ["dict", "object"])
def test_constraints_bring_their_jacobians(method: str, kind: str) -> None:
    def circle(x: np.ndarray) -> np.ndarray:
        return 1 - x[0] ** 2 - x[1] ** 2

    constraint = (
        {"type": "ineq", "fun": circle}
        if kind == "dict"
        else optimize.NonlinearConstraint(circle, 0, np.inf)
    )
    result = pb.optimize.minimize(
        lambda x: x[0] + 2 * x[1], [0.1, 0.2], method=method, constraints=constraint
    )
    assert_allclose(result.x, np.array([-1, -2]) / np.sqrt(5), atol=1e-3)


def test_arguments_are_passed_on() -> None:
    data = np.array([1.0, 2.0, 6.0])
    result = pb.optimize.minimize(lambda m, data: np.mean((data - m[0]) ** 2), 0.0, args=(data,))
    assert_allclose(result.x, [3.0], atol=1e-6)


def test_value_and_gradient_are_computed_once_a_point() -> None:
    calls = []

    def bowl(x: np.ndarray) -> np.ndarray:
        calls.append(1)
        return np.sum((x - 1) ** 4)

    result = pb.optimize.minimize(bowl, np.zeros(3), method="BFGS")
    assert len(calls) == result.nfev == result.njev


def test_compiled_runs_agree() -> None:
    for method in ("L-BFGS-B", "trust-ncg"):
        result = pb.optimize.minimize(rosenbrock, START, method=method, compile=True)
        assert_allclose(result.x, 1, atol=1e-3)


def test_callbacks_get_containers() -> None:
    seen, values = [], []

    def note(x: dict) -> None:
        seen.append(x["a"].shape)

    def watch(intermediate_result: optimize.OptimizeResult) -> None:
        values.append((intermediate_result.fun, intermediate_result.x["a"].shape))

    start = {"a": np.zeros(2)}
    for callback in (note, watch):
        pb.optimize.minimize(lambda p: np.sum((p["a"] - 1) ** 2), start, callback=callback)
    assert set(seen) == {(2,)}
    assert values[-1][0] < 1e-10


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    pb.optimize.minimize(lambda x: np.sum((x - 1) ** 2), [0.0], progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("step 1: ")


def test_ctrl_c_keeps_the_best_point() -> None:
    best = [np.inf]

    def interrupted(x: np.ndarray) -> np.ndarray:
        value = rosenbrock(x)
        best.append(min(best[-1], float(pb.stop_gradient(value))))
        if len(best) == 20:
            raise KeyboardInterrupt
        return value

    result = pb.optimize.minimize(interrupted, START)
    assert not result.success
    assert result.status == 130
    assert result.fun == best[18]
    assert optimize.rosen(result.x) == pytest.approx(best[18])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pb.optimize.minimize(np.sum, [1.0], method="bogus"), ArgumentError, "SciPy's"),
        (lambda: pb.optimize.minimize(np.sin, [1.0, 2.0]), ShapeError, "least_squares"),
        (lambda: pb.optimize.minimize(np.sum, {}), ArgumentError, "point to start from"),
        (
            lambda: pb.optimize.minimize(lambda p: p["a"], {"a": 1.0}, bounds=({"b": 0}, None)),
            ArgumentError,
            "lower, upper",
        ),
        (
            lambda: pb.optimize.minimize(lambda p: p["a"], {"a": 1.0}, bounds=(2, 1)),
            ArgumentError,
            "lower <= upper",
        ),
    ],
)
def test_mistakes_are_named(call: object, error: type, words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "test_minimize.py" in str(caught.value) or error is ArgumentError
