"""Generated programs about memory: views of views, orders, scalars, writes, swaps, ``out=``.

A program is lines of NumPy over the arguments ``x`` and ``y``. It grows line by line, each line run
by NumPy as it is drawn, so that every program is valid. Plain NumPy, run on plain arrays, is the
oracle of its value and, by central differences, of its gradient. What NumPy leaves open is not
drawn: writes from an overlapping array through ``flat``, ``put`` and ``fill_diagonal``.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

import pullback as pb
import pullback.numpy as pnp
from pullback.core.types import type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

SHAPES = [(), (1,), (2,), (4,), (2, 2), (2, 3), (3, 2), (1, 3), (2, 1, 2), (2, 2, 2), (2, 2, 3)]
LAYOUTS = ["C", "F", "strided", "reversed", "turned", "slice"]
LONGEST = 7
LARGEST = 1e3  # of the values; differences of larger ones lose too many digits

FRESH = [
    "{v} = {a} * 2.0",
    "{v} = {a} + {b}",
    "{v} = {a} * {b}",
    "{v} = -{a}",
    "{v} = np.sin({a})",
    "{v} = np.abs({a})",
    "{v} = {a} @ {b}",
    "{v} = np.sum({a})",
    "{v} = np.sum({a}, axis={i})",
    "{v} = {a}.mean(axis={i}, keepdims=True)",
    "{v} = np.max({a}, axis={i})",
    "{v} = np.cumsum({a}, axis={i})",
    "{v} = np.clip({a}, -2.0, 2.0)",
    "{v} = np.where({b} > 0.25, {a}, 0.5)",
    "{v} = np.minimum({a}, {b})",
    "{v} = {a}.astype(float)",
    "{v} = {a}.astype(float, copy=False)",
    "{v} = {a}.astype(float, order='C')",
    "{v} = {a}.copy()",
    "{v} = {a}.copy(order='{o}')",
    "{v} = np.copy({a})",
    "{v} = np.array({a})",
    "{v} = np.array({a}, copy=None)",
    "{v} = np.array({a}, order='{o}')",
    "{v} = np.asarray({a})",
    "{v} = np.asarray({a}, order='F')",
    "{v} = np.ascontiguousarray({a})",
    "{v} = np.asfortranarray({a})",
    "{v} = np.sort({a}, axis={i})",
    "{v} = np.concatenate([{a}, {b}])",
    "{v} = np.concatenate([{a}, {b}], axis={i})",
    "{v} = np.stack([{a}, {b}], axis={i})",
    "{v} = np.take({a}, [0, 1], axis={i})",
    "{v} = np.take({a}, 0)",
    "{v} = np.take({a}, [[0, 1]])",
    "{v} = {a}[[1, 0]]",
    "{v} = {a}[:, [0, 1]]",
    "{v} = {a}[..., [1, 0]]",
    "{v} = {a}[[0, 1], [1, 0]]",
    "{v} = {a}[np.array(1)]",
    "{v} = np.conj({a})",
    "{v} = np.positive({a})",
    "{v} = np.zeros_like({a})",
    "{v} = np.zeros_like({a}) + {b}",
    "{v} = np.ones_like({a}, order='{o}')",
    "{v} = np.full_like({a}, 0.75)",
    "{v} = np.zeros({a}.shape, order='{o}')",
    "{v} = np.zeros({a}.shape)",
    "{v} = np.roll({a}, 1, axis={i})",
    "{v} = np.repeat({a}, 2, axis={i})",
    "{v} = np.tile({a}, 2)",
    "{v} = np.outer({a}, {b})",
    "{v} = np.dot({a}, {b})",
    "{v} = np.einsum('ij,jk->ik', {a}, {b})",
    "{v} = np.tril({a})",
    "{v} = np.diff({a}, axis={i})",
    "{v} = np.append({a}, {b})",
    "{v} = np.round({a}, 1) * 0.5 + {a}",
    "{v} = np.nan_to_num({a})",
    "{v} = np.take_along_axis({a}, np.argsort({a}, axis={i}, stable=True), axis={i})",
]
VIEWS = [
    "{v} = {a}",
    "{v} = {a}[0]",
    "{v} = {a}[{i}]",
    "{v} = {a}[...]",
    "{v} = {a}[()]",
    "{v} = {a}[..., 0]",
    "{v} = {a}[..., 0, 0]",
    "{v} = {a}[..., 0, 1:]",
    "{v} = {a}[None]",
    "{v} = {a}[..., None]",
    "{v} = {a}[::-1]",
    "{v} = {a}[..., ::-1]",
    "{v} = {a}[..., ::2]",
    "{v} = {a}[1:]",
    "{v} = {a}[:, 1:]",
    "{v} = {a}[0:0]",
    "{v} = {a}.T",
    "{v} = {a}.mT",
    "{v} = {a}.real",
    "{v} = {a}.view()",
    "{v} = np.transpose({a})",
    "{v} = np.swapaxes({a}, 0, {i})",
    "{v} = np.moveaxis({a}, 0, -1)",
    "{v} = np.rollaxis({a}, {i})",
    "{v} = {a}.ravel()",
    "{v} = {a}.ravel(order='{o}')",
    "{v} = np.ravel({a})",
    "{v} = {a}.flatten()",
    "{v} = {a}.flatten(order='{o}')",
    "{v} = {a}.reshape(-1)",
    "{v} = {a}.reshape({a}.shape[::-1])",
    "{v} = {a}.reshape({a}.shape[::-1], order='{o}')",
    "{v} = np.reshape({a}, (2, -1))",
    "{v} = {a}.reshape((2, -1), order='{o}')",
    "{v} = {a}.reshape(())",
    "{v} = np.squeeze({a})",
    "{v} = np.expand_dims({a}, {i})",
    "{v} = np.atleast_1d({a})",
    "{v} = np.atleast_2d({a})",
    "{v} = np.atleast_3d({a})",
    "{v} = np.broadcast_to({a}, (2, *{a}.shape))",
    "{v} = np.broadcast_arrays({a}, {b})[0]",
    "{v} = np.diagonal({a})",
    "{v} = np.diag({a})",
    "{v} = np.split({a}, 2)[{i}]",
    "{v} = np.hsplit({a}, 2)[1]",
    "{v} = np.flip({a}, {i})",
    "{v} = np.rot90({a})",
    "{v} = np.einsum('ii->i', {a})",
    "{v} = np.einsum('ij->ji', {a})",
    "{v} = np.real({a})",
    "{v} = np.meshgrid({a}, {b}, copy=False)[0]",
    "{v} = list({a})[0]",
]
WRITES = [
    "{a}[...] = {b}",
    "{a}[:] = {b}",
    "{a}[()] = {b}",
    "{a}[0] = {b}",
    "{a}[0] = 1.5",
    "{a}[..., 0] = {b}",
    "{a}[..., ::-1] = {b}",
    "{a}[1:] = {a}[:-1]",
    "{a}[[0, 1]] = {b}",
    "{a}[[1, 0]] += 1.0",
    "{a}[0] += {b}",
    "{a}[..., 0] *= 2.0",
    "{a}[{b} > 0.25] = 0.25",
    "{a} += {b}",
    "{a} -= 0.5",
    "{a} *= 2.0",
    "{a} *= {a}",
    "{a} += {a}.T",
    "{a}[:] = {a}[::-1]",
    "{a} @= {b}",
    "np.add({a}, {b}, out={c})",
    "np.multiply({a}, 2.0, out={a})",
    "np.sum({a}, axis=0, out={c})",
    "np.add({a}, 1.0, out={a}, where={b} > 0.25)",
    "np.clip({a}, -1.0, 1.0, out={c})",
    "np.cumsum({a}, axis=0, out={a})",
    "np.concatenate([{a}, {b}], out={c})",
    "np.dot({a}, {b}, out={c})",
    "{v} = np.negative({a}, out={c})",
    "np.take({a}, [0, 1], axis=0, out={c})",
    "np.copyto({a}, {b} * 1.0)",
    "np.copyto({a}, {b}, where={a} > 0.25)",
    "np.put({a}, [0, 1], {b} + 0.0)",
    "np.put({a}, 0, 2.5)",
    "{a}.put([1], {b} + 0.0)",
    "np.place({a}, {a} > 0.25, [1.5, 2.5])",
    "np.putmask({a}, {a} > 0.25, {b} + 0.0)",
    "np.put_along_axis({a}, np.argsort({a}, axis=0, stable=True), {b}, axis=0)",
    "np.fill_diagonal({a}, {b} + 0.0)",
    "np.nan_to_num({a}, copy=False)",
    "np.add.at({a}, [0, 0], {b})",
    "{a}.fill(1.25)",
    "{a}.fill({b}[0])",
    "{a}.sort()",
    "{a}.sort(axis=0)",
    "{a}[0], {a}[1] = {a}[1], {a}[0]",
    "{a}[0], {a}[1] = {a}[1].copy(), {a}[0].copy()",
    "{a}[:], {b}[:] = {b}, {a}",
    "{a}, {b} = {b}, {a}",
    "for row in {a}: row *= 2.0",
    "for row in {a}: row += 1.0",
    "{a}.flat[1] = 0.5",
    "{a}.flat = {b} + 0.0",
    "{a}.ravel()[0] = 100.0",
    "{a}.T[0] += 1.0",
    "{a}.reshape(-1)[1:] *= 3.0",
    "np.ravel({a}, order='{o}')[0] = 10.0",
    "{a}[...] += {b}",
    "{a}[..., 0, 0] += 7.0",
]
KINDS = [FRESH, VIEWS, WRITES]


@lru_cache(maxsize=4)
def spread(shape: tuple[int, ...], seed: int) -> np.ndarray:
    numbers = np.random.default_rng(seed).permutation(int(np.prod(shape))) * 0.31 - 0.9
    return numbers.reshape(shape)


@dataclass(frozen=True)
class Argument:
    """How an argument lies in memory; ``same`` means that it is ``x`` once more."""

    shape: tuple[int, ...]
    layout: str
    seed: int
    same: bool = False

    def build(self, values: np.ndarray) -> np.ndarray:
        """``values`` in memory of its own, laid out so."""
        if not self.shape:  # an array of no axes, or a number
            return np.array(values) if self.layout == "C" else np.float64(values)
        if self.layout == "C":
            return values.copy(order="C")
        if self.layout == "F":
            return values.copy(order="F")
        if self.layout == "strided":
            return np.repeat(values, 2, axis=-1)[..., ::2]
        if self.layout == "reversed":
            return values[::-1].copy()[::-1]
        if self.layout == "slice":
            return np.concatenate([values, values], axis=-1)[..., : self.shape[-1]]
        axes = np.roll(np.arange(values.ndim), 1)
        return values.transpose(axes).copy().transpose(np.argsort(axes))

    def values(self) -> np.ndarray:
        """Numbers apart from one another, and from the limits that programs compare with."""
        return spread(self.shape, self.seed)


@dataclass(frozen=True)
class Program:
    """Lines over ``x`` and ``y``; the value weighs the elements of every name that is left."""

    arguments: tuple[Argument, Argument]
    lines: tuple[str, ...]

    def __str__(self) -> str:
        body = "\n".join(f"    {line}" for line in self.lines)
        return f"def program(np, x, y):\n{body}\n    return locals()\n"

    def function(self) -> Callable[..., Any]:
        """``program(np, x, y)``, a number."""
        names: dict[str, Any] = {}
        exec(compile(str(self), "<generated>", "exec"), names)
        body = names["program"]

        def program(module: Any, x: Any, y: Any) -> Any:
            found = body(module, x, y)
            return total([v for k, v in sorted(found.items()) if k not in ("np", "row")])

        return program

    def start(self) -> list[np.ndarray]:
        x, y = (a.values() for a in self.arguments)
        return [x, x if self.arguments[1].same else y]

    def build(self, values: list[np.ndarray]) -> list[np.ndarray]:
        """Fresh arguments with these elements."""
        x = self.arguments[0].build(values[0])
        return [x, x if self.arguments[1].same else self.arguments[1].build(values[1])]


def total(values: list[Any]) -> Any:
    return sum(np.sum(v * weights(np.shape(v))) * (k + 1) for k, v in enumerate(values))


@lru_cache
def weights(shape: tuple[int, ...]) -> Any:
    n = int(np.prod(shape))
    return (np.arange(n).reshape(shape) % 5 - 1.5) * 0.25 if shape else 0.75


# -- drawing ----------------------------------------------------------------------------------
def generate(seed: int) -> Program:
    """A valid program of a few lines."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")  # what NumPy warns of may change its meaning
        return grow(np.random.default_rng(seed), seed)


