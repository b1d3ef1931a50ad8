"""What training a transformer holds, from its shape alone: parameters, states, activations.

Activations of a block are sums of what its backward pass reads, per token. Of a GPT block: V.
Korthikanti et al. (2022), *Reducing activation recomputation in large transformer models*,
arXiv:2205.05198, equation 1. Of a LLaMA block (RMSNorm, rotary positions, SwiGLU, no dropout and
no bias): the same count for its own operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from pullback.core.source import here
from pullback.errors import ArgumentError

__all__ = ["MODELS", "Transformer", "TransformerMemory", "transformer_memory"]

T = TypeVar("T")
Attention = Literal["eager", "eager-fp32", "fused"]
Checkpointing = Literal["none", "selective", "silu", "full"]
DTYPES: Final = {"fp16": 2, "bf16": 2, "fp32": 4, "fp64": 8}
OPTIMIZERS: Final = {"none": 0, "sgd": 0, "momentum": 1, "adam": 2}  # states per parameter
FP32: Final = 4


@dataclass(frozen=True, slots=True)
class Transformer:
    """The shape of a decoder: ``gated`` blocks are LLaMA's, others GPT's.

    ``hidden`` is the width of the feed-forward part, ``vocabulary`` that of the logits;
    ``positions`` are learned ones (0 for rotary positions).
    """

    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int
    gated: bool
    key_heads: int = 0  # 0: as many as heads
    tied: bool = False
    positions: int = 0

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        h, f = self.width, self.hidden
        keys = h * (self.key_heads or self.heads) // self.heads
        attention = 2 * h * h + 2 * h * keys
        if self.gated:
            block = attention + 3 * h * f + 2 * h
            rest = h
        else:
            block = attention + 2 * h + 2 * keys + 2 * h * f + h + f + 4 * h
            rest = 2 * h + self.positions * h
        return self.layers * block + rest + self.vocabulary * h * (1 if self.tied else 2)


MODELS: Final = {
    "llama-7b": Transformer(32, 4096, 32, 11008, 32000, gated=True),
    "llama-13b": Transformer(40, 5120, 40, 13824, 32000, gated=True),
    "llama-65b": Transformer(80, 8192, 64, 22016, 32000, gated=True),
    "llama2-70b": Transformer(80, 8192, 64, 28672, 32000, gated=True, key_heads=8),
    "gpt2": Transformer(12, 768, 12, 3072, 50257, gated=False, tied=True, positions=1024),
    "gpt2-xl": Transformer(48, 1600, 25, 6400, 50257, gated=False, tied=True, positions=1024),
    "gpt3-175b": Transformer(96, 12288, 96, 49152, 50257, gated=False, tied=True, positions=2048),
}


@dataclass(frozen=True, slots=True)
class TransformerMemory:
    """Bytes of a training step, itemized. ``block`` is what one block keeps, part by part."""

    name: str
    tokens: int
    n_parameters: int
    n_layers: int
    parameters: int
    gradients: int
    optimizer: int
    block: dict[str, int]
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        states = self.parameters + self.gradients + self.optimizer
        return states + self.activations + self.logits

    def __str__(self) -> str:
        rows = [
            (f"parameters ({self.n_parameters:,})", self.parameters),
            ("gradients", self.gradients),
            ("optimizer states", self.optimizer),
            ("activations", self.activations),
            ("logits", self.logits),
            ("total", self.total),
        ]
        lines = [f"{self.name}, {self.tokens:,} tokens{'':<13}{'GB':>10}{'GiB':>10}"]
        lines += [f"  {label:<36}{n / 1e9:>10.3f}{n / 2**30:>10.3f}" for label, n in rows]
        lines.append(f"one of {self.n_layers} blocks keeps{'':<18}{'MB':>10}{'MiB':>10}")
        for label, n in self.block.items():
            lines.append(f"  {label:<36}{n / 1e6:>10.3f}{n / 2**20:>10.3f}")
        return "\n".join(lines)


def transformer_memory(
    model: str | Transformer,
    batch: int = 1,
    seq: int = 2048,
    dtype: str = "fp16",
    attention: Attention = "fused",
    checkpointing: Checkpointing = "none",
    optimizer: str = "adam",
    master: bool = False,
) -> TransformerMemory:
    """What a training step of a transformer holds, in bytes.

    Args:
        model: one of ``MODELS``, or a shape.
        batch: sequences in a batch.
        seq: tokens in a sequence.
        dtype: of parameters, gradients and activations: fp16, bf16, fp32 or fp64.
        attention: ``fused`` keeps one float32 number per head and token; ``eager`` the matrix of
            attention, ``eager-fp32`` the float32 softmax and its copy.
        checkpointing: ``selective`` computes attention again, ``silu`` the gate's activation,
            ``full`` every block from its input.
        optimizer: none, sgd, momentum or adam: float32 states.
        master: whether the optimizer keeps float32 parameters, too.

    Raises:
        ArgumentError: for an unknown name, or a size that is not positive.

    >>> from pullback.planner.calculator import transformer_memory
    >>> step = transformer_memory("llama-7b", batch=1, seq=2048, dtype="fp16")
    >>> step.parameters, round(step.activations / 1e9, 2)
    (13476831232, 10.07)
    """
    shape = model if isinstance(model, Transformer) else _known("model", model, MODELS)
    size = _known("dtype", dtype, DTYPES)
    states = _known("optimizer", optimizer, OPTIMIZERS)
    _known("attention", attention, dict.fromkeys(("eager", "eager-fp32", "fused")))
    _known("checkpointing", checkpointing, dict.fromkeys(("none", "selective", "silu", "full")))
    for name, value in (("batch", batch), ("seq", seq)):
        if value < 1:
            raise ArgumentError(f"{name}={value}", where=str(here()), fix="use 1 or more")
    block = (_gated if shape.gated else _plain)(shape, batch, seq, size, attention, checkpointing)
    whole = sum(block.values())
    if checkpointing == "full":
        activations = shape.layers * size * batch * seq * shape.width + whole
    else:
        activations = shape.layers * whole
    copies = FP32 if size < FP32 else 0  # the loss is computed in float32
    return TransformerMemory(
        name=model if isinstance(model, str) else "transformer",
        tokens=batch * seq,
        n_parameters=shape.parameters,
        n_layers=shape.layers,
        parameters=shape.parameters * size,
        gradients=shape.parameters * size,
        optimizer=shape.parameters * FP32 * (states + master),
        block=block,
        activations=activations,
        logits=batch * seq * shape.vocabulary * (size + copies),
    )


def _known(name: str, value: str, choices: Mapping[str, T]) -> T:
    if value not in choices:
        raise ArgumentError(
            f"{name}={value!r} is unknown",
            where=str(here()),
            fix=f"use one of {', '.join(choices)}",
        )
    return choices[value]


def _attention(
    shape: Transformer, batch: int, seq: int, size: int, attention: str, checkpointing: str
) -> dict[str, int]:
    """What attention keeps beside queries, keys, values and its output."""
    matrix = shape.heads * seq * seq * batch
    if attention == "fused":
        return {"logsumexp of attention": FP32 * shape.heads * seq * batch}
    if checkpointing == "selective":
        return {}
    if attention == "eager":
        return {"attention": size * matrix}
    return {"attention": size * matrix, "softmax in float32": FP32 * matrix}


def _gated(
    shape: Transformer, batch: int, seq: int, size: int, attention: str, checkpointing: str
) -> dict[str, int]:
    """A LLaMA block."""
    token = size * batch * seq
    wide, inner = token * shape.width, token * shape.hidden
    keys = wide * (shape.key_heads or shape.heads) // shape.heads
    block = {
        "input of norm 1": wide,
        "input of queries, keys, values": wide,
        "queries": wide,
        "keys": keys,
        "values": keys,
        **_attention(shape, batch, seq, size, attention, checkpointing),
        "output of attention": wide,
        "input of norm 2": wide,
        "input of gate and up": wide,
        "gate": inner,
        "up": inner,
        "silu(gate)": inner,
        "silu(gate) * up": inner,
    }
    if checkpointing == "silu":
        del block["silu(gate)"]
    return block


def _plain(
    shape: Transformer, batch: int, seq: int, size: int, attention: str, checkpointing: str
) -> dict[str, int]:
    """A GPT block with dropout: in half precision ``s b h (34 + 5 a s / h)`` bytes."""
    token = batch * seq
    wide, inner = size * token * shape.width, size * token * shape.hidden
    matrix = shape.heads * seq * seq * batch
    block = {
        "input of norm 1": wide,
        "input of queries, keys, values": wide,
        "queries": wide,
        "keys": wide,
        "values": wide,
    }
    if attention == "fused":
        block |= _attention(shape, batch, seq, size, attention, checkpointing)
    elif checkpointing != "selective":
        block["softmax"] = size * matrix
        block["mask of attention"] = matrix
        block["dropped softmax"] = size * matrix
        if attention == "eager-fp32":
            block["softmax in float32"] = FP32 * matrix
    return block | {
        "input of projection": wide,
        "mask of attention output": token * shape.width,
        "input of norm 2": wide,
        "input of first layer": wide,
        "input of gelu": inner,
        "input of second layer": inner,
        "mask of second layer": token * shape.width,
    }
