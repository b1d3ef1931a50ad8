"""``cond`` and ``while_loop``: control flow on traced values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import tree
from pullback.analysis.cost import graph_flops
from pullback.control.call import float_cotangents, front_batch
from pullback.control.graphs import batch_graph, jvp_graph, vjp_graphs
from pullback.core.array import as_array
from pullback.core.graph import Graph, Variable
from pullback.core.primitive import ForwardRule, Primitive, Sample
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.errors import NotDifferentiableError, ShapeError
from pullback.transforms.evaluate import evaluate
from pullback.transforms.jvp import zeros
from pullback.transforms.stage import Staged, stage

__all__ = ["cond", "while_loop"]


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """``true_fun(*operands)`` where ``pred`` holds, else ``false_fun(*operands)``.

    Both branches are staged; only the chosen one runs (under ``vmap`` with a batched ``pred`` both
    run). They may read traced values from outside.

    Raises:
        ShapeError: if the branches return different structures, shapes or dtypes.

    >>> import numpy as np
    >>> import pullback as pb
    >>> f = lambda x: pb.cond(x > 0, np.sin, lambda x: 2.0 * x, x)
    >>> float(pb.grad(f)(-1.0))
    2.0
    """
    leaves, structure = tree.flatten(tree.map(as_array, operands))
    pred = as_array(pred)
    if pred.shape != ():
        raise ShapeError(
            f"cond: the predicate has shape {pred.shape}",
            where=str(here()),
            fix="reduce it to one truth value, e.g. with np.all, or use np.where",
        )
    shapes: list[tree.TreeDef] = []

    def flat(function: Callable[..., Any]) -> Staged:
        def branch(*args: Any) -> list[Any]:
            outputs, out_structure = tree.flatten(function(*tree.unflatten(structure, args)))
            shapes.append(out_structure)
            return [as_array(y) for y in outputs]

        return stage(branch, [type_of(x) for x in leaves], "cond")

    on_false, on_true = flat(false_fun), flat(true_fun)
    types = on_false.graph.output_types, on_true.graph.output_types
    if shapes[0] != shapes[1] or types[0] != types[1]:
        raise ShapeError(
            "cond: the branches return different types",
            where=str(here()),
            details=[f"true: {shapes[1]} of {types[1]}", f"false: {shapes[0]} of {types[0]}"],
            fix="make both branches return the same structure, shapes and dtypes",
        )
    branches = _same_inputs(on_false, on_true)
    results = cond_primitive(
        pred, *on_false.captured, *on_true.captured, *leaves, branches=branches
    )
    return tree.unflatten(shapes[0], results)


def _same_inputs(*staged: Staged) -> tuple[Graph, ...]:
    """Branches as graphs of everything that any of them captured, followed by the operands."""
    graphs = []
    for own in staged:
        captured: list[Variable] = []
        for other in staged:
            variables = other.graph.inputs[: len(other.captured)]
            captured += variables if other is own else [Variable(v.type) for v in variables]
        graphs.append(
            Graph(
                (*captured, *own.graph.inputs[len(own.captured) :]),
                own.graph.equations,
                own.graph.outputs,
            )
        )
    return tuple(graphs)


def _evaluate(pred: Any, *operands: Any, branches: tuple[Graph, Graph]) -> list[Any]:
    return evaluate(branches[bool(pred)], operands)


def _jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    branches = params["branches"]
    nonzero = tuple(t is not None for t in tangents[1:])
    force = (True,) * len(branches[0].outputs)
    pushed = [jvp_graph(branch, nonzero, force)[0] for branch in branches]
    outputs = cond_primitive(
        primals[0],
        *pushed[0].captured,
        *pushed[1].captured,
        *primals[1:],
        *(t for t in tangents if t is not None),
        branches=_same_inputs(*pushed),
    )
    dots = iter(outputs[len(force) :])
    return [next(dots) if is_differentiable(t.dtype) else None for t in branches[0].output_types]


def _reverse(params: Any, needs: Any) -> Any:
    """The branches split for reverse mode; each forward branch also fills the other's residuals."""
    needs = tuple(needs[1:])
    splits = [vjp_graphs(branch, needs, (True,) * len(needs)) for branch in params["branches"]]
    n_out = len(params["branches"][0].outputs)
    residuals = [split.forward.graph.output_types[n_out:] for split in splits]

    def padded(which: int) -> Staged:
        split = splits[which].forward

        def run(*args: Any) -> list[Any]:
            results = evaluate(split.graph, args)
            fill = [np.broadcast_to(np.zeros((), t.dtype), t.shape) for t in residuals[1 - which]]
            own = results[n_out:]
            return [*results[:n_out], *(own + fill if which == 0 else fill + own)]

        staged = stage(run, split.graph.input_types, "cond")
        return Staged(staged.graph, [*staged.captured, *split.captured], staged.guard)

    return splits, (padded(0), padded(1)), n_out


