"""Graphs: printing, and a verifier that refuses each kind of malformed graph."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from pullback.core.graph import Equation, Graph, GraphBuilder, Literal, Variable
from pullback.core.types import ArrayType
from pullback.errors import PullbackError
from pullback.ops.arithmetic import add, multiply
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

VECTOR = ArrayType((3,), "f8")


def affine() -> Graph:
    """2 x + y."""
    builder = GraphBuilder()
    x, y = builder.input(VECTOR), builder.input(VECTOR)
    (scaled,) = builder.add(multiply, [Literal(2.0), x], {})
    (total,) = builder.add(add, [scaled, y], {})
    return builder.build([total])


def test_a_built_graph_verifies_and_runs() -> None:
    graph = affine().verify()
    assert graph.input_types == [VECTOR, VECTOR]
    assert graph.output_types == [VECTOR]
    (result,) = evaluate(graph, [np.array([1.0, 2.0, 3.0]), np.ones(3)])
    np.testing.assert_array_equal(result, [3.0, 5.0, 7.0])


def test_text_names_variables_in_order_of_appearance() -> None:
    assert str(affine()).splitlines() == [
        "graph(a: float64[3], b: float64[3])",
        "  c: float64[3] = multiply 2.0 a",
        "  d: float64[3] = add c b",
        "  return d",
    ]


def test_text_quotes_the_users_line() -> None:
    def f(x: Any) -> Any:
        return [x * 3.0]

    first = str(stage(f, [VECTOR]).graph).splitlines()[1]
    assert first.endswith(f"# test_graph.py:{f.__code__.co_firstlineno + 1}")


def test_names_do_not_run_out() -> None:
    builder = GraphBuilder()
    value = builder.input(VECTOR)
    for _ in range(30):
        (value,) = builder.add(add, [value, Literal(1.0)], {})
    assert str(builder.build([value])).endswith("return ae")


def test_types_are_inferred_once_for_equal_types_and_parameters() -> None:
    asked = []

    def type_rule(x: ArrayType, **params: Any) -> ArrayType:
        asked.append((x, params))
        return ArrayType((params["n"], params["m"]), x.dtype)

    primitive = Mock(type_rule=type_rule, multiple=False)
    builder = GraphBuilder()
    x, y, z = (builder.input(ArrayType((3,), dtype)) for dtype in ("f8", "f8", "f4"))
    calls = [(x, 2, 5), (y, 2, 5), (x, 5, 2), (z, 2, 5)]
    outputs = [builder.add(primitive, [v], {"n": n, "m": m})[0].type for v, n, m in calls]
    outputs.append(builder.add(primitive, [x], {"m": 2, "n": 5})[0].type)
    assert list(map(str, outputs)) == [
        "float64[2,5]",
        "float64[2,5]",
        "float64[5,2]",
        "float32[2,5]",
        "float64[5,2]",
    ]
    assert len(asked) == 4  # not for y


def test_use_before_binding_is_refused() -> None:
    graph = affine()
    swapped = Graph(graph.inputs, graph.equations[::-1], graph.outputs)
    with pytest.raises(PullbackError, match="add uses a variable before it is bound"):
        swapped.verify()


def test_an_unbound_output_is_refused() -> None:
    graph = affine()
    with pytest.raises(PullbackError, match="the output uses a variable before it is bound"):
        Graph(graph.inputs, graph.equations, (Variable(VECTOR),)).verify()


def test_binding_twice_is_refused() -> None:
    graph = affine()
    doubled = Graph(graph.inputs, (*graph.equations, graph.equations[-1]), graph.outputs)
    with pytest.raises(PullbackError, match="bound twice"):
        doubled.verify()


@pytest.mark.parametrize("wrong", [ArrayType((4,), "f8"), ArrayType((3,), "f4")], ids=str)
def test_a_type_against_the_type_rule_is_refused(wrong: ArrayType) -> None:
    graph = affine()
    last = graph.equations[-1]
    y = Variable(wrong)
    bad = Graph(graph.inputs, (graph.equations[0], Equation(add, last.inputs, (y,))), (y,))
    with pytest.raises(PullbackError, match="add should give"):
        bad.verify()
