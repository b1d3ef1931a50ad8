"""One call for each ufunc and each of its options and methods, from a sample of its domain."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.numpy.surface.judge import OUT, A, Writes

X = np.array([[0.35, 0.62, 0.81], [0.44, 0.27, 0.71]])
Y = np.array([1.3, 0.6, 2.2])
INTEGERS = np.array([[6, 3, 5], [2, 7, 4]])
SMALL = np.array([2, 1, 3])
TRUTH = np.array([[True, False, True], [False, True, True]])
MASK = np.array([True, False, True])
MATRIX = X @ X.T + np.eye(2)

OF_INTEGERS = {
    "bitwise_and",
    "bitwise_count",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "gcd",
    "invert",
    "lcm",
    "left_shift",
    "right_shift",
}
# Of dates, which have no derivative, and no traced form.
OF_DATES = {"isnat"}
GENERALIZED = {"matmul": (X, X.T), "vecdot": (X, Y), "matvec": (X, Y), "vecmat": (Y, X.T)}


def operands(ufunc: np.ufunc) -> tuple[Any, ...]:
    name = ufunc.__name__
    if name in GENERALIZED:
        return GENERALIZED[name]
    if name in OF_INTEGERS:
        return (INTEGERS, SMALL)[: ufunc.nin]
    if name == "arccosh":
        return (X + 1,)
    if name == "ldexp":
        return X, SMALL
    return (X, Y)[: ufunc.nin]


def calls(ufunc: np.ufunc) -> list[A]:
    args = operands(ufunc)
    options: list[dict[str, Any]] = [
        {},
        {"out": OUT},
        {"casting": "same_kind"},
        {"order": "K"},
        {"subok": True},
    ]
    if ufunc.signature is None:
        options.append({"out": OUT, "where": MASK})
    else:
        options += [{"axes": [(-2, -1)] * 3}] if ufunc is np.matmul else []
        options += [{"axis": -1}] if ufunc is np.vecdot else []
    if {"dd->d", "d->d"} & set(ufunc.types) and ufunc.nout == 1:
        options += [{"dtype": np.float64}, {"signature": "d" * ufunc.nin + "->d"}]
    return [A(*args, **option) for option in options]


def methods(ufunc: np.ufunc) -> dict[str, tuple[Any, A]]:
    """Calls of the methods that a ufunc has, by a name of the call."""
    if ufunc.signature is not None or ufunc.nout != 1:
        return {}
    args = operands(ufunc)
    if ufunc.nin == 1:
        if ufunc.__name__.startswith("arc"):
            return {"at": (ufunc.at, Writes(args[0], [0, 1]))}
        with np.errstate(invalid="ignore"):
            twice = np.isfinite(ufunc(ufunc(args[0].copy()))).all()
        return {"at": (ufunc.at, Writes(args[0], [0, 1, 0] if twice else [0, 1]))}
    if ufunc is np.ldexp:
        return {"outer": (ufunc.outer, A(X, SMALL))}
    x, y = args
    found = {
        "outer": (ufunc.outer, A(x, y)),
        "reduce": (ufunc.reduce, A(x)),
        "reduce(axis)": (ufunc.reduce, A(x, axis=1)),
        "reduce(keepdims)": (ufunc.reduce, A(x, keepdims=True)),
        "reduce(out)": (ufunc.reduce, A(x, out=OUT)),
        "reduce(initial, where)": (ufunc.reduce, A(x, axis=1, initial=y[0], where=MASK)),
        "accumulate": (ufunc.accumulate, A(x)),
        "accumulate(axis, out)": (ufunc.accumulate, A(x, axis=1, out=OUT)),
        "reduceat": (ufunc.reduceat, A(x, [0, 2, 1], axis=1)),
        "reduceat(out)": (ufunc.reduceat, A(x, [1, 0], out=OUT)),
    }
    found = {name: call for name, call in found.items() if _is_numpys(*call)}
    result = ufunc(x, y).dtype
    if result == x.dtype:
        found["at"] = (ufunc.at, Writes(x, ([0, 1, 0], [2, 1, 2]), y))
        found["reduce(dtype)"] = (ufunc.reduce, A(x, dtype=x.dtype))
        found["accumulate(dtype)"] = (ufunc.accumulate, A(x, dtype=x.dtype))
        found["reduceat(dtype)"] = (ufunc.reduceat, A(x, [1, 0], dtype=x.dtype))
    return found


def _is_numpys(function: Any, call: A) -> bool:
    """Whether NumPy itself can do it: comparisons of floats do not fold."""
    try:
        function(*call.args, **{k: v for k, v in call.kwargs.items() if v is not OUT})
    except TypeError:
        return False
    return True
