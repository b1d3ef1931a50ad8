"""A transformer block, and a small causal language model made of such blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from pullback import tree
from pullback.core.source import here
from pullback.errors import ArgumentError, ShapeError
from pullback.nn.dropout import dropout
from pullback.nn.functional import gelu
from pullback.nn.init import xavier
from pullback.nn.layers import Embedding, Initializer, Layer, Linear
from pullback.nn.normalization import LayerNorm
from pullback.nn.transformer import MultiheadAttention

__all__ = ["CausalLM", "TransformerBlock"]


@dataclasses.dataclass
class TransformerBlock:
    """Attention, then two linear layers, each with a way around it and a normalization.

    With ``norm_first``, ``x += attention(norm1(x)); x += linear2(activation(linear1(norm2(x))))``;
    without it each normalization follows the sum instead. Fields have the names of PyTorch's
    ``TransformerEncoderLayer``.

    Args:
        self_attn: attention of the block.
        linear1, linear2: ``(width, wide)`` and ``(wide, width)``.
        norm1, norm2: normalization of features.
        rate: of :func:`~pullback.nn.dropout`, in training, of both branches and between the linear
            layers.
        norm_first: which order.
        is_causal: whether a position attends to those before it only.
        activation: elementwise function.

    Called on ``(batch, T, width)``, returns the same shape.

    Source: Vaswani et al. (2017), "Attention Is All You Need", section 3.1; normalization first:
    Xiong et al. (2020), "On Layer Normalization in the Transformer Architecture", figure 1.

    >>> import numpy as np
    >>> from pullback import nn
    >>> block = nn.TransformerBlock.init(np.random.default_rng(0), 8, heads=2)
    >>> block(np.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    self_attn: MultiheadAttention
    linear1: Linear
    linear2: Linear
    norm1: LayerNorm
    norm2: LayerNorm
    rate: float = 0.0
    norm_first: bool = True
    is_causal: bool = False
    activation: Layer = gelu

    @classmethod
    def init(
        cls,
        rng: Any,
        width: int,
        heads: int,
        *,
        wide: int | None = None,
        rate: float = 0.0,
        norm_first: bool = True,
        is_causal: bool = False,
        activation: Layer = gelu,
        initializer: Initializer = xavier,
        dtype: DTypeLike = np.float64,
    ) -> TransformerBlock:
        """Random weights; ``wide`` is ``4 * width`` unless given.

        Raises:
            ArgumentError: if ``width`` is not a multiple of ``heads``.
        """
        wide = 4 * width if wide is None else wide
        return cls(
            MultiheadAttention.init(rng, width, heads, initializer=initializer, dtype=dtype),
            Linear.init(rng, width, wide, initializer=initializer, dtype=dtype),
            Linear.init(rng, wide, width, initializer=initializer, dtype=dtype),
            LayerNorm.init(width, dtype=dtype),
            LayerNorm.init(width, dtype=dtype),
            rate,
            norm_first,
            is_causal,
            activation,
        )

    def __call__(self, x: Any) -> Any:
        return self._forward(x, 0.0, None)

    def train(self, x: Any, rng: Any = None) -> tuple[Any, TransformerBlock]:
        """The output with dropout, and this block."""
        return self._forward(x, self.rate, rng), self

    def _forward(self, x: Any, rate: float, rng: Any) -> Any:
        def attend(x: Any) -> Any:
            return dropout(self.self_attn(x, is_causal=self.is_causal), rate, rng)

        def combine(x: Any) -> Any:
            hidden = dropout(self.activation(self.linear1(x)), rate, rng)
            return dropout(self.linear2(hidden), rate, rng)

        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + combine(self.norm2(x))
        x = self.norm1(x + attend(x))
        return self.norm2(x + combine(x))


@dataclasses.dataclass
class CausalLM:
    """A language model: scores of the next token after each token of a text.

    Token and position vectors are added, causal blocks follow, and the scores are products with
    the token vectors again.

    Args:
        tokens: ``(vocabulary, width)``.
        positions: ``(longest, width)``.
        blocks: causal :class:`TransformerBlock`.
        norm: normalization before the scores.
        rate: of dropout of the sum of the vectors, in training.

    Called on integers ``(batch, T)``, returns scores ``(batch, T, vocabulary)``.

    Raises:
        ShapeError: if the input does not have two axes, or is longer than ``longest``.

    Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", section
    2.3; shared vectors: Press & Wolf (2017), "Using the Output Embedding to Improve Language
    Models".

    >>> import numpy as np
    >>> from pullback import nn
    >>> model = nn.CausalLM.init(np.random.default_rng(0), vocabulary=10, longest=8, width=8)
    >>> model(np.array([[1, 2, 3]])).shape
    (1, 3, 10)
    >>> model.generate(np.array([[1, 2, 3]]), 4, np.random.default_rng(0)).shape
    (1, 7)
    """

    tokens: Embedding
    positions: Embedding
    blocks: tuple[TransformerBlock, ...]
    norm: LayerNorm
    rate: float = 0.0

    @classmethod
    def init(
        cls,
        rng: Any,
        vocabulary: int,
        longest: int,
        width: int,
        *,
        layers: int = 2,
        heads: int = 2,
        rate: float = 0.0,
        dtype: DTypeLike = np.float64,
    ) -> CausalLM:
        """Vectors of standard deviation 0.02, and random blocks.

        Raises:
            ArgumentError: if ``width`` is not a multiple of ``heads``.
        """
        return cls(
            Embedding.init(rng, vocabulary, width, std=0.02, dtype=dtype),
            Embedding.init(rng, longest, width, std=0.02, dtype=dtype),
            tuple(
                TransformerBlock.init(rng, width, heads, rate=rate, is_causal=True, dtype=dtype)
                for _ in range(layers)
            ),
            LayerNorm.init(width, dtype=dtype),
            rate,
        )

    def __call__(self, ids: Any) -> Any:
        return self._forward(ids, False, None)

    def train(self, ids: Any, rng: Any = None) -> tuple[Any, CausalLM]:
        """Scores with dropout, and this model."""
        return self._forward(ids, True, rng), self

    def _forward(self, ids: Any, in_training: bool, rng: Any) -> Any:
        longest = np.shape(self.positions.weight)[0]
        if np.ndim(ids) != 2 or not 1 <= np.shape(ids)[1] <= longest:
            raise ShapeError(
                f"CausalLM: the input has shape {np.shape(ids)}",
                where=str(here()),
                fix=f"give tokens as (batch, T) with T from 1 to {longest}",
            )
        x = self.tokens(ids) + self.positions.weight[: np.shape(ids)[1]]
        if in_training:
            x = dropout(x, self.rate, rng)
        for block in self.blocks:
            x = block.train(x, rng)[0] if in_training else block(x)
        return self.norm(x) @ np.swapaxes(self.tokens.weight, 0, 1)

    def generate(self, ids: Any, n: int, rng: Any, *, temperature: float = 1.0) -> Any:
        """Texts that go on for ``n`` tokens, drawn one after the other.

        Args:
            ids: ``(batch, T)``, the beginnings.
            n: number of tokens to add; the model reads the last ``longest`` of what it has.
            rng: a generator.
            temperature: scores are divided by it; 0 takes the highest score.

        Returns:
            ``(batch, T + n)``.

        Raises:
            ArgumentError: if ``temperature`` is negative.
        """
        if not temperature >= 0:
            raise ArgumentError(
                f"generate: the temperature is {temperature}", fix="choose a number from 0 on"
            )
        longest = np.shape(self.positions.weight)[0]
        for _ in range(n):
            scores = self(ids[:, -longest:])[:, -1]
            if temperature:
                # The largest of scores with Gumbel noise has the probability of the softmax.
                noise = -np.log(-np.log(1 - rng.random(np.shape(scores))))
                scores = scores / temperature + noise
            ids = np.concatenate([ids, np.argmax(scores, axis=-1)[:, None]], axis=1)
        return ids


tree.dataclass(TransformerBlock, ("rate", "norm_first", "is_causal", "activation"))
tree.dataclass(CausalLM, ("rate",))
