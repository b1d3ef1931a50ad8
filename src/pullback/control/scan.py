"""``scan``: a loop with a carried state, one graph for its body, differentiable in both modes.

Reverse mode runs the loop forward keeping each step's residuals stacked, then a second scan
backward over them (backpropagation through time; Werbos 1990).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.analysis.cost import graph_flops
from pullback.control.call import float_cotangents, front_batch
from pullback.control.graphs import batch_graph, jvp_graph, vjp_graphs
from pullback.core.array import as_array
from pullback.core.graph import Graph
from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.errors import ArgumentError, ShapeError
from pullback.transforms.evaluate import evaluate
from pullback.transforms.jvp import zeros
from pullback.transforms.stage import stage

__all__ = ["scan"]


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Loop ``carry, y = f(carry, x)`` over the leading axis of ``xs``.

    The body is staged once, so the loop compiles to a native loop, and its size does not grow
    with the number of steps. ``f`` may read traced values from outside.

    Args:
        f: returns the next carry, with the structure, shapes and dtypes of ``init``, and an output.
        init: first carry, a container of arrays.
        xs: container of arrays with one leading length, or ``None`` (then give ``length``).
        length: number of steps.
        reverse: go from the last element to the first; outputs stay at the place of their input.

    Returns:
        The last carry, and the outputs stacked along a new leading axis.

    Raises:
        ShapeError: if ``f`` changes the type of the carry, or lengths differ.

    >>> import numpy as np
    >>> import pullback as pb
    >>> last, sums = pb.scan(lambda c, x: (c + x, c + x), 0.0, np.array([1.0, 2.0, 3.0]))
    >>> float(last), sums
    (6.0, array([1., 3., 6.]))
    """
    carry, carry_structure = tree.flatten(tree.map(as_array, init))
    rows, row_structure = tree.flatten(tree.map(as_array, xs))
    n = _length(rows, length)
    out_structure: list[tree.TreeDef] = []

    def flat_body(*args: Any) -> list[Any]:
        result: Any = f(
            tree.unflatten(carry_structure, args[: len(carry)]),
            tree.unflatten(row_structure, args[len(carry) :]),
        )
        if not isinstance(result, tuple) or len(result) != 2:
            raise ArgumentError(
                "scan: the body must return a pair (carry, output)",
                where=str(here()),
                fix="return carry, None if there is no output",
            )
        next_carry, structure = tree.flatten(result[0])
        if structure != carry_structure:
            raise ShapeError(
                "scan: the body changes the structure of the carry",
                details=[f"init: {carry_structure}", f"after: {structure}"],
                fix="return a carry built like init",
            )
        outputs, structure = tree.flatten(result[1])
        out_structure[:] = [structure]
        return [*map(as_array, next_carry), *map(as_array, outputs)]

    carry_types = [type_of(c) for c in carry]
    row_types = [ArrayType(type_of(x).shape[1:], type_of(x).dtype) for x in rows]
    staged = stage(flat_body, [*carry_types, *row_types], "scan")
    after = staged.graph.output_types[: len(carry)]
    if after != carry_types:
        raise ShapeError(
            "scan: the body changes the type of the carry",
            where=str(here()),
            details=[f"init: {carry_types}", f"after: {after}"],
            fix="give init the shape and dtype that the body returns",
        )
    results = scan_primitive(
        *staged.captured,
        *carry,
        *rows,
        body=staged.graph,
        n_constants=len(staged.captured),
        n_carry=len(carry),
        length=n,
        reverse=reverse,
    )
    return (
        tree.unflatten(carry_structure, results[: len(carry)]),
        tree.unflatten(out_structure[0], results[len(carry) :]),
    )


def _length(rows: Sequence[Any], length: int | None) -> int:
    lengths = {np.shape(x)[0] if np.ndim(x) else None for x in rows}
    if length is not None:
        lengths.add(length)
    if len(lengths) != 1 or None in lengths:
        raise ShapeError(
            f"scan: lengths {sorted(map(str, lengths))} do not agree"
            if lengths
            else "scan: without xs the number of steps is unknown",
            where=str(here()),
            fix="give every array in xs the same leading length, or pass length",
        )
    return int(lengths.pop())  # type: ignore[arg-type]


