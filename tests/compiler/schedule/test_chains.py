"""Steps over stacks of matrices: one job, in which each matrix goes through all of them."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from tests.compiler.comparing import check

import pullback as pb
from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.compiler.llvm.builder import I8, I64, POINTER, Module, ir
from pullback.compiler.program.table import Member, emit_chain
from pullback.compiler.schedule.scratch import ChainScratch

RNG = np.random.default_rng(0)
STACK = 4, 6
A, B, C = (RNG.normal(size=(*STACK, 20, 20)) for _ in range(3))
LONG = RNG.normal(size=(24, 24, 24, 24))


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def attention(q, k, v):
    return softmax(q @ np.swapaxes(k, -1, -2)) @ v


def jobs(f, *args):
    """How many kernels, or loops of one, each step has."""
    lines = pb.compile(f).show("loops", *args).splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith(("kernel", "arena"))]
    return [stop - start for start, stop in itertools.pairwise(starts)]


def test_attention_is_one_job():
    assert jobs(attention, A, B, C) == [6]
    check(attention, A, B, C)


def test_gradient_of_attention_is_one_job():
    """Two products forward and four backward, with two kernels of rows of many loops."""
    f = pb.grad(lambda q, k, v: np.sum(np.tanh(attention(q, k, v)) * C), argnums=(0, 1, 2))
    assert jobs(f, A, B, C) == [17]
    check(f, A, B, C)


def test_heads_of_rows_are_read_in_place():
    """Heads that are columns of a matrix come from other steps, and go to others."""
    x, w = RNG.normal(size=(4, 20, 48)), RNG.normal(size=(48, 48)) / 7

    def heads(y):
        return np.transpose(np.reshape(y, (4, 20, 6, 8)), (0, 2, 1, 3))

    def f(x, w):
        y = attention(heads(x @ w), heads(x @ (w + 1)), heads(x @ (w - 1)))
        return np.reshape(np.transpose(y, (0, 2, 1, 3)), (4, 20, 48)) @ w

    assert 6 in jobs(f, x, w)
    check(f, x, w)
    check(pb.grad(lambda w: np.sum(f(x, w) ** 2)), w)


def exchanged(a, b, c):
    """Each matrix of the second stack is read with another number."""
    return (a @ b) @ np.transpose(a @ c, (1, 0, 2, 3))


def reversed_stack(a, b, c):
    p = a @ b
    return (p @ c)[::-1], p[:, ::-1] @ c


def rows_as_stack(a, b, c):
    """The axes of the stack are those of the matrices elsewhere."""
    p = a @ b
    return p @ c + np.transpose(p, (2, 3, 0, 1)) @ c


def all_of_stack(a, b, c):
    p = a @ b
    return p @ np.sum(p, axis=(0, 1)), p - np.mean(p, axis=(0, 1)) @ c[0, 0]


def written_over(a, b, c):
    """Maps could write over what a product before them reads as a whole."""
    x = np.tanh(a)
    p = (b @ np.transpose(x, (1, 0, 2, 3))) @ c
    return p + x, p * x


def read_later(a, b, c):
    """Maps could write over what a product after them reads."""
    x = np.tanh(a)
    p = a @ b
    return ((p + x) @ c) * 2, (p * x) @ c, (p @ c) @ x


def broadcast(a, b, c):
    p = a[:1] @ b
    return softmax(p @ c[:, :1]) @ b


@pytest.mark.parametrize(
    "f",
    [
        exchanged,
        reversed_stack,
        rows_as_stack,
        all_of_stack,
        written_over,
        read_later,
        broadcast,
    ],
)
def test_what_reads_other_matrices_waits(f):
    args = (LONG, LONG + 1, LONG - 1) if f is not broadcast else (A, B, C)
    small = [x / 20 for x in args]
    check(f, *small)


def test_tail_waits_for_its_operands():
    """The product could follow the one before, but what is added to it needs all of that."""
    a, b, c = (RNG.normal(size=(24, n, m)) / 9 for n, m in ((16, 200), (200, 16), (16, 16)))

    def f(a, b, c):
        p = a @ b
        return (p @ c) + np.cumsum(p, axis=0)

    assert "then: float64[24,16,16] = add" in pb.compile(f).show("loops", a, b, c)
    check(f, a, b, c)


def test_rows_of_data_are_read_once_for_two_vectors():
    data = RNG.normal(size=(4000, 50))

    def f(x, v, w):
        y = x @ v
        return np.tanh(y) * (x @ w)

    assert jobs(f, data, data[0], data[1]) == [3]
    check(f, data, data[0], data[1])


def test_columns_of_data_are_no_chain():
    """Each chunk would read a few numbers of every row."""
    data = RNG.normal(size=(4000, 48))

    def f(x, v, w):
        y = x.T @ v
        return y, np.tanh(y) * (x.T @ w)

    args = data, data[:, 0], data[:, 1]
    assert max(jobs(f, *args)) == 2
    check(f, *args)


def test_stacks_of_single_rows_and_columns():
    """One query for each head; products of a matrix and a column, which are turned."""
    k, v = RNG.normal(size=(2, 4, 6, 160, 200)) / 20
    q, w = RNG.normal(size=(4, 6, 1, 200)), RNG.normal(size=(4, 6, 200, 1))

    def rows(q, k, v):
        return np.tanh(q @ np.swapaxes(k, -1, -2)) @ v

    def columns(k, w):
        return np.swapaxes(np.tanh(k @ w), -1, -2) @ k

    for f, args in ((rows, (q, k, v)), (columns, (k, w))):
        assert jobs(f, *args) == [3]
        check(f, *args)
    check(attention, q, k, v)


def test_few_or_large_matrices_are_no_chain():
    """Each step is cut for the threads by itself."""
    large = np.broadcast_to(A[0, 0, 0, 0], (8, 300, 300)) / 300
    for args in (A[:1], B[:1], C[:1]), (large, large, large):
        assert jobs(attention, *args) == [1, 4, 1]
        check(attention, *args)


def test_products_of_the_same_stack_are_one_job():
    def f(a, b, c):
        return softmax(a @ b) @ c, a @ c

    assert jobs(f, A, B, C) == [7]
    check(f, A, B, C)


def test_chains_of_other_stacks_stay_apart():
    def f(a, b, c, d):
        return attention(a, b, c), d @ d

    assert jobs(f, A, B, C, A + 1) == [6, 1]
    check(f, A, B, C, A + 1)


def test_chains_of_the_same_stack_stay_apart():
    def f(a, b, c):
        return attention(a, b, c), attention(a, c, b)

    assert jobs(f, A, B, C) == [6, 6]
    check(f, A, B, C)


def other_rows(a, b, c):
    """What the chain reads, in 300 rows, which are not cut as 24 matrices are."""
    return softmax(a @ b) @ c, softmax(np.reshape(a, (300, 32)))


def same_for_all(a, b, c):
    """One matrix for the stack: its rows are those of one large product."""
    return softmax(a @ b) @ c[0, 0], (a @ b) @ c[0, 0]


def with_totals(a, b, c):
    """Sums of all elements need all matrices."""
    p = a @ b
    more = p + 1
    other = np.tanh(p) * np.sum(more)
    return more, other, np.sum(other * other), more @ c


def without_rows(a, b, c):
    return np.exp(a[..., :0, :] @ b) @ c, np.exp(a[..., :0] @ b[..., :0, :]) @ c


@pytest.mark.parametrize("f", [other_rows, same_for_all, with_totals, without_rows])
def test_what_is_cut_otherwise_is_no_part_of_a_chain(f):
    check(f, A, B, C)
    if f is with_totals:
        check(f, *(x / 20 for x in (LONG, LONG + 1, LONG - 1)))


BATCH = RNG.normal(size=(64, 48))
WEIGHTS = [RNG.normal(size=(48, 48)) / 7 for _ in range(6)]


def layers(x, ws):
    for w in ws:
        x = np.tanh(x @ w + 0.5)
    return x


def test_rows_of_a_batch_go_through_all_layers():
    assert jobs(layers, BATCH, WEIGHTS) == [12]
    check(layers, BATCH, WEIGHTS)


def test_gradients_of_rows_go_back_through_all_layers():
    """Gradients of weights sum over rows: they wait for the chain of the cotangents."""
    f = pb.grad(lambda ws, x: np.sum(layers(x, ws) ** 2), argnums=0)
    assert jobs(f, WEIGHTS, BATCH) == [22, *[1] * 6]
    check(f, WEIGHTS, BATCH)
    step = pb.grad(lambda ws, x: np.sum(layers(x, ws) * BATCH), argnums=(0, 1))
    check(
        lambda ws, x: step([w - 0.01 * g for w, g in zip(ws, step(ws, x)[0], strict=True)], x),
        WEIGHTS,
        BATCH,
    )


def test_chunks_of_a_chain_have_memory_of_their_own():
    """Whatever members they are at: each function notes where it finds its memory."""
    n_chunks = 4
    sizes = [(640, True), (1920, True), (256, False), (64, True), (128, False)]  # of all chunks
    module = Module("chain", assembler.processor())
    pointer, word = POINTER, I64
    functions = []
    for k, (n_bytes, _) in enumerate(sizes):
        kind = ir.FunctionType(ir.VoidType(), [pointer] * 3 + [word])
        function = ir.Function(module, kind, f"member_{k}")
        _, found, memory, chunk = function.args
        build = ir.IRBuilder(function.append_basic_block("entry"))
        own = build.mul(chunk, word(n_bytes // n_chunks))
        place = build.gep(memory, [own], source_etype=I8)
        row = build.gep(found, [chunk], source_etype=pointer)
        build.store(place, row)
        build.ret_void()
        functions.append(function)
    members = [Member(f, 1) for f in functions]
    n_bytes, are_cut = zip(*sizes, sizes[2], strict=True)
    # Cut ones share 480 bytes a chunk; each other has its own part, the third and its equal one.
    scratch = ChainScratch(list(n_bytes), list(are_cut), 480, [0, 0, 1920, 0, 2176, 1920], 2304)
    chain, end = emit_chain(module, [*members, members[2]], n_chunks, scratch), scratch.n_bytes
    chain.linkage = ""
    assert end == 1920 + 256 + 128
    code = executable.load(assembler.compiled(str(module)))
    found = np.zeros((6, n_chunks), np.int64)
    memory = np.zeros(end, np.uint8)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 8, ctypes.c_int64)(code.address("chain"))
    for chunk in range(n_chunks):
        run(None, *[row.ctypes.data for row in found], memory.ctypes.data, chunk)
    np.testing.assert_array_equal(found[5], found[2])
    used = [np.zeros(end, bool) for _ in range(n_chunks)]
    for row, (n_bytes, _) in zip(found - memory.ctypes.data, sizes, strict=False):
        for chunk, start in enumerate(row):
            assert 0 <= start <= end - n_bytes // n_chunks
            used[chunk][start : start + n_bytes // n_chunks] = True
    assert np.max(np.sum(used, axis=0)) == 1
    for k in (2, 4):  # what is not cut is apart from all others
        others = np.delete(found[:5], k, axis=0) - memory.ctypes.data
        start = found[k, 0] - memory.ctypes.data
        assert not np.any((others >= start) & (others < start + sizes[k][0]))


def test_products_of_a_chain_share_working_memory():
    """Each chunk copies its transposed weights to the same place; copies have different sizes."""
    sizes = [48, 40, 8, 56, 16, 48]
    ws = [RNG.normal(size=(n, m)) / 7 for m, n in itertools.pairwise(sizes)]

    def back(x, ws):
        for w in ws:
            x = np.tanh(x @ w.T + 0.5)
        return x

    for _ in range(20):
        check(back, BATCH, ws)
    arena = int(pb.compile(back).show("memory", BATCH, ws).split()[1])
    copies = 2 * 48 * 56 * 8  # two chunks, and the largest matrix
    assert arena <= copies + 4 * BATCH.nbytes


def gates(x, w):
    """Columns of the rows of a product, each read by a map that is not flat."""
    z = x @ w
    return np.tanh(z[:, :16]) * z[:, 16:32] + z[:, 32:]


def shared_rows(x, w):
    """A softmax, and a product of three axes whose first two are rows."""
    e = np.exp(x @ w)
    return (e / np.sum(e, axis=-1, keepdims=True)) @ w


@pytest.mark.parametrize("f", [gates, shared_rows])
def test_maps_and_softmaxes_of_rows_follow(f):
    assert len(jobs(f, BATCH, WEIGHTS[0])) == 1
    check(f, BATCH, WEIGHTS[0])


def test_equal_maps_in_a_chain_and_outside_of_it():
    """Their loops are the same, but not their chunks."""

    def gated(z):
        return np.tanh(z[:, :16]) * z[:, 16:32] + z[:, 32:]

    def f(z, x, w):
        return gated(z), gated(x @ w)

    z = RNG.normal(size=BATCH.shape)
    assert sorted(jobs(f, z, BATCH, WEIGHTS[0])) == [1, 2]
    check(f, z, BATCH, WEIGHTS[0])
    check(lambda z, x, w: f(z, x, w)[::-1], z, BATCH, WEIGHTS[0])


def test_rows_that_are_joined_to_their_elements():
    """Products of one number for each row: the loop of the map that follows has one axis."""

    def f(x):
        return 1.0 + np.einsum("...i,...i->...", x, x)

    x = RNG.normal(size=(4096, 24))
    assert jobs(f, x)[-1] > 1
    check(f, x)


def test_rows_of_several_axes_are_one_batch():
    x = np.reshape(BATCH, (4, 16, 48))
    assert len(jobs(layers, x, WEIGHTS)) == 1
    check(layers, x, WEIGHTS)


@pytest.mark.parametrize("shape", [(61, 48), (20, 48)], ids=["prime", "few"])
def test_rows_that_cannot_be_cut_are_no_chain(shape):
    x = RNG.normal(size=shape)
    assert len(jobs(layers, x, WEIGHTS)) == 6
    check(layers, x, WEIGHTS)


def test_rows_times_large_matrices_are_no_chain():
    """Products that copy much share their copies; those of chains cannot."""
    w, v = RNG.normal(size=(2, 48, 1500)) / 20
    x = BATCH[:, :40]

    def turned(x, w, v):
        return np.tanh(x @ w[:40]) @ v.T

    assert len(jobs(turned, x, w, v)) > 1
    check(turned, x, w, v)


def test_layers_of_a_chain_take_turns_in_memory():
    """A layer is written where the one before the last was."""
    arenas = []
    for depth in (3, 6):
        text = pb.compile(layers).show("memory", BATCH, WEIGHTS[:depth])
        arenas.append(int(text.split()[1]))
    assert arenas[0] == arenas[1] <= 2 * BATCH.nbytes + 20_000


def test_results_inside_of_a_chain_are_kept():
    def f(x, ws):
        found = [x]
        for w in ws:
            found.append(np.tanh(found[-1] @ w))
        return found[1], found[4], np.sum(found[-1])

    check(f, BATCH, WEIGHTS)


def test_chains_have_limits():
    """A job has an operand for each value of its members."""
    many = WEIGHTS * 20
    sizes = jobs(layers, BATCH, many)
    assert 1 < len(sizes) < 10
    check(layers, BATCH, many)


def test_a_chain_does_not_write_over_donated_memory_too_early():
    """The last layer may be written over ``y``, but only after ``y`` has been read."""

    def f(x, y, ws):
        h = layers(x, ws)
        return np.tanh(h @ ws[0]) + y, h.sum()

    y = RNG.normal(size=BATCH.shape)
    want = f(BATCH, y, WEIGHTS)
    for threads in (1, 2):
        got = pb.compile(f, donate_argnums=(1,), threads=threads)(BATCH, y.copy(), WEIGHTS)
        for g, w in zip(got, want, strict=True):
            np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-13)


def test_half_precision_is_left_to_numpy():
    """Each operation by itself: there is no native kernel that could hold a group of them."""
    x = A.astype(np.float16)
    for f in (softmax, lambda x: np.argmax(x, axis=-1) * 2 + 1):
        np.testing.assert_array_equal(pb.compile(f)(x), f(x))
