"""``numpy.fft`` on traced arrays: four transforms of an axis; NumPy's own code makes the rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.numpy.arguments import finish, normalize_axis
from pullback.numpy.elements import as_float
from pullback.numpy.registry import implements
from pullback.ops import fft as fourier

__all__: list[str] = []


def _prepared(a: Any, n_in: int, axis: int, norm: Any) -> tuple[Any, int, str]:
    """``a`` cropped to ``n_in`` numbers along ``axis``, or with zeros behind; axis; norm."""
    norm = "backward" if norm is None else norm
    if norm not in fourier.SWAPPED:
        raise ValueError(f'Invalid norm value {norm}; should be "backward", "ortho" or "forward".')
    axis = normalize_axis(axis, a.ndim)
    length = a.shape[axis]
    if length > n_in:
        a = a[(slice(None),) * axis + (slice(n_in),)]
    elif length < n_in:
        a = np.pad(a, [(0, n_in - length if i == axis else 0) for i in range(a.ndim)])
    return a, axis, norm


def _length(n: Any, default: int) -> int:
    length = default if n is None else int(n)
    if length < 1:
        raise ValueError(f"Invalid number of FFT data points ({length}) specified.")
    return length


def _complex_transform(inverse: bool) -> Any:
    def transform(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
        a = as_float(a)
        n = _length(n, a.shape[normalize_axis(axis, a.ndim)])
        a, axis, norm = _prepared(a, n, axis, norm)
        return finish(fourier.fft(a, axis=axis, norm=norm, inverse=inverse), None, out)

    return transform


implements(np.fft.fft)(_complex_transform(inverse=False))
implements(np.fft.ifft)(_complex_transform(inverse=True))


@implements(np.fft.rfft)
def rfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    a = as_float(a)
    a, axis, norm = _prepared(a, _length(n, a.shape[normalize_axis(axis, a.ndim)]), axis, norm)
    return finish(fourier.rfft(a, axis=axis, norm=norm), None, out)


@implements(np.fft.irfft)
def irfft(a: Any, n: Any = None, axis: int = -1, norm: Any = None, out: Any = None) -> Any:
    a = as_float(a)
    n = _length(n, 2 * (a.shape[normalize_axis(axis, a.ndim)] - 1))
    a, axis, norm = _prepared(a, n // 2 + 1, axis, norm)
    return finish(fourier.irfft(a, axis=axis, norm=norm, n=n), None, out)
