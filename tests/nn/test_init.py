"""Initializers by measured variance, against published values; never against their formula."""

import itertools

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError
from pullback.nn import init

# He et al. (2015), section 2.2: the standard deviations of VGG model B by depth of the filters.
VGG = [(64, 0.0589), (128, 0.0417), (256, 0.0295), (512, 0.0208)]
# E[phi(z)^2]^(-1/2), computed independently with SciPy's adaptive quadrature.
GAINS = {
    nn.relu: 1.41421,
    nn.leaky_relu: 1.41414,
    nn.tanh: 1.59254,
    nn.sigmoid: 1.84623,
    nn.selu: 1.0,
    nn.elu: 1.24520,
    nn.gelu: 1.53353,
    nn.silu: 1.67653,
}


@pytest.mark.parametrize(("channels", "std"), VGG)
@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated normal"])
def test_he_has_the_published_spread_for_vgg(
    channels: int, std: float, distribution: init.Distribution, rng: np.random.Generator
) -> None:
    weight = init.he(rng, (64, channels, 3, 3), distribution=distribution, layout="oihw")
    # The published values have three digits; 36,864 draws know the spread to 0.4%.
    assert weight.std() == pytest.approx(std, rel=0.015)
    assert abs(weight.mean()) < 4 * std / np.sqrt(weight.size)


def test_xavier_uniform_fills_the_published_interval(rng: np.random.Generator) -> None:
    weight = init.xavier(rng, (300, 300))
    assert np.abs(weight).max() == pytest.approx(0.1, rel=1e-3)  # sqrt(6 / 600)
    assert weight.var() == pytest.approx(0.01 / 3, rel=0.02)


@pytest.mark.parametrize(
    ("mode", "variance"), [("fan_in", 1 / 100), ("fan_out", 1 / 400), ("fan_avg", 1 / 250)]
)
def test_the_mode_names_the_fan(mode: init.Mode, variance: float, rng: np.random.Generator) -> None:
    assert init.lecun(rng, (100, 400), mode=mode).var() == pytest.approx(variance, rel=0.03)


def test_gain_and_negative_slope(rng: np.random.Generator) -> None:
    assert init.lecun(rng, (300, 300), gain=3.0).std() == pytest.approx(3 / 300**0.5, rel=0.02)
    assert init.xavier(rng, (300, 300), gain=5 / 3).std() == pytest.approx(
        5 / 3 / 300**0.5, rel=0.02
    )
    # A slope of 1 is a linear layer, whose variance is 1 / fan_in.
    assert init.he(rng, (400, 300), negative_slope=1.0).std() == pytest.approx(0.05, rel=0.02)


def test_the_truncated_normal_ends_where_it_should(rng: np.random.Generator) -> None:
    weight = init.lecun(rng, (250, 400), distribution="truncated normal")
    # Two standard deviations of the normal before the cut, which is 1 / 0.87962566103423978 wider.
    assert np.abs(weight).max() == pytest.approx(2 / 250**0.5 / 0.87962566103423978, rel=2e-3)
    assert weight.std() == pytest.approx(1 / 250**0.5, rel=0.01)


@pytest.mark.parametrize("activation", GAINS, ids=lambda f: f.__name__)
def test_gain_is_the_quadrature_of_the_activation(activation: nn.layers.Layer) -> None:
    assert init.gain(activation) == pytest.approx(GAINS[activation], abs=6e-6)


def test_gain_keeps_the_scale_through_a_deep_network(rng: np.random.Generator) -> None:
    x = rng.normal(size=(200, 400))
    for _ in range(10):
        x = nn.tanh(x) @ init.lecun(rng, (400, 400), gain=init.gain(nn.tanh))
    assert x.std() == pytest.approx(1.0, rel=0.05)


