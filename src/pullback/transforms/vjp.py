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
from pullback.core.primitive import OUTPUT, ForwardRule, Marker, Primitive
from pullback.core.source import Source, here
from pullback.core.types import type_of
from pullback.errors import DTypeError, PullbackError, ShapeError, TracedValueError

__all__ = ["Node", "VJPTrace", "backward"]


class Node:
    """One differentiable operation on the tape.

    ``parents[i]`` is the node of operand ``i`` (``None``: constant), ``types[i]`` its type,
    ``saved`` the operands and, last, the output, with ``None`` for all that is not a residual.
    """

    __slots__ = (
        "index",
        "n_outputs",
        "output",
        "params",
        "parents",
        "primitive",
        "saved",
        "source",
        "types",
    )

    def __init__(
        self,
        index: int,
        primitive: Primitive | None,
        parents: Sequence[Node | None],
        params: dict[str, Any],
        source: Source | None,
    ) -> None:
        self.index = index
        self.primitive = primitive
        self.parents = parents
        self.params = params
        self.source = source
        self.types: list[Any] = []
        self.saved: Any = ()
        self.n_outputs = 1
        self.output: int | None = None  # position, on the nodes of the parts of a multiple output

    def pull(self, ct: Any) -> Sequence[Any]:
        """One cotangent (or ``None``: zero) per parent."""
        assert self.primitive is not None
        vjp = self.primitive.vjp
        if type(vjp) is tuple:
            last = len(vjp) - 1
            return [
                None
                if parent is None
                else vjp[i if i < last else last](ct, self.types[i], self.saved, self.params)  # type: ignore[operator]
                for i, parent in enumerate(self.parents)
            ]
        needs = [parent is not None for parent in self.parents]
        if isinstance(vjp, ForwardRule):
            return vjp.backward(self.saved, ct, needs, self.types, self.params)
        return vjp(ct, self.types, needs, self.params)  # type: ignore[operator]


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
        node = Node(next(self.counter), None, (), {}, None)
        self.leaves.append(node)
        return Array(self, value, node)

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:  # noqa: C901
        primals: list[Any] = []
        parents: list[Node | None] = []
        for a in args:
            if type(a) is Array:
                if a.trace is self:
                    primals.append(a.value)
                    parents.append(a.aux)
                    continue
                a = a.value if a.trace is EVALUATE else a.frozen()
            if type(a) is np.ndarray:
                self.guard.foreign(a)
            primals.append(a)
            parents.append(None)
        node = Node(next(self.counter), primitive, parents, params, here())
        vjp = primitive.vjp
        if type(vjp) is not tuple:
            return self.process_jointly(node, vjp, primals)
        n, last = len(parents), len(vjp) - 1
        saved: list[Any] = [None] * (n + 1)
        types: list[Any] = [None] * n
        keep_output = differentiable = False
        for i, parent in enumerate(parents):
            if parent is None:
                continue
            rule = vjp[i if i < last else last]
            if type(rule) is Marker:
                primitive.rule(i)
                parents[i] = None
                continue
            differentiable = True
            types[i] = type_of(primals[i])
            for position in rule.reads if rule.rest is None else rule.residuals(n):  # type: ignore[union-attr]
                if position == OUTPUT:
                    keep_output = True
                elif saved[position] is None:
                    saved[position] = primals[position]
                    self.guard.keep(primals[position], node.source)
        y = self.compute(node, primals)
        if not differentiable:
            return constant(y)
        if keep_output:
            saved[OUTPUT] = y
            self.guard.keep(y, node.source)
        node.saved, node.types = saved, types
        return Array(self, y, node)

    def process_jointly(self, node: Node, vjp: Any, primals: list[Any]) -> Any:
        """Primitives with one rule for all operands: loops, calls, concatenation."""
        node.types = [type_of(value) for value in primals]
        node.parents = [
            parent if type.dtype.kind == "f" else None
            for parent, type in zip(node.parents, node.types, strict=True)
        ]
        if isinstance(vjp, ForwardRule):
            needs = [parent is not None for parent in node.parents]
            y, node.saved = vjp.forward(primals, needs, node.params)
            for value in node.saved:
                self.guard.keep(value, node.source)
        else:
            y = self.compute(node, primals)
        if not node.primitive.multiple:  # type: ignore[union-attr]
            return Array(self, y, node)
        if any(type(part) is Array and part.trace is self for part in y):
            raise TracedValueError(
                f"{node.params.get('rules', node.primitive)} reads a traced value from outside, which "
                "its rule cannot see",
                where=str(node.source), fix="pass the value as an argument")
        node.n_outputs = len(y)
        return tuple(self.part(node, i, value) for i, value in enumerate(y))

    def part(self, node: Node, i: int, value: Any) -> Any:
        if type_of(value).dtype.kind != "f":
            return constant(value)
        part = Node(next(self.counter), None, (node,), {}, None)
        part.output = i
        part.types = [type_of(value)]
        return Array(self, value, part)

    def compute(self, node: Node, primals: list[Any]) -> Any:
        """Value of the operation, one level further out; errors name the user's line."""
        primitive = node.primitive
        assert primitive is not None
        try:
            y = bind(primitive, primals, node.params)
        except PullbackError:
            raise
        except (ValueError, TypeError) as error:
            kind = ShapeError if isinstance(error, ValueError) else DTypeError
            raise kind(
                f"{primitive.name}: {error}",
                where=str(node.source),
                details=[f"operands: {', '.join(str(type_of(p)) for p in primals)}"],
            ) from error
        if y.dtype.kind not in "fbiu":
            type_of(y)
        return y


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
        if node.output is not None:
            parent = node.parents[0]
            assert parent is not None
            parts = cts.setdefault(parent, [None] * parent.n_outputs)
            parts[node.output] = ct
            continue
        for parent, part in zip(node.parents, node.pull(ct), strict=True):
            if parent is not None and part is not None:
                before = cts.get(parent)
                cts[parent] = part if before is None else before + part
    return [cts.get(node) for node in inputs]