class _Loop:
    """The parts of the operands of a scan."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.body: Graph = params["body"]
        self.n_constants: int = params["n_constants"]
        self.n_carry: int = params["n_carry"]
        self.length: int = params["length"]
        self.reverse: bool = params["reverse"]
        self.start = self.n_constants + self.n_carry

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        return (
            list(operands[: self.n_constants]),
            list(operands[self.n_constants : self.start]),
            list(operands[self.start :]),
        )

    def bind(
        self,
        body: Graph,
        constants: Sequence[Any],
        carry: Sequence[Any],
        rows: Sequence[Any],
        reverse: bool | None = None,
    ) -> Any:
        return scan_primitive(
            *constants,
            *carry,
            *rows,
            body=body,
            n_constants=len(constants),
            n_carry=len(carry),
            length=self.length,
            reverse=self.reverse if reverse is None else reverse,
        )


def _evaluate(*operands: Any, **params: Any) -> list[Any]:
    loop = _Loop(params)
    constants, carry, rows = loop.split(operands)
    out_types = loop.body.output_types[loop.n_carry :]
    outputs = [np.empty((loop.length, *t.shape), t.dtype) for t in out_types]
    steps = range(loop.length)
    for i in reversed(steps) if loop.reverse else steps:
        results = evaluate(loop.body, [*constants, *carry, *(x[i] for x in rows)])
        carry = results[: loop.n_carry]
        for stacked, y in zip(outputs, results[loop.n_carry :], strict=True):
            stacked[i] = y
    return [*(np.array(c) for c in carry), *outputs]


def _type_rule(*types: ArrayType, **params: Any) -> tuple[ArrayType, ...]:
    loop = _Loop(params)
    out = loop.body.output_types
    return (
        *out[: loop.n_carry],
        *(ArrayType((loop.length, *t.shape), t.dtype) for t in out[loop.n_carry :]),
    )


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    loop = _Loop(params)
    n_out = len(loop.body.outputs)
    types = loop.body.input_types
    nonzero = [t is not None for t in tangents]
    carried = slice(loop.n_constants, loop.start)
    while True:  # a carry whose tangent starts at zero may get one in a later step
        always = tuple(nonzero[carried]) + (False,) * (n_out - loop.n_carry)
        staged, reached = jvp_graph(loop.body, tuple(nonzero), always)
        grown = [a or b for a, b in zip(nonzero[carried], reached, strict=False)]
        if grown == nonzero[carried]:
            break
        nonzero[carried] = grown
    dots = [
        zeros(type_of(p)) if t is None and flag else t
        for t, flag, p in zip(tangents, nonzero, primals, strict=True)
    ]
    constants, carry, rows = loop.split(primals)
    constants_dot, carry_dot, rows_dot = (
        [d for d in part if d is not None] for part in loop.split(dots)
    )
    n_dot = len(carry_dot)
    order = _interleave(loop, nonzero, len(staged.captured), len(types))

    def body(*args: Any) -> list[Any]:
        results = evaluate(staged.graph, [args[i] for i in order])
        outputs, out_dots = results[:n_out], results[n_out:]
        return [
            *outputs[: loop.n_carry],
            *out_dots[:n_dot],
            *outputs[loop.n_carry :],
            *out_dots[n_dot:],
        ]

    operands = (
        [*staged.captured, *constants, *constants_dot],
        [*carry, *carry_dot],
        [*rows, *rows_dot],
    )
    results = loop.bind(_restage(body, operands), *operands)
    split = loop.n_carry + n_dot
    out_dots = iter([*results[loop.n_carry : split], *results[split + n_out - loop.n_carry :]])
    return [next(out_dots) if flag else None for flag in reached]


def _interleave(loop: _Loop, nonzero: Sequence[bool], n_captured: int, n: int) -> list[int]:
    """Where each input of the jvp graph stands among constants, carry and rows with tangents."""
    groups = (range(loop.n_constants), range(loop.n_constants, loop.start), range(loop.start, n))
    primal_at, dot_at, position = {}, {}, n_captured
    for group in groups:
        for i in group:
            primal_at[i] = position
            position += 1
        for i in group:
            if nonzero[i]:
                dot_at[i] = position
                position += 1
    return [
        *range(n_captured),
        *(primal_at[i] for i in range(n)),
        *(dot_at[i] for i in sorted(dot_at)),
    ]


def _restage(
    body: Callable[..., list[Any]], operands: tuple[list[Any], list[Any], list[Any]]
) -> Graph:
    """Stage a body of graph evaluations, which captures nothing, for these operands."""
    constants, carry, rows = operands
    types = [type_of(v) for v in (*constants, *carry)]
    types += [ArrayType(type_of(x).shape[1:], type_of(x).dtype) for x in rows]
    staged = stage(body, types, "scan")
    assert not staged.captured, "a scan body built from graphs captures nothing"
    return staged.graph


def _split_graphs(loop: _Loop, needs: Sequence[bool]) -> Any:
    """Reverse graphs of the body: every differentiable carry, and the operands that need it."""
    types = loop.body.input_types
    wanted = tuple(
        is_differentiable(type.dtype) and (need or loop.n_constants <= i < loop.start)
        for i, (type, need) in enumerate(zip(types, needs, strict=True))
    )
    kept_ok = tuple(not loop.n_constants <= i < loop.start for i in range(len(types)))
    return vjp_graphs(loop.body, wanted, kept_ok), wanted


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    loop = _Loop(params)
    split, _ = _split_graphs(loop, needs)
    constants, carry, rows = loop.split(primals)
    results = loop.bind(split.forward.graph, [*split.forward.captured, *constants], carry, rows)
    n = len(loop.body.outputs)
    return results[:n], [*(primals[i] for i in split.kept), *results[n:]]


def _take(values: Iterator[Any], k: int) -> list[Any]:
    return [next(values) for _ in range(k)]


def _backward(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    loop = _Loop(params)
    split, wanted = _split_graphs(loop, needs)
    out_types = loop.body.output_types
    n_captured, n_kept = len(split.backward.captured), len(split.kept)
    kept_constants = [p for p in range(n_kept) if split.kept[p] < loop.n_constants]
    kept_rows = [p for p in range(n_kept) if split.kept[p] >= loop.start]
    carry_in = [i for i in range(loop.n_constants, loop.start) if wanted[i]]
    constants_in = [i for i in range(loop.n_constants) if wanted[i]]
    rows_in = [i for i in range(loop.start, len(wanted)) if wanted[i] and i in split.reached]
    n_carry_ct, n_constant_ct = len(carry_in), len(constants_in)
    stacked = [saved[p] for p in kept_rows] + list(saved[n_kept:])

    def body(*args: Any) -> list[Any]:
        it = iter(args)
        captured, constants = _take(it, n_captured), _take(it, len(kept_constants))
        carry_cts, totals = _take(it, n_carry_ct), _take(it, n_constant_ct)
        rows, residuals, out_cts = _take(it, len(kept_rows)), _take(it, split.n_residuals), list(it)
        kept: list[Any] = [None] * n_kept
        for p, value in zip(kept_constants + kept_rows, constants + rows, strict=True):
            kept[p] = value
        found = dict(
            zip(
                split.reached,
                evaluate(
                    split.backward.graph, [*captured, *kept, *residuals, *carry_cts, *out_cts]
                ),
                strict=True,
            )
        )
        return [
            *(found[i] if i in found else zeros(loop.body.input_types[i]) for i in carry_in),
            *(t + found[i] if i in found else t for i, t in zip(constants_in, totals, strict=True)),
            *(found[i] for i in rows_in),
        ]

    ct_types = [
        *out_types[: loop.n_carry],
        *(ArrayType((loop.length, *t.shape), t.dtype) for t in out_types[loop.n_carry :]),
    ]
    full = float_cotangents(cts, ct_types)
    constants = [*split.backward.captured, *(saved[p] for p in kept_constants)]
    carry = [*full[:n_carry_ct], *(zeros(loop.body.input_types[i]) for i in constants_in)]
    rows = [*stacked, *full[n_carry_ct:]]
    staged = stage(
        body,
        [
            *map(type_of, constants),
            *map(type_of, carry),
            *(ArrayType(type_of(x).shape[1:], type_of(x).dtype) for x in rows),
        ],
        "grad",
    )
    constants = [*staged.captured, *constants]
    results = loop.bind(staged.graph, constants, carry, rows, reverse=not loop.reverse)
    by_input = dict(zip([*carry_in, *constants_in, *rows_in], results, strict=True))
    return [by_input.get(i) if need else None for i, need in enumerate(needs)]


def _batch(args: Any, axes: Any, params: Any) -> Any:
    loop = _Loop(params)
    moved, size = front_batch(args, axes)
    batched = [axis is not None for axis in axes]
    carried = slice(loop.n_constants, loop.start)
    n_out = len(loop.body.outputs)
    while True:  # a carry may become batched in a later step
        force = tuple(batched[carried]) + (False,) * (n_out - loop.n_carry)
        staged, out = batch_graph(loop.body, tuple(batched), force, size)
        if list(out[: loop.n_carry]) == batched[carried]:
            break
        batched[carried] = out[: loop.n_carry]
    constants, carry, rows = loop.split(moved)
    carry = [
        np.broadcast_to(c, (size, *np.shape(c))) if flag and axis is None else c
        for c, flag, axis in zip(carry, batched[carried], axes[carried], strict=True)
    ]
    rows = [
        x if axis is None else np.moveaxis(x, 0, 1)
        for x, axis in zip(rows, axes[loop.start :], strict=True)
    ]
    results = loop.bind(staged.graph, [*staged.captured, *constants], carry, rows)
    return results, [
        0 if flag and i < loop.n_carry else 1 if flag else None for i, flag in enumerate(out)
    ]


def _samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """``c <- sin(c) w + x`` with outputs ``c x``, forward and backward in time, and no steps."""
    if not is_differentiable(dtype):
        return []

    def body(w: Any, c: Any, x: Any) -> list[Any]:
        return [np.sin(c) * w + x, c * x]

    graph = stage(body, [ArrayType((2,), dtype)] * 3).graph

    def draw(*shape: int) -> Any:
        return rng.normal(size=shape).astype(dtype)

    common = {"body": graph, "n_constants": 1, "n_carry": 1}
    return [
        Sample((draw(2), draw(2), draw(3, 2)), {**common, "length": 3, "reverse": False}),
        Sample((draw(2), draw(2), draw(3, 2)), {**common, "length": 3, "reverse": True}),
        Sample((draw(2), draw(2), draw(0, 2)), {**common, "length": 0, "reverse": False}),
    ]


scan_primitive = Primitive(
    name="scan",
    doc="carry, y[i] = body(constants, carry, x[i]) for each i in turn",
    multiple=True,
    numpy=_evaluate,
    type_rule=_type_rule,
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=_batch,
    family="control",
    flops=lambda types, out_types, params: params["length"] * graph_flops(params["body"]),
    source="Werbos (1990), Backpropagation through time",
    samples=_samples,
)
