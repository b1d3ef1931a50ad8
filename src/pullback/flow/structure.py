"""The network that a recording shows: weighted steps, activations, layers, and the head.

Nothing here asks what library wrote the code. A *weighted step* combines a signal with parameters;
an *activation* is a stretch of elementwise operations on one value; the *output* is the last value
that a weighted step made; all after it is the *head*: an output activation and the loss.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pullback.core.array import bind
from pullback.core.graph import Literal, Variable
from pullback.flow.recording import Operand, Recording, Step
from pullback.nn import functional

__all__ = ["Activation", "Layer", "Network", "Weighted"]

GRID = np.concatenate([np.linspace(-40, -8, 65)[:-1], np.linspace(-8, 8, 641), [12, 20, 40.0]])
LINEAR = {"add", "subtract", "negative", "multiply", "divide", "astype", "stop_gradient"}
MOVES = {"reshape", "transpose", "broadcast_to", "index", "astype", "place", "concatenate"}
KNOWN: dict[str, Callable[[Any], Any]] = {
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "sigmoid": functional.sigmoid,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "tanh": np.tanh,
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hard tanh": lambda z: np.clip(z, -1, 1),
    "square": np.square,
    "sine": np.sin,
}


@dataclass(frozen=True, eq=False)
class Weighted:
    """A step that combines a signal with parameters: a matrix product or a convolution.

    Attributes:
        at: position of the product; ``end`` of the last addition of a bias to it.
        signal: what enters; ``output`` what leaves, bias included.
        weight: the leaf variable, and ``path`` its path.
        used: what the product reads of the weight: itself, its transpose, a part of it.
        fan_in: how many numbers of the signal each number of the result combines.
        is_conv: whether it is a convolution.
    """

    at: int
    end: int
    signal: Operand
    output: Variable
    weight: Variable
    path: str
    used: Operand
    fan_in: int
    is_conv: bool


@dataclass(frozen=True, eq=False)
class Activation:
    """Elementwise operations from ``before`` to ``after``, of the same shape.

    Attributes:
        kind: the known function that it equals, or ``"function"``.
        is_bounded: whether its values stay bounded on both sides.
        slope: the largest absolute derivative on a grid from -40 to 40; NaN if it has no scalar
            form, because it reads arrays.
        rests: whether the derivative is exactly 0 on a whole side: units can die.
    """

    before: Variable
    after: Variable
    kind: str
    is_bounded: bool
    slope: float
    rests: bool


@dataclass(frozen=True, eq=False)
class Layer:
    """A value along the depth: the output of a model's layer, a named value, or a tagged one."""

    name: str
    path: str
    variable: Variable
    line: str


