"""Lifetimes against what the memory allocator sees."""

import tracemalloc

import numpy as np
import pytest

from pullback.analysis.liveness import last_uses, peak_bytes
from pullback.core.types import ArrayType
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

N = 1 << 16
X = np.linspace(0.0, 1.0, N)


def chain(x):
    for _ in range(6):
        x = np.sin(x)
    return [x]


def held(x):
    first = np.sin(x)
    rest = np.cos(np.cos(first))
    return [rest * first]


def pairs(x):
    rows = np.reshape(x * 2.0, (2, -1)).T
    return [np.exp(rows) + np.sum(rows, axis=0)]


def outputs(x):
    return [np.sin(x), np.cos(x), x + 1.0]


@pytest.mark.parametrize("function", [chain, held, pairs, outputs])
def test_the_peak_is_the_one_that_the_allocator_sees(function):
    graph = stage(function, [ArrayType((N,), X.dtype)]).graph
    evaluate(graph, [X])
    tracemalloc.start()
    kept = evaluate(graph, [X])
    measured = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kept
    assert measured == pytest.approx(peak_bytes(graph), rel=0.02)


def test_values_die_after_their_last_use_and_outputs_never():
    graph = stage(held, [ArrayType((3,), np.dtype(np.float64))]).graph
    ends = last_uses(graph)
    (x,), (y,) = graph.inputs, graph.outputs
    first = graph.equations[0].outputs[0]
    assert [x in dying for dying in ends] == [True, False, False, False]
    assert [first in dying for dying in ends] == [False, False, False, True]
    assert not any(y in dying for dying in ends)


def test_a_graph_without_equations_needs_no_memory():
    assert peak_bytes(stage(lambda x: [x], [ArrayType((3,), np.dtype(np.float64))]).graph) == 0
