"""Reverse mode: record what each primitive keeps, then sweep cotangents backward.

Linnainmaa (1970); Griewank & Walther (2008), *Evaluating Derivatives*, chapter 3.2. The tape is
the web of :class:`Node` objects, each holding the declared residuals of one operation and nothing
else, so whatever no rule needs is freed as soon as the user's code drops it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np

from pullback.core.array import EVALUATE, Array, Trace, bind
from pullback.core.guard import Guard
from pullback.core.primitive import OUTPUT, ForwardRule, Primitive, Rule
from pullback.core.source import Origin, Source, origin
from pullback.core.types import ArrayType, Shape, type_of
from pullback.errors import DTypeError, PullbackError, ShapeError, TracedValueError

__all__ = ["Node", "VJPTrace", "backward"]


class Node(ArrayType):
    """A differentiable value on the tape: its type and its history. By itself, an input.

    Later nodes have smaller indices. Nodes are told apart by identity, not by type.
    """

    __slots__ = ("index",)

    parents: Sequence[Node | None] = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, index: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.index = index
        self.shape = shape
        self.dtype = dtype

    def pull(self, ct: Any) -> Sequence[Any]:
        """One cotangent (or ``None``: zero) per parent."""
        return ()


class OperationNode(Node):
    """The output of one operation with a rule per operand.

    ``parents[i]`` is the node of operand ``i`` (``None``: constant); ``saved`` the operands and,
    last, the output, with ``None`` for all that is not a residual.
    """

    __slots__ = ("origin", "params", "parents", "plan", "primitive", "saved")

    def __init__(
        self,
        index: int,
        primitive: Primitive,
        parents: list[Node | None],
        params: dict[str, Any],
        origin: Origin | None,
    ) -> None:
        self.index = index
        self.primitive = primitive
        self.parents = parents
        self.params = params
        self.origin = origin

    @property
    def source(self) -> Source | None:
        return None if self.origin is None else Source(*self.origin)

    def pull(self, ct: Any) -> Sequence[Any]:
        saved, params = self.saved, self.params
        return [
            None if pull is None else pull(ct, parent, saved, params)
            for pull, parent in zip(self.plan.pulls, self.parents, strict=True)
        ]


class JointNode(OperationNode):
    """An operation with one rule for all operands, and possibly several outputs."""

    __slots__ = ("n_outputs", "types")

    def pull(self, ct: Any) -> Sequence[Any]:
        needs = [parent is not None for parent in self.parents]
        vjp = self.primitive.vjp
        if isinstance(vjp, ForwardRule):
            return vjp.backward(self.saved, ct, needs, self.types, self.params)
        return vjp(ct, self.types, needs, self.params)  # type: ignore[operator]


class PartNode(Node):
    """One of several outputs of a :class:`JointNode`."""

    __slots__ = ("output", "parents")

    def __init__(
        self, index: int, shape: Shape, dtype: np.dtype[Any], whole: JointNode, output: int
    ) -> None:
        super().__init__(index, shape, dtype)
        self.parents = (whole,)
        self.output = output


class Plan:
    """What one use of a primitive keeps, given which operands are differentiable.

    ``pulls`` has the rule of each operand, ``None`` where no derivative flows; ``keeps`` are the
    operand positions that the rules read and ``drops`` those of everything else, ``-1`` being the
    output.
    """

    __slots__ = ("drops", "is_constant", "keep_output", "keeps", "pulls")

    def __init__(self, primitive: Primitive, parents: Sequence[Node | None]) -> None:
        n = len(parents)
        given = [None if p is None else primitive.rule(i) for i, p in enumerate(parents)]
        rules = [rule if isinstance(rule, Rule) else None for rule in given]
        kept = {k for rule in rules if rule is not None for k in rule.residuals(n)}
        self.pulls = tuple(None if rule is None else rule.pull() for rule in rules)
        self.is_constant = not any(rules)
        self.keep_output = OUTPUT in kept
        self.keeps = tuple(sorted(kept - {OUTPUT}))
        self.drops = tuple(sorted({OUTPUT, *range(n)} - kept))


class VJPTrace(Trace):
    """``array.value`` is the primal, ``array.aux`` its node."""

    name = "grad"

    def __init__(self) -> None:
        super().__init__()
        self.counter = count(0, -1)
        self.guard = Guard()
        self.leaves: list[Node] = []

    def input(self, value: Any) -> Array:
        if type(value) is np.ndarray:
            self.guard.foreign(value)
        type_ = type_of(value) if type(value) is Array else value
        node = Node(next(self.counter), type_.shape, type_.dtype)
        self.leaves.append(node)
        return Array(self, value, node)

    def type_of(self, array: Array) -> ArrayType:
        return ArrayType(array.aux.shape, array.aux.dtype)

    def dtype_of(self, array: Array) -> np.dtype[Any]:
        dtype: np.dtype[Any] = array.aux.dtype
        return dtype

    def shape_of(self, array: Array) -> Shape:
        shape: Shape = array.aux.shape
        return shape

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        if self.level == 1:  # every traced operand is of this trace
            primals = [a.value if type(a) is Array else a for a in args]
            parents = [a.aux if type(a) is Array else None for a in args]
        else:
            own = [type(a) is Array and a.trace is self for a in args]
            primals = [a.value if mine else a for a, mine in zip(args, own, strict=True)]
            parents = [a.aux if mine else None for a, mine in zip(args, own, strict=True)]
        if type(primitive.vjp) is not tuple:
            joint = JointNode(next(self.counter), primitive, parents, params, origin(4))
            return self.process_jointly(joint, primals)
        key = tuple(map(type, parents))
        plan = primitive.plans.get(key)
        if plan is None:
            plan = primitive.plans[key] = Plan(primitive, parents)
        node = OperationNode(next(self.counter), primitive, parents, params, origin(4))
        for position in plan.keeps:
            value = primals[position]
            if type(value) is np.ndarray and id(value) not in self.guard.kept:
                self.guard.keep(value, node.origin, parents[position] is None)
        try:
            if self.level == 1:
                y = primitive.numpy(*primals, **params)
            else:
                y = bind(primitive, primals, params)
            node.shape = y.shape
            node.dtype = dtype = y.dtype
        except PullbackError:
            raise
        except (ValueError, TypeError) as error:
            raise at_source(error, node, primals) from error
        if dtype.kind != "f":
            type_of(y)
        if plan.is_constant:
            return constant(y)
        if plan.keep_output:
            self.guard.keep(y, node.origin)
        primals.append(y)
        for position in plan.drops:
            primals[position] = None
        node.saved = primals
        node.plan = plan
        return Array(self, y, node)

    def process_jointly(self, node: JointNode, primals: list[Any]) -> Any:
        """Primitives with one rule for all operands: loops, calls, concatenation."""
        vjp = node.primitive.vjp
        node.types = [type_of(value) for value in primals]
        node.parents = [
            parent if type.dtype.kind == "f" else None
            for parent, type in zip(node.parents, node.types, strict=True)
        ]
        if isinstance(vjp, ForwardRule):
            needs = [parent is not None for parent in node.parents]
            y, node.saved = vjp.forward(primals, needs, node.params)
            for value in node.saved:
                self.guard.keep(value, node.origin)
        else:
            try:
                y = bind(node.primitive, primals, node.params)
            except PullbackError:
                raise
            except (ValueError, TypeError) as error:
                raise at_source(error, node, primals) from error
        if not node.primitive.multiple:
            node.shape, node.dtype = y.shape, y.dtype
            return Array(self, y, node)
        if any(type(part) is Array and part.trace is self for part in y):
            raise TracedValueError(
                f"{node.params.get('rules', node.primitive)} reads a traced value from outside, "
                "which its rule cannot see",
                where=str(node.source),
                fix="pass the value as an argument",
            )
        node.n_outputs = len(y)
        return tuple(self.part(node, i, value) for i, value in enumerate(y))

    def part(self, whole: JointNode, i: int, value: Any) -> Any:
        if value.dtype.kind != "f":
            return constant(value)
        node = PartNode(next(self.counter), value.shape, value.dtype, whole, i)
        return Array(self, value, node)


def at_source(error: Exception, node: OperationNode, primals: list[Any]) -> PullbackError:
    """An error of NumPy's with the user's line and the operands."""
    kind = ShapeError if isinstance(error, ValueError) else DTypeError
    return kind(
        f"{node.primitive.name}: {error}",
        where=str(node.source),
        details=[f"operands: {', '.join(str(type_of(p)) for p in primals)}"],
    )


def constant(y: Any) -> Any:
    """A result without derivative: integers and booleans plain, floats as a writable buffer."""
    if type(y) is np.ndarray and y.dtype.kind == "f":
        return Array(EVALUATE, y)
    return y


def backward(
    outputs: Sequence[tuple[Node, Any]],
    inputs: Sequence[Node],
    watch: Callable[[Node, Any], None] | None = None,
) -> list[Any]:
    """Sweep cotangents from ``outputs`` to ``inputs``; ``None`` where nothing arrives.

    A heap hands out the latest node that has a cotangent; all its users came later, so its
    cotangent is complete. Fan-out accumulates. ``watch`` sees each computed value's cotangent
    before it is pulled back.
    """
    cts: dict[Node, Any] = {}
    for node, ct in outputs:
        cts[node] = ct if node not in cts else cts[node] + ct
    heap = sorted((node.index, node) for node in cts)
    while heap:
        node = heappop(heap)[1]
        parents = node.parents
        if not parents:
            continue
        ct = cts.pop(node)
        if watch is not None:
            watch(node, ct)
        if type(node) is PartNode:
            whole: Any = parents[0]
            if whole not in cts:
                cts[whole] = [None] * whole.n_outputs
                heappush(heap, (whole.index, whole))
            cts[whole][node.output] = ct
            continue
        for parent, part in zip(parents, node.pull(ct), strict=True):
            if part is not None and parent is not None:
                before = cts.get(parent)
                if before is None:
                    cts[parent] = part
                    heappush(heap, (parent.index, parent))
                else:
                    cts[parent] = before + part
    return [cts.get(node) for node in inputs]
