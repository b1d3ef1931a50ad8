"""Taylor mode: every value carries the coefficients of its Taylor series along a curve.

Algorithm: univariate Taylor propagation. For ``y = f(x)`` the derivative along the curve is
``y'(t) = J(x(t)) x'(t)``, so the JVP rule of a primitive, read as an equation between power series,
gives coefficient ``k`` of ``y`` from coefficients up to ``k`` of ``x`` and up to ``k - 1`` of
``y``. Series are lazy: the rule is run once on them, and asks for what it needs when it needs it.
A rule that reads no primal value is linear with constant coefficients, and is applied to each
coefficient on its own. Products, quotients and linear solves have the classical recurrences, which
keep the cost of order ``k`` at ``k^2`` products.

Sources:
    Griewank & Walther (2008), *Evaluating Derivatives*, chapter 13, tables 13.1 and 13.2.
    J. Bettencourt, M. Johnson, D. Duvenaud (2019), "Taylor-Mode Automatic Differentiation for
    Higher-Order Derivatives in JAX".

Known limits: loops (``scan``, ``while_loop``) are differentiated rule by rule, which costs a factor
that grows exponentially with the order; powers with an exponent that is a constant cost ``k^3``.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array, bind
from pullback.core.primitive import Primitive
from pullback.core.source import here
from pullback.core.trace import Trace
from pullback.core.types import is_differentiable, type_of
from pullback.errors import ArgumentError
from pullback.ops.arithmetic import divide, multiply
from pullback.ops.families import broadcast_like
from pullback.ops.linalg import solve
from pullback.transforms.derivatives import as_leaves, flat, match, release
from pullback.transforms.jvp import zeros

__all__ = ["jet"]


class Series:
    """Taylor coefficients, each computed when it is first asked for; ``None`` is zero."""

    __slots__ = ("known", "next")

    def __init__(self, known: list[Any], next: Callable[[int], Any]) -> None:
        self.known = known
        self.next = next

    def __getitem__(self, k: int) -> Any:
        while len(self.known) <= k:
            self.known.append(self.next(len(self.known)))
        return self.known[k]

    @property
    def is_constant(self) -> bool:
        return self.next is nothing and all(x is None for x in self.known[1:])


class Watched:
    """A series that remembers whether an operation has read it."""

    __slots__ = ("is_read", "series")

    def __init__(self, series: Series) -> None:
        self.series = series
        self.is_read = False


def nothing(k: int) -> None:
    """The coefficients of a constant, but for the first."""


def slope(x: Series) -> Series:
    """The series of ``x'``, whose coefficient ``k`` is ``(k + 1) x_{k + 1}``."""
    first = zeros(type_of(x[0])) if x[1] is None else x[1]
    return Series([first], lambda k: None if x[k + 1] is None else (k + 1) * x[k + 1])


class JetTrace(Trace):
    """``array.value`` is the primal, ``array.aux`` the series that starts with it."""

    name = "jet"

    def __init__(self, order: int) -> None:
        super().__init__()
        self.order = order
        self.is_inside_rule = False
        # Operations of the rules that are at work: the rules of sin and cos name each other.
        self.made: dict[Any, Any] = {}

    def array(self, series: Series | Watched) -> Array:
        first = series.series[0] if isinstance(series, Watched) else series[0]
        return Array(self, first, series)

    def series_of(self, a: Any) -> Series | None:
        """The series of an operand, marked as read; ``None`` for a constant."""
        if type(a) is not Array or a.traced_by is not self:
            return None
        if type(a.aux) is Watched:
            a.aux.is_read = True
            return a.aux.series
        series: Series = a.aux
        return series

    def process(self, primitive: Primitive, args: Any, params: dict[str, Any]) -> Any:
        series = [self.series_of(a) for a in args]
        primals = [a if x is None else x[0] for a, x in zip(args, series, strict=True)]
        key = (primitive, *map(id, series), *map(id, primals), *params.values())
        if key in self.made:
            return self.made[key].results(self)
        y = bind(primitive, primals, params)
        outputs = [Series([part], nothing) for part in (y if primitive.multiple else [y])]
        operation = Operation(primitive, series, primals, params, outputs)
        recurrence = operation.recurrence()
        if recurrence is not None:
            outputs[0].next = recurrence
        elif any(x is not None and not x.is_constant for x in series):
            rule = RuleSeries(self, operation)
            for i, part in enumerate(outputs):
                if is_differentiable(type_of(part[0]).dtype):
                    part.next = rule.coefficients(i)
        self.made[key] = operation
        if not self.is_inside_rule:  # so that a chain of operations is no chain of calls
            for part in outputs:
                part[self.order]
            self.made.clear()
        return operation.results(self)


