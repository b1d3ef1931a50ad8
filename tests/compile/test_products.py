"""Generated matrix products: every shape of block and remainder, against float64 and canaries."""

import ctypes
import importlib
import itertools

import numpy as np
import pytest
from llvmlite import ir

import pullback as pb
from pullback.compile.products import product

engine = importlib.import_module("pullback.compile.engine")
LENGTHS = [1, 2, 5, 6, 7, 13, 16, 17, 33]
CANARY = 1234.5


def native(dtype, m, n, k, transposed):
    module = ir.Module()
    function = product(module, np.dtype(dtype), m, n, k, transposed)
    function.linkage = ""
    linked, _ = engine.machine_code(str(module).replace(function.name, "main"))
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)
    return linked, signature(linked.get_function_address("main"))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("transposed", list(itertools.product([False, True], repeat=2)))
def test_products_of_all_shapes(dtype, transposed):
    rng = np.random.default_rng(0)
    shapes = [tuple(rng.choice(LENGTHS, 3)) for _ in range(9)]
    shapes += [(1, 70, 9), (70, 1, 9), (1, 1, 40), (40, 70, 20), (13, 29, 100), (9, 8, 1)]
    for m, n, k in shapes:
        a = rng.normal(size=(k, m) if transposed[0] else (m, k)).astype(dtype)
        b = rng.normal(size=(n, k) if transposed[1] else (k, n)).astype(dtype)
        memory = np.full(m * n + 16, CANARY, dtype)
        linked, run = native(dtype, int(m), int(n), int(k), transposed)
        run(a.ctypes.data, b.ctypes.data, memory[8:].ctypes.data)
        del linked
        left, right = (
            x.astype(float).T if t else x.astype(float)
            for x, t in zip((a, b), transposed, strict=True)
        )
        want = left @ right
        bound = 2 * k * np.finfo(dtype).eps * (np.abs(left) @ np.abs(right)) + 1e-300
        assert np.all(np.abs(memory[8:-8].reshape(m, n) - want) <= bound), (m, n, k)
        assert np.all(memory[:8] == CANARY)
        assert np.all(memory[-8:] == CANARY), (m, n, k)


@pytest.mark.parametrize("stack", [(), (3,), (2, 1)])
def test_stacks_of_small_products(stack):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(*stack, 5, 7)), rng.normal(size=(7, 9))
    got = pb.compile(lambda a, b: (a @ b, a @ b[:, 0]))(a, b)
    np.testing.assert_allclose(got[0], a @ b, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(got[1], a @ b[:, 0], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("m", "n", "k"), [(2, 4, 300_000), (20, 40, 10_000), (250, 34, 900)])
def test_long_products_do_not_need_a_long_stack(m, n, k):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(k, m)), rng.normal(size=(n, k))
    got = pb.compile(lambda a, b: (a.T @ b.T, a.T.copy() @ b.T))(a, b)
    for value in got:
        np.testing.assert_allclose(value, a.T @ b.T, rtol=1e-10, atol=1e-9)
