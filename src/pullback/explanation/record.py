"""Run a function and its reverse sweep once, and keep all of it: graph, values, user's names.

Reverse mode runs inside a recording: each operation of the forward run and of the backward sweep
becomes an equation of one graph, so the tables read the very rules that ``grad`` applies.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.core.primitive import Primitive
from pullback.core.source import Source, here
from pullback.core.types import type_of
from pullback.errors import ArgumentError, NotDifferentiableError
from pullback.transforms.derivatives import as_leaves, pick
from pullback.transforms.naming import names_in_use
from pullback.transforms.stage import RecordTrace, close
from pullback.transforms.vjp import Node, VJPTrace, backward

__all__ = ["Recording", "record"]

Operand = Variable | Literal


class Recorder(RecordTrace):
    """Records equations and their values, and reads the names of values in the user's frames."""

    def __init__(self, root: FrameType) -> None:
        super().__init__("explain")
        self.root = root
        self.names: dict[Variable, str] = {}
        self.values: dict[Variable, Any] = {}
        self.recomputed: set[Variable] = set()
        self.recomputing = False

    def input(self, type: Any, value: Any = None) -> Array:
        array = super().input(type, value)
        self.values[array.aux] = value
        return array

    def operand(self, value: Any) -> Operand:
        operand = super().operand(value)
        if isinstance(operand, Variable):
            self.values.setdefault(operand, value)
        return operand

    def lift(self, value: Any) -> Any:
        """A constant of the tape as a value of the recording, so that rules on it are seen."""
        return Array(self, value, self.operand(value)) if type(value) is np.ndarray else value

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        result = super().process(primitive, args, params)
        for array in result if primitive.multiple else (result,):
            self.values[array.aux] = array.value
            if self.recomputing:
                self.recomputed.add(array.aux)
        self.look()
        return result

    def look(self) -> None:
        """Note the names that the user's frames give to values now, the outermost first."""
        outside = {id(value): variable for variable, value in self.captured.values()}
        for name, value in names_in_use(self.root):
            variable = outside.get(id(value))
            while variable is None and type(value) is Array:
                if value.traced_by is self:
                    variable = value.aux
                value = value.value
            if variable is not None:
                self.names.setdefault(variable, name)


class Tape(VJPTrace):
    """Reverse mode that remembers the variable and the line of each node, and looks into calls."""

    name = "explain"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.variables: dict[Node, Variable] = {}
        self.sources: dict[Node, Source | None] = {}
        self.again: list[Equation] = []

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        args = [self.recorder.lift(a) for a in args]
        if primitive.name in ("call", "checkpoint"):
            return self.show_inside(args, params["graph"], again=primitive.name == "checkpoint")
        result = super().process(primitive, args, params)
        for part in result if primitive.multiple else (result,):
            if type(part) is Array and part.traced_by is self:
                self.variables[part.aux] = part.value.aux
                self.sources[part.aux] = here()
        return result

    def show_inside(self, args: Sequence[Any], graph: Graph, again: bool) -> Any:
        """Run a graph operation by operation; a checkpoint runs it ``again`` and keeps nothing."""
        values: dict[Operand, Any] = dict(zip(graph.inputs, args, strict=True))
        equations = self.recorder.builder.equations

        def read(operand: Operand) -> Any:
            return operand.value if isinstance(operand, Literal) else values[operand]

        outer = self.recorder.recomputing
        self.recorder.recomputing = outer or again
        start = len(equations)
        for equation in graph.equations:
            at = len(equations)
            result = equation.primitive(*map(read, equation.inputs), **equation.params)
            parts = result if equation.primitive.multiple else (result,)
            values.update(zip(equation.outputs, parts, strict=True))
            equations[at:] = [replace(e, source=equation.source) for e in equations[at:]]
            for part in parts:
                if type(part) is Array and part.traced_by is self:
                    self.sources[part.aux] = equation.source
        self.recorder.recomputing = outer
        outputs = tuple(read(operand) for operand in graph.outputs)
        if again:
            self.again += equations[start:]
            kept = {
                y.value.aux if y.traced_by is self else y.aux for y in outputs if type(y) is Array
            }
            self.recorder.recomputed -= kept
        return outputs


class Recording:
    """What happened: ``forward`` and ``backward`` equations, and the variables that matter.

    ``cotangents`` maps a forward variable to the operand that holds its complete cotangent, in the
    order of the sweep; ``arguments`` are the differentiated leaves; ``again`` are the equations
    that a checkpoint runs a second time. ``origins[i]`` is the user's line whose rule gave the
    backward equation ``i``.
    """

    def __init__(self, recorder: Recorder, graph: Graph, n_forward: int) -> None:
        self.graph = graph
        self.names = recorder.names
        self.values = recorder.values
        self.recomputed = recorder.recomputed
        self.forward: Sequence[Equation] = graph.equations[:n_forward]
        self.backward: Sequence[Equation] = graph.equations[n_forward:]
        self.arguments: dict[Variable, str] = {}
        self.cotangents: dict[Variable, Operand] = {}
        self.again: Sequence[Equation] = ()
        self.origins: list[Source | None] = []
        self.output: Any = graph.outputs[0]
        self.seed: Any = self.output
        self.output_name = ""


