"""Discrete Fourier transforms along one axis, by NumPy's pocketfft.

``y[k] = c sum over j of x[j] exp(-2 pi i jk / n)``, and with the other sign for the inverse. All
are linear, so tangents are transformed as primals are; the transpose of a transform (its adjoint
under the real inner product) is the transform of the other direction with the same factor c, which
is the other one's under the swapped ``norm``. A real transform gives half of a spectrum whose other
half mirrors it: each number between the first and that of the highest frequency stands for two.

Cooley & Tukey (1965), *An algorithm for the machine calculation of complex Fourier series*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.core.primitive import Primitive, Sample
from pullback.core.types import ArrayType
from pullback.ops.families import cast, draw, linear, move_axis

__all__: list[str] = []

SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _with_length(x: ArrayType, axis: int, n: int, dtype: Any) -> ArrayType:
    return ArrayType((*x.shape[:axis], n, *x.shape[axis + 1 :]), dtype)


def _complex(dtype: np.dtype[Any]) -> Any:
    return np.result_type(dtype, 1j)


def _flops(types: Any, out_types: Any, params: Any) -> int:
    """About ``5 n log2 n`` for each of the complex transforms (Johnson & Frigo 2007)."""
    longest: ArrayType = max(types[0], out_types[0], key=lambda type: type.size)
    steps = 5 * max(1, int(np.log2(max(longest.shape[params["axis"]], 1)))) * longest.size
    return steps if types[0].dtype.kind == out_types[0].dtype.kind else steps // 2


def _batch(primitive: Any) -> Any:
    def batch(args: Any, axes: Any, params: Any) -> Any:
        inner = {**params, "axis": params["axis"] + 1}
        return primitive()(move_axis(args[0], axes[0], 0), **inner), 0

    return batch


def _weighted(spectrum: Any, axis: int, n: int, weight: float) -> Any:
    """Half a spectrum with those of its numbers weighted that stand for two."""
    weights = np.full(spectrum.shape[axis], weight, np.finfo(spectrum.dtype).dtype)
    weights[0] = 1
    if n % 2 == 0:
        weights[-1] = 1
    return spectrum * np.reshape(weights, (-1, *(1,) * (spectrum.ndim - axis - 1)))


def _samples(rng: np.random.Generator, dtype: np.dtype[Any], **params: Any) -> list[Sample]:
    shapes = [((6,), 0), ((2, 5), 1), ((4, 3), 0), ((2, 1, 2), 1)]
    return [
        Sample((draw(rng, dtype, *shape),), {"axis": axis, "norm": norm, **params})
        for (shape, axis), norm in zip(shapes, (*SWAPPED, "backward"), strict=True)
    ]


def _transform(x: Any, *, axis: int, norm: Any, inverse: bool) -> Any:
    return (np.fft.ifft if inverse else np.fft.fft)(x, axis=axis, norm=norm)


fft: Primitive = linear(
    "fft",
    _transform,
    doc="y[k] = c sum of x[j] exp(-2 pi i jk / n) along `axis`; +2 pi i if `inverse`",
    type_rule=lambda x, *, axis, norm, inverse: ArrayType(x.shape, _complex(x.dtype)),
    transpose=lambda ct, x_type, *, axis, norm, inverse: cast(
        fft(ct, axis=axis, norm=SWAPPED[norm], inverse=not inverse), x_type.dtype
    ),
    batch=_batch(lambda: fft),
    flops=_flops,
    samples=lambda rng, dtype: (
        [s for flag in (False, True) for s in _samples(rng, dtype, inverse=flag)]
        if dtype.kind in "fc"
        else []
    ),
)


def _real_type(x: ArrayType, *, axis: int, norm: str) -> ArrayType:
    if x.dtype.kind == "c":
        raise TypeError(f"rfft takes real numbers, not {x}; fft takes complex ones")
    return _with_length(x, axis, x.shape[axis] // 2 + 1, _complex(x.dtype))


rfft: Primitive = linear(
    "rfft",
    lambda x, *, axis, norm: np.fft.rfft(x, axis=axis, norm=norm),
    doc="y = the first n // 2 + 1 numbers of fft x along `axis`, for real x",
    type_rule=_real_type,
    transpose=lambda ct, x_type, *, axis, norm: cast(
        irfft(
            _weighted(ct, axis, x_type.shape[axis], 0.5),
            axis=axis,
            norm=SWAPPED[norm],
            n=x_type.shape[axis],
        ),
        x_type.dtype,
    ),
    batch=_batch(lambda: rfft),
    flops=_flops,
    samples=lambda rng, dtype: _samples(rng, dtype) if dtype.kind == "f" else [],
)

irfft: Primitive = linear(
    "irfft",
    lambda x, *, axis, norm, n: np.fft.irfft(x, n, axis=axis, norm=norm),
    doc="y = the n real numbers along `axis` whose rfft is x",
    type_rule=lambda x, *, axis, norm, n: _with_length(
        x, axis, n, np.finfo(_complex(x.dtype)).dtype
    ),
    transpose=lambda ct, x_type, *, axis, norm, n: cast(
        _weighted(rfft(ct, axis=axis, norm=SWAPPED[norm]), axis, n, 2.0), x_type.dtype
    ),
    batch=_batch(lambda: irfft),
    flops=_flops,
    samples=lambda rng, dtype: (
        [
            Sample(s.args, {**s.params, "n": 2 * s.args[0].shape[s.params["axis"]] - odd})
            for s, odd in zip(_samples(rng, dtype), (2, 1, 1, 1), strict=True)
        ]
        if dtype.kind in "fc"
        else []
    ),
)
