"""Backpropagation for NumPy programs."""

from pullback import errors, numpy, ops, tree
from pullback.transforms.derivatives import grad, jvp, linearize, value_and_grad, vjp, vmap

__all__ = ["errors", "grad", "jvp", "linearize", "numpy", "ops", "tree", "value_and_grad", "vjp", "vmap"]
