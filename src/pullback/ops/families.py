"""Families of primitives: what the members share is written once, here.

``elementwise``  one scalar expression per element; derivatives from partial derivatives.
``linear``       linear in one operand; its JVP is itself, its VJP is the transpose.
``contraction``  linear in each of several operands; one transpose per operand.
``reduction``    folds axes away; batching and lowering from an accumulator.

A member states its mathematics; type rule, JVP, VJP, batching, flops and lowering follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from pullback.core.array import ufuncs
from pullback.core.primitive import NO_DERIVATIVE, Marker, Primitive, Rule, Sample, Trait
from pullback.core.types import ArrayType, is_differentiable

__all__ = [
    "Accumulator",
    "broadcast_like",
    "cast",
    "conjugate",
    "contraction",
    "draw",
    "elementwise",
    "linear",
    "move_axis",
    "reduction",
    "unbroadcast",
]

Scalar = Callable[..., Any]
Samples = Callable[..., list[Sample]]

WEAK = {
    "b": np.dtype(bool),
    "i": int,
    "u": int,
    "f": float,
    "c": complex,
}  # what promotes as Python scalars do


def unbroadcast(ct: Any, x_type: ArrayType) -> Any:
    """Sum ``ct`` over the axes along which an operand of type ``x_type`` was broadcast."""
    shape = x_type.shape
    if ct.shape != shape:
        extra = ct.ndim - len(shape)
        if extra:
            ct = np.add.reduce(ct, 0 if extra == 1 else tuple(range(extra)))
        if 1 in shape and ct.shape != shape:
            stretched = tuple(i for i, n in enumerate(shape) if n == 1 and ct.shape[i] != 1)
            ct = np.add.reduce(ct, stretched, keepdims=True)
    return ct if ct.dtype == x_type.dtype else cast(ct, x_type.dtype)


def cast(x: Any, dtype: np.dtype[Any]) -> Any:
    """``x`` as another dtype; of complex numbers that become real ones, the real part.

    That is the projection onto the real numbers: what a cotangent of a real operand is, and what a
    tangent of a real result is.
    """
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = np.real(x)
    return x if x.dtype == dtype else x.astype(dtype)


def conjugate(x: Any) -> Any:
    """The complex conjugate of an array or a number; real ones as they are, without a copy."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        return x.conjugate()
    return np.conjugate(x) if dtype.kind == "c" else x


def draw(rng: np.random.Generator, dtype: np.dtype[Any], *shape: int) -> Any:
    """Random numbers of any dtype for the samples of a primitive."""
    x = rng.normal(size=shape) * 3
    if dtype.kind == "c":
        x = x + 3j * rng.normal(size=shape)
    return np.asarray(x).astype(dtype)


def broadcast_like(tangent: Any, y: Any) -> Any:
    """A tangent with the shape and dtype of the output ``y`` that it belongs to."""
    if np.shape(tangent) != np.shape(y):
        tangent = np.broadcast_to(tangent, np.shape(y))
    return tangent if tangent.dtype == y.dtype else cast(tangent, y.dtype)


def add_tangents(terms: Sequence[Any]) -> Any:
    total = None
    for term in terms:
        if term is not None:
            total = term if total is None else total + term
    return total


def move_axis(x: Any, source: int, target: int) -> Any:
    """``np.moveaxis`` without work when there is nothing to move."""
    return x if source == target else np.moveaxis(x, source, target)


