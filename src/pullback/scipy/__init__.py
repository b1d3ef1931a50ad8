"""SciPy's names for functions that take traced arrays.

SciPy's ufuncs (``scipy.special.gammaln``, ...) work on traced arrays as they stand. For functions
that SciPy writes in Python or C behind a conversion to plain arrays, the same name is here.
"""

from pullback.scipy import special, stats

__all__ = ["special", "stats"]
