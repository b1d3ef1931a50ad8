"""``compile(f, verify=n)``: run ``f`` in NumPy beside its native code, and compare."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback import tree
from pullback.compiler.jit import Compiled, Native, Signature
from pullback.core.array import Array
from pullback.core.graph import Graph, Literal
from pullback.core.source import Source, here
from pullback.errors import ArgumentError, CompileError
from pullback.transforms.evaluate import evaluate

__all__ = ["Verified"]


class Verified(Compiled):
    """A compiled function that compares the first and every n-th call with NumPy."""

    def __init__(
        self,
        fun: Any,
        static_argnums: tuple[int, ...],
        donate_argnums: tuple[int, ...],
        executor: Native,
        every: int,
    ) -> None:
        super().__init__(fun, static_argnums, donate_argnums, executor)
        if every < 1:
            raise ArgumentError(
                f"compile: verify={every}",
                where=str(here()),
                fix="give the number of calls from one comparison to the next, such as 100",
            )
        self.every = every
        self.n_calls = 0

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        self.n_calls += 1
        leaves = tree.leaves((args, kwargs))
        if (self.n_calls - 1) % self.every or any(type(leaf) is Array for leaf in leaves):
            return super().__call__(*args, **kwargs)
        for_numpy, for_graph = (tree.map(copied, (args, kwargs)) for _ in range(2))
        found = super().__call__(*args, **kwargs)
        expected = self.fun(*for_numpy[0], **for_numpy[1])
        self.compare(found, expected, for_graph)
        return found

    def compare(self, found: Any, expected: Any, given: Any) -> None:
        paths = tree.paths(found, "result")
        wanted = tree.leaves(expected)
        pairs = zip(paths, tree.leaves(found), wanted, strict=True)
        wrong = [i for i, (_, a, b) in enumerate(pairs) if not are_close(a, b)]
        if len(wanted) == len(paths) and not wrong:
            return
        i = wrong[0]
        native = np.asarray(tree.leaves(found)[i])
        leaves, signature = self.prepare(*given)
        staged = signature.staged
        by_graph = evaluate(staged.graph, [*staged.captured, *leaves])[i]
        details = [f"{paths[i]}: {native.dtype}{list(native.shape)}, {gap(native, wanted[i])}"]
        if are_close(by_graph, native):
            cause = "the function computes another thing than when it was staged"
            source = self.change(signature, given)
            fix = "pass what changes as an argument"
        else:
            cause = "its native code is wrong"
            output = staged.graph.outputs[i]
            source = next((e.source for e in staged.graph.equations if output in e.outputs), None)
            fix = "report this, with the text of show('graph'); until then leave compile out"
        raise CompileError(
            f"compile: the result of {getattr(self.fun, '__name__', 'a function')} differs from "
            f"NumPy's: {cause}",
            where=str(source or here()),
            details=details,
            fix=fix,
        )

    def change(self, old: Signature, given: Any) -> Source | None:
        """Where staging the function again gives another graph, or another constant."""
        self.signatures.clear()
        self.last = None
        new = self.prepare(*given)[1]
        return first_difference(old.staged, new.staged)


def first_difference(old: Any, new: Any) -> Source | None:
    constants = {
        id(a)
        for a, x, y in zip(old.graph.inputs, old.captured, new.captured, strict=False)
        if not are_close(x, y)
    }
    graphs: tuple[Graph, Graph] = (old.graph, new.graph)
    for a, b in zip(*(graph.equations for graph in graphs), strict=False):
        numbers = [
            (x.value, y.value)
            for x, y in zip(a.inputs, b.inputs, strict=False)
            if isinstance(x, Literal) and isinstance(y, Literal)
        ]
        is_read = any(id(v) in constants for v in a.inputs)
        if a.primitive is not b.primitive or is_read or any(x != y for x, y in numbers):
            source: Source | None = b.source
            return source
    return None


def copied(leaf: Any) -> Any:
    return np.copy(leaf) if isinstance(leaf, np.ndarray) else leaf


def are_close(a: Any, b: Any) -> bool:
    """Whether arrays agree in half of the digits, relative to the largest element."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
        return False
    if a.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    rtol = float(np.sqrt(np.finfo(a.dtype).eps))
    finite = np.abs(b[np.isfinite(b)])
    return bool(np.allclose(a, b, rtol=rtol, atol=rtol * np.max(finite, initial=0), equal_nan=True))


def gap(a: Any, b: Any) -> str:
    """What to say of two arrays that differ."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return f"NumPy's: {b.dtype}{list(b.shape)}"
    if a.dtype.kind not in "fc":
        return f"{np.count_nonzero(a != b)} elements differ"
    most, size = (float(np.nanmax(np.abs(x))) for x in (a - b, b))
    return f"largest difference {most:.3g}, largest element {size:.3g}"
