"""Convolution and pooling written with loops into buffers, as in a first course.

The reference is SciPy's correlation; its own transposes are convolutions.
"""

import numpy as np
from scipy.signal import convolve2d, correlate2d

import pullback as pb
import pullback.numpy as pnp

RNG = np.random.default_rng(8)
IMAGE, KERNEL = RNG.normal(size=(7, 6)), RNG.normal(size=(3, 2))
BATCH, FILTERS = RNG.normal(size=(2, 6, 6, 2)), RNG.normal(size=(3, 3, 2, 4))


def convolve(image, kernel):
    h, w = image.shape[0] - kernel.shape[0] + 1, image.shape[1] - kernel.shape[1] + 1
    out = pnp.zeros((h, w))
    for i in range(h):
        for j in range(w):
            window = image[i : i + kernel.shape[0], j : j + kernel.shape[1]]
            out[i, j] = np.sum(window * kernel)
    return out


def layer(images, filters, bias):
    """Images with channels, stride 1, zero padding, as in notebooks that build networks by hand."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    out = pnp.zeros((*images.shape[:3], filters.shape[-1]))
    for n in range(images.shape[0]):
        for i in range(images.shape[1]):
            for j in range(images.shape[2]):
                window = padded[n, i : i + 3, j : j + 3, :]
                out[n, i, j] = np.tensordot(window, filters, 3) + bias
    return np.maximum(out, 0)


def pool(images):
    n, h, w, c = images.shape
    out = pnp.empty((n, h // 2, w // 2, c))
    for i in range(h // 2):
        for j in range(w // 2):
            out[:, i, j, :] = np.max(
                images[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, :], axis=(1, 2)
            )
    return out


def test_one_channel() -> None:
    out, pull = pb.vjp(convolve, IMAGE, KERNEL)
    np.testing.assert_allclose(out, correlate2d(IMAGE, KERNEL, "valid"))
    ct = RNG.normal(size=out.shape)
    of_image, of_kernel = pull(ct)
    np.testing.assert_allclose(of_image, convolve2d(ct, KERNEL, "full"))
    np.testing.assert_allclose(of_kernel, correlate2d(IMAGE, ct, "valid"))
    pb.check_grads(convolve, (IMAGE, KERNEL))


def test_a_layer_and_its_pooling() -> None:
    def loss(images, filters, bias):
        return np.sum(pool(layer(images, filters, bias)) ** 2)

    args = (BATCH, FILTERS, np.full(4, 0.1))
    expected = np.zeros((2, 6, 6, 4))
    for n in range(2):
        for f in range(4):
            for c in range(2):
                expected[n, :, :, f] += correlate2d(BATCH[n, :, :, c], FILTERS[:, :, c, f], "same")
    expected = np.maximum(expected + 0.1, 0)
    np.testing.assert_allclose(layer(*args), expected)
    largest = expected.reshape(2, 3, 2, 3, 2, 4).max(axis=(2, 4))
    value, (_, filters, bias) = pb.value_and_grad(loss, (0, 1, 2))(*args)
    np.testing.assert_allclose(value, np.sum(largest**2))
    np.testing.assert_allclose(bias, 2 * largest.sum(axis=(0, 1, 2)))
    pb.check_grads(lambda f, b: loss(BATCH, f, b), args[1:], order=1)
    assert filters.shape == FILTERS.shape
