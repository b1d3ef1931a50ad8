"""What a compiled function reads from outside is what it is when it runs, or is refused."""

from __future__ import annotations

import functools
import random
import types
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

import pullback as pb
from pullback.errors import MutationError, StagingError

X = np.array([0.5, -1.5])
W = np.array([1.0, 2.0])
TABLE = {"w": W, "parts": [W, (W, 2.0)]}
RNG = np.random.default_rng(0)
scale = 2.0


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    yield
    W[:] = [1.0, 2.0]


def follows(f: Any, change: Any, x: Any = X) -> None:
    """Values and gradients of ``f``, compiled before the change, are those of NumPy after it."""
    value, slope = pb.compile(f), pb.compile(pb.grad(lambda x: np.sum(f(x))))
    for _ in range(2):
        np.testing.assert_allclose(value(x), f(x), rtol=1e-14)
        np.testing.assert_allclose(slope(x), pb.grad(lambda x: np.sum(f(x)))(x), rtol=1e-14)
    before = f(x)
    change()
    assert not np.allclose(before, f(x)), "the change has no effect"
    for _ in range(2):
        np.testing.assert_allclose(value(x), f(x), rtol=1e-14)
        np.testing.assert_allclose(slope(x), pb.grad(lambda x: np.sum(f(x)))(x), rtol=1e-14)


def set_w() -> None:
    W[:] = [-0.5, 3.0]


