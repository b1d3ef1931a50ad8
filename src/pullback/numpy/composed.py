"""Functions that NumPy writes in Python: NumPy's own code runs, on traced arrays.

``np.gradient`` is a page of slices and arithmetic, all of which are traced; only its calls of
``asarray`` and ``empty`` would refuse a traced value. So each of these functions runs as NumPy
wrote it, with the array constructors of :mod:`pullback.numpy.creation` in the place of NumPy's.
"""

from __future__ import annotations

from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from pullback.numpy import creation
from pullback.numpy.registry import implements

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
    np.linalg.cross,
    np.linalg.diagonal,
    np.linalg.matrix_power,
    np.linalg.matrix_transpose,
    np.linalg.multi_dot,
    np.linalg.trace,
    np.polyval,
    np.resize,
    np.rot90,
    np.split,
    np.trapezoid,
    np.tril,
    np.triu,
    np.unstack,
    np.unwrap,
    np.vander,
    np.vsplit,
    np.vstack,
)

CONSTRUCTORS = {name: getattr(creation, name) for name in creation.__all__}


class _Namespace:
    """A module of NumPy whose array constructors keep traced values."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        return CONSTRUCTORS.get(name) or getattr(self.module, name)


def rewired(names: dict[str, Any]) -> dict[str, Any]:
    """The globals of a module of NumPy, with its constructors replaced in them and for them."""
    new = {**names, **{k: v for k, v in CONSTRUCTORS.items() if k in names}}
    for name, value in names.items():
        if isinstance(value, ModuleType) and value.__name__.startswith("numpy"):
            new[name] = _Namespace(value)
        elif type(value) is FunctionType and value.__globals__ is names:
            new[name] = with_globals(value, new)
    return new


def with_globals(function: FunctionType, names: dict[str, Any]) -> FunctionType:
    """The same code looking up its names elsewhere."""
    twin = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _install() -> None:
    modules: dict[str, dict[str, Any]] = {}
    for function in COMPOSED:
        code = function.__wrapped__
        if code.__module__ not in modules:
            modules[code.__module__] = rewired(code.__globals__)
        implements(function)(with_globals(code, modules[code.__module__]))


_install()
