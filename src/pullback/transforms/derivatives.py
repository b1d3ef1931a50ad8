"""The user's transforms: grad, vjp, jvp, linearize, vmap. Argument handling around the traces."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback import tree
from pullback.core.alias import as_arguments, sharing
from pullback.core.array import Array, as_array
from pullback.core.source import here
from pullback.core.trace import EVALUATE
from pullback.core.types import NUMBERS, ArrayType, as_number, is_differentiable, type_of
from pullback.core.wrapper import Wrapper
from pullback.errors import (
    ArgumentError,
    DTypeError,
    ForeignArrayError,
    NotDifferentiableError,
    ShapeError,
)
from pullback.ops import identity
from pullback.transforms.evaluate import evaluate
from pullback.transforms.jvp import jvp_flat, zeros
from pullback.transforms.stage import Staged, stage
from pullback.transforms.vjp import Node, VJPTrace, backward

__all__ = ["grad", "jvp", "linearize", "stop_gradient", "value_and_grad", "vjp"]

Function = Callable[..., Any]


def as_leaf(value: Any, path: str) -> Any:
    """One leaf of a differentiated argument as a floating array; refuses the rest."""
    if type(value) is Array:
        if value.alias is not None:
            value.alias.refresh(value)
        result: Any = value.value if value.traced_by is EVALUATE else value
    else:
        result = as_array(value, path)
        if type(value) in (float, complex):
            result = as_number(result)
    if not is_differentiable(result.dtype):
        if result.dtype.kind not in "biu":
            raise unlike_numbers(value, path)
        raise NotDifferentiableError(
            f"{path} has dtype {result.dtype}: only floating-point values have derivatives",
            where=str(here()),
            fix=f"pass it as float, e.g. np.asarray({path}, dtype=float)",
        )
    return result


def unlike_numbers(value: Any, path: str) -> DTypeError:
    """What is said of an argument that is no array of numbers: what it is, and what to do."""
    kind = type(value).__name__
    what = f"an array of dtype {value.dtype}" if hasattr(value, "dtype") else f"a {kind}"
    if dataclasses.is_dataclass(value):
        fix = f"register its class as a container of arrays: pullback.tree.dataclass({kind})"
    elif callable(value):
        fix = "arguments come after the function: pass an array of floats in its place"
    else:
        fix = "pass an array of floats, or leave it out of what is differentiated (argnums)"
    return DTypeError(
        f"{path or 'a leaf'} is {what}: it cannot be differentiated", where=str(here()), fix=fix
    )


def as_leaves(args: Any, names: str) -> tuple[list[Any], tree.TreeDef]:
    leaves, structure = tree.flatten(args)
    try:
        return [
            leaf
            if type(leaf) is np.ndarray and is_differentiable(leaf.dtype)
            else as_leaf(leaf, "")
            for leaf in leaves
        ], structure
    except (DTypeError, ForeignArrayError, NotDifferentiableError):
        paths = tree.paths(args, names)
        return [as_leaf(leaf, path) for leaf, path in zip(leaves, paths, strict=True)], structure


def released(value: Any) -> Any:
    """An output of a finished transform: buffers become plain arrays, tracers new handles."""
    if type(value) is not Array:
        return value.dtype.type(value) if type(value) in NUMBERS else value
    if value.alias is not None:
        value.alias.refresh(value)
    return (
        value.value
        if value.traced_by is EVALUATE
        else Array(value.traced_by, value.value, value.aux)
    )


def release(outputs: Any) -> Any:
    return tree.map(released, outputs)


class Reverse:
    """A recorded evaluation: outputs, and the sweep that takes their cotangents back."""

    def __init__(
        self,
        function: Function,
        leaves: Sequence[Any],
        structure: tree.TreeDef,
        has_aux: bool = False,
        trace: VJPTrace | None = None,
    ) -> None:
        with trace or VJPTrace() as trace:
            inputs = [trace.input(leaf) for leaf in leaves]
            as_arguments(inputs, leaves)
            result = function(*tree.unflatten(structure, inputs))
            self.aux: Any = None
            if has_aux:
                result, self.aux = split_aux(result)
            outputs, self.out_structure = (
                ([result], tree.leaf()) if type(result) is Array else tree.flatten(result)
            )
            self.outputs = [self.strip(trace, y) for y in outputs]
            self.nodes = [node_of(trace, y) for y in outputs]
        if has_aux:
            self.aux = tree.map(lambda y: released(self.strip(trace, y)), self.aux)
        self.trace = trace
        self.inputs = trace.leaves

    @staticmethod
    def strip(trace: VJPTrace, y: Any) -> Any:
        if type(y) is Array:
            if y.alias is not None:
                y.alias.refresh(y)
            if y.traced_by is trace:
                return y.value
        return y

    def sweep(self, cotangents: Sequence[Any], is_last: bool = False) -> list[Any]:
        """Cotangents of the inputs, each an array of its own with the type of its primal.

        The last sweep frees the record on its way.
        """
        self.trace.guard.check()
        seeds = [
            (node, ct)
            for node, ct in zip(self.nodes, cotangents, strict=True)
            if node is not None and ct is not None
        ]
        if is_last:
            self.nodes.clear()
        found = backward(seeds, self.inputs)
        owned: set[int] = {id(ct) for ct in cotangents}
        return [own(ct, node, owned) for ct, node in zip(found, self.inputs, strict=True)]


def node_of(trace: VJPTrace, y: Any) -> Node | None:
    if type(y) is Array and y.traced_by is trace:
        node: Node = y.aux
        return node
    return None


def own(ct: Any, primal: ArrayType, taken: set[int]) -> Any:
    """A cotangent as an array that shares memory with nothing else."""
    if ct is None:
        return np.zeros(primal.shape, primal.dtype)
    if type(ct) is Array:
        return released(ct)
    if ct.base is not None or id(ct) in taken or not ct.flags.writeable:
        ct = ct.copy()
    taken.add(id(ct))
    return ct


def split_aux(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise ArgumentError(
            "has_aux=True needs a function that returns (value, aux)",
            details=[f"it returned: {type(result).__name__}"],
            fix="return a pair, or drop has_aux",
        )
    return result


def pick(args: Sequence[Any], argnums: int | Sequence[int]) -> tuple[int, ...]:
    if argnums == 0 and args:
        return (0,)
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise ArgumentError(
                f"argnums={argnums}, but the call has {len(args)} positional arguments",
                where=str(here()),
                fix="pass the differentiated arguments by position",
            )
    return tuple(n % len(args) for n in numbers)


def bound(function: Function, args: Sequence[Any], numbers: Sequence[int], kwargs: Any) -> Function:
    """``function`` of the arguments at ``numbers`` only."""

    def partial(*chosen: Any) -> Any:
        full = list(args)
        for n, value in zip(numbers, chosen, strict=True):
            full[n] = value
        return function(*full, **kwargs)

    return partial


def value_and_grad(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    memory: int | str | None = None,
) -> Function:
    """Function that returns the value of ``fun`` and its gradient, in that order.

    Args:
        fun: returns a scalar (a float array of shape ``()``, or of one element with shape ``()``).
        argnums: position(s) of the differentiated arguments, each a container of float or complex
            arrays.
        has_aux: whether ``fun`` returns ``(value, aux)``; the result is ``((value, aux), grads)``.
        holomorphic: whether to return the complex derivative ``df/dz`` of a function from complex
            numbers to a complex number, which must satisfy the Cauchy-Riemann equations.
        memory: the most that a call may allocate, as :func:`pullback.compile` takes it. The
            gradient is then staged, and computed natively, or in NumPy without llvmlite.

    Returns:
        A function of the same arguments. The gradient has the structure, shapes and dtypes of the
        argument; a tuple of them if ``argnums`` is a sequence. Cost: at most a small multiple of
        ``fun``, whatever the number of parameters (Baur & Strassen 1983). For a complex argument
        ``w = u + iv`` it is ``df/du + i df/dv``, the direction of steepest ascent.

    Raises:
        ShapeError: if the value is not a scalar.
        NotDifferentiableError: if an argument is not floating point, if the value is complex, or if
            with ``holomorphic`` an argument or the value is real.

    >>> import numpy as np
    >>> import pullback as pb
    >>> value, grads = pb.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    >>> float(value), grads
    (5.0, array([2., 4.]))
    """
    return within(memory, Differentiated(fun, argnums, has_aux, holomorphic, True))


def within(memory: int | str | None, differentiated: Function) -> Function:
    """The function itself, or compiled to keep to a budget."""
    if memory is None:
        return differentiated
    jit = importlib.import_module("pullback.compiler.jit")  # a floor above, loaded on request
    compiled: Function = jit.compile(differentiated, memory=memory)
    return compiled


class Differentiated(Wrapper):
    """What :func:`value_and_grad` and :func:`grad` return."""

    def __init__(
        self,
        fun: Function,
        argnums: int | Sequence[int],
        has_aux: bool,
        holomorphic: bool,
        with_value: bool,
    ) -> None:
        super().__init__(fun)
        self.argnums = argnums
        self.has_aux = has_aux
        self.holomorphic = holomorphic
        self.with_value = with_value

    def action(self) -> str:
        return "value_and_grad" if self.with_value else "grad"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        fun, argnums = self.fun, self.argnums
        chosen = pick(args, argnums)
        numbers = chosen if len(args) == len(chosen) else (*chosen, *sharing(args, chosen))
        leaves, structure = as_leaves(tuple([args[n] for n in numbers]), "args")
        run = Reverse(bound(fun, args, numbers, kwargs), leaves, structure, self.has_aux)
        value = scalar_output(run, fun)
        if self.holomorphic:
            require_complex([*leaves, value])
        elif type_of(value).dtype.kind == "c":
            raise no_ascent(fun, value)
        one = None if run.nodes[0] is None else np.array(1, run.nodes[0].dtype)
        found = run.sweep([one], is_last=True)
        if self.holomorphic:
            found = list(map(np.conjugate, found))
        grads = tree.unflatten(structure, found)
        value = released(value)
        if isinstance(argnums, int):
            grads = grads[0]
        elif len(numbers) > len(chosen):
            grads = grads[: len(chosen)]
        if not self.with_value:
            return (grads, run.aux) if self.has_aux else grads
        return (value, run.aux) if self.has_aux else value, grads


def scalar_output(run: Reverse, fun: Function) -> Any:
    if len(run.nodes) == 1 and run.nodes[0] is not None and run.nodes[0].shape == ():
        return run.outputs[0]
    name = getattr(fun, "__name__", "function")
    if len(run.outputs) != 1 or np.shape(run.outputs[0]) != ():
        came = ", ".join(str(type_of(y)) for y in run.outputs) or "nothing"
        raise ShapeError(
            f"grad needs a function that returns one scalar; {name} returned {came}",
            where=str(here()),
            fix="reduce the result (np.sum, np.mean), or use jacobian or vjp",
        )
    value = run.outputs[0]
    if not is_differentiable(type_of(value).dtype):
        raise NotDifferentiableError(
            f"{name} returned {type_of(value)}: only floating-point results have derivatives",
            where=str(here()),
            fix="return a float",
        )
    return value


def no_ascent(fun: Function, value: Any) -> NotDifferentiableError:
    """The refusal of a gradient of a complex value."""
    return NotDifferentiableError(
        f"{getattr(fun, '__name__', 'function')} returned {type_of(value)}: a complex value has no "
        "direction of steepest ascent",
        where=str(here()),
        fix="return a real number such as np.real(z) or np.abs(z)**2, or pass holomorphic=True for "
        "the complex derivative",
    )


def require_complex(values: Sequence[Any]) -> None:
    """Refuse real arguments and results of a function that is said to be holomorphic."""
    for value in values:
        if type_of(value).dtype.kind != "c":
            raise NotDifferentiableError(
                f"holomorphic=True, but {type_of(value)} is an argument or the result: a "
                "holomorphic function takes and returns complex numbers",
                where=str(here()),
                fix="convert arguments with astype(complex), or leave out holomorphic",
            )


def grad(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    memory: int | str | None = None,
) -> Function:
    """Function that returns the gradient of the scalar function ``fun``.

    Arguments and errors are those of :func:`value_and_grad`; with ``has_aux`` the result is
    ``(grads, aux)``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> pb.grad(lambda w, x: np.tanh(w @ x))(np.array([0.5, -0.5]), np.array([1.0, 1.0]))
    array([1., 1.])

    Of complex parameters it is the direction of steepest ascent, as in PyTorch (JAX and autograd
    return its conjugate); of a holomorphic function, on request, the complex derivative:

    >>> z = np.array(1 + 2j)
    >>> complex(pb.grad(lambda z: np.abs(z) ** 2)(z))
    (2+4j)
    >>> complex(pb.grad(lambda z: z**2, holomorphic=True)(z))
    (2+4j)
    """
    return within(memory, Differentiated(fun, argnums, has_aux, holomorphic, False))


def match(given: Any, types: Sequence[ArrayType], structure: tree.TreeDef, what: str) -> list[Any]:
    """Flatten cotangents or tangents and check them against the types they belong to."""
    leaves, actual = tree.flatten(given)
    if actual != structure:
        raise ArgumentError(
            f"the {what} has another structure than its primal",
            details=[f"expected: {structure}", f"came: {actual}"],
            fix=f"pass a {what} with the same containers as the primal",
        )
    arrays = []
    for leaf, type in zip(leaves, types, strict=True):
        leaf = as_array(leaf, f"a {what}")
        if np.shape(leaf) != type.shape:
            raise ShapeError(
                f"a {what} of shape {np.shape(leaf)} does not fit {type}",
                where=str(here()),
                fix=f"pass a {what} of shape {type.shape}",
            )
        if leaf.dtype.kind == "c" and type.dtype.kind != "c":
            raise DTypeError(
                f"a {what} of dtype {leaf.dtype} does not fit {type}",
                where=str(here()),
                fix=f"pass a real {what}, or make the primal complex",
            )
        arrays.append(leaf if leaf.dtype == type.dtype else leaf.astype(type.dtype))
    return arrays


def vjp(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Value of ``fun`` and the function that applies its transposed Jacobian.

    ``out, vjp_fn = vjp(fun, *primals)``; ``vjp_fn(v)`` is the tuple of ``v^T J`` for each primal,
    at the cost of one backward sweep. It may be called many times. With complex arrays it is the
    adjoint under the real inner product: ``Re <v, J u> = Re <v^T J, u>``.

    Raises:
        DTypeError, ShapeError, ArgumentError: from ``vjp_fn`` if ``v`` does not fit the output.
        MutationError: from ``vjp_fn`` if an array it needs was changed in between.

    >>> import numpy as np
    >>> import pullback as pb
    >>> out, vjp_fn = pb.vjp(np.sin, np.zeros(2))
    >>> vjp_fn(np.array([1.0, 3.0]))
    (array([1., 3.]),)
    """
    leaves, structure = as_leaves(primals, "primals")
    run = Reverse(fun, leaves, structure, has_aux)
    types = [type_of(y) for y in run.outputs]
    outputs = [released(y) for y in run.outputs]
    for y in outputs:
        if isinstance(y, np.ndarray):
            run.trace.guard.expose(y)

    def vjp_fn(cotangent: Any) -> Any:
        cts = match(cotangent, types, run.out_structure, "cotangent")
        return tree.unflatten(structure, run.sweep(cts))

    out = tree.unflatten(run.out_structure, outputs)
    return (out, vjp_fn, run.aux) if has_aux else (out, vjp_fn)


