"""When an eager run drops its values, found without computing any of them.

The function runs once on shapes. What it holds then, its variables, its containers and the tape of
reverse mode, is what it would hold with numbers: Python itself tells when the last of them lets a
value go.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pullback import tree
from pullback.core.array import Array, as_array
from pullback.core.graph import Graph, Literal, Variable
from pullback.core.source import here
from pullback.core.strides import Strides
from pullback.core.trace import current_trace
from pullback.core.types import ArrayType, type_of
from pullback.transforms.stage import StageTrace, close
from pullback.transforms.vjp import VJPTrace

__all__ = ["Lifetimes", "lifetimes"]


class Held(Variable):
    """A variable that tells when nobody refers to it any more; ``of`` is the one in the graph."""

    __slots__ = ("__weakref__", "of")

    def __init__(self, of: Variable) -> None:
        super().__init__(of.type)
        self.of = of


class LifetimeTrace(StageTrace):
    """Staging whose values are held by the program alone."""

    def __init__(self) -> None:
        super().__init__("memory")
        self.holders: dict[Variable, int] = {}
        self.dying: dict[Variable, int] = {}  # the equation after which a value is dropped
        self.is_sweep: list[bool] = []  # of each equation: whether reverse mode sweeps back
        self.is_over = False

    def hold(self, variable: Variable) -> Held:
        held = Held(variable)
        self.holders[variable] = self.holders.get(variable, 0) + 1
        weakref.finalize(held, self.drop, variable).atexit = False
        return held

    def drop(self, variable: Variable) -> None:
        self.holders[variable] -= 1
        if not self.holders[variable] and not self.is_over:
            self.dying[variable] = len(self.builder.equations) - 1

    def input(self, type: ArrayType, value: Any = None) -> Array:
        return Array(self, value, self.hold(self.builder.input(type)))

    def lift(self, value: Any) -> Array:
        return self.held(super().lift(value))

    def held(self, array: Array) -> Array:
        return Array(self, array.value, self.hold(array.aux))

    def handle(self, array: Any) -> Array:
        made = super().handle(array)
        if not isinstance(made.aux, Held):
            made.aux = self.hold(made.aux)
        return made

    def operand(self, value: Any) -> Variable | Literal:
        found = super().operand(value)
        return found.of if isinstance(found, Held) else found

    def process(self, primitive: Any, args: Any, params: dict[str, Any]) -> Any:
        operands = [self.operand(a) for a in args]
        outputs = self.builder.add(primitive, operands, params, here(3))
        is_sweep = not any(isinstance(t, VJPTrace) for t in self.inner())
        self.is_sweep += [is_sweep] * (len(self.builder.equations) - len(self.is_sweep))
        return self.wrap(primitive, outputs, args, params)

    def inner(self) -> list[Any]:
        """The active traces inside of this one."""
        found: list[Any] = []
        trace: Any = current_trace()
        while trace is not None and trace is not self:
            found.append(trace)
            trace = trace.outer
        return found

    def wrap(self, primitive: Any, outputs: Any, args: Any, params: dict[str, Any]) -> Any:  # noqa: ARG002
        arrays = tuple([Array(self, None, self.hold(v)) for v in outputs])
        return arrays if primitive.multiple else arrays[0]

    def strides_of(self, array: Array) -> Strides:
        return self.derived(array.aux.of)

    def wrote(self, array: Array) -> None:
        self.written.add(array.aux.of)

    def lay(self, array: Array, like: Any) -> None:
        """Layouts are those of the graph; a moved value costs a copy that is soon dropped."""

    def computed(self, variable: Variable, leaf: Callable[[Variable], Any]) -> Any:
        return super().computed(variable.of if isinstance(variable, Held) else variable, leaf)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """A graph, the values that are dropped after each equation, and where the sweep begins.

    ``n_forward`` equations run before reverse mode sweeps back; all of them, if it never does.
    ``n_arguments`` of the graph's inputs are arguments, the others are read from outside.
    """

    graph: Graph
    dying: list[list[Variable]]
    n_forward: int
    n_arguments: int
    results: list[Any] = field(repr=False)


def lifetimes(function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Lifetimes:
    """Run ``function`` on the shapes of its arguments and note when each value is dropped.

    Raises:
        StagingError: where Python control flow needs a value.
    """
    leaves, structure = tree.flatten((tuple(args), kwargs))
    leaves = [as_array(x) for x in leaves]
    with LifetimeTrace() as trace:
        inputs = [trace.input(type_of(x)) for x in leaves]
        trace.examples = lambda: leaves
        given, named = tree.unflatten(structure, inputs)
        results = tree.leaves(function(*given, **named))
        trace.is_over = True
        n = len(trace.builder.equations)
        staged = close(trace, [as_array(y) for y in results])
    graph = Graph(
        staged.graph.inputs, staged.graph.equations[:n], tuple(map(trace.operand, results))
    )
    dying: list[list[Variable]] = [[] for _ in range(n)]
    for variable, at in trace.dying.items():
        if at >= 0:
            dying[at].append(variable)
    swept = [i for i, flag in enumerate(trace.is_sweep[:n]) if flag]
    n_forward = n
    if swept and not trace.is_sweep[0]:
        last = max(i for i in range(n) if not trace.is_sweep[i])
        n_forward = last + 1
    return Lifetimes(graph, dying, n_forward, len(leaves), results)
