"""What is computed again late instead of being held: memory falls, results stay."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.compiler.verifier import verified

import pullback as pb
from pullback import nn
from pullback.compiler import executable
from pullback.compiler.schedule.steps import Schedule

recompute = importlib.import_module("pullback.compiler.schedule.recompute")

N_LAYERS, N_ROWS, WIDTH = 8, 512, 128
LAYER = N_ROWS * WIDTH * 8  # bytes of what a layer makes


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")


def schedule(f: Any, *args: Any) -> Schedule:
    compiled = f if hasattr(f, "prepare") else pb.compile(f)
    with verified() as ran:
        program = executable.emit_program(compiled.prepare(args, {})[1].staged.graph, True, ())
    assert "rematerialise" in ran
    plan: Schedule = program.schedule
    return plan


def without(monkeypatch: pytest.MonkeyPatch, f: Any, *args: Any) -> Schedule:
    """The schedule if everything is held."""
    with monkeypatch.context() as patch:
        patch.setattr(recompute, "LEAST_PEAK", 1 << 60)
        return schedule(f, *args)


def counted(plan: Schedule) -> Counter[str]:
    return Counter(e.primitive.name for e in plan.graph.equations)


def normal(x: Any) -> Any:
    centered = x - np.mean(x, axis=-1, keepdims=True)
    return centered / np.sqrt(np.mean(centered * centered, axis=-1, keepdims=True) + 1e-5)


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(0.8 * (x + 0.04 * x * x * x)))


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x + 0.1, 0),
    "gelu": gelu,
    "softplus": lambda x: np.logaddexp(0, x),
    "norm": lambda x: np.maximum(normal(x), 0),
    "turned": lambda x: np.maximum(x.T, 0).T,
    "cut": lambda x: np.maximum(np.reshape(x, (WIDTH, N_ROWS)), 0).reshape(x.shape),
}


def network(activation: Any, n_layers: int = N_LAYERS) -> tuple[Any, list[Any], Any]:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 for _ in range(n_layers)]

    def loss(weights: Any, x: Any) -> Any:
        for w in weights:
            x = activation(x @ w)
        return np.mean(x * x)

    return pb.value_and_grad(loss), weights, rng.normal(size=(N_ROWS, WIDTH))


def same(f: Any, *args: Any, rtol: float = 1e-9) -> None:
    found, expected = (pb.tree.leaves(g(*args)) for g in (pb.compile(f), f))
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_one_array_of_each_layer_is_held(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shallow, deep = (network(ACTIVATIONS[name], n) for n in (N_LAYERS, N_LAYERS + 4))
    growth = schedule(*deep).arena_bytes - schedule(*shallow).arena_bytes
    held = without(monkeypatch, *deep).arena_bytes - without(monkeypatch, *shallow).arena_bytes
    assert growth < 4.1 * LAYER
    assert held > 7.9 * LAYER
    same(*shallow)


def transformer(n_layers: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    heads, size = 4, 16
    weights = rng.normal(size=(n_layers, 4, heads * size, heads * size)) / (heads * size) ** 0.5
    x = rng.normal(size=(16, 64, heads * size))

    def loss(weights: Any, x: Any) -> Any:
        for i in range(n_layers):
            q, k, v = (np.reshape(x @ weights[i, j], (16, 64, heads, size)) for j in range(3))
            y = nn.attention(*(np.swapaxes(a, 1, 2) for a in (q, k, v)))
            x = x + np.reshape(np.swapaxes(y, 1, 2), x.shape) @ weights[i, 3]
        return np.mean(np.sin(x))

    return pb.value_and_grad(loss), weights, x


def test_softmaxes_are_computed_again_from_queries_and_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each layer holds what goes through it: three operands of attention, what it gives, and x."""
    monkeypatch.setattr(recompute, "BUDGET", 0.3)
    shallow, deep = transformer(4), transformer(6)
    growth = schedule(*deep).arena_bytes - schedule(*shallow).arena_bytes
    assert growth < 2 * 5.5 * shallow[2].nbytes
    same(*shallow)


def largest(x: Any) -> Any:
    y = 0.3 * x + 0.1 * x * x
    return y / (2 + np.max(y, axis=-1, keepdims=True))


def stepped(x: Any) -> Any:
    y = 0.3 * x + 0.1 * x * x
    return y * np.floor(8 * y) / 8


def guarded(x: Any) -> Any:
    y = x * x * 0.3 - 0.1 * x
    is_positive = y > 0
    return np.where(is_positive, np.sqrt(np.where(is_positive, y, 1)), y)


@pytest.mark.parametrize("activation", [largest, stepped, guarded])
def test_what_choices_depend_on_is_held(activation: Any) -> None:
    """An array that is computed again may differ from its maximum in the last digit."""
    f, weights, x = network(activation)
    same(f, weights, x)
    kept = {"largest": "equal", "stepped": "floor", "guarded": "greater"}[activation.__name__]
    plan = schedule(f, weights, x)
    makers = {v: e for e in plan.graph.equations for v in e.outputs}
    chosen = [e.inputs[0] for e in plan.graph.equations if e.primitive.name == kept]
    assert chosen
    waiting = list(chosen)
    while waiting:
        v = waiting.pop()
        assert v not in plan.again
        if v in makers and v not in plan.in_memory:
            waiting += makers[v].inputs