@dataclass(frozen=True)
class Operation:
    """A primitive applied to series (``None``: a constant operand), and its outputs to be."""

    primitive: Primitive
    series: Sequence[Series | None]
    primals: Sequence[Any]
    params: dict[str, Any]
    outputs: Sequence[Series]

    def results(self, trace: JetTrace) -> Any:
        arrays = tuple(map(trace.array, self.outputs))
        return arrays if self.primitive.multiple else arrays[0]

    def recurrence(self) -> Callable[[int], Any] | None:
        """The classical recurrence for coefficients of the output, where there is one."""
        active = [x is not None and not x.is_constant for x in self.series]
        if self.primitive.family == "contraction" or self.primitive is multiply:
            return self.product if all(active) else None
        if self.primitive is divide and active[1]:
            return self.quotient
        if self.primitive is solve and active[0]:
            return self.solution
        return None

    def apply(self, *args: Any) -> Any:
        return bind(self.primitive, args, self.params)

    def product(self, k: int) -> Any:
        """``y_k = sum_j a_j b_{k-j}``."""
        a, b = self.series
        assert a is not None
        assert b is not None
        return total([(self.apply, a[j], b[k - j]) for j in range(k + 1)])

    def quotient(self, k: int) -> Any:
        """From ``b y = a``: ``y_k = (a_k - sum_{j<k} y_j b_{k-j}) / b_0``."""
        rest = self.remainder(k, np.multiply, 0, 1)
        return None if rest is None else broadcast_like(rest / self.primals[1], self.outputs[0][0])

    def solution(self, k: int) -> Any:
        """From ``A y = b``: ``y_k = A_0^{-1} (b_k - sum_{j<k} A_{k-j} y_j)``."""
        rest = self.remainder(k, lambda y, a: np.matmul(a, y), 1, 0)
        return None if rest is None else self.apply(self.primals[0], rest)

    def remainder(self, k: int, times: Callable[[Any, Any], Any], left: int, right: int) -> Any:
        """Coefficient ``k`` of the left-hand side without what earlier ones of ``y`` explain."""
        y, factor, whole = self.outputs[0], self.series[right], self.series[left]
        assert factor is not None
        explained = total([(times, y[j], factor[k - j]) for j in range(k)])
        start = None if whole is None else whole[k]
        if explained is None:
            return start
        return -explained if start is None else start - explained


def total(terms: Sequence[tuple[Callable[[Any, Any], Any], Any, Any]]) -> Any:
    """The sum of products of coefficients, of which ``None`` is zero."""
    found = [times(a, b) for times, a, b in terms if a is not None and b is not None]
    return functools.reduce(operator.add, found) if found else None


class RuleSeries:
    """Coefficients of the outputs of an operation from its JVP rule: ``k y_k = (y')_{k-1}``."""

    def __init__(self, trace: JetTrace, operation: Operation) -> None:
        self.trace = trace
        self.operation = operation
        self.slopes: list[Any] | None = None  # the rule's results: derivatives of the outputs
        self.is_linear = False  # whether the rule reads no primal value

    def coefficients(self, i: int) -> Callable[[int], Any]:
        def next(k: int) -> Any:
            was_inside, self.trace.is_inside_rule = self.trace.is_inside_rule, True
            try:
                return self.coefficient(i, k)
            finally:
                self.trace.is_inside_rule = was_inside

        return next

    def coefficient(self, i: int, k: int) -> Any:
        if self.slopes is None:
            self.slopes = self.run()
        if self.is_linear:
            return self.linear(k)[i]
        part = self.slopes[i]
        if type(part) is Array and part.traced_by is self.trace:
            part = part.aux[k - 1]
        elif k > 1:
            return None  # the slope is a constant
        return part if part is None or k == 1 else part / k

    def run(self) -> list[Any]:
        """Run the rule on whole series, and see whether it reads more than the slopes."""
        trace, operation = self.trace, self.operation
        watched = [None if x is None else Watched(x) for x in operation.series]
        outputs = [Watched(y) for y in operation.outputs]
        primals = [
            p if x is None else trace.array(x)
            for p, x in zip(operation.primals, watched, strict=True)
        ]
        slopes = [
            None if x is None or x.is_constant else trace.array(slope(x)) for x in operation.series
        ]
        found = self.rule(primals, slopes, [trace.array(y) for y in outputs])
        self.is_linear = not any(x.is_read for x in (*watched, *outputs) if x is not None)
        return found

    def linear(self, k: int) -> list[Any]:
        """The rule applied to coefficient ``k`` of the operands."""
        ys = [y[0] for y in self.operation.outputs]
        tangents = [None if x is None else x[k] for x in self.operation.series]
        if all(tangent is None for tangent in tangents):
            return [None] * len(ys)
        return self.rule(self.operation.primals, tangents, ys)

    def rule(self, primals: Sequence[Any], tangents: Sequence[Any], ys: Sequence[Any]) -> list[Any]:
        primitive, params = self.operation.primitive, self.operation.params
        if primitive.multiple:
            return list(primitive.jvp(primals, tangents, tuple(ys), params))
        return [primitive.jvp(primals, tangents, ys[0], params)]


