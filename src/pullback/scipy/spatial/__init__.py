"""``scipy.spatial`` for traced arrays: distances."""

from pullback.scipy.spatial import distance

__all__ = ["distance"]
