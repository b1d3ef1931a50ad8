"""Native convolutions against SciPy and against NumPy's evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

import pullback as pb
from pullback.ops.conv import conv

pytestmark = pytest.mark.usefixtures("processor")
rng = np.random.default_rng(0)
STEP = st.sampled_from([1, 1, 2, 3])


@st.composite
def geometries(draw):
    """Shapes and parameters with every combination of strides, gaps, zeros around and cuts."""
    n = draw(st.sampled_from([1, 2, 2, 3]))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    n_in, n_out = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 7]))
    most = 9 if n == 3 else 35
    axes = st.tuples(st.integers(1, most), st.integers(1, 8), *[st.integers(-1, 3)] * 2)
    drawn = [draw(axes) for _ in range(n)]
    x = (draw(st.integers(1, 9)), groups * n_in, *(size for size, *_ in drawn))
    w = (groups * n_out, n_in, *(size for _, size, *_ in drawn))
    params = {name: tuple(draw(STEP) for _ in range(n)) for name in ("stride", "dilation")}
    params["input_dilation"] = tuple(draw(st.sampled_from([1, 1, 2])) for _ in range(n))
    params["padding"] = tuple((low, high) for *_, low, high in drawn)
    for axis in range(n):
        reach = (w[2 + axis] - 1) * params["dilation"][axis] + 1
        spread = (x[2 + axis] - 1) * params["input_dilation"][axis] + 1
        assume(spread + sum(params["padding"][axis]) >= reach)
    return x, w, {**params, "groups": groups}


PLAIN = {"stride": (1, 1), "dilation": (1, 1), "input_dilation": (1, 1), "groups": 1}
SAME = {**PLAIN, "padding": ((1, 1), (1, 1))}


def exchanged(x):
    """The same numbers, with the first two axes the other way round in memory."""
    return np.ascontiguousarray(np.swapaxes(x, 0, 1))


def check(x_shape, w_shape, params, dtype):
    """Native results against NumPy's in float64; operands in place, and with exchanged axes."""
    x, w = rng.normal(size=x_shape).astype(dtype), rng.normal(size=w_shape).astype(dtype)
    expected = conv(x.astype(np.float64), w.astype(np.float64), **params)
    plain = pb.compile(lambda x, w: conv(x, w, **params), callbacks=False)
    turned = pb.compile(
        lambda x, w: conv(np.swapaxes(x, 0, 1), np.swapaxes(w, 0, 1), **params), callbacks=False
    )
    for got in (plain(x, w), turned(exchanged(x), exchanged(w))):
        assert got.dtype == dtype
        tolerance = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * abs(w).sum())


@settings(max_examples=30, deadline=None)
@given(geometries(), st.sampled_from(["float32", "float64"]))
def test_any_geometry(geometry, dtype):
    check(*geometry, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((3, 4, 6, 8), (7, 4, 3, 3)),  # rows of one vector of float32
        ((2, 3, 4, 24), (1, 3, 3, 3)),  # panels that go on in the next row
        ((2, 3, 4, 40), (3, 3, 3, 3)),
        ((2, 5, 3, 16), (14, 5, 1, 3)),
        ((4, 12, 7, 7), (5, 12, 6, 6)),  # kernels of few values: several channels in a block
        ((4, 10, 18, 18), (5, 10, 17, 17)),  # of more than a block
        ((3, 7, 9, 9), (4, 7, 8, 8)),  # a number of channels without divisors
    ],
)
def test_rows_of_whole_vectors_and_blocks_of_channels(x, w, dtype):
    check(x, w, SAME if w[-1] == 3 else {**PLAIN, "padding": ((0, 0), (0, 0))}, dtype)


