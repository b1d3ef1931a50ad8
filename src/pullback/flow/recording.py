"""One run of a function with all its values: what every measurement and verdict of flow reads.

The function runs once on values. Each operation becomes an equation of a graph, with the values
of its outputs, the user's name and line for them, the layer that was being called, and its
pullback: a function from the cotangents of the outputs to those of the operands. Sweeps over
parts of the recording give gradients, Jacobians between two values, and what-if replays, without
running the user's code again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array, bind
from pullback.core.graph import Equation, Graph, Literal, Variable
from pullback.core.primitive import Primitive
from pullback.core.source import Source
from pullback.core.types import type_of
from pullback.errors import ArgumentError, ShapeError
from pullback.transforms.derivatives import as_leaves
from pullback.transforms.naming import names_in_use
from pullback.transforms.stage import RecordTrace
from pullback.transforms.vjp import VJPTrace, backward

__all__ = ["Recording", "Step", "differentiate", "record", "tag"]

MAX_UNROLLED = 256  # steps of a scan; longer ones stay one operation

Operand = Variable | Literal
Pull = Callable[[Sequence[Any]], list[Any]]


@dataclass(slots=True, eq=False)
class Step:
    """One operation of the run.

    Attributes:
        equation: the primitive with its operands, outputs and the user's line.
        pull: cotangents of the outputs (``None``: zero) to those of the operands; ``None`` if no
            operand depends on what is differentiated through float values.
        layer: path of the layer that was being called, ``""`` outside of layers.
        call: tells one call of a layer from the next.
        function: name of the innermost function of Pullback's own layers, such as ``relu``.
    """

    equation: Equation
    pull: Pull | None
    layer: str = ""
    call: int = 0
    function: str = ""


def differentiate(
    primitive: Primitive, operands: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
) -> tuple[list[Any], Pull | None]:
    """Evaluate one primitive and keep what its reverse rule needs: ``(outputs, pull)``."""
    if not any(needs):
        result = bind(primitive, operands, params)
        return list(result) if primitive.multiple else [result], None
    with VJPTrace() as trace:
        args = [
            trace.input(value) if need else value
            for value, need in zip(operands, needs, strict=True)
        ]
        result = bind(primitive, args, params)
    parts = result if primitive.multiple else (result,)
    traced = [type(part) is Array and part.traced_by is trace for part in parts]
    nodes = [part.aux if own else None for part, own in zip(parts, traced, strict=True)]
    values = [part.value if type(part) is Array else part for part in parts]
    if not any(traced):
        return values, None
    leaves = trace.leaves

    def pull(cts: Sequence[Any]) -> list[Any]:
        seeds = [
            (node, ct)
            for node, ct in zip(nodes, cts, strict=True)
            if node is not None and ct is not None
        ]
        found = iter(backward(seeds, leaves))
        return [next(found) if need else None for need in needs]

    return values, pull


class FlowTrace(RecordTrace):
    """Records equations, values, pullbacks, names, lines and layers.

    With ``tracks_all=False`` integers and booleans are plain arrays to the user's code, as under
    ``grad``; with ``True`` they stay traced, so that what depends on them is known.
    """

    def __init__(self, root: FrameType, layers: Mapping[int, str], tracks_all: bool) -> None:
        super().__init__("flow")
        self.root = root
        self.layers = layers
        self.tracks_all = tracks_all
        self.values: dict[Variable, Any] = {}
        self.names: dict[Variable, str] = {}
        self.tags: dict[Variable, str] = {}
        self.branches: dict[Variable, str] = {}
        self.live: set[Variable] = set()
        self.steps: list[Step] = []
        self.chains: list[list[Variable]] = []
        self.plain: dict[int, Variable] = {}
        self.where = ("", 0, "")

    def leaf(self, value: Any) -> Array:
        array = self.input(type_of(value), value)
        self.values[array.aux] = value
        self.live.add(array.aux)
        return array

    def operand(self, value: Any) -> Operand:
        if id(value) in self.plain:
            return self.plain[id(value)]
        operand = super().operand(value)
        if isinstance(operand, Variable):
            self.values.setdefault(operand, value.value if type(value) is Array else value)
        return operand

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        if primitive.name in ("call", "checkpoint"):
            return self.inline(args, params["graph"])
        if primitive.name == "cond":
            return self.inline(args[1:], params["branches"][int(bool(plain_value(args[0])))])
        if primitive.name == "scan" and 0 < params["length"] <= MAX_UNROLLED:
            return self.unroll(args, params)
        self.where = self.place()
        result = super().process(primitive, args, params)
        self.look()
        return result

    def inline(self, args: Sequence[Any], graph: Graph) -> Any:
        """Run the graph of a compiled function or a checkpoint operation by operation."""
        values: dict[Operand, Any] = dict(zip(graph.inputs, args, strict=True))

        def read(operand: Operand) -> Any:
            return operand.value if isinstance(operand, Literal) else values[operand]

        for equation in graph.equations:
            start = len(self.steps)
            result = bind(equation.primitive, list(map(read, equation.inputs)), equation.params)
            parts = result if equation.primitive.multiple else (result,)
            values.update(zip(equation.outputs, parts, strict=True))
            for step in self.steps[start:]:
                step.equation = replace(step.equation, source=equation.source)
        return tuple(read(operand) for operand in graph.outputs)

    def unroll(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """Run a ``scan`` step by step, and note the values that each carried array takes."""
        start, n_carry = params["n_constants"], params["n_carry"]
        constants, carry = args[:start], list(args[start : start + n_carry])
        rows = args[start + n_carry :]
        order = range(params["length"])
        chains: list[list[Variable]] = [[] for _ in carry]
        outputs = []
        for i in reversed(order) if params["reverse"] else order:
            found = self.inline([*constants, *carry, *(x[i] for x in rows)], params["body"])
            carry = list(found[:n_carry])
            outputs.append(found[n_carry:])
            for chain, value in zip(chains, carry, strict=True):
                variable = self.variable_of(value)
                if variable is not None:
                    chain.append(variable)
        self.chains += chains
        if params["reverse"]:
            outputs.reverse()
        return (*carry, *(np.stack(column) for column in zip(*outputs, strict=True)))

    def wrap(self, primitive: Primitive, outputs: Any, args: Any, params: dict[str, Any]) -> Any:
        equation = self.builder.equations[-1]
        plain = [a.value if type(a) is Array and a.traced_by is self else a for a in args]
        plain = [a.constant() if type(a) is Array else a for a in plain]
        depends = [isinstance(v, Variable) and v in self.live for v in equation.inputs]
        needs = [
            flag and v.type.dtype.kind == "f"
            for flag, v in zip(depends, equation.inputs, strict=True)
        ]
        values, pull = differentiate(primitive, plain, needs, params)
        layer, call, function = self.where
        self.steps.append(Step(equation, pull, layer, call, function))
        if any(depends):
            self.live.update(outputs)
        arrays: list[Any] = []
        for value, variable in zip(values, outputs, strict=True):
            self.values[variable] = value
            if variable.type.dtype.kind == "f" or self.tracks_all:
                arrays.append(Array(self, value, variable))
            else:
                value = np.asarray(value)
                self.values[variable] = value
                self.plain[id(value)] = variable
                arrays.append(value)
        return tuple(arrays) if primitive.multiple else arrays[0]

    def place(self) -> tuple[str, int, str]:
        """The innermost layer among the callers, its call, and Pullback's function inside it."""
        frame: FrameType | None = sys._getframe(2)
        function = ""
        while frame is not None and frame is not self.root:
            code = frame.f_code
            if is_layer_code(code.co_filename):
                function = code.co_name if not code.co_name.startswith("_") else function
            if self.layers and code.co_varnames[:1] == ("self",):
                path = self.layers.get(id(frame.f_locals.get("self")))
                if path is not None:
                    return path, id(frame), function or code.co_name
            frame = frame.f_back
        return "", 0, function

    def look(self) -> None:
        """Note the names that the user's frames give to values now, the outermost first."""
        for name, value in names_in_use(self.root):
            variable = self.variable_of(value)
            if variable is not None:
                self.names.setdefault(variable, name)

    def variable_of(self, value: Any) -> Variable | None:
        """The variable of a traced value, however deep other traces have wrapped it."""
        while type(value) is Array:
            if value.traced_by is self:
                variable: Variable = value.aux
                return variable
            value = value.value
        return None


