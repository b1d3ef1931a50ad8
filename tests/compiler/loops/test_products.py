"""Generated matrix products against NumPy in float64, and the memory around them."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import pullback as pb
from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.compiler.llvm.builder import Module
from pullback.compiler.llvm.tiles import Tiles
from pullback.compiler.loops.products import Product
from pullback.compiler.schedule import stacks, tiling

pytestmark = pytest.mark.usefixtures("processor")
rng = np.random.default_rng(0)
LAYOUTS = [(False, False), (True, False), (False, True), (True, True)]
ROWS = (1, 2, 3, 5, 6, 7, 11, 12, 13)  # around the height of a tile
COLUMNS = (1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 25, 33, 49, 65)  # around vectors and panels
INNER = (0, 1, 7, 8, 9, 256, 257, 600)
LARGE = [(300, 40, 130), (100, 257, 260), (97, 150, 120), (193, 33, 64), (200, 17, 130)]
GUARD = 32  # numbers on each side of an array


def cases() -> list[tuple[int, int, int, bool, bool]]:
    """All numbers of rows, columns and inner numbers, and sizes whose operands are copied."""
    shapes = {(m, int(rng.choice(COLUMNS)), k) for m in ROWS for k in INNER}
    shapes |= {(int(rng.choice(ROWS)), n, int(rng.choice(INNER))) for n in COLUMNS}
    chosen = [*sorted(shapes), *LARGE]
    return [(*shape, *LAYOUTS[i % 4]) for i, shape in enumerate(chosen)] + [
        (*shape, *layout) for shape in LARGE[:3] for layout in LAYOUTS
    ]


def in_place(m: int, n: int, k: int, a_transposed: bool, b_transposed: bool) -> tiling.Layout:
    """Matrices without anything between their rows."""
    rows = m if a_transposed else k, k if b_transposed else n, n
    return tiling.Layout(*rows, a_transposed, b_transposed)


def blocks(sizes: tuple[int, int, int], tiles: Tiles) -> tiling.Blocks:
    return tiling.blocks_of(sizes, tiles.dtype.itemsize)


def compiled(
    dtype: str, shapes: list[tuple[int, int, int, bool, bool]]
) -> Iterator[tuple[Callable, int]]:
    """One function of the addresses of a, b, c and working memory for each case."""
    module = Module("products", assembler.processor())
    tiles = Tiles(module, np.dtype(dtype))
    item = tiles.dtype.itemsize
    made = [
        Product(
            tiles,
            tiling.ProductTiling(
                tiles.shape,
                case[:3],
                in_place(*case),
                blocks(case[:3], tiles),
                item,
            ),
        )
        for case in shapes
    ]
    names = []
    for product in made:
        function = product.function()
        function.linkage = ""
        names.append(function.name)
    code = executable.load(assembler.compiled(str(module)))
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
    for name, product in zip(names, made, strict=True):
        yield kind(code.address(name)), product.tiling.scratch_bytes


def guarded(shape: tuple[int, ...], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """An array of NaN inside of a longer one of NaN."""
    n = int(np.prod(shape))
    memory = np.full(n + 2 * GUARD, np.nan, dtype)
    return memory, memory[GUARD : GUARD + n].reshape(shape)


def intact(memory: np.ndarray) -> bool:
    """Whether nothing was written around the array."""
    return bool(np.isnan(memory[:GUARD]).all() and np.isnan(memory[-GUARD:]).all())


def is_product(out: np.ndarray, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether ``out`` is the product up to the rounding of each of its terms."""
    a, b, k, eps = a.astype(np.float64), b.astype(np.float64), a.shape[-1], np.finfo(out.dtype).eps
    return bool(np.all(abs(out - a @ b) <= eps * (k + 1) * (abs(a) @ abs(b))))


def not_finite(x: np.ndarray) -> np.ndarray:
    """The numbers that are infinite or NaN; 0 instead of the others."""
    return np.where(np.isfinite(x), 0, x)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("is_deep", [False, True])