def _forward(primals: Any, needs: Any, params: Any) -> Any:
    _, forwards, n_out = _reverse(params, needs)
    results = cond_primitive(
        primals[0],
        *forwards[0].captured,
        *forwards[1].captured,
        *primals[1:],
        branches=_same_inputs(*forwards),
    )
    return results[:n_out], [*primals, *results[n_out:]]


def _backward(saved: Any, cts: Any, needs: Any, types: Any, params: Any) -> Any:
    splits, _, _ = _reverse(params, needs)
    n = len(needs)
    operands, residuals = saved[1:n], saved[n:]
    full = float_cotangents(cts, params["branches"][0].output_types)
    wanted = sorted({i for split in splits for i in split.reached})
    in_types = params["branches"][0].input_types
    n_first = splits[0].n_residuals

    def swept(which: int) -> Staged:
        split = splits[which]

        def run(*args: Any) -> list[Any]:
            captured = args[: len(split.backward.captured)]
            rest = args[len(split.backward.captured) :]
            inputs, kept = rest[: n - 1], rest[n - 1 :]
            own = kept[:n_first] if which == 0 else kept[n_first : len(residuals)]
            found = evaluate(
                split.backward.graph,
                [*captured, *(inputs[i] for i in split.kept), *own, *kept[len(residuals) :]],
            )
            by_input = dict(zip(split.reached, found, strict=True))
            return [by_input[i] if i in by_input else zeros(in_types[i]) for i in wanted]

        n_captured = len(split.backward.captured)
        types = [
            *split.backward.graph.input_types[:n_captured],
            *map(type_of, (*operands, *residuals, *full)),
        ]
        staged = stage(run, types, "grad")
        return Staged(staged.graph, [*staged.captured, *split.backward.captured], staged.guard)

    both = swept(0), swept(1)
    found = cond_primitive(
        saved[0],
        *both[0].captured,
        *both[1].captured,
        *operands,
        *residuals,
        *full,
        branches=_same_inputs(*both),
    )
    by_input = dict(zip(wanted, found, strict=True))
    return [None, *(by_input.get(i) for i in range(n - 1))]


def _batch(args: Any, axes: Any, params: Any) -> Any:
    moved, size = front_batch(args, axes)
    batched = tuple(axis is not None for axis in axes[1:])
    force = (True,) * len(params["branches"][0].outputs)
    staged = [batch_graph(branch, batched, force, size)[0] for branch in params["branches"]]
    if axes[0] is None:
        outputs = cond_primitive(
            moved[0],
            *staged[0].captured,
            *staged[1].captured,
            *moved[1:],
            branches=_same_inputs(*staged),
        )
    else:
        results = [evaluate(s.graph, [*s.captured, *moved[1:]]) for s in staged]
        outputs = [
            np.where(np.reshape(moved[0], (size, *(1,) * (np.ndim(a) - 1))), b, a)
            for a, b in zip(*results, strict=True)
        ]
    return outputs, [0] * len(outputs)


