"""Attention: means of values, weighted by how well their keys fit a query; its layer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.control.checkpoint import checkpoint
from pullback.control.cond import cond
from pullback.control.known import known
from pullback.control.scan import scan
from pullback.core.source import here
from pullback.errors import ArgumentError, DTypeError, ShapeError
from pullback.nn.init import xavier
from pullback.nn.layers import Initializer, Linear
from pullback.transforms.derivatives import stop_gradient

__all__ = ["MultiheadAttention", "attention"]

GROUPS = 4  # of keys, if there are fewer heads: threads share heads or groups
BLOCK = 256  # queries, and keys, of a block: 256 KiB of float32, which stay in a second cache
MOST_SCORES = 1 << 22, 1 << 20  # in memory at once: of matrices that are one block, and of larger


def attention(
    query: Any,
    key: Any,
    value: Any,
    *,
    bias: Any = None,
    mask: Any = None,
    is_causal: bool = False,
    scale: Any = None,
) -> Any:
    """``softmax(query @ key.T * scale + bias) @ value``: scaled dot-product attention.

    Memory is linear in ``T`` and in ``S``, in both modes and all orders of differentiation: where
    the scores (what the softmax is taken of) are many, they are computed in blocks of queries and
    keys, and again for derivatives, instead of being kept. Causal attention leaves out the blocks
    that no query may use.

    Args:
        query: ``(..., T, D)``.
        key: ``(..., S, D)``.
        value: ``(..., S, E)``; leading axes, such as batch and heads, broadcast.
        bias: is added to the scores; broadcasts to ``(..., T, S)``.
        mask: booleans, true where a query may use a key; broadcasts to ``(..., T, S)``.
        is_causal: query ``t`` uses the keys ``s <= t`` only (and those that ``mask`` allows).
        scale: of the products, a number or, as one for each head, what broadcasts to the query;
            ``1 / sqrt(D)`` unless given. With no features (``D == 0``) all
            products are 0, and so are the scores, but for the bias.

    Returns:
        ``(..., T, E)``. A query that may use no key gets zeros, and derivatives of zero.

    Raises:
        ShapeError: if the shapes do not fit together.
        DTypeError: if ``mask`` is not boolean.

    Source: Vaswani et al. (2017), "Attention Is All You Need", eq. 1; blocks as in algorithms 1
    and 4 of Dao et al. (2022), "FlashAttention: Fast and Memory-Efficient Exact Attention".

    >>> import numpy as np
    >>> from pullback import nn
    >>> x = np.array([[0.0], [1.0], [5.0]])
    >>> nn.attention(np.zeros((3, 1)), x, x, is_causal=True)
    array([[0. ],
           [0.5],
           [2. ]])
    """
    shape = _score_shape(query, key, value, bias, mask)
    if scale is None:
        scale = max(np.shape(query)[-1], 1) ** -0.5
    elif np.ndim(scale):
        query, scale = query * scale, 1.0
    operands = [_with_rank(x, len(shape)) for x in (query, key, value, bias, mask)]
    if math.prod(shape) <= MOST_SCORES[shape[-2] * shape[-1] > BLOCK * BLOCK]:
        return _whole(*operands, form=Form(scale, is_causal))
    n_groups = GROUPS if math.prod(shape[:-2]) < GROUPS else 1
    return _each(partial(_in_blocks, form=Form(scale, is_causal, n_groups)), operands)


class Form(NamedTuple):
    """What is the same for all matrices; groups are those of keys."""

    scale: Any
    is_causal: bool
    n_groups: int = 1


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


def _whole(query: Any, key: Any, value: Any, bias: Any, mask: Any, *, form: Form) -> Any:
    """Attention with all scores in memory."""
    n_queries, n_keys = np.shape(query)[-2], np.shape(key)[-2]
    last = np.arange(n_queries, dtype=np.int32)[:, None] if form.is_causal else None
    scores = _scores(form, query, key, bias, mask, last, np.arange(n_keys, dtype=np.int32))
    lowest = np.finfo(scores.dtype).min  # finite: a row of -inf has weights of 0
    peak = stop_gradient(np.max(scores, axis=-1, keepdims=True, initial=lowest))
    return _means(*_sums(scores, value, peak))


def _scores(
    form: Form, query: Any, key: Any, bias: Any, mask: Any, last: Any, positions: Any
) -> Any:
    """What the softmax is taken of; -inf where a query may not use a key.

    It may use those at positions up to its ``last``, unless that is ``None``.
    """
    scores = (query * form.scale) @ np.swapaxes(key, -1, -2)
    if bias is not None:
        scores = scores + bias
    if last is not None:
        mask = positions <= last if mask is None else mask & (positions <= last)
    return scores if mask is None else np.where(mask, scores, -np.inf)


def _sums(scores: Any, value: Any, peak: Any) -> tuple[Any, Any]:
    """The sums of weighted values, and of weights that are 1 where a score is ``peak``."""
    weights = np.exp(scores - peak)
    return weights @ value, np.sum(weights, axis=-1, keepdims=True)


def _means(total_value: Any, total: Any) -> Any:
    """The division comes last: the derivative of the softmax is a sum over values, not keys."""
    return total_value / np.where(total == 0, 1, total)


def _each(attend: Callable[..., Any], operands: Sequence[Any]) -> Any:
    """``attend`` for the matrices of each item of the leading axes, one after the other."""
    if len(np.shape(operands[0])) == 2:
        return attend(*operands)
    is_cut = [x is not None and np.shape(x)[0] > 1 for x in operands]
    shared = [
        x if x is None or cut else np.reshape(x, np.shape(x)[1:])
        for x, cut in zip(operands, is_cut, strict=True)
    ]
    if not any(is_cut):
        return _each(attend, shared)[None]

    def step(_: Any, parts: Any) -> Any:
        rest = iter(parts)
        inner = [next(rest) if cut else x for x, cut in zip(shared, is_cut, strict=True)]
        return (), _each(attend, inner)

    return scan(step, (), [x for x, cut in zip(operands, is_cut, strict=True) if cut])[1]


class Blocks(NamedTuple):
    """Matrices of one head, cut into ``n`` blocks of queries and ``m`` of keys.

    A query may use the keys at positions up to its ``last``, unless that is ``None``. ``extras``
    are the bias and the mask, or ``None``.
    """

    queries: Any  # (n, rows, D)
    last: Any  # (n, rows, 1)
    keys: Any  # (m, columns, D)
    values: Any  # (m, columns, E)
    positions: Any  # (m, columns)
    extras: Sequence[Any]  # (m, n, rows or 1, columns or 1)


def _in_blocks(query: Any, key: Any, value: Any, bias: Any, mask: Any, *, form: Form) -> Any:
    """Attention of matrices, block by block.

    Values come from one pass that scales what it has summed when it meets a higher score. What
    derivatives are taken of are plain sums, which are known then, of weights relative to the
    highest score; they add up to 0 where a query may use no key: its values and derivatives are 0.
    """
    n_queries, n_keys = len(query), len(key)
    n, m = (-(-size // BLOCK) for size in (n_queries, n_keys))
    form = form._replace(n_groups=form.n_groups if m > form.n_groups else 1)
    m = -(-m // form.n_groups) * form.n_groups
    rows, columns = -(-n_queries // n), -(-n_keys // m)
    last = None
    if form.is_causal or m * columns > n_keys:
        times = np.arange(n * rows) if form.is_causal else np.full(n * rows, n_keys)
        last = np.reshape(np.minimum(times, n_keys - 1).astype(np.int32), (n, rows, 1))
    blocks = Blocks(
        _cut(query, n, rows),
        last,
        _cut(key, m, columns),
        _cut(value, m, columns),
        np.reshape(np.arange(m * columns, dtype=np.int32), (m, columns)),
        [x if x is None else _cut(_cut(x, n, rows), m, columns, 2) for x in (bias, mask)],
    )
    peaks, *sums = _steady_sums(*stop_gradient((blocks, form)))
    total_value, total = known(sums, partial(_sums_of_groups, form=form), blocks, peaks)
    return np.reshape(_means(total_value, total), (n * rows, -1))[:n_queries]


def _cut(x: Any, n: int, length: int, axis: int = 0) -> Any:
    """Blocks along a new leading axis, filled up with zeros; a single element is in all of them."""
    shape = np.shape(x)
    if shape[axis] == 1:
        return np.broadcast_to(x, (n, *shape))
    missing = n * length - shape[axis]
    if missing:
        x = np.pad(x, [(0, missing if i == axis else 0) for i in range(len(shape))])
    x = np.reshape(x, (*shape[:axis], n, length, *shape[axis + 1 :]))
    return np.moveaxis(x, axis, 0)


def _steady_sums(blocks: Blocks, form: Form) -> Any:
    """For each query its highest score, and the sums of weighted values and of weights."""
    rows, width = np.shape(blocks.queries)[1], np.shape(blocks.values)[-1]
    floats = blocks.queries, blocks.keys, blocks.values, blocks.extras[0]
    dtype = np.result_type(*(x.dtype for x in floats if x is not None), form.scale)
    numbers = np.finfo(dtype).min, dtype.type(0), dtype.type(0)
    start = tuple(map(np.broadcast_to, numbers, [(rows, 1), (rows, width), (rows, 1)]))

    def more(state: Any, value: Any, *operands: Any) -> Any:
        peak, *sums = state
        scores = _scores(form, *operands)
        higher = np.maximum(peak, np.max(scores, axis=-1, keepdims=True))
        shrink = np.exp(peak - higher)
        found = _sums(scores, value, higher)
        return higher, *(x * shrink + y for x, y in zip(sums, found, strict=True))

    def row(_: Any, x: Any) -> Any:
        query, last, extras = x

        def column(state: Any, y: Any) -> Any:
            key, value, positions, extras = y
            operands = state, value, query, key, *extras, last, positions
            return _if_any(more, lambda state, *_: state, operands, form), ()

        return (), scan(column, start, (*blocks[2:5], extras))[0]

    extras = [x if x is None else np.swapaxes(x, 0, 1) for x in blocks.extras]
    return scan(row, (), (*blocks[:2], extras))[1]


def _sums_of_groups(blocks: Blocks, peaks: Any, form: Form) -> Any:
    """The sums for peaks that are known; each group of keys has its own, which are added."""
    n_groups = form.n_groups
    if n_groups == 1:
        return _plain_sums(blocks, peaks, form)
    rows, columns = (*blocks[:2], peaks), blocks[2:]
    repeated = tree.map(lambda x: np.broadcast_to(x, (n_groups, *np.shape(x))), rows)
    cut = tree.map(lambda x: np.reshape(x, (n_groups, -1, *np.shape(x)[1:])), columns)

    def group(_: Any, x: Any) -> Any:
        (*rows, peaks), columns = x
        return (), _plain_sums(Blocks(*rows, *columns), peaks, form)

    return [np.sum(x, axis=0) for x in scan(group, (), (repeated, cut))[1]]


def _plain_sums(blocks: Blocks, peaks: Any, form: Form) -> Any:
    """Sums for peaks that are known, in the order in which derivatives go through them."""
    (n, rows, _), width = np.shape(peaks), np.shape(blocks.values)[-1]
    nothing = tuple(np.broadcast_to(peaks.dtype.type(0), (rows, k)) for k in (width, 1))
    start = [np.broadcast_to(x, (n, *x.shape)) for x in nothing]

    def sums(peak: Any, value: Any, *operands: Any) -> Any:
        return _sums(_scores(form, *operands), value, peak)

    def column(state: Any, y: Any) -> Any:
        key, value, positions, extras = y

        def row(_: Any, x: Any) -> Any:
            query, last, peak, extras = x
            operands = peak, value, query, key, *extras, last, positions
            return (), _if_any(checkpoint(sums), lambda *_: nothing, operands, form)

        parts = scan(row, (), (*blocks[:2], peaks, extras))[1]
        return [x + part for x, part in zip(state, parts, strict=True)], ()

    return scan(column, start, (*blocks[2:5], blocks.extras))[0]


def _if_any(f: Any, otherwise: Any, operands: Sequence[Any], form: Form) -> Any:
    """``f`` of a block, but where no query may use any key."""
    *_, last, positions = operands
    if not form.is_causal:
        return f(*operands)
    return cond(positions[0] <= last[-1, 0], f, otherwise, *operands)


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
