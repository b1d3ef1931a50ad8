"""Maps that only a product reads are computed where it copies its operands."""

from __future__ import annotations

import numpy as np
import pytest
from tests.compiler.guarded import run as run_guarded
from tests.compiler.verifier import verified

import pullback as pb
from pullback import nn
from pullback.core.types import type_of
from pullback.transforms.stage import stage

pytestmark = pytest.mark.usefixtures("processor")
RNG = np.random.default_rng(0)
SHAPES = [  # some copy A, some B, most both; few divide by tiles and blocks
    (300, 700, 500),
    (513, 300, 257),
    (100, 300, 2000),
    (64, 1030, 300),
    (49, 97, 1000),
]
MAPS = {
    "left": lambda x, s, w: np.tanh((x - s) * 2.0 @ w),
    "right": lambda x, s, w: x @ (np.exp(w) * s[:, None]),
    "both": lambda x, s, w: np.maximum(x, s) @ np.where(w > 0, w, s[:, None]) + 1,
    "a row for all": lambda x, s, w: (np.ones((len(x), 1)) * s) @ w,
    "large angles": lambda x, s, w: np.sin(1e9 * x) @ w,
    "positions": lambda x, s, w: (x[::-1] + s[::-1]) @ w[:, ::-1],
    "other types": lambda x, s, w: (x > 0).astype(w.dtype) @ w,
}


def operands(shape, dtype):
    m, k, n = shape
    x, s, w = RNG.normal(size=(m, k)), RNG.normal(size=k), RNG.normal(size=(k, n)) / k**0.5
    return x.astype(dtype), s.astype(dtype), w.astype(dtype)


def loops_of(f, *args):
    return pb.compile(f).show("loops", *args)


