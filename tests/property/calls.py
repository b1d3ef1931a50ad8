"""Calls of NumPy's functions with generated arguments: shapes, dtypes, keywords; also wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

import pullback.numpy
from pullback.core.array import functions, ufuncs

__all__ = ["NO_RECIPE", "RECIPES", "Call", "calls_of", "find"]

DTYPES = (np.float64, np.float64, np.float32, np.float32, np.int64, np.bool_)
SHAPES = ((), (0,), (1,), (3,), (4,), (2, 3), (3, 3), (0, 3), (3, 1), (2, 3, 2), (1, 3))


@dataclass(frozen=True)
class Call:
    """A function's name and its arguments."""

    name: str
    args: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        def show(x: Any) -> str:
            return f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x)

        options = [f"{k}={show(v)}" for k, v in self.options.items()]
        return f"np.{self.name}({', '.join([*map(show, self.args), *options])})"


def find(name: str) -> Callable[..., Any]:
    """``linalg.norm`` -> ``numpy.linalg.norm``."""
    return reduce(getattr, name.split("."), np)  # type: ignore[arg-type]


class Draw:
    """Random choices."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def one(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def array(self, *shapes: tuple[int, ...], dtype: Any = None, special: bool = False) -> Any:
        """Distinct numbers in random order, some of them equal, or some not numbers at all."""
        shape = self.one(*(shapes or SHAPES))
        dtype = dtype or self.one(*DTYPES)
        n = int(np.prod(shape))
        x = self.rng.permutation(np.arange(n) - n // 2) * 0.75 + 0.3
        if self.one(True, False, False) and n:
            x[self.rng.integers(n)] = x[0]
        x = x.reshape(shape)
        if special and np.dtype(dtype).kind == "f" and n and self.one(True, False):
            x.flat[self.rng.integers(n)] = self.one(np.nan, np.inf, -np.inf, -0.0)
        return x.astype(dtype)

    def floats(self, *shapes: tuple[int, ...]) -> Any:
        return self.array(*shapes, dtype=self.one(np.float64, np.float32))

    def axis(self, wild: bool = True) -> Any:
        return self.one(*((None, 0, -1, 1) + ((2, (0, 1), ()) if wild else ())))

    def options(self, **choices: Callable[[], Any]) -> dict[str, Any]:
        """Some of the options."""
        return {k: draw() for k, draw in choices.items() if self.rng.random() < 0.4}


def unary(d: Draw) -> Any:
    return (d.array(special=True),), d.options(
        dtype=lambda: d.one(np.float32, np.float64)
    ) if d.one(0, 0, 0, 1) else {}


def binary(d: Draw) -> Any:
    left = d.array(special=True)
    right = d.one(
        lambda: d.array(left.shape, special=True),
        lambda: d.array(),
        lambda: 2,
        lambda: -0.5,
        lambda: True,
        lambda: np.float32(1.5),
        lambda: d.array((), special=True),
    )()
    return d.one((left, right), (left, right), (right, left)), {}


def fold(d: Draw, *extra: str) -> Any:
    a = d.array(special="nan" in extra)
    choices: dict[str, Any] = {"axis": d.axis, "keepdims": lambda: d.one(True, False)}
    if "dtype" in extra:
        choices["dtype"] = lambda: d.one(np.float32, np.float64)
    if "ddof" in extra:
        choices["ddof"] = lambda: d.one(0, 1, 5)
    if "where" in extra:
        choices["where"] = lambda: d.rng.random(a.shape) < 0.6
    if "initial" in extra:
        choices["initial"] = lambda: d.one(1, 2.5)
    return (a,), d.options(**choices)


def along(d: Draw, **more: Any) -> Any:
    return (d.array(),), d.options(axis=lambda: d.axis(wild=False), **more)


def quantile(d: Draw, scale: float) -> Any:
    q = d.one(0.3, 0.5, 1, [0.1, 0.9], np.array([[0.2], [0.5]]), 0, 1.5, -0.1, np.float32(0.25))
    q = (
        np.multiply(q, scale)
        if isinstance(q, (list, np.ndarray))
        else q
        if scale == 1
        else q * scale
    )
    method = lambda: d.one("linear", "lower", "higher", "midpoint", "nearest", "hazen", "weibull")
    return (d.array((3,), (4,), (2, 3), (1,)), q), d.options(
        axis=lambda: d.axis(), keepdims=lambda: d.one(True, False), method=method
    )


def product(d: Draw) -> Any:
    shapes = ((), (3,), (3, 3), (2, 3), (3, 2), (2, 3, 3), (0, 3), (3, 0))
    return (d.array(*shapes), d.array(*shapes)), {}


def matrix(d: Draw) -> Any:
    a = d.floats((3, 3), (2, 3, 3), (2, 3), (1, 1), (3,))
    if a.ndim > 1 and a.shape[-1] == a.shape[-2]:
        a = a + 20 * np.eye(a.shape[-1], dtype=a.dtype)
    return (a,), {}


def indices(d: Draw, n: int, size: int = 3) -> Any:
    return d.rng.integers(-n, n + d.one(0, 0, 0, 1), size)


def repeated(d: Draw) -> Any:
    return (d.array(), d.one(0, 1, 3, [1, 2, 1], [2])), d.options(axis=lambda: d.axis(wild=False))


def spaced(d: Draw) -> Any:
    end = lambda: d.one(0.5, 2, d.array(()), d.array((3,)), d.array((2, 1)))
    return (end(), end()), d.options(
        num=lambda: d.one(0, 1, 2, 5, -1),
        endpoint=lambda: d.one(True, False),
        dtype=lambda: d.one(np.float32, int),
        axis=lambda: d.one(0, -1),
    )


def several(d: Draw) -> Any:
    shape = d.one(*SHAPES)
    arrays = [d.array(shape, dtype=d.one(None, np.float32)) for _ in range(d.one(1, 2, 3))]
    if d.one(0, 0, 0, 1):
        arrays.append(d.array())
    return (arrays,), {}


def several_along(d: Draw) -> Any:
    return several(d)[0], d.options(
        axis=lambda: d.one(0, 1, -1, 2), dtype=lambda: d.one(np.float32, float)
    )


def signal(d: Draw) -> Any:
    shapes = ((1,), (2,), (3,), (4,), (5,), (0,), (2, 2))
    return (d.array(*shapes, special=True), d.array(*shapes, special=True)), d.options(
        mode=lambda: d.one("full", "same", "valid")
    )


def interpolated(d: Draw) -> Any:
    xp = np.sort(d.floats((3,), (1,), (4,)))
    return (d.array(), xp, d.array(xp.shape, (3,))), d.options(
        left=lambda: 7.0, right=lambda: -1.5, period=lambda: 2.0
    )


def counted(d: Draw) -> Any:
    x = d.rng.integers(0, 4, 5)
    return (x,), d.options(
        weights=lambda: d.array((5,), (5,), (4,)), minlength=lambda: d.one(0, 7, -1)
    )


def norm_of(d: Draw) -> Any:
    order = lambda: d.one(None, 1, 2, 3, 0, np.inf, -np.inf, -1, 2.5, "fro", "nuc")
    return (d.array((3,), (2, 3), (2, 3, 2), (0,), (0, 3), ()),), d.options(
        ord=order, axis=lambda: d.one(None, 0, -1, (0, 1), (0, 1, 2)), keepdims=lambda: True
    )


def summed(d: Draw) -> Any:
    text = d.one("ij->i", "ij->", "...->...", "...->", "ii->i", "i...->...", "ij", "ji")
    if d.one(True, False):
        return (text, d.array((3, 3), (2, 3), (3,))), {}
    text = d.one("ij,jk->ik", "i,j->ij", "...i,...i->...", "ij,ij", "...,i->i")
    return (text, d.array((3, 3), (3,), (2, 3)), d.array((3, 3), (3,), (3, 2))), {}


assert pullback.numpy  # fills the tables of traced forms
PLAIN_UFUNCS = [u for u in ufuncs if isinstance(u, np.ufunc) and getattr(np, u.__name__, None) is u]
UNARY = {u.__name__ for u in PLAIN_UFUNCS if u.nin == 1}
BINARY = {u.__name__ for u in PLAIN_UFUNCS if u.nin == 2 and not u.signature}
FIXED: dict[str, Callable[[Draw], Any]] = {
    **{name: (lambda d: fold(d, "dtype", "where", "initial")) for name in ("sum", "prod")},
    **{name: (lambda d: fold(d, "nan", "where", "initial")) for name in ("max", "min")},
    "mean": lambda d: fold(d, "dtype", "where"),
    **{name: (lambda d: fold(d, "dtype", "where", "ddof")) for name in ("var", "std")},
    **{name: (lambda d: fold(d, "nan", "dtype")) for name in ("nansum", "nanprod", "nanmean")},
    **{name: (lambda d: fold(d, "nan", "ddof", "where")) for name in ("nanvar", "nanstd")},
    **{
        name: (lambda d: fold(d, "nan"))
        for name in ("nanmax", "nanmin", "ptp", "median", "nanmedian", "count_nonzero")
    },
    **{name: (lambda d: fold(d, "where")) for name in ("any", "all")},
    **{name: (lambda d: along(d, keepdims=lambda: True)) for name in ("argmax", "argmin")},
    **{
        name: (lambda d: along(d, dtype=lambda: d.one(np.float32, float)))
        for name in ("cumsum", "cumprod", "nancumsum", "nancumprod")
    },
    **dict.fromkeys(("sort", "argsort", "squeeze", "flip", "diff", "unique"), along),
    "quantile": lambda d: quantile(d, 1),
    "percentile": lambda d: quantile(d, 100),
    "nanquantile": lambda d: quantile(d, 1),
    "nanpercentile": lambda d: quantile(d, 100),
    **dict.fromkeys(
        (
            "matmul",
            "dot",
            "inner",
            "outer",
            "vdot",
            "kron",
            "vecdot",
            "matvec",
            "vecmat",
            "linalg.matmul",
            "linalg.vecdot",
        ),
        product,
    ),
    "linalg.outer": lambda d: ((d.array((3,), (0,), (3, 3)), d.array((3,), (4,))), {}),
    "tensordot": lambda d: (product(d)[0], d.options(axes=lambda: d.one(0, 1, 2, ((0,), (0,))))),
    **dict.fromkeys(
        (
            "linalg.det",
            "linalg.inv",
            "linalg.slogdet",
            "linalg.matrix_transpose",
            "linalg.diagonal",
        ),
        matrix,
    ),
    "linalg.cholesky": lambda d: (matrix(d)[0], d.options(upper=lambda: True)),
    "linalg.matrix_power": lambda d: ((matrix(d)[0][0], d.one(0, 1, 2, 3, -2)), {}),
    "linalg.solve": lambda d: ((matrix(d)[0][0], d.floats((3,), (3, 2), (2, 3, 1))), {}),
    "linalg.norm": norm_of,
    "linalg.vector_norm": norm_of,
    "einsum": summed,
    "convolve": signal,
    "correlate": signal,
    "interp": interpolated,
    "bincount": counted,
    "linspace": spaced,
    "logspace": spaced,
    "repeat": repeated,
    "tile": lambda d: ((d.array(), d.one(2, (2, 1), (0,), (1, 2, 3))), {}),
    "roll": lambda d: (
        (d.array(), d.one(1, -2, (1, 2))),
        d.options(axis=lambda: d.one(0, 1, (0, 1))),
    ),
    "reshape": lambda d: (
        (d.array((2, 3), (6,), (0, 3)), d.one(6, (3, 2), -1, (2, -1), (4,), (0, -1))),
        {},
    ),
    "ravel": lambda d: ((d.array(),), {}),
    "transpose": lambda d: ((d.array(), d.one(None, (1, 0), (0,), (2, 0, 1), (0, 0))), {}),
    "swapaxes": lambda d: ((d.array(), 0, d.one(0, 1, -1)), {}),
    "moveaxis": lambda d: ((d.array(), d.one(0, (0, 1)), d.one(-1, (1, 0))), {}),
    "expand_dims": lambda d: ((d.array(), d.one(0, -1, 1, (0, 1), 5)), {}),
    "broadcast_to": lambda d: ((d.array(), d.one((2, 3), (3,), (2, 2, 3), ())), {}),
    **dict.fromkeys(("vstack", "hstack", "dstack", "column_stack"), several),
    "concatenate": several_along,
    "stack": several_along,
    "clip": lambda d: (
        (d.array(special=True), d.one(None, -1, 0.5, d.array(())), d.one(None, 1, 2.5)),
        {},
    ),
    "round": lambda d: ((d.array(),), d.options(decimals=lambda: d.one(0, 1, 2, -1))),
    "nan_to_num": lambda d: (
        (d.array(special=True),),
        d.options(nan=lambda: 2.0, posinf=lambda: 9.0),
    ),
    "where": lambda d: (
        (d.array((3,), (2, 3)) > 0, d.array((3,), ()), d.one(0, 1.5, d.array((3,)))),
        {},
    ),
    "take": lambda d: (
        (d.array((3,), (3, 2)), indices(d, 3)),
        d.options(axis=lambda: d.one(0, None, 1), mode=lambda: d.one("wrap", "clip", "raise")),
    ),
    "pad": lambda d: (
        (d.array((3,), (2, 3)), d.one(1, (1, 2), 0)),
        d.options(
            mode=lambda: d.one(
                "edge", "reflect", "mean", "maximum", "linear_ramp", "wrap", "symmetric"
            )
        ),
    ),
    "ediff1d": lambda d: (
        (d.array(),),
        d.options(to_end=lambda: d.one(1, 2.5, [1, 2]), to_begin=lambda: 0),
    ),
    "trace": lambda d: ((d.array(),), d.options(offset=lambda: d.one(0, 1, -1))),
    "diagonal": lambda d: ((d.array(),), d.options(offset=lambda: d.one(0, 1, -1))),
    **{
        name: (lambda d: ((d.array(),), d.options(k=lambda: d.one(0, 1, -1))))
        for name in ("tril", "triu", "diag")
    },
    "histogram_bin_edges": lambda d: (
        (d.array((3,), (4,), (0,)),),
        d.options(
            bins=lambda: d.one(3, 1, 0, "auto", [1.0, 2.0]), range=lambda: d.one((0, 2), (1.5, 1.0))
        ),
    ),
    "trapezoid": along,
    "average": lambda d: (
        (d.array((3,), (2, 3)),),
        d.options(axis=lambda: 0, weights=lambda: d.one([1, 2, 3], [1, 2])),
    ),
    "searchsorted": lambda d: (
        (np.sort(d.array((3,))), d.array()),
        d.options(side=lambda: d.one("left", "right")),
    ),
    "unwrap": lambda d: ((d.array((4,), (2, 3)) * 3,), {}),
    "ldexp": lambda d: ((d.array(), d.one(2, -3, np.array([1, 2, 3]), 1.5)), {}),
    "polyval": lambda d: ((d.array((3,)), d.array()), {}),
    "vander": lambda d: ((d.array((3,)),), d.options(N=lambda: d.one(2, 0))),
    "cov": lambda d: ((d.array((2, 3), (4,)),), d.options(ddof=lambda: d.one(0, 1))),
    "gradient": lambda d: ((d.array((4,), (3, 3)),), {}),
    **{
        name: (lambda d: ((d.array(),), {}))
        for name in (
            "atleast_1d",
            "atleast_2d",
            "atleast_3d",
            "copy",
            "sinc",
            "i0",
            "fix",
            "isneginf",
            "nonzero",
            "zeros_like",
            "ones_like",
            "array",
            "asarray",
            "flatnonzero",
            "fliplr",
            "flipud",
            "rot90",
        )
    },
}
RECIPES = {
    name: FIXED.get(name) or (unary if name in UNARY else binary)
    for name in sorted(UNARY | BINARY | FIXED.keys())
}
NO_RECIPE = {
    f.__name__
    for f in functions
    if getattr(np, f.__name__, None) is f and f.__name__ not in RECIPES
}


def calls_of(name: str, n: int, seed: int) -> list[Call]:
    """``n`` calls of one function."""
    draw = Draw(np.random.default_rng([seed, *name.encode()]))
    return [Call(name, *RECIPES[name](draw)) for _ in range(n)]