def _cond_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """``sin(x1) x2`` or ``x1 + x1``."""
    if not is_differentiable(dtype):
        return []
    types = [ArrayType((2,), dtype)] * 2
    branches = (
        stage(lambda a, b: [np.sin(a) * b], types).graph,
        stage(lambda a, b: [a + a], types).graph,
    )
    args = [rng.normal(size=2).astype(dtype) for _ in range(2)]
    return [Sample((np.asarray(flag), *args), {"branches": branches}) for flag in (True, False)]


def _branch_flops(types: Any, out_types: Any, params: Any) -> int:
    return max(graph_flops(branch) for branch in params["branches"])


cond_primitive = Primitive(
    name="cond",
    doc="branches[pred](operands); the other branch does not run",
    multiple=True,
    numpy=_evaluate,
    type_rule=lambda *types, branches: tuple(branches[0].output_types),
    jvp=_jvp,
    vjp=ForwardRule(_forward, _backward),
    batch=_batch,
    family="control",
    flops=_branch_flops,
    samples=_cond_samples,
)


# -- while ----------------------------------------------------------------------------------------
def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any) -> Any:
    """Repeat ``state = body_fun(state)`` while ``cond_fun(state)`` holds; return the last state.

    Forward mode works; reverse mode would need an unknown amount of memory and is refused: use
    :func:`scan` with a fixed number of steps there.

    Raises:
        ShapeError: if the body changes the type of the state.

    >>> import pullback as pb
    >>> float(pb.while_loop(lambda x: x < 100.0, lambda x: 2.0 * x, 3.0))
    192.0
    """
    leaves, structure = tree.flatten(tree.map(as_array, init))
    types = [type_of(x) for x in leaves]
    test = stage(
        lambda *xs: [as_array(cond_fun(tree.unflatten(structure, xs)))], types, "while_loop"
    )
    body = stage(
        lambda *xs: [as_array(y) for y in tree.leaves(body_fun(tree.unflatten(structure, xs)))],
        types,
        "while_loop",
    )
    if body.graph.output_types != types:
        raise ShapeError(
            "while_loop: the body changes the type of the state",
            where=str(here()),
            details=[f"init: {types}", f"after: {body.graph.output_types}"],
            fix="give init the shape and dtype that the body returns",
        )
    results = while_primitive(
        *test.captured,
        *body.captured,
        *leaves,
        test=test.graph,
        body=body.graph,
        n_test=len(test.captured),
        n_body=len(body.captured),
    )
    return tree.unflatten(structure, results)


def _while(*operands: Any, test: Graph, body: Graph, n_test: int, n_body: int) -> list[Any]:
    for_test, for_body = operands[:n_test], operands[n_test : n_test + n_body]
    state = [np.array(x) for x in operands[n_test + n_body :]]
    while evaluate(test, [*for_test, *state])[0]:
        state = evaluate(body, [*for_body, *state])
    return state


def _while_jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
    test, body, n_test, n_body = (params[k] for k in ("test", "body", "n_test", "n_body"))
    state_types = body.input_types[n_body:]
    carried = [is_differentiable(t.dtype) for t in state_types]
    constants_dot = tangents[n_test : n_test + n_body]
    nonzero = (*(t is not None for t in constants_dot), *carried)
    pushed, _ = jvp_graph(body, nonzero, (True,) * len(body.outputs))
    dots = [
        zeros(type_of(p)) if t is None else t
        for p, t, flag in zip(
            primals[n_test + n_body :], tangents[n_test + n_body :], carried, strict=True
        )
        if flag
    ]
    n_state, n_dots = len(state_types), len(dots)
    given = [t for t in constants_dot if t is not None]
    n_captured = len(pushed.captured)

    def step(*args: Any) -> list[Any]:
        captured, constants = args[:n_captured], args[n_captured : n_captured + n_body]
        more = args[n_captured + n_body :]
        return evaluate(
            pushed.graph,
            [
                *captured,
                *constants,
                *more[len(given) : len(given) + n_state],
                *more[: len(given)],
                *more[len(given) + n_state :],
            ],
        )

    constants = [*pushed.captured, *primals[n_test : n_test + n_body], *given]
    state = [*primals[n_test + n_body :], *dots]
    new_body = stage(step, [type_of(v) for v in (*constants, *state)], "while_loop")
    new_test = Graph(
        (*test.inputs, *(Variable(type_of(d)) for d in dots)), test.equations, test.outputs
    )
    results = while_primitive(
        *primals[:n_test],
        *constants,
        *state,
        test=new_test,
        body=new_body.graph,
        n_test=n_test,
        n_body=len(constants),
    )
    out = iter(results[n_state : n_state + n_dots])
    return [next(out) if flag else None for flag in carried]


