"""Every pass of the compiler gives valid code, and the verifiers can fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.compiler.test_jit import PARAMS, TRANSFORMED, X, Y
from tests.compiler.verifier import verified

import pullback as pb
from pullback import nn
from pullback.compiler.llvm import assembler
from pullback.compiler.pipeline import BEFORE, PLACING, PLANNING, REWRITES, planned
from pullback.compiler.runtime.frame import ALIGNMENT
from pullback.compiler.schedule.target import NARROW
from pullback.compiler.verify import checked, verify_graph
from pullback.core.graph import Graph, GraphBuilder
from pullback.core.types import type_of
from pullback.errors import CompileError, PullbackError
from pullback.transforms.stage import stage


@pytest.mark.parametrize("name", TRANSFORMED)
def test_every_pass_gives_a_valid_graph(name, monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    assembler.compiled.cache_clear()
    with verified() as ran:
        pb.compile(TRANSFORMED[name])(PARAMS, X, Y)
    stages = [stage.name for stage in (*REWRITES, *BEFORE, *PLANNING, *PLACING)]
    assert set(ran) == {*stages, "llvm"}


def attention(q, k, v):
    weights = nn.functional.softmax(q @ np.swapaxes(k, -1, -2))
    return np.sum(np.square(weights @ v))


def images(x, kernel):
    return np.sum(np.tanh(nn.conv(x, kernel)))


rng = np.random.default_rng(0)
MODELS = {
    "attention": (attention, [rng.normal(size=(2, 3, 5, 4))] * 3),
    "images": (images, [rng.normal(size=(2, 3, 8, 7)), rng.normal(size=(4, 3, 3, 3))]),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_pass_of_a_model(name, monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    f, args = MODELS[name]
    gradient = pb.grad(f, tuple(range(len(args))))
    with verified() as ran:
        found = pb.compile(gradient)(*args)
    assert "llvm" in ran
    for y, z in zip(found, gradient(*args), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-10, atol=1e-12)


# -- the verifiers can fail ---------------------------------------------------------------------
def plan():
    def f(x):
        y = np.cumsum(x)
        z = np.cumsum(y)
        return np.sort(y + z), np.cumsum(z) * y

    graph = stage(lambda x: list(f(x)), [type_of(np.ones(20))]).graph
    made = planned(graph, {}, False, NARROW)
    checked("place", made)
    return made


def at_one_place(made):
    made.offsets = dict.fromkeys(made.offsets, 0)


def out_of_order(made):
    made.steps.reverse()


def left_out(made):
    del made.steps[-1]


def twice(made):
    made.steps.append(made.steps[0])


def not_passed(made):
    made.steps[-1] = replace(made.steps[-1], reads=())


def overwritten_too_early(made):
    first, *_, last = (v for v in made.offsets)
    made.alias[first] = last


def small(made):
    made.arena_bytes -= ALIGNMENT


def scratch_over_a_value(made):
    made.scratch[1] = None, made.offsets[next(iter(made.offsets))], 100


def scratch_in_a_written_output(made):
    made.scratch[1] = made.graph.inputs[0], 0, 100


@pytest.mark.parametrize(
    "fault",
    [
        *(at_one_place, out_of_order, left_out, twice, not_passed, small, overwritten_too_early),
        *(scratch_over_a_value, scratch_in_a_written_output),
    ],
)
def test_a_wrong_schedule_is_refused(fault):
    made = plan()
    fault(made)
    with pytest.raises(CompileError, match="the compiler's stage place has made a mistake"):
        checked("place", made)


def test_a_wrong_body_is_refused():
    inner = stage(lambda x: [x + 1], [type_of(np.ones(3))]).graph
    late = Graph(inner.inputs, (), inner.outputs)
    builder = GraphBuilder()
    x = builder.input(type_of(np.ones(3)))
    call = stage(lambda x: [pb.compile(np.sin)(x)], [type_of(np.ones(3))]).graph.equations[0]
    broken = replace(call, inputs=(x,), params={**call.params, "graph": late})
    with pytest.raises(PullbackError, match="before it is bound"):
        verify_graph(Graph((x,), (broken,), (x,)))


def test_wrong_llvm_is_refused():
    text = """
    define void @main(ptr %p, i1 %c) {
      br i1 %c, label %a, label %b
    a:
      %x = load i64, ptr %p
      br label %b
    b:
      store i64 %x, ptr %p
      ret void
    }"""
    assembler.prepare()
    with pytest.raises(RuntimeError, match="dominate"):
        assembler.compile_text(text, assembler.machine())