def check(f, *args):
    rtol = 1e-12 if args[0].dtype == np.float64 else 2e-5
    want = pb.tree.leaves(f(*args))
    for threads in (1, 2):
        got = pb.tree.leaves(pb.compile(f, threads=threads)(*args))
        for g, w in zip(got, want, strict=True):
            assert g.dtype == w.dtype
            np.testing.assert_allclose(g, w, rtol=rtol, atol=rtol * np.max(np.abs(w)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_products_of_maps(shape, name, dtype):
    args = operands(shape, dtype)
    if name == "large angles":
        check(MAPS[name], *(a.astype(np.float64) for a in args))
    else:
        check(MAPS[name], *args)


def test_the_operand_has_no_memory():
    x, s, w = operands((300, 700, 500), np.float64)
    text = loops_of(MAPS["left"], x, s, w)
    assert "kernel 0: float64[300,500] = matmul of (multiply + subtract)" in text
    assert "kernel 1" not in text
    copies = -(-x.nbytes // 64) * 64
    assert int(text.split()[-2]) < copies + 2 * 16 * (256 << 10)  # and strips of B in each chunk
    text = loops_of(MAPS["both"], x, s, w)
    assert text.count("kernel") == 1


def plain(x, s, w):
    y = x * 2
    return y @ w, np.sum(y)


UNFIT = {
    "read elsewhere too": plain,
    "a result": lambda x, s, w: (x * 2, (x * 2) @ w),
    "twice": lambda x, s, w: (x[:, :300] * 2) @ (x[:300, :300] * 2),
    "squared": lambda x, s, w: np.square(x[:300, :300]) @ np.square(x[:300, :300]),
    "its own transposition": lambda x, s, w: np.tanh(x[:, :300]).T @ np.tanh(x[:, :300]),
    "transposed": lambda x, s, w: (x * 2).T @ x,
    "one row": lambda x, s, w: (s * 2) @ w,
    "put together": lambda x, s, w: np.roll(x, 1, axis=1) @ w,
    "with seams": lambda x, s, w: (np.roll(x, 1, axis=1) + s) @ w,
    "two in one loop": lambda x, s, w: (x * s) @ w + (x[::-1] + s) @ w,
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_has_memory_or_other_readers_is_none(name):
    check(UNFIT[name], *operands((300, 700, 500), np.float64))


def test_small_operands_are_read_in_place():
    x, s, w = operands((30, 20, 10), np.float64)
    assert "kernel 1" in loops_of(MAPS["left"], x, s, w)
    check(MAPS["left"], x, s, w)


def test_products_of_equal_maps_share_their_code():
    def f(x, s, w, y):
        return np.sum((x * s) @ w) + np.sum((w * s) @ x) + np.sum(np.maximum(y, 1) @ x)

    x, s, w = operands((300, 300, 300), np.float64)
    check(f, x, s, w, 2 * x)
    text = pb.compile(f).show("llvm", x, s, w, 2 * x)
    assert text.count('define internal void @"prologue') == 2


def test_layers_with_prologues_are_no_chain():
    """Rows of a batch would go through all layers, without waiting for a copy."""

    def layers(x, ws):
        for w in ws:
            x = np.tanh(x @ (w * 2.0 + 0.1))
        return x

    x = RNG.normal(size=(64, 96))
    ws = [RNG.normal(size=(96, 96)) / 16 for _ in range(4)]
    assert "matmul of (add + multiply)" in loops_of(layers, x, ws)
    for threads in (1, 2):
        got = pb.compile(layers, threads=threads)(x, ws)
        np.testing.assert_allclose(got, layers(x, ws), rtol=1e-12, atol=1e-12)


def test_gradients_through_maps():
    f = pb.grad(lambda w, x, s: np.sum(np.tanh((x - s) * 2.0 @ w)), argnums=(0, 1))
    x, s, w = operands((300, 700, 400), np.float64)
    for got, want in zip(pb.compile(f)(w, x, s), f(w, x, s), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("side", ["start", "end"])
@pytest.mark.parametrize("name", ["left", "right", "both"])
def test_prologues_stay_in_their_memory(name, side):
    args = operands((130, 300, 270), np.float64)
    graph = stage(lambda *a: [MAPS[name](*a)], [type_of(a) for a in args]).graph
    with verified():
        (got,) = run_guarded(graph, args, side)
    np.testing.assert_allclose(got, MAPS[name](*args), rtol=1e-11, atol=1e-11)


IMAGES = RNG.normal(size=(5, 4, 9, 12))
FILTERS = RNG.normal(size=(6, 4, 3, 3)) / 6
SLIDES = {
    "padded": {"padding": 1},
    "in steps": {"stride": 2},
    "in steps, padded": {"stride": (2, 3), "padding": "same"},
    "spread": {"padding": 2, "dilation": 2},
    "in groups": {"padding": 1, "groups": 2},
}


def turned(x, s):
    return np.exp(-np.square(x[::-1] * s[:, None, None]))


CONVOLVED = {
    "map": lambda x, s: np.maximum(x - s[:, None, None], 0),
    "large angles": lambda x, s: np.sin(1e9 * x * s[:, None, None] * s[0]),
    "positions": turned,
    "other types": lambda x, s: (x > s[:, None, None]).astype(x.dtype),
}


@pytest.mark.parametrize("slide", SLIDES)
@pytest.mark.parametrize("name", CONVOLVED)
def test_convolutions_of_maps(slide, name):
    def f(x, s, w):
        return nn.conv(CONVOLVED[name](x, s), w, **SLIDES[slide]) + 1

    args = IMAGES, RNG.normal(size=4), FILTERS[:, : 4 // SLIDES[slide].get("groups", 1)].copy()
    assert "kernel 1" not in loops_of(f, *args)
    check(f, *args)
    if name != "large angles":
        check(f, *(a.astype(np.float32) for a in args))


def test_signals_of_maps():
    def f(x, w):
        return nn.conv(np.tanh(x), w, padding="same")

    x, w = RNG.normal(size=(3, 4, 50)), RNG.normal(size=(2, 4, 5))
    assert "kernel 1" not in loops_of(f, x, w)
    check(f, x, w)


UNFIT_IMAGES = {
    "read in place": lambda x, w: nn.conv(np.tanh(x), w),
    "read elsewhere too": lambda x, w: (lambda y: nn.conv(y, w, padding=1) + np.sum(y))(np.tanh(x)),
    "a result": lambda x, w: (lambda y: (nn.conv(y, w, padding=1), y))(np.tanh(x)),
    "the filters": lambda x, w: nn.conv(x, np.tanh(w), padding=1),
    "with seams": lambda x, w: nn.conv(np.roll(x, 1, axis=2) * 2, w, padding=1),
    "exchanged axes": lambda x, w: nn.conv(np.tanh(np.swapaxes(x, 0, 1)), w, padding=1),
    "the gradient of filters": pb.grad(lambda x, w: np.sum(nn.conv(np.tanh(x), w, padding=1)), 1),
}


@pytest.mark.parametrize("name", UNFIT_IMAGES)
def test_images_that_have_memory_or_other_readers(name):
    x = np.ascontiguousarray(IMAGES[:4, :4])
    check(UNFIT_IMAGES[name], x, FILTERS)
