"""Functions that NumPy writes in Python: NumPy's own code runs, on traced arrays.

Their traced form is their twin, see :mod:`pullback.numpy.twins`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.numpy.registry import implements
from pullback.numpy.twins import with_twins

__all__ = ["COMPOSED"]

COMPOSED: tuple[Any, ...] = (
    np.append,
    np.apply_over_axes,
    np.array_split,
    np.atleast_1d,
    np.atleast_2d,
    np.atleast_3d,
    np.average,
    np.column_stack,
    np.corrcoef,
    np.cov,
    np.diff,
    np.dsplit,
    np.dstack,
    np.flip,
    np.fliplr,
    np.flipud,
    np.fft.fft2,
    np.fft.fftn,
    np.fft.fftshift,
    np.fft.hfft,
    np.fft.ifft2,
    np.fft.ifftn,
    np.fft.ifftshift,
    np.fft.ihfft,
    np.fft.irfft2,
    np.fft.irfftn,
    np.fft.rfft2,
    np.fft.rfftn,
    np.gradient,
    np.hsplit,
    np.hstack,
    np.i0,
    np.intersect1d,
    np.ix_,
    np.linalg.cross,
    np.linalg.diagonal,
    np.linalg.matrix_power,
    np.linalg.matrix_transpose,
    np.linalg.multi_dot,
    np.linalg.tensorinv,
    np.linalg.trace,
    np.poly,
    np.polyadd,
    np.polyder,
    np.polydiv,
    np.polyfit,
    np.polyint,
    np.polysub,
    np.polyval,
    np.resize,
    np.roots,
    np.rot90,
    np.setdiff1d,
    np.setxor1d,
    np.split,
    np.trapezoid,
    np.tril,
    np.trim_zeros,
    np.triu,
    np.union1d,
    np.unstack,
    np.unwrap,
    np.vander,
    np.vsplit,
    np.vstack,
)

for _function in COMPOSED:
    implements(_function)(with_twins(_function.__wrapped__))
