"""Attention against sums over the keys that may be used, in and without blocks; its layer."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import nn, tree
from pullback.errors import ArgumentError, DTypeError, ShapeError
from pullback.testing.grads import check_grads


def by_rows(q: Any, k: Any, v: Any, scale: float, bias: Any = None, may: Any = None) -> Any:
    """One row of scores after the other, of the keys that it may use."""
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    full = (*lead, q.shape[-2], k.shape[-2])
    bias = np.broadcast_to(0.0 if bias is None else bias, full)
    may = np.broadcast_to(True if may is None else may, full)
    q, k, v = (np.broadcast_to(x, (*lead, *x.shape[-2:])) for x in (q, k, v))
    y = np.zeros((*full[:-1], v.shape[-1]))
    for at in np.ndindex(full[:-1]):
        scores = {
            s: math.fsum(q[at] * k[at[:-1]][s]) * scale + bias[at][s]
            for s in range(full[-1])
            if may[at][s]
        }
        weights = {s: math.exp(score) for s, score in scores.items()}
        for s, weight in weights.items():
            y[at] += weight * v[at[:-1]][s] / math.fsum(weights.values())
    return y


@pytest.fixture(params=[0, 256, 3, 1])
def few_scores(request: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """All scores at once; those of a head; blocks of 3 queries and keys; groups of single ones."""
    if request.param:
        monkeypatch.setattr("pullback.nn.transformer.MOST_SCORES", (7, 7))
        monkeypatch.setattr("pullback.nn.transformer.BLOCK", request.param)
    return int(request.param)


def draw(*shapes: tuple[int, ...], seed: int = 0) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


CASES = {
    "heads": ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 2)),
    "one axis": ((8, 3), (5, 3), (5, 3)),
    "keys for all heads": ((2, 3, 5, 4), (2, 1, 7, 4), (7, 2)),
    "queries for all": ((5, 2), (3, 1, 4, 2), (2, 4, 3)),
    "no batch": ((0, 5, 2), (0, 4, 2), (0, 4, 3)),
    "no queries": ((2, 0, 2), (2, 4, 2), (2, 4, 3)),
    "no keys": ((2, 3, 2), (2, 0, 2), (2, 0, 3)),
    "no values": ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 0)),
    "no features": ((2, 3, 5, 0), (2, 3, 7, 0), (2, 3, 7, 2)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wrap", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_values_are_the_weighted_means(case: str, wrap: Any, few_scores: int) -> None:
    q, k, v = draw(*CASES[case])
    y = wrap(lambda *args: nn.attention(*args, scale=0.6))(q, k, v)
    np.testing.assert_allclose(y, by_rows(q, k, v, 0.6), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wrap", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_without_features_all_keys_weigh_the_same(wrap: Any) -> None:
    q, k, v = draw(*CASES["no features"])
    expected = np.broadcast_to(np.mean(v, axis=-2, keepdims=True), (2, 3, 5, 2))
    np.testing.assert_allclose(wrap(nn.attention)(q, k, v), expected, rtol=1e-12)
    causal = wrap(lambda *args: nn.attention(*args, is_causal=True))(q, k, v)
    np.testing.assert_allclose(causal[..., 2, :], np.mean(v[..., :3, :], axis=-2), rtol=1e-12)
    gradient = pb.grad(lambda v: np.sum(wrap(nn.attention)(q, k, v)))(v)
    np.testing.assert_allclose(gradient, np.full(v.shape, 5 / 7), rtol=1e-12)


OPTIONS: dict[str, tuple[tuple[int, ...], ...]] = {  # shapes of bias and mask
    "full": ((2, 3, 5, 7), (2, 3, 5, 7)),
    "rows": ((5, 1), (3, 5, 1)),
    "keys": ((7,), (2, 1, 1, 7)),
    "heads": ((3, 1, 1), (2, 1, 1, 1)),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("is_causal", [False, True])
def test_bias_mask_and_order_in_time(option: str, is_causal: bool, few_scores: int) -> None:
    bias_shape, mask_shape = OPTIONS[option]
    q, k, v, bias, noise = draw((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 2), bias_shape, mask_shape)
    mask = noise > 0
    may = mask & np.tri(5, 7, dtype=bool) if is_causal else mask

    def f(q: Any, k: Any, v: Any, bias: Any) -> Any:
        return nn.attention(q, k, v, bias=bias, mask=mask, is_causal=is_causal, scale=0.7)

    expected = by_rows(q, k, v, 0.7, bias, may)
    np.testing.assert_allclose(f(q, k, v, bias), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(pb.compile(f)(q, k, v, bias), expected, rtol=1e-12, atol=1e-14)
    check_grads(f, (q, k, v, bias))


@pytest.mark.parametrize("case", ["heads", "one axis", "keys for all heads", "queries for all"])
def test_derivatives_of_first_and_second_order(case: str, few_scores: int) -> None:
    operands = (*draw(*CASES[case]), np.array(0.6))

    def f(*args: Any) -> Any:
        *matrices, scale = args
        return np.sum(np.sin(nn.attention(*matrices, scale=scale)))

    check_grads(f, operands, order=2)


def test_a_scale_for_each_head(few_scores: int) -> None:
    q, k, v = draw(*CASES["heads"])
    scale = np.array([0.3, 1.0, 2.0])[:, None, None]
    heads = zip(*(np.moveaxis(x, 1, 0) for x in (q, k, v)), scale.flat, strict=True)
    expected = np.stack([by_rows(*head) for head in heads], axis=1)
    np.testing.assert_allclose(nn.attention(q, k, v, scale=scale), expected, rtol=1e-12)
    check_grads(lambda scale: nn.attention(q, k, v, scale=scale), (scale,))


def test_compiled_second_derivatives_along_a_direction(few_scores: int) -> None:
    args = tuple(draw((2, 8, 3), (2, 5, 3), (2, 5, 3)))
    along = tuple(draw(*(x.shape for x in args), seed=1))

    def loss(*args: Any) -> Any:
        return np.sum(np.sin(nn.attention(*args, is_causal=True)))

    gradient = pb.grad(loss, argnums=(0, 1, 2))
    h = 1e-4
    ahead, behind = (
        gradient(*(x + sign * h * u for x, u in zip(args, along, strict=True))) for sign in (1, -1)
    )
    found = pb.compile(lambda *args: pb.hvp(loss, args, along))(*args)
    for a, b, product in zip(ahead, behind, found, strict=True):
        np.testing.assert_allclose(product, (a - b) / (2 * h), rtol=1e-5, atol=1e-7)


def test_a_query_that_may_use_no_key(few_scores: int) -> None:
    q, k, v = draw((6, 3), (4, 3), (4, 2))
    mask = np.ones((6, 4), bool)
    mask[2] = False

    def f(*args: Any) -> Any:
        return np.sum(nn.attention(*args, mask=mask) ** 2)

    assert np.array_equal(nn.attention(q, k, v, mask=mask)[2], [0, 0])
    for gradient in (pb.grad(f, argnums=(0, 1, 2)), pb.compile(pb.grad(f, argnums=(0, 1, 2)))):
        found = gradient(q, k, v)
        assert np.array_equal(found[0][2], [0, 0, 0])
        assert all(np.all(np.isfinite(ct)) for ct in found)
    assert np.array_equal(nn.attention(q, k, v, mask=False), np.zeros((6, 2)))


def test_a_bias_of_minus_infinity_is_a_mask_and_large_scores_do_not_overflow(
    few_scores: int,
) -> None:
    q, k, v = draw((6, 3), (4, 3), (4, 2))
    mask = np.array([True, False, True, True])
    bias = np.where(mask, 0, -np.inf)
    masked = nn.attention(q, k, v, mask=mask)
    assert np.array_equal(nn.attention(q, k, v, bias=bias), masked)
    assert np.array_equal(nn.attention(q, k, v, bias=np.full(4, -np.inf)), np.zeros((6, 2)))
    sharp = nn.attention(1e4 * q, 1e4 * k, v)
    np.testing.assert_allclose(sharp, v[np.argmax(q @ k.T, axis=1)])
    ct = pb.grad(lambda v: np.sum(nn.attention(1e4 * q, 1e4 * k, v)))(v)
    wins = np.bincount(np.argmax(q @ k.T, axis=1), minlength=4)
    np.testing.assert_allclose(ct[:, 0], wins, atol=1e-6)


def test_batches_and_loops_of_other_transforms(few_scores: int) -> None:
    q, k, v = draw((4, 2, 5, 3), (4, 2, 6, 3), (2, 6, 2))

    def f(q: Any, k: Any) -> Any:
        return nn.attention(q, k, v, is_causal=True)

    each = np.stack([f(*pair) for pair in zip(q, k, strict=True)])
    np.testing.assert_allclose(pb.vmap(f)(q, k), each, rtol=1e-12)
    np.testing.assert_allclose(pb.compile(pb.vmap(f))(q, k), each, rtol=1e-12)

    def stacked(q: Any, k: Any) -> Any:
        return pb.scan(lambda total, pair: (total + np.sum(f(*pair)), None), 0.0, (q, k))[0]

    np.testing.assert_allclose(pb.compile(stacked)(q, k), np.sum(each), rtol=1e-12)
    check_grads(stacked, (q, k))
    per_example = pb.vmap(pb.grad(lambda q, k: np.sum(np.sin(f(q, k)))))
    single = [pb.grad(lambda q, k: np.sum(np.sin(f(q, k))))(*p) for p in zip(q, k, strict=True)]
    np.testing.assert_allclose(pb.compile(per_example)(q, k), np.stack(single), atol=1e-14)


@pytest.mark.parametrize("dtypes", [*itertools.product(("f2", "f4", "f8", "i4"), repeat=3)])
def test_dtypes_are_those_of_all_scores_at_once(
    dtypes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = [
        np.round(3 * x).astype(t) for x, t in zip(draw((7, 3), (6, 3), (6, 2)), dtypes, strict=True)
    ]
    f = functools.partial(nn.attention, is_causal=True)
    want, slope = f(*args), pb.grad(lambda q: np.sum(f(q, *args[1:]) ** 2))
    q = args[0].astype(want.dtype)
    gradient = slope(q)
    monkeypatch.setattr("pullback.nn.transformer.MOST_SCORES", (7, 7))
    monkeypatch.setattr("pullback.nn.transformer.BLOCK", 3)
    floats = [x.dtype for x in (*args, want) if x.dtype.kind == "f"]
    tolerance = 10 * max(np.finfo(t).eps for t in floats)
    for found in (f(*args), pb.compile(f)(*args)):
        assert found.dtype == want.dtype
        np.testing.assert_allclose(found, want, atol=tolerance)
    assert slope(q).dtype == gradient.dtype
    np.testing.assert_allclose(slope(q), gradient, atol=100 * tolerance)


def test_float32_stays_and_is_as_exact_as_float32_can_be() -> None:
    args = draw((2, 40, 8), (2, 50, 8), (2, 50, 8))
    small = [x.astype(np.float32) for x in args]
    y = nn.attention(*small)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, by_rows(*small, 8**-0.5), atol=1e-6)
    f = pb.grad(lambda *args: np.sum(np.sin(nn.attention(*args))), argnums=(0, 1, 2))
    for found, exact in zip(pb.compile(f)(*small), f(*args), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, atol=2e-5)


def loss(*args: Any, **options: Any) -> Any:
    return np.sum(np.sin(nn.attention(*args, **options)))


REACH = {
    "gradient": pb.value_and_grad(loss, argnums=(0, 1, 2)),
    "causal gradient": pb.grad(functools.partial(loss, is_causal=True), argnums=(0, 1, 2)),
    "Hessian-vector product": lambda *args: pb.hvp(loss, args, args),
}


@pytest.mark.parametrize("what", REACH)
@pytest.mark.parametrize(("heads", "shortest"), [((), 4096), ((2, 4), 1024)])
def test_memory_is_linear_in_the_length(what: str, heads: tuple[int, ...], shortest: int) -> None:
    """Four times the length takes less than five times the memory: far less than all scores."""
    f = pb.compile(REACH[what])
    arena = []
    for length in (shortest, 4 * shortest, 16 * shortest):
        args = [np.zeros((*heads, length, 16), np.float32)] * 3
        arena.append(int(f.show("memory", *args).split()[1]))
        assert arena[-1] < 60 * args[0].nbytes + 16 * 4 * (1 << 20)
    assert arena[1] < 5 * arena[0]
    assert arena[2] < 5 * arena[1]
    assert arena[2] < 0.2 * math.prod(heads) * 4 * (16 * shortest) ** 2


@pytest.mark.parametrize("shapes", [((9, 4), (9, 4)), ((9, 4), (20, 4)), ((20, 4), (9, 4))])
def test_parts_of_causal_weights(shapes: tuple[tuple[int, ...], ...], few_scores: int) -> None:
    q, k = draw(*shapes)
    weights = by_rows(q, k, np.eye(len(k)), 0.5, None, np.tri(len(q), len(k), dtype=bool))
    np.testing.assert_allclose(
        nn.attention(q, k, np.eye(len(k)), is_causal=True), weights, rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 3), (4, 2), (4, 2)),
        ((5, 3), (4, 3), (5, 2)),
        ((2, 5, 3), (3, 4, 3), (4, 2)),
        ((3,), (4, 3), (4, 2)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(
        ShapeError, match=r"(?s)query: .*value: .*query is \(\.\.\., T, D\)"
    ) as caught:
        nn.attention(*draw(*shapes))
    assert "test_transformer.py" in str(caught.value)


def test_masks_and_biases_that_do_not_fit_are_refused() -> None:
    q, k, v = draw((5, 3), (4, 3), (4, 2))
    for shape in ((4, 5), (2, 5, 4)):
        with pytest.raises(ShapeError, match="mask:"):
            nn.attention(q, k, v, mask=np.ones(shape, bool))
        with pytest.raises(ShapeError, match="bias:"):
            nn.attention(q, k, v, bias=np.ones(shape))
    with pytest.raises(DTypeError, match="the mask is float64"):
        nn.attention(q, k, v, mask=np.ones((5, 4)))


def test_the_layer_is_attention_of_each_head() -> None:
    layer = nn.MultiheadAttention.init(np.random.default_rng(0), 6, heads=3)
    biases = draw((6,), (6,), (6,), (6,), seed=1)
    maps = (layer.query, layer.key, layer.value, layer.output)
    for part, bias in zip(maps, biases, strict=True):
        part.bias = bias
    x, memory, other = draw((2, 5, 6), (2, 4, 6), (2, 4, 6))
    mask = np.random.default_rng(2).random((2, 3, 5, 4)) < 0.7
    q, k, v = (
        y @ part.weight + part.bias for y, part in zip((x, memory, other), maps, strict=False)
    )
    heads = [
        by_rows(*(y[..., 2 * i : 2 * i + 2] for y in (q, k, v)), 2**-0.5, None, mask[:, i])
        for i in range(3)
    ]
    expected = np.concatenate(heads, axis=-1) @ layer.output.weight + layer.output.bias
    np.testing.assert_allclose(layer(x, memory, other, mask=mask), expected, rtol=1e-12)
    np.testing.assert_array_equal(layer(x, memory), layer(x, memory, memory))
    np.testing.assert_array_equal(layer(x, is_causal=True), layer(x, x, x, is_causal=True))
    assert not np.allclose(layer(x, is_causal=True), layer(x))
    check_grads(lambda layer, x: np.sum(layer(x, is_causal=True) ** 2), (layer, x))


def test_the_layer_in_a_network() -> None:
    rng = np.random.default_rng(0)
    net = nn.Sequential(nn.MultiheadAttention.init(rng, 8, 2, dtype=np.float32), np.tanh)
    x = np.ones((2, 3, 8), np.float32)
    assert net(x).dtype == np.float32
    assert net(x[:0]).shape == (0, 3, 8)
    assert [path for path in tree.paths(net, "net") if path.endswith("bias")] == [
        f"net.layers[0].{part}.bias" for part in ("query", "key", "value", "output")
    ]
    with pytest.raises(ArgumentError, match="width of 8 with 3 heads"):
        nn.MultiheadAttention.init(rng, 8, 3)


@pytest.mark.parametrize("offset", [0.0, 1e6, -1e6])
@pytest.mark.parametrize("run", [lambda f: f, pb.compile], ids=["eager", "compiled"])
def test_digits_at_any_offset_of_the_scores(few_scores: int, run: Any, offset: float) -> None:
    """Scores are small whole numbers plus the offset, which float32 holds exactly."""
    scores = np.random.default_rng(1).integers(-3, 4, (4, 5)).astype(np.float32)
    one, zero = np.float32([[1]]), np.zeros((5, 1), np.float32)
    q, (v,) = np.repeat(one, 4, 0), (x.astype(np.float32) for x in draw((5, 2)))
    attend = lambda b, v: nn.attention(q, zero, v, bias=b, scale=1.0)
    exact = lambda b, v: by_rows(q.astype(float), zero.astype(float), v, 1.0, b - offset)
    bias = scores + np.float32(offset)
    wide = v.astype(np.float64), bias.astype(np.float64)
    expected = exact(wide[1], wide[0])
    np.testing.assert_allclose(run(attend)(bias, v), expected, rtol=3e-6, atol=1e-6)
    ones = np.ones((5, 2), np.float32)
    np.testing.assert_allclose(run(attend)(bias, ones), 1, rtol=1e-6)
    of_bias, of_v = run(pb.grad(lambda b, v: np.sum(attend(b, v) ** 2), (0, 1)))(bias, v)
    weights = exact(wide[1], np.eye(5))
    ct = 2 * expected
    along = ct @ wide[0].T
    right = weights * (along - np.sum(weights * along, axis=1, keepdims=True))
    np.testing.assert_allclose(of_bias, right, rtol=1e-4, atol=3e-6)
    np.testing.assert_allclose(of_bias.sum(axis=1), 0, atol=3e-6)
    np.testing.assert_allclose(of_v, weights.T @ ct, rtol=1e-4, atol=3e-6)