def test_fans_count_the_weights_of_one_unit() -> None:
    # A 3x3 convolution from 2 to 5 channels: each output reads 18 numbers, each input feeds 45.
    sizes = {"o": 5, "i": 2, "h": 3, "w": 3}
    for layout in map("".join, itertools.permutations("oihw")):
        assert init.fan_in_fan_out([sizes[letter] for letter in layout], layout) == (18, 45)
    assert init.fan_in_fan_out((7, 3)) == (7, 3)
    assert init.fan_in_fan_out((3, 7), "oi") == (7, 3)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "truncated normal"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [np.random.default_rng, pb.random.default_rng])
def test_dtype_and_repeatability(
    distribution: init.Distribution, dtype: type, make: nn.layers.Initializer
) -> None:
    first, second = (
        init.he(make(3), (20, 10), distribution=distribution, dtype=dtype) for _ in range(2)
    )
    assert first.dtype == dtype
    assert np.array_equal(first, second)
    assert np.unique(first).size > 100


def test_bad_arguments_are_named(rng: np.random.Generator) -> None:
    with pytest.raises(ArgumentError, match="layout 'io' does not describe"):
        init.he(rng, (3, 3, 8, 8))
    with pytest.raises(ArgumentError, match="unknown mode 'fan'"):
        init.he(rng, (3, 3), mode="fan")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="unknown distribution 'cauchy'"):
        init.he(rng, (3, 3), distribution="cauchy")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="no inputs or no outputs"):
        init.he(rng, (0, 3))


def test_orthogonal_weights_keep_norms():
    rng = np.random.default_rng(0)
    wide = init.orthogonal(rng, (3, 7), gain=2.0)
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(3), atol=1e-12)
    conv = init.orthogonal(rng, (8, 2, 3, 3), layout="oihw", dtype=np.float32)
    rows = conv.reshape(8, 18)
    np.testing.assert_allclose(rows @ rows.T, np.eye(8), atol=1e-6)
    assert conv.dtype == np.float32


def test_orthogonal_weights_are_uniform_over_rotations():
    # The entries of a Haar matrix have mean 0 and variance 1 / n; without the signs of R's diagonal
    # the first entry would never be positive.
    rng = np.random.default_rng(0)
    first = np.array([init.orthogonal(rng, (4, 4))[0, 0] for _ in range(2000)])
    assert abs(first.mean()) < 4 * 0.5 / np.sqrt(2000)
    assert first.var() == pytest.approx(1 / 4, rel=0.1)


def test_delta_orthogonal_convolutions_keep_the_norm_of_every_pixel():
    rng = np.random.default_rng(0)
    weight = init.delta_orthogonal(rng, (3, 3, 4, 6), layout="hwio")
    x = rng.normal(size=4)
    assert np.linalg.norm(x @ weight[1, 1]) == pytest.approx(np.linalg.norm(x))
    assert np.count_nonzero(weight) == 24
    with pytest.raises(ArgumentError, match="do not fit"):
        init.delta_orthogonal(rng, (2, 3, 3, 3))


def test_looks_linear_networks_are_linear_at_the_start():
    rng = np.random.default_rng(0)
    net = nn.Sequential(
        nn.Linear.init(rng, 5, 5, initializer=init.orthogonal),
        *(
            layer
            for _ in range(20)
            for layer in (nn.crelu, nn.Linear.init(rng, 10, 5, initializer=init.looks_linear))
        ),
    )
    a, b = rng.normal(size=(2, 5))
    np.testing.assert_allclose(net(a + b), net(a) + net(b), atol=1e-12)
    assert np.linalg.norm(net(a)) == pytest.approx(np.linalg.norm(a))
    with pytest.raises(ArgumentError, match="looks_linear"):
        init.looks_linear(rng, (5, 3))


def test_truncated_normal_has_the_deviation_asked_for():
    weight = init.truncated_normal(np.random.default_rng(0), (400, 400), std=0.3)
    assert weight.std() == pytest.approx(0.3, rel=0.01)
    assert np.abs(weight).max() <= 0.3 * 2 / 0.87962566103423978 + 1e-12


def test_zeros_start_a_branch_as_the_identity():
    layer = nn.Linear.init(None, 3, 3, initializer=init.zeros)
    assert not np.any(layer(np.ones(3)))
