"""Derivatives of many variables that depend on few each: patterns, colourings, sparse matrices.

A Jacobian whose columns share no row can be computed from one directional derivative for all of
them: colour the columns so that those of one colour share no row, and one JVP per colour gives all
entries (Curtis, Powell & Reid 1974).
"""

from pullback.sparse.coloring import Coloring, color_columns, color_jacobian, color_symmetric
from pullback.sparse.derivatives import (
    hessian_sparsity,
    jacobian_sparsity,
    sparse_hessian,
    sparse_jacobian,
)
from pullback.sparse.pattern import Pattern

__all__ = [
    "Coloring",
    "Pattern",
    "color_columns",
    "color_jacobian",
    "color_symmetric",
    "hessian_sparsity",
    "jacobian_sparsity",
    "sparse_hessian",
    "sparse_jacobian",
]