def record(fun: Callable[..., Any], args: Sequence[Any], argnums: Any, kwargs: Any) -> Recording:
    """Run ``fun`` at ``args``, sweep backward from its output, and return all that happened."""
    numbers = pick(args, argnums)
    labels = argument_names(fun, len(args))
    leaves, structure = as_leaves(tuple(args[n] for n in numbers), "args")
    paths = [path for n in numbers for path in tree.paths(args[n], labels[n])]
    marks: list[tuple[int, Source | None]] = []
    seen: list[tuple[Node, Any]] = []
    with Recorder(sys._getframe()) as recorder:
        inputs = [recorder.input(type_of(leaf), leaf) for leaf in leaves]
        with Tape(recorder) as tape:
            traced = [tape.input(x) for x in inputs]
            full = list(args)
            for n, value in zip(numbers, tree.unflatten(structure, traced), strict=True):
                full[n] = value
            y = single_output(fun, fun(*full, **kwargs), tape)
        n_forward = len(recorder.builder.equations)
        seed = recorder.input(type_of(y.value), np.ones(y.shape, y.dtype))

        def watch(node: Node, ct: Any) -> None:
            seen.append((node, ct))
            if node in tape.sources:
                marks.append((len(recorder.builder.equations), tape.sources[node]))

        arrived = backward([(y.aux, seed)], tape.leaves, watch)
        cts = [None if ct is None else recorder.operand(ct) for ct in arrived]
        staged = close(recorder, [y.value, *(ct for ct in arrived if ct is not None)])
    run = Recording(recorder, staged.graph, n_forward)
    run.seed = seed.aux
    run.again = tape.again
    run.arguments = {x.aux: path for x, path in zip(inputs, paths, strict=True)}
    name_captured(run, staged.captured, args, labels)
    for node, ct in seen:
        if node in tape.variables and type(ct) is Array:
            run.cotangents.setdefault(tape.variables[node], ct.aux)
    run.cotangents |= {x.aux: ct for x, ct in zip(inputs, cts, strict=True) if ct is not None}
    run.origins = spread(marks, n_forward, len(staged.graph.equations))
    run.output_name = output_name(run, fun)
    return run


def single_output(fun: Callable[..., Any], result: Any, tape: Tape) -> Array:
    outputs = tree.leaves(result)
    if len(outputs) != 1:
        raise ArgumentError(
            f"explain: {label(fun)} returns {len(outputs)} arrays",
            fix="explain a function of one output, e.g. lambda *args: f(*args)[0]",
        )
    y = outputs[0]
    if type(y) is Array and y.alias is not None:
        y.alias.refresh(y)
    if type(y) is not Array or y.traced_by is not tape:
        raise NotDifferentiableError(
            f"explain: the output of {label(fun)} does not depend on the differentiated arguments",
            fix="choose other argnums, and check that floating-point values reach the output",
        )
    return y


def label(fun: Callable[..., Any]) -> str:
    name = getattr(fun, "__name__", "f")
    return name if name.isidentifier() else "f"


def argument_names(fun: Callable[..., Any], n: int) -> list[str]:
    """The names of ``n`` positional arguments: ``x``, ``args[2]``."""
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):  # builtins may have no signature
        return [f"args[{i}]" for i in range(n)]
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "args")
    return [*plain[:n], *(f"{rest}[{i}]" for i in range(n - len(plain)))]


def name_captured(
    run: Recording, captured: Sequence[Any], args: Sequence[Any], labels: Sequence[str]
) -> None:
    """Arrays from outside that are arguments are called by their path."""
    paths = {
        id(leaf): path
        for arg, name in zip(args, labels, strict=True)
        for leaf, path in zip(tree.leaves(arg), tree.paths(arg, name), strict=True)
    }
    for variable, value in zip(run.graph.inputs, captured, strict=False):
        if id(value) in paths:
            run.names[variable] = paths[id(value)]


def spread(
    marks: Sequence[tuple[int, Source | None]], start: int, stop: int
) -> list[Source | None]:
    """The source of the latest mark, for each equation from ``start`` to ``stop``."""
    sources: list[Source | None] = []
    position = -1
    for i in range(start, stop):
        while position + 1 < len(marks) and marks[position + 1][0] <= i:
            position += 1
        sources.append(marks[position][1] if position >= 0 else None)
    return sources


def output_name(run: Recording, fun: Callable[..., Any]) -> str:
    """The user's name of the returned value, else the name of the function."""
    if isinstance(run.output, Variable) and run.output in run.names:
        return run.names[run.output]
    makers = [e for e in run.forward if run.output in e.outputs]
    source = makers[-1].source if makers else None
    code = getattr(inspect.unwrap(fun), "__code__", None)
    if source is not None and source.code is code and source.code.co_name.isidentifier():
        target, equals, value = source.text.partition("=")
        if equals and target.strip().isidentifier() and not value.startswith("="):
            return target.strip()
    return label(fun)