def test_product(dtype, is_deep, monkeypatch):
    """Also with the blocks of large products, some of them one behind the other."""
    shapes = cases()
    if is_deep:
        for name, value in (("INNER", 13), ("ROWS", 0), ("LARGE", 0)):
            monkeypatch.setattr(tiling, name, value)
        assert {tiling.blocks_of(case[:3], 4).inner for case in shapes} > {86, 100}
    for case, (run, scratch_bytes) in zip(shapes, compiled(dtype, shapes), strict=True):
        m, n, k, a_transposed, b_transposed = case
        (_, a), (_, b) = guarded((m, k), dtype), guarded((k, n), dtype)
        if a_transposed:
            a = a.reshape(k, m).T
        if b_transposed:
            b = b.reshape(n, k).T
        a[...], b[...] = rng.normal(size=(m, k)), rng.normal(size=(k, n))
        around, out = guarded((m, n), dtype)
        beyond, scratch = guarded((scratch_bytes // np.dtype(dtype).itemsize,), dtype)
        run(*(x.ctypes.data for x in (a, b, out, scratch)))
        assert is_product(out, a, b), case
        for x in (a, b):
            special = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan], x.shape)
            np.copyto(x, special, where=rng.uniform(size=x.shape) < 0.3 / max(k, 9))
        run(*(x.ctypes.data for x in (a, b, out, scratch)))
        terms = a.astype(np.float64)[:, :, None] * b
        np.testing.assert_array_equal(not_finite(out), not_finite(np.sum(terms, 1)), str(case))
        assert intact(around), case
        assert intact(beyond), case


STACKS = [
    ((3, 4, 5), (3, 5, 2)),
    ((2, 1, 4, 5), (3, 5, 7)),
    ((6, 4, 5), (5, 9)),
    ((2, 3, 4, 5), (1, 1, 5, 9)),
    ((4, 5), (3, 5, 6)),
    ((3, 4, 5), (5,)),
    ((5,), (3, 5, 6)),
    ((5,), (5,)),
    ((4, 5), (5,)),
    ((5,), (5, 1)),
    ((2, 0, 5), (5, 3)),
    ((3, 4, 0), (0, 2)),
    ((3, 4, 0), (3, 0, 1)),
    ((0, 4, 5), (5, 3)),
    ((1, 4, 5), (5, 1)),
    ((3, 170, 170), (170, 170)),
    ((40, 60, 65), (40, 65, 70)),  # several in a chunk
    ((2, 210, 300), (2, 300, 200)),  # several chunks for each
]


def swapped(x: np.ndarray) -> np.ndarray:
    """The same numbers, with the last two axes exchanged in memory."""
    return np.ascontiguousarray(np.swapaxes(x, -1, -2)) if x.ndim > 1 else x


