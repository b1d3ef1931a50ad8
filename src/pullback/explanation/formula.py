"""Equations as NumPy expressions.

Every expression printed here can be evaluated by NumPy once its symbols are given values. Numbers
are gathered in front: ``0.5 * (2 * x)`` is written ``x``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from pullback.core.graph import Equation, Variable
from pullback.core.types import ArrayType, Shape

__all__ = ["Text", "atom", "constant", "expression"]

LARGEST_DENOMINATOR = 1000
ATOM, POSTFIX, POWER, SIGN, PRODUCT, SUM, SHIFT, COMPARE = 9, 8, 7, 6, 5, 4, 3, 2

# NumPy's operators: symbol and precedence. Everything else is printed as a call.
OPERATORS = {
    "power": ("**", POWER),
    "multiply": ("*", PRODUCT),
    "divide": ("/", PRODUCT),
    "matmul": ("@", PRODUCT),
    "remainder": ("%", PRODUCT),
    "floor_divide": ("//", PRODUCT),
    "add": ("+", SUM),
    "subtract": ("-", SUM),
    "less": ("<", COMPARE),
    "less_equal": ("<=", COMPARE),
    "greater": (">", COMPARE),
    "greater_equal": (">=", COMPARE),
    "equal": ("==", COMPARE),
    "not_equal": ("!=", COMPARE),
}


class Text:
    """``scale`` times an expression; an empty ``body`` is the number 1, broadcast to ``shape``.

    ``atoms`` are the variables that the expression names, in order; ``base`` is what a reshaped
    expression was before.
    """

    __slots__ = ("atoms", "base", "body", "level", "scale", "shape")

    def __init__(
        self,
        body: str,
        level: int,
        shape: Shape,
        atoms: tuple[Variable, ...] = (),
        scale: float = 1.0,
    ) -> None:
        self.body = body
        self.level = level
        self.shape = shape
        self.atoms = atoms
        self.scale = scale
        self.base: Text | None = None

    @property
    def is_number(self) -> bool:
        return not self.body

    def scaled(self, scale: float) -> Text:
        return Text(self.body, self.level, self.shape, self.atoms, self.scale * scale)

    def render(self) -> tuple[str, int]:
        """The expression with its scale, and its precedence."""
        if self.is_number:
            return number(self.scale)
        if self.scale == 1:
            return self.body, self.level
        if self.scale == -1:
            return "-" + bracket(self.body, self.level, SIGN), SIGN
        factor = number(self.scale)[0]
        if self.body.startswith("1 / "):
            return factor + self.body[1:], PRODUCT
        return f"{factor} * {bracket(self.body, self.level, right_of_product(self.body))}", PRODUCT

    def at_least(self, level: int) -> str:
        return bracket(*self.render(), level)

    def __str__(self) -> str:
        """The expression by itself, with its shape."""
        text = self.render()[0]
        return f"full({self.shape}, {text})" if self.is_number and self.shape else text


def bracket(text: str, level: int, least: int) -> str:
    return text if level >= least else f"({text})"


def right_of_product(body: str) -> int:
    """Least precedence to the right of ``*``: further products may follow, but not ``@ % //``."""
    return PRODUCT + any(sign in body for sign in (" @ ", " % ", " // "))


def number(value: float) -> tuple[str, int]:
    """A number in few digits if they are exact, else as a fraction, else in full."""
    if not np.isfinite(value):
        return ("-inf" if value < 0 else str(value)), SIGN if value < 0 else ATOM
    text = f"{value:.6g}"
    level = SIGN if value < 0 else ATOM
    if float(text) == value or np.float32(text) == value:
        return text, level
    for below in range(2, LARGEST_DENOMINATOR):
        above = round(value * below)
        if above / below == value:
            return f"{above}/{below}", PRODUCT
    return repr(value), level


def atom(name: str, variable: Variable) -> Text:
    """A variable by its name."""
    return Text(name, ATOM, variable.type.shape, (variable,))


def constant(value: Any, shape: Shape) -> Text:
    """An array of equal numbers."""
    return Text("", ATOM, shape, scale=float(value))


def expression(equation: Equation, operands: Sequence[Text]) -> Text:
    """The equation's (first) output in terms of the texts of its operands."""
    primitive, out = equation.primitive, equation.outputs[0].type
    same = primitive.name == "astype" and equation.inputs[0].type.dtype == out.dtype
    if same or primitive.name == "number":
        return operands[0]
    if primitive.name == "reshape":
        return _reshape(equation, operands[0])
    atoms = tuple(dict.fromkeys(v for text in operands for v in text.atoms))
    scale = 1.0
    if primitive.family in ("linear", "contraction") and operands:
        movable = operands if primitive.family == "contraction" else operands[:1]
        scale = float(np.prod([1.0 if text.is_number else text.scale for text in movable]))
        operands = [_unit(text) for text in movable] + list(operands[len(movable) :])
    if primitive.family == "elementwise":
        product = _product(primitive.name, operands, out, atoms)
        if product is not None:
            return product
        operands = _broadcast(operands, out)
    if primitive.name in OPERATORS and len(operands) == 2:
        body, level = _infix(primitive.name, operands)
    else:
        body, level = _call(equation, operands)
    return Text(body, level, out.shape, atoms, scale)


def _reshape(equation: Equation, operand: Text) -> Text:
    """Only the last of several reshapes counts, and none if it undoes the others."""
    base = operand.base or operand
    shape = equation.outputs[0].type.shape
    if base.shape == shape:
        return base
    if base.is_number:
        return constant(base.scale, shape)
    text = Text(_call(equation, [_unit(base)])[0], POSTFIX, shape, base.atoms, base.scale)
    text.base = base
    return text