# -- elementwise ----------------------------------------------------------------------------------
def elementwise(
    name: str,
    numpy: Callable[..., Any],
    *,
    doc: str,
    partials: Sequence[Callable[..., Any] | Marker | int],
    scalar: Scalar | None,
    domain: Sequence[tuple[float, float]] = (),
    kinds: str = "f",
    out_dtype: type | None = None,
    flops: int = 1,
    kinks: str = "",
    kink_samples: Sequence[tuple[float, ...]] = (),
    is_real: bool = False,
    source: str = "",
    steep: bool = False,
    traits: Sequence[Trait] = (),
) -> Primitive:
    """A primitive that works element by element, with broadcasting.

    Args:
        numpy: a ufunc; it also becomes NumPy's name for this primitive.
        partials: per operand, the partial derivative as a function whose parameter names are its
            residuals; or a constant ``1``/``-1``; or a marker. Of a function that is not
            holomorphic and real: twice the derivative by z with conj(z) held fixed (Wirtinger).
        scalar: the same function on a scalar builder: ``scalar(builder, x, ...)``; ``None``:
            compiled code calls ``numpy``.
        domain: per operand, an interval on which function and derivative are finite.
        kinds: the kinds of dtype that it takes and is sampled on: a string of ``f c i u b``.
        out_dtype: ``bool`` for comparisons.
        flops: per output element.
        kinks: where the derivative jumps and what is chosen; ``kink_samples`` are such points.
        steep: whether the slope is infinite where the domain ends; a tangent of 0 stays 0 there.
        is_real: whether complex operands have real results.
        traits: its properties, see :data:`~pullback.core.primitive.Trait`.
    """
    n = len(partials)
    rules = tuple(_partial_rule(partial, is_real, steep) for partial in partials)
    intervals = list(domain) or [(-2.0, 2.0)] * n

    def type_rule(*types: ArrayType) -> ArrayType:
        shape = joint_shape(types)
        if all(t.weak for t in types):
            return ArrayType(shape, np.asarray(numpy(*[t.dtype.type(1) for t in types])).dtype)
        return ArrayType(shape, _resolve(numpy, types) if out_dtype is None else out_dtype)

    def jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
        saved = [*primals, y]
        terms = []
        for i, (tangent, partial) in enumerate(zip(tangents, partials, strict=True)):
            rule = None if tangent is None else primitive.rule(i)
            if rule is None or isinstance(rule, Marker):
                continue
            if isinstance(partial, int):
                term = tangent if partial == 1 else -tangent
            else:
                term = rule.partial(saved, tangent)  # type: ignore[attr-defined]
            terms.append(broadcast_like(term, y))
        return add_tangents(terms)

    primitive = Primitive(
        name=name,
        doc=doc,
        numpy=numpy,
        type_rule=type_rule,
        jvp=jvp,
        vjp=rules,
        batch=lambda args, axes, params: _batch_elementwise(primitive, args, axes, params),
        family="elementwise",
        traits=frozenset(traits),
        scalar=scalar,
        kinks=kinks,
        source=source,
        flops=lambda types, out_types, params: flops * out_types[0].size,
        samples=lambda rng, dtype: _elementwise_samples(rng, dtype, intervals, kinds, kink_samples),
    )
    if isinstance(numpy, np.ufunc):
        ufuncs[numpy] = primitive
    return primitive


class _PartialRule(Rule):
    """VJP of one operand of an elementwise primitive: cotangent times partial, unbroadcast.

    The adjoint of a multiplication by a complex number is that by its conjugate. ``pull`` gives the
    rule for real results, whose partials are real too unless ``is_real`` says otherwise.
    """

    __slots__ = ("is_real", "selects", "steep")

    def __init__(self, function: Callable[..., Any], is_real: bool, steep: bool) -> None:
        super().__init__(function)
        self.selects = self.takes_cotangent
        self.is_real = is_real
        self.steep = steep

    def partial(self, saved: Sequence[Any], tangent: Any) -> Any:
        """Partial times ``tangent``; a rule with a ``ct`` parameter multiplies by itself."""
        values = [saved[position] for position in self.reads]
        if self.selects:
            return self.function(tangent, *values)
        slope = self.function(*values)
        if not self.steep:
            return tangent * slope
        return np.where(np.isinf(slope) & (tangent == 0), 0, tangent * slope)

    def pull(self) -> Callable[..., Any]:
        function, reads = self.function, self.reads
        if len(reads) == 1 and not self.selects and not self.is_real:
            (k,) = reads
            return lambda ct, x_type, saved, params: unbroadcast(ct * function(saved[k]), x_type)
        return self.__call__

    def __call__(self, ct: Any, x_type: Any, saved: Sequence[Any], params: Any) -> Any:
        values = [saved[position] for position in self.reads]
        if self.selects:
            return unbroadcast(self.function(ct, *values), x_type)
        return unbroadcast(ct * conjugate(self.function(*values)), x_type)


class _ConstantRule(Rule):
    """VJP where the partial derivative is 1 or -1."""

    __slots__ = ("sign",)

    def __init__(self, sign: int) -> None:
        super().__init__(lambda: sign)
        self.sign = sign

    def pull(self) -> Callable[..., Any]:
        if self.sign == 1:
            return lambda ct, x_type, saved, params: unbroadcast(ct, x_type)
        return self.__call__

    def __call__(self, ct: Any, x_type: Any, saved: Any, params: Any) -> Any:
        return unbroadcast(ct if self.sign == 1 else -ct, x_type)


