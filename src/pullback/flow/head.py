"""What follows the network's output: can the loss be made small at all, and by how much?

The head is replayed with other outputs, without the network. That tells losses and outputs that do
not belong together whatever they are called: if the best outputs that exist leave a large loss,
or if a confidently wrong output gets no gradient, training cannot repair it.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from pullback.core.graph import Variable
from pullback.flow.measure import rms
from pullback.flow.structure import Activation, Network
from pullback.transforms.derivatives import value_and_grad

__all__ = ["Head"]

N_STEPS = 200
SMALL = 0.02  # of the constant's loss: reached, however much further it goes
FAR = 20.0


class Head:
    """The loss as a function of the output alone; ``None`` outputs are never asked for."""

    def __init__(self, network: Network, output: Variable) -> None:
        self.network = network
        self.output = output
        self.start = np.asarray(network.run.values[output])
        self.both = value_and_grad(self.loss)

    def loss(self, output: Any) -> Any:
        run = self.network.run
        assert run.output is not None
        return run.replay({self.output: output}, run.output)

    def at(self, output: Any) -> tuple[float, Any]:
        """Loss and gradient for other outputs."""
        with np.errstate(all="ignore"):
            value, ct = self.both(output.astype(self.start.dtype))
        return float(value), np.asarray(ct, dtype=float)

    @property
    def n_rows(self) -> int:
        return self.start.shape[0] if self.start.ndim else 1

    def strength(self, ct: Any) -> float:
        """Norm of the loss's gradient with respect to one example's output, times the rows."""
        return self.n_rows * rms(ct) * float(np.sqrt(self.start.size / self.n_rows))

    @cached_property
    def is_separate(self) -> bool:
        """Whether parameters reach the loss through the output only."""
        run = self.network.run
        reached = set(run.leaves)
        for step in run.steps:
            if step.pull is not None and not reached.isdisjoint(step.equation.inputs):
                reached.update(v for v in step.equation.outputs if v is not self.output)
        return run.output not in reached

    @cached_property
    def at_zero(self) -> float:
        """Strength of the gradient at outputs of 0 (slightly off, where kinks are)."""
        rng = np.random.default_rng(0)
        return self.strength(self.at(1e-2 * rng.standard_normal(self.start.shape))[1])

    @cached_property
    def best(self) -> tuple[float, Any]:
        """The least loss that any outputs reach, and these outputs: Adam on the outputs alone."""
        enough = SMALL * abs(self.constant)
        # From near 0, not from the network's outputs, which may be far from any good ones.
        rng = np.random.default_rng(0)
        begin = 1e-2 * rng.standard_normal(self.start.shape)
        return self._descend(begin, tied=False, enough=enough)

    @cached_property
    def constant(self) -> float:
        """The least loss that one output for all rows reaches."""
        return self._descend(np.zeros(self.start.shape), tied=True)[0]

    def _descend(self, output: Any, tied: bool, enough: float = -np.inf) -> tuple[float, Any]:
        first, second = np.zeros_like(output), np.zeros_like(output)
        scale = max(1.0, rms(self._asked_scale()))
        best, where = np.inf, output
        for t in range(1, N_STEPS + 1):
            value, ct = self.at(output)
            if not np.isfinite(value) or not np.all(np.isfinite(ct)):
                break
            if value < best:
                if tied and t > 20 and value > best - 1e-4 * abs(best):
                    break
                best, where = value, output
                if 0 <= value <= enough:
                    break
            if tied:
                ct = np.broadcast_to(np.mean(ct, axis=0, keepdims=True), ct.shape)
            first = 0.9 * first + 0.1 * ct
            second = 0.99 * second + 0.01 * ct * ct
            rate = 0.3 * scale * min(1.0, 2 * (1 - t / (N_STEPS + 1)))
            step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.99**t)) + 1e-30)
            output = output - rate * step
        return best, where

    def _asked_scale(self) -> Any:
        """Data arrays that the head reads, for the scale of steps: targets."""
        run = self.network.run
        reads = {v for step in self.network.head for v in step.equation.inputs}
        found = [
            np.asarray(run.values[v], float)
            for v in reads
            if isinstance(v, Variable)
            and v not in run.live
            and v.type.dtype.kind == "f"
            and v.type.size >= self.n_rows
        ]
        finite = [x for x in found if np.all(np.isfinite(x))]
        return max(finite, key=rms) if finite else np.ones(1)

    @cached_property
    def plateau(self) -> float:
        """Share of the rows whose best output lies on a flat part of the loss, not in a minimum."""
        _, where = self.best
        rng = np.random.default_rng(2)
        shaken = np.zeros(self.n_rows)
        for _ in range(3):
            _, ct = self.at(where + rng.standard_normal(where.shape))
            shaken = np.maximum(shaken, np.sqrt(np.sum(ct.reshape(self.n_rows, -1) ** 2, axis=1)))
        return float(np.mean(shaken * self.n_rows < 0.05 * self.at_zero))

    @cached_property
    def wrong(self) -> float:
        """Gradient strength for confidently wrong outputs, relative to that at outputs near 0."""
        _, best = self.best
        direction = best - self.start
        size = rms(direction)
        if size == 0 or self.at_zero == 0:
            return 1.0
        return self.strength(self.at(-FAR * direction / size)[1]) / self.at_zero

    @cached_property
    def is_softmax(self) -> bool:
        """Whether a constant added to an example's outputs changes nothing."""
        ct = self.at(np.array(self.start, float))[1]
        if ct.ndim < 2 or ct.shape[-1] < 2 or not np.any(ct):
            return False
        return bool(np.max(np.abs(np.sum(ct, axis=-1))) <= 1e-5 * np.max(np.abs(ct)))

    @cached_property
    def activation(self) -> Activation | None:
        """The activation that the output itself goes through."""
        for activation in self.network.activations:
            if activation.before is self.output and activation.kind != "square":
                return activation
        return None

    @cached_property
    def reach(self) -> tuple[float, float] | None:
        """Values that the output's activation takes where it still has a slope; ``None`` if all.

        For an activation with a flat side only, the upper end is infinite.
        """
        activation = self.activation
        if activation is None or not (activation.is_bounded or activation.rests):
            return None
        grid = np.linspace(-8, 8, 1601).astype(activation.before.type.dtype)
        form = self.network.scalar_form(activation.before, activation.after)
        y = np.asarray(form(grid), dtype=float)
        low, high = float(np.min(y)), float(np.max(y))
        margin = 0.05 * (high - low)
        if activation.is_bounded:
            return low + margin, high - margin
        return (low + margin, np.inf) if y[-1] == high else None

    @cached_property
    def broadcast(self) -> tuple[tuple[int, ...], ...] | None:
        """Shapes of an elementwise step that stretches both of its operands, if there is one."""
        for step in self.network.head:
            equation = step.equation
            shape = equation.outputs[0].type.shape
            shapes = tuple(v.type.shape for v in equation.inputs if v.type.size > 1)
            if equation.primitive.family != "elementwise" or len(shapes) < 2:
                continue
            if all(
                s != shape and np.prod(s, dtype=int) < np.prod(shape, dtype=int) for s in shapes
            ):
                return shapes
        return None
