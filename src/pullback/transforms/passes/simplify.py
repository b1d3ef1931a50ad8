"""Local rewrites: an equation and those that make its operands give way to a shorter form.

A rule is a function of an equation and of the equations that make its operands. It returns the
operand or the equation that takes the place of the first, or ``None``; what it returns is used only
if it has the same type. That is how ``x * 1`` becomes ``x`` unless the product has another shape or
dtype, and no rule needs to check either. Rules keep every bit of every result, the sign of zero
included; of a NaN they keep that it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from pullback.core.graph import Equation, Graph, Literal, Operand
from pullback.core.primitive import Primitive, registry
from pullback.core.types import is_differentiable

__all__ = ["simplify"]

Makers = Mapping[Operand, Equation]
Rule = Callable[[Equation, Makers], Equation | Operand | None]


def simplify(graph: Graph) -> Graph:
    """The same graph with every equation in its shortest form; what is then unread stays."""
    values: dict[Operand, Operand] = {}
    makers: dict[Operand, Equation] = {}
    kept: list[Equation] = []
    for equation in graph.equations:
        short = _shortest(equation.reading(values), makers)
        if isinstance(short, Equation):
            kept.append(short)
            makers.update((v, short) for v in short.outputs)
        else:
            values[equation.outputs[0]] = short
    return Graph(graph.inputs, tuple(kept), tuple(values.get(v, v) for v in graph.outputs))


def _shortest(equation: Equation, makers: Makers) -> Equation | Operand:
    short: Equation | Operand = equation
    while isinstance(short, Equation):
        shorter = next(_shorter(short, makers), None)
        if shorter is None:
            return short
        short = shorter
    return short


def _shorter(equation: Equation, makers: Makers) -> Iterator[Equation | Operand]:
    """What the rules make of ``equation``, as far as it has the same type."""
    primitive = equation.primitive
    rules = RULES.get(primitive.name, ())
    for rule in (*rules, *ELEMENTWISE) if primitive.family == "elementwise" else rules:
        found = rule(equation, makers)
        if isinstance(found, Equation):
            types = [v.type for v in found.inputs]
            if found.primitive.type_rule(*types, **found.params) == equation.outputs[0].type:
                yield found
        elif found is not None and found.type == equation.outputs[0].type:
            yield found


def _instead(equation: Equation, primitive: Primitive, *inputs: Operand, **params: Any) -> Equation:
    return replace(equation, primitive=primitive, inputs=inputs, params=params)


def _made_by(operand: Operand, name: str, makers: Makers) -> Equation | None:
    maker = makers.get(operand)
    return maker if maker is not None and maker.primitive.name == name else None


# -- numbers --------------------------------------------------------------------------------------
def _number(operand: Operand, makers: Makers) -> Literal | None:
    """The literal that an operand is, or that it repeats; the latter promotes as the array does."""
    if isinstance(operand, Literal):
        return operand
    maker = _made_by(operand, "broadcast_to", makers)
    if maker is None or not isinstance(maker.inputs[0], Literal):
        return None
    return Literal(operand.type.dtype.type(maker.inputs[0].value))


def _is(operand: Operand, value: float, makers: Makers) -> bool:
    """Whether all elements are ``value``; 0.0 is not -0.0."""
    number = _number(operand, makers)
    if number is None:
        return False
    if number.type.dtype.kind == "c":
        return False  # a complex number has two signs of zero, and one dtype for all others
    return bool(number.value == value and np.signbit(number.value) == np.signbit(value))


def neutral(value: float, *positions: int) -> Callable[[Equation, Makers], Operand | None]:
    """An operand at one of ``positions`` that is ``value`` leaves the other one as it is."""

    def rule(equation: Equation, makers: Makers) -> Operand | None:
        for i in positions:
            if _is(equation.inputs[i], value, makers):
                return equation.inputs[1 - i]
        return None

    return rule


def add_zero(equation: Equation, makers: Makers) -> Operand | None:
    """``x + -0.0``; 0.0 would make 0.0 of -0.0, unless the numbers are integers."""
    zero = 0 if equation.outputs[0].type.dtype.kind in "iub" else -0.0
    return neutral(zero, 0, 1)(equation, makers)


def fold(equation: Equation, makers: Makers) -> Equation | Operand | None:
    """What depends on literals only is computed now, one number for all elements."""
    numbers = [_number(v, makers) for v in equation.inputs]
    if None in numbers:
        return None
    try:
        with np.errstate(all="ignore"):
            value = equation.primitive.numpy(
                *[number.value for number in numbers if number], **equation.params
            )
    except (ValueError, OverflowError):
        return None  # raised where it is evaluated, if it is
    value = np.asarray(value)[()]
    return _repeated(equation, value.item() if equation.outputs[0].type.weak else value)


def _repeated(equation: Equation, value: Any) -> Equation | Operand:
    shape = equation.outputs[0].type.shape
    literal = Literal(value)
    return _instead(equation, registry["broadcast_to"], literal, shape=shape) if shape else literal


def move_number(equation: Equation, makers: Makers) -> Equation | Operand | None:
    """All rearrangements of one repeated number are that number, repeated."""
    number = _number(equation.inputs[0], makers)
    dtype = equation.outputs[0].type.dtype
    return None if number is None else _repeated(equation, dtype.type(number.value))


# -- signs ----------------------------------------------------------------------------------------
def negative_twice(equation: Equation, makers: Makers) -> Operand | None:
    inner = _made_by(equation.inputs[0], "negative", makers)
    return inner.inputs[0] if inner else None


def add_negative(equation: Equation, makers: Makers) -> Equation | None:
    """``x1 + -x2`` is ``x1 - x2``, and so is ``-x2 + x1``."""
    for i, v in enumerate(equation.inputs):
        inner = _made_by(v, "negative", makers)
        if inner:
            return _instead(equation, registry["subtract"], equation.inputs[1 - i], inner.inputs[0])
    return None


def subtract_negative(equation: Equation, makers: Makers) -> Equation | None:
    inner = _made_by(equation.inputs[1], "negative", makers)
    return _instead(equation, registry["add"], equation.inputs[0], *inner.inputs) if inner else None


def square(equation: Equation, makers: Makers) -> Equation | None:
    """``x ** 2``, as NumPy computes it."""
    is_square = _is(equation.inputs[1], 2, makers)
    return _instead(equation, registry["square"], equation.inputs[0]) if is_square else None


# -- choices --------------------------------------------------------------------------------------
def decided(equation: Equation, makers: Makers) -> Operand | None:
    """``where`` with a known condition, or the same value either way."""
    condition, if_true, if_false = equation.inputs
    number = _number(condition, makers)
    if number is None:
        return if_true if if_true is if_false else None
    return if_true if number.value else if_false


def where_not(equation: Equation, makers: Makers) -> Equation | None:
    condition, if_true, if_false = equation.inputs
    inner = _made_by(condition, "logical_not", makers)
    if inner is None:
        return None
    return _instead(equation, equation.primitive, inner.inputs[0], if_false, if_true)


# -- rearrangements -------------------------------------------------------------------------------
def source(equation: Equation, makers: Makers) -> Operand:
    """What changes nothing but the type, and not even that."""
    return equation.inputs[0]


def compose(equation: Equation, makers: Makers) -> Equation | None:
    """Only the last of two reshapes or broadcasts counts."""
    inner = _made_by(equation.inputs[0], equation.primitive.name, makers)
    if inner is None:
        return None
    return _instead(equation, equation.primitive, inner.inputs[0], **equation.params)


def stretched(position: int) -> Rule:
    """An elementwise operation broadcasts by itself."""

    def rule(equation: Equation, makers: Makers) -> Equation | None:
        if position >= len(equation.inputs):
            return None
        operand = equation.inputs[position]
        plain = _number(operand, makers) or _unpadded(operand, makers)
        if plain is None or plain is operand or plain.type.weak:
            return None
        inputs = [*equation.inputs[:position], plain, *equation.inputs[position + 1 :]]
        return _instead(equation, equation.primitive, *inputs, **equation.params)

    return rule


def _unpadded(operand: Operand, makers: Makers) -> Operand | None:
    """What ``operand`` repeats, or that to which it adds leading axes."""
    maker = makers.get(operand)
    if maker is None or maker.primitive.name not in ("broadcast_to", "reshape"):
        return None
    shape, plain = operand.type.shape, maker.inputs[0].type.shape
    is_padded = shape == (1,) * (len(shape) - len(plain)) + plain
    return maker.inputs[0] if maker.primitive.name == "broadcast_to" or is_padded else None


def transpose_identity(equation: Equation, makers: Makers) -> Operand | None:
    axes = equation.params["axes"]
    return equation.inputs[0] if axes == tuple(range(len(axes))) else None


def transpose_twice(equation: Equation, makers: Makers) -> Equation | None:
    inner = _made_by(equation.inputs[0], "transpose", makers)
    if inner is None:
        return None
    axes = tuple(inner.params["axes"][i] for i in equation.params["axes"])
    return _instead(equation, equation.primitive, inner.inputs[0], axes=axes)


def cast_back(equation: Equation, makers: Makers) -> Operand | None:
    """A conversion to a wider dtype of the same kind, and back."""
    inner = _made_by(equation.inputs[0], "astype", makers)
    if inner is None:
        return None
    narrow, wide = inner.inputs[0].type.dtype, inner.params["dtype"]
    is_exact = narrow.kind in (wide.kind, "b") and narrow.itemsize <= wide.itemsize
    return inner.inputs[0] if is_exact else None


def index_all(equation: Equation, makers: Makers) -> Equation | None:
    """All of ``x``, as in ``x[:, None]`` or ``x[0]`` of one row, or zeros overwritten by it."""
    (x,), (out,), key = equation.inputs, equation.outputs, equation.params["key"]
    is_straight = all(k[2] in (None, 1) for k in key if isinstance(k, tuple))
    if not is_straight or x.type.size != out.type.size:
        return None
    return _instead(equation, registry["reshape"], x, shape=out.type.shape)


def index_written(equation: Equation, makers: Makers) -> Operand | None:
    """What has just been written there."""
    maker = makers.get(equation.inputs[0])
    if maker is None or maker.primitive.name not in ("place", "update"):
        return None
    return maker.inputs[-1] if maker.params["key"] == equation.params["key"] else None


def one_element(equation: Equation, makers: Makers) -> Equation | None:
    """A fold of one element each; a sum of floats would make 0.0 of -0.0."""
    (x,), (out,) = equation.inputs, equation.outputs
    is_sum_of_floats = equation.primitive.name == "sum" and is_differentiable(x.type.dtype)
    if is_sum_of_floats or any(x.type.shape[i] != 1 for i in equation.params["axis"]):
        return None
    return _instead(equation, registry["reshape"], x, shape=out.type.shape)


def joined_alone(equation: Equation, makers: Makers) -> Operand | None:
    return equation.inputs[0] if len(equation.inputs) == 1 else None


ELEMENTWISE: Final[tuple[Rule, ...]] = (fold, stretched(0), stretched(1), stretched(2))
RULES: Final[Mapping[str, tuple[Rule, ...]]] = {  # by the name of a primitive
    "add": (add_zero, add_negative),
    "subtract": (neutral(0.0, 1), subtract_negative),
    "multiply": (neutral(1, 0, 1),),
    "divide": (neutral(1, 1),),
    "power": (neutral(1, 1), square),
    "negative": (negative_twice,),
    "where": (decided, where_not),
    "stop_gradient": (source,),
    "reshape": (source, move_number, compose),
    "broadcast_to": (source, compose),
    "astype": (source, fold, cast_back),
    "transpose": (transpose_identity, move_number, transpose_twice),
    "index": (index_all, index_written, move_number),
    "place": (index_all,),
    "concatenate": (joined_alone,),
    **dict.fromkeys(("sum", "prod", "max", "min"), (one_element,)),
}
