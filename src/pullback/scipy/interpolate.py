"""``scipy.interpolate`` for traced arrays: piecewise polynomials. All other names are SciPy's.

Differentiable in the data, in the points at which they are given, and in those that are asked for.

Sources: C. de Boor (1978), *A Practical Guide to Splines*, chapter 4; F. Fritsch, J. Butland
(1984), *A method for constructing local monotone piecewise cubic interpolants*.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.interpolate

from pullback.core.source import here
from pullback.errors import ArgumentError
from pullback.ops.identity import stop_gradient
from pullback.ops.index import gather
from pullback.scipy.linalg import solve_banded
from pullback.scipy.names import names_of
from pullback.scipy.opaque import floats, require

__all__ = [
    "CubicHermiteSpline",
    "CubicSpline",
    "PPoly",
    "PchipInterpolator",
    "RegularGridInterpolator",
    "interp1d",
]


__getattr__, __dir__ = names_of(scipy.interpolate)


def _along(x: Any, y: Any) -> Any:
    """``x`` with axes of length 1 for the further axes of ``y``."""
    return np.reshape(x, (x.shape[0], *(1,) * (y.ndim - 1)))


def _knots(name: str, x: Any, y: Any, least: int) -> None:
    plain = stop_gradient(x)
    if x.ndim != 1 or y.shape[:1] != x.shape or x.shape[0] < least:
        raise ArgumentError(
            f"{name}: x has shape {x.shape}, y {y.shape}",
            where=str(here()),
            fix=f"pass a vector of at least {least} points, and a value for each",
        )
    if isinstance(plain, np.ndarray) and not np.all(np.diff(plain) > 0):
        raise ArgumentError(
            f"{name}: the points do not increase", where=str(here()), fix="sort x, without repeats"
        )


class PPoly:
    """Polynomials on intervals: ``sum_k c[k, i] (x - x[i])^(K - k)`` with ``K = len(c) - 1``.

    Args:
        c: coefficients ``(K + 1, intervals, ...)``, highest power first.
        x: ends of the intervals, increasing.
        extrapolate: whether the outer polynomials go on beyond the ends; else the result is NaN.

    >>> import numpy as np
    >>> import pullback as pb
    >>> p = pb.scipy.interpolate.PPoly(np.array([[1.0], [0.0]]), np.array([0.0, 2.0]))
    >>> float(pb.grad(lambda c: p.integrate(0.0, c))(1.5))
    1.5
    """

    def __init__(self, c: Any, x: Any, extrapolate: Any = None, axis: int = 0) -> None:
        self.c, self.x = floats(c, x)
        self.extrapolate = True if extrapolate is None else extrapolate
        self.axis = axis

    def _intervals(self, at: Any) -> Any:
        """The number of the interval that each point lies in."""
        found = np.searchsorted(stop_gradient(self.x), stop_gradient(at), side="right") - 1
        return np.clip(found, 0, self.c.shape[1] - 1)

    def _placed(self, y: Any, ndim: int) -> Any:
        """The axes of the points where the axis of the data was."""
        if self.axis == 0:
            return y
        return np.moveaxis(y, list(range(ndim)), list(range(self.axis, self.axis + ndim)))

    def __call__(self, x: Any, nu: int = 0, extrapolate: Any = None) -> Any:
        """Values, or derivatives of order ``nu``, at ``x``."""
        if nu:
            return self.derivative(nu)(x, 0, extrapolate)
        at = floats(x)
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        if extrapolate == "periodic":
            period = self.x[-1] - self.x[0]
            at = self.x[0] + (at - self.x[0]) % period
        i = self._intervals(at)
        step = at - gather(self.x, i)
        step = np.reshape(step, step.shape + (1,) * (self.c.ndim - 2))
        y = gather(self.c[0], i)
        for k in range(1, self.c.shape[0]):
            y = y * step + gather(self.c[k], i)
        if not extrapolate:
            beyond = (at < self.x[0]) | (at > self.x[-1])
            y = np.where(np.reshape(beyond, step.shape), np.nan, y)
        return self._placed(y, np.ndim(at))

    def derivative(self, nu: int = 1) -> PPoly:
        """The derivative of order ``nu``, as piecewise polynomials."""
        c = self.c
        for _ in range(nu):
            powers = np.arange(c.shape[0] - 1, 0, -1.0)
            c = c[:-1] * _along(powers, c) if c.shape[0] > 1 else 0 * c
        return PPoly(c, self.x, self.extrapolate, self.axis)

    def antiderivative(self, nu: int = 1) -> PPoly:
        """The integral from ``x[0]``, ``nu`` times."""
        found = self
        for _ in range(nu):
            c = found.c / _along(np.arange(found.c.shape[0], 0, -1.0), found.c)
            steps = _along(np.diff(found.x), c[0])
            area = sum(c[k] * steps ** (c.shape[0] - k) for k in range(c.shape[0]))
            start = np.concatenate([0 * area[:1], np.cumsum(area[:-1], axis=0)])
            c = np.concatenate([c, start[None]])
            found = PPoly(c, found.x, found.extrapolate, found.axis)
        return found

    def integrate(self, a: Any, b: Any, extrapolate: Any = None) -> Any:
        """The integral from ``a`` to ``b``, both numbers."""
        whole = self.antiderivative()
        extrapolate = self.extrapolate if extrapolate is None else extrapolate
        if extrapolate == "periodic":
            require("interpolate.PPoly.integrate", extrapolate=(extrapolate, None))
        return whole(b, 0, extrapolate) - whole(a, 0, extrapolate)


class CubicHermiteSpline(PPoly):
    """The cubic on each interval with given values and slopes at its ends.

    Args:
        x: ``(n,)``, increasing.
        y: values, ``n`` of them along ``axis``.
        dydx: slopes, shaped like ``y``.
    """

    def __init__(self, x: Any, y: Any, dydx: Any, axis: int = 0, extrapolate: Any = None) -> None:
        x, y, slopes = floats(x, y, dydx)
        self._fill(x, np.moveaxis(y, axis, 0), np.moveaxis(slopes, axis, 0), axis, extrapolate)

    def _fill(self, x: Any, y: Any, slopes: Any, axis: int, extrapolate: Any) -> None:
        _knots(type(self).__name__, x, y, 2)
        steps = _along(np.diff(x), y)
        rise = np.diff(y, axis=0) / steps
        bend = (slopes[:-1] + slopes[1:] - 2 * rise) / steps
        c = np.stack([bend / steps, (rise - slopes[:-1]) / steps - bend, slopes[:-1], y[:-1]])
        super().__init__(c, x, extrapolate, axis % y.ndim)


class CubicSpline(CubicHermiteSpline):
    """The cubic spline with two continuous derivatives through the data.

    Args:
        x: ``(n,)``, increasing; n at least 2.
        y: values, ``n`` of them along ``axis``.
        bc_type: ``"not-a-knot"``, ``"natural"``, ``"clamped"``, or a pair of these or of
            ``(order, value)`` with the first or second derivative at an end. ``"periodic"`` is
            refused.

    >>> import numpy as np
    >>> import pullback as pb
    >>> x = np.arange(5.0)
    >>> def slope(y):
    ...     return pb.scipy.interpolate.CubicSpline(x, y)(2.0, 1)
    >>> pb.grad(slope)(x**2).round(4).tolist()
    [0.0833, -0.6667, -0.0, 0.6667, -0.0833]
    """

    def __init__(
        self, x: Any, y: Any, axis: int = 0, bc_type: Any = "not-a-knot", extrapolate: Any = None
    ) -> None:
        x, y = floats(x, y)
        y = np.moveaxis(y, axis, 0)
        _knots("CubicSpline", x, y, 2)
        if extrapolate is None:
            extrapolate = True
        self._fill(x, y, _slopes(x, y, _ends(bc_type)), axis, extrapolate)


def _ends(bc_type: Any) -> list[Any]:
    """The conditions at both ends: ``None`` for not-a-knot, or ``(order, value)``."""
    named = {"not-a-knot": None, "natural": (2, 0.0), "clamped": (1, 0.0)}
    pair = [bc_type, bc_type] if isinstance(bc_type, str) else list(bc_type)
    found: list[Any] = []
    for one in pair:
        if isinstance(one, str):
            if one not in named:
                fix = "choose not-a-knot, natural, clamped, or (order, value)"
                require("interpolate.CubicSpline", fix, bc_type=(one, "not-a-knot"))
            found.append(named[one])
        else:
            found.append(one)
    if len(found) != 2 or any(e is not None and e[0] not in (1, 2) for e in found):
        raise ArgumentError(
            f"CubicSpline: bc_type={bc_type!r}",
            where=str(here()),
            fix="pass a name, or a pair of names or (1 or 2, value)",
        )
    return found


def _slopes(x: Any, y: Any, ends: list[Any]) -> Any:
    """The slopes at the knots: de Boor (1978), chapter 4, equations 10 to 14."""
    n, h, rise = x.shape[0], np.diff(x), np.diff(y, axis=0) / _along(np.diff(x), y)
    if n == 2:
        ends = [(1, rise[0]) if end is None else end for end in ends]
    if n == 3 and ends == [None, None]:  # a parabola: SciPy's own reading of not-a-knot
        steps = _along(h, y)
        bend = (rise[1] - rise[0]) / (steps[0] + steps[1])
        return np.stack(
            [rise[0] - bend * steps[0], rise[0] + bend * steps[0], rise[1] + bend * steps[1]]
        )
    rows = [_first_row(x, y, h, rise, ends[0])]
    rows.append(_last_row(x, y, h, rise, ends[1]))
    (d0, u0, r0), (d1, l1, r1) = rows
    middle = 2 * (h[:-1] + h[1:])
    inner = 3 * (_along(h[1:], y) * rise[:-1] + _along(h[:-1], y) * rise[1:])
    zero = 0 * h[:1]
    ab = np.stack(
        [
            np.concatenate([zero, np.reshape(u0, (1,)), h[:-1]]),
            np.concatenate([np.reshape(d0, (1,)), middle, np.reshape(d1, (1,))]),
            np.concatenate([h[1:], np.reshape(l1, (1,)), zero]),
        ]
    )
    right = np.concatenate([r0[None], inner, r1[None]])
    flat = solve_banded((1, 1), ab, np.reshape(right, (n, -1)))
    return np.reshape(flat, y.shape)


def _first_row(x: Any, y: Any, h: Any, rise: Any, end: Any) -> tuple[Any, Any, Any]:
    """Diagonal, neighbour and right-hand side of the first row."""
    if end is None:
        d = x[2] - x[0]
        right = ((h[0] + 2 * d) * h[1] * rise[0] + h[0] ** 2 * rise[1]) / d
        return h[1], d, right
    order, value = end
    value = value + 0 * y[0]
    if order == 1:
        return 1.0 + 0 * h[0], 0 * h[0], value
    return 2 * h[0], h[0], 3 * (y[1] - y[0]) - 0.5 * value * h[0] ** 2


def _last_row(x: Any, y: Any, h: Any, rise: Any, end: Any) -> tuple[Any, Any, Any]:
    """That of the last row is the first of the mirrored data."""
    if end is not None and end[0] == 1:
        end = (1, -end[1])
    diagonal, beside, right = _first_row(-x[::-1], y[::-1], h[::-1], -rise[::-1], end)
    return diagonal, beside, -right


class PchipInterpolator(CubicHermiteSpline):
    """The piecewise cubic that is monotone where the data are (Fritsch & Butland 1984).

    Its slopes have kinks in the data where a slope between neighbours is 0.
    """

    def __init__(self, x: Any, y: Any, axis: int = 0, extrapolate: Any = None) -> None:
        x, y = floats(x, y)
        y = np.moveaxis(y, axis, 0)
        _knots("PchipInterpolator", x, y, 2)
        h = _along(np.diff(x), y)
        rise = np.diff(y, axis=0) / h
        if x.shape[0] == 2:
            slopes = np.concatenate([rise, rise])
        else:
            one, two = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
            flat = rise[:-1] * rise[1:] <= 0
            before, after = np.where(flat, 1.0, rise[:-1]), np.where(flat, 1.0, rise[1:])
            inner = np.where(flat, 0.0, (one + two) / (one / before + two / after))
            first = _end_slope(h[0], h[1], rise[0], rise[1])
            last = _end_slope(h[-1], h[-2], rise[-1], rise[-2])
            slopes = np.concatenate([first[None], inner, last[None]])
        self._fill(x, y, slopes, axis, True if extrapolate is None else extrapolate)


def _end_slope(h: Any, other: Any, rise: Any, next_rise: Any) -> Any:
    """The slope at an end by three points, kept to the shape of the data."""
    slope = ((2 * h + other) * rise - h * next_rise) / (h + other)
    wrong = np.sign(slope) != np.sign(rise)
    steep = (np.sign(rise) != np.sign(next_rise)) & (np.abs(slope) > 3 * np.abs(rise))
    return np.where(wrong, 0.0, np.where(steep, 3 * rise, slope))


class interp1d:  # noqa: N801 - SciPy's name
    """A function through points by lines (``kind="linear"``) or by a cubic spline (``"cubic"``).

    Args:
        x: ``(n,)``, increasing unless ``assume_sorted`` is ``False``.
        y: values along ``axis``.
        bounds_error: points beyond the ends raise unless it is ``False``, or ``fill_value`` given.
        fill_value: the value beyond the ends, or ``"extrapolate"``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> f = pb.scipy.interpolate.interp1d(np.array([0.0, 1.0]), np.array([1.0, 3.0]))
    >>> float(pb.grad(f)(0.25))
    2.0
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        kind: str = "linear",
        axis: int = -1,
        copy: bool = True,
        bounds_error: bool | None = None,
        fill_value: Any = np.nan,
        assume_sorted: bool = False,
    ) -> None:
        x, y = floats(x, y)
        if not assume_sorted:
            order = np.argsort(stop_gradient(x))
            x, y = x[order], np.take(y, order, axis=axis)
        if kind == "cubic":
            self.poly: PPoly = CubicSpline(x, y, axis)
        else:
            fix = "choose linear or cubic"
            require("interpolate.interp1d", fix, kind=(kind, "linear"))
            moved = np.moveaxis(y, axis, 0)
            _knots("interp1d", x, moved, 2)
            c = np.stack([np.diff(moved, axis=0) / _along(np.diff(x), moved), moved[:-1]])
            self.poly = PPoly(c, x, None, axis % y.ndim)
        self.fill = fill_value
        is_nan = isinstance(fill_value, float) and np.isnan(fill_value)
        self.bounds_error = is_nan if bounds_error is None else bounds_error

    def __call__(self, x: Any) -> Any:
        y = self.poly(x)
        if isinstance(self.fill, str):
            return y
        at, knots = floats(x), self.poly.x
        low, high = at < knots[0], at > knots[-1]
        if self.bounds_error and bool(np.any(low | high)):
            raise ArgumentError(
                "interp1d: a point lies beyond the data",
                where=str(here()),
                fix='pass fill_value="extrapolate", or bounds_error=False for NaN',
            )
        below, above = self.fill if isinstance(self.fill, tuple) else (self.fill, self.fill)
        shape = np.shape(at) + (1,) * (self.poly.c.ndim - 2)
        outside = [self.poly._placed(np.reshape(m, shape), at.ndim) for m in (low, high)]
        return np.where(outside[0], below, np.where(outside[1], above, y))


