"""``scipy.signal`` for traced arrays: convolutions and linear filters. Other names are SciPy's.

A filter is ``A(q) y = B(q) x`` with polynomials of the delay q: a convolution with b, then the
recursion of :data:`all_pole`, which SciPy runs. Of it, ``A y' = u' - A' y``, and the transposed
filter runs backwards in time (A. Oppenheim, R. Schafer (2010), *Discrete-Time Signal Processing*,
section 6.4).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.fft
import scipy.signal

from pullback.core.primitive import Primitive, Rule, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType
from pullback.errors import ArgumentError
from pullback.ops.families import cast, conjugate, draw
from pullback.scipy.names import names_of
from pullback.scipy.opaque import floats, one_by_one, require

__all__ = [
    "convolve", "correlate", "detrend", "fftconvolve", "filtfilt", "freqz", "hilbert", "lfilter",
    "lfilter_zi", "sosfilt", "sosfreqz",
]  # fmt: skip

DIRECT = 64  # taps up to which a convolution is a sum of shifted copies


__getattr__, __dir__ = names_of(scipy.signal)


# -- convolutions ---------------------------------------------------------------------------------
def _cut(full: Any, one: Any, two: Any, mode: str) -> Any:
    """The part of a full convolution that ``mode`` asks for, of operands of these shapes."""
    if mode == "full":
        return full
    if mode not in ("same", "valid"):
        raise ArgumentError(
            f"mode={mode!r}", where=str(here()), fix="pass 'full', 'same' or 'valid'"
        )
    sizes = one if mode == "same" else [abs(n - m) + 1 for n, m in zip(one, two, strict=True)]
    starts = [(n - size) // 2 for n, size in zip(full.shape, sizes, strict=True)]
    return full[tuple(slice(s, s + n) for s, n in zip(starts, sizes, strict=True))]


def _convolved(x: Any, w: Any) -> Any:
    """The full convolution, as a sum of copies of the larger, or by Fourier transforms."""
    if x.size < w.size:
        x, w = w, x
    if w.size > DIRECT:
        return _by_fourier(x, w)
    total = None
    for place in np.ndindex(w.shape):
        pads = [(i, n - 1 - i) for i, n in zip(place, w.shape, strict=True)]
        term = np.pad(x, pads) * w[place]
        total = term if total is None else total + term
    return total


def _by_fourier(x: Any, w: Any, axes: Any = None) -> Any:
    axes = tuple(range(x.ndim)) if axes is None else axes
    lengths = [x.shape[i] + w.shape[i] - 1 for i in axes]
    fast = [scipy.fft.next_fast_len(n) for n in lengths]
    full: Any
    if x.dtype.kind == "c" or w.dtype.kind == "c":
        full = np.fft.ifftn(np.fft.fftn(x, fast, axes) * np.fft.fftn(w, fast, axes), fast, axes)
    else:
        full = np.fft.irfftn(np.fft.rfftn(x, fast, axes) * np.fft.rfftn(w, fast, axes), fast, axes)
    key: list[Any] = [slice(None)] * x.ndim
    for i, n in zip(axes, lengths, strict=True):
        key[i] = slice(0, n)
    return full[tuple(key)].astype(np.result_type(x.dtype, w.dtype), copy=False)


def _pair(name: str, in1: Any, in2: Any, mode: str) -> Any:
    x, w = floats(in1, in2)
    larger = [n >= m for n, m in zip(x.shape, w.shape, strict=False)]
    if x.ndim != w.ndim or (mode == "valid" and not (all(larger) or not any(larger[:]))):
        raise ArgumentError(
            f"{name}: in1 has shape {x.shape}, in2 {w.shape}, mode={mode!r}",
            where=str(here()),
            fix="pass arrays of as many axes, one at least as large as the other along each",
        )
    return x, w


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """The convolution of two arrays; ``method`` is taken and changes nothing but rounding.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.signal.convolve(np.array([1.0, 2.0]), np.array([1.0, 3.0])).tolist()
    [1.0, 5.0, 6.0]
    """
    x, w = _pair("convolve", in1, in2, mode)
    return _cut(_convolved(x, w), x.shape, w.shape, mode)


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """The correlation ``sum_n x[n + k] conj(w[n])``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.scipy.signal.correlate(np.array([1.0, 2.0, 3.0]), np.ones(2), "valid").tolist()
    [3.0, 5.0]
    """
    x, w = _pair("correlate", in1, in2, mode)
    turned = conjugate(w)[(slice(None, None, -1),) * w.ndim]
    return _cut(_convolved(x, turned), x.shape, w.shape, mode)


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """:func:`convolve` by Fourier transforms, over all axes."""
    require("signal.fftconvolve", axes=(axes, None))
    x, w = _pair("fftconvolve", in1, in2, mode)
    return _cut(_by_fourier(x, w), x.shape, w.shape, mode)


# -- recursive filters ----------------------------------------------------------------------------
def _run(a: Any, u: Any) -> Any:
    head = np.concatenate([np.ones(1, a.dtype), a])
    y = scipy.signal.lfilter(np.ones(1, a.dtype), head, u, axis=-1)
    return np.asarray(y).astype(np.result_type(a, u), copy=False)


def _delayed(y: Any, steps: int) -> Any:
    """``y`` one, two, ... steps later, along a new axis in front."""
    n = y.shape[-1]
    padded = np.pad(y, [(0, 0)] * (y.ndim - 1) + [(steps, 0)])
    return np.stack([padded[..., steps - k : steps - k + n] for k in range(1, steps + 1)])


def _recursion_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    (a, _), (a_dot, u_dot) = primals, tangents
    if a_dot is not None:
        change = -np.tensordot(a_dot, _delayed(y, a.shape[0]), 1)
        u_dot = change if u_dot is None else u_dot + change
    return all_pole(a, u_dot)


def _backwards(a: Any, ct: Any) -> Any:
    return all_pole(conjugate(a), ct[..., ::-1])[..., ::-1]


def _pull_poles(ct: Any, x_type: ArrayType, x1: Any, y: Any) -> Any:
    weights = _backwards(x1, ct)
    later = conjugate(_delayed(y, x1.shape[0]))
    return cast(-np.sum(weights * later, axis=tuple(range(1, y.ndim + 1))), x_type.dtype)


def _pole_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    if dtype.kind not in "fc":
        return []
    a = np.array([-0.5, 0.3]).astype(dtype)
    return [Sample((a, draw(rng, dtype, 5))), Sample((a, draw(rng, dtype, 2, 4)))]


all_pole: Primitive = Primitive(
    name="all_pole",
    doc="y[n] = x2[n] - x1[0] y[n - 1] - x1[1] y[n - 2] - ..., along the last axis",
    numpy=_run,
    type_rule=lambda a, u: ArrayType(u.shape, np.result_type(a.dtype, u.dtype)),
    jvp=_recursion_jvp,
    vjp=(
        Rule(_pull_poles),
        Rule(lambda ct, x_type, x1: cast(_backwards(x1, ct), x_type.dtype)),
    ),
    batch=one_by_one(lambda: all_pole),
    family="general",
    flops=lambda types, out_types, params: 2 * types[0].size * types[1].size,
    samples=_pole_samples,
    source="Oppenheim & Schafer (2010), section 6.3",
)


def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """The filter with numerator ``b`` and denominator ``a`` along an axis of ``x``.

    Args:
        zi: the state of the delays (transposed direct form II), shape of ``x`` with
            ``max(len(a), len(b)) - 1`` along ``axis``; then ``(y, zf)`` is returned.

    Raises:
        ArgumentError: if ``b`` or ``a`` is no vector.

    >>> import numpy as np
    >>> import pullback as pb
    >>> def energy(pole):
    ...     a = np.stack([1.0, -pole])
    ...     return np.sum(pb.scipy.signal.lfilter([1.0], a, np.eye(20)[0]) ** 2)
    >>> float(pb.grad(energy)(0.5).round(6))
    1.777778
    """
    b, a, x = (np.atleast_1d(v) for v in floats(b, a, x))
    if b.ndim != 1 or a.ndim != 1:
        raise ArgumentError(
            f"lfilter: b has shape {b.shape}, a {a.shape}",
            where=str(here()),
            fix="pass one vector each",
        )
    order = max(b.shape[0], a.shape[0]) - 1
    b = np.pad(b / a[0], (0, order + 1 - b.shape[0]))
    a = np.pad(a / a[0], (0, order + 1 - a.shape[0]))[1:]
    x = np.moveaxis(x, axis, -1)
    n = x.shape[-1]
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(order, 0)])
    u = b[0] * x
    for k in range(1, order + 1):
        u = u + b[k] * padded[..., order - k : order - k + n]
    if zi is not None:
        state = np.moveaxis(floats(zi), axis, -1)
        if n < order:
            require(
                "signal.lfilter", "filter at least as many values as there are delays", zi=(n, 0)
            )
        u = u + np.pad(state, [(0, 0)] * (x.ndim - 1) + [(0, n - order)])
    y = all_pole(a, u) if order else u
    if zi is None:
        return np.moveaxis(y, -1, axis)
    zf = [
        sum(
            b[j] * x[..., n + k - j] - a[j - 1] * y[..., n + k - j] for j in range(k + 1, order + 1)
        )
        for k in range(order)
    ]
    end = np.stack(zf, axis=-1) if zf else y[..., :0]
    return np.moveaxis(y, -1, axis), np.moveaxis(end, -1, axis)


def lfilter_zi(b: Any, a: Any) -> Any:
    """The state of the delays after a long input of ones."""
    b, a = floats(b, a)
    order = max(b.shape[0], a.shape[0]) - 1
    b = np.pad(b / a[0], (0, order + 1 - b.shape[0]))
    a = np.pad(a / a[0], (0, order + 1 - a.shape[0]))
    companion = np.concatenate([-a[1:, None], np.eye(order, order - 1, dtype=a.dtype)], axis=1)
    return np.linalg.solve(np.eye(order, dtype=a.dtype) - companion, b[1:] - a[1:] * b[0])


def _extended(x: Any, n: int, kind: str | None) -> Any:
    if not n or kind is None:
        return x
    if kind == "odd":
        left = 2 * x[..., :1] - x[..., n:0:-1]
        right = 2 * x[..., -1:] - x[..., -2 : -n - 2 : -1]
    elif kind == "even":
        left, right = x[..., n:0:-1], x[..., -2 : -n - 2 : -1]
    else:
        left = np.broadcast_to(x[..., :1], (*x.shape[:-1], n))
        right = np.broadcast_to(x[..., -1:], (*x.shape[:-1], n))
    return np.concatenate([left, x, right], axis=-1)


def filtfilt(
    b: Any,
    a: Any,
    x: Any,
    axis: int = -1,
    padtype: str | None = "odd",
    padlen: int | None = None,
    method: str = "pad",
    irlen: int | None = None,
) -> Any:
    """The filter forwards and backwards: no phase."""
    require("signal.filtfilt", method=(method, "pad"), irlen=(irlen, None))
    b, a, x = (np.atleast_1d(v) for v in floats(b, a, x))
    x = np.moveaxis(x, axis, -1)
    edge = 3 * max(b.shape[0], a.shape[0]) if padlen is None else padlen
    edge = 0 if padtype is None else edge
    if x.shape[-1] <= edge:
        raise ArgumentError(
            f"filtfilt: {x.shape[-1]} values are extended by {edge}",
            where=str(here()),
            fix="pass a smaller padlen, or more values",
        )
    y = _extended(x, edge, padtype)
    zi = lfilter_zi(b, a)
    for _ in range(2):
        y = lfilter(b, a, y, zi=zi * y[..., :1])[0][..., ::-1]
    return np.moveaxis(y[..., edge : y.shape[-1] - edge], -1, axis)


def sosfilt(sos: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
    """Sections of second order ``(n, 6)`` one after the other: ``b0 b1 b2 a0 a1 a2``."""
    require("signal.sosfilt", "use lfilter for each section", zi=(zi, None))
    sos = floats(sos)
    for i in range(sos.shape[0]):
        x = lfilter(sos[i, :3], sos[i, 3:], x, axis)
    return x


def _frequencies(worN: Any, whole: bool, include_nyquist: bool, fs: float) -> Any:  # noqa: N803
    """SciPy's frequencies, in the unit of ``fs``."""
    w, _ = scipy.signal.freqz([1.0], 1, worN, whole, None, fs, include_nyquist)
    return w


