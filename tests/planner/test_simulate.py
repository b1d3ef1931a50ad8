"""Bytes of a run: what NumPy allocates, measured with tracemalloc."""

import tracemalloc

import numpy as np
import pytest

import pullback as pb
from pullback.core.graph import GraphBuilder
from pullback.core.primitive import registry
from pullback.core.types import ArrayType, type_of
from pullback.planner.simulate import equation_working, peak_bytes, timeline
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

rng = np.random.default_rng(0)
X = rng.uniform(0.5, 1.0, (256, 256))


def measured(function):
    function()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    result = function()
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    del result
    return peak


@pytest.mark.parametrize(
    "f",
    [
        lambda x: [np.exp(np.sin(x)) @ x],
        lambda x: [np.sum(np.exp(x.T.reshape(-1))) + x],
        lambda x: [np.broadcast_to(x[0], (256, 256)) * x, x[3:].copy()],
        lambda x: [np.var(np.tanh(x), axis=1)],
        lambda x: [np.linalg.solve(x + 9 * np.eye(256), x)],
        lambda x: [np.concatenate([x, np.sqrt(x)])[::2] * 2],
        lambda x: [pb.scan(lambda c, r: (c + r, np.tanh(c)), np.zeros(256), x)[1]],
    ],
)
def test_the_peak_of_a_graph_is_what_numpy_allocates(f):
    graph = stage(f, [type_of(X)]).graph
    found = stage(f, [type_of(X)])
    peak = measured(lambda: evaluate(found.graph, [*found.captured, X]))
    buffers = 8192 * 8 + 4096  # of ufuncs whose operands do not lie alike; and Python's objects
    assert abs(peak_bytes(graph) - peak) <= max(0.05 * peak, buffers)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("expit", {}),
        ("log_expit", {}),
        ("erf", {}),
        ("logsumexp", {"axis": (1,)}),
        ("var", {"axis": (1,), "ddof": 0}),
        ("cofactor", {}),
        ("argsort", {"axis": 0}),
        ("fft", {"axis": 0, "norm": "backward", "inverse": False}),
    ],
)
def test_working_memory_covers_what_numpy_takes(name, params):
    primitive = registry[name]
    builder = GraphBuilder()
    x = builder.input(ArrayType(X.shape, X.dtype))
    builder.add(primitive, [x], params)
    (equation,) = builder.equations
    took = measured(lambda: primitive.numpy(X, **params)) - sum(
        v.type.nbytes for v in equation.outputs
    )
    assert took <= 1.05 * equation_working(equation) + 8192 * 8 + 4096


def test_a_view_holds_the_memory_of_its_operand():
    graph = stage(lambda x: [np.exp(x)[:2].T + 1], [type_of(X)]).graph
    moments = timeline(graph)
    assert moments.peak == X.nbytes + 2 * 256 * 8
    assert len(moments.made) == 2
