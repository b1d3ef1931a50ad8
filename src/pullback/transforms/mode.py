"""Whole Jacobians and Hessians, and the choice between forward and reverse mode.

Cost model (Griewank & Walther 2008, chapters 3 and 4): a tangent costs about 2.5 and a cotangent
about 4 evaluations of the function, primal included, so forward mode wins when
``2.5 n < 4 m`` for ``n`` inputs and ``m`` outputs. Where fewer values than either are alive
somewhere on the way, ``mixed`` looks for a better order of the products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.array import Array
from pullback.core.source import here
from pullback.core.types import ArrayType, is_differentiable, type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import NotDifferentiableError
from pullback.transforms.batch import batch_flat
from pullback.transforms.derivatives import (
    Reverse,
    as_leaves,
    bound,
    flat,
    grad,
    jvp,
    linear_graph,
    pick,
    release,
    require_complex,
    several,
)
from pullback.transforms.jvp import jvp_flat, zeros
from pullback.transforms.mixed import Chain, Plan
from pullback.transforms.vjp import Node
from pullback.transforms.vmap import place_axis

__all__ = ["Choice", "Jacobian", "dense_hessian", "hvp"]

TANGENT_COST = 2.5
COTANGENT_COST = 4.0
LEAST_SIDE = 16  # below, the plain modes are cheap enough
FEW_ENTRIES = 1024  # of a Jacobian, below which the work between operations decides
LEAST_WORK = 10_000_000  # operations, below which looking for a cut costs more than it saves
GAIN = 0.7  # of the modelled cost of the better plain mode, which a cut has to save


@dataclass(frozen=True)
class Choice:
    """How a Jacobian was computed, and why.

    Attributes:
        mode: ``"forward"``, ``"reverse"``, ``"mixed"`` or ``"sparse"``.
        reason: why, in words.
        shape: ``(m, n)``: numbers of output and of input elements.
        costs: modelled operations of each way that was compared; an element written counts as one.
        bytes: modelled memory of the rows that are carried, and for reverse mode of the record.
    """

    mode: str
    reason: str
    shape: tuple[int, int]
    costs: dict[str, float]
    bytes: dict[str, int]

    def __str__(self) -> str:
        lines = [f"{self.shape[0]} x {self.shape[1]} Jacobian: {self.mode}, because {self.reason}"]
        for mode in sorted(set(self.costs) | set(self.bytes)):
            cost = f"{self.costs[mode]:.3g} operations" if mode in self.costs else ""
            memory = f"{self.bytes[mode] / 1e6:.3g} MB" if mode in self.bytes else ""
            lines.append(f"  {mode}: {', '.join(filter(None, (cost, memory)))}")
        return "\n".join(lines)


class Jacobian(Wrapper):
    """The function that returns all first derivatives as arrays; the user's is ``pb.jacobian``.

    ``mode`` is ``"auto"``, ``"forward"``, ``"reverse"`` or ``"mixed"``.
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        argnums: int | Sequence[int] = 0,
        mode: str = "auto",
        holomorphic: bool = False,
    ) -> None:
        super().__init__(fun)
        self.argnums = argnums
        self.mode = mode
        self.holomorphic = holomorphic
        self.forward: set[Any] = set()

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self.chosen(args, kwargs)[0]

    def chosen(self, args: Any, kwargs: Any, explain: bool = False) -> tuple[Any, Choice | None]:
        """The Jacobian, and if asked for, how it was computed."""
        problem = self.problem(args, kwargs)
        mode = problem.decide()
        choice = problem.explanation(mode) if explain else None
        return self.nested(problem.structure, *problem.blocks(mode)), choice

    def problem(self, args: Any, kwargs: Any) -> Problem:
        numbers = pick(args, self.argnums)
        leaves, structure = as_leaves(tuple(args[n] for n in numbers), "args")
        function = bound(self.fun, args, numbers, kwargs)
        return Problem(function, leaves, structure, self.mode, self.holomorphic, self.forward)

    def nested(
        self, structure: tree.TreeDef, out_structure: tree.TreeDef, blocks: Sequence[Sequence[Any]]
    ) -> Any:
        """The blocks in containers: nested as the output, then as the argument."""
        rows = [tree.unflatten(structure, row) for row in blocks]
        single = isinstance(self.argnums, int)
        return release(tree.unflatten(out_structure, [row[0] if single else row for row in rows]))


