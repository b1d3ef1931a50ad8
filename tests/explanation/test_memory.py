"""pb.memory: what it says before a run is what NumPy and the arena take in it."""

import numpy as np
import pytest
from tests.planner.test_simulate import measured

import pullback as pb

rng = np.random.default_rng(0)
PARAMS = [(rng.normal(size=(64, 64)) * 0.2, np.zeros(64)) for _ in range(6)]
X, Y = rng.normal(size=(2, 2000, 64))


def mlp(params, x, y):
    for w, b in params:
        x = np.tanh(x @ w + b)
    return np.mean((x - y) ** 2)


def classifier(params, x, y):
    for w, b in params:
        x = np.maximum(x @ w + b, 0)
    shifted = x - np.max(x, axis=1, keepdims=True)
    logs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return -np.mean(np.sum(logs * y, axis=1))


def recurrent(params, x, y):
    (w, b), *_ = params
    return np.sum(pb.scan(lambda h, r: (np.tanh(h @ w + r + b),) * 2, np.zeros(64), x)[1] * y)


@pytest.mark.parametrize(
    ("f", "compiles"),
    [
        (pb.value_and_grad(mlp), True),
        (mlp, True),
        (pb.grad(classifier), False),
        (pb.grad(pb.checkpoint(mlp)), False),
        (pb.grad(recurrent), False),
    ],
)
def test_planned_and_measured_peaks_agree(f, compiles):
    report = pb.memory(f, PARAMS, X, Y, measure=compiles)
    eager = report.measured_eager if compiles else measured(lambda: f(PARAMS, X, Y))
    assert report.eager.total == pytest.approx(eager, rel=0.05)
    if compiles:
        assert report.measured_compiled == pytest.approx(report.compiled, rel=0.02)


def test_what_is_kept_is_named_by_its_line():
    report = pb.memory(pb.value_and_grad(mlp), PARAMS, X, Y)
    assert report.arguments == sum(a.nbytes for a in pb.tree.leaves((PARAMS, X, Y)))
    assert report.results == sum(a.nbytes for a in pb.tree.leaves(PARAMS)) + 8
    assert report.kept[0].bytes == 6 * X.nbytes
    assert "x = np.tanh(x @ w + b)" in report.kept[0].line
    peak = report.eager
    assert peak.total == peak.kept + peak.results + peak.temporaries + peak.working
    assert peak.pass_name == "backward"
    text = str(report)
    assert "kept for backward" in text
    assert "peak, compiled" in text


def test_a_checkpoint_keeps_its_inputs_only():
    def two(params, x, y):
        block = pb.checkpoint(lambda x: np.sin(np.exp(np.tanh(x))))
        return np.sum(block(block(x)) * y)

    assert pb.memory(pb.grad(two, 1), PARAMS, X, Y).kept_bytes == X.nbytes


def test_a_plain_function_has_no_backward_pass():
    report = pb.memory(lambda x: np.exp(np.exp(x)), X)
    assert report.kept == ()
    assert report.eager.pass_name == "forward"
    assert report.eager.total == 2 * X.nbytes


def test_control_flow_on_values_is_refused():
    with pytest.raises(pb.errors.StagingError, match="memory:"):
        pb.memory(lambda x: np.sin(x) if np.sum(x) > 0 else x, X)
