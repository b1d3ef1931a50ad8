"""Residual highways: the input gradient of a residual network by the number of branches passed.

With Jacobians frozen at the ordinary forward pass,
``P(t) = v^T prod_l (I + t J_l) = sum_k t^k c_k``: ``c_k`` is the part of the gradient that passed
exactly ``k`` branches, ``c_0`` the direct path. ``t`` scales the branches in the backward pass
only. The coefficients come from reverse mode on truncated polynomials: a cotangent carries
``K + 1`` slots, and a branch sends slot ``k - 1`` of its output to slot ``k`` of its input. Every
order has a relative error of a few rounding errors, where interpolation over values of ``t`` loses
all digits (condition 1e18 at 54 blocks).

References:
    A. Veit, M. Wilber, S. Belongie (2016), "Residual Networks Behave Like Ensembles of Relatively
    Shallow Networks", NeurIPS, sections 3 and 4.
    K. He et al. (2016), "Identity Mappings in Deep Residual Networks", ECCV, eq. 5.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pullback.core.graph import Variable
from pullback.errors import ArgumentError
from pullback.flow.measurements import to_json
from pullback.flow.page import paths_page
from pullback.flow.problem import as_problem
from pullback.flow.recording import Operand, Recording, Step, mark, record
from pullback.flow.structure import Network
from pullback.flow.text import columns, number
from pullback.pages.document import save
from pullback.transforms.vmap import vmap

__all__ = ["Lesion", "PathReport", "binomial", "branch", "coefficients", "paths"]

N_DRAWS = 12
CONCENTRATED = 0.98


@dataclass(frozen=True)
class Lesion:
    """The loss with one branch left out."""

    branch: str
    loss: float


@dataclass(frozen=True)
class PathReport:
    """The gradient at ``start`` by the number of branches passed.

    Attributes:
        branches: their names, first to last.
        norms: ``||c_k||``, with cancellation between paths.
        shares: ``<c_k, g> / ||g||**2``; they sum to 1.
        mass: ``C(n, k)`` times the mean norm of single paths through ``k`` branches, from draws of
            paths (Veit's protocol: no cancellation), normalized to sum 1.
        q: gain of a branch that fits the masses, ``mean = n q / (1 + q)``; then path masses follow
            Binomial(n, q / (1 + q)), ``law``.
        direct: ``||c_0|| / ||g||``, the share of the direct path.
        error: relative difference of ``sum c_k`` from the gradient by the ordinary sweep.
        lesions: the loss with each branch left out; ``loss`` without lesion.
        coefficients: ``c_0 ... c_n``, with the shape of the start in front of which stands ``k``.
    """

    start: str
    branches: tuple[str, ...]
    norms: tuple[float, ...]
    shares: tuple[float, ...]
    mass: tuple[float, ...]
    law: tuple[float, ...]
    q: float
    direct: float
    error: float
    loss: float
    lesions: tuple[Lesion, ...]
    coefficients: Any

    @property
    def middle(self) -> tuple[int, int]:
        """Fewest and most branches of the paths that carry the middle 95% of the mass."""
        total = np.cumsum(self.mass)
        return int(np.searchsorted(total, 0.025)), int(np.searchsorted(total, 0.975))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page: path masses, norms, lesions."""
        return save(path, paths_page(self))

    def to_json(self) -> Any:
        found = to_json({k: v for k, v in vars(self).items() if k != "coefficients"})
        return {**found, "middle": list(self.middle)}

    def __str__(self) -> str:
        low, high = self.middle
        rows = [
            (
                f"{k}",
                number(self.norms[k]),
                f"{self.shares[k]:+.3f}",
                f"{self.mass[k]:.3f}",
                f"{self.law[k]:.3f}",
            )
            for k in range(len(self.norms))
        ]
        worst = max(self.lesions, key=lambda x: x.loss, default=None)
        lines = [
            f"{len(self.branches)} branches; gradient at {self.start}; direct path "
            f"{self.direct:.3g} of its norm; branch gain q = {self.q:.3g}",
            f"95% of the path mass passes {low} to {high} branches; the orders sum to the gradient "
            f"within {self.error:.1e}",
            columns(("branches", "||c_k||", "share", "path mass", "binomial"), rows),
        ]
        if worst is not None:
            lines.append(
                f"loss {self.loss:.4g}; without one branch at most {worst.loss:.4g}, "
                f"for {worst.branch}"
            )
        return "\n\n".join(lines)


def branch(value: Any, name: str) -> Any:
    """The value itself, marked as a branch: write ``h = h + pullback.flow.branch(f(h), "f")``.

    For :func:`pullback.flow.paths` in plain code. Elsewhere it costs nothing.

    Raises:
        ArgumentError: if ``name`` is empty.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x):
    ...     h = x
    ...     for _ in range(3):
    ...         h = h + pb.flow.branch(0.5 * h, "half")
    ...     return np.sum(h * w)
    >>> report = pb.flow.paths(loss, np.array(1.0), np.array([1.0, 2.0]))
    >>> [round(float(n / report.norms[0]), 6) for n in report.norms]
    [1.0, 1.5, 0.75, 0.125]
    """
    if not name:
        raise ArgumentError(f"flow.branch: the name is {name!r}", fix="pass a short text")
    mark(value, name, "branches")
    return value


def binomial(n: int, p: float) -> Any:
    """The probabilities of Binomial(n, p)."""
    k = np.arange(n + 1)
    logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in k]
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(k > 0, k * np.log(p), 0) + np.where(k < n, (n - k) * np.log1p(-p), 0)
    return np.exp(np.array(logs) + parts)