@pytest.mark.parametrize(("a_shape", "b_shape"), STACKS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matmul_of_stacks(a_shape, b_shape, dtype):
    a, b = (rng.normal(size=shape).astype(dtype) for shape in (a_shape, b_shape))
    for left, right in LAYOUTS:

        def product(x, y, left=left, right=right):
            x = np.swapaxes(x, -1, -2) if left and a.ndim > 1 else x
            y = np.swapaxes(y, -1, -2) if right and b.ndim > 1 else y
            return x @ y

        out = pb.compile(product)(swapped(a) if left else a, swapped(b) if right else b)
        assert out.dtype == dtype
        assert out.shape == (a @ b).shape
        assert is_product(out, a, b)


AXES = list(itertools.permutations(range(4)))


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("sizes", [(5, 6, 7), (40, 300, 50), (1, 9, 8), (8, 9, 1)])
def test_matrices_are_read_where_they_are(axes, sizes):
    """Stacks whose axes lie in memory in any order; copied if no axis of a matrix is last."""
    m, k, n = sizes
    a, b = rng.normal(size=(2, 3, m, k)), rng.normal(size=(2, 3, k, n))
    order = np.argsort(axes)

    def product(x, y, z):
        x, y = np.transpose(x, order), np.transpose(y, order)
        return x @ y, x @ z

    memory = [np.ascontiguousarray(np.transpose(x, axes)) for x in (a, b)]
    f = pb.compile(product)
    for out, right in zip(f(*memory, b[1, 2]), (b, b[1, 2]), strict=True):
        assert is_product(out, a, right)
    is_free = axes[-1] in (2, 3)
    assert ("= transpose" in f.show("loops", *memory, b[1, 2])) != is_free


EITHER = list(itertools.product((False, True), repeat=2))


@pytest.mark.parametrize(("left", "right"), EITHER)
def test_pieces_share_copies(left, right, processor, monkeypatch):
    """Pieces of the same rows have one copy of these of A, of the same columns one of B."""
    m, n, k = 1045, 2002, 300
    monkeypatch.setattr(tiling, "LARGE", 1 << 30)
    a, b = rng.normal(size=(m, k)).astype("f"), rng.normal(size=(k, n)).astype("f")

    def product(x, y):
        return np.tanh((x.T if left else x) @ (y.T if right else y))

    out = pb.compile(product)(swapped(a) if left else a, swapped(b) if right else b)
    np.testing.assert_allclose(out, np.tanh(a @ b), rtol=2e-4, atol=2e-4)
    tiles = Tiles(Module("sizes", processor), np.dtype(np.float32))
    layout = in_place(m, n, k, left, right)
    grid = stacks.cut_product(1, (m, n, k), layout, tiles.shape, 4, 10**8)
    for length, part in ((m, grid.rows), (n, grid.columns)):
        assert length / part > stacks.SHARED
        assert length % part  # the last piece has a smaller copy
    known = (m, n, k), layout, tiles.dtype.itemsize, blocks((m, n, k), tiles)
    assert tiling.needs_copy(*known)
    assert tiling.needs_copy_of_b(*known, tiles.height)


@pytest.mark.parametrize(("left", "right"), EITHER)
@pytest.mark.parametrize(("rows", "last"), [(30, 1), (30, 2), (30, 3), (30, 30), (200, 30)])
def test_last_pieces_read_shared_copies(monkeypatch, left, right, rows, last):
    """Few rows have wider panels, but not of a copy that other pieces read too.

    They are copied in fewer parts than those of other pieces.
    """
    a, b = rng.normal(size=(4 * rows + last, 300)), rng.normal(size=(300, 290))
    monkeypatch.setattr(stacks, "cut_product", lambda *args: stacks.Pieces(rows, 48, 300, 1))

    def product(x, y):
        return (x.T if left else x) @ (y.T if right else y)

    assert is_product(
        pb.compile(product)(swapped(a) if left else a, swapped(b) if right else b), a, b
    )


@pytest.mark.parametrize("n", [80, 100, 300, 784, 2002])
def test_pieces_end_between_vectors(n, processor):
    """A part of a vector takes as long as a whole one."""
    tiles = Tiles(Module("sizes", processor), np.dtype(np.float32))
    grid = stacks.cut_product(
        1, (32, n, 900), in_place(32, n, 900, False, False), tiles.shape, 4, 0
    )
    assert grid.columns < n
    assert grid.columns % tiles.lanes == 0


@pytest.mark.parametrize("k", [1, 4, 8, 9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shallow_products_have_wide_tiles(k, dtype, processor):
    a, b = (rng.normal(size=size).astype(dtype) for size in ((61, k), (k, 150)))
    assert is_product(pb.compile(np.matmul)(a, b), a, b)
    tiles = Tiles(Module("tiles", processor), np.dtype(dtype), k)
    rows = processor.height // (1 if k > 8 else 2)
    text = pb.compile(np.matmul).show("llvm", a, b)
    assert f'@"tile_{61 // -(-61 // rows)}x{tiling.panel_width(tiles.shape, 61)}_' in text


PIECES = [(700, 130, 300), (130, 700, 300), (1000, 7, 500), (1, 3000, 900), (5, 5000, 257)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "n", "k"), PIECES)
def test_products_in_pieces(m, n, k, dtype):
    """Results do not depend on the threads, which all write into one array."""
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    for left, right in LAYOUTS:

        def product(x, y, left=left, right=right):
            return (x.T if left else x) @ (y.T if right else y)

        args = swapped(a) if left else a, swapped(b) if right else b
        out = pb.compile(product, threads=3)(*args)
        assert is_product(out, a, b)
        np.testing.assert_array_equal(out, pb.compile(product, threads=1)(*args))


def of_vectors(a: np.ndarray, b: np.ndarray) -> dict[str, tuple[Callable, tuple, np.ndarray]]:
    """Products of few rows: functions, their arguments and what they give."""
    c = a.astype(np.float64) @ b
    bias = rng.normal(size=c.shape[1:]).astype(a.dtype)
    return {
        "rows": (lambda x, y: x @ y, (a, b), c),
        "columns of A": (lambda x, y: x.T @ y, (swapped(a), b), c),
        "columns of both": (lambda x, y: x.T @ y.T, (swapped(a), swapped(b)), c),
        "a map": (lambda x, y, z: np.tanh(x @ y + z), (a, b, bias), np.tanh(c + bias)),
        "a vector": (lambda x, y: x @ y, (a[0], b), c[0]),
        "a matrix and a vector": (lambda x, y: y.T @ x, (a[0], b), c[0]),
        "a vector and a map": (lambda x, y, z: np.exp(-abs(x @ y + z)), (a[0], b, bias),
                               np.exp(-abs(c[0] + bias))),
        "a map before": (lambda x, y: np.sin(x) @ y, (a, b), np.sin(a.astype(np.float64)) @ b),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1, 700, 600), (1, 1, 5000), (1, 37, 4001), (2, 257, 512), (4, 1000, 300), (5, 300, 900)],
)
def test_products_of_few_rows_in_parts_of_the_inner_dimension(m, n, k, dtype, monkeypatch):
    monkeypatch.setattr(stacks, "FAR", 0)
    monkeypatch.setattr(stacks, "GRAIN", 1000)
    a, b = (rng.normal(size=size).astype(dtype) for size in ((m, k), (k, n)))
    eps = np.finfo(dtype).eps
    bound = eps * (k + 1) * float(np.max(abs(a.astype(np.float64)) @ abs(b)))
    for name, (f, args, expected) in of_vectors(a, b).items():
        out = pb.compile(f, threads=3)(*args)
        np.testing.assert_allclose(out, expected, rtol=8 * eps, atol=bound, err_msg=name)
        np.testing.assert_array_equal(out, pb.compile(f, threads=1)(*args), name)


