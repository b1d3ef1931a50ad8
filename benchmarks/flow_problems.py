"""Training problems with planted faults, and their healthy twins, for benchmarks/flow_faults.py.

A *family* is a way to write the program: an ``nn`` model, plain NumPy with a dictionary of weights,
a loop over a list, residual blocks, batch statistics, convolution. A problem is a family, a fault
(or two, or none) and a seed; all else (data, depth, width, activation, optimizer) is drawn from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from pullback import nn, tree
from pullback.flow import Problem
from pullback.flow.trials import Recipe, train
from pullback.optim import adam, sgd

Rng = np.random.Generator
N_ROWS = 192
N_STEPS = 60
BATCH = 32


# -- data -----------------------------------------------------------------------------------------
def blobs(rng: Rng, n: int, k: int) -> tuple[Any, Any]:
    centers = rng.normal(size=(k, n)) * 1.5
    label = rng.integers(0, k, N_ROWS)
    x = centers[label] + rng.normal(size=(N_ROWS, n)) * 0.8
    return (x - x.mean(0)) / x.std(0), label


def wedges(rng: Rng, n: int, k: int) -> tuple[Any, Any]:
    x = rng.normal(size=(N_ROWS, n))
    return x, np.argmax(x @ rng.normal(size=(n, k)), axis=1)


def teacher(rng: Rng, n: int, k: int) -> tuple[Any, Any]:
    x = rng.normal(size=(N_ROWS, n))
    y = np.tanh(x @ rng.normal(size=(n, 8)) / np.sqrt(n)) @ rng.normal(size=(8, 1))
    return x, (y - y.mean()) / y.std()


def waves(rng: Rng, n: int, k: int) -> tuple[Any, Any]:
    x = rng.normal(size=(N_ROWS, n))
    y = np.sin(2 * x[:, :1]) + 0.5 * x[:, 1:2]
    return x, (y - y.mean()) / y.std()


# -- families -------------------------------------------------------------------------------------
@dataclasses.dataclass
class Draw:
    """What a family needs to know; faults change it before the program is built."""

    rng: Rng
    n: int
    k: int
    depth: int
    width: int
    activation: Callable[[Any], Any]
    weight: Callable[..., Any]
    x: Any
    y: Any
    regression: bool
    wrap: Callable[[Any], Any] = lambda out: out
    scale: Callable[[Any, int], Any] = lambda loss, n: loss
    bias: float = 0.0
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def n_out(self) -> int:
        return 1 if self.regression else self.k

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.n, *[self.width] * self.depth, self.n_out)

    def linear(self, fan_in: int, fan_out: int, hidden: bool = True) -> nn.Linear:
        weight = self.weight(self.rng, (fan_in, fan_out))
        bias = np.full(fan_out, self.bias if hidden else 0.0)
        return nn.Linear(weight, bias)


def measure(d: Draw) -> Callable[[Any, Any], Any]:
    if d.regression:
        return lambda out, y: d.scale(np.mean((d.wrap(out) - y) ** 2), len(y))
    return lambda out, y: d.scale(nn.softmax_cross_entropy(d.wrap(out), y), len(y))


def model(d: Draw) -> tuple[Any, Any]:
    layers: list[Any] = []
    for i, (a, b) in enumerate(zip(d.widths[:-1], d.widths[1:], strict=True)):
        if i:
            layers.append(d.activation)
        layers.append(d.linear(a, b, hidden=i < d.depth))
    head = measure(d)

    def loss(net, x, y):
        return head(net(x), y)

    return loss, nn.Sequential(*layers)


def plain(d: Draw) -> tuple[Any, Any]:
    params = {}
    for i, (a, b) in enumerate(zip(d.widths[:-1], d.widths[1:], strict=True)):
        layer = d.linear(a, b, hidden=i < d.depth)
        params[f"w{i}"], params[f"b{i}"] = layer.weight, layer.bias
    depth, phi, wrap, scale, regression = d.depth, d.activation, d.wrap, d.scale, d.regression

    def loss(p, x, y):
        h = x
        for i in range(depth):
            z = h @ p[f"w{i}"] + p[f"b{i}"]
            h = phi(z)
        out = wrap(h @ p[f"w{depth}"] + p[f"b{depth}"])
        if regression:
            return scale(np.mean((out - y) ** 2), len(y))
        shifted = out - np.max(out, axis=1, keepdims=True)
        log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
        return scale(-np.mean(log_p[np.arange(len(y)), y]), len(y))

    return loss, params


def listed(d: Draw) -> tuple[Any, Any]:
    pairs = [
        (layer.weight, layer.bias)
        for layer in (
            d.linear(a, b, hidden=i < d.depth)
            for i, (a, b) in enumerate(zip(d.widths[:-1], d.widths[1:], strict=True))
        )
    ]
    head, phi = measure(d), d.activation

    def loss(pairs, x, y):
        for w, b in pairs[:-1]:
            x = phi(x @ w + b)
        w, b = pairs[-1]
        return head(x @ w + b, y)

    return loss, pairs


@dataclasses.dataclass
class Block:
    inner: nn.Linear
    phi: Any = None

    def __call__(self, x: Any) -> Any:
        return x + 0.5 * self.phi(self.inner(x))


tree.dataclass(Block, static=("phi",))


def residual(d: Draw) -> tuple[Any, Any]:
    blocks = [Block(d.linear(d.width, d.width), d.activation) for _ in range(d.depth)]
    net = nn.Sequential(
        d.linear(d.n, d.width), d.activation, *blocks, d.linear(d.width, d.n_out, hidden=False)
    )
    head = measure(d)

    def loss(net, x, y):
        return head(net(x), y)

    return loss, net


def normalized(d: Draw) -> tuple[Any, Any]:
    params = {"first": d.linear(d.n, d.width), "last": d.linear(d.width, d.n_out, hidden=False)}
    params["norm"] = nn.BatchNorm.init(d.width)
    head, phi = measure(d), d.activation

    def loss(p, x, y):
        z, _ = p["norm"].train(p["first"](x))
        return head(p["last"](phi(z)), y)

    return loss, params


def convolved(d: Draw) -> tuple[Any, Any]:
    side, c = 5, 6
    d.x = d.rng.normal(size=(N_ROWS, 1, side, side)) if d.x.ndim == 2 else d.x
    if not d.regression:
        d.y = np.argmax(d.x.reshape(N_ROWS, -1)[:, : d.k] + 0.0, axis=1)
    else:
        y = d.x.reshape(N_ROWS, -1)[:, :4].sum(1, keepdims=True)
        d.y = (y - y.mean()) / y.std()
    kernel = d.weight(d.rng, (9, c)).T.reshape(c, 1, 3, 3)
    params = {
        "k": kernel,
        "w": d.weight(d.rng, (c * 9, d.width)),
        "b": np.full(d.width, d.bias),
        "v": d.weight(d.rng, (d.width, d.n_out)),
    }
    head, phi = measure(d), d.activation

    def loss(p, x, y):
        a = phi(nn.conv(x, p["k"]))
        h = phi(np.reshape(a, (a.shape[0], -1)) @ p["w"] + p["b"])
        return head(h @ p["v"], y)

    return loss, params


FAMILIES = {
    "model": model,
    "plain": plain,
    "listed": listed,
    "residual": residual,
    "normalized": normalized,
    "convolved": convolved,
}
# Thresholds were looked at on the first half only; figures are reported on the second.
THRESHOLD_HALF = ("model", "residual", "convolved")
REPORT_HALF = ("plain", "listed", "normalized")


# -- faults ---------------------------------------------------------------------------------------
def times(factor: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return lambda weight: lambda rng, shape: factor * weight(rng, shape)


@dataclasses.dataclass(frozen=True)
class Fault:
    """``draw`` changes the draw before building, ``finish`` the problem; ``right`` names it."""

    right: tuple[str, ...]
    draw: Callable[[Draw], Any] = lambda d: None
    finish: Callable[[Problem, Draw], Problem] = lambda p, d: p
    families: tuple[str, ...] = tuple(FAMILIES)
    task: str = "any"


def _set(**values: Any) -> Callable[[Draw], None]:
    def change(d: Draw) -> None:
        for name, value in values.items():
            setattr(d, name, value(d) if callable(value) and name not in NOT_CALLED else value)

    return change


NOT_CALLED = ("activation", "weight", "wrap", "scale")
DEEP = ("model", "plain", "listed")


def deep_sigmoid(d: Draw) -> None:
    d.depth, d.activation = int(d.rng.integers(6, 11)), nn.sigmoid
    d.weight = lambda rng, shape: nn.init.xavier(rng, shape)


def scaled_weights(factor: float, depth: tuple[int, int]) -> Callable[[Draw], None]:
    def change(d: Draw) -> None:
        d.depth = int(d.rng.integers(*depth))
        d.weight = times(factor)(d.weight)

    return change


def equal(d: Draw) -> None:
    d.weight = lambda rng, shape: np.full(shape, 0.3 / np.sqrt(shape[0]))
    d.depth = max(d.depth, 1)


def dead_relu(d: Draw) -> None:
    d.activation, d.bias = nn.relu, -6.0
    d.weight = lambda rng, shape: nn.init.he(rng, shape)


def linear_only(d: Draw) -> None:
    d.activation, d.depth = (lambda z: z), max(d.depth, 1)


def data(change: Callable[[Any, Any, Rng], tuple[Any, Any]]) -> Callable[[Problem, Draw], Problem]:
    def finish(p: Problem, d: Draw) -> Problem:
        return dataclasses.replace(p, batch=change(p.batch[0], p.batch[1], d.rng))

    return finish


def recipe(**changes: Any) -> Callable[[Problem, Draw], Problem]:
    def finish(p: Problem, d: Draw) -> Problem:
        given = {k: v(p) if callable(v) else v for k, v in changes.items()}
        return dataclasses.replace(p, **given)

    return finish


def sort_rows(p: Problem, d: Draw) -> Problem:
    x, y = p.batch
    order = np.argsort(y.reshape(len(y), -1)[:, 0], kind="stable")
    return dataclasses.replace(p, batch=(x[order], y[order]), shuffles=False)


def unused(p: Problem, d: Draw) -> Problem:
    inner = p.loss

    def loss(both, x, y):
        return inner(both[0], x, y)

    return dataclasses.replace(p, loss=loss, params=(p.params, {"unused": np.ones(3)}), init=None)


def spiked(x: Any, y: Any, rng: Rng) -> tuple[Any, Any]:
    x = x.copy()
    x[int(rng.integers(len(x)))] *= 3000.0
    return x, y


FAULTS: dict[str, Fault] = {
    "deep sigmoid": Fault(("vanishing gradient",), deep_sigmoid, families=DEEP),
    "small weights": Fault(
        ("bad initialization", "vanishing gradient"), scaled_weights(0.15, (4, 8)), families=DEEP
    ),
    "large weights": Fault(
        ("bad initialization", "exploding gradient", "saturated units"),
        scaled_weights(8.0, (3, 6)),
        families=DEEP,
    ),
    "equal weights": Fault(("equal initial weights",), equal, families=(*DEEP, "residual")),
    "dead units": Fault(("dead units",), dead_relu, families=(*DEEP, "convolved")),
    "no activation": Fault(("missing non-linearity",), linear_only, families=DEEP),
    "large inputs": Fault(
        ("input scale",),
        finish=data(lambda x, y, rng: (x * 300.0, y)),
        families=(*DEEP, "residual", "convolved"),
    ),
    "small inputs": Fault(
        ("input scale",),
        finish=data(lambda x, y, rng: (x * 1e-3, y)),
        families=(*DEEP, "residual", "convolved"),
    ),
    "uneven inputs": Fault(
        ("input scale",),
        families=(*DEEP, "residual"),
        finish=data(lambda x, y, rng: (x * np.where(np.arange(x.shape[1]) % 5 == 0, 1e3, 1.0), y)),
    ),
    "outlier": Fault(("outlier",), finish=data(spiked)),
    "large targets": Fault(
        ("target scale",), task="regression", finish=data(lambda x, y, rng: (x, 200.0 * y + 500.0))
    ),
    "constant labels": Fault(
        ("constant labels",), finish=data(lambda x, y, rng: (x, np.full_like(y, y[0])))
    ),
    "shuffled labels": Fault(
        ("labels unrelated to inputs",), finish=data(lambda x, y, rng: (x, rng.permutation(y)))
    ),
    "shifted labels": Fault(
        ("labels unrelated to inputs",), finish=data(lambda x, y, rng: (x, np.roll(y, 1, axis=0)))
    ),
    "sorted rows": Fault(("order of the data",), finish=sort_rows),
    "large step": Fault(
        ("step size too large",),
        # Not where batch statistics follow each weight: then the length of the weights does not
        # matter, they grow until the step suits, and the network learns (Arora et al. 2019).
        families=(*DEEP, "residual", "convolved"),
        finish=recipe(
            learning_rate=lambda p: p.learning_rate * (300 if p.optimizer is sgd else 100)
        ),
    ),
    "small step": Fault(
        ("step size too small",), finish=recipe(learning_rate=lambda p: p.learning_rate * 1e-3)
    ),
    "few steps": Fault(
        ("too few steps", "step size too small"),
        finish=recipe(n_steps=5, learning_rate=lambda p: p.learning_rate / 4),
    ),
    "sum": Fault(("sum instead of mean",), _set(scale=lambda loss, n: loss * n)),
    "tiny loss": Fault(("loss scale",), _set(scale=lambda loss, n: loss * 1e-6)),
    "softmax twice": Fault(("loss and output",), _set(wrap=nn.softmax), task="classification"),
    "bounded output": Fault(("loss and output",), _set(wrap=nn.sigmoid), task="regression"),
    "rectified output": Fault(("loss and output",), _set(wrap=nn.relu), task="regression"),
    "pairs compared": Fault(
        ("loss and output",), task="regression", finish=data(lambda x, y, rng: (x, y[:, 0]))
    ),
    "unused parameter": Fault(("disconnected parameter",), finish=unused),
}
# Pairs that do not hide each other.
PAIRS = (
    ("large inputs", "sum"),
    ("small weights", "unused parameter"),
    ("shuffled labels", "tiny loss"),
    ("deep sigmoid", "large targets"),
    ("no activation", "large inputs"),
    ("sorted rows", "dead units"),
    ("softmax twice", "unused parameter"),
    ("equal weights", "small step"),
    ("outlier", "sum"),
    ("uneven inputs", "tiny loss"),
)


def twin(family: str, faults: tuple[str, ...], seed: int) -> Problem:
    """The same draw without the faults, with a learning rate that trains it."""
    tasks = tuple(sorted({FAULTS[f].task for f in faults} - {"any"}))
    problem = _build(family, (), seed, tasks)
    return dataclasses.replace(problem, learning_rate=_rate(family, seed, tasks))


def build(family: str, faults: tuple[str, ...], seed: int) -> Problem:
    """The problem of a family with the given faults."""
    tasks = tuple(sorted({FAULTS[f].task for f in faults} - {"any"}))
    return _build(family, faults, seed, tasks, _rate(family, seed, tasks))


@lru_cache
def _rate(family: str, seed: int, tasks: tuple[str, ...]) -> float:
    """The first learning rate around the usual one with which the healthy network learns."""
    problem = _build(family, (), seed, tasks)
    best = (np.inf, problem.learning_rate)
    for factor in (1.0, 3.0, 0.3, 0.1):
        rate = problem.learning_rate * factor
        trial = train(problem, Recipe(rate, N_STEPS))
        best = min(best, (trial.score / trial.first, rate))
        if best[0] < 0.35:
            break
    return best[1]


def _build(
    family: str,
    faults: tuple[str, ...],
    seed: int,
    tasks: tuple[str, ...],
    rate: float | None = None,
) -> Problem:
    rng = np.random.default_rng([seed, sorted(FAMILIES).index(family)])
    regression = bool(rng.integers(2)) if not tasks else tasks == ("regression",)
    n, k = int(rng.integers(6, 14)), int(rng.integers(3, 6))
    kinds = (teacher, waves) if regression else (blobs, wedges)
    x, y = kinds[int(rng.integers(2))](rng, n, k)
    name = ("relu", "tanh", "gelu", "elu")[int(rng.integers(4))]
    activation = getattr(nn, name)
    init = nn.init.xavier if name in ("tanh", "elu") else nn.init.he
    d = Draw(
        rng,
        n,
        k,
        int(rng.integers(1, 4)),
        int(rng.integers(24, 49)),
        activation,
        lambda rng, shape: init(rng, shape),
        x,
        y,
        regression,
    )
    for fault in faults:
        FAULTS[fault].draw(d)
    loss, params = FAMILIES[family](d)
    optimizer, usual = ((sgd, 0.1), (adam, 0.01))[int(rng.integers(2))]
    rate = usual if rate is None else rate
    problem = Problem(
        loss,
        params,
        (d.x, d.y),
        rate,
        optimizer,
        N_STEPS,
        BATCH,
        name=f"{family} {'+'.join(faults) or 'healthy'} {seed}",
    )
    for fault in faults:
        problem = FAULTS[fault].finish(problem, d)
    return problem


def specs(families: tuple[str, ...], n: int, seed: int) -> list[tuple[str, tuple[str, ...], int]]:
    """``n`` problems with one fault or a pair, spread over faults and families."""
    rng = np.random.default_rng(seed)
    found = []
    single = [
        (f, (name,)) for name, fault in FAULTS.items() for f in families if f in fault.families
    ]
    double = [
        (f, pair)
        for pair in PAIRS
        for f in families
        if all(f in FAULTS[name].families for name in pair)
        and len({FAULTS[name].task for name in pair} - {"any"}) < 2
    ]
    while len(found) < n:
        pool = double if len(found) % 7 == 6 and double else single
        order = rng.permutation(len(pool))
        for i in order[: max(1, n - len(found))] if pool is single else order[:1]:
            family, faults = pool[int(i)]
            found.append((family, faults, int(rng.integers(1 << 30))))
            if len(found) % 7 == 6:
                break
    return found[:n]
