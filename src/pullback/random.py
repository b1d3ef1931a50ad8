"""Random draws through an explicit generator, with NumPy's method names.

A :class:`Generator` is a state of three numbers (key and counter of a Philox cipher). It is a
container with that state as its leaf, so it can be an argument of a compiled or batched function;
the function then draws from it and leaves it advanced, exactly as in plain Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array
from pullback.core.source import here
from pullback.core.trace import Trace, current_trace
from pullback.errors import ArgumentError, StagingError
from pullback.ops.random import random_bits

__all__ = ["Generator", "default_rng"]

BLOCK = 4  # numbers per step of the counter


def default_rng(seed: int | None = None) -> Generator:
    """A generator seeded like ``numpy.random.Philox(seed)``; from the system if ``seed`` is None.

    >>> import numpy as np
    >>> import pullback as pb
    >>> a = pb.random.default_rng(0).random(3)
    >>> b = np.random.Generator(np.random.Philox(0)).random(3)
    >>> bool(np.all(a == b))
    True
    """
    key = np.random.Philox(seed).state["state"]["key"]
    return Generator(np.array([*key, 0], np.uint64))


class Generator:
    """Draws that advance an explicit state. Traced under ``compile``, ``vmap`` and ``scan``.

    ``loc``, ``scale``, ``low`` and ``high`` of the float draws may be traced: samples are
    differentiable functions of them (reparametrization).
    """

    def __init__(self, state: Any) -> None:
        self.state = state

    def _bits(self, size: Any) -> Any:
        shape = (
            ()
            if size is None
            else (int(size),)
            if isinstance(size, (int, np.integer))
            else tuple(int(n) for n in size)
        )
        self._check_reachable()
        n = int(np.prod(shape))
        bits = random_bits(self.state, shape=shape)
        step = np.array([0, 0, -(-n // BLOCK)], np.uint64)
        self.state = self.state + step
        return bits

    def _check_reachable(self) -> None:
        """Inside a staged function a captured generator would repeat its draws at every call."""
        own = self.state.traced_by.level if type(self.state) is Array else 0
        trace: Trace | None = current_trace()
        while trace is not None and trace.level > own:
            if trace.abstract:
                raise StagingError(
                    f"a random generator from outside is drawn from inside {trace.name}: every run "
                    "would repeat the same numbers",
                    where=str(here()),
                    fix="pass the generator as an argument (or through the carry of a loop)",
                )
            trace = trace.outer

    def random(self, size: Any = None, dtype: Any = np.float64) -> Any:
        """Uniform on ``[0, 1)``: 53 (float64) or 24 (float32) random bits."""
        dtype = np.dtype(dtype)
        if dtype not in (np.float64, np.float32):
            raise ArgumentError(
                f"random: dtype {dtype}", where=str(here()), fix="use float64 or float32"
            )
        digits = 53 if dtype == np.float64 else 24
        return (self._bits(size) >> np.uint64(64 - digits)).astype(dtype) * dtype.type(2.0**-digits)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        """Uniform on ``[low, high)``."""
        return low + (high - low) * self.random(shape_for(size, low, high))

    def standard_normal(self, size: Any = None, dtype: Any = np.float64) -> Any:
        """Mean 0, variance 1; Box & Muller (1958): ``sqrt(-2 ln u) cos(2 pi v)``."""
        u, v = self.random(size, dtype), self.random(size, dtype)
        return np.sqrt(-2 * np.log1p(-u)) * np.cos(2 * np.pi * v)

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        """Mean ``loc``, standard deviation ``scale``."""
        return loc + scale * self.standard_normal(shape_for(size, loc, scale))

    def exponential(self, scale: Any = 1.0, size: Any = None) -> Any:
        """Mean ``scale``: ``-scale ln(1 - u)``."""
        return -scale * np.log1p(-self.random(shape_for(size, scale)))

    def integers(self, low: int, high: int | None = None, size: Any = None) -> Any:
        """Uniform on ``low, ..., high - 1`` (``0, ..., low - 1`` if ``high`` is not given)."""
        start, stop = (0, low) if high is None else (low, high)
        if stop <= start:
            raise ValueError("low >= high")
        return np.floor(self.random(size) * (stop - start)).astype(np.int64) + start

    def permutation(self, n: int) -> Any:
        """The numbers ``0, ..., n - 1`` in random order."""
        return np.argsort(self._bits(int(n)))

    def spawn(self, n: int) -> list[Generator]:
        """Independent generators, keyed by the next draws of this one."""
        keys = np.reshape(self._bits((n, 2)), (n, 2))
        zero = np.zeros(1, np.uint64)
        return [Generator(np.concatenate([keys[i], zero])) for i in range(n)]


def shape_for(size: Any, *parameters: Any) -> Any:
    return np.broadcast_shapes(*[np.shape(p) for p in parameters]) if size is None else size


def advance(outer: Any, inner: Any, take: Any) -> None:
    """Give each generator in ``outer`` the state that its stand-in in ``inner`` was left with."""
    for left, right in zip(generators(outer), generators(inner), strict=True):
        left.state = take(right.state)


def generators(container: Any) -> list[Generator]:
    """The generators in a container."""
    return [x for x in tree.leaves_until(container, Generator) if isinstance(x, Generator)]


tree.register(
    Generator,
    lambda generator: ((generator.state,), None),
    lambda _, children: Generator(children[0]),
)
