"""Attention: means of values, weighted by how well their keys fit a query; its layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.control.checkpoint import checkpoint
from pullback.control.scan import scan
from pullback.core.source import here
from pullback.errors import ArgumentError, DTypeError, ShapeError
from pullback.nn.init import xavier
from pullback.nn.layers import Initializer, Linear
from pullback.transforms.derivatives import stop_gradient

__all__ = ["MultiheadAttention", "attention"]

MOST_SCORES = 1 << 20  # in memory at once: 4 MiB of float32
LEAST_ROWS = 64  # of one product with all keys, which are read once for it
KEY_AND_VALUE = (1, 2)  # among the operands
CAUSAL_PARTS = 4  # each is compiled apart; 8 would save 10% more of the time


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    bias: Any = None,
    mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Any:
    """``softmax(query @ key.T * scale + bias) @ value``: scaled dot-product attention.

    Memory is linear in ``T`` and in ``S``, in both modes and all orders of differentiation: where
    the scores (what the softmax is taken of) are many, they are computed in blocks of rows, and
    again for derivatives, instead of being kept.

    Args:
        query: ``(..., T, D)``.
        key: ``(..., S, D)``.
        value: ``(..., S, E)``; leading axes, such as batch and heads, broadcast.
        bias: is added to the scores; broadcasts to ``(..., T, S)``.
        mask: booleans, true where a query may use a key; broadcasts to ``(..., T, S)``.
        is_causal: query ``t`` uses the keys ``s <= t`` only (and those that ``mask`` allows).
        scale: of the products; ``1 / sqrt(D)`` unless given. With no features (``D == 0``) all
            products are 0, and so are the scores, but for the bias.

    Returns:
        ``(..., T, E)``. A query that may use no key gets zeros, and derivatives of zero.

    Raises:
        ShapeError: if the shapes do not fit together.
        DTypeError: if ``mask`` is not boolean.

    Source: Vaswani et al. (2017), "Attention Is All You Need", eq. 1; blocks of queries as in
    section 3 of Rabe & Staats (2021), "Self-attention Does Not Need O(n^2) Memory".

    >>> import numpy as np
    >>> from pullback import nn
    >>> x = np.array([[0.0], [1.0], [5.0]])
    >>> nn.attention(np.zeros((3, 1)), x, x, is_causal=True)
    array([[0. ],
           [0.5],
           [2. ]])
    """
    shape = _score_shape(query, key, value, bias, mask)
    query = query * (max(np.shape(query)[-1], 1) ** -0.5 if scale is None else scale)
    operands = [_with_rank(x, len(shape)) for x in (query, key, value, bias, mask)]
    return _causal(*operands) if is_causal else _attend((*operands, None), 0, _block)


def _score_shape(query: Any, key: Any, value: Any, bias: Any, mask: Any) -> tuple[int, ...]:
    """The shape ``(..., T, S)``, if all operands fit to it."""
    shapes = {"query": query, "key": key, "value": value, "bias": bias, "mask": mask}
    shapes = {name: np.shape(x) for name, x in shapes.items() if x is not None}
    q, k, v = (shapes[name] for name in ("query", "key", "value"))
    try:
        if min(map(len, (q, k, v))) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
            raise ValueError
        shape = (*np.broadcast_shapes(q[:-2], k[:-2], v[:-2]), q[-2], k[-2])
        for extra in (bias, mask):
            if extra is not None and np.broadcast_shapes(np.shape(extra), shape) != shape:
                raise ValueError
    except ValueError:
        raise ShapeError(
            "attention: the shapes do not fit together",
            where=str(here()),
            details=[f"{name}: {s}" for name, s in shapes.items()],
            fix="query is (..., T, D), key (..., S, D), value (..., S, E); leading axes broadcast, "
            "bias and mask broadcast to (..., T, S)",
        ) from None
    if mask is not None and np.result_type(mask).kind != "b":
        raise DTypeError(
            f"attention: the mask is {np.result_type(mask)}",
            where=str(here()),
            fix="give booleans, true where a query may use a key; numbers to add are the bias",
        )
    return shape


def _with_rank(x: Any, rank: int) -> Any:
    return x if x is None else np.reshape(x, (*(1,) * (rank - np.ndim(x)), *np.shape(x)))


def _causal(query: Any, key: Any, value: Any, bias: Any, mask: Any) -> Any:
    """Some parts of the rows, each with the keys up to its last row: other products are zero."""
    n_rows = np.shape(query)[-2]
    length = max(-(-n_rows // CAUSAL_PARTS), LEAST_ROWS)
    parts = []
    for start in range(0, max(n_rows, 1), length):
        rows, keys = slice(start, start + length), slice(start + length)
        times = _with_rank(np.arange(n_rows, dtype=np.int32)[rows, None], np.ndim(query))
        extra = (_window(x, rows, keys) for x in (bias, mask))
        past = (x[..., keys, :] for x in (key, value))
        parts.append(_attend((query[..., rows, :], *past, *extra, times), 0, _block))
    return np.concatenate(parts, axis=-2)


def _window(x: Any, rows: slice, keys: slice) -> Any:
    """Some scores of an operand that may have one row for all, or one key."""
    if x is None:
        return x
    n, m = np.shape(x)[-2:]
    return x[..., rows if n > 1 else slice(None), keys if m > 1 else slice(None)]


def _scores(query: Any, key: Any, bias: Any, mask: Any, times: Any) -> Any:
    """What the softmax is taken of; -inf where a query may not use a key."""
    scores = query @ np.swapaxes(key, -1, -2)
    if bias is not None:
        scores = scores + bias
    if times is not None:
        past = times >= np.arange(np.shape(key)[-2], dtype=np.int32)
        mask = past if mask is None else mask & past
    return scores if mask is None else np.where(mask, scores, -np.inf)


def _peak(scores: Any) -> Any:
    """The highest score of each query."""
    lowest = np.finfo(scores.dtype).min  # finite: a row of -inf has weights of 0
    return np.max(scores, axis=-1, keepdims=True, initial=lowest)


def _sums(scores: Any, value: Any, peak: Any) -> tuple[Any, Any]:
    """The sums of weighted values, and of weights that are 1 where a score is ``peak``."""
    weights = np.exp(scores - peak)
    return weights @ value, np.sum(weights, axis=-1, keepdims=True)


def _block(query: Any, key: Any, value: Any, *extra: Any, keeps_scores: bool = True) -> Any:
    """Attention with all scores in memory; derivatives compute them again unless they are kept.

    The division comes last: the derivative of the softmax is a sum over values then, not over keys.
    """
    operands = query, key, *extra
    if keeps_scores:
        scores = _scores(*operands)
        peak = stop_gradient(_peak(scores))
        total_value, total = _sums(scores, value, peak)
    else:
        peak = stop_gradient(checkpoint(lambda *xs: _peak(_scores(*xs)))(*operands))
        again = checkpoint(lambda value, peak, *xs: _sums(_scores(*xs), value, peak))
        total_value, total = again(value, peak, *operands)
    return total_value / np.where(total == 0, 1, total)


def _attend(operands: Sequence[Any], axis: int, block: Callable[..., Any]) -> Any:
    """``block(*operands)`` in blocks along ``axis`` and those after it, until few scores are left.

    The operands, as those of ``_block``, have axes of equal number. Those of length 1 and the axis
    of the keys are not cut. Derivatives compute the scores of a block again.
    """
    query, key, value, *_ = operands
    lead = np.broadcast_shapes(*(np.shape(x)[:-2] for x in (query, key, value)))
    shape = (*lead, np.shape(query)[-2])
    n_blocks = -(-math.prod(shape) * np.shape(key)[-2] // MOST_SCORES)
    if n_blocks <= 1 or axis == len(shape):
        return block(*operands)
    size = shape[axis]
    is_row = axis == len(lead)
    length = max(-(-size // n_blocks), LEAST_ROWS) if is_row else max(size // n_blocks, 1)
    if length >= size:
        return _attend(operands, axis + 1, block)
    is_cut = [
        x is not None and np.shape(x)[axis] > 1 and not (is_row and i in KEY_AND_VALUE)
        for i, x in enumerate(operands)
    ]

    def step(_: Any, parts: Any) -> Any:
        rest = iter(parts)
        inner = [next(rest) if cut else x for x, cut in zip(operands, is_cut, strict=True)]
        return (), _attend(inner, axis + 1, partial(_block, keeps_scores=False))

    parts = [_cut(x, axis, length) for x, cut in zip(operands, is_cut, strict=True) if cut]
    y = np.moveaxis(scan(step, (), parts)[1], 0, axis)
    before, (n_blocks, _), after = y.shape[:axis], y.shape[axis : axis + 2], y.shape[axis + 2 :]
    y = np.reshape(y, (*before, n_blocks * length, *after))
    return y if n_blocks * length == size else y[(slice(None),) * axis + (slice(size),)]


def _cut(x: Any, axis: int, length: int) -> Any:
    """Blocks of ``length`` along a new leading axis; the last one is filled up with zeros."""
    shape = np.shape(x)
    n_blocks = -(-shape[axis] // length)
    missing = n_blocks * length - shape[axis]
    if missing:
        x = np.pad(x, [(0, missing if i == axis else 0) for i in range(len(shape))])
    x = np.reshape(x, (*shape[:axis], n_blocks, length, *shape[axis + 1 :]))
    return np.moveaxis(x, axis, 0)


@dataclasses.dataclass
class MultiheadAttention:
    """:func:`attention` of several heads, each between linear maps of its own.

    Args:
        query, key, value: linear layers whose outputs the heads share out among them.
        output: linear layer of what all heads return, side by side.
        heads: their number.

    Called on ``(..., T, width)``, returns ``(..., T, width)``.

    Source: Vaswani et al. (2017), "Attention Is All You Need", section 3.2.2.

    >>> import numpy as np
    >>> from pullback import nn
    >>> layer = nn.MultiheadAttention.init(np.random.default_rng(0), 8, heads=2)
    >>> layer(np.ones((3, 5, 8)), is_causal=True).shape
    (3, 5, 8)
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int

    @classmethod
    def init(
        cls,
        rng: Any,
        width: int,
        heads: int,
        *,
        initializer: Initializer = xavier,
        dtype: DTypeLike = np.float64,
    ) -> MultiheadAttention:
        """Four layers ``Linear.init(rng, width, width)``.

        Raises:
            ArgumentError: if ``width`` is not a multiple of ``heads``.
        """
        if heads < 1 or width % heads:
            raise ArgumentError(
                f"MultiheadAttention: a width of {width} with {heads} heads",
                fix="make the width a multiple of the number of heads",
            )
        query, key, value, output = (
            Linear.init(rng, width, width, initializer=initializer, dtype=dtype) for _ in range(4)
        )
        return cls(query, key, value, output, heads)

    def __call__(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        *,
        bias: Any = None,
        mask: Any = None,
        is_causal: bool = False,
    ) -> Any:
        """Attention of ``query`` to ``key`` (itself unless given) and ``value`` (the key).

        Args:
            query: ``(..., T, width)``.
            key, value: ``(..., S, width)``.
            bias, mask, is_causal: as in :func:`attention`; a bias and a mask broadcast to
                ``(..., heads, T, S)``.
        """
        key = query if key is None else key
        value = key if value is None else value
        operands = (self.query(query), self.key(key), self.value(value))
        heads = map(self._split, operands)
        y = np.swapaxes(attention(*heads, bias=bias, mask=mask, is_causal=is_causal), -3, -2)
        *rows, n_heads, size = np.shape(y)
        return self.output(np.reshape(y, (*rows, n_heads * size)))

    def _split(self, x: Any) -> Any:
        """``(..., T, width)`` to ``(..., heads, T, width // heads)``."""
        shape = np.shape(x)
        x = np.reshape(x, (*shape[:-1], self.heads, shape[-1] // self.heads))
        return np.swapaxes(x, -3, -2)


tree.dataclass(MultiheadAttention, ("heads",))
