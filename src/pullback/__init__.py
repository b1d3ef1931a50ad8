"""Backpropagation for NumPy programs.

``grad`` and its relatives differentiate ordinary NumPy functions as they stand; ``compile`` runs
them as native code; ``explain`` prints the backward table. ``pullback.numpy`` is NumPy with
buffers that record assignments.
"""

from pullback import errors, nn, numpy, optim, random, tree
from pullback.control.checkpoint import checkpoint
from pullback.control.cond import cond, while_loop
from pullback.control.custom import custom_jvp, custom_vjp
from pullback.control.scan import scan
from pullback.explain import explain
from pullback.transforms.derivatives import (
    grad,
    jvp,
    linearize,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)
from pullback.transforms.mode import hessian, hvp, jacobian

__version__ = "0.1.0"

__all__ = [
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "errors",
    "explain",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "nn",
    "numpy",
    "optim",
    "random",
    "scan",
    "stop_gradient",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]