def jet(
    fun: Callable[..., Any],
    primals: Sequence[Any],
    series: Sequence[Any],
    factorial_scaled: bool = True,
) -> tuple[Any, Any]:
    """Value of ``fun`` on a curve, and its derivatives along the curve up to order ``K``.

    For ``x(t) = x_0 + x_1 t + x_2 t^2/2! + ... + x_K t^K/K!`` it returns ``y(0)`` and
    ``[y'(0), y''(0), ..., y^(K)(0)]``. With ``series = [[v]]`` padded by zeros these are the
    derivatives of order 1 to ``K`` in the direction ``v``. Cost: of the order of ``K^2`` products
    for each product in ``fun``, where nested JVPs take ``2^K``.

    Args:
        fun: NumPy code.
        primals: tuple of arguments, each a container of float arrays.
        series: for each argument a list of ``K`` containers like it: ``[x_1, ..., x_K]``. A plain
            ``0`` or ``None`` stands for a zero one.
        factorial_scaled: ``True``: coefficients are derivatives, as above, on both sides;
            ``False``: they are those of ``t^k``.

    Returns:
        ``(y, [y_1, ..., y_K])``, each a container like the result of ``fun``.

    Raises:
        ArgumentError: if there is not one list for each argument, or they differ in length.
        ShapeError: if a coefficient has not the shape of its argument.

    Reference:
        Griewank & Walther (2008), chapter 13; signature of ``jax.experimental.jet``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> y, (first, second, third) = pb.jet(np.exp, (0.0,), ([2.0, 0.0, 0.0],))
    >>> float(first), float(second), float(third)
    (2.0, 4.0, 8.0)
    """
    primals, series = tuple(primals), tuple(series)
    lengths = {len(given) for given in series}
    if len(series) != len(primals) or len(lengths) != 1 or lengths == {0}:
        raise ArgumentError(
            "jet: there must be one list of coefficients for each argument, all of one length",
            where=str(here()),
            details=[f"arguments: {len(primals)}", f"lengths: {[len(s) for s in series]}"],
            fix="pass jet(fun, (x,), ([v, 0, 0],)) for derivatives to order 3 along v",
        )
    (order,) = lengths
    scale = [math.factorial(k) if factorial_scaled else 1 for k in range(order + 1)]
    leaves, structure = as_leaves(primals, "primals")
    columns = [
        coefficients([given[k] for given in series], primals, leaves, structure)
        for k in range(order)
    ]
    shape: list[tree.TreeDef] = []
    function = flat(fun, structure, shape)
    with JetTrace(order) as trace:
        inputs = []
        for i, leaf in enumerate(leaves):
            known = [leaf, *(c[i] for c in columns)]
            for k in range(1, order + 1):
                known[k] = known[k] if known[k] is None or scale[k] == 1 else known[k] / scale[k]
            inputs.append(trace.array(Series(known, nothing)))
        outputs = function(*inputs)
        for y in outputs:
            if type(y) is Array and y.alias is not None:
                y.alias.refresh(y)
        found = [
            y.aux if type(y) is Array and y.traced_by is trace else Series([y], nothing)
            for y in outputs
        ]
    values = [y[0] for y in found]
    rows = [
        [zeros(type_of(y[0])) if y[k] is None else y[k] * scale[k] for y in found]
        for k in range(1, order + 1)
    ]
    return release(tree.unflatten(shape[0], values)), [
        release(tree.unflatten(shape[0], row)) for row in rows
    ]


def coefficients(
    given: Sequence[Any], primals: Sequence[Any], leaves: Sequence[Any], structure: tree.TreeDef
) -> list[Any]:
    """The coefficients of one order, one per leaf; ``None`` where all is zero."""
    is_zero = [x is None or (isinstance(x, (int, float)) and x == 0) for x in given]
    full = [
        tree.map(np.zeros_like, primal) if zero else x
        for x, primal, zero in zip(given, primals, is_zero, strict=True)
    ]
    arrays = match(tuple(full), [type_of(x) for x in leaves], structure, "coefficient")
    return [None if type(x) is np.ndarray and not x.any() else x for x in arrays]