def coefficients(
    run: Recording, seeds: dict[Variable, Any], start: Variable, branches: list[Variable]
) -> Any:
    """``c_0 ... c_n`` at ``start``: reverse mode on polynomials truncated at ``n``.

    Slots that are still 0 are not pulled back: the i-th branch from the end has i + 1 of them.
    """
    n = len(branches)
    marked = set(branches)
    found: dict[Operand, Any] = {v: np.asarray(ct)[None] for v, ct in seeds.items()}

    def merged(a: Any, b: Any) -> Any:
        if len(a) < len(b):
            a, b = b, a
        total = a.copy()
        total[: len(b)] += b
        return total

    def shifted(ct: Any) -> Any:
        return np.concatenate([np.zeros((1, *ct.shape[1:]), ct.dtype), ct])[: n + 1]

    stop = max(map(run.maker, seeds))
    for step in reversed(run.steps[run.maker(start) + 1 : stop + 1]):
        if step.pull is None:
            continue
        cts = [found.pop(v, None) for v in step.equation.outputs]
        cts = [
            shifted(ct) if v in marked and ct is not None else ct
            for v, ct in zip(step.equation.outputs, cts, strict=True)
        ]
        if all(ct is None for ct in cts):
            continue
        for v, part in zip(step.equation.inputs, _pulled(step, cts), strict=True):
            if part is not None:
                found[v] = part if v not in found else merged(found[v], part)
    ct = found.get(start)
    if ct is None:
        ct = np.zeros((1, *start.type.shape))
    whole = np.zeros((n + 1, *start.type.shape), ct.dtype)
    whole[: len(ct)] = ct
    return whole


def _pulled(step: Step, cts: list[Any]) -> list[Any]:
    """The pullback of one step for all slots at once."""
    assert step.pull is not None
    pull = step.pull
    size = max(len(ct) for ct in cts if ct is not None)
    full = [
        None if ct is None else np.concatenate([ct, np.zeros((size - len(ct), *ct.shape[1:]))])
        for ct in cts
    ]
    given = [ct for ct in full if ct is not None]
    kept: list[bool] = []

    def each(*slots: Any) -> tuple[Any, ...]:
        rest = iter(slots)
        parts = pull([None if ct is None else next(rest) for ct in full])
        kept[:] = [part is not None for part in parts]
        return tuple(part for part in parts if part is not None)

    results = iter(vmap(each)(*given))
    return [next(results) if flag else None for flag in kept]


def paths(
    loss: Callable[..., Any],
    params: Any = None,
    *batch: Any,
    draws: int = N_DRAWS,
    seed: int = 0,
    **options: Any,
) -> PathReport:
    """Decompose the gradient at the entrance of a residual network by the branches it passed.

    Branches are the values marked by :func:`pullback.flow.branch`; without marks, in a model of
    layers, the second operand of each addition of a signal to an earlier one that it was computed
    from (``h + f(h)``). Exact at identity shortcuts that are followed by the identity; what comes
    after an addition (a projection, a ReLU) multiplies both terms.

    Args:
        loss, params, batch, options: as for :func:`pullback.flow.probe`.
        draws: paths per length for the path masses.

    Raises:
        ArgumentError: if there are no branches.

    >>> import numpy as np
    >>> import pullback as pb
    >>> from pullback import nn
    >>> from pullback.flow.surgery import Shortcut
    >>> rng = np.random.default_rng(0)
    >>> net = nn.Sequential(*(Shortcut(nn.Linear.init(rng, 4, 4)) for _ in range(5)))
    >>> report = pb.flow.paths(lambda net, x: np.mean(net(x) ** 2), net, rng.normal(size=(3, 4)))
    >>> len(report.norms), report.error < 1e-12, round(sum(report.shares), 9)
    (6, True, 1.0)
    """
    problem = as_problem(loss, params, batch, options)
    run = record(problem.loss, problem.params, problem.batch, root=problem.root, wants_data=True)
    ends = [v for v in run.branches if v in run.live] or _additions(run)
    if not ends or run.output is None:
        raise ArgumentError(
            "flow.paths: no branches were found",
            fix="mark them: h = h + pullback.flow.branch(f(h), 'f')",
        )
    ends.sort(key=run.maker)
    names = tuple(run.branches.get(v) or _name(run, v) for v in ends)
    start = _entrance(run, ends)
    seeds = {run.output: np.ones((), run.output.type.dtype)}
    cs = coefficients(run, seeds, start, ends)
    gradient = np.asarray(run.cotangents(seeds)[start])
    norms = np.sqrt(np.sum(cs.reshape(len(cs), -1) ** 2, axis=1))
    size = float(np.linalg.norm(gradient))
    mass, q = _mass(run, seeds, start, ends, draws, seed)
    return PathReport(
        start=run.names.get(start) or {**run.leaves, **run.data}.get(start) or "the entrance",
        branches=names,
        norms=tuple(map(float, norms)),
        shares=tuple(float(np.sum(c * gradient)) / size**2 for c in cs),
        mass=tuple(map(float, mass)),
        law=tuple(map(float, binomial(len(ends), q / (1 + q)))),
        q=q,
        direct=float(norms[0]) / size,
        error=float(np.linalg.norm(np.sum(cs, axis=0) - gradient)) / size,
        loss=float(run.value),
        lesions=tuple(
            Lesion(name, float(run.replay({v: np.zeros(v.type.shape, v.type.dtype)}, run.output)))
            for v, name in zip(ends, names, strict=True)
        ),
        coefficients=cs,
    )