class Problem:
    """One evaluation of a Jacobian: what is known about it, the decision, and the blocks."""

    def __init__(
        self,
        function: Callable[..., Any],
        leaves: Sequence[Any],
        structure: tree.TreeDef,
        mode: str,
        holomorphic: bool,
        forward: set[Any],
    ) -> None:
        self.function = function
        self.forward = forward  # types of arguments for which forward mode is known to be best
        self.leaves = leaves
        self.structure = structure
        self.mode = mode
        self.holomorphic = holomorphic
        self.types = [type_of(leaf) for leaf in leaves]
        self.n = sum(type.size for type in self.types)
        # Forward mode alone needs no record, unless it is to be explained.
        self.run: Reverse | None = None
        self.plan: Plan | None = None

    @cached_property
    def chain(self) -> Chain:
        staged, _, self.out_structure = linear_graph(self.function, self.leaves, self.structure)
        return Chain(staged.graph, staged.captured)

    def record(self) -> Reverse:
        """The recorded evaluation, made when it is first asked for."""
        if self.run is None:
            self.run = Reverse(self.function, self.leaves, self.structure)
        return self.run

    @property
    def m(self) -> int:
        return sum(type_of(y).size for y in self.record().outputs)

    def decide(self) -> str:
        if self.mode == "forward" or tuple(self.types) in self.forward:
            return "forward"
        run = self.record()
        if self.mode == "mixed":
            require_float(run.outputs)
            self.require_chain()
            return self.mode
        possible = modes(self.mode, self.types, run.outputs, self.holomorphic)
        if len(possible) == 1:
            return possible[0]
        m = self.m
        if min(self.n, m) >= LEAST_SIDE and not self.holomorphic and self.has_gain(m):
            return "mixed"
        # The record is there: its sweep is the rest of reverse mode, and forward mode starts anew.
        # Where operations are small, that decides.
        if TANGENT_COST * self.n < COTANGENT_COST * m and self.n * m >= FEW_ENTRIES:
            self.forward.add(tuple(self.types))
            return "forward"
        return "reverse"

    def has_gain(self, m: int) -> bool:
        """Whether a cut makes the Jacobian clearly cheaper than both plain modes."""
        assert self.run is not None
        narrow, work = narrowest(self.run.nodes)
        is_staged = any(type(x) is Array for x in self.leaves)
        if 2 * narrow > min(self.n, m) or (min(self.n, m) * work < LEAST_WORK and not is_staged):
            return False
        if not self.is_chain:
            return False
        self.plan = self.chain.plan()
        return self.plan.cost < GAIN * min(self.chain.plain())

    @property
    def is_chain(self) -> bool:
        dtypes = self.chain.dtypes
        return len(dtypes) == 1 and next(iter(dtypes)).kind == "f"

    def require_chain(self) -> None:
        if self.holomorphic or not self.is_chain:
            raise NotDifferentiableError(
                "jacobian: mode='mixed' is for real arrays of one dtype",
                where=str(here()),
                details=["dtypes: " + ", ".join(sorted(map(str, self.chain.dtypes)))],
                fix="use mode='auto'",
            )
        self.plan = self.chain.plan()

    def blocks(self, mode: str) -> tuple[tree.TreeDef, list[list[Any]]]:
        if mode == "mixed":
            assert self.plan is not None
            return self.out_structure, self.chain.blocks(self.plan, self.types)
        if mode == "forward":
            chosen = tree.unflatten(self.structure, self.leaves)
            return forward_blocks(self.function, chosen, self.types, self.holomorphic)
        assert self.run is not None
        blocks = reverse_blocks(self.run, self.types)
        if self.holomorphic:
            blocks = [[np.conjugate(block) for block in row] for row in blocks]
        return self.run.out_structure, blocks

    def explanation(self, mode: str) -> Choice:
        m, n = self.m, self.n
        chain = self.chain
        forward, reverse = chain.plain()
        costs = {"forward": forward, "reverse": reverse}
        itemsize = max(type.dtype.itemsize for type in self.types)
        widest = max(chain.widths) * itemsize
        record = sum(np.asarray(value).nbytes for value in chain.constants.values())
        memory = {"forward": n * widest + record, "reverse": m * widest + record}
        if self.is_chain:
            plan = self.plan or chain.plan()
            costs["mixed"] = plan.cost
        if self.mode in ("forward", "reverse", "mixed"):
            reason = "you asked for it"
        elif mode == "mixed":
            assert self.plan is not None
            waist = min(chain.widths)
            reason = (
                f"all derivatives pass through {waist} values, fewer than either end; "
                f"starting there takes {self.plan.cost / min(forward, reverse):.2g} of the "
                "operations of the better plain mode"
            )
        elif mode == "forward":
            reason = f"{n} tangents cost less than {m} cotangents"
        else:
            reason = f"{m} cotangents cost less than {n} tangents"
        return Choice(mode, reason, (m, n), costs, memory)