class RegularGridInterpolator:
    """Values on a grid by products of lines: ``method="linear"``, in any number of axes.

    Args:
        points: a vector for each axis of the grid, increasing.
        values: ``(n1, n2, ..., further)``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> grid = pb.scipy.interpolate.RegularGridInterpolator
    >>> x = np.arange(3.0)
    >>> f = grid((x, x), x[:, None] * x)
    >>> pb.grad(lambda p: f(p)[0])(np.array([[0.5, 1.5]])).tolist()
    [[1.5, 0.5]]
    """

    def __init__(
        self,
        points: Any,
        values: Any,
        method: str = "linear",
        bounds_error: bool = True,
        fill_value: Any = np.nan,
    ) -> None:
        require("interpolate.RegularGridInterpolator", method=(method, "linear"))
        self.grid = [floats(p) for p in points]
        self.values = floats(values)
        self.bounds_error, self.fill_value = bounds_error, fill_value

    def __call__(self, xi: Any) -> Any:
        at = floats(np.stack(xi, axis=-1) if isinstance(xi, tuple) else xi)
        total, outside = self.values, False
        for k, knots in enumerate(self.grid):
            c = at[..., k]
            outside = outside | (c < knots[0]) | (c > knots[-1])
            i = np.searchsorted(stop_gradient(knots), stop_gradient(c), side="right") - 1
            i = np.clip(i, 0, knots.shape[0] - 2)
            low, high = gather(knots, i), gather(knots, i + 1)
            share = (c - low) / (high - low)
            if k == 0:
                low, high = gather(total, i), gather(total, i + 1)
                lead = c.ndim
            else:  # one grid axis less each time, behind those of the points
                places = np.indices(c.shape)
                low, high = gather(total, *places, i), gather(total, *places, i + 1)
            share = np.reshape(share, share.shape + (1,) * (low.ndim - lead))
            total = low + share * (high - low)
        if self.fill_value is None:
            return total
        if self.bounds_error and bool(np.any(outside)):
            raise ArgumentError(
                "RegularGridInterpolator: a point lies beyond the grid",
                where=str(here()),
                fix="pass bounds_error=False, and fill_value=None to go on beyond it",
            )
        shape = np.shape(outside) + (1,) * (total.ndim - np.ndim(outside))
        return np.where(np.reshape(outside, shape), self.fill_value, total)
