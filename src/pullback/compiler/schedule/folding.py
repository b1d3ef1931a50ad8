"""How a reduction is folded: over which axes, in which form, and cut into how many chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from pullback.compiler.schedule.axes import Axis, joined, joints
from pullback.compiler.schedule.chunks import MAX_CHUNKS, cut
from pullback.compiler.schedule.questions import is_extreme_of_none, is_plain
from pullback.compiler.schedule.scalar_types import TypedScalars, is_native
from pullback.compiler.schedule.steps import Group, Schedule, Shape, Step, aligned
from pullback.core.graph import Equation

__all__ = ["BLOCK", "Folding", "cut_of"]

FEW = 9  # elements that are folded without a loop: those of a window
BLOCK = 1024  # elements that are folded before their sum is added to the others
STATE_BYTES = 8  # of one number of the state of a fold, whatever its dtype


def cut_of(
    plan: Schedule, step: Step, shape: Sequence[int], most: int = MAX_CHUNKS, wanted: int = 0
) -> tuple[int, int, int]:
    """How the loops of a step over ``shape`` are cut: the axis, the length of a chunk, the number.

    A member of a chain has the ``wanted`` number of chunks of that.
    """
    parts = step.members if isinstance(step, Group) else (step,)
    work = 0 if plan.is_alone else sum(map(plan.work, parts))
    axis, length, n_chunks = cut(shape, work, most)
    if wanted:
        axis = next(i for i, n in enumerate(shape) if n > 1)  # those before are joined to it
        return axis, shape[axis] // wanted, wanted
    return axis, length, n_chunks


class Folding:
    """A reduction: ``n`` elements for each number of the output.

    ``along`` are the lengths of the loops over the axes that go, ``kept`` the other axes; a fold
    that ``is_flat`` is one loop over a whole operand. What ``has_blocks`` is folded block by block.
    """

    def __init__(self, plan: Schedule, equation: Equation) -> None:
        (self.x,), (self.out,) = equation.inputs, equation.outputs
        self.plan, self.equation = plan, equation
        self.fold = equation.primitive.scalar
        self.axis: Shape = equation.params["axis"]
        x, out = self.x.type, self.out.type
        self.n = math.prod(x.shape[i] for i in self.axis)
        self.dtype = out.dtype if np.can_cast(x.dtype, out.dtype) else x.dtype
        self.kept = [i for i in range(x.ndim) if i not in self.axis]
        self.is_flat = not self.kept and is_plain(plan, self.x)
        self.along = [self.n] if self.is_flat else self.lengths()
        self.has_blocks = self.n > 2 * BLOCK

    def lengths(self) -> list[int]:
        """Of the loops over the axes that go; neighbours run as one where they can be read so."""
        shape = self.x.type.shape
        straight = [Axis(k) for k in range(len(shape))]
        both_go = {i for i in self.axis if i + 1 in self.axis}
        found = joined(shape, joints(self.plan, [(self.x, straight)], shape) & both_go)
        return [found[i] for i in self.axis]

    @cached_property
    def state(self) -> tuple[np.dtype, ...]:
        """The dtypes of the numbers that a fold carries along."""
        return tuple(self.fold.start(TypedScalars(), self.dtype))

    @property
    def state_bytes(self) -> int:
        return STATE_BYTES * len(self.state)

    @cached_property
    def form(self) -> str:
        """``few``: no loop; ``rows``: row by row; ``whole``: one number; ``each``: one by one."""
        x, out = self.x.type, self.out.type
        if self.kept and 1 < self.n <= FEW:
            return "few"
        rows_last = self.kept and self.kept[-1] == x.ndim - 1 and x.shape[-1] > 1
        if rows_last and self.state == (out.dtype,):
            return "rows"
        return "each" if self.kept else "whole"

    def keeps_rows(self, n_chunks: int) -> bool:
        """Whether each of the chunks has an output of its own, where these are small."""
        return n_chunks > 1 and 8 * n_chunks * self.out.type.size <= self.x.type.size

    def scratch_bytes(self, step: Step, wanted: int = 0) -> int:
        """Working memory for what the chunks of a step find, if they have to be merged."""
        x = self.x.type
        if not (is_native(self.dtype) and is_native(x.dtype)) or is_extreme_of_none(self.equation):
            return 0
        if self.form not in ("rows", "whole"):
            return 0
        _, _, n = cut_of(self.plan, step, self.along, wanted=wanted)
        if self.form == "whole":
            return aligned(self.state_bytes * n) if n > 1 else 0
        return aligned(aligned(self.out.type.nbytes) * n) if self.keeps_rows(n) else 0
