"""Steps in another order, some of them more than once: how a program keeps to a budget of memory.

A step that runs again is the same kernel on other memory, so that it finds the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pullback.analysis.cost import equation_cost
from pullback.compiler.schedule.questions import is_float_product
from pullback.compiler.schedule.steps import Chain, Group, Product, Schedule, Step, aligned
from pullback.core.graph import Equation, Graph, Literal, Operand, Variable
from pullback.planner.problem import Operation, Problem, seconds_for
from pullback.planner.simulate import peak_bytes
from pullback.transforms.passes.pipeline import bodies

__all__ = ["ScheduleProblem", "allocated"]


def allocated(plan: Schedule) -> int:
    """Bytes that a call allocates: working memory, and results that lie over no input."""
    taken = {plan.alias[v] for v in plan.room if v in plan.alias}
    results = sum(v.type.nbytes for v in plan.graph.outputs if v not in taken)
    return plan.total_bytes + results


class ScheduleProblem:
    """The problem that a schedule poses, and the schedule of a sequence of its steps."""

    def __init__(self, plan: Schedule) -> None:
        self.plan = plan
        self.numbers: dict[Variable, int] = {}
        self.values: list[Variable] = []
        made = {v for step in plan.steps for part in step.parts for v in part.outputs}
        made = {plan.owner(v) for v in made if v in plan.in_memory} - plan.local
        operations = []
        for step in plan.steps:
            touched = plan.touched(step)
            own = {plan.owner(v) for part in step.parts for v in part.outputs}
            for v in touched:
                if v in own and v in made and v not in self.numbers:
                    self.numbers[v] = len(self.values)
                    self.values.append(v)
            makes = tuple(self.numbers[v] for v in touched if v in own and v in self.numbers)
            reads = tuple(self.numbers[v] for v in touched if v not in own and v in self.numbers)
            operations.append(Operation(self.seconds(step), reads, makes, _inside(step)))
        stays = frozenset(self.numbers[v] for v in plan.results if v in self.numbers)
        sizes = tuple(aligned(v.type.nbytes) for v in self.values)
        self.problem = Problem(tuple(operations), sizes, stays)

    def seconds(self, step: Step) -> float:
        """Modelled time: its arithmetic, or what it loads and stores."""
        equations = [*_equations(step), *self.plan.fused(step)]
        products = sum(equation_cost(e).flops for e in equations if is_float_product(e))
        others = sum(equation_cost(e).flops for e in equations) - products
        moved = sum(v.type.nbytes for v in self.plan.touched(step))
        return seconds_for(products, others, moved)

    def operation(self, i: int) -> tuple[str, str]:
        """What a step does, and the user's line."""
        equation = self.plan.steps[i].equation
        return equation.primitive.name, str(equation.source) if equation.source else ""

    def value(self, v: int) -> str:
        return str(self.values[v].type)

    def rewritten(self, sequence: Sequence[int]) -> Schedule:
        """The schedule that runs the steps of a sequence."""
        return Arranger(self.plan).arranged(sequence)


def _equations(step: Step) -> list[Equation]:
    """What a step computes itself, each equation once."""
    found: dict[Equation, None] = {}
    for part in _leaves(step):
        found.update(dict.fromkeys(part.equations))
    return list(found)


def _leaves(step: Step) -> list[Step]:
    if isinstance(step, Group | Chain):
        return [leaf for member in step.members for leaf in _leaves(member)]
    if isinstance(step, Product):
        return [*step.prologues.values(), step, *([step.tail] if step.tail else [])]
    return [step]


def _inside(step: Step) -> int:
    """Memory of graphs inside of a step, as far as it can be foreseen."""
    return max((peak_bytes(b) for e in step.equations for b in bodies(e)), default=0)


class Arranger:
    """Builds one schedule; ``now`` leads from a value to its latest computation."""

    def __init__(self, plan: Schedule) -> None:
        self.old = plan
        self.plan = plan.copy()
        self.plan.makers = dict(plan.makers)
        self.plan.steps = []
        self.number = {e: i for i, e in enumerate(plan.graph.equations)}
        self.now: dict[Operand, Variable] = {}
        self.views: dict[tuple[Any, ...], Variable] = {}
        self.equations: list[Equation] = []
        self.done: set[Equation] = set()

    def arranged(self, sequence: Sequence[int]) -> Schedule:
        for i in sequence:
            self.add(self.old.steps[i])
        outputs = tuple(self.current(v, {}) for v in self.old.graph.outputs)
        self.plan.graph = Graph(self.old.graph.inputs, tuple(self.equations), outputs)
        self.plan.known_results = -1, set()
        return self.plan

    def add(self, step: Step) -> None:
        """One more run of a step."""
        own: dict[Operand, Variable] = {}
        equations: dict[Equation, Equation] = {}
        for equation in sorted(_equations(step), key=self.number.__getitem__):
            inputs = tuple(self.current(x, own) for x in equation.inputs)
            outputs = equation.outputs
            if equation in self.done:
                outputs = tuple(self.fresh(v) for v in outputs)
            self.done.add(equation)
            made = equation
            if outputs is not equation.outputs or any(
                a is not b for a, b in zip(inputs, equation.inputs, strict=True)
            ):
                made = replace(equation, inputs=inputs, outputs=outputs)
                self.plan.makers.update(dict.fromkeys(outputs, made))
            self.equations.append(made)
            equations[equation] = made
            own.update(zip(equation.outputs, outputs, strict=True))
        self.plan.steps.append(self.renamed(step, equations, own))
        self.now.update(own)

    def fresh(self, v: Variable) -> Variable:
        other = Variable(v.type)
        if v in self.old.in_memory:
            self.plan.in_memory.add(other)
        if v in self.old.local:
            self.plan.local.add(other)
        return other

    def current(self, x: Operand, own: dict[Operand, Variable]) -> Operand:
        """What stands for an operand now; expressions of it, and reshapes, are made again."""
        if isinstance(x, Literal):
            return x
        if x in own:
            return own[x]
        if x in self.now:
            return self.now[x]
        maker = self.old.makers.get(x)
        if (
            maker is None
            or maker in self.done
            or (x in self.old.in_memory and x not in self.old.alias)
        ):
            return x
        inputs = tuple(self.current(y, own) for y in maker.inputs)
        key = (x, *map(id, inputs))
        if key in self.views:
            return self.views[key]
        is_same = all(a is b for a, b in zip(inputs, maker.inputs, strict=True))
        output = x if is_same else self.fresh(x)
        made = maker if is_same else replace(maker, inputs=inputs, outputs=(output,))
        self.plan.makers[output] = made
        if x in self.old.alias:
            (source,) = inputs
            assert isinstance(source, Variable)
            self.plan.alias[output] = source
        self.equations.append(made)
        self.views[key] = output
        return output

    def renamed(self, step: Any, equations: dict[Equation, Equation], own: Any) -> Any:
        """The step with the equations of this run, and the memory that it reads now."""

        def again(part: Any) -> Any:
            return self.renamed(part, equations, own)

        changes: dict[str, Any] = {}
        if isinstance(step, Group | Chain):
            return replace(step, members=tuple(map(again, step.members)))
        if isinstance(step, Product):
            changes["prologues"] = {k: again(part) for k, part in step.prologues.items()}
            changes["tail"] = None if step.tail is None else again(step.tail)
        reads = [own.get(v) or self.now.get(v, v) for v in step.reads]
        changes["reads"] = tuple(map(self.plan.owner, reads))
        return replace(step, equations=tuple(equations[e] for e in step.equations), **changes)
