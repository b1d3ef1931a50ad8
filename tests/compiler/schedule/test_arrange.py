"""Steps in another order: the same kernels, verified like every schedule."""

import numpy as np
import pytest

import pullback as pb

rng = np.random.default_rng(0)


def attention(w, x):
    q, k, v = (x @ part for part in w)
    scores = q @ k.mT / 4.0
    weights = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return np.tanh((weights / np.sum(weights, axis=-1, keepdims=True)) @ v) + x


def layers(w, x):
    for part in w:
        x = attention(part, x)
    return np.mean(x**2)


def scanned(w, x):
    last, ys = pb.scan(lambda c, r: (np.tanh(c @ w[0][0] + r), np.sin(c)), x[0], x)
    return np.sum(ys @ w[0][1]) + np.sum(last)


@pytest.mark.parametrize(("f", "share"), [(layers, 0.85), (scanned, 1.0)])
def test_a_plan_changes_no_bit(f, share, monkeypatch):
    monkeypatch.setenv("PULLBACK_CHECK_STAGES", "1")
    w = rng.normal(size=(2, 3, 16, 16)) * 0.3
    x = rng.normal(size=(24, 64, 16))
    free = pb.compile(pb.value_and_grad(f))
    budget = int(share * free.memory(w, x)[1])
    tight = pb.compile(pb.value_and_grad(f), memory=budget)
    for a, b in zip(pb.tree.leaves(free(w, x)), pb.tree.leaves(tight(w, x)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert tight.memory(w, x)[1] <= budget


def test_donated_arguments_stay_donated():
    def step(w, x):
        return w - 0.1 * pb.grad(lambda w: np.sum(np.tanh(np.tanh(x @ w) @ w)))(w)

    w, x = rng.normal(size=(32, 32)), rng.normal(size=(4000, 32))
    expected = pb.compile(step)(w, x)
    own = w.copy()
    tight = pb.compile(step, donate_argnums=0, memory="min")
    result = tight(own, x)
    np.testing.assert_array_equal(result, expected)
    assert result is own