def grow(rng: np.random.Generator, seed: int) -> Program:
    shape = SHAPES[rng.integers(len(SHAPES))]
    x = Argument(shape, str(rng.choice(LAYOUTS)), seed)
    other = shape if rng.random() < 0.6 else SHAPES[rng.integers(len(SHAPES))]
    y = Argument(other, str(rng.choice(LAYOUTS)), seed + 1, same=bool(rng.random() < 0.15))
    program = Program((x, y if not y.same else replace(x, same=True)), ())
    names: dict[str, Any] = dict(zip("xy", program.build(program.start()), strict=True))
    lines: list[str] = []
    tries = itertools.count()
    length = int(rng.integers(2, LONGEST + 1))
    while len(lines) < length and next(tries) < 10 * LONGEST:
        line = draw(rng, list(names), f"v{len(lines)}")
        if runs(line, names):
            lines.append(line)
        else:  # what it wrote before it failed may have reached any name
            names = dict(zip("xy", program.build(program.start()), strict=True))
            for done in lines:
                runs(done, names)
    return replace(program, lines=tuple(lines))


def draw(rng: np.random.Generator, names: list[str], new: str) -> str:
    templates = KINDS[rng.choice(3, p=[0.25, 0.35, 0.4])]
    template = templates[rng.integers(len(templates))]
    recent = names[::-1]
    a, b, c = (recent[min(int(rng.geometric(0.4)) - 1, len(recent) - 1)] for _ in range(3))
    return template.format(v=new, a=a, b=b, c=c, i=rng.integers(2), o="CFAK"[rng.integers(4)])


