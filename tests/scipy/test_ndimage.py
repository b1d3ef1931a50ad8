"""Filters and interpolation of images against SciPy and differences."""

import numpy as np
import pytest
import scipy.ndimage
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, DTypeError, UnsupportedError

own = pb.scipy.ndimage
RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 7))
W, EVEN, BOX = RNG.normal(size=3), RNG.normal(size=4), RNG.normal(size=(3, 2))
INSIDE, AROUND = RNG.uniform(0.2, 4.8, (2, 5)), RNG.uniform(-7, 14, (2, 30))
TURN = np.array([[0.9, 0.2], [-0.1, 1.1]]), np.array([0.31, 0.22])


def compare(name: str, args: tuple, check: bool = False, **options: object) -> None:
    expected = getattr(scipy.ndimage, name)(*args, **options)
    found = getattr(own, name)(*args, **options)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-10, err_msg=f"{name} {options}")
    if check:
        pb.check_grads(lambda *args: getattr(own, name)(*args, **options), args)


@pytest.mark.parametrize("mode", ["reflect", "mirror", "nearest", "wrap", "constant"])
def test_filters(mode: str) -> None:
    one = mode == "reflect"
    for name in ("correlate1d", "convolve1d"):
        compare(name, (X, W), one, mode=mode, cval=0.3)
        compare(name, (X, EVEN), mode=mode, axis=0, origin=-1)
    for name in ("correlate", "convolve"):
        compare(name, (X, BOX), one, mode=mode, origin=(0, -1))
    compare("gaussian_filter", (X, 1.2), one, mode=mode)
    compare("gaussian_filter", (X, (1.2, 0.7)), order=(1, 2), mode=(mode, "wrap"))
    compare("uniform_filter", (X,), size=4, mode=mode)
    compare("sobel", (X,), mode=mode)
    compare("prewitt", (X,), mode=mode, axis=0)
    compare("laplace", (X,), one, mode=mode)
    compare("gaussian_laplace", (X, 1.1), mode=mode)
    compare("gaussian_gradient_magnitude", (X, 1.1), one, mode=mode)


@pytest.mark.parametrize("mode", own.MODES)
def test_interpolation(mode: str) -> None:
    for order in range(6):
        compare("map_coordinates", (X, INSIDE), order == 3, order=order, mode=mode)
        compare("map_coordinates", (X, AROUND), order=order, mode=mode, cval=0.5)


@pytest.mark.parametrize("order", [1, 3])
def test_motions(order: int) -> None:
    compare("shift", (X, np.array([0.3, -1.2])), True, order=order, mode="mirror")
    compare("rotate", (X, 33.0), order=order, mode="nearest")
    compare("rotate", (X, 33.0), True, order=order, reshape=False, mode="mirror")
    compare("zoom", (X, 1.7), order=order)
    compare("affine_transform", (X, *TURN), order == 3, order=order, mode="reflect")
    compare("affine_transform", (X, np.array([0.9, 0.8])), order=order)


def test_long_images_use_the_filter_backwards() -> None:
    x, ct = RNG.normal(size=(2, 80))
    for mode in ("mirror", "reflect", "grid-wrap"):
        value, pull = pb.vjp(lambda x, mode=mode: own.spline_filter1d(x, mode=mode), x)
        other = RNG.normal(size=80)
        forward = scipy.ndimage.spline_filter1d(other, mode=mode)
        assert_allclose(value, scipy.ndimage.spline_filter1d(x, mode=mode))
        assert_allclose(pull(ct)[0] @ other, ct @ forward)


def test_compiled_and_batched() -> None:
    moved = pb.grad(lambda s: np.sum(own.shift(X, s, order=1, mode="mirror") ** 2))
    steps = np.array([[0.3, -0.2], [0.1, 0.4]])
    expected = [moved(s) for s in steps]
    assert_allclose(pb.compile(moved)(steps[0]), expected[0])
    assert_allclose(pb.vmap(moved)(steps), expected)


def test_refusals() -> None:
    with pytest.raises(DTypeError, match=r"pass image.astype\(float\)"):
        own.gaussian_filter(np.arange(9), 1.0)
    with pytest.raises(UnsupportedError, match="output="):
        own.sobel(X, output=np.float32)
    with pytest.raises(UnsupportedError, match="mode='wrap'"):
        own.map_coordinates(X, INSIDE, mode="wrap")
    with pytest.raises(ArgumentError, match="choose one of reflect"):
        own.uniform_filter(X, mode="mirrored")
