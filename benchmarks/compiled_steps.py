"""Whole compiled steps against JAX jit (if it is installed), HIPS autograd and eager Pullback.

Forward pass, backward pass and Adam; gradients or Hessian-vector products where the name says so.
The state of one step is the input of the next, and the batch alternates between two.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

# OpenBLAS's threads spin for 30 ms after a product, on processors that the next candidate needs:
# here for 2^18 cycles, about 0.1 ms. It is read when NumPy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")

import autograd
import autograd.numpy
import numpy as np

import pullback as pb
from benchmarks import limits
from benchmarks.timing import show
from benchmarks.workloads import Workload, adam, all_workloads
from pullback.analysis.cost import graph_flops

Step = Callable[[], Any]
SLOW = 20  # times slower than the fastest: such a candidate is timed once


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


def unrolled(step: Any, carry: Any, xs: Any, length: int | None = None) -> Any:
    """``scan`` as a Python loop, for a library that has none."""
    outputs = []
    for i in range(len(xs) if length is None else length):
        carry, y = step(carry, None if xs is None else xs[i])
        outputs.append(y)
    return carry, None if outputs[0] is None else autograd.numpy.stack(outputs)


class Kept:
    """A compiler that keeps what it has compiled last, and the arguments of the last call."""

    def __init__(self, compiler: Callable[..., Any]) -> None:
        self.compiler = compiler

    def __call__(self, fun: Callable[..., Any]) -> Callable[..., Any]:
        self.compiled = self.compiler(fun)

        def call(*args: Any) -> Any:
            self.args = args
            return self.compiled(*args)

        return call


def pullback_step(work: Workload, *, is_compiled: bool, kept: Kept | None = None) -> Step:
    wrap: Any = kept or (pb.compile if is_compiled else lambda f: f)

    def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
        return pb.nn.conv(x, w, stride=stride, padding=padding)

    names = library(np, pb.scan, conv, lambda x: pb.nn.max_pool(x, 2), pb.nn.attention)
    return stepper(work, names, pb.value_and_grad, wrap, lambda x: x, pb.hvp)


def jax_step(work: Workload, kept: Kept | None = None) -> Step:
    import jax

    jax.config.update("jax_enable_x64", True)

    def hvp(loss: Any, params: Any, vectors: Any) -> Any:
        return jax.jvp(jax.grad(loss), params, vectors)[1]

    def ready(result: Any) -> Any:
        return jax.block_until_ready(result)

    def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
        pads = ((padding, padding),) * 2
        return jax.lax.conv_general_dilated(x, w, (stride, stride), pads)

    attention = functools.partial(softmax_of_products, jax.numpy, jax.nn.softmax)
    names = library(jax.numpy, jax.lax.scan, conv, attention=attention)
    return stepper(work, names, jax.value_and_grad, kept or jax.jit, ready, hvp)


def autograd_step(work: Workload) -> Step:
    def hvp(loss: Any, params: Any, vectors: Any) -> Any:
        product = autograd.make_hvp(lambda w: loss([w]))
        return [product(params[0][0])[0](vectors[0][0])]

    names = library(autograd.numpy, unrolled, sum_of_products)
    return stepper(work, names, autograd.value_and_grad, lambda f: f, lambda x: x, hvp)


def stepper(work: Workload, np_: Any, value_and_grad: Any, wrap: Any, ready: Any, hvp: Any) -> Step:
    """A function of nothing that makes the next step and returns its loss, or its gradient."""
    batches = [work.batch, [b + b.dtype.type(0) for b in work.batch]]
    turn = itertools.cycle((0, 1))

    if work.kind == "adam":
        step = wrap(adam(np_, value_and_grad, work.loss))
        zeros = [np.zeros_like(p) for p in work.params]
        state: list[Any] = [work.params, zeros, zeros, np.float32(0)]

        def run() -> Any:
            batch = batches[next(turn)]
            *state[:], value = ready(step(*state, *batch))
            return value

        return run
    if work.kind == "hvp":
        product = wrap(
            lambda params, x, y, u: hvp(lambda p: work.loss(np_, p, x, y, u), (params,), ([u],))
        )
        return lambda: ready(product(work.params, *work.batch))
    gradient = wrap(value_and_grad(lambda params, *batch: work.loss(np_, params, *batch)))
    return lambda: ready(gradient(work.params, *work.batch))


def candidates(work: Workload) -> dict[str, Step]:
    found = {"compiled": pullback_step(work, is_compiled=True)}
    if importlib.util.find_spec("jax") is not None:
        found["JAX jit"] = jax_step(work)
    found["eager"] = pullback_step(work, is_compiled=False)
    found["autograd"] = autograd_step(work)
    return found


def measure(steps: dict[str, Step], seconds: float) -> dict[str, list[float]]:
    """First call, and the median of the others, interleaved, in seconds."""
    first: dict[str, float] = {}
    answers = {}
    for name, step in steps.items():
        start = time.perf_counter()
        answers[name] = step()
        first[name] = time.perf_counter() - start
    agree(answers)
    times: dict[str, list[float]] = {name: [seconds_of(step)] for name, step in steps.items()}
    fastest = min(ts[0] for ts in times.values())
    steps = {name: step for name, step in steps.items() if times[name][0] <= SLOW * fastest}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["compiled"]) < 6:
        for name, step in steps.items():
            repeats = max(1, int(2e-3 / max(times[name][-1], 1e-6)))
            times[name].append(seconds_of(step, repeats))
    return {name: [first[name], statistics.median(ts[1:] or ts)] for name, ts in times.items()}


def seconds_of(step: Step, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def agree(answers: dict[str, Any]) -> None:
    leaves = {name: [np.asarray(a) for a in pb.tree.leaves(x)] for name, x in answers.items()}
    for name, got in leaves.items():
        for a, b in zip(got, leaves["compiled"], strict=True):
            scale = max(float(np.max(np.abs(b))), 1e-6)
            if not np.max(np.abs(a - b)) <= 1e-3 * scale:
                raise AssertionError(f"{name} and compiled disagree")


# -- limits ---------------------------------------------------------------------------------------
def memory(work: Workload) -> dict[str, float]:
    """Bytes of arguments, results and working memory, as the compilers say; as traced for autograd.

    autograd's are the most that Python's allocator held during a step, and the arguments.
    """
    kept = Kept(pb.compile)
    pullback_step(work, is_compiled=True, kept=kept)()
    given = sum(np.asarray(a).nbytes for a in pb.tree.leaves(kept.args))
    graph = next(iter(kept.compiled.signatures.values())).staged.graph
    results = sum(t.nbytes for t in graph.output_types)
    arena = int(kept.compiled.show("memory", *kept.args).split()[1])
    found = {"ours": float(given + results + arena), "least": float(given + results)}
    if importlib.util.find_spec("jax") is not None:
        import jax

        kept = Kept(jax.jit)
        jax_step(work, kept)()
        sizes = kept.compiled.lower(*kept.args).compile().memory_analysis()
        found["JAX"] = float(
            sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
        )
    step = autograd_step(work)
    step()
    tracemalloc.start()
    step()
    found["autograd"] = given + float(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    return found


def least_seconds(work: Workload, rates: dict[str, float]) -> float:
    """In which the machine could do the step: its operations, or the bytes that go in and out."""
    kept = Kept(pb.compile)
    pullback_step(work, is_compiled=True, kept=kept)()
    graph = next(iter(kept.compiled.signatures.values())).staged.graph
    types = [*graph.input_types, *graph.output_types]
    dtype = str(max(types, key=lambda t: t.nbytes).dtype)
    n_bytes = sum(t.nbytes for t in types)
    return max(graph_flops(graph) / rates[dtype], n_bytes / rates["bytes"])


def main(quick: bool = False, only: str = "") -> list[dict[str, Any]]:
    rows, others, results = [], [], []
    rates = limits.main()
    for work in all_workloads():
        if only not in work.name:
            continue
        times = measure(candidates(work), 0.2 if quick else 4.0)
        ours = times["compiled"][1]
        peers = {name: t[1] for name, t in times.items() if name in ("JAX jit", "autograd")}
        best = min(peers, key=lambda name: peers[name])
        ratio = peers[best] / ours
        rows.append(
            [work.name, f"{1e6 * ours:,.0f}"]
            + [f"{t[1] / ours:.2f}" for name, t in times.items() if name != "compiled"]
            + [f"{t[0]:.2f}" for name, t in times.items() if name in ("compiled", "JAX jit")]
            + [f"{ratio:.2f}", f"{work.goal:g}"]
        )
        print(f"{work.name}: {1e6 * ours:,.0f} us", flush=True)
        sizes = memory(work)
        least = least_seconds(work, rates)
        megabytes = [f"{n / 1e6:,.1f}" for name, n in sizes.items() if name != "least"]
        others.append([work.name, f"{1e6 * least:,.1f}", f"{least / ours:.0%}", *megabytes])
        results.append({"name": work.name, "ratio": ratio, "memory": sizes, **times})
    peers_of = [f"{name} / ours" for name in times if name != "compiled"]
    first = [f"{name} first s" for name in times if name in ("compiled", "JAX jit")]
    show(["step", "us", *peers_of, *first, "best peer / ours", "goal"], rows)
    print()
    used = [f"{name} MB" for name in sizes if name != "least"]
    show(["step", "least us", "of the limit", *used], others)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--only", default="", help="workloads whose name has this in it")
    asked = parser.parse_args()
    main(asked.quick, asked.only)