class Network:
    """What the recording says about the network; computed when asked for."""

    def __init__(self, run: Recording) -> None:
        self.run = run
        self.weights = self._weights()
        self.signals = self._signals()

    # -- who is who ---------------------------------------------------------------------------
    def _weights(self) -> dict[Operand, Variable | None]:
        """Values that depend on parameters alone, each with its leaf (``None``: several)."""
        found: dict[Operand, Variable | None] = {v: v for v in self.run.leaves}
        for step in self.run.steps:
            inputs = step.equation.inputs
            given = [found[v] for v in inputs if v in found]
            rest = [v for v in inputs if v not in found and not is_number(v)]
            if given and not rest:
                one = given[0] if len({id(v) for v in given}) == 1 else None
                found.update(dict.fromkeys(step.equation.outputs, one))
        return found

    def _signals(self) -> set[Operand]:
        """Float values that depend on parameters and on something else."""
        found: set[Operand] = set()
        for step in self.run.steps:
            for v in step.equation.outputs:
                if v in self.run.live and v not in self.weights and v.type.dtype.kind == "f":
                    found.add(v)
        return found

    @cached_property
    def users(self) -> dict[Operand, list[Step]]:
        found: dict[Operand, list[Step]] = {}
        for step in self.run.steps:
            for v in dict.fromkeys(step.equation.inputs):
                found.setdefault(v, []).append(step)
        return found

    @cached_property
    def upstream(self) -> set[Operand]:
        """Values from which a float path leads to the loss."""
        return set() if self.run.output is None else self.run.leads_to(self.run.output)

    @cached_property
    def weighted(self) -> list[Weighted]:
        found = []
        for at, step in enumerate(self.run.steps):
            equation = step.equation
            if equation.primitive.name not in ("matmul", "conv"):
                continue
            given = [v for v in equation.inputs if self.weights.get(v) is not None]
            rest = [v for v in equation.inputs if v not in self.weights and not is_number(v)]
            if len(given) == 1 and len(rest) == 1:
                leaf = self.weights[given[0]]
                assert leaf is not None
                output, end = self._with_bias(equation.outputs[0], at)
                path = self.run.leaves[leaf]
                shape, is_conv = given[0].type.shape, equation.primitive.name == "conv"
                if is_conv:
                    fan_in = given[0].type.size // shape[0]
                else:
                    is_right = given[0] is equation.inputs[1] and len(shape) > 1
                    fan_in = shape[-2] if is_right else shape[-1]
                found.append(
                    Weighted(at, end, rest[0], output, leaf, path, given[0], fan_in, is_conv)
                )
        return found

    def _with_bias(self, output: Variable, at: int) -> tuple[Variable, int]:
        """Follow moves and additions of parameters after a product."""
        while True:
            users = self.users.get(output, [])
            if len(users) != 1:
                return output, at
            equation = users[0].equation
            others = [v for v in equation.inputs if v is not output]
            name = equation.primitive.name
            is_bias = name in ("add", "subtract") and all(v in self.weights for v in others)
            is_move = name in ("reshape", "transpose") or (name == "index" and at > 0)
            if not is_bias and not is_move:
                return output, at
            output, at = equation.outputs[0], self.run.maker(equation.outputs[0])

    @cached_property
    def output(self) -> Variable | None:
        """The last value of the network proper: what the head turns into a loss."""
        reaching = [w for w in self.weighted if w.output in self.upstream]
        return reaching[-1].output if reaching else None

    @cached_property
    def head(self) -> Sequence[Step]:
        """Steps that depend on the output."""
        if self.output is None:
            return ()
        reached = self.run.depends_on([self.output])
        return [
            s
            for s in self.run.steps[self.run.maker(self.output) + 1 :]
            if not reached.isdisjoint(s.equation.inputs)
        ]

    # -- activations --------------------------------------------------------------------------
    @cached_property
    def roots(self) -> dict[Operand, Operand]:
        """For each value, the earliest one of the same shape that it is an elementwise map of."""
        root: dict[Operand, Operand] = {}
        for step in self.run.steps:
            equation = step.equation
            for v in equation.outputs:
                root[v] = v
            if equation.primitive.family not in ("elementwise", "linear"):
                continue
            out = equation.outputs[0]
            if equation.primitive.family == "linear" and equation.primitive.name != "astype":
                continue
            live = [v for v in equation.inputs if not is_number(v)]
            sources = {id(root.get(v, v)): root.get(v, v) for v in live}
            same = all(v.type.shape == out.type.shape for v in live)
            if len(sources) == 1 and same and self.weights.keys().isdisjoint(equation.inputs):
                root[out] = next(iter(sources.values()))
        return root

    @cached_property
    def activations(self) -> list[Activation]:
        """Non-linear elementwise stretches, first to last."""
        found = []
        for step in self.run.steps:
            for v in step.equation.outputs:
                before = self.roots.get(v, v)
                if before is v or v not in self.signals or not isinstance(before, Variable):
                    continue
                if any(self.roots.get(u.equation.outputs[0]) is before for u in self._users(v)):
                    continue
                if self._is_curved(before, v):
                    found.append(self._describe(before, v))
        return found

    def _users(self, v: Operand) -> list[Step]:
        return self.users.get(v, [])

    def between(self, before: Variable, after: Variable) -> list[Step]:
        """Steps of the elementwise stretch, in order."""
        steps = self.run.steps[self.run.maker(before) + 1 : self.run.maker(after) + 1]
        return [s for s in steps if self.roots.get(s.equation.outputs[0]) is before]

    def _is_curved(self, before: Variable, after: Variable) -> bool:
        names = Counter(s.equation.primitive.name for s in self.between(before, after))
        if set(names) - LINEAR:
            return True
        for step in self.between(before, after):
            live = [v for v in step.equation.inputs if not is_number(v)]
            if step.equation.primitive.name in ("multiply", "divide") and len(live) > 1:
                return True
        return False

    def scalar_form(self, before: Variable, after: Variable) -> Callable[[Any], Any]:
        """The stretch as a function of any array."""
        steps = self.between(before, after)

        def function(z: Any) -> Any:
            values: dict[Operand, Any] = {before: z}
            for step in steps:
                equation = step.equation
                args = [values[v] if v in values else self.run.read(v) for v in equation.inputs]
                values[equation.outputs[0]] = bind(equation.primitive, args, equation.params)
            return values[after]

        return function

    def _describe(self, before: Variable, after: Variable) -> Activation:
        grid = GRID.astype(before.type.dtype)
        with np.errstate(all="ignore"):
            try:
                y = np.asarray(self.scalar_form(before, after)(grid), dtype=float)
            except (ValueError, TypeError):  # it reads arrays of the signal's shape
                return Activation(before, after, "function", False, np.nan, False)
            if y.shape != grid.shape:
                return Activation(before, after, "function", False, np.nan, False)
            kind = next(
                (n for n, f in KNOWN.items() if np.allclose(f(GRID), y, rtol=1e-5, atol=1e-6)),
                "function",
            )
            slopes = np.abs(np.diff(y) / np.diff(GRID))
            wide = np.asarray(self.scalar_form(before, after)(grid * 25), dtype=float)
        is_bounded = bool(np.ptp(wide) <= 1.5 * max(np.ptp(y), 1e-12)) and kind != "sine"
        flat = slopes == 0
        rests = bool(flat[:64].all() or flat[-3:].all()) and not is_bounded
        return Activation(before, after, kind, is_bounded, float(np.nanmax(slopes)), rests)

    @cached_property
    def hidden(self) -> list[Activation]:
        """Activations of which a weighted step reads the result, possibly moved or combined."""
        if self.output is None:
            return []
        end = self.run.maker(self.output)
        return [a for a in self.activations if self.run.maker(a.after) < end]

    def is_affine(self) -> bool:
        """Whether nothing between the data and the output bends the signal."""
        if self.output is None:
            return False
        needed = self.run.leads_to(self.output)
        for step in self.run.steps[: self.run.maker(self.output) + 1]:
            out = step.equation.outputs[0]
            if out not in self.signals or out not in needed:
                continue
            equation = step.equation
            signals = sum(v in self.signals for v in equation.inputs)
            family = equation.primitive.family
            plain = equation.primitive.name in (*LINEAR, *MOVES, "sum", "mean", "cumsum")
            if signals and not plain and family not in ("contraction", "linear"):
                return False
            if signals > 1 and equation.primitive.name in ("multiply", "divide", "matmul", "conv"):
                return False
        return True

    # -- layers -------------------------------------------------------------------------------
    @cached_property
    def layers(self) -> list[Layer]:
        """Tagged values; else the outputs of the model's layers; else the user's names."""
        run = self.run
        if run.tags:
            chosen = {v: (name, name) for v, name in run.tags.items() if v in run.live}
        else:
            chosen = self._model_layers() or self._named_values()
        order = sorted(chosen, key=run.maker)
        taken: Counter[str] = Counter()
        layers = []
        for v in order:
            name, path = chosen[v]
            taken[name] += 1
            unique = name if taken[name] == 1 else f"{name}#{taken[name]}"
            source = run.source(v)
            layers.append(Layer(unique, path, v, str(source) if source else ""))
        return layers

    def _model_layers(self) -> dict[Variable, tuple[str, str]]:
        groups: dict[tuple[str, int], Variable] = {}
        for step in self.run.steps:
            out = step.equation.outputs[0]
            if step.layer and out in self.signals:
                groups[step.layer, step.call] = out
        return {v: (path.partition(".")[2] or path, path) for (path, _), v in groups.items()}

    def _named_values(self) -> dict[Variable, tuple[str, str]]:
        last = len(self.run.steps) if self.output is None else self.run.maker(self.output)
        found = {}
        for v, name in self.run.names.items():
            if v in self.signals and v.type.ndim and self.run.maker(v) <= last:
                found[v] = (name, name)
        if not found:
            for a in [*self.hidden]:
                found[a.after] = (a.kind, a.kind)
            for w in self.weighted:
                found[w.output] = (f"with {w.path}", w.path)
        return found


def is_number(v: Operand) -> bool:
    """Whether an operand is one number: a literal, or an array of one element."""
    return isinstance(v, Literal) or v.type.size == 1