@lru_cache(maxsize=4096)
def code_of(line: str) -> Any:
    return compile(line, "<line>", "exec")


def runs(line: str, names: dict[str, Any]) -> bool:
    """Run ``line``; whether NumPy takes it, and its values stay in bounds."""
    try:
        exec(code_of(line), {"np": np}, names)
    except Exception:  # noqa: BLE001 - whatever NumPy refuses is no program
        return False
    names.pop("row", None)
    return all(
        np.ndim(v) <= 4
        and np.size(v) <= 64
        and np.asarray(v).dtype == float
        and (not np.size(v) or np.max(np.abs(v)) < LARGEST)
        for v in names.values()
    )


# -- checking ---------------------------------------------------------------------------------
class Refused(Exception):
    """NumPy does not run the program, or there is nothing to compare with."""


def slope(program: Program, function: Any, middle: float, u: list[np.ndarray]) -> float | None:
    """Directional derivative by central differences; ``None`` at a kink."""
    values, h = program.start(), 1e-5
    right, left = (
        float(function(np, *program.build([v + k * w for v, w in zip(values, u, strict=True)])))
        for k in (h, -h)
    )
    smooth, bend = (right - left) / (2 * h), abs(right - 2 * middle + left) / h
    return smooth if bend <= 1e-2 * (1 + abs(smooth) + abs(middle)) else None


