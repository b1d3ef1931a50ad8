"""Compiled functions against NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np

import pullback as pb

__all__ = ["check"]


def check(f: Callable[..., Any], *args: Any) -> None:
    """Compiled results are those of NumPy, on one thread and on two."""
    for threads in (1, 2):
        got = pb.tree.leaves(pb.compile(f, threads=threads)(*args))
        for g, want in zip(got, pb.tree.leaves(f(*args)), strict=True):
            np.testing.assert_allclose(g, want, rtol=1e-11, atol=1e-12)