def test_long_programs_are_not_searched_to_their_ends() -> None:
    """Each value of 400 steps would be followed through all later ones."""

    def loss(x: Any) -> Any:
        for _ in range(400):
            x = np.sin(x) * x + 0.5
        return np.mean(x)

    x = np.ones(20_000)
    looked = 0
    original = recompute.is_inline

    def counting(equation: Any) -> bool:
        nonlocal looked
        looked += 1
        return original(equation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recompute, "is_inline", counting)
        schedule(pb.grad(loss), x)
    assert 0 < looked < 400_000


def test_each_of_several_peaks_is_lowered() -> None:
    """Gradients of two halves of a batch, one after the other."""
    f, weights, x = network(ACTIVATIONS["relu"])

    def accumulated(weights: Any, x: Any, y: Any) -> Any:
        (first, a), (second, b) = f(weights, x), f(weights, y)
        return first + second, [v + w for v, w in zip(a, b, strict=True)]

    plan = schedule(accumulated, weights, x, x + 1)
    assert plan.arena_bytes < (N_LAYERS + 3.5) * LAYER + sum(w.nbytes for w in weights)
    same(accumulated, weights, x, x + 1)


def test_what_is_only_read_late_is_computed_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with the product before it, which is read late too."""

    def f(weights: Any, x: Any) -> Any:
        early = (x + 1) @ weights[0]
        side = np.exp(-early)
        for w in weights:
            x = np.tanh(x @ w)
        return np.sum(x * side), np.sum(side + early, axis=0)

    _, weights, x = network(ACTIVATIONS["relu"])
    held = without(monkeypatch, f, weights, x).arena_bytes
    monkeypatch.setattr(recompute, "LEAST_PEAK", 0)
    assert schedule(f, weights, x).arena_bytes <= held - LAYER
    same(f, weights, x)


def test_results_are_read_instead_of_being_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(weights: Any, x: Any) -> Any:
        layers = []
        for w in weights:
            x = np.maximum(x @ w + 0.1, 0)
            layers.append(x)
        return np.mean(x * x), layers

    _, weights, x = network(ACTIVATIONS["relu"])
    f = pb.value_and_grad(loss, has_aux=True)
    assert counted(schedule(f, weights, x))["maximum"] == N_LAYERS
    same(f, weights, x)


def test_what_takes_long_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without products, elementary functions are most of the time."""

    def loss(x: Any) -> Any:
        for _ in range(N_LAYERS):
            x = np.sin(x) * x + np.exp(-x * x)
        return np.mean(x)

    monkeypatch.setattr(recompute, "FAR", 1000)
    x = np.random.default_rng(0).normal(size=(N_ROWS, WIDTH))
    f = pb.grad(loss)
    held = counted(without(monkeypatch, f, x))
    found = counted(schedule(f, x))
    assert (found["sin"], found["exp"]) == (held["sin"], held["exp"])
    monkeypatch.setattr(recompute, "BUDGET", 1e9)
    assert counted(schedule(f, x))["sin"] > held["sin"]
    same(f, x)


def test_what_lowers_no_peak_is_held() -> None:
    """The scores of a single layer are needed again as soon as they are there."""
    q, k, v = np.random.default_rng(0).normal(size=(3, 16, 128, 16))
    f = pb.grad(lambda *args: np.sum(nn.attention(*args) ** 2), argnums=(0, 1, 2))
    assert not schedule(f, q, k, v).again


def test_what_stays_in_the_cache_is_held() -> None:
    f, weights, x = network(ACTIVATIONS["relu"])
    assert schedule(f, weights, x).again
    assert not schedule(f, weights, x[:64]).again


def test_arguments_that_results_are_written_over_are_read_before() -> None:
    f, weights, x = network(ACTIVATIONS["gelu"])

    def step(weights: Any, x: Any) -> Any:
        value, ct = pb.value_and_grad(lambda p: f(p[0], gelu(p[1]))[0])((weights, x))
        return [w - 0.1 * g for w, g in zip(weights, ct[0], strict=True)], x - ct[1], value

    expected = step(weights, x)
    found = pb.compile(step, donate_argnums=(0, 1))([w.copy() for w in weights], x.copy())
    for got, want in zip(pb.tree.leaves(found), pb.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12)


def test_results_are_the_same_at_every_call() -> None:
    f, *args = network(ACTIVATIONS["norm"])
    compiled = pb.compile(f)
    first = [a.tobytes() for a in pb.tree.leaves(compiled(*args))]
    for threads in (1, 2, 2):
        again = pb.compile(f, threads=threads)(*args)
        assert [a.tobytes() for a in pb.tree.leaves(again)] == first
