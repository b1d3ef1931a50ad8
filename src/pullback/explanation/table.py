"""``explain``: from a recording to rows.

A row is a value that the user named, a differentiated argument, or a value that is read more than
once; everything between two rows is written into the formula of the row that reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from pullback.analysis.cost import Cost, cost, equation_cost, is_view
from pullback.analysis.liveness import peak_bytes
from pullback.core.graph import Equation, Literal, Variable
from pullback.explanation.differences import differences
from pullback.explanation.formula import Text, atom, constant, expression
from pullback.explanation.record import Operand, Recording, label, record
from pullback.explanation.report import Report
from pullback.explanation.rows import Dependency, Row

__all__ = ["explain"]

LONGEST_FORMULA = 60  # longer ones are cut into rows of their own
LONGEST_QUOTE = 24  # a kept value without a name goes by its formula up to this length


def explain(
    fun: Callable[..., Any], *args: Any, argnums: int | Sequence[int] = 0, **kwargs: Any
) -> Report:
    """Show how the gradient of ``fun`` at ``args`` is computed: the backward table.

    Each value that your code names is a row: how it is computed, and, in reverse order, how its
    gradient is, what that reads (residuals kept from the forward run are marked *cached*, those of
    a checkpoint *recomputed*), its shape, your line, and what it costs. Formulas are NumPy
    expressions in which ``dL/dz`` stands for the row of that name.

    Args:
        fun: returns one floating-point array. If it is no scalar, the sum of its elements is
            differentiated.
        args: the point; containers of arrays.
        argnums: position(s) of the differentiated arguments.
        kwargs: passed on to ``fun``.

    Returns:
        A report: ``print`` it, index it by a name (``report["z2"].value``), or read ``rows``.

    Raises:
        NotDifferentiableError: if the output does not depend on the arguments.
        ArgumentError: if there are several outputs.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def loss(w, x):
    ...     z = x @ w
    ...     return np.sum(np.tanh(z))
    >>> report = pb.explain(loss, np.zeros(3), np.ones((2, 3)))
    >>> for row in report.rows:
    ...     print(row.name, "=", row.formula, row.value)
    dloss/dz = 1 - tanh(z) * tanh(z) [1. 1.]
    dloss/dw = x.T @ dloss/dz [2. 2. 2.]
    """
    run = record(fun, args, argnums, kwargs)
    table = Table(run)
    return Report(
        title=title(run, label(fun)),
        forward=tuple(table.forward_rows),
        rows=tuple(table.backward_rows),
        forward_cost=cost(run.forward),
        backward_cost=cost(run.backward) + cost(run.again),
        residual_bytes=table.residual_bytes(),
        peak_bytes=peak_bytes(run.graph),
        compare=table.compare,
    )


def title(run: Recording, function: str) -> str:
    value = np.asarray(run.values[run.output])
    name = run.output_name if run.output_name == function else f"{function}: {run.output_name}"
    if value.size == 1:
        return f"{name} = {value.item():.6g}"
    return f"{name} is {run.output.type}; the sum of its elements is differentiated"


class Pending:
    """A formula in the making: its text, its lines, and the equations that no row has counted."""

    def __init__(
        self, text: Text, lines: Sequence[str] = (), equations: list[Equation] | None = None
    ) -> None:
        self.text = text
        self.lines = lines
        self.equations = [] if equations is None else equations


class Table:
    """Rows of both passes.

    ``symbols`` holds the name of each variable that has a row; ``quoted`` the formulas that stand
    for values without one.
    """

    def __init__(self, run: Recording) -> None:
        self.run = run
        self.symbols: dict[Variable, str] = {}
        self.pending: dict[Variable, Pending] = {}
        self.quoted: dict[Variable, Text] = {}
        self.later: dict[Variable, Text] = {}
        self.owners = owners_of_cotangents(run)
        self.forward_rows: list[Row] = []
        self.backward_rows: list[Row] = []
        self.taken: Counter[str] = Counter()
        self.computed = {v for e in run.forward for v in e.outputs}
        self.numbers = (f"t{i}" for i in count(1))
        self.name_inputs()
        self.write_forward()
        self.write_backward()

    # -- names --------------------------------------------------------------------------------
    def unique(self, name: str) -> str:
        """The name, or ``h#2`` for the second value that the user calls ``h``."""
        self.taken[name] += 1
        return name if self.taken[name] == 1 else f"{name}#{self.taken[name]}"

    def temporary(self) -> str:
        used = set(self.run.names.values()) | set(self.taken)
        return self.unique(next(name for name in self.numbers if name not in used))

    def name_inputs(self) -> None:
        run = self.run
        for variable, path in run.arguments.items():
            self.symbols[variable] = self.unique(path)
        for variable in run.graph.inputs:
            if variable in self.symbols:
                continue
            one = self.uniform(variable)
            if one is not None and variable not in run.names:
                self.quoted[variable] = one
            else:
                self.symbols[variable] = self.unique(run.names.get(variable, "constant"))

    # -- formulas -----------------------------------------------------------------------------
    def text(self, operand: Operand) -> Text:
        if isinstance(operand, Literal):
            return constant(operand.value, ())
        if operand in self.quoted:
            return self.quoted[operand]
        if operand in self.symbols:
            return atom(self.symbols[operand], operand)
        return self.pending[operand].text

    def add(self, equation: Equation, line: str | None) -> None:
        """Make an equation pending, with all that waits for it."""
        operands = [self.text(v) for v in equation.inputs]
        lines: dict[str, None] = {}
        equations: list[Equation] = []  # one list for all outputs: the first row to come counts it
        for v in equation.inputs:
            if isinstance(v, Variable) and v in self.pending:
                lines |= dict.fromkeys(self.pending[v].lines)
                equations += self.pending[v].equations
                self.pending[v].equations.clear()
        equations.append(equation)
        lines |= {line: None} if line else {}
        for i, variable in enumerate(equation.outputs):
            text = self.uniform(variable) if all(t.is_number for t in operands) else None
            text = text or expression(equation, operands)
            if equation.primitive.multiple:
                text = Text(f"{text.body}[{i}]", text.level, variable.type.shape, text.atoms)
            self.pending[variable] = Pending(text, list(lines), equations)

    def uniform(self, variable: Variable) -> Text | None:
        """The value as a number, if all its elements are equal."""
        value = np.asarray(self.run.values[variable])
        if not value.size or not np.all(value == value.flat[0]):
            return None
        return constant(value.flat[0], value.shape)

    def is_free(self, equation: Equation) -> bool:
        """Whether the formula may be written twice: numbers and moved elements."""
        text = self.text(equation.outputs[0])
        moves = is_view(equation.primitive) or len(text.body) <= LONGEST_QUOTE
        return text.is_number or (moves and not equation_cost(equation).flops)

    def row(self, variable: Variable, name: str, step: str) -> Row:
        """Close the pending formula of ``variable``; from now on it goes by ``name``."""
        waiting = self.pending.pop(variable, None) or Pending(self.text(variable))
        equations = waiting.equations.copy()
        waiting.equations.clear()
        return Row(
            name=name,
            step=step,
            formula=str(waiting.text),
            type=variable.type,
            primitives=tuple(e.primitive.name for e in equations),
            depends=tuple(map(self.dependency, waiting.text.atoms)),
            lines=tuple(waiting.lines),
            cost=cost(equations),
            value=np.asarray(self.run.values[variable]),
        )

    def dependency(self, variable: Variable) -> Dependency:
        kind: Any = "cached"
        if variable in self.run.recomputed:
            kind = "recomputed"
        elif variable in self.run.arguments:
            kind = "argument"
        elif variable not in self.computed and variable not in self.run.graph.inputs:
            kind = "cotangent"
        quoted = self.quoted.get(variable)
        name = self.symbols[variable] if quoted is None else str(quoted)
        return Dependency(name, kind, variable.type.nbytes)

    # -- the two passes -----------------------------------------------------------------------
    def write_forward(self) -> None:
        run = self.run
        uses = uses_of(run.forward)
        read_later = {v for e in run.backward for v in e.inputs}
        named = {*run.names, run.output, *self.owners.values()}
        for equation in run.forward:
            self.add(equation, equation.source.short if equation.source else None)
            for variable in equation.outputs:
                length = len(self.text(variable).body)
                needed = uses[variable] > 1 or variable in read_later
                shared = length > LONGEST_QUOTE and needed and not self.is_free(equation)
                if variable in named or shared or (uses[variable] and length > LONGEST_FORMULA):
                    self.write_forward_row(variable)
                elif variable in read_later and not self.is_free(equation):
                    read = self.text(variable)
                    self.later[variable] = Text(
                        read.body, read.level, read.shape, (variable,), read.scale
                    )
        self.quoted |= self.later

    def write_forward_row(self, variable: Variable) -> None:
        given = self.run.names.get(variable)
        if variable is self.run.output:
            given = self.run.output_name
        name = self.unique(given) if given else self.temporary()
        self.forward_rows.append(self.row(variable, name, name))
        self.symbols[variable] = name

    def write_backward(self) -> None:
        run, out = self.run, self.run.output_name
        uses = uses_of(run.backward)
        steps = self.owners
        helpers = (f"s{i}" for i in count(1))
        rows: dict[Variable, list[Row]] = {}
        waiting: list[Row] = []
        for equation, source in zip(run.backward, run.origins, strict=True):
            self.add(equation, source.short if source else None)
            for variable in equation.outputs:
                text = self.text(variable)
                if variable in steps:
                    step = self.symbols[steps[variable]]
                    name = f"d{out}/d{step}"
                    rows[steps[variable]] = [*waiting, self.row(variable, name, step)]
                    waiting = []
                    self.symbols[variable] = name
                elif (
                    uses[variable]
                    and not self.is_free(equation)
                    and (uses[variable] > 1 or len(text.body) > LONGEST_FORMULA)
                ):
                    name = self.unique(next(n for n in helpers if n not in self.taken))
                    waiting.append(self.row(variable, name, name))
                    self.symbols[variable] = name
        for variable in targets(run):
            if variable not in rows:
                rows[variable] = [self.plain_row(variable)]
        self.backward_rows = [row for v in self.order() for row in rows.get(v, ())]

    def plain_row(self, variable: Variable) -> Row:
        """A gradient that equals another one, is a number, or is zero for lack of a path."""
        step = self.symbols[variable]
        name = f"d{self.run.output_name}/d{step}"
        ct = self.run.cotangents.get(variable)
        if isinstance(ct, Variable):
            row = self.row(ct, name, step)
            readers = [e.source for e in self.run.forward if variable in e.inputs]
            lines = dict.fromkeys(source.short for source in readers if source)
            return replace(row, lines=row.lines or tuple(lines))
        zero = np.zeros(variable.type.shape, variable.type.dtype)
        formula = str(constant(0.0, zero.shape))
        return Row(name, step, formula, variable.type, (), (), (), Cost(), zero)

    def order(self) -> list[Variable]:
        """Steps from last to first, each followed by the arguments that it reads first of all."""
        first_reader: dict[Variable, int] = {}
        rank = {}
        at = 0
        for equation in self.run.forward:
            for v in equation.inputs:
                if v in self.run.arguments:
                    first_reader.setdefault(v, at)
            for v in equation.outputs:
                rank[v] = at
                if v in self.symbols:
                    at += 1
        arguments = {v: i for i, v in enumerate(self.run.arguments)}

        def key(v: Variable) -> tuple[int, int]:
            if v in arguments:
                return -first_reader.get(v, -1), 1 + arguments[v]
            return -rank.get(v, 0), 0

        return sorted(self.symbols, key=key)

    def compare(self, step: str) -> Any:
        """The gradient of a value by central differences; ``None`` where that costs much."""
        for variable, name in self.symbols.items():
            if name == step and variable in self.run.values:
                return differences(self.run, variable)
        return None

    def residual_bytes(self) -> int:
        """Memory of computed values that the backward pass reads, each counted once."""
        read = {v for e in self.run.backward for v in e.inputs}
        kept = (read & self.computed) - self.run.recomputed
        return sum(v.type.nbytes for v in kept if isinstance(v, Variable))


def uses_of(equations: Iterable[Equation]) -> Counter[Operand]:
    return Counter(v for e in equations for v in e.inputs if isinstance(v, Variable))


def targets(run: Recording) -> list[Variable]:
    """What has a gradient row in any case: values that the user named, and the arguments."""
    named = [v for v in run.cotangents if v in run.names or v in run.arguments]
    return [v for v in dict.fromkeys((*named, *run.arguments)) if v is not run.output]


def owners_of_cotangents(run: Recording) -> dict[Operand, Variable]:
    """Computed cotangents that get a row, each with the value whose gradient it is called.

    One cotangent can belong to several values (a sum hands it on): the first that is a target
    owns it. A cotangent without a target has a row if it is read more than once.
    """
    owners: dict[Operand, Variable] = {}
    for variable in targets(run):
        if variable in run.cotangents:
            owners.setdefault(run.cotangents[variable], variable)
    uses = uses_of(run.backward)
    computed = {v for e in run.backward if equation_cost(e).flops for v in e.outputs}
    for variable, ct in run.cotangents.items():
        if ct in computed and uses[ct] > 1 and variable is not run.output:
            owners.setdefault(ct, variable)
    return owners