def _additions(run: Recording) -> list[Variable]:
    """The branch of each ``h + f(h)``: the operand that was computed from the other one."""
    network = Network(run)
    data = set(run.data)
    found = []
    for step in run.steps:
        a, b = [*step.equation.inputs, None, None][:2]
        if step.equation.primitive.name != "add" or not isinstance(a, Variable):
            continue
        if not isinstance(b, Variable) or a.type.shape != b.type.shape:
            continue
        flows = [v in network.signals or v in data for v in (a, b)]
        if not all(flows):
            continue
        early, late = (a, b) if run.maker(a) < run.maker(b) else (b, a)
        if late in run.depends_on([early]):
            found.append(late)
    return found


def _name(run: Recording, v: Variable) -> str:
    step = run.steps[run.maker(v)]
    return run.names.get(v) or step.layer.rpartition(".inner")[0] or step.layer or "branch"


def _entrance(run: Recording, ends: list[Variable]) -> Variable:
    """The value that the first shortcut carries past its branch."""
    for step in run.steps[run.maker(ends[0]) + 1 :]:
        if ends[0] in step.equation.inputs and step.equation.primitive.name == "add":
            other = next(v for v in step.equation.inputs if v is not ends[0])
            if isinstance(other, Variable):
                return other
    raise ArgumentError(
        f"flow.paths: the branch {run.branches.get(ends[0], '')!r} is not added to anything",
        fix="write h = h + pullback.flow.branch(f(h), 'f')",
    )


def _mass(
    run: Recording,
    seeds: dict[Variable, Any],
    start: Variable,
    ends: list[Variable],
    draws: int,
    seed: int,
) -> tuple[Any, float]:
    """Path masses ``C(n, k) E||one path through k branches||``, and the branch gain they fit.

    A path through the branches of a set ``S`` is the sweep in which each shortcut outside of ``S``
    passes its cotangent on, and each inside sends it through its branch only.
    """
    rng = np.random.default_rng(seed)
    n = len(ends)
    logs = np.full(n + 1, -np.inf)
    for k in range(n + 1):
        n_draws = 1 if k in (0, n) else draws
        norms = [
            _one_path(run, seeds, start, ends, set(rng.choice(n, k, replace=False).tolist()))
            for _ in range(n_draws)
        ]
        mean = float(np.mean(norms))
        if mean > 0:
            count = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            logs[k] = count + math.log(mean)
    mass = np.exp(logs - np.max(logs))
    mass /= np.sum(mass)
    mean = float(np.sum(np.arange(n + 1) * mass))
    q = mean / (n - mean) if mean < n else math.inf
    return mass, min(q, 1e12)


def _one_path(
    run: Recording, seeds: dict[Variable, Any], start: Variable, ends: list[Variable], chosen: Any
) -> float:
    """Norm of the gradient along one path."""
    inside = {ends[i] for i in chosen}
    outside = set(ends) - inside
    found: dict[Operand, Any] = dict(seeds.items())
    for step in reversed(run.steps[run.maker(start) + 1 : max(map(run.maker, seeds)) + 1]):
        if step.pull is None:
            continue
        cts = [found.pop(v, None) for v in step.equation.outputs]
        if all(ct is None for ct in cts) or not outside.isdisjoint(step.equation.outputs):
            continue
        through = inside.intersection(step.equation.inputs)
        is_sum = step.equation.primitive.name == "add" and through
        for v, part in zip(step.equation.inputs, step.pull(cts), strict=True):
            if part is None or (is_sum and v not in through):
                continue
            found[v] = part if v not in found else found[v] + part
    ct = found.get(start)
    return 0.0 if ct is None else float(np.linalg.norm(np.asarray(ct)))