def several(given: Any, name: str) -> tuple[Any, ...]:
    """The tuple of arguments that ``given`` is; one array instead of it is refused.

    Raises:
        ArgumentError: for an array or a number, whose rows would be taken for arguments.
    """
    if isinstance(given, tuple | list):
        return tuple(given)
    raise ArgumentError(
        f"{name} is {type(given).__name__}, not a tuple with one entry per argument",
        where=str(here()),
        fix=f"write ({name[:-1]},) for a function of one argument",
    )


def jvp(fun: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value of ``fun`` and its directional derivative ``J u``, in one forward pass.

    Args:
        primals: tuple of arguments.
        tangents: tuple of the same structure and shapes: the direction ``u``.

    >>> import numpy as np
    >>> import pullback as pb
    >>> y, y_dot = pb.jvp(lambda x: x**2, (np.array(3.0),), (np.array(1.0),))
    >>> float(y), float(y_dot)
    (9.0, 6.0)
    """
    leaves, structure = as_leaves(several(primals, "primals"), "primals")
    types = [type_of(x) for x in leaves]
    directions = match(several(tangents, "tangents"), types, structure, "tangent")
    shape: list[tree.TreeDef] = []
    outputs, dots = jvp_flat(flat(fun, structure, shape), leaves, directions)
    dots = [zeros(type_of(y)) if dot is None else dot for y, dot in zip(outputs, dots, strict=True)]
    return release(tree.unflatten(shape[0], outputs)), release(tree.unflatten(shape[0], dots))


def flat(fun: Function, structure: tree.TreeDef, shape: list[tree.TreeDef]) -> Function:
    """``fun`` from leaves to leaves; its output structure goes to ``shape``."""

    def flattened(*leaves: Any) -> list[Any]:
        outputs, out_structure = tree.flatten(fun(*tree.unflatten(structure, leaves)))
        shape[:] = [out_structure]
        return outputs

    return flattened


def stop_gradient(x: Any) -> Any:
    """``x`` (a container of arrays) as constants: the same values, no derivative.

    Numbers of Python stay such, which leave the dtype of what they are combined with as it is.

    >>> import pullback as pb
    >>> float(pb.grad(lambda x: x * pb.stop_gradient(x))(3.0))
    3.0
    """
    return tree.map(lambda v: v if type(v) in (bool, int, float) else identity.stop_gradient(v), x)


def linearize(fun: Function, *primals: Any) -> tuple[Any, Function]:
    """Value of ``fun`` and its Jacobian as a reusable linear function.

    The primal work is done once; the returned ``jvp_fn(*tangents)`` repeats only the linear part,
    from a graph staged while ``fun`` ran on values, so control flow on values is allowed.

    >>> import numpy as np
    >>> import pullback as pb
    >>> y, jvp_fn = pb.linearize(lambda x: np.exp(x) * x, np.array(0.0))
    >>> float(jvp_fn(np.array(2.0)))
    2.0
    """
    leaves, structure = as_leaves(primals, "primals")
    staged, values, out_structure = linear_graph(fun, leaves, structure)
    types = [type_of(x) for x in leaves]

    def jvp_fn(*tangents: Any) -> Any:
        staged.guard.check()
        directions = match(tangents, types, structure, "tangent")
        dots = evaluate(staged.graph, [*staged.captured, *directions])
        return release(tree.unflatten(out_structure, dots))

    return release(tree.unflatten(out_structure, values)), jvp_fn


def linear_graph(
    fun: Function, leaves: Sequence[Any], structure: tree.TreeDef
) -> tuple[Staged, list[Any], tree.TreeDef]:
    """The map from tangents to tangents of ``fun`` at ``leaves``, staged; values; structure."""
    shape: list[tree.TreeDef] = []
    values: list[Any] = []

    def tangent_map(*tangents: Any) -> list[Any]:
        outputs, dots = jvp_flat(flat(fun, structure, shape), leaves, tangents)
        values[:] = outputs
        return [
            zeros(type_of(y)) if dot is None else dot for y, dot in zip(outputs, dots, strict=True)
        ]

    staged = stage(tangent_map, [type_of(x) for x in leaves], "linearize")
    return staged, values, shape[0]
