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

from pullback.core.array import Array, bind, weakly
from pullback.core.guard import Guard
from pullback.core.primitive import OUTPUT, ForwardRule, Primitive, Rule, refusal
from pullback.core.source import here
from pullback.core.trace import EVALUATE, Trace
from pullback.core.types import ArrayType, Shape, is_differentiable, type_of
from pullback.errors import PullbackError, TracedValueError

__all__ = ["Node", "VJPTrace", "backward"]

Pull = Callable[..., Any]  # (ct, type of the operand, saved, params) -> cotangent of the operand
Arrive = Callable[["Node", Any], None]


class Node(ArrayType):
    """A differentiable value on the tape: its type and its history. By itself, an input.

    Later nodes have smaller indices. Nodes are told apart by identity, not by type.
    """

    __slots__ = ("index",)

    parents: Sequence[Any] = ()  # nodes; None for a constant operand
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, index: int, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.index = index
        self.shape = shape
        self.dtype = dtype

    def pull(self, ct: Any, arrive: Arrive) -> None:
        """Send its part of the cotangent ``ct`` to each parent."""


class OperationNode(Node):
    """The output of one operation with a rule per operand.

    ``parents`` are the nodes of its traced operands and ``rules`` the rule of each; ``saved`` the
    operands and, last, the output, with ``None`` for all that is not a residual.
    """

    __slots__ = ("params", "parents", "rules", "saved")

    def __init__(
        self,
        index: int,
        y: Any,
        rules: Sequence[Pull | None],
        parents: list[Node],
        saved: list[Any],
        params: dict[str, Any],
    ) -> None:
        self.index = index
        self.shape = y.shape
        self.dtype = y.dtype
        self.rules = rules
        self.parents = parents
        self.saved = saved
        self.params = params

    def pull(self, ct: Any, arrive: Arrive) -> None:
        saved, params = self.saved, self.params
        for rule, parent in zip(self.rules, self.parents, strict=True):
            if rule is not None:
                arrive(parent, rule(ct, parent, saved, params))


class JointNode(Node):
    """An operation with one rule for all operands, and possibly several outputs.

    The cotangent of several outputs is a tuple of pairs (output, its cotangent).
    """

    __slots__ = ("n_outputs", "params", "parents", "primitive", "saved", "types")

    saved: Any

    def __init__(
        self,
        index: int,
        primitive: Primitive,
        parents: Sequence[Node | None],
        types: list[ArrayType],
        params: dict[str, Any],
    ) -> None:
        self.index = index
        self.primitive = primitive
        self.parents = parents
        self.types = types
        self.params = params
        self.n_outputs = 1

    @property
    def needs(self) -> list[bool]:
        return [parent is not None for parent in self.parents]

    def pull(self, ct: Any, arrive: Arrive) -> None:
        if self.primitive.multiple:
            arrived = dict(ct)
            ct = [arrived.get(i) for i in range(self.n_outputs)]
        vjp = self.primitive.vjp
        if isinstance(vjp, ForwardRule):
            parts = vjp.backward(self.saved, ct, self.needs, self.types, self.params)
        else:
            parts = vjp(ct, self.types, self.needs, self.params)  # type: ignore[operator]
        for parent, part in zip(self.parents, parts, strict=True):
            if parent is not None and part is not None:
                arrive(parent, part)


class PartNode(Node):
    """One of several outputs of a :class:`JointNode`."""

    __slots__ = ("output", "parents")

    def __init__(
        self, index: int, shape: Shape, dtype: np.dtype[Any], whole: JointNode, output: int
    ) -> None:
        super().__init__(index, shape, dtype)
        self.parents = (whole,)
        self.output = output

    def pull(self, ct: Any, arrive: Arrive) -> None:
        arrive(self.parents[0], ((self.output, ct),))