def _partial_rule(
    partial: Callable[..., Any] | Marker | int, is_real: bool, steep: bool
) -> Rule | Marker:
    if isinstance(partial, Marker):
        return partial
    if isinstance(partial, int):
        return _ConstantRule(partial)
    return _PartialRule(partial, is_real, steep)


def joint_shape(types: Sequence[ArrayType]) -> Any:
    """``np.broadcast_shapes``, quickly where shapes are equal but for numbers."""
    shapes = [t.shape for t in types if t.shape]
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0] if shapes else ()
    return np.broadcast_shapes(*[t.shape for t in types])


@lru_cache(maxsize=1024)
def _promoted(ufunc: np.ufunc, *asked: Any) -> Any:
    return ufunc.resolve_dtypes((*asked, None))[-1]


def _resolve(ufunc: Any, types: Sequence[ArrayType]) -> Any:
    """Output dtype by NumPy's promotion; Python scalars are weak (NEP 50)."""
    if isinstance(ufunc, np.ufunc):
        return _promoted(ufunc, *[WEAK[t.dtype.kind] if t.weak else t.dtype for t in types])
    return np.asarray(
        ufunc(*[t.dtype.type(1) if not t.weak else t.dtype.type(1).item() for t in types])
    ).dtype


def _batch_elementwise(primitive: Primitive, args: Any, axes: Any, params: Any) -> Any:
    """Bring batch axes to the front and pad shapes so that they line up."""
    ndim = max(np.ndim(a) - (axis is not None) for a, axis in zip(args, axes, strict=True))
    aligned = []
    for a, axis in zip(args, axes, strict=True):
        if axis is not None:
            a = move_axis(a, axis, 0)
            missing = ndim - (a.ndim - 1)
            if missing:
                a = np.reshape(a, (a.shape[0], *(1,) * missing, *a.shape[1:]))
        aligned.append(a)
    return primitive(*aligned, **params), 0


def _elementwise_samples(
    rng: np.random.Generator,
    dtype: np.dtype[Any],
    intervals: Any,
    kinds: str,
    kink_points: Any,
) -> list[Sample]:
    n = len(intervals)
    if dtype.kind not in kinds:
        return []
    if not is_differentiable(dtype):
        return [Sample(tuple(_whole_numbers(rng, dtype, i) for i in intervals))]

    def inside(shape: tuple[int, ...], interval: tuple[float, float]) -> Any:
        x = rng.uniform(*interval, shape)
        if dtype.kind == "c":
            x = x + 1j * rng.uniform(-0.8, 0.8, shape)
        return np.asarray(x).astype(dtype)

    shapes: dict[int, list[tuple[tuple[int, ...], ...]]] = {
        1: [((3, 2),), ((),), ((0, 2),)],
        2: [((3, 2), (3, 2)), ((3, 1), (2,)), ((), (4,)), ((2, 0), (1, 0))],
        3: [((3, 2), (3, 2), (3, 2)), ((2, 1), (3,), ()), ((0,), (0,), (0,))],
    }
    samples = [
        Sample(tuple(inside(s, i) for s, i in zip(group, intervals, strict=True)))
        for group in shapes[n]
    ]
    ends = np.array(intervals, dtype=dtype)
    samples.append(Sample(tuple(ends[i] for i in range(n)), kink=bool(len(kink_points))))
    samples += [
        Sample(tuple(np.asarray(v, dtype) for v in point), kink=True) for point in kink_points
    ]
    return samples


def _whole_numbers(rng: np.random.Generator, dtype: np.dtype[Any], interval: Any) -> Any:
    if dtype.kind == "b":
        return rng.integers(0, 2, (2, 3)).astype(dtype)
    low = 1 if interval[0] > 0 else 0 if interval[0] == 0 or dtype.kind == "u" else -5
    return rng.integers(low, 6, (2, 3)).astype(dtype)


