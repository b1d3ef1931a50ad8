"""A graph as the planner sees it: operations with a time, values with bytes, and sequences.

A *sequence* is a list of operations, in which an operation may occur more than once: then it
computes its values again. Between two of its computations a value is held from the first to its
last use before the second. So a sequence says all: what is held, what it costs, and its graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pullback.analysis.cost import equation_cost
from pullback.core.graph import Equation, Graph, Literal, Operand, Variable
from pullback.planner.simulate import Profile, equation_working
from pullback.planner.working import Owners

__all__ = ["GraphProblem", "Operation", "Problem", "Simulation", "seconds", "seconds_for"]

# A machine of 20 Gflop/s in products, 2 G elements/s else, 8 GB/s, and 1 microsecond for a call.
# Only ratios matter: they say what is cheap to compute again.
PRODUCT_RATE, RATE, BANDWIDTH, CALL = 20e9, 2e9, 8e9, 1e-6
PRODUCTS = ("matmul", "conv", "solve", "cholesky", "svd", "eigh", "qr", "pinv")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: seconds, the numbers of values read and made, bytes of working memory."""

    cost: float
    reads: tuple[int, ...]
    makes: tuple[int, ...]
    working: int = 0


@dataclass(frozen=True, slots=True)
class Simulation(Profile):
    """What a sequence holds at each of its places, and what it costs in all."""

    held: tuple[int, ...]
    cost: float


@dataclass(frozen=True, slots=True)
class Problem:
    """Operations in an order that works, the bytes of their values, and those that must stay."""

    operations: tuple[Operation, ...]
    sizes: tuple[int, ...]
    stays: frozenset[int]

    @property
    def maker(self) -> list[int]:
        """The operation that makes each value."""
        made = [0] * len(self.sizes)
        for i, operation in enumerate(self.operations):
            for v in operation.makes:
                made[v] = i
        return made

    @property
    def cost(self) -> float:
        """Of computing everything once."""
        return sum(o.cost for o in self.operations)

    def trimmed(self, sequence: Sequence[int]) -> list[int]:
        """The sequence without computations that nobody reads before the next one."""
        wanted = set(self.stays)
        kept: list[int] = []
        for i in reversed(sequence):
            operation = self.operations[i]
            if wanted.isdisjoint(operation.makes):
                continue
            kept.append(i)
            wanted.difference_update(operation.makes)
            wanted.update(operation.reads)
        return kept[::-1]

    def lasts(self, sequence: Sequence[int]) -> list[list[int]]:
        """The values that are dropped after each place: never read again before they are remade."""
        ends: list[list[int]] = [[] for _ in sequence]
        wanted = set(self.stays)
        for place in range(len(sequence) - 1, -1, -1):
            operation = self.operations[sequence[place]]
            for v in (*operation.reads, *operation.makes):
                if v not in wanted:
                    wanted.add(v)
                    ends[place].append(v)
            wanted.difference_update(operation.makes)
        return ends

    def simulate(self, sequence: Sequence[int]) -> Simulation:
        """Bytes held at each place.

        Raises:
            KeyError: if an operation reads a value that is not there.
        """
        held, alive, cost = [], 0, 0.0
        there: set[int] = set()
        for i, ends in zip(sequence, self.lasts(sequence), strict=True):
            operation = self.operations[i]
            for v in operation.reads:
                if v not in there:
                    raise KeyError(v)
            for v in operation.makes:
                if v not in there:
                    there.add(v)
                    alive += self.sizes[v]
            held.append(alive + operation.working)
            cost += operation.cost
            for v in ends:
                if v in there:
                    there.discard(v)
                    alive -= self.sizes[v]
        return Simulation(tuple(held), cost)

    def there(self, sequence: Sequence[int], at: int) -> set[int]:
        """The values that are held at a place of a sequence."""
        there: set[int] = set()
        ends = self.lasts(sequence)
        for place, i in enumerate(sequence):
            there.update(self.operations[i].makes)
            if place == at:
                break
            there.difference_update(ends[place])
        return there

    def with_sizes(self, sizes: Sequence[int]) -> Problem:
        return replace(self, sizes=tuple(sizes))


def seconds(equation: Equation) -> float:
    """Modelled time of an equation: the longer of its arithmetic and its traffic, and a call."""
    cost = equation_cost(equation)
    is_product = equation.primitive.name in PRODUCTS
    return seconds_for(cost.flops if is_product else 0, 0 if is_product else cost.flops, cost.bytes)


def seconds_for(products: int, others: int, moved: int) -> float:
    """Modelled time of one call: flops of products, other flops, and bytes moved."""
    return max(products / PRODUCT_RATE + others / RATE, moved / BANDWIDTH) + CALL


class GraphProblem:
    """The problem of a graph, and the graph of a sequence."""

    def __init__(self, graph: Graph, working: Callable[[Equation], int] = equation_working) -> None:
        self.graph = graph
        self.owner = Owners()
        self.views: dict[Variable, Equation] = {}  # makers of views
        self.steps: list[Equation] = []
        self.numbers: dict[Variable, int] = {}
        self.sources: list[Variable] = []  # the variable of each value
        operations = []
        for equation in graph.equations:
            if self.owner.add(equation):
                self.views[equation.outputs[0]] = equation
                continue
            reads = tuple(dict.fromkeys(n for n in map(self.number, equation.inputs) if n >= 0))
            for v in equation.outputs:
                self.numbers[v] = len(self.sources)
                self.sources.append(v)
            makes = tuple(self.numbers[v] for v in equation.outputs)
            operations.append(Operation(seconds(equation), reads, makes, working(equation)))
            self.steps.append(equation)
        stays = {self.number(v) for v in graph.outputs} - {-1}
        sizes = tuple(v.type.nbytes for v in self.sources)
        self.problem = Problem(tuple(operations), sizes, frozenset(stays))

    def number(self, operand: Operand) -> int:
        """The value that holds an operand; -1 for what is always there."""
        if isinstance(operand, Literal):
            return -1
        return self.numbers.get(self.owner(operand), -1)

    def operation(self, i: int) -> tuple[str, str]:
        """What an operation is, and the user's line."""
        equation = self.steps[i]
        return equation.primitive.name, str(equation.source) if equation.source else ""

    def value(self, v: int) -> str:
        return str(self.sources[v].type)

    def rewritten(self, sequence: Sequence[int]) -> Graph:
        """The graph that computes in the order of a sequence."""
        now: dict[Operand, Operand] = {}  # the latest computation of each variable
        versions: dict[Variable, tuple[Operand, Variable]] = {}  # of views: of what, and the view
        equations: list[Equation] = []

        def current(x: Operand) -> Operand:
            if isinstance(x, Literal) or x not in self.views:
                return now.get(x, x)
            maker = self.views[x]
            inputs = tuple(current(y) for y in maker.inputs)
            known = versions.get(x)
            if known is not None and known[0] is inputs[0]:
                return known[1]
            output = Variable(x.type)
            equations.append(replace(maker, inputs=inputs, outputs=(output,)))
            versions[x] = inputs[0], output
            return output

        for i in sequence:
            equation = self.steps[i]
            inputs = tuple(current(x) for x in equation.inputs)
            outputs = tuple(Variable(v.type) for v in equation.outputs)
            equations.append(replace(equation, inputs=inputs, outputs=outputs))
            now.update(zip(equation.outputs, outputs, strict=True))
        results = tuple(current(v) for v in self.graph.outputs)
        return Graph(self.graph.inputs, tuple(equations), results)
