"""NumPy is the oracle: a function of plain arrays gives values and, by differences, slopes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pullback as pb
from pullback.core.array import Array
from pullback.core.trace import EVALUATE
from pullback.core.types import type_of
from pullback.testing.grads import inner, random_like
from pullback.transforms.evaluate import evaluate
from pullback.transforms.stage import stage

STEP = 2.0**-12


def flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [part for item in result for part in flat(item)]
    return [result]


def plain(value: Any) -> Any:
    return value.frozen().value if type(value) is Array else value


def assert_same(actual: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-13) -> None:
    actual, expected = flat(actual), flat(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        e = np.asarray(e)
        assert np.shape(a) == e.shape
        assert np.asarray(a).dtype == e.dtype
        np.testing.assert_allclose(np.asarray(a), e, rtol=rtol, atol=atol)


def slope(f: Callable[[float], Any]) -> Any:
    """Five-point central difference at 0; its error is of fourth order in the step."""
    return (8 * (f(STEP) - f(-STEP)) - (f(2 * STEP) - f(-2 * STEP))) / (12 * STEP)


def check_values(f: Callable[..., Any], *args: Any, staged: bool = True) -> None:
    """Equal to NumPy as buffers, under reverse mode, and (if shapes allow) from a graph."""
    expected = f(*[np.copy(a) for a in args])
    assert_same([plain(y) for y in flat(f(*[Array(EVALUATE, np.copy(a)) for a in args]))], expected)
    floats = [i for i, a in enumerate(args) if np.asarray(a).dtype.kind in "fc"]

    def of_floats(*some: Any) -> Any:
        full = list(args)
        for i, value in zip(floats, some, strict=True):
            full[i] = value
        return tuple(flat(f(*full)))

    if floats:
        assert_same(pb.vjp(of_floats, *[args[i] for i in floats])[0], expected)
    if staged:
        graph = stage(lambda *xs: flat(f(*xs)), [type_of(np.asarray(a)) for a in args])
        graph.graph.verify()
        check_batched(f, args)
        assert_same(evaluate(graph.graph, [*graph.captured, *map(np.asarray, args)]), expected)


def check_batched(f: Callable[..., Any], args: Sequence[Any]) -> None:
    """A batch of two, in different places of the operands, against one after the other."""
    arrays = [np.asarray(a) for a in args]
    moved = [a[::-1] * a.dtype.type(1) if a.ndim else a for a in arrays]
    axes = [a.ndim if i % 2 else 0 for i, a in enumerate(arrays)]
    pairs = [np.stack(p, axis) for *p, axis in zip(arrays, moved, axes, strict=True)]
    actual = pb.vmap(lambda *xs: tuple(flat(f(*xs))), in_axes=tuple(axes))(*pairs)
    for i, chosen in enumerate((arrays, moved)):
        assert_same([y[i] for y in actual], f(*chosen), rtol=1e-11, atol=1e-12)


def check_slopes(f: Callable[..., Any], *args: Any, rtol: float = 1e-7) -> None:
    """Reverse and forward mode against differences of the plain function, and second order."""
    rng = np.random.default_rng(0)
    floats = [i for i, a in enumerate(args) if np.asarray(a).dtype.kind in "fc"]
    x_dots = [random_like(rng, args[i]) for i in floats]

    def of_floats(*some: Any) -> Any:
        full = list(args)
        for i, value in zip(floats, some, strict=True):
            full[i] = value
        return [y for y in flat(f(*full)) if y.dtype.kind in "fc"]

    primals = [args[i] for i in floats]
    y_bars = [random_like(rng, y) for y in of_floats(*primals)]

    def total(*some: Any) -> Any:
        pairs = zip(y_bars, of_floats(*some), strict=True)
        return sum(np.sum(c.real * y.real + c.imag * y.imag) for c, y in pairs)

    def along(t: float) -> Any:
        return total(*[x + t * d for x, d in zip(primals, x_dots, strict=True)])

    expected = slope(along)
    x_bars = pb.grad(total, argnums=tuple(range(len(floats))))(*primals)
    reverse = inner(x_bars, x_dots)
    np.testing.assert_allclose(reverse, expected, rtol=rtol, atol=rtol)
    _, forward = pb.jvp(total, tuple(primals), tuple(x_dots))
    np.testing.assert_allclose(forward, reverse, rtol=1e-11, atol=1e-12)


def check(f: Callable[..., Any], *args: Any, staged: bool = True) -> None:
    check_values(f, *args, staged=staged)
    check_slopes(f, *args)
