"""What second derivatives say without being formed: operators, eigenvalues, traces, densities.

Everything here needs products with vectors only, each at a small multiple of the cost of a
gradient (:func:`pullback.hvp`), whatever the number of parameters.
"""

from pullback.curvature.estimates import Estimate, diagonal, trace
from pullback.curvature.operators import linear_operator
from pullback.curvature.spectrum import (
    SpectralDensity,
    condition_number,
    eigenvalues,
    lanczos,
    spectral_density,
)

__all__ = [
    "Estimate",
    "SpectralDensity",
    "condition_number",
    "diagonal",
    "eigenvalues",
    "lanczos",
    "linear_operator",
    "spectral_density",
    "trace",
]