@pytest.mark.parametrize(
    ("m", "n", "k", "is_cut"),
    [
        (1, 1000, 1000, True),
        (4, 1000, 1000, True),
        (5, 1000, 1000, False),
        (1, 500, 500, False),  # in the second cache
        (1, 3000, 200, False),  # too shallow
        (1, 10, 100_000, True),
        (1, 1, 1_000_000, True),
    ],
)
def test_the_inner_dimension_is_cut_where_little_is_added_up(m, n, k, is_cut, processor):
    tiles = Tiles(Module("sizes", processor), np.dtype(np.float32))
    for transposed in (False, True):
        kind = (m, n, k), in_place(m, n, k, transposed, False), tiles.shape, 4, 0
        assert (stacks.cut_product(1, *kind).depth < k) == is_cut
        assert stacks.cut_product(2, *kind).depth == k
        assert stacks.cut_product(1, *kind, True).depth == k


@pytest.mark.parametrize(("m", "n", "k"), [(2, 4, 300_000), (20, 40, 10_000), (250, 34, 900)])
def test_long_products_do_not_need_a_long_stack(m, n, k):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(k, m)), rng.normal(size=(n, k))
    got = pb.compile(lambda a, b: (a.T @ b.T, a.T.copy() @ b.T))(a, b)
    for value in got:
        np.testing.assert_allclose(value, a.T @ b.T, rtol=1e-10, atol=1e-9)