def narrowest(outputs: Sequence[Node | None]) -> tuple[int, int]:
    """The fewest elements alive between two operations of a record, and elements that it holds."""
    found: dict[int, Node] = {}
    stack = [node for node in outputs if node is not None]
    roots = {id(node) for node in stack}
    while stack:
        node = stack.pop()
        if id(node) not in found:
            found[id(node)] = node
            stack.extend(parent for parent in node.parents if parent is not None)
    alive: dict[int, int] = {}  # from the last operation to the first
    narrow = width = sum(size(found[key]) for key in roots)
    alive = {key: size(found[key]) for key in roots}
    for node in sorted(found.values(), key=lambda node: node.index):
        if not node.parents:
            continue
        width -= alive.pop(id(node), 0)
        for parent in node.parents:
            if parent is not None and id(parent) not in alive:
                alive[id(parent)] = size(parent)
                width += alive[id(parent)]
        narrow = min(narrow, width)
    held = sum(
        map(np.size, (x for node in found.values() for x in getattr(node, "saved", ()) or ()))
    )
    return narrow, held + sum(map(size, found.values()))


def size(node: Node) -> int:
    """Elements of a value on the record; an operation with several outputs counts as all it got."""
    if hasattr(node, "shape"):
        return math.prod(node.shape)
    return sum(size(parent) for parent in node.parents if parent is not None)


def modes(
    mode: str, types: Sequence[ArrayType], outputs: Sequence[Any], holomorphic: bool
) -> tuple[str, ...]:
    """Which of the modes that ``mode`` allows give the derivative as one number per entry.

    A unit cotangent of a complex result sees its real part only, and so does a unit tangent of a
    complex argument, unless the function is holomorphic.

    Raises:
        NotDifferentiableError: if none does.
    """
    require_float(outputs)
    if holomorphic:
        require_complex([*types, *outputs])
        return ("forward", "reverse") if mode == "auto" else (mode,)
    possible = {"forward", "reverse"}
    if any(type.dtype.kind == "c" for type in types):
        possible.discard("forward")
    if any(type_of(y).dtype.kind == "c" for y in outputs):
        possible.discard("reverse")
    found = possible if mode == "auto" else possible & {mode}
    if not found:
        other = f", or mode={min(possible)!r}" if possible else ""
        raise NotDifferentiableError(
            f"jacobian: mode={mode!r} of a function of {', '.join(map(str, types))} that returns "
            f"{', '.join(str(type_of(y)) for y in outputs)}: a complex number cannot hold both the "
            "derivatives along the real and along the imaginary axis",
            where=str(here()),
            fix="differentiate real and imaginary parts as arrays of their own, pass "
            f"holomorphic=True where it is{other}",
        )
    return tuple(found)


def require_float(outputs: Sequence[Any]) -> None:
    for y in outputs:
        if not is_differentiable(type_of(y).dtype):
            raise NotDifferentiableError(
                f"the function returned {type_of(y)}: only floating-point results have derivatives",
                where=str(here()),
                fix="return floats",
            )