REFUSED = "refused: "  # what is refused aloud, though NumPy takes it


def difference(program: Program, depth: int = 1) -> str | None:
    """What is wrong with the value or the gradient.

    ``depth`` -1 looks at what is computed at once, 0 also at the staged value, 1 at the staged
    gradient as well, and 2 at that of native code.

    Raises:
        Refused: if NumPy cannot run the program.
    """
    try:
        function = program.function()
        expected = float(function(np, *program.build(program.start())))
    except Exception as error:
        raise Refused from error
    try:
        traced = pb.value_and_grad(lambda x, y: function(pnp, x, y), argnums=(0, 1))
        value, grads = traced(*program.build(program.start()))
    except pb.errors.PullbackError as error:
        return f"{REFUSED}{error}"
    except Exception as error:  # noqa: BLE001 - a crash is a failure like any other
        return f"{type(error).__name__}: {error}"
    if not close(value, expected, 1e-12):
        return f"value: {value} instead of {expected}"
    rng = np.random.default_rng(0)
    u = rng.uniform(0.5, 1.5, np.shape(grads[0]))
    v = u if program.arguments[1].same else rng.uniform(0.5, 1.5, np.shape(grads[1]))
    smooth = slope(program, function, expected, [u, v])
    found = np.sum(grads[0] * u) + np.sum(grads[1] * v)
    if smooth is not None and not close(found, smooth, 1e-5, abs(expected)):
        return f"gradient: {found} instead of {smooth}"
    if depth < 0:
        return None
    if depth:
        return staged_difference(program, traced, (value, *grads), depth == 2)
    plain = lambda x, y: (function(pnp, x, y), ())
    return staged_difference(program, plain, (value,), False)