# -- linear ---------------------------------------------------------------------------------------
def linear(
    name: str,
    numpy: Callable[..., Any],
    *,
    doc: str,
    type_rule: Callable[..., ArrayType],
    transpose: Callable[..., Any],
    batch: Callable[..., tuple[Any, Any]],
    samples: Samples,
    flops: Callable[..., int] = lambda types, out_types, params: 0,
    family: str = "linear",
    scalar: Any = None,
    source: str = "",
    traits: Sequence[Trait] = (),
) -> Primitive:
    """A primitive linear in its first operand; further operands are integer or boolean constants.

    ``transpose(ct, x_type, *rest, **params)`` is the VJP.
    """

    def jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
        return primitive(tangents[0], *primals[1:], **params)

    primitive = Primitive(
        name=name,
        doc=doc,
        numpy=numpy,
        type_rule=type_rule,
        jvp=jvp,
        vjp=(Rule(transpose), NO_DERIVATIVE),
        traits=frozenset(traits),
        batch=batch,
        family=family,
        scalar=scalar,
        flops=flops,
        samples=samples,
        source=source,
    )
    return primitive


def contraction(
    name: str,
    numpy: Callable[..., Any],
    *,
    doc: str,
    type_rule: Callable[..., ArrayType],
    transposes: Sequence[Callable[..., Any]],
    batch: Callable[..., tuple[Any, Any]],
    samples: Samples,
    flops: Callable[..., int],
    source: str = "",
) -> Primitive:
    """A primitive linear in each operand; ``transposes[i](ct, x_type, <other operands>)``."""

    def jvp(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
        return add_tangents(
            [
                primitive(*primals[:i], tangent, *primals[i + 1 :], **params)
                for i, tangent in enumerate(tangents)
                if tangent is not None
            ]
        )

    primitive = Primitive(
        name=name,
        doc=doc,
        numpy=numpy,
        type_rule=type_rule,
        jvp=jvp,
        vjp=tuple(Rule(t) for t in transposes),
        batch=batch,
        family="contraction",
        flops=flops,
        samples=samples,
        source=source,
    )
    if isinstance(numpy, np.ufunc):
        ufuncs[numpy] = primitive
    return primitive


# -- reduction ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Accumulator:
    """A fold over elements, on a scalar builder: several running values are allowed.

    ``start(builder)`` gives their initial values, ``step(builder, state, x, i)`` folds in element
    number ``i``, ``merge(builder, left, right)`` joins the states of two halves, and
    ``finish(builder, state, n, **params)`` gives the result for ``n`` elements.
    """

    start: Callable[..., tuple[Any, ...]]
    step: Callable[..., tuple[Any, ...]]
    merge: Callable[..., tuple[Any, ...]]
    finish: Callable[..., Any]


def reduction(
    name: str,
    numpy: Callable[..., Any],
    *,
    doc: str,
    out_dtype: Callable[[np.dtype[Any]], Any],
    jvp: Callable[..., Any] | Marker,
    vjp: Callable[..., Any] | Marker,
    samples: Samples,
    accumulator: Accumulator | None = None,
    expansion: Callable[..., Any] | None = None,
    flops: int = 1,
    kinks: str = "",
    source: str = "",
) -> Primitive:
    """A primitive that folds the axes ``axis`` (a sorted tuple) of its operand away.

    ``jvp(x, x_dot, y, axis, **params)`` and ``vjp(ct, [x_type, x, y], *, axis, ...)``; further
    static parameters are allowed. The output has the shape of the other axes. Native code folds
    with ``accumulator``, or compiles ``expansion(x, **params)``.
    """

    def type_rule(x: ArrayType, *, axis: tuple[int, ...], **params: Any) -> ArrayType:
        return ArrayType(
            tuple(n for i, n in enumerate(x.shape) if i not in axis), out_dtype(x.dtype)
        )

    def push(primals: Any, tangents: Any, y: Any, params: Any) -> Any:
        if isinstance(jvp, Marker):
            return None
        return jvp(primals[0], tangents[0], y, **params)

    def batch(args: Any, axes: Any, params: Any) -> Any:
        x = move_axis(args[0], axes[0], 0)
        inner = {**params, "axis": tuple(i + 1 for i in params["axis"])}
        return primitive(x, **inner), 0

    primitive = Primitive(
        name=name,
        doc=doc,
        numpy=numpy,
        type_rule=type_rule,
        jvp=push,
        vjp=(vjp if isinstance(vjp, Marker) else Rule(vjp),),
        batch=batch,
        family="reduction",
        scalar=accumulator,
        expansion=expansion,
        kinks=kinks,
        source=source,
        samples=samples,
        flops=lambda types, out_types, params: flops * types[0].size,
    )
    return primitive
