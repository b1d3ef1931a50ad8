"""SciPy's solvers on NumPy functions as they stand: derivatives come from the functions.

The signatures, methods and results are those of ``scipy.optimize``; what is new is that ``x`` may
be any container of float arrays, that gradients, Hessian products and Jacobians need not be
written, and that ``compile=True`` runs them as native code.
"""

from pullback.optimize.implicit import argmin, fixed_point, implicit_root, linear_solve
from pullback.optimize.least_squares import curve_fit, least_squares
from pullback.optimize.minimize import minimize
from pullback.optimize.root import root

__all__ = [
    "argmin",
    "curve_fit",
    "fixed_point",
    "implicit_root",
    "least_squares",
    "linear_solve",
    "minimize",
    "root",
]