# What NumPy computes from W while the function is staged.
COMPUTED: dict[str, Any] = {
    "itself": lambda x: x * W,
    "function": lambda x: x * np.exp(W),
    "method": lambda x: x * W.sum(),
    "comparison": lambda x: np.where(W > 0, x, 2 * x),
    "transpose": lambda x: np.outer(x, W).T @ np.diag(W).T,
    "element": lambda x: x * W[0],
    "slice": lambda x: x * W[::-1],
    "operator": lambda x: x + (W * 3 - 1) ** 2,
    "number": lambda x: x * float(W[0]),
    "item": lambda x: x * W[0].item(),
    "list": lambda x: x * sum(W.tolist()),
    "branch": lambda x: x if W[0] > 0 else x**2,
    "mask": lambda x: x[W > -0.2].sum() * x,
    "shape": lambda x: x * np.arange(int(abs(W[1]))).sum(),
    "copy": lambda x: x * np.array(W).copy(),
    "asarray": lambda x: x * np.asarray(W, dtype=float),
    "stacked": lambda x: np.stack([W, W]) @ x,
    "matmul": lambda x: (W @ W) * x,
    "iteration": lambda x: sum(x * w for w in W),
    "unpacked": lambda x: (lambda a, b: x * a - b)(*W),
    "out": lambda x: x * np.add(W, 1),
    "loop": lambda x: pb.scan(lambda c, _: (c * np.sin(W), None), x, None, length=2)[0],
    "branches": lambda x: pb.cond(np.sum(x) > 0, lambda x: x * np.sin(W), lambda x: x * W.sum(), x),
    "checkpoint": lambda x: pb.checkpoint(lambda x: np.sin(x * W.sum()))(x),
    "vmap": lambda x: pb.vmap(lambda x: x * W.sum())(x),
    "gradient": lambda x: pb.grad(lambda x: np.sum(np.logaddexp(0, np.exp(W) * x)))(x),
    "compiled": pb.compile(lambda x: x * np.exp(W)),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_what_is_computed_from_an_array_follows_it(name: str) -> None:
    follows(COMPUTED[name], set_w)


class Slots:
    __slots__ = ("w",)


class Base:
    kept = W

    def shift(self) -> Any:
        return self.w.sum()


class Model(Base):
    def __init__(self, w: Any) -> None:
        self.w = w
        self.inner = types.SimpleNamespace(w=w)
        self.slots = Slots()
        self.slots.w = w
        self.layers = [(w, "tanh"), (w, "sin")]

    @property
    def doubled(self) -> Any:
        return self.w * 2

    @functools.cached_property
    def cached(self) -> Any:
        return self.w

    @staticmethod
    def still(x: Any) -> Any:
        return x * np.cos(W)

    @classmethod
    def of_class(cls, x: Any) -> Any:
        return x * np.cos(cls.kept)

    def shift(self) -> Any:
        return super().shift() + 1.0

    def loss(self, x: Any) -> Any:
        return x * np.exp(self.w)

    def __call__(self, x: Any) -> Any:
        return x * np.tanh(self.w)

    def __getitem__(self, k: int) -> Any:
        return self.w[k] * 2

    def __matmul__(self, x: Any) -> Any:
        return np.sum(self.w) * x


class Pair(NamedTuple):
    first: Any
    second: Any


@pb.tree.dataclass
@dataclass
class Registered:
    w: Any = field(default_factory=lambda: W)

    def __call__(self, x: Any) -> Any:
        return x * self.w


model, pair, registered = Model(W), Pair(W, 1.0), Registered()
closed = (lambda w: lambda x: x * np.exp(w))(W)
bound = functools.partial(lambda w, x: x * np.exp(w), W)
module = types.ModuleType("a_module_of_the_user")
exec("import numpy as np\ndef layer(x):\n    return x * np.exp(w)", vars(module))
module.w = W  # type: ignore[attr-defined]
module.__file__ = "a_module_of_the_user.py"


def recursive(x: Any, n: int = 3) -> Any:
    return x if n == 0 else np.sin(W) * recursive(x, n - 1)


def with_default(x: Any, w: Any = W, *, v: Any = W) -> Any:
    return x * np.exp(w) * np.cos(v)


def layered(x: Any) -> Any:
    for w, name in model.layers:
        x = x * np.exp(w) if name == "tanh" else x + w.sum()
    return x


ROUTES: dict[str, Any] = {
    "closure": closed,
    "closure of a helper": lambda x: closed(x) + 1,
    "dictionary": lambda x: x * np.exp(TABLE["w"]),
    "nested containers": lambda x: x * np.exp(TABLE["parts"][1][0]) + sum(TABLE["parts"][0]),
    "values": lambda x: x * sum(np.exp(w) for w in [TABLE["w"]]),
    "named tuple": lambda x: x * np.exp(pair.first),
    "registered": lambda x: registered(x * np.exp(registered.w)),
    "attribute": lambda x: x * np.exp(model.w),
    "attribute of an attribute": lambda x: x * np.exp(model.inner.w),
    "slots": lambda x: x * np.exp(model.slots.w),
    "getattr": lambda x: x * np.exp(getattr(model, "w")),  # noqa: B009
    "method": lambda x: model.loss(x),
    "bound method": model.loss,
    "callable object": lambda x: model(x),
    "the object itself": model,
    "property": lambda x: x * model.doubled,
    "cached property": lambda x: x * np.exp(model.cached),
    "static method": lambda x: model.still(x),
    "class method": lambda x: Model.of_class(x),
    "super": lambda x: x * model.shift(),
    "class attribute": lambda x: x * np.exp(Model.kept),
    "constructor": lambda x: Model(W * 2).loss(x),
    "special method": lambda x: x * model[0] + model @ x,
    "loop over layers": layered,
    "default": with_default,
    "partial": bound,
    "recursion": recursive,
    "imported": lambda x: module.layer(x),  # type: ignore[attr-defined]
    "map": lambda x: sum(map(lambda w: x * np.exp(w), [W])),  # noqa: C417
    "comprehension": lambda x: sum([x * np.exp(w) for w in (W,)]),
    "wrapped": functools.wraps(closed)(lambda *a: closed(*a)),
    "transform": pb.vmap(lambda x: x * W.sum()),
    "checkpoint": pb.checkpoint(lambda x: x * np.exp(W)),
}


@pytest.mark.parametrize("name", ROUTES)
def test_an_array_is_followed_by_whatever_route_it_is_read(name: str) -> None:
    follows(ROUTES[name], set_w)


def test_the_cases_that_were_reported() -> None:
    """A penalty whose gradient is a captured array; logistic regression on captured data."""
    follows(lambda w: w * W + w**2, set_w)
    rng = np.random.default_rng(1)
    data, y = rng.normal(size=(6, 2)), rng.random(6)
    loss = lambda w: np.mean(np.logaddexp(0, data @ w) - y * (data @ w))

    def change() -> None:
        data[:], y[:] = rng.normal(size=(6, 2)), rng.random(6)

    follows(loss, change)


def test_numbers_and_attributes_that_change_are_noticed() -> None:
    global scale
    settings = types.SimpleNamespace(rate=0.5, mode="plus", none=None)
    counter = [1.0]
    follows(lambda x: x * settings.rate, lambda: setattr(settings, "rate", 0.25))
    follows(
        lambda x: x + 1 if settings.mode == "plus" else x - 1,
        lambda: setattr(settings, "mode", "minus"),
    )
    follows(lambda x: x if settings.none is None else 0 * x, lambda: setattr(settings, "none", 1))
    f = pb.compile(lambda x: scale * x)
    f(X)
    scale = 3.0
    np.testing.assert_array_equal(f(X), 3 * X)
    scale = 2.0
    local = 1.0
    g = pb.compile(lambda x: local * x)
    g(X)
    local = 7.0
    np.testing.assert_array_equal(g(X), 7 * X)
    tuples = types.SimpleNamespace(pair=(1.0, 2.0))
    follows(lambda x: x * tuples.pair[1], lambda: setattr(tuples, "pair", (1.0, 5.0)))
    follows(lambda x: x * counter[0], lambda: counter.__setitem__(0, 4.0))


def test_containers_that_are_replaced_or_grow_are_followed() -> None:
    holder = types.SimpleNamespace(params={"w": np.ones(2), "b": 1.0}, rows=[np.ones(2)])
    f = lambda x: np.exp(holder.params["w"]) * x + holder.params["b"]
    follows(f, lambda: setattr(holder, "params", {"w": np.zeros(2), "b": 1.0}))
    follows(f, lambda: holder.params.update(b=3.0))
    follows(lambda x: x + sum(np.exp(r) for r in holder.rows), lambda: holder.rows.append(X))
    shared = {"w": np.ones(2)}
    holder.params = shared
    g = lambda x: x * np.exp(shared["w"]) + np.exp(holder.params["w"])
    follows(g, lambda: setattr(holder, "params", {"w": np.zeros(2)}))
    sizes = [2.0, 3.0]
    follows(lambda x: x * len(sizes) + sizes[-1], lambda: sizes.append(4.0))
    follows(lambda x: x * sum(sizes), lambda: sizes.__setitem__(0, 0.5))


def test_an_array_put_in_the_place_of_another_is_followed_without_compiling_again() -> None:
    holder = types.SimpleNamespace(w=np.ones(2))
    f = pb.compile(lambda x: x * np.exp(holder.w))
    f(X)
    (signature,) = f.signatures.values()
    for k in range(3):
        holder.w = np.full(2, float(k))
        np.testing.assert_allclose(f(X), X * np.exp(k), rtol=1e-14)
    assert list(f.signatures.values()) == [signature]
    holder.w = np.ones((3, 2))
    np.testing.assert_allclose(f(X), X * np.exp(holder.w), rtol=1e-14)


DRAWS: dict[str, Any] = {
    "global": lambda x: x * np.random.randn(2),
    "random": lambda x: x * np.random.random(),
    "permutation": lambda x: x[np.random.permutation(2)],
    "captured generator": lambda x: x * RNG.normal(size=2),
    "choice": lambda x: x * RNG.choice([1.0, 2.0]),
    "bound method": functools.partial(lambda draw, x: x * draw(), RNG.random),
    "attribute": (lambda holder: lambda x: x * holder.rng.random(2))(
        types.SimpleNamespace(rng=RNG)
    ),
    "container": (lambda held: lambda x: x * held["rng"].random(2))({"rng": RNG}),
    "standard library": lambda x: x * random.random(),
    "standard generator": (lambda r: lambda x: x * r.gauss(0, 1))(random.Random(0)),
    "unseeded": lambda x: x * np.random.default_rng().random(2),
    "in a loop": lambda x: pb.scan(lambda c, _: (c * RNG.random(), None), x, None, length=2)[0],
    "old state": (lambda r: lambda x: x * r.rand(2))(np.random.RandomState(0)),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: pb.grad(lambda x: np.sum(f(x)))])