def _response(coefficients: Any, z: Any) -> Any:
    powers = z[..., None] ** -np.arange(coefficients.shape[0])
    return np.matmul(powers, coefficients.astype(powers.dtype))


def freqz(
    b: Any,
    a: Any = 1,
    worN: Any = 512,  # noqa: N803 - SciPy's name
    whole: bool = False,
    plot: Any = None,
    fs: float = 2 * np.pi,
    include_nyquist: bool = False,
) -> Any:
    """Frequencies ``w`` and the response ``B(e^iw) / A(e^iw)`` there.

    >>> import pullback as pb
    >>> w, h = pb.scipy.signal.freqz([0.5, 0.5], worN=[0.0])
    >>> abs(h).tolist()
    [1.0]
    """
    require("signal.freqz", plot=(plot, None))
    b, a = (np.atleast_1d(v) for v in floats(b, a))
    w = _frequencies(worN, whole, include_nyquist, fs)
    z = np.exp(2j * np.pi * np.asarray(w) / fs)
    return w, _response(b, z) / _response(a, z)


def sosfreqz(sos: Any, worN: Any = 512, whole: bool = False, fs: float = 2 * np.pi) -> Any:  # noqa: N803
    """Frequencies and the response of sections of second order."""
    sos = floats(sos)
    h: Any = 1.0
    for i in range(sos.shape[0]):
        w, one = freqz(sos[i, :3], sos[i, 3:], worN, whole, None, fs)
        h = h * one
    return w, h


