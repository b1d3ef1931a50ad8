"""Loop fission: matrix products leave a scan, so that one large product takes the place of many.

A product of a row and a constant is computed for all steps before the loop. One that only becomes
an output, or is only added to a sum that goes round, is computed after it, from the stacked
operands. This changes the order of additions, so it is for the compiler alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pullback.core.graph import Equation, Graph, Operand, Variable
from pullback.core.primitive import registry
from pullback.core.source import Source
from pullback.core.types import ArrayType
from pullback.transforms.passes.dce import dce
from pullback.transforms.passes.pipeline import with_bodies

__all__ = ["fission"]

MOST_STACKED = 2  # times the bytes that the scan has stacked already


def fission(graph: Graph) -> Graph:
    """An equal graph, up to rounding, whose scans have fewer products in them."""
    equations: list[Equation] = []
    for equation in graph.equations:
        equation = with_bodies(equation, fission)
        if equation.primitive.name == "scan" and equation.params["length"] > 1:
            equations += Scan(equation).split()
        else:
            equations.append(equation)
    return Graph(graph.inputs, tuple(equations), graph.outputs)


class Scan:
    """A scan that is taken apart: equations before it, those of its body, equations after it."""

    def __init__(self, scan: Equation) -> None:
        self.scan = scan
        self.length: int = scan.params["length"]
        body: Graph = scan.params["body"]
        n, m = scan.params["n_constants"], scan.params["n_carry"]
        self.constants, self.carries = body.inputs[:n], body.inputs[n : n + m]
        self.rows = list(body.inputs[n + m :])
        self.outer: dict[Operand, Operand] = dict(zip(body.inputs, scan.inputs, strict=True))
        self.makers: dict[Operand, Equation] = {v: e for e in body.equations for v in e.outputs}
        self.uses = Counter(v for e in body.equations for v in e.inputs) + Counter(body.outputs)
        self.body = list(body.equations)
        self.outputs = dict(zip(scan.outputs, body.outputs, strict=True))
        self.stacks: dict[Operand, Operand] = {v: self.outer[v] for v in self.rows}
        for out, v in list(self.outputs.items())[m:]:
            self.stacks[v] = out
        self.room: int = MOST_STACKED * sum(v.type.nbytes for v in self.stacks.values())
        self.before: list[Equation] = []
        self.after: list[Equation] = []

    def split(self) -> list[Equation]:
        for equation in list(self.body):
            if equation.primitive.name == "matmul":
                self.compute_before(equation)
        n_carry = len(self.carries)
        late = list(zip(self.scan.outputs, self.scan.params["body"].outputs, strict=True))
        for (out, value), carry in zip(late[:n_carry], self.carries, strict=True):
            self.sum_after(out, value, carry)
        for out, value in late[n_carry:]:
            self.compute_after(out, value)
        return [*self.before, self.rest(), *self.after]

    # -- parts --------------------------------------------------------------------------------
    def compute_before(self, product: Equation) -> None:
        """Rows times a constant: ``x[t] @ w`` or ``w @ x[t]``."""
        left, right = product.inputs
        if left in self.rows and left.type.ndim <= 2 and right.type.ndim == 2:
            x, w = left, self.constant(right)
        elif right in self.rows and right.type.ndim == 1 and left.type.ndim == 2:
            x, w = right, self.constant(left, is_transposed=True)
        else:
            return
        if w is None or not self.take(product.outputs[0].type):
            return
        (stack,) = self.add(self.before, product, [self.outer[x], w])
        (row,) = product.outputs
        self.body.remove(product)
        self.rows.append(row)
        self.outer[row] = self.stacks[row] = stack

    def compute_after(self, out: Variable, value: Operand) -> None:
        """An output ``y[t] @ w`` that is read nowhere else."""
        product = self.made_by(value, "matmul")
        if product is None or self.uses[value] > 1:
            return
        left, right = product.inputs
        if left.type.ndim > 2 or right.type.ndim != 2:
            return
        w = self.constant(right)
        stack = None if w is None else self.stack(left)
        if w is not None and stack is not None:
            del self.outputs[out]
            self.after.append(replace(product, inputs=(stack, w), outputs=(out,)))

    def sum_after(self, out: Variable, value: Operand, carry: Variable) -> None:
        """A carry that becomes ``carry + a[t].T @ b[t]``, or adds rows that are stacked anyway."""
        add = self.made_by(value, "add")
        if add is None or self.uses[value] > 1 or self.uses[carry] > 1 or carry not in add.inputs:
            return
        term = add.inputs[1 - add.inputs.index(carry)]
        if self.uses[term] > 1 or term.type != carry.type:
            return
        total = self.sum_of_products(term) or self.sum_of_rows(term)
        if total is not None:
            del self.outputs[out]
            start = self.outer[carry]
            self.after.append(replace(add, inputs=(start, total), outputs=(out,)))

    def sum_of_products(self, term: Operand) -> Operand | None:
        product = self.made_by(term, "matmul")
        left = None if product is None else self.made_by(product.inputs[0], "transpose")
        if product is None or left is None or left.outputs[0].type.ndim != 2:
            return None
        a, b = (self.stack(v) for v in (left.inputs[0], product.inputs[1]))
        if a is None or b is None or b.type.ndim != 3:
            return None
        a, b = (self.joined(v, product) for v in (a, b))
        (transposed,) = self.add(self.after, left, [a])
        return self.add(self.after, product, [transposed, b])[0]

    def sum_of_rows(self, term: Operand) -> Operand | None:
        total = self.made_by(term, "sum")
        rows = None if total is None else self.stacks.get(total.inputs[0])
        if total is None or rows is None:
            return None
        axis = (0, *(i + 1 for i in total.params["axis"]))
        return self.add(self.after, total, [rows], axis=axis)[0]

    # -- pieces -------------------------------------------------------------------------------
    def made_by(self, operand: Operand, name: str) -> Equation | None:
        maker = self.makers.get(operand)
        return maker if maker is not None and maker.primitive.name == name else None

    def add(
        self, equations: list[Equation], like: Equation, inputs: Sequence[Operand], **changes: Any
    ) -> tuple[Variable, ...]:
        """An equation of the primitive of another one, on other operands."""
        return _add(equations, like.primitive.name, inputs, like.params | changes, like.source)

    def take(self, type: ArrayType) -> bool:
        """Whether there is room to stack values of this type."""
        n_bytes: int = self.length * type.nbytes
        self.room -= n_bytes
        return self.room >= 0

    def constant(self, operand: Operand, is_transposed: bool = False) -> Operand | None:
        """The matrix outside of the loop, if it is the same in every step."""
        inner = self.made_by(operand, "transpose")
        source = inner.inputs[0] if inner else operand
        if source not in self.constants:
            return None
        if (inner is None) == (not is_transposed):
            return self.outer[source]
        return _add(self.before, "transpose", [self.outer[source]], {"axes": (1, 0)}, None)[0]

    def stack(self, value: Operand) -> Operand | None:
        """The values of all steps, as a row or as an output of the scan."""
        if value not in self.stacks:
            if not isinstance(value, Variable) or not self.take(value.type):
                return None
            type = value.type
            out = Variable(ArrayType((self.length, *type.shape), type.dtype, type.weak))
            self.outputs[out], self.stacks[value] = value, out
        return self.stacks[value]

    def joined(self, stack: Operand, like: Equation) -> Variable:
        """Steps and rows as one axis."""
        n, m, k = stack.type.shape
        return _add(self.after, "reshape", [stack], {"shape": (n * m, k)}, like.source)[0]

    def rest(self) -> Equation:
        """The scan of what stays."""
        n_carry = len(self.carries)
        kept = [i for i, out in enumerate(self.scan.outputs[:n_carry]) if out in self.outputs]
        carries = [self.carries[i] for i in kept]
        inputs = (*self.constants, *carries, *self.rows)
        outputs = tuple(self.outputs)
        body = dce(Graph(inputs, tuple(self.body), tuple(self.outputs.values())))
        params = {**self.scan.params, "body": body, "n_carry": len(kept)}
        outer = tuple(self.outer[v] for v in inputs)
        return replace(self.scan, inputs=outer, outputs=outputs, params=params)


def _add(
    equations: list[Equation],
    name: str,
    inputs: Sequence[Operand],
    params: dict[str, Any],
    source: Source | None,
) -> tuple[Variable, ...]:
    type = registry[name].type_rule(*[v.type for v in inputs], **params)
    outputs = (Variable(type),)
    equations.append(Equation(registry[name], tuple(inputs), outputs, params, source))
    return outputs