def test_a_draw_that_would_be_repeated_is_refused(name: str, wrap: Any) -> None:
    with pytest.raises(StagingError, match="random") as caught:
        pb.compile(wrap(DRAWS[name]))(X)
    assert "test_outside.py" in str(caught.value)
    assert "pullback.random.default_rng" in str(caught.value)


def test_the_remedy_for_draws_works() -> None:
    f = pb.compile(lambda x, rng: x * rng.normal(size=2))
    rng = pb.random.default_rng(0)
    assert not np.allclose(f(X, rng), f(X, rng))


def test_a_seeded_generator_made_inside_is_a_constant() -> None:
    f = lambda x: x * np.random.default_rng(3).random(2)
    np.testing.assert_array_equal(pb.compile(f)(X), f(X))


def test_writing_into_a_captured_array_is_refused() -> None:
    def f(x: Any) -> Any:
        held = W
        held += 1.0
        return x * held

    with pytest.raises(MutationError, match="made outside of this compile"):
        pb.compile(f)(X)
    np.testing.assert_array_equal(W, [1.0, 2.0])


def test_what_the_function_stores_outside_arrives_there() -> None:
    calls, found = [], {"w": W}
    n = 0

    def f(x: Any) -> Any:
        nonlocal n
        n += 1
        calls.append(n)
        found["shape"] = x.shape
        globals()["stored"] = n
        return x * found["w"]

    pb.compile(f)(X)
    assert (n, calls, found["shape"]) == (1, [1], (2,))
    assert found["w"] is W


