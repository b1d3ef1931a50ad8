"""Stage a function: run it once on tracers and collect the equations into a graph.

Two flavors. *Abstract* staging knows shapes and dtypes only. *Recording* also computes each
value as it goes, so Python control flow on values works and the graph is the path that was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.array import Array, bind
from pullback.core.graph import Graph, GraphBuilder, Literal, Variable
from pullback.core.guard import Guard
from pullback.core.primitive import Primitive, refusal
from pullback.core.source import here
from pullback.core.trace import Trace
from pullback.core.types import ArrayType, Shape, type_of
from pullback.errors import PullbackError, StagingError
from pullback.ops.shape import broadcast_to
from pullback.transforms.passes.dce import dce, operands

__all__ = ["StageTrace", "Staged", "prune", "record", "stage"]


INSIDE = 3  # callers: ``process``, ``bind`` and what binds


class StageTrace(Trace):
    """Collects equations. ``array.aux`` is the variable; ``array.value`` its value if recording."""

    name = "compile"
    abstract = True

    def __init__(self, name: str = "compile") -> None:
        super().__init__()
        self.name = name
        self.builder = GraphBuilder()
        self.captured: dict[int, tuple[Variable, Any]] = {}
        self.guard = Guard()

    def input(self, type: ArrayType, value: Any = None) -> Array:
        return Array(self, value, self.builder.input(type))

    def operand(self, value: Any) -> Variable | Literal:
        """Variable or literal of an operand; values from outside become captured inputs."""
        if type(value) is Array:
            if value.trace is self:
                variable: Variable = value.aux
                return variable
            value = value.constant()
        if not isinstance(value, (Array, np.ndarray)):
            return Literal(value)
        if isinstance(value, np.ndarray) and is_repeated_scalar(value):
            return self.builder.add(
                broadcast_to, [Literal(value.dtype.type(value.flat[0]))], {"shape": value.shape}
            )[0]
        key = (
            (id(value.trace), id(value.value), id(value.aux)) if type(value) is Array else id(value)
        )
        if key not in self.captured:
            self.captured[key] = (Variable(type_of(value)), value)  # type: ignore[index]
            if isinstance(value, np.ndarray):
                self.guard.foreign(value)
                self.guard.keep(value)
        return self.captured[key][0]  # type: ignore[index]

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        given = self.operand
        operands = [a.aux if type(a) is Array and a.trace is self else given(a) for a in args]
        try:
            outputs = self.builder.add(primitive, operands, params, here(INSIDE))
        except (PullbackError, np.linalg.LinAlgError):
            raise
        except (ValueError, TypeError) as error:
            raise refusal(primitive, [v.type for v in operands], error) from error
        return self.wrap(primitive, outputs, args, params)

    def wrap(self, primitive: Primitive, outputs: Any, args: Any, params: dict[str, Any]) -> Any:
        if primitive.multiple:
            return tuple([Array(self, None, variable) for variable in outputs])
        return Array(self, None, outputs[0])

    def type_of(self, array: Array) -> ArrayType:
        type: ArrayType = array.aux.type
        return type

    def shape_of(self, array: Array) -> Shape:
        shape: Shape = array.aux.type.shape
        return shape

    def show(self, array: Array) -> str:
        return str(array.aux.type)

    def concrete(self, array: Array, purpose: str) -> Any:
        raise StagingError(
            f"{purpose} of a value is needed, but {self.name} knows only its shape and dtype",
            where=str(here()),
            details=[f"value: {array.aux.type}"],
            fix="use np.where, pullback.cond, pullback.while_loop or pullback.scan, not Python "
            "control flow on values, or mark the argument static",
        )


def is_repeated_scalar(value: Any) -> bool:
    """Whether ``value`` is one number broadcast to a shape, as seeds and zeros are."""
    return (
        value.base is not None
        and value.size > 0
        and not any(value.strides)
        and not value.flags.writeable
    )


class RecordTrace(StageTrace):
    """Staging that also computes: every array keeps its value one level further out."""

    abstract = False

    def wrap(self, primitive: Primitive, outputs: Any, args: Any, params: dict[str, Any]) -> Any:
        plain = [a.value if type(a) is Array and a.trace is self else a for a in args]
        result = bind(primitive, plain, params)
        values = result if primitive.multiple else (result,)
        arrays = tuple(
            Array(self, value, variable) for value, variable in zip(values, outputs, strict=True)
        )
        return arrays if primitive.multiple else arrays[0]

    def show(self, array: Array) -> str:
        return str(array.value)

    def concrete(self, array: Array, purpose: str) -> Any:
        value = array.value
        return value.trace.concrete(value, purpose) if type(value) is Array else value


class Staged:
    """A graph with the outside values its first inputs stand for.

    ``graph.inputs`` is the captured variables followed by the arguments of the function.
    """

    __slots__ = ("captured", "graph", "guard")

    def __init__(self, graph: Graph, captured: list[Any], guard: Guard) -> None:
        self.graph = graph
        self.captured = captured
        self.guard = guard


def close(trace: StageTrace, outputs: Sequence[Any]) -> Staged:
    """Finish staging: outputs become operands, captured values become leading inputs."""
    for value in outputs:
        if type(value) is Array and value.alias is not None:
            value.alias.refresh(value)
    operands = [trace.operand(value) for value in outputs]
    trace.guard.check()
    captured = list(trace.captured.values())
    trace.builder.inputs = [variable for variable, _ in captured] + trace.builder.inputs
    return Staged(trace.builder.build(operands), [value for _, value in captured], trace.guard)


def prune(staged: Staged) -> Staged:
    """Without what no output needs: equations, and values from outside that only these read."""
    graph = dce(staged.graph)
    read = operands(graph)
    n = len(staged.captured)
    captured = [i for i in range(n) if graph.inputs[i] in read]
    inputs = [graph.inputs[i] for i in captured] + list(graph.inputs[n:])
    return Staged(
        Graph(tuple(inputs), graph.equations, graph.outputs),
        [staged.captured[i] for i in captured],
        staged.guard,
    )


def stage(
    function: Callable[..., Sequence[Any]], types: Sequence[ArrayType], name: str = "compile"
) -> Staged:
    """Stage a function of flat arrays that returns a flat sequence, knowing only ``types``."""
    with StageTrace(name) as trace:
        return close(trace, function(*[trace.input(type) for type in types]))


def record(
    function: Callable[..., Sequence[Any]], args: Sequence[Any], name: str = "record"
) -> tuple[list[Any], Staged]:
    """Run a flat function on values and stage the path it takes: ``(outputs, staged)``."""
    with RecordTrace(name) as trace:
        outputs = function(*[trace.input(type_of(value), value) for value in args])
        staged = close(trace, outputs)
        values = [v.value if type(v) is Array and v.trace is trace else v for v in outputs]
    return values, staged
