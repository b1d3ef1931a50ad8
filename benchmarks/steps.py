"""The step of a workload in each library: Pullback, JAX, HIPS autograd and PyTorch."""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import autograd
import autograd.numpy
import numpy as np

import pullback as pb
from benchmarks.workloads import Workload, adam


@dataclass(frozen=True)
class Step:
    """One library's step: a call makes the next one and gives its loss, or its gradient.

    ``function(*arguments)`` is the first.
    """

    function: Callable[..., Any]
    arguments: list[Any]
    advance: Callable[[], Any]

    def __call__(self) -> Any:
        return self.advance()


def library(names: Any, scan: Any, conv: Any, max_pool: Any = None, attention: Any = None) -> Any:
    """The names of a library; pooling and attention are the fastest of several in JAX."""
    pool = max_pool or (lambda x: largest_of_pairs(names, x))
    attend = attention or functools.partial(softmax_of_products, names, rows_of_softmax(names))
    return SimpleNamespace(**vars(names), scan=scan, conv=conv, max_pool=pool, attention=attend)


def largest_of_pairs(xp: Any, x: Any) -> Any:
    x = xp.maximum(x[..., ::2], x[..., 1::2])
    return xp.maximum(x[:, :, ::2], x[:, :, 1::2])


def rows_of_softmax(xp: Any) -> Any:
    def softmax(scores: Any) -> Any:
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        return weights / xp.sum(weights, axis=-1, keepdims=True)

    return softmax


def softmax_of_products(
    xp: Any, softmax: Any, q: Any, k: Any, v: Any, is_causal: bool = False
) -> Any:
    """Attention with all scores in memory; ``jax.nn.dot_product_attention`` is slower on a CPU."""
    scores = q @ xp.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5
    if is_causal:
        scores = xp.where(np.tri(q.shape[-2], dtype=bool), scores, -np.inf)
    return softmax(scores) @ v


def sum_of_products(x: Any, w: Any, stride: int, padding: int) -> Any:
    """Convolution in a library that has none: one matrix product per place under the kernel."""
    xp, total = autograd.numpy, 0
    x = xp.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), "constant")
    space = [n - k + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True)]
    for i, j in itertools.product(*map(range, w.shape[2:])):
        part = x[:, :, i : i + space[0] : stride, j : j + space[1] : stride]
        total = total + xp.tensordot(part, w[:, :, i, j], ((1,), (1,)))
    return xp.transpose(total, (0, 3, 1, 2))


def unrolled(stack: Callable[[list[Any]], Any]) -> Any:
    """``scan`` as a Python loop, for a library that has none."""

    def scan(step: Any, carry: Any, xs: Any, length: int | None = None) -> Any:
        outputs = []
        for i in range(len(xs) if length is None else length):
            carry, y = step(carry, None if xs is None else xs[i])
            outputs.append(y)
        return carry, None if outputs[0] is None else stack(outputs)

    return scan


def pullback_step(work: Workload, *, is_compiled: bool) -> Step:
    wrap: Any = pb.compile if is_compiled else lambda f: f

    def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
        return pb.nn.conv(x, w, stride=stride, padding=padding)

    names = library(np, pb.scan, conv, lambda x: pb.nn.max_pool(x, 2), pb.nn.attention)
    return stepper(work, names, pb.value_and_grad, wrap, pb.hvp)


def jax_step(work: Workload) -> Step:
    import jax

    jax.config.update("jax_enable_x64", True)

    def hvp(loss: Any, params: Any, vectors: Any) -> Any:
        return jax.jvp(jax.grad(loss), params, vectors)[1]

    def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
        pads = ((padding, padding),) * 2
        return jax.lax.conv_general_dilated(x, w, (stride, stride), pads)

    attention = functools.partial(softmax_of_products, jax.numpy, jax.nn.softmax)
    names = library(jax.numpy, jax.lax.scan, conv, attention=attention)
    return stepper(work, names, jax.value_and_grad, jax.jit, hvp, ready=jax.block_until_ready)


def autograd_step(work: Workload) -> Step:
    def hvp(loss: Any, params: Any, vectors: Any) -> Any:
        product = autograd.make_hvp(lambda w: loss([w]))
        return [product(params[0][0])[0](vectors[0][0])]

    names = library(autograd.numpy, unrolled(autograd.numpy.stack), sum_of_products)
    return stepper(work, names, autograd.value_and_grad, lambda f: f, hvp)


