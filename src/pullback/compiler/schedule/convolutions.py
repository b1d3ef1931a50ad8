"""How a convolution is cut: chunks, columns, and the working memory that each chunk needs.

Two forms, see ``loops/convolutions.py``: where the positions are many, filters slide over the
images; where the kernel is large, as for the cotangent of filters, its values are summed over.
"""

from __future__ import annotations

import math

from pullback.compiler.schedule.chunks import chunk_length
from pullback.compiler.schedule.steps import Schedule, aligned
from pullback.compiler.schedule.tiling import INNER, MAX_COPYING, panel_width, tile_shape
from pullback.compiler.schedule.windows import (
    Ints,
    copies_images,
    grid,
    is_image,
    slid,
    slides,
)
from pullback.core.graph import Equation

__all__ = ["ImageTiling", "SlideTiling", "SumTiling", "image_tiling"]

LINE = 128  # bytes of a cache line, and of its neighbour, which is loaded with it
GRAIN = 1 << 20  # multiplications of a chunk
LEAST_COLUMNS = 64  # of a part of the rows
LEAST_RUN = 8  # neighbours that are worth a load of their own


class ImageTiling:
    """What both forms share: sizes, and how many numbers of working memory a chunk has.

    ``numbers`` are those of each piece of it; pieces end where a cache line does.
    """

    n_chunks = 1

    def __init__(self, plan: Schedule, equation: Equation) -> None:
        x, w = equation.inputs
        (out,) = equation.outputs
        self.plan, self.equation = plan, equation
        self.item = out.type.dtype.itemsize
        self.shape = tile_shape(plan.processor, self.item)
        self.groups: int = equation.params["groups"]
        self.n_rows, n_channels, *_ = x.type.shape
        self.n_in = n_channels // self.groups
        self.n_out = out.type.shape[1] // self.groups
        self.window: Ints = w.type.shape[2:]
        self.positions: Ints = out.type.shape[2:]
        self.n_positions = math.prod(self.positions)
        self.reads = math.prod(self.window)
        self.width = panel_width(self.shape, self.n_out)
        self.numbers: list[int] = []

    @property
    def copies(self) -> list[str]:
        """The operands that it copies before it reads them."""
        return ["images"] if copies_images(self.equation) else []

    @property
    def scratch_bytes(self) -> int:
        return sum(aligned(self.bytes_of(n)) for n in self.numbers)

    def bytes_of(self, n: int) -> int:
        """Working memory for ``n`` numbers of every chunk."""
        return self.lines(n) * self.item * self.n_chunks

    def lines(self, n: int) -> int:
        """Numbers up to the end of the cache line: chunks do not share one."""
        return chunk_length(n, 1, LINE // self.item)

    def wanted(self, work: int, most: int) -> int:
        """Into how many chunks so many multiplications should be cut."""
        return 1 if self.plan.is_alone else max(1, min(work // GRAIN, most))


class SlideTiling(ImageTiling):
    """The positions are the columns; a chunk has some images.

    ``image`` are the numbers of a padded copy, ``sums`` those of sums at places between the
    positions too; 0 if there is none.
    """

    def __init__(self, plan: Schedule, equation: Equation) -> None:
        super().__init__(plan, equation)
        self.layout = layout = slid(equation)
        self.n_images = self.n_rows * self.groups
        work = self.n_images * self.n_out * self.n_in * self.reads * layout.span
        wanted = self.wanted(work, min(MAX_COPYING, self.n_images))
        self.in_chunk = chunk_length(self.n_images, wanted, 1)
        self.n_chunks = -(-self.n_images // self.in_chunk)
        lanes = self.shape.lanes
        runs = [lanes, lanes // 2] if lanes // 2 >= LEAST_RUN else [lanes]
        # Numbers of a load that reaches into no other row.
        self.run = next((n for n in runs if self.positions[-1] % n == 0), 0)
        self.columns, self.image = self.n_positions if self.run else layout.span, 0
        if not is_image(equation, layout):
            if self.columns != self.n_positions:
                self.columns = chunk_length(self.columns, 1, self.width)
            self.image = self.n_in * layout.length + self.width
        self.sums = self.n_out * self.columns if self.columns != self.n_positions else 0
        self.numbers = [n for n in (self.image, self.sums) if n]


class SumTiling(ImageTiling):
    """The kernel's values are summed over; a chunk has some channels, of some rows.

    ``parts`` are those of the rows, of which each has ``in_part``; the values of so many channels
    as are ``together`` are one block. ``n_sums`` sums are added up in the end.
    """

    def __init__(self, plan: Schedule, equation: Equation) -> None:
        super().__init__(plan, equation)
        params, size = equation.params, equation.outputs[0].type.size
        self.layout = grid(self.window, params["dilation"], self.positions, params["stride"])
        wanted = self.wanted(size * self.n_in * self.reads, MAX_COPYING // 2)
        most = max(1, min(wanted, self.n_rows * self.n_positions // LEAST_COLUMNS))
        self.parts = next(n for n in range(most, 0, -1) if self.n_rows % n == 0)
        self.in_part = self.n_rows // self.parts
        self.columns = self.in_part * self.n_positions
        most = max(1, min(self.n_in, INNER // self.reads))
        self.together = next(n for n in range(most, 0, -1) if self.n_in % n == 0)
        self.n_units = self.n_in // self.together
        self.in_chunk = chunk_length(
            self.n_units, min(max(1, wanted // self.parts), self.n_units), 1
        )
        self.n_sums = -(-self.n_units // self.in_chunk)
        self.n_chunks = self.n_sums * self.parts
        self.sums = self.groups * self.n_out * self.columns
        is_read = is_image(equation, self.layout)
        self.copy = 0 if is_read else self.together * self.in_part * self.layout.length
        self.panel = self.width * max(INNER, self.window[-1] % INNER)
        self.block = self.n_out * self.together * self.reads if self.together > 1 else 0
        self.numbers = [n for n in (self.sums, self.copy, self.panel, self.block) if n]


def image_tiling(plan: Schedule, equation: Equation) -> ImageTiling | None:
    """How a convolution is cut; nothing, where it is none or has no native form."""
    (out,) = equation.outputs
    dtypes = {v.type.dtype for v in (*equation.inputs, out)}
    if equation.primitive.name != "conv" or len(dtypes) > 1 or out.type.dtype.char not in "fd":
        return None
    if not all(v.type.size for v in (*equation.inputs, out)):
        return None
    return (SlideTiling if slides(equation) else SumTiling)(plan, equation)
