"""The share of the time of a training loop that ``pullback.flow.Monitor`` takes.

    python -m benchmarks.monitor_share --seconds 10

Loops with and without a monitor take turns of a second each; *longer by* compares their times per
step, *own account* is what the monitor says of itself. Both include the first probe.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import pullback as pb
from pullback import nn

WIDTHS = {"8-32-32-1": (8, 32, 32, 1), "784-256-128-10": (784, 256, 128, 10)}
ROWS = 128
TURN_S = 1.0


def loss(net: Any, x: Any, y: Any) -> Any:
    return np.mean((net(x) - y) ** 2)


def step(net: Any, x: Any, y: Any) -> tuple[Any, Any]:
    value, grads = pb.value_and_grad(loss)(net, x, y)
    return value, pb.tree.map(lambda w, g: w - 0.01 * g, net, grads)


def turn(run: Callable[..., Any], net: Any, data: Any, monitor: Any, seconds: float) -> Any:
    """Train for ``seconds``: the network, the steps taken, and the seconds that they took."""
    n_steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        value, net = run(net, *data)
        if monitor is not None:
            monitor(net, *data, value=value)
        n_steps += 1
    return net, n_steps, time.perf_counter() - start


def measure(widths: tuple[int, ...], compiled: bool, seconds: float) -> tuple[float, float, int]:
    """How much longer a step is with a monitor, the monitor's own account, and its probes."""
    rng = np.random.default_rng(0)
    net = nn.mlp(rng, widths)
    data = (rng.normal(size=(ROWS, widths[0])), rng.normal(size=(ROWS, widths[-1])))
    run = pb.compile(step) if compiled else step
    run(net, *data)
    clock = Clock()
    monitor = pb.flow.Monitor(loss, on_finding=lambda at, finding: None, clock=clock)
    spent, taken = {False: 0.0, True: 0.0}, {False: 0, True: 0}
    for _ in range(max(1, round(seconds / TURN_S / 2))):
        for watched in (False, True):
            clock.runs(watched)
            net, n, s = turn(run, net, data, monitor if watched else None, TURN_S)
            taken[watched] += n
            spent[watched] += s
    longer = spent[True] / taken[True] / (spent[False] / taken[False]) - 1
    return longer, monitor.spent_s / spent[True], monitor.n_probes


class Clock:
    """Seconds of the turns with the monitor alone."""

    def __init__(self) -> None:
        self.total, self.since = 0.0, time.perf_counter()
        self.is_running = False

    def runs(self, is_running: bool) -> None:
        now = time.perf_counter()
        self.total += (now - self.since) * self.is_running
        self.since, self.is_running = now, is_running

    def __call__(self) -> float:
        return self.total + (time.perf_counter() - self.since) * self.is_running


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0, help="for each row")
    parser.add_argument("--quick", action="store_true", help="half a second for each row")
    args = parser.parse_args()
    seconds = 0.5 if args.quick else args.seconds
    print("| network | step | longer by | own account | probes |\n|---|---|--:|--:|--:|")
    for name, widths in WIDTHS.items():
        for compiled in (False, True):
            longer, own, probes = measure(widths, compiled, seconds)
            kind = "compiled" if compiled else "eager"
            print(f"| {name} | {kind} | {longer:.1%} | {own:.1%} | {probes} |", flush=True)


if __name__ == "__main__":
    main()
