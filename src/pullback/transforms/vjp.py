"""Reverse mode: record what each primitive keeps, then sweep cotangents backward.

Linnainmaa (1970); Griewank & Walther (2008), *Evaluating Derivatives*, chapter 3.2. The tape is
the web of :class:`Node` objects, each holding the declared residuals of one operation and nothing
else, so whatever no rule needs is freed as soon as the user's code drops it.
"""

from __future__ import annotations

from collections.abc import Sequence
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

    Later nodes have larger indices. Nodes are told apart by identity, not by type.
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

    __slots__ = ("origin", "params", "parents", "primitive", "saved")

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
        rules: Any = self.primitive.vjp
        last = len(rules) - 1
        cts: list[Any] = []
        for i, parent in enumerate(self.parents):
            if parent is None:
                cts.append(None)
            else:
                rule = rules[i if i < last else last]
                cts.append(rule(ct, parent, self.saved, self.params))
        return cts


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

    ``keeps`` are the operand positions to save, ``keep_output`` whether the output is saved, and
    ``dropped`` the differentiable operands through which no derivative flows.
    """

    __slots__ = ("dropped", "is_constant", "keep_output", "keeps")

    def __init__(self, primitive: Primitive, parents: Sequence[Node | None]) -> None:
        n = len(parents)
        needed = [i for i, parent in enumerate(parents) if parent is not None]
        rules = {i: primitive.rule(i) for i in needed}
        self.dropped = tuple(i for i in needed if not isinstance(rules[i], Rule))
        self.is_constant = len(self.dropped) == len(needed)
        kept = {k for rule in rules.values() if isinstance(rule, Rule) for k in rule.residuals(n)}
        self.keep_output = OUTPUT in kept
        self.keeps = tuple(sorted(kept - {OUTPUT}))


class VJPTrace(Trace):
    """``array.value`` is the primal, ``array.aux`` its node."""

    name = "grad"

    def __init__(self) -> None:
        super().__init__()
        self.counter = count()
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

    def shape_of(self, array: Array) -> Shape:
        shape: Shape = array.aux.shape
        return shape

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        primals: list[Any] = []
        parents: list[Node | None] = []
        guard = self.guard
        nested = False
        mask = 1  # one bit per operand: is it differentiable?
        for a in args:
            if type(a) is Array:
                if a.trace is self:
                    parents.append(a.aux)
                    mask = mask << 1 | 1
                    a = a.value
                    if type(a) is Array:
                        nested = True
                    primals.append(a)
                    continue
                a = a.value if a.trace is EVALUATE else a.frozen()
                nested = nested or type(a) is Array
            elif type(a) is np.ndarray:
                guard.foreign(a)
            parents.append(None)
            mask <<= 1
            primals.append(a)
        if type(primitive.vjp) is not tuple:
            joint = JointNode(next(self.counter), primitive, parents, params, origin(4))
            return self.process_jointly(joint, primals)
        plan = primitive.plans.get(mask)
        if plan is None:
            plan = primitive.plans[mask] = Plan(primitive, parents)
        node = OperationNode(next(self.counter), primitive, parents, params, origin(4))
        node.saved = saved = [None] * (len(primals) + 1)
        for position in plan.keeps:
            saved[position] = value = primals[position]
            guard.keep(value, node.origin)
        try:
            y = bind(primitive, primals, params) if nested else primitive.numpy(*primals, **params)
            node.shape = y.shape
            node.dtype = dtype = y.dtype
        except PullbackError:
            raise
        except (ValueError, TypeError) as error:
            raise at_source(error, node, primals) from error
        if dtype.kind != "f":
            type_of(y)
        if plan.dropped:
            if plan.is_constant:
                return constant(y)
            node.parents = [None if i in plan.dropped else p for i, p in enumerate(parents)]
        if plan.keep_output:
            saved[OUTPUT] = y
            guard.keep(y, node.origin)
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


def reachable(outputs: Sequence[Node]) -> list[Node]:
    """All nodes that the outputs depend on, latest first."""
    seen = set(outputs)
    stack = list(seen)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    return sorted(seen, key=lambda node: -node.index)


def backward(outputs: Sequence[tuple[Node, Any]], inputs: Sequence[Node]) -> list[Any]:
    """Sweep cotangents from ``outputs`` to ``inputs``; ``None`` where nothing arrives.

    Every node is visited once, after all its users (latest first), and fan-out accumulates.
    """
    cts: dict[Node, Any] = {}
    for node, ct in outputs:
        cts[node] = ct if node not in cts else cts[node] + ct
    wanted = set(inputs)
    for node in reachable([node for node, _ in outputs]):
        if node in wanted:
            continue
        ct = cts.pop(node, None)
        if ct is None:
            continue
        if type(node) is PartNode:
            whole = node.parents[0]
            cts.setdefault(whole, [None] * whole.n_outputs)[node.output] = ct
            continue
        for parent, part in zip(node.parents, node.pull(ct), strict=True):
            if parent is not None and part is not None:
                before = cts.get(parent)
                cts[parent] = part if before is None else before + part
    return [cts.get(node) for node in inputs]