# -- others ---------------------------------------------------------------------------------------
def hilbert(x: Any, N: int | None = None, axis: int = -1) -> Any:  # noqa: N803 - SciPy's name
    """The analytic signal of real ``x``: its negative frequencies taken away."""
    x = floats(x)
    n = x.shape[axis] if N is None else N
    weights = np.zeros(n)
    weights[0] = 1
    weights[1 : (n + 1) // 2] = 2
    if n % 2 == 0:
        weights[n // 2] = 1
    spectrum = np.moveaxis(np.fft.fft(x, n, axis), axis, -1) * weights
    return np.moveaxis(np.fft.ifft(spectrum), -1, axis)


def detrend(
    data: Any,
    axis: int = -1,
    type: str = "linear",
    bp: Any = 0,
    overwrite_data: bool = False,
) -> Any:
    """``data`` without its mean or its best line along an axis."""
    require("signal.detrend", "detrend the pieces one by one", bp=(bp, 0))
    x = np.moveaxis(floats(data), axis, -1)
    if type not in ("linear", "l", "constant", "c"):
        raise ArgumentError(
            f"detrend: type={type!r}", where=str(here()), fix="'linear', 'constant'"
        )
    x = x - np.mean(x, axis=-1, keepdims=True)
    if type in ("linear", "l"):
        steps = np.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
        x = x - np.sum(x * steps, axis=-1, keepdims=True) / np.sum(steps**2) * steps
    return np.moveaxis(x, -1, axis)