def _unit(text: Text) -> Text:
    """The expression without its scale; a number is spelled out."""
    if not text.is_number:
        return Text(text.body, text.level, text.shape, text.atoms)
    return Text(str(text), POSTFIX if text.shape else text.render()[1], text.shape)


def _product(
    name: str, operands: Sequence[Text], out: ArrayType, atoms: tuple[Variable, ...]
) -> Text | None:
    """Products, quotients and signs, whose numbers are gathered in front."""
    if name == "negative":
        return operands[0].scaled(-1)
    scales = [text.scale for text in operands]
    if name not in ("multiply", "divide") or not all(np.isfinite(scales)) or 0 in scales:
        return None
    left, right = operands
    scale = left.scale * right.scale if name == "multiply" else left.scale / right.scale
    if right.is_number and left.shape == out.shape and not left.is_number:
        return Text(left.body, left.level, out.shape, atoms, scale)
    if left.is_number and right.shape == out.shape and name == "multiply":
        return Text(right.body, right.level, out.shape, atoms, scale)
    units = [
        Text(text.body or "1", text.level, text.shape, text.atoms)
        for text in _broadcast(operands, out)
    ]
    outer = _outer(*units) if name == "multiply" else None
    body, level = outer or _infix(name, units)
    return Text(body, level, out.shape, atoms, scale)


def _outer(left: Text, right: Text) -> tuple[str, int] | None:
    """``u[..., None] * v`` of two vectors."""
    column = left.body.removesuffix("[..., None]")
    if column == left.body or left.level != POSTFIX:
        return None
    if len(left.shape) != 2 or len(right.shape) != 1 or right.body == "1":
        return None
    return f"outer({column}, {right.body})", POSTFIX


def _broadcast(operands: Sequence[Text], out: ArrayType) -> list[Text]:
    """Numbers stay bare where the other operands have the shape already."""
    shapes = [text.shape for text in operands if not text.is_number]
    if shapes and np.broadcast_shapes(*shapes) == out.shape:
        return list(operands)
    return [_unit(text) if text.is_number else text for text in operands]


def _infix(name: str, operands: Sequence[Text]) -> tuple[str, int]:
    symbol, level = OPERATORS[name]
    left, right = operands
    if name in ("add", "subtract") and right.scale < 0:
        symbol, right = ("-" if name == "add" else "+"), right.scaled(-1)
    if symbol == "*" and right.scale == 1 and right.body.startswith("1 / "):
        return left.at_least(level) + right.body[1:], level
    tight = level + 1
    first = left.at_least(tight if name in ("power", "matmul") or level == COMPARE else level)
    # a * b * c needs no brackets; a / (b * c) and a @ (b * c) do.
    least = {"+": SUM, "*": right_of_product(right.body)}.get(symbol, tight)
    return f"{first} {symbol} {right.at_least(least)}", level


def _call(equation: Equation, operands: Sequence[Text]) -> tuple[str, int]:
    name, params = equation.primitive.name, equation.params
    bare = equation.primitive.family == "elementwise"
    texts = [text.render()[0] if bare else str(text) for text in operands]
    inner = operands[0].at_least(POSTFIX) if operands else ""
    if name == "transpose" and params["axes"] == (1, 0):
        return f"{inner}.T", POSTFIX
    if name == "index":
        key = ", ".join(map(_index, params["key"]))
        column = key == "..., 0" and len(equation.outputs[0].type.shape) == 1
        vector = _matrix_times_vector(operands[0].body) if column else None
        return (vector, PRODUCT) if vector else (f"{inner}[{key}]", POSTFIX)
    if name == "gather":
        return f"{inner}[{', '.join(texts[1:])}]", POSTFIX
    if name == "astype":
        return f"{inner}.astype('{params['dtype']}')", POSTFIX
    if params.get("axis") == tuple(range(len(operands[0].shape) if operands else 0)):
        params = {key: value for key, value in params.items() if key != "axis"}
    if "key" in params:
        key = ", ".join(map(_index, params["key"]))
        params = {**params, "key": f"s_[{key}]"}
    static = [f"{key}={_param(value)}" for key, value in params.items() if _is_plain(value)]
    return f"{name}({', '.join([*texts, *static])})", POSTFIX


def _matrix_times_vector(body: str) -> str | None:
    """``A @ v`` for ``A @ v[..., None]``, whose column is taken off again."""
    matrix, at, column = body.partition(" @ ")
    vector = column.removesuffix("[..., None]")
    whole = vector != column and (" " not in vector or _is_bracketed(vector))
    return f"{matrix} @ {vector}" if at and whole and _depths(matrix)[-1:] == [0] else None


def _depths(text: str) -> list[int]:
    """How many brackets are open after each character."""
    return list(accumulate((c in "([") - (c in ")]") for c in text))


def _is_bracketed(text: str) -> bool:
    """Whether one pair of brackets holds the whole text."""
    return text.startswith("(") and 0 not in _depths(text)[:-1]


def _index(key: Any) -> str:
    if key is Ellipsis:
        return "..."
    if isinstance(key, tuple):
        start, stop, step = ("" if part is None else str(part) for part in key)
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return str(key)


def _param(value: Any) -> str:
    if isinstance(value, tuple) and len(value) == 1:
        return _param(value[0])
    return f"'{value}'" if isinstance(value, np.dtype) else str(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str, np.dtype))
