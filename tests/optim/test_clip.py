"""Norms against NumPy's, at scales where squares do not exist."""

import numpy as np
import pytest

import pullback as pb
from pullback import optim, tree
from pullback.errors import ArgumentError


def container(rng: np.random.Generator, dtype: type = np.float64) -> dict[str, np.ndarray]:
    return {
        "w": rng.normal(size=(4, 3)).astype(dtype),
        "b": rng.normal(size=3).astype(dtype),
        "empty": np.zeros((0, 2), dtype),
    }


def test_the_norm_is_that_of_the_joined_vector(rng: np.random.Generator) -> None:
    grads = container(rng)
    assert optim.global_norm(grads) == pytest.approx(np.linalg.norm(tree.ravel(grads)[0]))
    assert optim.global_norm({}) == 0
    assert optim.global_norm(np.zeros(3)) == 0


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.float64, 1e300), (np.float64, 1e-300), (np.float32, 1e30), (np.float32, 1e-30)],
)
def test_squares_neither_overflow_nor_vanish(
    dtype: type, scale: float, rng: np.random.Generator
) -> None:
    grads = container(rng, dtype)
    scaled = tree.map(lambda grad: grad * dtype(scale), grads)
    expected = float(optim.global_norm(grads)) * scale
    assert float(optim.global_norm(scaled)) == pytest.approx(expected, rel=1e-6)
    assert optim.global_norm(scaled).dtype == dtype


def test_long_gradients_are_shortened_and_short_ones_kept(rng: np.random.Generator) -> None:
    grads = container(rng)
    vector = tree.ravel(grads)[0]
    clipped = tree.ravel(optim.clip_by_global_norm(grads, 0.5))[0]
    assert np.linalg.norm(clipped) == pytest.approx(0.5)
    assert clipped @ vector == pytest.approx(0.5 * np.linalg.norm(vector))
    kept = optim.clip_by_global_norm(grads, 100.0)
    assert all(np.array_equal(kept[name], grads[name]) for name in grads)
    zero = optim.clip_by_global_norm({"w": np.zeros(3, np.float32)}, 1.0)["w"]
    assert zero.tolist() == [0, 0, 0]
    assert zero.dtype == np.float32


def test_clipping_is_differentiable() -> None:
    # d/dt of t * (3, 4) clipped to length 1 is 0: only the length changes.
    def first(t: float) -> float:
        return optim.clip_by_global_norm([t * np.array([3.0, 4.0])], 1.0)[0][0]

    assert pb.grad(first)(2.0) == pytest.approx(0, abs=1e-15)
    assert pb.grad(first)(0.1) == pytest.approx(3.0)


def test_nan_is_not_hidden() -> None:
    assert np.isnan(optim.global_norm({"w": np.array([1.0, np.nan])}))
    with pytest.raises(ArgumentError, match="max_norm is -1"):
        optim.clip_by_global_norm({}, -1)


def test_units_are_clipped_relative_to_their_weights(rng: np.random.Generator) -> None:
    for shape, axes in (((4, 3), (0,)), ((3, 2, 2, 2), (1, 2, 3)), ((5,), (0,))):
        x, grad = rng.normal(size=shape), 100 * rng.normal(size=shape)
        clipped = optim.adaptive_clip(grad, x, 0.1)
        lengths = [np.sqrt(np.sum(a**2, axis=axes)) for a in (clipped, x)]
        np.testing.assert_allclose(lengths[0], 0.1 * lengths[1])
    small = 1e-6 * grad
    np.testing.assert_array_equal(optim.adaptive_clip(small, x), small)
    assert optim.clip_by_value(np.array([-5.0, 0.5]), 1).tolist() == [-1, 0.5]