def test_threads_and_later_calls_see_plain_arrays() -> None:
    leaked = []

    def f(x: Any) -> Any:
        leaked.append(lambda: np.exp(W))
        return x * W

    pb.compile(f)(X)
    assert type(leaked[0]()) is np.ndarray


@pytest.mark.parametrize("order", [(1, 0), (0, 1)])
@pytest.mark.parametrize("part", [np.s_[:], np.s_[::2, ::-1], np.s_[1:3]])
def test_arrays_of_any_layout_are_read_in_place_or_copied_on_the_fast_path(
    part: Any, order: Any
) -> None:
    held = np.arange(24.0).reshape(4, 6).transpose(order)[part]
    x = np.ones(held.shape)
    f = pb.compile(pb.grad(lambda x: np.sum(np.sin(x) * held)))
    f(x)
    assert f.last is not None
    slow = f.last.attempt
    seen = []
    f.last.attempt = lambda args: seen.append(slow(args)) or seen[-1]
    np.testing.assert_allclose(f(x), np.cos(x) * held, rtol=1e-14)
    held[0, 0] = -3.0
    np.testing.assert_allclose(f(x), np.cos(x) * held, rtol=1e-14)
    assert all(results is not None for results in seen)
    assert len(seen) == 2


def test_a_transposed_or_repeated_array_is_not_copied() -> None:
    table, row = np.arange(6.0).reshape(2, 3), np.arange(3.0)
    wide = np.broadcast_to(row, (4, 3))
    f = pb.compile(lambda x: x @ table.T + wide[:, :2])
    f(np.ones((4, 3)))
    (signature,) = f.signatures.values()
    assert all(value.flags.c_contiguous for value in signature.staged.captured)
    assert all(
        np.shares_memory(value, table) or np.shares_memory(value, row)
        for value in signature.staged.captured
    )


def test_large_data_is_not_read_when_a_call_begins() -> None:
    """Memory is not compared: only what the program reads is touched."""
    data = np.zeros((1000, 1000))
    f = pb.compile(lambda x: x * np.sum(data[:2, :2]))
    f(X)
    assert f.last is not None
    assert f.last.readings.pinned == []
