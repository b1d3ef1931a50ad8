"""The graph: a typed straight-line program in static single assignment form.

Each :class:`Equation` applies one primitive to variables and literals, and remembers the user's
line. A graph is immutable; passes build new ones with a :class:`GraphBuilder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pullback.core.primitive import Primitive
from pullback.core.source import Source
from pullback.core.types import NUMBERS, ArrayType, type_of
from pullback.errors import PullbackError

__all__ = ["Equation", "Graph", "GraphBuilder", "Literal", "Variable"]


class Variable:
    """A value of a graph: bound once, by an input or by one equation."""

    __slots__ = ("type",)

    def __init__(self, type: ArrayType) -> None:
        self.type = type


class Literal:
    """A scalar written into the graph; a Python scalar keeps its weak type."""

    __slots__ = ("type", "value")

    def __init__(self, value: Any) -> None:
        self.value = value.item() if type(value) in NUMBERS else value
        self.type = type_of(value)


Operand = Variable | Literal


@dataclass(slots=True, eq=False)
class Equation:
    """``outputs = primitive(*inputs, **params)``, and the user's line that asked for it.

    It does not change either, but is not frozen: thousands are made while a function is staged.
    """

    primitive: Primitive
    inputs: tuple[Operand, ...]
    outputs: tuple[Variable, ...]
    params: dict[str, Any] = field(default_factory=dict)
    source: Source | None = None

    def reading(self, values: Mapping[Operand, Operand]) -> Equation:
        """The equation with operands replaced; itself if ``values`` has none of them."""
        if values.keys().isdisjoint(self.inputs):
            return self
        return replace(self, inputs=tuple(values.get(v, v) for v in self.inputs))


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Graph:
    """``inputs`` -> equations in order -> ``outputs``. Printable; call ``verify`` to check it."""

    inputs: tuple[Variable, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Operand, ...]

    @property
    def input_types(self) -> list[ArrayType]:
        return [v.type for v in self.inputs]

    @property
    def output_types(self) -> list[ArrayType]:
        return [v.type for v in self.outputs]

    def __str__(self) -> str:
        return show(self)

    def verify(self) -> Graph:
        """Check every variable and type; return the graph itself.

        Raises:
            PullbackError: if a variable is used before it is bound, bound twice, or its type is
                not what the primitive's type rule says.
        """
        bound: set[Variable] = set()

        def define(variables: Iterable[Variable]) -> None:
            for variable in variables:
                if variable in bound:
                    raise PullbackError(f"graph: a variable of type {variable.type} is bound twice")
                bound.add(variable)

        def use(operands: Iterable[Operand], user: str) -> None:
            for operand in operands:
                if isinstance(operand, Variable) and operand not in bound:
                    raise PullbackError(f"graph: {user} uses a variable before it is bound")

        define(self.inputs)
        for equation in self.equations:
            use(equation.inputs, equation.primitive.name)
            inferred = equation.primitive.type_rule(
                *[v.type for v in equation.inputs], **equation.params
            )
            expected = tuple(inferred) if equation.primitive.multiple else (inferred,)
            actual = tuple(v.type for v in equation.outputs)
            if expected != actual:
                raise PullbackError(
                    f"graph: {equation.primitive.name} should give {expected}, not {actual}",
                    where=str(equation.source),
                )
            define(equation.outputs)
        use(self.outputs, "the output")
        return self


class GraphBuilder:
    """Collects equations; ``build`` closes them into a graph."""

    def __init__(self) -> None:
        self.inputs: list[Variable] = []
        self.equations: list[Equation] = []
        self.inferred: dict[Any, tuple[ArrayType, ...]] = {}

    def input(self, type: ArrayType) -> Variable:
        variable = Variable(type)
        self.inputs.append(variable)
        return variable

    def add(
        self,
        primitive: Primitive,
        inputs: Sequence[Operand],
        params: dict[str, Any],
        source: Source | None = None,
    ) -> tuple[Variable, ...]:
        given = [v.type for v in inputs]
        key = (primitive, *params.items(), *given)
        types = self.inferred.get(key)
        if types is None:
            inferred = primitive.type_rule(*given, **params)
            types = self.inferred[key] = tuple(inferred) if primitive.multiple else (inferred,)
        outputs = tuple([Variable(type) for type in types])
        self.equations.append(Equation(primitive, tuple(inputs), outputs, params, source))
        return outputs

    def build(self, outputs: Sequence[Operand]) -> Graph:
        return Graph(tuple(self.inputs), tuple(self.equations), tuple(outputs))


def show(graph: Graph, indent: str = "") -> str:
    """Text of a graph: one equation a line, types on the left, the user's line on the right."""
    names: dict[Variable, str] = {}

    def name(operand: Operand) -> str:
        if isinstance(operand, Literal):
            return (
                repr(operand.value)
                if not isinstance(operand.value, np.generic)
                else str(operand.value)
            )
        if operand not in names:
            n, text = len(names), ""
            while True:
                text = chr(97 + n % 26) + text
                n = n // 26 - 1
                if n < 0:
                    break
            names[operand] = text
        return names[operand]

    def declare(variables: Iterable[Variable]) -> str:
        return ", ".join(f"{name(v)}: {v.type}" for v in variables)

    lines = [f"{indent}graph({declare(graph.inputs)})"]
    for equation in graph.equations:
        left = declare(equation.outputs)
        nested = {k: v for k, v in equation.params.items() if isinstance(v, Graph)}
        static = " ".join(
            f"{k}={_show_param(v)}"
            for k, v in equation.params.items()
            if k not in nested and not callable(v)
        )
        right = " ".join(
            [
                equation.primitive.name,
                *([f"[{static}]"] if static else []),
                *map(name, equation.inputs),
            ]
        )
        text = f"{indent}  {left} = {right}"
        lines.append(f"{text:<72}# {equation.source.short}" if equation.source else text)
        for key, inner in nested.items():
            lines.append(f"{indent}    {key}:")
            lines.append(show(inner, indent + "      "))
    lines.append(f"{indent}  return {', '.join(map(name, graph.outputs))}")
    return "\n".join(lines)


def _show_param(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(map(_show_param, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, np.dtype):
        return str(value)
    return repr(value)
