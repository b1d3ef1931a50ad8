"""What a recording holds: equations of both passes, names, cotangents, lines."""

import itertools

import numpy as np
import pytest

import pullback as pb
from pullback.analysis.cost import equation_cost
from pullback.explanation.record import record
from pullback.transforms.evaluate import evaluate

RNG = np.random.default_rng(3)


def network(weights, x):
    for w in weights:
        x = np.tanh(x @ w)
    return np.sum(x)


def product_flops(equations):
    return sum(equation_cost(e).flops for e in equations if e.primitive.name == "matmul")


def test_dense_layers_cost_twice_backward_less_the_input_gradient():
    batch, widths = 32, (10, 24, 24, 5)
    weights = [RNG.normal(size=pair) for pair in itertools.pairwise(widths)]
    x = RNG.normal(size=(batch, widths[0]))
    forward = [2 * batch * n * m for n, m in itertools.pairwise(widths)]
    run = record(network, (weights, x), 0, {})
    assert product_flops(run.forward) == sum(forward)
    assert product_flops(run.backward) == 2 * sum(forward) - forward[0]
    run = record(network, (weights, x), (0, 1), {})
    assert product_flops(run.backward) == 2 * sum(forward)


def test_the_recording_is_a_valid_graph_of_value_and_gradient():
    weights, x = [RNG.normal(size=(3, 4)), RNG.normal(size=(4, 2))], RNG.normal(size=(5, 3))
    run = record(network, (weights, x), 0, {})
    run.graph.verify()
    inputs = [run.values[v] for v in run.graph.inputs]
    value, *grads = evaluate(run.graph, inputs)
    expected_value, expected = pb.value_and_grad(network)(weights, x)
    assert value == expected_value
    for got, want in zip(grads, expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_names_are_the_users():
    scale = np.array([1.0, 2.0])

    def loss(params, x):
        inside = x @ params["w"]
        pairs = [part * scale for part in (inside, inside + 1)]
        joined = pairs[0] + pairs[1]
        answer = np.sum(joined)
        return answer  # noqa: RET504

    run = record(loss, ({"w": np.ones((3, 2))}, np.ones(3)), 0, {})
    assert run.output_name == "answer"
    assert set(run.names.values()) >= {"inside", "part", "joined", "scale", "x"}
    assert list(run.arguments.values()) == ["params['w']"]


@pytest.mark.parametrize(
    ("function", "name"),
    [(np.sum, "sum"), (lambda *parts: np.sum(parts[0]), "f"), (lambda x, /: np.sum(x), "f")],
)
def test_any_callable_can_be_recorded(function, name):
    run = record(function, (np.arange(3.0),), 0, {})
    assert run.output_name == name
    (argument,) = run.arguments
    np.testing.assert_array_equal(run.values[run.cotangents[argument]], 1)


def test_keyword_arguments_reach_the_function():
    run = record(lambda x, power: np.sum(x**power), (np.full(2, 3.0),), 0, {"power": 2})
    (argument,) = run.arguments
    np.testing.assert_array_equal(run.values[run.cotangents[argument]], [6, 6])