def basis(types: Sequence[ArrayType]) -> list[Any]:
    """All unit vectors of the joint space, one per row, split into the leaves."""
    total = sum(type.size for type in types)
    rows, start = [], 0
    for type in types:
        block = np.zeros((total, type.size), type.dtype)
        block[start : start + type.size] = np.eye(type.size, dtype=type.dtype)
        rows.append(block.reshape(total, *type.shape))
        start += type.size
    return rows


def forward_blocks(
    function: Callable[..., Any],
    chosen: tuple[Any, ...],
    types: Sequence[ArrayType],
    holomorphic: bool,
) -> tuple[tree.TreeDef, list[list[Any]]]:
    """Columns of the Jacobian: all unit tangents at once through the linearized function."""
    leaves, structure = tree.flatten(chosen)
    n = sum(type.size for type in types)
    shape: list[tree.TreeDef] = []

    def both(*tangents: Any) -> list[Any]:
        outputs, dots = jvp_flat(flat(function, structure, shape), leaves, tangents)
        modes("forward", types, outputs, holomorphic)
        rows = [
            zeros(type_of(y)) if dot is None else dot for y, dot in zip(outputs, dots, strict=True)
        ]
        return [*outputs, *rows]

    found, all_axes = batch_flat(both, basis(types), [0] * len(types), n)
    k = len(found) // 2
    outputs, dots, axes = found[:k], found[k:], all_axes[k:]
    blocks = []
    for y, dot, axis in zip(outputs, dots, axes, strict=True):
        full = (
            place_axis(dot, axis, -1, n)
            if axis is not None
            else np.broadcast_to(np.expand_dims(dot, -1), (*np.shape(dot), n))
        )
        blocks.append(split_last(full, np.shape(y), types))
    return shape[0], blocks


def split_last(full: Any, shape: tuple[int, ...], types: Sequence[ArrayType]) -> list[Any]:
    parts, start = [], 0
    for type in types:
        part = full[..., start : start + type.size]
        dtype = np.result_type(type.dtype, full.dtype) if full.dtype.kind == "c" else type.dtype
        parts.append(np.reshape(part, (*shape, *type.shape)).astype(dtype))
        start += type.size
    return parts


def reverse_blocks(run: Reverse, types: Sequence[ArrayType]) -> list[list[Any]]:
    """Rows of the Jacobian: all unit cotangents at once through one backward sweep."""
    out_types = [type_of(y) for y in run.outputs]
    m = sum(type.size for type in out_types)
    cts, axes = batch_flat(
        lambda *seeds: run.sweep(seeds), basis(out_types), [0] * len(out_types), m
    )
    full = [place_axis(ct, axis, 0, m) for ct, axis in zip(cts, axes, strict=True)]
    blocks, start = [], 0
    for out_type in out_types:
        stop = start + out_type.size
        blocks.append(
            [
                np.array(np.reshape(ct[start:stop], (*out_type.shape, *type.shape)))
                if isinstance(ct, np.ndarray)
                else np.reshape(ct[start:stop], (*out_type.shape, *type.shape))
                for ct, type in zip(full, types, strict=True)
            ]
        )
        start = stop
    return blocks


def dense_hessian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, holomorphic: bool = False
) -> Jacobian:
    """All second derivatives of a scalar function as arrays: forward over reverse.

    All unit tangents go through the gradient at once.
    """
    gradient = grad(fun, argnums, holomorphic=holomorphic)
    return Jacobian(gradient, argnums, "forward", holomorphic)


def hvp(fun: Callable[..., Any], primals: Sequence[Any], vectors: Sequence[Any]) -> Any:
    """Hessian of the scalar function ``fun`` at ``primals`` times ``vectors``, without the Hessian.

    ``H v = d/de grad fun(x + e v)`` at ``e = 0`` by forward over reverse (Pearlmutter 1994), at a
    small multiple of the cost of the gradient, whatever the number of parameters.

    Args:
        primals: tuple of arguments, each a container of float or complex arrays.
        vectors: tuple of the same structure.

    Returns:
        The product: a tuple like ``primals`` (a single container if there is one argument).

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.hvp(lambda x: np.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))
    array([ 6., 12.])
    """
    primals = several(primals, "primals")
    gradient = grad(fun, 0 if len(primals) == 1 else tuple(range(len(primals))))
    return jvp(gradient, primals, several(vectors, "vectors"))[1]