def torch_names() -> Any:
    """PyTorch under NumPy's names."""
    import torch
    from torch.nn import functional

    def maximum(x: Any, y: Any) -> Any:
        return torch.maximum(x, y) if isinstance(y, torch.Tensor) else torch.clamp(x, min=y)

    def pad(x: Any, widths: Any, mode: str) -> Any:
        return functional.pad(x, [n for pair in reversed(widths) for n in pair], mode)

    def logaddexp(x: float, y: Any) -> Any:
        return torch.logaddexp(torch.full_like(y, x), y)

    def zeros(shape: Any, dtype: Any) -> Any:
        return torch.zeros(shape, dtype=getattr(torch, np.dtype(dtype).name))

    def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
        return functional.conv2d(x, w, stride=stride, padding=padding)

    def attention(q: Any, k: Any, v: Any, is_causal: bool = False) -> Any:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal)

    def max_pool(x: Any) -> Any:
        return functional.max_pool2d(x, 2)

    own = {"max": torch.amax, "transpose": torch.permute, "maximum": maximum, "pad": pad}
    names = SimpleNamespace(**{**vars(torch), **own, "logaddexp": logaddexp, "zeros": zeros})
    return library(names, unrolled(torch.stack), conv, max_pool, attention)


def torch_step(work: Workload, *, is_compiled: bool) -> Step:
    import torch
    from torch import func

    def functional_gradient(loss: Any) -> Any:
        def value_and_grad(params: Any, *batch: Any) -> Any:
            grads, value = func.grad_and_value(loss)(params, *batch)
            return value, grads

        return value_and_grad

    def tape_gradient(loss: Any) -> Any:
        def value_and_grad(params: Any, *batch: Any) -> Any:
            with torch.enable_grad():
                leaves = [p.detach().requires_grad_() for p in params]
                value = loss(leaves, *batch)
                return value.detach(), list(torch.autograd.grad(value, leaves))

        return value_and_grad

    def hvp(loss: Any, params: Any, vectors: Any) -> Any:
        return func.jvp(func.grad(loss), params, vectors)[1]

    gradient, wrap = (
        (functional_gradient, torch.compile) if is_compiled else (tape_gradient, torch.no_grad())
    )
    return stepper(work, torch_names(), gradient, wrap, hvp, array=torch.from_numpy)


def stepper(
    work: Workload,
    names: Any,
    value_and_grad: Any,
    wrap: Any,
    hvp: Any,
    ready: Callable[[Any], Any] = lambda result: result,
    array: Callable[[Any], Any] = lambda values: values,
) -> Step:
    """The step of a library, whose arrays ``array`` makes and whose results ``ready`` awaits."""
    params = [array(p) for p in work.params]
    batches = [[array(b + b.dtype.type(k)) for b in work.batch] for k in (0, 0)]
    turn = itertools.cycle((0, 1))
    if work.kind == "adam":
        step = wrap(adam(names, value_and_grad, work.loss))
        zeros = [array(np.zeros_like(p)) for p in work.params]
        state: list[Any] = [params, zeros, zeros, array(np.zeros((), np.float32))]
        first = [*state, *batches[0]]

        def advance() -> Any:
            batch = batches[next(turn)]
            *state[:], value = ready(step(*state, *batch))
            return value

        return Step(step, first, advance)
    if work.kind == "hvp":

        def product(params: Any, x: Any, y: Any, u: Any) -> Any:
            return hvp(lambda p: work.loss(names, p, x, y, u), (params,), ([u],))

        function = wrap(product)
    else:
        function = wrap(value_and_grad(lambda params, *b: work.loss(names, params, *b)))
    arguments = [params, *batches[0]]
    return Step(function, arguments, lambda: ready(function(*arguments)))


def candidates(work: Workload) -> dict[str, Step]:
    """The step in the libraries that are installed."""
    found = {"compiled": pullback_step(work, is_compiled=True)}
    if importlib.util.find_spec("jax") is not None:
        found["JAX jit"] = jax_step(work)
    found["eager"] = pullback_step(work, is_compiled=False)
    found["autograd"] = autograd_step(work)
    if importlib.util.find_spec("torch") is not None:
        found["torch"] = torch_step(work, is_compiled=False)
        if not work.is_slow_to_compile:
            found["torch.compile"] = torch_step(work, is_compiled=True)
    return found