def staged_difference(program: Program, traced: Any, known: Any, native: bool) -> str | None:
    """What is wrong with the staged form, run by NumPy or as native code."""
    args = program.build(program.start())

    def flat(x: Any, y: Any) -> list[Any]:
        value, grads = traced(x, y)
        return [value, *grads]

    try:
        if native:
            again = pb.compile(flat)(*args)
        else:
            staged = stage(flat, [type_of(a) for a in args], given=args)
            again = evaluate(staged.graph, [*staged.captured, *args])
    except pb.errors.StagingError:
        return None  # it depends on values: a mask picks a number of elements
    except pb.errors.PullbackError as error:
        return f"{REFUSED}staged: {error}"
    except Exception as error:  # noqa: BLE001
        return f"staged: {type(error).__name__}: {error}"
    for what, y, z in zip(("value", "x", "y"), again, known, strict=False):
        if not np.all(np.abs(y - z) <= 1e-10 * (1 + np.abs(z))):
            return f"staged {what}: {y} instead of {z}"
    return None


def close(a: Any, b: Any, tolerance: float, scale: float = 0.0) -> bool:
    return bool(abs(a - b) <= tolerance * (1 + abs(b) + scale))


# -- smaller programs -------------------------------------------------------------------------
def shrink(program: Program, fails: Callable[[Program], bool]) -> Program:
    """A program that still fails, and of which no neighbour with less does."""
    progress = True
    while progress:
        progress = False
        for smaller in neighbours(program):
            if fails(smaller):
                program, progress = smaller, True
                break
    return program


def neighbours(program: Program) -> Iterator[Program]:
    n = len(program.lines)
    for k in reversed(range(n)):
        yield replace(program, lines=program.lines[:k] + program.lines[k + 1 :])
    for i, argument in enumerate(program.arguments):
        for simpler in (replace(argument, layout="C"), replace(argument, same=False)):
            if simpler != argument:
                arguments = list(program.arguments)
                arguments[i] = simpler
                yield replace(program, arguments=tuple(arguments))


def report(program: Program, message: str, native: bool = False) -> str:
    """The difference, in a small program."""
    kind = message.partition(":")[0]
    depth = 2 if native else 1

    def fails(candidate: Program) -> bool:
        try:
            return (difference(candidate, depth) or "").partition(":")[0] == kind
        except Refused:
            return False

    smaller = shrink(program, fails)
    return f"{difference(smaller, depth)}\n\n{smaller}\n# x, y: {smaller.arguments}"
