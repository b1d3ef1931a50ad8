"""Figures hold the numbers of what they draw, and can be saved."""

import io

import numpy as np
import pytest
from tests.flow.problems import cross_entropy, network, problem

import pullback as pb
from pullback.errors import ArgumentError

pytest.importorskip("matplotlib")


def saved(figure):
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    return out.getvalue()


def test_a_probe_is_drawn_with_its_numbers():
    found = pb.flow.probe(problem(network(3)))
    figure = pb.flow.plot(found)
    forward, backward = figure.axes[0].lines
    np.testing.assert_array_equal(forward.get_ydata(), [v.rms for v in found.layers])
    np.testing.assert_array_equal(backward.get_ydata(), [v.ct_rms for v in found.layers])
    assert saved(figure).startswith(b"<?xml")


def test_treatments_paths_and_monitors_are_drawn():
    p = problem(network(1), learning_rate=1e-3, n_steps=5)
    treatment = pb.flow.remedies(p, names=["higher learning rate"], seeds=2)
    assert saved(pb.flow.plot(treatment)).startswith(b"<?xml")
    assert pb.flow.plot(treatment).axes[0].get_title() == "remedies"

    def loss(ws, x):
        for w in ws:
            x = x + pb.flow.branch(x * w, "b")
        return np.sum(x)

    report = pb.flow.paths(loss, [np.array(0.5)] * 3, np.ones(2))
    bars = [bar.get_height() for bar in pb.flow.plot(report).axes[0].patches]
    assert bars == pytest.approx(report.mass)
    monitor = pb.flow.Monitor(cross_entropy, on_finding=lambda step, f: None)
    with pytest.raises(ArgumentError, match="no samples"):
        pb.flow.plot(monitor)
    for _ in range(3):
        monitor(network(1), *p.batch)
    assert len(pb.flow.plot(monitor).axes[0].lines) == len(monitor.samples[0].layers)


def test_other_things_are_refused():
    with pytest.raises(ArgumentError, match=r"flow\.plot: a int"):
        pb.flow.plot(3)
