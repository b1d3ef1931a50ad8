"""Folds and maps of the same rows: one kernel, where every row is read and written in its turn."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 12, 40))
W = RNG.normal(size=40)
WEIGHTS = np.abs(W)  # here: what a function computes from outside arrays is computed at each call


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def log_softmax(x):
    shifted = x - np.max(x, axis=-1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True))


def layer_norm(x):
    centered = x - np.mean(x, axis=-1, keepdims=True)
    return centered / np.sqrt(np.mean(centered * centered, axis=-1, keepdims=True) + 1e-5) * W


def rms_norm(x):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-6) * W


def cross_entropy(x):
    return -np.mean(np.sum(WEIGHTS * log_softmax(x), axis=-1))


def kernels(f, *args):
    lines = pb.compile(f).show("loops", *args).splitlines()
    return [line for line in lines if line.startswith("kernel")]


def gradient(f):
    return pb.grad(lambda x: np.sum(np.tanh(f(x))))


def check(f, *args):
    """Against NumPy, and with the rows in chunks for threads."""
    for copies in (1, 50):
        many = [np.concatenate([a] * copies) for a in args]
        for got, want in zip(
            pb.tree.leaves(pb.compile(f)(*many)), pb.tree.leaves(f(*many)), strict=True
        ):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("f", [softmax, log_softmax, layer_norm, rms_norm])
def test_normalised_rows_are_one_kernel(f):
    assert len(kernels(f, X)) == 1
    check(f, X)


@pytest.mark.parametrize("f", [softmax, log_softmax, layer_norm, rms_norm])
def test_their_gradients_are_one_kernel(f):
    assert len(kernels(gradient(f), X)) == 1
    check(gradient(f), X)


def test_a_loss_is_one_pass_over_the_rows():
    assert len(kernels(cross_entropy, X)) == 3  # the rows, their mean, its sign
    check(cross_entropy, X)


OTHER_ROWS = {
    "rows in reverse": lambda x: softmax(x)[:, ::-1] * np.max(x, axis=-1, keepdims=True),
    "a fold of columns": lambda x: softmax(x) / np.sum(softmax(x), axis=1, keepdims=True),
    "transposed": lambda x: np.swapaxes(softmax(x), 1, 2) @ softmax(x),
    "numbers of rows along a row": lambda x: (
        softmax(x[:, :, :12]) + np.max(np.exp(x), axis=-1)[:, None, :]
    ),
    "one row for all": lambda x: np.exp(x) - np.max(np.exp(x), axis=-1)[:, :1, None],
}


@pytest.mark.parametrize("name", OTHER_ROWS)
def test_what_reads_other_rows_waits_for_them(name):
    check(OTHER_ROWS[name], X)


def test_rows_are_written_over_only_when_nobody_reads_them():
    """The array is dead after the map, but another row of it is read for each row."""

    def before(x):
        t = np.cumsum(x, axis=1)
        total = np.sum(np.exp(t / 9)[:, ::-1] * t[:, ::-1], axis=-1, keepdims=True)
        return np.tanh(t) + total

    def straight(x):
        t = np.cumsum(x, axis=1)
        return np.tanh(t) + np.sum(t * t, axis=-1, keepdims=True) * 2.0

    check(before, X)
    check(straight, X)


def test_few_or_short_rows_stay_apart():
    assert len(kernels(softmax, RNG.normal(size=(4, 400)))) > 1  # too few for the threads
    assert len(kernels(softmax, RNG.normal(size=(100, 3)))) > 1
    for shape in ((4, 400), (100, 3), (100, 9000), (0, 40), (100, 0 + 16)):
        x = RNG.normal(size=shape)
        np.testing.assert_allclose(pb.compile(softmax)(x), softmax(x), rtol=1e-12)


BLOCKS = {
    "maps and a fold": lambda x: (np.exp(x), np.sum(np.exp(x) * x)),
    "several folds": lambda x: (
        np.tanh(x),
        np.sum(np.tanh(x)),
        np.max(np.tanh(x) - x),
        np.argmin(np.tanh(x) + x),
    ),
    "a gradient": pb.value_and_grad(lambda x: np.mean(np.tanh(x) * np.exp(-x * x))),
    "the largest": lambda x: (y := np.tanh(x), np.sum((y == np.max(y)) * 1.0))[1],
    "the slope of the largest": pb.grad(lambda x: np.max(np.tanh(x))),
    "a variance": lambda x: np.var(np.tanh(x)),
    "an extreme and a sum": lambda x: (
        (y := np.tanh(x)),
        np.sum(np.exp(y - np.max(y))),
        np.sum(y),
    )[1:],
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("n", [1 << 14, 50_000, 700_001])
def test_folds_of_all_elements_follow_the_maps_block_by_block(name, n):
    x = RNG.normal(size=n)
    f = BLOCKS[name]
    text = pb.compile(f).show("loops", x)
    assert "  then: " in text
    got, want = (pb.tree.leaves(g(x)) for g in (pb.compile(f), f))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
    one, many = (pb.tree.leaves(pb.compile(f, threads=k)(x)) for k in (1, 3))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_only_the_group_knows_needs_no_more_than_a_block():
    x = RNG.normal(size=2_000_000)

    def loss(x):
        a, b = np.tanh(x), np.exp(-x * x)
        return a * b + a - b, np.mean(a * b * b)

    memory = int(pb.compile(loss).show("memory", x).split()[1])
    assert memory < x.nbytes / 4
    rows = RNG.normal(size=(4000, 100))
    memory = int(pb.compile(gradient(log_softmax)).show("memory", rows).split()[1])
    assert memory < rows.nbytes / 4


def test_float32_sums_of_blocks_are_joined_in_more_digits():
    x = RNG.random(3_000_000).astype(np.float32)

    def f(x):
        y = np.sqrt(x)
        return y, np.sum(y)

    exact = np.sum(np.sqrt(x.astype(np.float64)))
    assert abs(pb.compile(f)(x)[1] - exact) < 2e-7 * exact


# -- channels -------------------------------------------------------------------------------------
IMAGES = {  # shapes, and the axis of the channels; pieces of a channel share no places of a cache
    "images": ((6, 16, 13, 15), 1),
    "channels first": ((16, 12, 10, 9), 0),
    "channels behind places": ((6, 9, 10, 21), 2),
    "signals": ((30, 9, 70), 1),
}


def batch_norm(k, x, scale, shift):
    axes = tuple(i for i in range(x.ndim) if i != k)
    shape = tuple(n if i == k else 1 for i, n in enumerate(x.shape))
    centered = x - np.mean(x, axis=axes, keepdims=True)
    y = centered / np.sqrt(np.mean(centered * centered, axis=axes, keepdims=True) + 1e-5)
    return y * np.reshape(scale, shape) + np.reshape(shift, shape)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_normalised_channels_are_one_kernel(name, dtype):
    shape, k = IMAGES[name]
    x, scale, shift = (RNG.normal(size=s).astype(dtype) for s in (shape, shape[k], shape[k]))
    tolerance = 1e-12 if dtype == np.float64 else 3e-5

    def normal(*args):
        return batch_norm(k, *args)

    def loss(*args):
        return np.sum(np.maximum(normal(*args), 0.1) ** 2)

    slopes = pb.grad(loss, argnums=(0, 1, 2))
    assert len(kernels(normal, x, scale, shift)) == 1
    assert len(kernels(slopes, x, scale, shift)) <= 3
    for f in (normal, slopes):
        found, expected = (pb.tree.leaves(g(x, scale, shift)) for g in (pb.compile(f), f))
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=30 * tolerance)


def totals(x):
    return np.sum(x, axis=(0, 2, 3), keepdims=True) / 1000


V = RNG.normal(size=(1, 1, 17, 40))
OTHER_CHANNELS = {
    "the next channel": lambda x: (y := x - totals(x)) + np.roll(y, 1, axis=1),
    "sums of the others": lambda x: x * totals(x)[:, ::-1],
    "sums of all": lambda x: x * np.sum(totals(x)),
    "images turned": lambda x: x + np.swapaxes(x - totals(x), 0, 1),
    "other images": lambda x: (y := x - totals(x)) * y[::-1] * totals(y),
    "places turned": lambda x: (y := x - totals(x)) * np.swapaxes(y, 2, 3) * totals(y),
    "numbers for rows": lambda x: np.sum(x, (0, 2, 3))[:, None] / 1000 * np.ones((11, 5)),
    "products of images": lambda x: (
        ((y := np.exp(x)) - totals(y)) * totals(y * y),
        y @ V[:, :, : x.shape[3]],
    ),
}


@pytest.mark.parametrize("name", OTHER_CHANNELS)
@pytest.mark.parametrize("n", [13, 17])  # channel by channel, and plane by plane
def test_what_reads_other_channels_waits_for_them(name, n):
    f = OTHER_CHANNELS[name]
    x = RNG.normal(size=(11, 11, n, n))

    def loss(x):
        return sum(np.sum(np.tanh(y)) for y in pb.tree.leaves(f(x)))

    for g in (f, pb.grad(loss)):
        found, expected = (pb.tree.leaves(h(x)) for h in (pb.compile(g), g))
        for got, want in zip(found, expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(6, 16, 13, 15), (9, 16, 17, 16)])
def test_channels_are_written_over_only_when_nobody_reads_them(shape):
    def f(x):
        y = np.cumsum(x, axis=3)
        z = y - totals(y) / 1e4
        return z * totals(z * z), np.roll(y, 1, axis=1) + z

    def g(x):
        y = np.cumsum(x, axis=3)
        z = y - totals(y) / 1e4
        return z * totals(z * z)

    def turned(x):
        y = np.cumsum(x, axis=3)
        z = y[:, ::-1] * totals(y)
        return y + z * totals(z)

    x = RNG.normal(size=shape)
    for function in (f, g, turned):
        pairs = (pb.tree.leaves(h(x)) for h in (pb.compile(function), function))
        for got, want in zip(*pairs, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_numbers_of_channels_may_have_any_axes():
    def f(x):
        total = np.sum(x, axis=(0, 2, 3))
        length = np.sqrt(1 + total * total)
        return x / length[:, None, None], length

    x = RNG.normal(size=(6, 16, 13, 15))
    assert len(kernels(f, x)) == 1
    for got, want in zip(pb.compile(f)(x), f(x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_channels_whose_pieces_share_places_of_the_cache_stay_apart():
    """Rows of 8 x 8 numbers of every 64th channel are 32 KiB apart."""
    near, far = RNG.normal(size=(16, 64, 13, 13)), RNG.normal(size=(64, 64, 8, 8))
    ones = np.ones(64)
    assert len(kernels(lambda x: batch_norm(1, x, ones, ones), near)) == 1
    assert len(kernels(lambda x: batch_norm(1, x, ones, ones), far)) > 1
    few = RNG.normal(size=(64, 4, 13, 13))
    assert len(kernels(lambda x: batch_norm(1, x, ones[:4], ones[:4]), few)) > 1


# -- planes ---------------------------------------------------------------------------------------
PLANES = {
    "images": (8, 5, 17, 16),
    "many images": (40, 16, 32, 32),  # in several chunks
    "small images": (64, 64, 8, 8),
    "long signals": (9, 3, 5000),  # a plane in blocks
    "volumes": (8, 3, 5, 6, 70),
}


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_large_channels_are_normalised_plane_by_plane(name, dtype):
    shape = PLANES[name]
    x, scale, shift = (RNG.normal(size=s).astype(dtype) for s in (shape, shape[1], shape[1]))
    tolerance = 1e-12 if dtype == np.float64 else 3e-5

    def normal(*args):
        return batch_norm(1, *args)

    def loss(*args):
        return np.sum(np.maximum(normal(*args), 0.1) ** 2)

    slopes = pb.grad(loss, argnums=(0, 1, 2))
    text = pb.compile(normal).show("loops", x, scale, shift)
    assert "subtract of (reshape)" in text.splitlines()[1]
    assert "  then: " in text.splitlines()[2]
    for f in (normal, slopes):
        expected = pb.tree.leaves(f(x, scale, shift))
        found = [
            pb.tree.leaves(pb.compile(f, threads=threads)(x, scale, shift)) for threads in (1, 2, 3)
        ]
        for one, *others, want in zip(*found, expected, strict=True):
            np.testing.assert_allclose(one, want, rtol=tolerance, atol=30 * tolerance)
            for other in others:
                np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize(("shape", "k"), [((8, 12, 100, 90), 0), ((9, 20, 9, 500), 2)])
def test_planes_are_of_the_second_axis(shape, k):
    x, ones = RNG.normal(size=shape), np.ones(shape[k])
    got, want = (
        f(k, x, ones, ones) for f in (pb.compile(batch_norm, static_argnums=0), batch_norm)
    )
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)


def test_folds_of_the_same_planes_are_one_pass():
    def f(x, y):
        axes = (0, 2, 3)
        return np.sum(x, axes), np.mean(x * y, axes), np.max(y, axes), np.exp(x)

    x, y = RNG.normal(size=(2, 12, 6, 20, 20))
    assert len(kernels(f, x, y)) == 1
    for got, want in zip(pb.compile(f)(x, y), f(x, y), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


def test_sums_of_planes_keep_the_digits_of_float32():
    x = (RNG.normal(size=(64, 2, 200, 200)) + 1000).astype(np.float32)
    exact = np.mean(x, axis=(0, 2, 3), dtype=np.float64)
    got, _ = pb.compile(lambda x: (np.mean(x, axis=(0, 2, 3)), np.max(x * x, axis=(0, 2, 3))))(x)
    np.testing.assert_allclose(got, exact, rtol=2e-7)


def test_few_numbers_of_much_work_are_cut_for_threads():
    x = RNG.normal(size=(64, 16, 32, 32))
    text = pb.compile(lambda x: np.mean(x, axis=(0, 2, 3))).show("schedule", x)
    assert "16 chunks: " in text
