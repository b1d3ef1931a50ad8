"""The monitor: its share of time on a clock that tests move, its bounded log, its findings."""

import numpy as np
import pytest
from tests.flow.problems import cross_entropy, network, rows

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError


class Clock:
    """Every look at it takes a hundredth of a second; a training step takes one second."""

    now = 0.0

    def __call__(self):
        self.now += 0.01
        return self.now


def watched(net, n_steps=200, **options):
    clock, told = Clock(), []
    monitor = pb.flow.Monitor(
        cross_entropy,
        clock=clock,
        on_finding=lambda step, f: told.append((step, f.kind)),
        **options,
    )
    x, y = rows()
    for _ in range(n_steps):
        clock.now += 1.0
        monitor(net, x, y, value=1.0)
    return monitor, told


def test_stays_within_its_share_of_the_time(monkeypatch):
    monitor, _ = watched(network(1), 60, share=0.04)
    assert monitor.cost <= 0.04
    assert monitor.n_probes >= 10


def test_a_dear_probe_is_paid_before_the_next(monkeypatch):
    from pullback.flow import monitor as module

    clock = Clock()
    original = module.probe

    def dear(*args, **kwargs):
        clock.now += 4.0
        return original(*args, **kwargs)

    monkeypatch.setattr(module, "probe", dear)
    monitor = pb.flow.Monitor(cross_entropy, clock=clock, share=0.05)
    x, y = rows()
    for step in range(400):
        clock.now += 1.0
        monitor(network(1) if step == 0 else None or network(1), x, y) if step % 4 == 0 else None
    assert monitor.n_probes >= 2
    assert monitor.cost <= 0.05 + 4.1 / 400


def test_the_log_is_bounded():
    monitor, _ = watched(network(1), 120, max_samples=8, share=0.5)
    assert len(monitor.samples) <= 8
    assert monitor.samples[0].step < 10
    assert monitor.samples[-1].step > 40
    assert max(map(len, str(monitor).splitlines())) <= 100


def test_findings_are_told_once_with_their_step():
    monitor, told = watched(network(8, nn.sigmoid, nn.init.xavier, width=24), 8)
    assert [kind for _, kind in told] == ["vanishing gradient"]
    assert told[0][0] <= 3
    assert monitor.findings[0].kind == "vanishing gradient"
    assert monitor.to_json()["findings"][0]["step"] == told[0][0]


def test_spikes_and_losses_that_are_not_finite_are_told():
    told = []
    monitor = pb.flow.Monitor(
        cross_entropy, clock=Clock(), on_finding=lambda step, f: told.append((step, f.kind))
    )
    x, y = rows()
    net = network(1)
    for step in range(1, 61):
        value = {40: 30.0, 50: np.nan}.get(step, 1.0 + 0.01 * (step % 3))
        monitor(net, x, y, value=value)
    assert told == [(40, "step size too large"), (50, "non-finite values")]


def test_a_bad_share_is_refused():
    with pytest.raises(ArgumentError, match="share"):
        pb.flow.Monitor(cross_entropy, share=5)
