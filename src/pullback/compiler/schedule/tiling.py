"""How a matrix product is cut: blocks for the caches, panels and tiles for the registers.

A product is cut into panels: a few columns of a block of B, which stay in the nearest cache while
all rows of A are multiplied with them. What a tile would read at large strides is copied first.
"""

from __future__ import annotations

from typing import NamedTuple

from pullback.compiler.schedule.chunks import chunk_length
from pullback.compiler.schedule.target import Processor

__all__ = [
    "FEW",
    "INNER",
    "MAX_COPYING",
    "STRIP",
    "Blocks",
    "Layout",
    "ProductTiling",
    "TileShape",
    "blocks_of",
    "needs_copy",
    "needs_copy_of_b",
    "panel_width",
    "part",
    "pieces",
    "split",
    "tile_shape",
]

SHALLOW = 8  # steps of the inner dimension, which take less than the writes of a tile
INNER = 256  # numbers of the inner dimension in a block: a panel takes two vectors for each
ROWS = 144  # of a block of A with so many numbers in a row
FEW = 4  # rows of C, for which memory is the limit: its pages are read from end to end
STRIP = 32  # rows of B that are read together for them
LARGE = 1 << 18  # bytes of C, for which deeper blocks pay
MUCH = 256  # columns that are worth a copy of A
NEAR = 24 << 10  # bytes that are read at any stride without loss
MAX_COPYING = 16  # chunks of a product, each of which copies its parts of the operands
SPREAD_A = 1 << 17  # bytes of rows, of each of which a tile reads a few numbers without loss
SPREAD_B = 1 << 16  # and a panel some vectors, if there are fewer


class TileShape(NamedTuple):
    """Rows of the highest tile, numbers in a vector, vectors in a row of a tile of 1, 2... rows."""

    height: int
    lanes: int
    vectors: tuple[int, ...]


def tile_shape(processor: Processor, item: int, depth: int | None = None) -> TileShape:
    """Tiles of numbers of ``item`` bytes.

    Of shallow products, whose inner dimension has few steps, tiles are half as high and wider: they
    write longer rows.
    """
    is_shallow = depth is not None and depth <= SHALLOW
    height = processor.height // (2 if is_shallow else 1)
    return TileShape(height, processor.vector_bytes // item, processor.tiles)


class Layout(NamedTuple):
    """Where the matrices of a product lie: numbers between rows, and whether they are transposed.

    ``a_row`` and ``b_row`` are those of the matrices as they lie in memory.
    """

    a_row: int
    b_row: int
    c_row: int
    a_transposed: bool
    b_transposed: bool


class Blocks(NamedTuple):
    """How a product is cut for the caches.

    Numbers of the inner dimension, rows of A, which stay in the second cache, and bytes of the copy
    of some columns of B.
    """

    inner: int
    rows: int
    strip_bytes: int


def blocks_of(sizes: tuple[int, int, int], item: int) -> Blocks:
    """Blocks of a product of these sizes: deeper where C is large, which each of them adds to."""
    m, n, k = sizes
    if m <= FEW and n > MUCH:
        return Blocks(split(k, STRIP)[0][2] if k else 1, ROWS, 1 << 17)
    is_large = m > ROWS and m * n * item >= LARGE
    depth, *others = (8 * INNER, 48, 1 << 20) if is_large else (INNER, ROWS, 1 << 17)
    return Blocks(split(k, depth)[0][2] if k else 1, *others)


class ProductTiling:
    """How a product of matrices of fixed sizes runs; it takes ``scratch_bytes`` of working memory.

    Of A and B, those that are ``shared`` are copies that several products read.
    """

    def __init__(
        self,
        shape: TileShape,
        sizes: tuple[int, int, int],
        layout: Layout,
        blocks: Blocks,
        item: int,
        shared: tuple[bool, bool] = (False, False),
    ) -> None:
        self.shape = shape
        self.sizes = sizes
        m, n, _ = sizes
        self.layout = layout
        self.shared = shares_a, shares_b = shared
        self.a_row, self.a_step = (1, layout.a_row) if layout.a_transposed else (layout.a_row, 1)
        self.blocks, self.inner = blocks, blocks.inner
        self.rows = part(m, -(-m // blocks.rows), shape.height)  # of a block
        self.width = panel_width(shape, shape.height if shares_b else m)
        self.copies_a = shares_a or needs_copy(sizes, layout, item, blocks)
        self.copies_b = shares_b or needs_copy_of_b(sizes, layout, item, blocks, shape.height)
        self.is_dots = m == self.a_step == 1 and layout.b_transposed and not any(shared)
        is_read_once = self.rows == m and not any(shared) and not self.copies_a
        at_once = 1 if is_read_once else blocks.strip_bytes // (self.width * self.inner * item)
        self.strip = self.width * max(1, at_once)
        strip = min(n, self.strip) * self.inner
        self.strip_bytes = strip * item if self.copies_b and not shares_b else 0
        a_bytes = self.rows * self.inner * item if self.copies_a and not shares_a else 0
        self.scratch_bytes = 0 if self.is_dots else self.strip_bytes + a_bytes

    def parts(self, operand: int) -> tuple[int, int]:
        """Rows of A, or columns of B, and how many of them are a part of its copy: not all."""
        m, n, _ = self.sizes
        if operand:
            return n, min(self.strip, chunk_length(n, 2, self.width))
        return m, self.rows

    def n_shares(self, operand: int) -> int:
        """Parts of the copy of A or B."""
        length, most = self.parts(operand)
        return -(-length // most) * -(-self.sizes[2] // self.inner)


def needs_copy(sizes: tuple[int, int, int], layout: Layout, item: int, blocks: Blocks) -> bool:
    """Whether reading A in place is slower: what a tile reads of it lies apart."""
    m, n, k = sizes
    if layout.a_transposed and n <= MUCH:
        return n > 32 and blocks.inner * layout.a_row * item > SPREAD_A
    is_apart = n > MUCH and (layout.a_transposed or blocks.inner < k)
    return is_apart and m * blocks.inner * item > NEAR


def needs_copy_of_b(
    sizes: tuple[int, int, int], layout: Layout, item: int, blocks: Blocks, height: int
) -> bool:
    """Whether the rows of a panel of B lie too far apart to stay in the nearest cache."""
    is_apart = blocks.inner * layout.b_row * item >= SPREAD_B
    return layout.b_transposed or (is_apart and sizes[0] > 4 * height)


def split(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of nearly equal size that are no larger than ``most``: (start, count, size)."""
    parts = -(-n // most)
    small, n_large = divmod(n, parts)
    groups = [(0, n_large, small + 1), (n_large * (small + 1), parts - n_large, small)]
    return [group for group in groups if group[1]]


def pieces(n: int, most: int) -> list[tuple[int, int, int]]:
    """Parts of size ``most`` and the rest: (start, count, size)."""
    whole, rest = divmod(n, most)
    groups = [(0, whole, most), (whole * most, 1, rest)]
    return [group for group in groups if group[1] and group[2]]


def part(n: int, count: int, multiple: int) -> int:
    """The length of ``count`` parts: of equal ones if they can be, which share their code."""
    return chunk_length(n, count, multiple) if n % count else n // count


def panel_width(shape: TileShape, m: int) -> int:
    """Columns of a panel: few rows leave registers for more of them."""
    rows = split(m, shape.height)[0][2]
    return shape.lanes * shape.vectors[rows - 1]