def plain_value(value: Any) -> Any:
    """The array behind traced ones."""
    while type(value) is Array:
        value = value.value
    return value


def is_layer_code(file: str) -> bool:
    return "pullback" in file and ("/nn/" in file or "\\nn\\" in file)


class Recording:
    """What happened in one run.

    Attributes:
        steps: the operations, in order.
        values: of every variable.
        names: the user's names; ``tags`` those given by :func:`tag`; ``branches`` by ``branch``.
        leaves: the differentiated arrays, each with its path.
        data: variables of the arrays that were passed as data, with their paths.
        output: the variable of the loss; ``None`` if the loss is a constant.
        live: variables that depend on the leaves in any way.
    """

    def __init__(self, trace: FlowTrace, leaves: dict[Variable, str], output: Any) -> None:
        self.steps = trace.steps
        self.values = trace.values
        self.names = trace.names
        for chain in trace.chains:  # of a loop that carries the value called ``h``: h[0], h[1], ...
            name = self.names.get(chain[-1], "carry") if chain else ""
            for i, variable in enumerate(chain):
                self.names.setdefault(variable, f"{name}[{i}]")
        self.tags = trace.tags
        self.branches = trace.branches
        self.live = trace.live
        self.leaves = leaves
        self.data: dict[Variable, str] = {}
        self.output: Variable | None = trace.variable_of(output)
        self.value = self.values[self.output] if self.output is not None else output
        self.makers = {v: i for i, s in enumerate(self.steps) for v in s.equation.outputs}

    def maker(self, variable: Variable) -> int:
        """Position of the step that computed ``variable``; -1 for an input."""
        return self.makers.get(variable, -1)

    def source(self, variable: Variable) -> Source | None:
        at = self.maker(variable)
        return self.steps[at].equation.source if at >= 0 else None

    def cotangents(
        self,
        seeds: Mapping[Variable, Any],
        start: int = 0,
        watch: Callable[[Step, Sequence[Any], Sequence[Any]], None] | None = None,
    ) -> dict[Operand, Any]:
        """Sweep backward from ``seeds`` to step ``start``: the cotangent of every variable.

        ``watch`` sees each step with the cotangents of its outputs and those of its operands.
        """
        found: dict[Operand, Any] = dict(seeds.items())
        stop = max(map(self.maker, seeds), default=-1)
        for step in reversed(self.steps[start : stop + 1]):
            if step.pull is None:
                continue
            cts = [found.get(v) for v in step.equation.outputs]
            if all(ct is None for ct in cts):
                continue
            parts = step.pull(cts)
            if watch is not None:
                watch(step, cts, parts)
            for v, part in zip(step.equation.inputs, parts, strict=True):
                if part is not None:
                    before = found.get(v)
                    found[v] = part if before is None else before + part
        return found

    def gradient(self) -> dict[Operand, Any]:
        """Cotangents of the loss."""
        if self.output is None:
            return {}
        return self.cotangents({self.output: np.ones((), self.output.type.dtype)})

    def tangents(self, seeds: Mapping[Variable, Any], target: Variable) -> Any:
        """Push tangents forward from ``seeds`` to ``target``; zero if nothing arrives."""
        dots: dict[Operand, Any] = dict(seeds.items())
        first = min((self.maker(v) for v in seeds), default=0)
        for step in self.steps[first + 1 : self.maker(target) + 1]:
            equation = step.equation
            given = [dots.get(v) for v in equation.inputs]
            if all(dot is None for dot in given) or step.pull is None:
                continue
            primals = [self.read(v) for v in equation.inputs]
            ys = [self.values[v] for v in equation.outputs]
            y = ys if equation.primitive.multiple else ys[0]
            out = equation.primitive.jvp(primals, given, y, equation.params)
            parts = out if equation.primitive.multiple else (out,)
            for v, dot in zip(equation.outputs, parts, strict=True):
                if dot is not None and v not in seeds:
                    dots[v] = dot
        found = dots.get(target)
        return np.zeros(target.type.shape, target.type.dtype) if found is None else found

    def replay(self, given: Mapping[Variable, Any], target: Variable) -> Any:
        """The value of ``target`` had the values ``given`` been other ones."""
        changed: dict[Operand, Any] = dict(given.items())
        first = min((self.maker(v) for v in given), default=0)
        for step in self.steps[first + 1 : self.maker(target) + 1]:
            equation = step.equation
            if not any(v in changed for v in equation.inputs):
                continue
            args = [changed[v] if v in changed else self.read(v) for v in equation.inputs]
            result = bind(equation.primitive, args, equation.params)
            parts = result if equation.primitive.multiple else (result,)
            changed.update(
                (v, part) for v, part in zip(equation.outputs, parts, strict=True) if v not in given
            )
        return changed.get(target, self.values.get(target))

    def read(self, operand: Operand) -> Any:
        return operand.value if isinstance(operand, Literal) else self.values[operand]

    def depends_on(self, sources: Iterable[Variable]) -> set[Operand]:
        """Variables that a float path from ``sources`` reaches, the sources included."""
        reached: set[Operand] = set(sources)
        for step in self.steps:
            if step.pull is not None and not reached.isdisjoint(step.equation.inputs):
                reached.update(v for v in step.equation.outputs if v.type.dtype.kind == "f")
        return reached

    def leads_to(self, target: Variable) -> set[Operand]:
        """Variables from which a float path leads to ``target``, the target included."""
        needed: set[Operand] = {target}
        for step in reversed(self.steps):
            if step.pull is not None and not needed.isdisjoint(step.equation.outputs):
                needed.update(v for v in step.equation.inputs if v.type.dtype.kind == "f")
        return needed