def _while_batch(args: Any, axes: Any, params: Any) -> Any:
    test, body, n_test, n_body = (params[k] for k in ("test", "body", "n_test", "n_body"))
    moved, size = front_batch(args, axes)
    n = n_test + n_body
    state = [
        np.broadcast_to(x, (size, *np.shape(x))) if axis is None else x
        for x, axis in zip(moved[n:], axes[n:], strict=True)
    ]
    all_state = (True,) * len(state)
    tested, _ = batch_graph(
        test, (*(a is not None for a in axes[:n_test]), *all_state), (True,), size
    )
    stepped, _ = batch_graph(
        body, (*(a is not None for a in axes[n_test:n]), *all_state), all_state, size
    )

    def any_left(*xs: Any) -> list[Any]:
        return [np.any(evaluate(tested.graph, xs)[0])]

    def step(*xs: Any) -> list[Any]:
        """Advance the examples whose own condition still holds."""
        n_tested = len(tested.captured) + n_test
        for_test, rest = xs[:n_tested], xs[n_tested:]
        current = rest[len(rest) - len(state) :]
        alive = evaluate(tested.graph, [*for_test, *current])[0]
        after = evaluate(stepped.graph, rest)
        return [
            np.where(np.reshape(alive, (size, *(1,) * (np.ndim(b) - 1))), a, b)
            for a, b in zip(after, current, strict=True)
        ]

    for_test = [*tested.captured, *moved[:n_test]]
    for_body = [*for_test, *stepped.captured, *moved[n_test:n]]

    def types(values: Any) -> list[Any]:
        return [type_of(v) for v in values]

    new_test = stage(any_left, types([*for_test, *state]), "vmap")
    new_body = stage(step, types([*for_body, *state]), "vmap")
    results = while_primitive(
        *for_test,
        *for_body,
        *state,
        test=new_test.graph,
        body=new_body.graph,
        n_test=len(for_test),
        n_body=len(for_body),
    )
    return results, [0] * len(state)


def _refuse_reverse(*unused: Any) -> Any:
    raise NotDifferentiableError(
        "while_loop has no reverse mode: its number of steps, and so its memory, is unknown",
        where=str(here()),
        fix="use pullback.scan with a fixed number of steps, or forward mode (jvp)",
    )


def _while_samples(rng: np.random.Generator, dtype: np.dtype[Any]) -> list[Sample]:
    """Double ``x`` until its sum passes 50."""
    if not is_differentiable(dtype):
        return []
    types = [ArrayType((2,), dtype)]
    test = stage(lambda x: [np.sum(x) < 50.0], types).graph
    body = stage(lambda x: [2.0 * x], types).graph
    return [
        Sample(
            (np.asarray([1.0, 2.5], dtype),), {"test": test, "body": body, "n_test": 0, "n_body": 0}
        )
    ]


while_primitive = Primitive(
    name="while_loop",
    doc="repeat state = body(state) while test(state)",
    multiple=True,
    numpy=_while,
    type_rule=lambda *types, body, n_body, **params: tuple(body.output_types),
    jvp=_while_jvp,
    vjp=ForwardRule(_refuse_reverse, _refuse_reverse),
    batch=_while_batch,
    family="control",
    flops=lambda types, out_types, params: graph_flops(params["body"]),
    samples=_while_samples,
)
