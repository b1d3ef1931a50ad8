"""Stage a function: run it once on tracers and collect the equations into a graph.

Two flavors. *Abstract* staging knows shapes and dtypes only. *Recording* also computes each
value as it goes, so Python control flow on values works and the graph is the path that was taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.core.alias import as_arguments
from pullback.core.array import Array, bind
from pullback.core.graph import Graph, GraphBuilder, Literal, Variable
from pullback.core.guard import Guard, fingerprint
from pullback.core.primitive import Primitive, refusal
from pullback.core.source import here
from pullback.core.strides import Strides
from pullback.core.trace import Trace, outermost
from pullback.core.types import ArrayType, Shape, type_of
from pullback.errors import PullbackError, StagingError
from pullback.ops.shape import broadcast_to, transpose
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.dce import dce, operands
from pullback.transforms.strides import Derived

__all__ = ["StageTrace", "Staged", "lying", "prune", "record", "stage"]


INSIDE = 3  # callers: ``process``, ``bind`` and what binds


class StageTrace(Trace):
    """Collects equations. ``array.aux`` is the variable; ``array.value`` its value if recording."""

    name = "compile"
    abstract = True
    reader: Any = None  # hands out what is read from outside

    def __init__(self, name: str = "compile") -> None:
        super().__init__()
        self.name = name
        self.builder = GraphBuilder()
        self.captured: dict[Any, tuple[Variable, Any]] = {}
        self.seen_as: dict[Any, Variable] = {}  # captured values in the user's order of axes
        self.guard = Guard()
        self.derived = Derived(self.builder)
        self.written: set[Variable] = set()  # values that others took the place of
        self.handles: dict[int, tuple[np.ndarray[Any, Any], Array]] = {}  # by identity
        self.pinned: dict[int, tuple[np.ndarray[Any, Any], Any]] = {}  # with their fingerprints
        self.examples: Callable[[], Sequence[Any]] | None = None  # values that inputs may have
        self.producers: dict[Variable, int] = {}  # numbers of equations
        self.n_indexed = 0  # equations that are among the producers

    def input(self, type: ArrayType, value: Any = None) -> Array:
        return Array(self, value, self.builder.input(type))

    def handle(self, array: np.ndarray[Any, Any]) -> Array:
        """``array``, which is from outside, as a traced value that is read at every evaluation."""
        if id(array) not in self.handles:
            handle = Array(self, None, self.capture(id(array), array))
            as_arguments([handle], [array])
            assert self.outer is not None
            handle.scope = self.outer  # it may not be written
            self.handles[id(array)] = array, handle
        return self.handles[id(array)][1]

    def lift(self, value: Any) -> Array:
        """A constant as a traced value."""
        array = np.asarray(value)
        return Array(self, None, self.capture(id(array), array))

    def outside(self, array: Array) -> Any:
        held = self.handles.values()
        return next((own for own, handle in held if handle.aux is array.aux), None)

    def capture(self, key: Any, value: Any) -> Variable:
        """The variable of a value from outside, which becomes an input."""
        if key not in self.captured:
            core, steps = lying(value) if isinstance(value, np.ndarray) else (value, [])
            self.captured[key] = (Variable(type_of(core)), core)
            if isinstance(value, np.ndarray):
                self.guard.foreign(value)
                self.guard.keep(value)
            variable = self.captured[key][0]
            self.derived.outside[variable] = core
            for primitive, params in steps:
                (variable,) = self.builder.add(primitive, [variable], params)
            self.seen_as[key] = variable
        return self.seen_as[key]

    def operand(self, value: Any) -> Variable | Literal:
        """Variable or literal of an operand; values from outside become captured inputs."""
        if type(value) is Array:
            if value.traced_by is self:
                found: Variable = value.aux
                return found
            value = value.constant()
        if not isinstance(value, (Array, np.ndarray)):
            return Literal(value)
        if isinstance(value, np.ndarray) and is_repeated_scalar(value):
            return self.builder.add(
                broadcast_to, [Literal(value.dtype.type(value.flat[0]))], {"shape": value.shape}
            )[0]
        key = (
            (id(value.traced_by), id(value.value), id(value.aux))
            if type(value) is Array
            else id(value)
        )
        return self.capture(key, value)

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        given = self.operand
        operands = [a.aux if type(a) is Array and a.traced_by is self else given(a) for a in args]
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

    def is_weak(self, array: Array) -> bool:
        weak: bool = array.aux.type.weak
        return weak

    def strides_of(self, array: Array) -> Strides:
        return self.derived(array.aux)

    def wrote(self, array: Array) -> None:
        self.written.add(array.aux)

    def lay(self, array: Array, like: Any) -> None:
        last = self.builder.equations[-1:]
        if last and array.aux in last[0].outputs:  # no other array has this value
            if type(like) is Array and like.traced_by is self:
                self.derived.same[array.aux] = like.aux
            else:
                strides = like.traced_by.strides_of(like) if type(like) is Array else like
                self.derived.known[array.aux] = strides

    def show(self, array: Array) -> str:
        return str(array.aux.type)

    def computed(self, variable: Variable, leaf: Callable[[Variable], Any]) -> Any:
        """The value of ``variable`` from those of inputs; ``None`` if one of them is ``None``."""
        equations = self.builder.equations
        for number in range(self.n_indexed, len(equations)):
            self.producers.update(dict.fromkeys(equations[number].outputs, number))
        self.n_indexed = len(equations)
        needed: set[int] = set()
        leaves: dict[Variable, Any] = {}
        todo: list[Any] = [variable]
        while todo:
            v = todo.pop()
            if v in self.producers:
                if self.producers[v] not in needed:
                    needed.add(self.producers[v])
                    todo += equations[self.producers[v]].inputs
            elif isinstance(v, Variable) and v not in leaves:
                leaves[v] = leaf(v)
                if leaves[v] is None:
                    return None
        graph = Graph(tuple(leaves), tuple([equations[n] for n in sorted(needed)]), (variable,))
        with outermost():
            return evaluate(graph, list(leaves.values()))[0]

    def known(self, array: Array) -> Any:
        outside = dict(self.captured.values())
        handed = {self.captured[key][0]: array for key, (array, _) in self.handles.items()}
        used: list[Variable] = []

        def leaf(variable: Variable) -> Any:
            value = outside.get(variable)
            used.append(variable)
            return value.traced_by.known(value) if type(value) is Array else value

        value = self.computed(array.aux, leaf)
        if value is not None:
            for variable in used:
                if variable in handed:
                    self.pin(handed[variable])
        return value

    def pin(self, array: np.ndarray[Any, Any]) -> None:
        """Note that what was staged holds for the present content of ``array`` only."""
        if id(array) not in self.pinned:
            self.pinned[id(array)] = array, fingerprint(array)

    def sample(self, array: Array) -> Any:
        examples = [] if self.examples is None else self.examples()
        given = dict(zip(self.builder.inputs, examples, strict=False))
        given |= dict(self.captured.values())

        def leaf(variable: Variable) -> Any:
            if variable not in given:
                return np.ones(variable.type.shape, variable.type.dtype)
            value = given[variable]
            return value.traced_by.sample(value) if type(value) is Array else value

        return self.computed(array.aux, leaf)

    def concrete(self, array: Array, purpose: str) -> Any:
        value = self.known(array)
        if value is not None:
            return value
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


def lying(array: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], list[Any]]:
    """The part of ``array`` that its memory holds in a row, and the equations that lead back.

    Native code reads arrays in a row: a transposed or repeated one is transposed or repeated
    there, not copied at every call. Of any other array this is the array itself.
    """
    if array.flags.c_contiguous:
        return array, []
    once = [n > 1 and step == 0 for n, step in zip(array.shape, array.strides, strict=True)]
    part = array[tuple([slice(1) if flag else slice(None) for flag in once])]
    order = sorted(range(array.ndim), key=lambda axis: (-part.strides[axis], axis))
    core = part.transpose(order)
    if not core.flags.c_contiguous:
        return array, []
    back = tuple([order.index(axis) for axis in range(array.ndim)])
    steps: list[Any] = [(transpose, {"axes": back})] if order != sorted(order) else []
    return core, steps + ([(broadcast_to, {"shape": array.shape})] if any(once) else [])


class RecordTrace(StageTrace):
    """Staging that also computes: every array keeps its value one level further out."""

    abstract = False

    def wrap(self, primitive: Primitive, outputs: Any, args: Any, params: dict[str, Any]) -> Any:
        plain = [a.value if type(a) is Array and a.traced_by is self else a for a in args]
        result = bind(primitive, plain, params)
        values = result if primitive.multiple else (result,)
        arrays = tuple(
            Array(self, value, variable) for value, variable in zip(values, outputs, strict=True)
        )
        return arrays if primitive.multiple else arrays[0]

    def show(self, array: Array) -> str:
        return str(array.value)

    def sample(self, array: Array) -> Any:
        return Trace.sample(self, array)

    def concrete(self, array: Array, purpose: str) -> Any:
        value = array.value
        return value.traced_by.concrete(value, purpose) if type(value) is Array else value


class Staged:
    """A graph with the outside values its first inputs stand for.

    ``graph.inputs`` is the captured variables followed by the arguments of the function.
    """

    __slots__ = ("captured", "depends_on", "graph", "guard", "writes")

    def __init__(self, graph: Graph, captured: list[Any], guard: Guard) -> None:
        self.graph = graph
        self.captured = captured
        self.guard = guard
        self.depends_on: tuple[int, ...] = ()  # arguments whose place in memory was asked for
        self.writes = False  # whether arguments are written to


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
    pruned = Staged(
        Graph(tuple(inputs), graph.equations, graph.outputs),
        [staged.captured[i] for i in captured],
        staged.guard,
    )
    pruned.depends_on, pruned.writes = staged.depends_on, staged.writes
    return pruned


def stage(
    function: Callable[..., Sequence[Any]],
    types: Sequence[ArrayType],
    name: str = "compile",
    examples: Callable[[], Sequence[Any]] | None = None,
    above: int = 0,
    given: Sequence[Any] | None = None,
) -> Staged:
    """Stage a function of flat arrays that returns a flat sequence, knowing only ``types``.

    ``examples`` gives values that the arrays may have, should an opaque function have to be tried.
    The level of the trace is raised by ``above``. Of the arrays ``given`` it also knows how they
    lie in memory, and which of them are the same; where the graph depends on that,
    ``Staged.depends_on`` says of which.
    """
    with StageTrace(name) as trace:
        trace.level += above
        trace.examples = examples
        inputs = [trace.input(type) for type in types]
        variables = list(trace.builder.inputs)
        if given is not None:
            as_arguments(inputs, given)
            for variable, value in zip(variables, given, strict=True):
                if isinstance(value, np.ndarray):
                    trace.derived.inputs[variable] = value.strides
        staged = close(trace, function(*inputs))
        read = trace.derived.asked | trace.written
        staged.depends_on = tuple(i for i, v in enumerate(variables) if v in read)
        staged.writes = any(v in trace.written for v in variables)
        return staged


def record(
    function: Callable[..., Sequence[Any]], args: Sequence[Any], name: str = "record"
) -> tuple[list[Any], Staged]:
    """Run a flat function on values and stage the path it takes: ``(outputs, staged)``."""
    with RecordTrace(name) as trace:
        outputs = function(*[trace.input(type_of(value), value) for value in args])
        staged = close(trace, outputs)
        values = [v.value if type(v) is Array and v.traced_by is trace else v for v in outputs]
    return values, staged