def containers(value: Any, path: str, found: dict[int, str], keep: list[Any]) -> None:
    """Paths of the callable containers inside ``value``: the layers of a model."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if callable(value):
            found[id(value)] = path
            keep.append(value)
        for field in dataclasses.fields(value):
            containers(getattr(value, field.name), f"{path}.{field.name}", found, keep)
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(value):
            containers(part, f"{path}[{i}]", found, keep)
    elif isinstance(value, dict):
        for key, part in value.items():
            containers(part, f"{path}[{key!r}]", found, keep)


def record(
    loss: Callable[..., Any],
    params: Any,
    batch: Sequence[Any],
    *,
    root: str = "params",
    wants_data: bool = False,
    tracks_all: bool = False,
    is_scalar: bool = True,
) -> Recording:
    """Run ``loss(params, *batch)`` once and keep all that happens.

    Args:
        root: the name of ``params`` in paths.
        wants_data: whether float arrays of the batch are differentiated, too.
        tracks_all: see :class:`FlowTrace`.
        is_scalar: whether a loss that is no scalar is refused.

    Raises:
        ArgumentError: if ``params`` holds no arrays.
        ShapeError: if the loss is no scalar.
    """
    leaves, structure = as_leaves(params, root)
    if not leaves:
        raise ArgumentError(
            f"{root} holds no arrays, so there is nothing to differentiate",
            fix="pass the model or a container of arrays as the second argument",
        )
    paths = tree.paths(params, root)
    layers: dict[int, str] = {}
    keep: list[Any] = []
    trace = FlowTrace(sys._getframe(), layers, tracks_all)
    with trace:
        inputs = [trace.leaf(np.array(leaf)) for leaf in leaves]
        data, found = [], {}
        for i, part in enumerate(batch):
            if wants_data and isinstance(part, np.ndarray) and part.dtype.kind == "f":
                traced = trace.leaf(part)
                found[traced.aux] = f"batch[{i}]"
                part = traced
            data.append(part)
        model = tree.unflatten(structure, inputs)
        containers(model, root, layers, keep)
        result = loss(model, *data)
        outputs = tree.leaves(result)
        y = outputs[0] if len(outputs) == 1 else result
        if type(y) is Array and y.alias is not None:
            y.alias.refresh(y)
        if is_scalar and (len(outputs) != 1 or np.shape(y) != ()):
            raise ShapeError(
                f"the loss returned {', '.join(str(type_of(v)) for v in outputs) or 'nothing'}, "
                "not one scalar",
                fix="reduce it with np.mean",
            )
    run = Recording(trace, {x.aux: p for x, p in zip(inputs, paths, strict=True)}, y)
    run.data = found
    captured = {id(value): variable for variable, value in trace.captured.values()}
    for i, part in enumerate(batch):
        if id(part) in captured:
            run.data[captured[id(part)]] = f"batch[{i}]"
    return run


def tag(value: Any, name: str) -> Any:
    """``value`` itself, marked as a layer called ``name`` for :func:`pullback.flow.probe`.

    When anything in a function is tagged, the tagged values are its layers. Outside of a probe it
    costs nothing, and it works inside of every transform.

    Raises:
        ArgumentError: if ``name`` is empty.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x):
    ...     return np.mean(pb.flow.tag(np.tanh(x @ w), "hidden") ** 2)
    >>> probe = pb.flow.probe(loss, np.ones((3, 2)), np.ones((4, 3)))
    >>> [layer.name for layer in probe.layers]
    ['hidden']
    """
    if not name:
        raise ArgumentError(f"flow.tag: the name is {name!r}", fix="pass a short text")
    mark(value, name, "tags")
    return value


def mark(value: Any, name: str, kind: str) -> None:
    """Note a name with the flow trace that ``value`` belongs to, if there is one."""
    inner = value
    while type(inner) is Array:
        if isinstance(inner.traced_by, FlowTrace):
            getattr(inner.traced_by, kind)[inner.aux] = name
            return
        inner = inner.value
