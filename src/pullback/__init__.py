"""Backpropagation for NumPy programs.

``grad`` and its relatives differentiate ordinary NumPy functions as they stand; ``compile`` runs
them as native code; ``explain`` prints the backward table. ``pullback.numpy`` is NumPy with
buffers that record assignments.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from pullback import errors, numpy, random, tree
from pullback.compiler import options
from pullback.core.array import loaders
from pullback.core.foreign import namers, sparse_products
from pullback.transforms.derivatives import (
    grad,
    jvp,
    linearize,
    stop_gradient,
    value_and_grad,
    vjp,
)
from pullback.transforms.vmap import vmap

if TYPE_CHECKING:
    from pullback import curvature, flow, nn, optim, optimize, scipy, sparse, train
    from pullback.compiler.jit import compile  # noqa: A004
    from pullback.control.checkpoint import checkpoint
    from pullback.control.cond import cond, while_loop
    from pullback.control.custom import custom_jvp, custom_vjp
    from pullback.control.numerical import numerical_derivative
    from pullback.control.scan import scan
    from pullback.curvature.operators import linear_operator
    from pullback.explanation.table import explain
    from pullback.flow.nonfinite import debug_nonfinite
    from pullback.flow.why import why_zero
    from pullback.numpy.recording import record_numpy
    from pullback.optimize.implicit import argmin, fixed_point, implicit_root
    from pullback.sparse.choice import hessian, jacobian
    from pullback.sparse.derivatives import sparse_hessian, sparse_jacobian
    from pullback.testing.grads import check_grads
    from pullback.transforms.jet import jet
    from pullback.transforms.laplacian import laplacian
    from pullback.transforms.mode import hvp

__version__ = "0.1.0"

__all__ = [
    "argmin",
    "check_grads",
    "checkpoint",
    "compile",
    "cond",
    "curvature",
    "custom_jvp",
    "custom_vjp",
    "debug_nonfinite",
    "errors",
    "explain",
    "fixed_point",
    "flow",
    "grad",
    "hessian",
    "hvp",
    "implicit_root",
    "jacobian",
    "jet",
    "jvp",
    "laplacian",
    "linear_operator",
    "linearize",
    "nn",
    "numerical_derivative",
    "numpy",
    "optim",
    "optimize",
    "random",
    "record_numpy",
    "scan",
    "scipy",
    "sparse",
    "sparse_hessian",
    "sparse_jacobian",
    "stop_gradient",
    "train",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
    "why_zero",
]

# What is imported when it is first used, so that `import pullback` costs little.
_LATER = {
    "argmin": "pullback.optimize.implicit",
    "check_grads": "pullback.testing.grads",
    "checkpoint": "pullback.control.checkpoint",
    "compile": "pullback.compiler.jit",
    "cond": "pullback.control.cond",
    "custom_jvp": "pullback.control.custom",
    "curvature": "",
    "custom_vjp": "pullback.control.custom",
    "numerical_derivative": "pullback.control.numerical",
    "record_numpy": "pullback.numpy.recording",
    "debug_nonfinite": "pullback.flow.nonfinite",
    "explain": "pullback.explanation.table",
    "flow": "",
    "fixed_point": "pullback.optimize.implicit",
    "hessian": "pullback.sparse.choice",
    "hvp": "pullback.transforms.mode",
    "implicit_root": "pullback.optimize.implicit",
    "jacobian": "pullback.sparse.choice",
    "jet": "pullback.transforms.jet",
    "laplacian": "pullback.transforms.laplacian",
    "linear_operator": "pullback.curvature.operators",
    "nn": "",
    "optim": "",
    "optimize": "",
    "scan": "pullback.control.scan",
    "scipy": "",
    "sparse": "",
    "sparse_hessian": "pullback.sparse.derivatives",
    "sparse_jacobian": "pullback.sparse.derivatives",
    "while_loop": "pullback.control.cond",
    "train": "",
    "why_zero": "pullback.flow.why",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'pullback' has no attribute {name!r}")
    if _LATER[name]:
        value = getattr(importlib.import_module(_LATER[name]), name)
    else:
        value = importlib.import_module(f"pullback.{name}")
    globals()[name] = value
    return value


def _load_ufuncs_of_scipy(ufunc: Any) -> None:
    scipy_special = sys.modules.get("scipy.special")
    if scipy_special is not None and getattr(scipy_special, ufunc.__name__, None) is ufunc:
        importlib.import_module("pullback.scipy.special")


def _product_with_sparse(x: Any, matrix: Any, reflected: bool) -> Any:
    own = importlib.import_module("pullback.scipy.sparse").from_scipy(matrix)
    return own @ x if reflected else own.__rmatmul__(x)


def _name_in_scipy(module: str, name: str) -> str | None:
    """``pullback.scipy.linalg.solve`` for ``scipy.linalg`` and ``solve``, if there is one."""
    if module.startswith("scipy."):
        try:
            own = importlib.import_module(f"pullback.{module}")
        except ModuleNotFoundError:
            return None
        if name in own.__all__:
            return f"pullback.{module}.{name}"
    return None


loaders.append(_load_ufuncs_of_scipy)
sparse_products.append(_product_with_sparse)
namers.append(_name_in_scipy)


def _load_checked() -> type[Any]:
    from pullback.flow.nonfinite import Checked

    return Checked


def _load_verified() -> type[Any]:
    from pullback.compiler.beside import Verified

    return Verified


options.loaders.update(nonfinite=_load_checked, verify=_load_verified)


def __dir__() -> list[str]:
    return __all__