class Plan:
    """What one use of a primitive keeps; ``mask`` has a leading one and a bit per operand: traced?

    ``rules`` has, by the kind of dtype of a differentiable result, the rule of each traced operand,
    ``None`` where no derivative flows; it is empty if none flows at all. ``keeps`` are the operands
    that the rules read, as pairs (position, whether it is a constant).
    """

    __slots__ = ("keep_output", "keeps", "rules")

    def __init__(self, primitive: Primitive, mask: int) -> None:
        traced = [bit == "1" for bit in f"{mask:b}"[1:]]
        given = [primitive.rule(i) for i, is_traced in enumerate(traced) if is_traced]
        rules = [rule if isinstance(rule, Rule) else None for rule in given]
        kept = {k for rule in rules if rule is not None for k in rule.residuals(len(traced))}
        self.rules: dict[str, tuple[Pull | None, ...]] = {}
        if any(rules):
            self.rules["f"] = tuple(None if rule is None else rule.pull() for rule in rules)
            self.rules["c"] = tuple(None if rule is None else rule.__call__ for rule in rules)
        self.keep_output = OUTPUT in kept
        self.keeps = tuple((k, not traced[k]) for k in sorted(kept - {OUTPUT}))


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
        node = Node(0, value.shape, value.dtype)
        self.leaves.append(node)
        return Array(self, value, node)

    def type_of(self, array: Array) -> ArrayType:
        return ArrayType(array.aux.shape, array.aux.dtype, self.is_weak(array))

    def dtype_of(self, array: Array) -> np.dtype[Any]:
        dtype: np.dtype[Any] = array.aux.dtype
        return dtype

    def shape_of(self, array: Array) -> Shape:
        shape: Shape = array.aux.shape
        return shape

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        if type(primitive.vjp) is not tuple:
            return self.process_jointly(primitive, args, params)
        primals, parents, mask = [], [], 1  # the mask has a leading one, then a bit per operand
        for a in args:
            if type(a) is Array and a.traced_by is self:
                primals.append(a.value)
                parents.append(a.aux)
                mask += mask + 1
            else:
                primals.append(a)
                mask += mask
        plan = primitive.plans.get(mask)
        if plan is None:
            plan = primitive.plans[mask] = Plan(primitive, mask)
        saved = [None] * (len(primals) + 1)
        for position, is_constant in plan.keeps:
            saved[position] = value = primals[position]
            if type(value) is np.ndarray and (
                is_constant or value.base is not None or id(value) in self.guard.owners
            ):
                self.guard.keep(value, is_constant)
        y = self.evaluate(primitive, primals, params)
        rules = plan.rules.get(y.dtype.kind)
        if rules is None:
            return constant(y)
        if plan.keep_output:
            saved[OUTPUT] = y
            if type(y) is np.ndarray and (y.base is not None or id(y) in self.guard.owners):
                self.guard.keep(y)
        node = OperationNode(next(self.counter), y, rules, parents, saved, params)
        return Array(self, y, node)

    def evaluate(self, primitive: Primitive, primals: Sequence[Any], params: dict[str, Any]) -> Any:
        """Apply ``primitive`` one level further out; NumPy's errors get the user's line."""
        try:
            if self.level == 1:
                return primitive.numpy(*weakly(primitive, primals), **params)
            return bind(primitive, primals, params)
        except (PullbackError, np.linalg.LinAlgError):
            raise
        except (ValueError, TypeError) as error:
            raise refusal(primitive, map(type_of, primals), error) from error

    def process_jointly(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        """Primitives with one rule for all operands: loops, calls, concatenation."""
        own = [type(a) is Array and a.traced_by is self for a in args]
        primals = [a.value if mine else a for a, mine in zip(args, own, strict=True)]
        parents = [a.aux if mine else None for a, mine in zip(args, own, strict=True)]
        types = [type_of(value) for value in primals]
        node = JointNode(next(self.counter), primitive, parents, types, params)
        if isinstance(primitive.vjp, ForwardRule):
            y, node.saved = primitive.vjp.forward(primals, node.needs, params)
            constants = {id(a) for a, mine in zip(args, own, strict=True) if not mine}
            for value in node.saved:
                self.guard.keep(value, primitive.vjp.is_foreign or id(value) in constants)
        else:
            y = self.evaluate(primitive, primals, params)
        if not primitive.multiple:
            node.shape, node.dtype = y.shape, y.dtype
            return Array(self, y, node)
        if any(type(part) is Array and part.traced_by is self for part in y):
            raise TracedValueError(
                f"{params.get('rules', primitive)} reads a traced value from outside, "
                "which its rule cannot see",
                where=str(here()),
                fix="pass the value as an argument",
            )
        node.n_outputs = len(y)
        return tuple(self.part(node, i, value) for i, value in enumerate(y))

    def part(self, whole: JointNode, i: int, value: Any) -> Any:
        if not is_differentiable(value.dtype):
            return constant(value)
        node = PartNode(next(self.counter), value.shape, value.dtype, whole, i)
        return Array(self, value, node)


def constant(y: Any) -> Any:
    """A result without derivative: integers and booleans plain, floats as a writable buffer."""
    if not is_differentiable(y.dtype):
        type_of(y)  # refuses what no operation takes
    elif type(y) is np.ndarray:
        return Array(EVALUATE, y)
    return y


def backward(
    outputs: list[tuple[Node, Any]],
    inputs: Sequence[Node],
    watch: Callable[[Node, Any], None] | None = None,
) -> list[Any]:
    """Sweep cotangents from ``outputs`` to ``inputs``; ``None`` where nothing arrives.

    A heap hands out the latest node that has a cotangent; all its users came later, so its
    cotangent is complete. Fan-out accumulates. ``watch`` sees each computed value's cotangent
    before it is pulled back. The list ``outputs`` is emptied: a node that nobody else holds is
    freed with its residuals as soon as it is pulled back.
    """
    cts: dict[Node, Any] = {}
    heap: list[tuple[int, Node]] = []

    def arrive(node: Node, ct: Any) -> None:
        before = cts.get(node)
        if before is not None:
            cts[node] = before + ct
            return
        cts[node] = ct
        if node.parents:
            heappush(heap, (node.index, node))

    while outputs:
        arrive(*outputs.pop())
    while heap:
        node = heappop(heap)[1]
        ct = cts.pop(node)
        if watch is not None:
            watch(node, ct)
        node.pull(ct, arrive)
    return [cts.get(node) for node in inputs]
