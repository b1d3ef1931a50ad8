"""The cheapest way to run a chain of unequal stages backward within a memory: Rotor's programme.

O. Beaumont, L. Eyraud-Dubois, J. Herrmann, A. Joly, A. Shilova (2019), *Optimal checkpointing for
heterogeneous chains: how to train deep neural networks with limited memory*, INRIA RR-9302,
section 4. It is optimal among schedules that hold what they have stored until it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["Action", "Chain", "Rotor"]

Action = tuple[Literal["keep all", "keep input", "keep nothing", "backward"], int]


@dataclass(frozen=True, slots=True)
class Chain:
    """Stages: times forward and backward, and sizes in slots.

    ``outputs[s]`` is what the next stage reads, ``tapes[s]`` all that the backward pass of the
    stage reads (its output included), ``gradients[s]`` the cotangent of its output; ``forward`` and
    ``backward`` working memory beside these.
    """

    forward_times: tuple[float, ...]
    backward_times: tuple[float, ...]
    outputs: tuple[int, ...]
    tapes: tuple[int, ...]
    gradients: tuple[int, ...]
    forward_working: tuple[int, ...]
    backward_working: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.outputs)


class Rotor:
    """Costs ``C(s, t, m)`` of stages ``s`` to ``t`` in memory ``m``, for all memories up to one."""

    def __init__(self, chain: Chain, slots: int) -> None:
        self.chain = chain
        self.slots = slots
        n = len(chain)
        self.best: dict[tuple[int, int], Any] = {}
        self.choice: dict[tuple[int, int], Any] = {}
        self.sums = np.concatenate([[0.0], np.cumsum(chain.forward_times)])
        for length in range(n):
            for s in range(n - length):
                self.solve(s, s + length)

    def solve(self, s: int, t: int) -> None:
        chain, memory = self.chain, np.arange(self.slots + 1)
        once = chain.forward_times[s] + chain.backward_times[s]
        tape, incoming = chain.tapes[s], chain.gradients[t]
        least = max(
            incoming + max(tape, chain.outputs[s]) + chain.forward_working[s],
            chain.gradients[s] + tape + chain.backward_working[s],
        )
        if s == t:
            self.best[s, t] = np.where(memory >= least, once, np.inf)
            self.choice[s, t] = np.zeros(self.slots + 1, np.int64)
            return
        costs = np.full((t - s + 1, self.slots + 1), np.inf)
        costs[0] = np.where(memory >= least, once + self.shifted(s + 1, t, tape), np.inf)
        moving = max(
            chain.outputs[s] + chain.forward_working[s],
            *(
                chain.outputs[j - 1] + chain.outputs[j] + chain.forward_working[j]
                for j in range(s + 1, t)
            ),
            0,
        )
        for stop in range(s + 1, t + 1):
            forward = self.sums[stop] - self.sums[s]
            costs[stop - s] = (
                forward + self.shifted(stop, t, chain.outputs[stop - 1]) + self.best[s, stop - 1]
            )
        costs[1:, memory < incoming + moving] = np.inf
        self.choice[s, t] = costs.argmin(axis=0)
        self.best[s, t] = costs.min(axis=0)

    def shifted(self, s: int, t: int, taken: int) -> Any:
        """Costs of stages ``s`` to ``t`` in what is left when ``taken`` slots are not free."""
        shifted = np.full(self.slots + 1, np.inf)
        if taken <= self.slots:
            shifted[taken:] = self.best[s, t][: self.slots + 1 - taken]
        return shifted

    def cost(self, memory: int) -> float:
        """Time of the whole chain in ``memory`` slots; infinite if it does not fit."""
        return float(self.best[0, len(self.chain) - 1][min(memory, self.slots)])

    def actions(self, memory: int) -> list[Action]:
        """What to do in ``memory`` slots, in which the chain must fit."""
        found: list[Action] = []
        waiting: list[Any] = [(0, len(self.chain) - 1, min(memory, self.slots))]
        while waiting:
            part = waiting.pop()
            if isinstance(part[0], str):
                found.append(part)
                continue
            s, t, m = part
            k = int(self.choice[s, t][m])
            if k == 0:
                found.append(("keep all", s))
                waiting.append(("backward", s))
                if t > s:
                    waiting.append((s + 1, t, m - self.chain.tapes[s]))
                continue
            found.append(("keep input", s))
            found += [("keep nothing", j) for j in range(s + 1, s + k)]
            waiting.append((s, s + k - 1, m))
            waiting.append((s + k, t, m - self.chain.outputs[s + k - 1]))
        return found