def test_gradients_read_examples_and_channels_exchanged_in_place():
    x, w = rng.normal(size=(6, 3, 8, 8)), rng.normal(size=(5, 3, 3, 3))
    gradient = pb.grad(lambda w, x: np.sum(conv(x, w, **SAME) ** 2))
    text = pb.compile(gradient).show("loops", w, x)
    assert "float64[3,6,8,8]" not in text
    assert "float64[5,6,8,8]" not in text
    np.testing.assert_allclose(pb.compile(gradient)(w, x), gradient(w, x), rtol=1e-11)


@pytest.mark.parametrize("shape", [(3, 20, 37), (1, 5, 300)])
def test_valid_positions_are_those_of_scipy(shape):
    """Without padding the image is read in place."""
    channels = shape[0]
    x, w = rng.normal(size=(1, *shape)), rng.normal(size=(1, channels, 4, 3))
    got = pb.compile(lambda x, w: conv(x, w, padding=((0, 0),) * 2, **PLAIN))(x, w)
    np.testing.assert_allclose(got[0], correlate(x[0], w[0], "valid"), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_threads_do_not_change_results(stride):
    x = rng.normal(size=(33, 16, 24, 24)).astype(np.float32)
    w = rng.normal(size=(32, 16, 3, 3)).astype(np.float32)
    params = {"stride": (stride,) * 2, "padding": ((1, 1),) * 2, "dilation": (1, 1)}

    def loss(x, w):
        return np.sum(np.tanh(conv(x, w, input_dilation=(1, 1), groups=1, **params)))

    step = pb.value_and_grad(loss, argnums=(0, 1))
    one, many = pb.compile(step, threads=1)(x, w), pb.compile(step, threads=3)(x, w)
    for a, b, e in zip(*map(pb.tree.leaves, (one, many, step(x, w))), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, e, rtol=1e-3, atol=2e-3)


def test_integers_are_left_to_numpy():
    x, w = np.arange(12).reshape(1, 2, 6), np.ones((1, 2, 3), int)
    params = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "input_dilation": (1,)}
    f = pb.compile(lambda x, w: conv(x, w, groups=1, **params))
    np.testing.assert_array_equal(f(x, w), [[[24, 30, 36, 42]]])
    assert "in NumPy: conv" in f.show("loops", x, w)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_map_of_a_convolution_follows_each_image(dtype, padding, groups):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(5, 4, 9, 8)).astype(dtype)
    w = rng.normal(size=(6, 4 // groups, 3, 3)).astype(dtype)
    b = rng.normal(size=(6, 1, 1)).astype(dtype)

    def layer(x, w, b, residual):
        z = pb.nn.conv(x, w, padding=padding, groups=groups)
        return np.maximum(z + b, 0.0) + residual

    def flat(x, w, b, residual):
        z = pb.nn.conv(x, w, padding=padding, groups=groups) * residual
        return z, np.tanh(z)

    def vector(x, w, b, residual):
        z = pb.nn.conv(x, w, padding=padding, groups=groups)
        return np.tanh(np.reshape(z, -1)) * residual.ravel()

    residual = rng.normal(size=pb.nn.conv(x, w, padding=padding, groups=groups).shape).astype(dtype)
    for f in (layer, flat, vector):
        assert "  then:" in pb.compile(f).show("loops", x, w, b, residual)
        got, want = (pb.tree.leaves(g(x, w, b, residual)) for g in (pb.compile(f), f))
        for p, q in zip(got, want, strict=True):
            rtol = 1e-12 if dtype is np.float64 else 1e-5
            np.testing.assert_allclose(p, q, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kernel", [1, 3])
def test_exchanged_axes_of_images_and_filters(kernel, padding, groups):
    """Images lie channel by channel, filters by what they read."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 9, 8))
    w = rng.normal(size=(4 // groups, 6, kernel, kernel))

    def turned(x, w):
        x, w = (np.transpose(v, (1, 0, 2, 3)) for v in (x, w))
        return pb.nn.conv(x, w, padding=padding, groups=groups)

    np.testing.assert_allclose(pb.compile(turned)(x, w), turned(x, w), rtol=1e-12, atol=1e-12)
