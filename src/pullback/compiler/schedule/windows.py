"""Where convolutions find images: in copies with padding, where successive values are neighbours.

An image is copied once, with its padding, so that the values which one kernel value reads at
successive positions are neighbours: a stride sorts them into phases.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pullback.core.graph import Equation

__all__ = ["Grid", "Ints", "copies_images", "grid", "is_image", "slid", "slides"]

Ints = tuple[int, ...]


def slides(equation: Equation) -> bool:
    """Whether the positions are the columns of the product, so that a tail may follow an image."""
    if equation.primitive.name != "conv":
        return False
    x, w = equation.inputs
    (out,) = equation.outputs
    dtypes = {v.type.dtype for v in (x, w, out)}
    is_native = len(dtypes) == 1 and out.type.dtype in (np.float64, np.float32)
    has_values = all(v.type.size for v in (x, w, out))
    return is_native and has_values and out.type.shape[-1] >= w.type.shape[-1]


class Grid(NamedTuple):
    """How a copy of an image is laid out: phases, in each a box of values.

    The value at ``run * run_step + at * at_step`` of the padded image lies ``run`` behind the start
    of ``at``, in steps of ``strides``.
    """

    phases: Ints  # per axis
    box: Ints
    strides: Ints  # of the axes of a box
    starts: tuple[int, ...]  # for every ``at``, in row-major order
    run: Ints

    @property
    def length(self) -> int:
        """Numbers in the copy of one channel."""
        return math.prod(self.phases) * math.prod(self.box)

    def positions(self, step: int) -> Iterator[int]:
        """Where every ``step``-th run starts, in row-major order, of those along the last axis."""
        *others, last = map(range, self.run)
        for place in itertools.product(*others, last[::step]):
            yield sum(i * s for i, s in zip(place, self.strides, strict=True))

    @property
    def span(self) -> int:
        """From the first run to the last, both included."""
        return 1 + sum((n - 1) * s for n, s in zip(self.run, self.strides, strict=True))


def grid(run: Ints, run_step: Ints, at: Ints, at_step: Ints) -> Grid:
    """The layout in which the runs that begin at each ``at`` are neighbours in memory."""
    box = tuple(
        n + (m - 1) * step // phase
        for n, phase, m, step in zip(run, run_step, at, at_step, strict=True)
    )
    strides = tuple(math.prod(box[i + 1 :]) for i in range(len(box)))
    starts = []
    for place in itertools.product(*map(range, at)):
        moved = [i * step for i, step in zip(place, at_step, strict=True)]
        phase = 0
        for t, n in zip(moved, run_step, strict=True):
            phase = phase * n + t % n
        inside = sum(t // n * s for t, n, s in zip(moved, run_step, strides, strict=True))
        starts.append(phase * math.prod(box) + inside)
    return Grid(run_step, box, strides, tuple(starts), run)


def slid(equation: Equation) -> Grid:
    """The copy of an image over which the filters of a convolution slide."""
    params, positions = equation.params, equation.outputs[0].type.shape[2:]
    window = equation.inputs[1].type.shape[2:]
    return grid(positions, params["stride"], window, params["dilation"])


def is_image(equation: Equation, layout: Grid) -> bool:
    """Whether the copy would be the image itself."""
    x, params = equation.inputs[0], equation.params
    is_dense = all(n == 1 for n in (*layout.phases, *params["input_dilation"]))
    return is_dense and layout.box == x.type.shape[2:] and not any(sum(params["padding"], ()))


def copies_images(equation: Equation) -> bool:
    """Whether filters slide over padded copies of the images."""
    return slides(equation) and not is_image(equation, slid(equation))
