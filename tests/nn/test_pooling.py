"""Adaptive pooling against PyTorch and plain loops; pooling layers are their functions."""

from typing import Any

import numpy as np
import pytest
from tests.reference import check_layer

from pullback import nn
from pullback.errors import ArgumentError, ShapeError


def test_values_and_gradients_are_those_of_pytorch() -> None:
    check_layer("adaptive_mean", nn.AdaptiveMeanPool((4, 2)))
    check_layer("adaptive_max", nn.AdaptiveMaxPool((4, 2)))
    check_layer("mean_pool", nn.MeanPool(3, 2, 1))


@pytest.mark.parametrize(("n", "m"), [(7, 1), (7, 3), (6, 3), (3, 5), (4, 4)])
def test_windows_cover_the_axis(n: int, m: int, rng: Any) -> None:
    x = rng.normal(size=(2, 3, n))
    for i in range(m):
        window = x[:, :, int(np.floor(i * n / m)) : int(np.ceil((i + 1) * n / m))]
        np.testing.assert_allclose(nn.adaptive_mean_pool(x, m)[:, :, i], window.mean(axis=2))
        np.testing.assert_array_equal(nn.adaptive_max_pool(x, m)[:, :, i], window.max(axis=2))


def test_layers_are_their_functions(rng: Any) -> None:
    x = rng.normal(size=(2, 3, 6, 6))
    np.testing.assert_array_equal(nn.MaxPool(3, 2, 1)(x), nn.max_pool(x, 3, 2, 1))
    np.testing.assert_array_equal(nn.MeanPool(2)(x), nn.mean_pool(x, 2))


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ShapeError, match="x has 2 axes"):
        nn.adaptive_mean_pool(np.ones((2, 3)), 1)
    with pytest.raises(ArgumentError, match="size is 0"):
        nn.adaptive_max_pool(np.ones((2, 3, 4)), 0)
