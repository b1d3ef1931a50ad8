"""Convolution and pooling against SciPy, loops, differences; layers; refusals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given
from hypothesis import strategies as st

import pullback as pb
from pullback import nn, tree
from pullback.errors import ArgumentError, ShapeError
from pullback.testing.grads import check_grads

Case = tuple[Any, Any, dict[str, Any]]


def by_loops(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> Any:
    """One output value after the other; ``None`` if the kernel does not fit."""
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    reach = [(k - 1) * d for k, d in zip(w.shape[2:], dilation, strict=True)]
    ends = [n - r for n, r in zip(padded.shape[2:], reach, strict=True)]
    if min(ends) < 1:
        return None
    places = [range(0, end, s) for end, s in zip(ends, stride, strict=True)]
    y = np.zeros((len(x), len(w), *map(len, places)))
    n_in, n_out = w.shape[1], len(w) // groups
    for b, o, *at in itertools.product(range(len(x)), range(len(w)), *map(enumerate, places)):
        first = o // n_out * n_in
        under = tuple(
            slice(p, p + r + 1, d) for (_, p), r, d in zip(at, reach, dilation, strict=True)
        )
        patch = padded[(b, slice(first, first + n_in), *under)]
        y[(b, o, *(i for i, _ in at))] = np.sum(patch * w[o])
    return y


@st.composite
def cases(draw: st.DrawFn) -> Case:
    n = draw(st.integers(1, 2))

    def per_axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(n))

    groups = draw(st.integers(1, 3))
    rows, n_in, n_out = (draw(st.integers(1, 2)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.normal(size=(rows, groups * n_in, *per_axis(1, 6)))
    w = rng.normal(size=(groups * n_out, n_in, *per_axis(1, 3)))
    padding = tuple(zip(per_axis(0, 3), per_axis(0, 3), strict=True))
    options = {"stride": per_axis(1, 3), "padding": padding, "dilation": per_axis(1, 3)}
    return x, w, options | {"groups": groups}


@given(cases())
def test_random_geometry_agrees_with_loops_and_its_transposes_with_it(case: Case) -> None:
    x, w, options = case
    expected = by_loops(x, w, **options)
    assume(expected is not None)

    def f(x: Any, w: Any) -> Any:
        return nn.conv(x, w, **options)

    np.testing.assert_allclose(f(x, w), expected, rtol=1e-12, atol=1e-12)
    # A function linear in each operand is its own derivative; <ct, f(u)> = <f^T(ct), u>.
    rng = np.random.default_rng(1)
    ct, u, v = (rng.normal(size=a.shape) for a in (expected, x, w))
    x_ct, w_ct = pb.vjp(f, x, w)[1](ct)
    np.testing.assert_allclose(np.sum(x_ct * u), np.sum(ct * by_loops(u, w, **options)), rtol=1e-9)
    np.testing.assert_allclose(np.sum(w_ct * v), np.sum(ct * by_loops(x, v, **options)), rtol=1e-9)


@pytest.mark.parametrize(
    ("x_shape", "w_shape"), [((2, 3, 9), (4, 3, 4)), ((2, 2, 7, 6), (3, 2, 3, 2))]
)
def test_it_is_the_correlation_of_scipy(x_shape: Any, w_shape: Any, rng: Any) -> None:
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)
    for mode in ("valid", "same"):
        expected = [
            [
                sum(scipy.signal.correlate(a, b, mode) for a, b in zip(row, k, strict=True))
                for k in w
            ]
            for row in x
        ]
        if mode == "same":  # SciPy puts the odd zero of an even kernel at the low end
            half = [((k - 1) - (k - 1) // 2, (k - 1) // 2) for k in w_shape[2:]]
            np.testing.assert_allclose(nn.conv(x, w, padding=half), expected, rtol=1e-12)
        else:
            np.testing.assert_allclose(nn.conv(x, w, padding=mode), expected, rtol=1e-12)


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_keeps_the_size_over_the_stride(size: int, stride: int) -> None:
    for kernel, dilation in itertools.product((1, 2, 3), (1, 2)):
        w = np.ones((1, 1, kernel))
        y = nn.conv(np.ones((1, 1, size)), w, stride=stride, padding="same", dilation=dilation)
        assert y.shape == (1, 1, -(-size // stride))
    # The odd zero is at the high end: the first window starts at the first value.
    assert nn.conv(np.array([[[1.0, 2.0]]]), np.ones((1, 1, 2)), padding="same").tolist() == [
        [[3, 2]]
    ]


OPTIONS: list[tuple[Any, Any, dict[str, Any]]] = [
    ((2, 2, 5), (2, 2, 3), {"padding": 1}),
    ((1, 2, 5, 4), (3, 2, 3, 2), {"stride": 2, "padding": "same"}),
    ((1, 4, 4, 4), (4, 2, 2, 2), {"groups": 2, "dilation": (1, 2), "padding": [1, (0, 2)]}),
    ((1, 3, 6), (3, 1, 2), {"groups": 3, "stride": 4}),
    ((1, 2, 5), (1, 2, 2), {"padding": ((-1, -1),)}),
]


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), OPTIONS)
def test_derivatives(x_shape: Any, w_shape: Any, options: Any, rng: Any) -> None:
    x, w = rng.normal(size=x_shape), rng.normal(size=w_shape)

    def f(x: Any, w: Any) -> Any:
        return np.sum(np.tanh(nn.conv(x, w, **options)) ** 2)

    check_grads(f, (x, w), order=2)
    compiled = pb.compile(pb.grad(f, (0, 1)))(x, w)
    for a, b in zip(compiled, pb.grad(f, (0, 1))(x, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    rows = np.stack([x, 2 * x, x - 1])
    np.testing.assert_allclose(pb.vmap(f, (0, None))(rows, w), [f(r, w) for r in rows], rtol=1e-12)


@pytest.mark.parametrize(
    ("x", "w", "options", "error", "message"),
    [
        ((2, 3), (1, 3), {}, ShapeError, "x has 2 axes and w has 2"),
        ((2, 3, 5), (1, 3, 2, 2), {}, ShapeError, "x has 3 axes and w has 4"),
        ((2, 3, 5), (1, 2, 2), {}, ShapeError, "x has 3 channels, w reads 1 x 2"),
        ((2, 4, 5), (3, 2, 2), {"groups": 2}, ShapeError, "3 out_channels in 2 groups"),
        ((2, 3, 5), (1, 3, 4), {"dilation": 2}, ShapeError, "7 values, the padded input has 5"),
        ((2, 3, 5), (1, 3, 2), {"stride": 0}, ArgumentError, "stride is 0"),
        ((2, 3, 5), (1, 3, 2), {"stride": (1, 1)}, ArgumentError, "stride is .* 1 axes"),
        ((2, 3, 5), (1, 3, 2), {"padding": "full"}, ArgumentError, "unknown padding 'full'"),
        ((2, 3, 5), (1, 3, 2), {"padding": (1, 1)}, ArgumentError, "padding is"),
        ((2, 3, 5), (1, 3, 2), {"padding": ((1, 1, 1),)}, ArgumentError, "padding is"),
        ((2, 3, 5), (1, 3, 2), {"groups": 0}, ArgumentError, "groups is 0"),
    ],
)
def test_refusals(x: Any, w: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        nn.conv(np.ones(x), np.ones(w), **options)
    with pytest.raises(error, match=message):
        pb.grad(lambda x: np.sum(nn.conv(x, np.ones(w), **options)))(np.ones(x))


def test_a_refusal_names_the_line() -> None:
    with pytest.raises(
        ShapeError, match=r"test_convolution\.py:\d+ in .*\n.*x: float64 \(1, 2, 4\)"
    ):
        nn.conv(np.ones((1, 2, 4)), np.ones((1, 3, 2)))


# -- pooling --------------------------------------------------------------------------------------
POOLS: list[tuple[Any, Any, Any, Any]] = [
    ((2, 3, 7), 2, None, 0),
    ((2, 3, 6, 8), (2, 4), None, 0),
    ((2, 3, 7, 6), 3, 2, 1),
    ((2, 3, 7, 6), (2, 3), (2, 1), ((0, 1), (2, 1))),
    ((2, 1, 4, 5, 6), 2, None, "same"),
    ((1, 1, 5), 2, 3, "valid"),
]


def pooled_by_loops(x: Any, window: Any, stride: Any, padding: Any, fold: Any, fill: float) -> Any:
    n = x.ndim - 2
    window = (window,) * n if isinstance(window, int) else window
    stride = window if stride is None else (stride,) * n if isinstance(stride, int) else stride
    if padding == "same":
        padding = tuple((0, -size % k) for size, k in zip(x.shape[2:], window, strict=True))
    padding = 0 if padding == "valid" else padding
    pads = ((padding, padding),) * n if isinstance(padding, int) else padding
    padded = np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
    axes = zip(padded.shape[2:], window, stride, strict=True)
    places = [range(0, size - k + 1, s) for size, k, s in axes]
    y = np.zeros((*x.shape[:2], *map(len, places)))
    for b, c, *at in itertools.product(*map(range, x.shape[:2]), *map(enumerate, places)):
        under = tuple(slice(p, p + k) for (_, p), k in zip(at, window, strict=True))
        y[(b, c, *(i for i, _ in at))] = fold(padded[(b, c, *under)])
    return y


@pytest.mark.parametrize(("shape", "window", "stride", "padding"), POOLS)
def test_pooling_agrees_with_loops(
    shape: Any, window: Any, stride: Any, padding: Any, rng: Any
) -> None:
    x = rng.permutation(int(np.prod(shape))).reshape(shape) / 10 - 5  # far from ties
    for pool, fold, fill in ((nn.max_pool, np.max, -np.inf), (nn.mean_pool, np.mean, 0.0)):

        def f(x: Any, pool: Any = pool) -> Any:
            return pool(x, window, stride, padding)

        expected = pooled_by_loops(x, window, stride, padding, fold, fill)
        np.testing.assert_allclose(f(x), expected, rtol=1e-13)
        np.testing.assert_allclose(pb.compile(f)(x), expected, rtol=1e-13)
        check_grads(lambda x, f=f: np.sum(np.sin(f(x))), (x,), order=2)
        np.testing.assert_allclose(pb.vmap(f)(np.stack([x, -x]))[1], f(-x), rtol=1e-13)


def test_ties_share_the_derivative_in_both_forms() -> None:
    x = np.array([[[2.0, 2.0, 1.0, 2.0]]])
    apart = pb.grad(lambda x: np.sum(nn.max_pool(x, 2)))(x)
    assert apart.tolist() == [[[0.5, 0.5, 0.0, 1.0]]]
    # Windows (2, 2), (2, 1), (1, 2).
    overlapping = pb.grad(lambda x: np.sum(nn.max_pool(x, 2, 1)))(x)
    assert overlapping.tolist() == [[[0.5, 1.5, 0.0, 1.0]]]
    compiled = pb.compile(pb.grad(lambda x: np.sum(nn.max_pool(x, 2, 1))))(x)
    assert compiled.tolist() == overlapping.tolist()


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float32])
def test_padding_is_never_the_largest(dtype: Any) -> None:
    x = np.array([[[0, 1, 0]]]).astype(dtype)
    y = nn.max_pool(-x if dtype != np.bool_ else x, 2, padding=1)
    assert y.dtype == dtype
    expected = (-x.astype(int) if dtype != np.bool_ else x).astype(dtype)
    assert y.tolist() == [[[expected[0, 0, 0], max(expected[0, 0, 1:])]]]


@pytest.mark.parametrize(
    ("shape", "window", "options", "error", "message"),
    [
        ((3, 4), 2, {}, ShapeError, "x has 2 axes"),
        ((1, 3, 4), 5, {}, ShapeError, r"windows of \(5,\) do not fit into \(4,\)"),
        ((1, 3, 4), 2, {"padding": 2}, ArgumentError, "padding"),
        ((1, 3, 4), 2, {"padding": -1}, ArgumentError, "padding"),
        ((1, 3, 4), 0, {}, ArgumentError, "window is 0"),
        ((1, 3, 4), (2, 2), {}, ArgumentError, "window is"),
        ((1, 3, 4), 2, {"stride": 0}, ArgumentError, "stride is 0"),
    ],
)
def test_refusals_of_pooling(
    shape: Any, window: Any, options: Any, error: Any, message: str
) -> None:
    for pool in (nn.max_pool, nn.mean_pool):
        with pytest.raises(error, match=message):
            pool(np.ones(shape), window, **options)


# -- layers ---------------------------------------------------------------------------------------
def test_a_layer_is_a_convolution_and_a_bias(rng: Any) -> None:
    options: dict[str, Any] = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    x = rng.normal(size=(3, 4, 9, 8))
    layer = nn.Conv2d.init(rng, 4, 6, (3, 2), **options, dtype=np.float32)
    assert layer.weight.shape == (6, 2, 3, 2)
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    layer.bias = np.arange(6.0)
    expected = nn.conv(x, layer.weight, **options) + np.arange(6.0)[:, None, None]
    np.testing.assert_array_equal(layer(x), expected)
    short = nn.Conv1d(layer.weight[:, :, :, 0], layer.bias, **options)
    expected = nn.conv(x[..., 0], short.weight, **options) + np.arange(6.0)[:, None]
    np.testing.assert_array_equal(short(x[..., 0]), expected)


def test_the_fan_in_is_what_one_output_reads() -> None:
    # He: variance 2 / fan_in; 100 * 9 / 4 = 225 and 100 * 5 / 4 = 125 inputs.
    rng = np.random.default_rng(0)
    square = nn.Conv2d.init(rng, 100, 400, 3, groups=4)
    np.testing.assert_allclose(square.weight.std(), (2 / 225) ** 0.5, rtol=0.01)
    line = nn.Conv1d.init(rng, 100, 400, 5, groups=4, initializer=nn.init.lecun)
    np.testing.assert_allclose(line.weight.std(), (1 / 125) ** 0.5, rtol=0.01)
    with pytest.raises(ArgumentError, match="3 channels to 4 in 2 groups"):
        nn.Conv1d.init(rng, 3, 4, 2, groups=2)
    with pytest.raises(ArgumentError, match="kernel_size is"):
        nn.Conv1d.init(rng, 3, 4, (2, 2))


def test_a_network_of_layers_has_a_gradient_of_its_shape(rng: Any) -> None:
    net = nn.Sequential(
        nn.Conv2d.init(rng, 2, 3, 3, padding="same"),
        np.tanh,
        lambda x: nn.max_pool(x, 2),
        lambda x: np.reshape(x, (len(x), -1)),
        nn.Linear.init(rng, 12, 2),
    )
    x = rng.normal(size=(2, 2, 4, 4))
    vector, unravel = tree.ravel(net)
    check_grads(lambda v: np.sum(unravel(v)(x) ** 2), (vector,), order=1)
    grads = pb.grad(lambda net: np.sum(net(x) ** 2))(net)
    assert isinstance(grads.layers[0], nn.Conv2d)
    assert grads.layers[0].padding == "same"
