"""Passes: fewer equations, and not one bit of the result changes.

The oracle is the graph before the pass, run by NumPy.
"""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.core.graph import Graph, GraphBuilder, Literal
from pullback.core.primitive import registry
from pullback.core.types import ArrayType, type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.cse import cse
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.inline import inline
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

SPECIAL = np.array([0.0, -0.0, 1.0, -1.5, np.nan, np.inf, -np.inf, 1e-45, 1e38])  # of any float


def bits(value):
    """Everything there is to an array; a NaN is a NaN."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        array = np.where(np.isnan(array), np.abs(array.dtype.type(np.nan)), array)
    return array.shape, array.dtype.str, array.tobytes()


def staged(f, *args):
    """Graph of a function, its captured arrays written out as inputs, and values for the inputs."""
    whole = stage(lambda *xs: pb.tree.leaves(f(*xs)), [type_of(a) for a in args])
    return whole.graph, [*whole.captured, *args]


def names(graph: Graph) -> list[str]:
    return [equation.primitive.name for equation in graph.equations]


def all_names(graph: Graph) -> list[str]:
    """Those of inner graphs too."""
    found = names(graph)
    for equation in graph.equations:
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                found += all_names(inner) if isinstance(inner, Graph) else []
    return found


def same_bits(graph, after, args):
    after.verify()
    with np.errstate(all="ignore"):
        expected, found = evaluate(graph, args), evaluate(after, args)
    assert list(map(bits, found)) == list(map(bits, expected))
    assert after.output_types == graph.output_types
    assert after.inputs == graph.inputs


# -- common subexpressions ------------------------------------------------------------------------
def test_equal_equations_are_computed_once():
    graph, args = staged(lambda x: (np.sin(x) * np.cos(x), np.sin(x) * np.cos(x) + x), SPECIAL)
    after = cse(graph)
    assert sorted(names(after)) == ["add", "cos", "multiply", "sin"]
    same_bits(graph, after, args)


@pytest.mark.parametrize(
    ("one", "other"),
    [(0.0, -0.0), (1, True), (1, 1.0), (2.0, np.float64(2.0)), (np.float32(2), np.float64(2))],
)
def test_literals_that_are_told_apart_are_not_merged(one, other):
    x = SPECIAL.astype(np.float32)
    graph, args = staged(lambda x: (np.add(x, one), np.add(x, other)), x)
    assert len(cse(graph).equations) == 2
    same_bits(graph, cse(graph), args)


def test_nan_is_merged_with_itself():
    graph, args = staged(lambda x: (x + np.nan, x + np.nan), SPECIAL)
    assert len(cse(graph).equations) == 1
    same_bits(graph, cse(graph), args)


def test_parameters_are_compared():
    x = np.arange(6.0).reshape(2, 3)
    graph, args = staged(lambda x: (np.sum(x, 0), np.sum(x, 1), np.sum(x, 0)), x)
    assert names(cse(graph)) == ["sum", "sum"]
    same_bits(graph, cse(graph), args)


def test_a_checkpoint_is_computed_again():
    """Reverse mode of a checkpoint runs its graph again; nothing merges the runs."""
    block = pb.checkpoint(lambda x: np.sin(np.sin(x)))
    loss = lambda x: np.sum(block(x) ** 2)
    graph, args = staged(lambda x: (loss(x), pb.grad(loss)(x)), np.arange(3.0))
    after = optimize(graph)
    assert names(after).count("checkpoint") == 3 == names(graph).count("checkpoint")
    same_bits(graph, after, args)


def test_equations_that_are_kept_apart():
    """Foreign code may count its calls."""
    triple = pb.custom_jvp(lambda x: 3 * x)
    triple.defjvp(lambda p, t: (3 * p[0], 3 * t[0]))
    for f in (triple, pb.checkpoint(triple.fun)):
        inner = pb.compile(f)
        graph, args = staged(lambda x: (inner(x), inner(x)), np.ones(2))  # noqa: B023
        after = cse(inline(graph))
        assert len(after.equations) == 2
        same_bits(graph, after, args)


# -- inlining -------------------------------------------------------------------------------------
def test_calls_are_inlined_with_what_is_inside_them():
    inner = pb.compile(lambda x: np.sin(x) * 2.0)
    outer = pb.compile(lambda x: inner(x) + inner(x + 1.0))
    graph, args = staged(lambda x: (outer(x), outer(x)), SPECIAL)
    after = optimize(graph)
    assert sorted(names(after)) == ["add", "add", "multiply", "multiply", "sin", "sin"]
    same_bits(graph, after, args)


def test_a_call_that_would_change_its_meaning_is_not_inlined():
    """float32 times a Python scalar is float32; times a float64 it is float64."""
    builder = GraphBuilder()
    x, c = builder.input(ArrayType((2,), np.float32)), builder.input(ArrayType((), np.float64))
    builder.add(registry["multiply"], [x, c], {})
    body = builder.build(builder.equations[0].outputs)
    builder = GraphBuilder()
    x = builder.input(ArrayType((2,), np.float32))
    ys = builder.add(registry["call"], [x, Literal(0.1)], {"graph": body, "executor": "numpy"})
    graph = builder.build(ys)
    assert names(inline(graph)) == ["call"]
    same_bits(graph, optimize(graph), [np.ones(2, np.float32)])


def test_inner_graphs_are_optimized():
    def f(x):
        body = lambda c, r: (np.sin(c) * np.sin(c) + r, np.sin(c))
        twice = lambda x: np.exp(x) + np.exp(x)
        last, outs = pb.scan(body, x[0], x)
        state = pb.while_loop(lambda s: np.sum(s) < 9.0, twice, np.abs(x))
        return last, outs, state, pb.cond(x[0] > 0, twice, np.cos, x)

    graph, args = staged(f, np.array([0.5, 0.1, -0.2]))
    after = optimize(graph)
    assert [all_names(graph).count(name) for name in ("exp", "sin")] == [4, 3]
    assert [all_names(after).count(name) for name in ("exp", "sin")] == [2, 1]
    same_bits(graph, after, args)


def test_dead_equations_are_dropped():
    graph, args = staged(lambda x: (np.sin(x), np.cos(np.exp(x)))[:1], SPECIAL)
    assert names(dce(graph)) == ["sin"]
    same_bits(graph, dce(graph), args)
