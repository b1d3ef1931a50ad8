"""Complex numbers as pairs of real ones, which native code has loops for.

Inside a program a complex array is two real ones. Its inputs and outputs stay the caller's arrays:
in memory complex numbers are pairs, so they are real arrays with one axis of length 2 more, and
reading a part of them is an index, free inside a loop. What has no form in parts
(decompositions, Fourier transforms) is evaluated by NumPy, on whole numbers: see ``numpy_call``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pullback.compiler.passes.planes import ELEMENTWISE, Planes, multiply, power_by_literal, truth
from pullback.compiler.schedule.scalar_types import operand_dtypes, operand_types
from pullback.core.graph import Equation, Graph, Literal, Operand, Variable
from pullback.core.primitive import Primitive
from pullback.core.types import ArrayType
from pullback.errors import CompileError, NotDifferentiableError
from pullback.ops.families import cast
from pullback.transforms.passes.inline import copied
from pullback.transforms.passes.pipeline import bodies, with_bodies
from pullback.transforms.stage import stage

__all__ = ["asked_for", "split_complex"]

Pair = tuple[Operand, ...]  # a real operand, or the two parts of a complex one
PARTS = 2


def split_complex(graph: Graph) -> Graph:
    """The same program on real arrays; a complex input or output has an axis for its parts."""
    if not has_complex(graph):
        return graph
    split = Split()
    inputs = []
    for v in graph.inputs:
        if not is_complex(v.type):
            inputs.append(v)
            continue
        pairs = Variable(pairs_type(v.type))
        inputs.append(pairs)
        split.take_apart(v, pairs)
    split.run(graph)
    outputs = [split.in_memory(v) for v in graph.outputs]
    return Graph(tuple(inputs), tuple(split.equations), tuple(outputs))


def has_complex(graph: Graph) -> bool:
    """Whether any value of the graph, or of those inside of it, is complex."""
    return any(is_complex(v.type) for v in (*graph.inputs, *graph.outputs)) or any(
        any(is_complex(v.type) for v in (*e.inputs, *e.outputs)) or any(map(has_complex, bodies(e)))
        for e in graph.equations
    )


def is_complex(type: ArrayType) -> bool:
    return type.dtype.kind == "c"


def part_of(type: ArrayType) -> np.dtype[Any]:
    """The dtype of the parts of complex numbers; others are their own."""
    return type.dtype.type(0).real.dtype if is_complex(type) else type.dtype


def pairs_type(type: ArrayType) -> ArrayType:
    """Complex numbers as they lie in memory."""
    if not is_complex(type):
        return type
    return ArrayType((*type.shape, PARTS), part_of(type))


def real_type(type: ArrayType) -> ArrayType:
    return ArrayType(type.shape, part_of(type), type.weak)


def body_of(graph: Graph) -> Graph:
    """A graph inside of an equation, with two inputs and outputs for each complex one."""
    split = Split()
    inputs: list[Variable] = []
    for v in graph.inputs:
        if is_complex(v.type):
            parts = tuple(Variable(real_type(v.type)) for _ in range(PARTS))
            split.known[v] = parts
            inputs += parts
        else:
            inputs.append(v)
    split.run(graph)
    outputs = tuple(part for v in graph.outputs for part in split.parts(v))
    return Graph(tuple(inputs), tuple(split.equations), outputs)


class Split:
    """Equations on parts, the parts of what is complex, and arrays of pairs that hold it too."""

    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.known: dict[Operand, Pair] = {}
        self.pairs: dict[Operand, Operand] = {}

    def take_apart(self, v: Variable, pairs: Variable) -> None:
        """Let the parts of ``v`` be those of an array of pairs."""
        self.pairs[v] = pairs
        self.known[v] = self.add(lambda x: [x[..., 0], x[..., 1]], (pairs,))

    def in_memory(self, operand: Operand) -> Operand:
        """A complex operand as an array of pairs, which is how it lies in memory; others as are."""
        if operand not in self.pairs:
            parts = self.parts(operand)
            if len(parts) == 1:
                return parts[0]
            (self.pairs[operand],) = self.add(lambda a, b: [np.stack([a, b], -1)], parts)
        return self.pairs[operand]

    def parts(self, operand: Operand) -> Pair:
        if isinstance(operand, Literal) and is_complex(operand.type):
            value = operand.value
            if operand.type.weak:
                return Literal(float(value.real)), Literal(float(value.imag))
            return Literal(value.real), Literal(value.imag)
        return self.known.get(operand, (operand,))

    def add(
        self, function: Callable[..., Any], operands: Sequence[Operand], source: Any = None
    ) -> Pair:
        """The equations of ``function``, which returns a list, at ``operands``."""
        staged = stage(function, [v.type for v in operands], "split_complex")
        numbers = [Literal(value[()]) for value in staged.captured]  # arrays of no axis
        inside, outputs = copied(staged.graph, [*numbers, *operands])
        self.equations += [replace(e, source=source) for e in inside]
        return tuple(outputs)

    def run(self, graph: Graph) -> None:
        for equation in graph.equations:
            values = (*equation.inputs, *equation.outputs)
            has_complex_bodies = any(map(has_complex, bodies(equation)))
            if not (has_complex_bodies or any(is_complex(v.type) for v in values)):
                inputs = tuple([self.parts(v)[0] for v in equation.inputs])
                self.equations.append(replace(equation, inputs=inputs))
                continue
            parts = self.control(equation) or self.staged(equation)
            if not parts:
                self.whole(equation)
                continue
            start = 0
            for v in equation.outputs:
                n = PARTS if is_complex(v.type) else 1
                self.known[v] = parts[start : start + n]
                start += n

    def control(self, equation: Equation) -> Pair:
        """An equation with graphs inside, whose operands and outputs are parts; else nothing."""
        count = COUNTS.get(equation.primitive.name)
        if count is None:
            return ()
        flat = tuple(part for v in equation.inputs for part in self.parts(v))
        outputs = tuple(
            Variable(real_type(v.type))
            for v in equation.outputs
            for _ in range(PARTS if is_complex(v.type) else 1)
        )
        params = {**equation.params, **count(equation)}
        changed = replace(equation, inputs=flat, outputs=outputs, params=params)
        self.equations.append(with_bodies(changed, body_of))
        return outputs

    def staged(self, equation: Equation) -> Pair:
        """The operation written with parts; nothing, if it cannot be."""
        name = equation.primitive.name
        rule = RULES.get(equation.primitive.family) or RULES.get(name)
        function = rule(equation) if rule else None
        if function is None:
            return ()
        flat = [part for v in equation.inputs for part in self.parts(v)]
        sizes = [len(self.parts(v)) for v in equation.inputs]

        def run(*arguments: Any) -> list[Any]:
            left = iter(arguments)
            operands = [Planes(next(left), next(left)) if n == PARTS else next(left) for n in sizes]
            result = function(*operands)
            return list(result) if isinstance(result, Planes) else [result]

        return self.add(run, flat, equation.source)

    def whole(self, equation: Equation) -> None:
        """The operation, evaluated by NumPy on complex numbers."""
        params = {
            "primitive": equation.primitive,
            "types": tuple([v.type for v in equation.inputs]),
            "params": tuple(equation.params.items()),
        }
        inputs = tuple([v if is_literal(v) else self.in_memory(v) for v in equation.inputs])
        outputs = tuple([Variable(pairs_type(v.type)) for v in equation.outputs])
        self.equations.append(Equation(numpy_call, inputs, outputs, params, equation.source))
        for v, out in zip(equation.outputs, outputs, strict=True):
            if is_complex(v.type):
                self.take_apart(v, out)
            else:
                self.known[v] = (out,)


# -- operations ------------------------------------------------------------------------------------
def _elementwise(equation: Equation) -> Callable[..., Any] | None:
    """What an element is computed from are parts of the dtype in which NumPy computes it."""
    name, out = equation.primitive.name, equation.outputs[0].type
    if name == "where":
        return _choose(out)
    if name == "power" and isinstance(equation.inputs[1], Literal):
        exponent = equation.inputs[1].value
        dtype = part_of(out)
        if power_by_literal(Planes(np.ones(()), np.ones(())), exponent) is None:
            return None
        return lambda z, *_: power_by_literal(_as_planes(z, dtype), exponent)
    function = ELEMENTWISE.get(name)
    if function is None:
        return None
    try:
        types = operand_types(equation)
        dtypes = operand_dtypes(equation.primitive, types, _computed(equation))
    except CompileError:
        return None
    parts = [part_of(ArrayType((), dtype)) for dtype in dtypes]

    def run(*operands: Any) -> Any:
        planes = [_as_planes(x, dtype) for x, dtype in zip(operands, parts, strict=True)]
        result = function(*planes)
        if isinstance(result, Planes):
            return Planes(*[np.broadcast_to(part, out.shape) for part in result])
        return np.broadcast_to(result, out.shape)

    return run


def _computed(equation: Equation) -> np.dtype[Any]:
    """The dtype that operands are converted to where the primitive is no ufunc."""
    dtypes = [v.type.dtype for v in (*equation.inputs, *equation.outputs)]
    numbers = [d for d in dtypes if d.kind != "b"]
    return np.result_type(*numbers)


def _choose(out: ArrayType) -> Callable[..., Any]:
    def run(condition: Any, a: Any, b: Any) -> Planes:
        if isinstance(condition, Planes):
            condition = truth(condition)
        first, second = _as_planes(a, part_of(out)), _as_planes(b, part_of(out))
        return Planes(*[np.where(condition, x, y) for x, y in zip(first, second, strict=True)])

    if out.dtype.kind == "c":
        return run
    return lambda condition, a, b: np.where(truth(condition), a, b)


def _as_planes(x: Any, dtype: np.dtype[Any]) -> Planes:
    """Parts of a dtype; a real operand has no imaginary part, which is 0."""
    if isinstance(x, Planes):
        return Planes(_as(x.real, dtype), _as(x.imag, dtype))
    return Planes(_as(x, dtype), dtype.type(0))


def _as(x: Any, dtype: np.dtype[Any]) -> Any:
    return cast(np.asarray(x) if not hasattr(x, "dtype") else x, dtype)


def _each(equation: Equation) -> Callable[..., Any] | None:
    """What moves or sums numbers does so with their parts."""
    primitive, params, out = equation.primitive, equation.params, equation.outputs[0].type
    if not is_complex(out):
        return None

    def run(*operands: Any) -> Planes:
        def part(k: int) -> Any:
            return primitive(*[_part(x, k, part_of(out)) for x in operands], **params)

        return Planes(part(0), part(1))

    return run


def _part(x: Any, k: int, dtype: np.dtype[Any]) -> Any:
    if isinstance(x, Planes):
        return x[k]
    if x.dtype.kind != "f" or k == 0:  # an index; or a real number
        return x if x.dtype.kind != "f" else cast(x, dtype)
    return np.broadcast_to(dtype.type(0), x.shape)


def _convert(equation: Equation) -> Callable[..., Any]:
    dtype = equation.params["dtype"]
    part = part_of(ArrayType((), dtype))

    def run(x: Any) -> Any:
        if dtype.kind == "c":
            planes = _as_planes(x, part)
            return Planes(planes.real, np.broadcast_to(planes.imag, x.real.shape))
        return truth(x) if dtype.kind == "b" else x.real.astype(dtype)

    return run


def _product(equation: Equation) -> Callable[..., Any]:
    """Four real products, or two where an operand is real."""
    primitive, params = equation.primitive, equation.params
    dtype = part_of(equation.outputs[0].type)

    def times(a: Any, b: Any) -> Any:
        return primitive(a, b, **params)

    def run(a: Any, b: Any) -> Planes:
        if isinstance(a, Planes) and isinstance(b, Planes):
            a, b = _as_planes(a, dtype), _as_planes(b, dtype)
            return Planes(
                times(a.real, b.real) - times(a.imag, b.imag),
                times(a.real, b.imag) + times(a.imag, b.real),
            )
        if isinstance(a, Planes):
            b = _as(b, dtype)
            return Planes(times(_as(a.real, dtype), b), times(_as(a.imag, dtype), b))
        a = _as(a, dtype)
        return Planes(times(a, _as(b.real, dtype)), times(a, _as(b.imag, dtype)))

    return run


def _total(equation: Equation) -> Callable[..., Any] | None:
    """A product of numbers along axes, two halves at a time."""
    out, axis = equation.outputs[0].type, equation.params["axis"]

    def run(z: Planes) -> Planes:
        one = np.ones((), part_of(out))
        for i in sorted(axis, reverse=True):
            real, imag = np.moveaxis(z.real, i, 0), np.moveaxis(z.imag, i, 0)
            while len(real) > 1:
                half = len(real) // 2
                product = multiply(
                    Planes(real[:half], imag[:half]),
                    Planes(real[half : 2 * half], imag[half : 2 * half]),
                )
                rest = slice(2 * half, None)
                real = np.concatenate([product.real, real[rest]])
                imag = np.concatenate([product.imag, imag[rest]])
            if not len(real):
                shape = real.shape[1:]
                z = Planes(np.broadcast_to(one, shape), np.broadcast_to(0 * one, shape))
            else:
                z = Planes(real[0], imag[0])
        return z

    return run


RULES: dict[str, Callable[[Equation], Callable[..., Any] | None]] = {
    "elementwise": _elementwise,
    "contraction": _product,
    "prod": _total,
    "astype": _convert,
    **dict.fromkeys(("index", "place", "update", "gather", "scatter", "scatter_add"), _each),
    **dict.fromkeys(
        ("reshape", "transpose", "broadcast_to", "concatenate", "sum", "cumsum"), _each
    ),
}


# -- control ---------------------------------------------------------------------------------------
def _size(values: Sequence[Operand]) -> int:
    return sum(PARTS if is_complex(v.type) else 1 for v in values)


def _of_scan(equation: Equation) -> dict[str, int]:
    n, m = equation.params["n_constants"], equation.params["n_carry"]
    inputs = equation.inputs
    return {"n_constants": _size(inputs[:n]), "n_carry": _size(inputs[n : n + m])}


def _of_while(equation: Equation) -> dict[str, int]:
    n, m = equation.params["n_test"], equation.params["n_body"]
    inputs = equation.inputs
    return {"n_test": _size(inputs[:n]), "n_body": _size(inputs[n : n + m])}


COUNTS: dict[str, Callable[[Equation], dict[str, int]]] = {
    "scan": _of_scan,
    "while_loop": _of_while,
    "cond": lambda _: {},
    "call": lambda _: {},
    "checkpoint": lambda _: {},
}


# -- what NumPy evaluates --------------------------------------------------------------------------
def asked_for(equation: Equation) -> tuple[str, list[ArrayType]]:
    """The name of an operation and the types of its operands, as the user asked for them."""
    if equation.primitive is numpy_call:
        return equation.params["primitive"].name, list(equation.params["types"])
    return equation.primitive.name, [v.type for v in equation.inputs]


def is_literal(operand: Operand) -> bool:
    return isinstance(operand, Literal)


def _evaluate(*operands: Any, primitive: Primitive, types: Any, params: Any) -> list[Any]:
    """``primitive`` on arrays of pairs, read as the complex numbers that they are in memory."""
    whole = [
        x.view(type.dtype)[..., 0] if is_complex(type) and isinstance(x, np.ndarray) else x
        for x, type in zip(operands, types, strict=True)
    ]
    result = primitive.numpy(*whole, **dict(params))
    results = result if primitive.multiple else (result,)
    return [_as_pairs(np.asarray(y)) for y in results]


def _as_pairs(y: Any) -> Any:
    if y.dtype.kind != "c":
        return y
    y = np.ascontiguousarray(y[..., None])
    return y.view(y.real.dtype)


def _whole_types(params: Any) -> list[ArrayType]:
    inferred = params["primitive"].type_rule(*params["types"], **dict(params["params"]))
    return list(inferred) if params["primitive"].multiple else [inferred]


def _refuse(*_: Any) -> Any:
    raise NotDifferentiableError("what the compiler has rewritten has no derivative rule")


numpy_call = Primitive(
    name="_numpy_call",
    doc="`primitive`, evaluated by NumPy on complex numbers that are given and returned as pairs",
    multiple=True,
    numpy=_evaluate,
    type_rule=lambda *_, **params: tuple(map(pairs_type, _whole_types(params))),
    jvp=_refuse,
    vjp=_refuse,
    batch=_refuse,
    family="general",
    flops=lambda _types, _out_types, params: params["primitive"].flops(
        params["types"], _whole_types(params), dict(params["params"])
    ),
    samples=lambda _rng, _dtype: [],
)
