"""Generated programs: index expressions, in-place code and whole graphs, in every meaning.

The oracle of a value is plain NumPy running the very same program. The oracle of a gradient is
duality with forward mode, which shares no reverse rule, and 5-point differences.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pullback as pb
import pullback.numpy as pnp
from pullback.core.types import type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage


def examples(n):
    """The same ``n`` examples in every run."""
    return settings(
        max_examples=n, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )


def agree(f, x, rtol=1e-10, atol=1e-11):
    """Reverse, forward, staged and native derivatives of a scalar function are one number."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=x.shape)
    value, grad = pb.value_and_grad(f)(x)
    np.testing.assert_allclose(value, f(x), rtol=1e-14, atol=1e-14)
    dot = float(pb.jvp(f, (x,), (u,))[1])
    scale = np.sum(np.abs(grad * u)) + 1.0
    assert abs(dot - np.sum(grad * u)) <= 1e-12 * scale
    staged = stage(lambda z: [pb.grad(f)(z)], [type_of(x)])
    staged.graph.verify()
    (again,) = evaluate(staged.graph, [*staged.captured, x])
    np.testing.assert_allclose(again, grad, rtol=rtol, atol=atol * scale)
    (optimized,) = evaluate(optimize(staged.graph).verify(), [*staged.captured, x])
    np.testing.assert_array_equal(optimized, again)
    native = pb.compile(pb.grad(f))(x)
    np.testing.assert_allclose(native, grad, rtol=rtol, atol=atol * scale)
    return grad


# -- index expressions ----------------------------------------------------------------------------
@st.composite
def keys(draw, shape):
    """Any valid NumPy key for an array of this shape."""
    items: list = []
    axis = 0
    ellipsis_used = False
    while axis < len(shape):
        n = shape[axis]
        kind = draw(st.sampled_from(["slice", "int", "array", "mask", "new", "ellipsis", "stop"]))
        if kind == "stop":
            break
        if kind == "new":
            items.append(None)
            if len(items) > 6:
                break
            continue
        if kind == "ellipsis" and not ellipsis_used:
            ellipsis_used = True
            items.append(Ellipsis)
            axis += draw(st.integers(0, len(shape) - axis))
            continue
        if kind == "int":
            items.append(draw(st.integers(-n, n - 1)))
        elif kind == "array":
            size = draw(st.sampled_from([(), (2,), (1, 2), (2, 1)]))
            flat = draw(
                st.lists(
                    st.integers(-n, n - 1), min_size=int(np.prod(size)), max_size=int(np.prod(size))
                )
            )
            items.append(np.array(flat, int).reshape(size))
        elif kind == "mask":
            mask = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
            if sum(isinstance(k, np.ndarray) for k in items) or mask.sum() == 0:
                continue
            items.append(mask)
        else:
            step = draw(st.sampled_from([None, 1, 2, -1, -2]))
            items.append(
                slice(
                    draw(st.none() | st.integers(-n, n)), draw(st.none() | st.integers(-n, n)), step
                )
            )
        axis += 1
    return tuple(items)


SHAPE = (3, 4, 2)
BASE = np.random.default_rng(1).normal(size=SHAPE)


@examples(150)
@given(keys(SHAPE))
def test_reading(key):
    try:
        expected = BASE[key]
    except IndexError:
        return  # arrays that do not broadcast together
    weights = np.random.default_rng(2).normal(size=expected.shape)

    def f(x):
        return np.sum(np.sin(x[key]) * weights)

    out, pull = pb.vjp(lambda x: x[key], BASE)
    np.testing.assert_array_equal(out, expected)
    (ct,) = pull(weights)
    counts = np.zeros(SHAPE)
    np.add.at(counts, key, weights)
    np.testing.assert_allclose(ct, counts, rtol=1e-14, atol=1e-14)
    agree(f, BASE)


@examples(150)
@given(keys(SHAPE), st.booleans())
def test_writing(key, augmented):
    try:
        picked = BASE[key]
    except IndexError:
        return

    def program(np_, x):
        y = x * 2.0
        v = (
            x[key] * x[0, 0, 0]
            if not isinstance(x, np.ndarray) or picked.ndim
            else picked * x[0, 0, 0]
        )
        if augmented:
            y[key] += v
        else:
            y[key] = v
        return np_.sum(y**2 * BASE)

    agree(lambda x: program(np, x), BASE)


# -- in-place programs ----------------------------------------------------------------------------
STATEMENTS = [
    lambda np_, x, b, v: b.__setitem__(0, x[1]),
    lambda np_, x, b, v: b.__setitem__((slice(None), 1), x[:, 0] * 2),
    lambda np_, x, b, v: b.__iadd__(x),
    lambda np_, x, b, v: b.__imul__(0.5),
    lambda np_, x, b, v: v.__setitem__(0, x[2, 2]),
    lambda np_, x, b, v: v.__iadd__(x[0, :2]),
    lambda np_, x, b, v: b.T.__setitem__(2, x[1] ** 2),
    lambda np_, x, b, v: b.reshape(-1)[::2].__imul__(x[0, 0]),
    lambda np_, x, b, v: b.__setitem__(b > 0.5, 0.25),
    lambda np_, x, b, v: b.__setitem__([0, 2], x[[1, 1]]),
    lambda np_, x, b, v: np_.add(b, x, out=b),
    lambda np_, x, b, v: np_.multiply(v, x[1, 1], out=v),
    lambda np_, x, b, v: b[1:].__isub__(x[:-1]),
    lambda np_, x, b, v: b.__setitem__((np.arange(3), np.arange(3)), v[0]),
]


@examples(120)
@given(st.lists(st.sampled_from(range(len(STATEMENTS))), min_size=1, max_size=6))
def test_in_place_programs(chosen):
    x0 = np.random.default_rng(3).normal(size=(3, 3))

    def program(np_, x):
        buffer = np_.zeros((3, 3))
        row = buffer[1, 1:]  # a view that every write must keep in step
        for k in chosen:
            STATEMENTS[k](np_, x, buffer, row)
        return np.sum(np.sin(buffer) * np.arange(9.0).reshape(3, 3)) + np.sum(row**2)

    plain = program(np, x0.copy())
    value, grad = pb.value_and_grad(lambda x: program(pnp, x))(x0)
    np.testing.assert_allclose(value, plain, rtol=1e-14)
    if 8 not in chosen:  # comparisons of values need eager mode
        agree(lambda x: program(pnp, x), x0)
    u = np.random.default_rng(4).normal(size=(3, 3))
    h = 1e-3
    terms = [program(np, x0 + k * h * u) for k in (2, 1, -1, -2)]
    difference = (-terms[0] + 8 * terms[1] - 8 * terms[2] + terms[3]) / (12 * h)
    if 8 not in chosen:
        assert abs(np.sum(grad * u) - difference) <= 1e-6 * (1 + abs(difference))


# -- whole graphs ---------------------------------------------------------------------------------
UNARY = [
    np.sin,
    np.tanh,
    np.exp,
    np.square,
    np.arctan,
    lambda x: np.log1p(x * x),
    np.negative,
    lambda x: x.T,
    lambda x: x[::-1],
    lambda x: np.sum(x, axis=0, keepdims=True) + x,
    lambda x: np.max(x, axis=1, keepdims=True) * x,
    lambda x: np.cumsum(x, axis=0) * 0.3,
    lambda x: x - np.mean(x),
    lambda x: pnp.logsumexp(x, axis=0) + x,
    lambda x: np.where(x > 0, x, 0.1 * x),
    lambda x: np.sort(x, axis=0),
    lambda x: np.concatenate([x[:1], x[1:] * 2]),
    lambda x: np.reshape(x, -1).reshape(x.shape),
    lambda x: x / np.sqrt(1 + np.sum(x * x)),
    lambda x: np.clip(x, -0.7, 0.9),
    lambda x: x[np.array([2, 0, 0])] * 0.5,
    lambda x: np.var(x, axis=1, keepdims=True) + x,
]
BINARY = [
    np.add,
    np.subtract,
    np.multiply,
    lambda a, b: a @ b * 0.3,
    lambda a, b: a / (2 + b * b),
    np.maximum,
    np.hypot,
    lambda a, b: a * b[0],
    lambda a, b: np.einsum("ij,kj->ik", a, b) * 0.2,
]


@st.composite
def programs(draw):
    steps = []
    for k in range(draw(st.integers(1, 6))):
        if draw(st.booleans()):
            steps.append((draw(st.sampled_from(range(len(UNARY)))), draw(st.integers(0, k)), None))
        else:
            steps.append(
                (
                    draw(st.sampled_from(range(len(BINARY)))),
                    draw(st.integers(0, k)),
                    draw(st.integers(0, k)),
                )
            )
    return steps


def run(steps, x):
    values = [x]
    for op, a, b in steps:
        y = UNARY[op](values[a]) if b is None else BINARY[op](values[a], values[b])
        values.append(np.tanh(y))
    return sum(np.sum(v * (k + 1)) for k, v in enumerate(values))


@examples(80)
@given(programs())
def test_whole_graphs(steps):
    x = np.random.default_rng(5).normal(size=(3, 3))
    agree(lambda z: run(steps, z), x)


@examples(20)
@given(programs())
def test_nested_transforms(steps):
    """Forward over reverse, reverse over forward, reverse over reverse; batches; all compiled."""
    rng = np.random.default_rng(6)
    x, u, w = rng.normal(size=(3, 3, 3))
    f = lambda z: run(steps, z)
    forward_over_reverse = pb.hvp(f, (x,), (u,))
    reverse_over_forward = pb.grad(lambda z: pb.jvp(f, (z,), (u,))[1])(x)
    reverse_over_reverse = pb.grad(lambda z: np.sum(pb.grad(f)(z) * u))(x)
    scale = np.max(np.abs(forward_over_reverse)) + 1.0
    for other in (
        reverse_over_forward,
        reverse_over_reverse,
        pb.compile(lambda z: pb.hvp(f, (z,), (u,)))(x),
    ):
        np.testing.assert_allclose(other, forward_over_reverse, rtol=1e-9, atol=1e-11 * scale)
    symmetric = np.sum(w * forward_over_reverse) - np.sum(u * pb.hvp(f, (x,), (w,)))
    assert abs(symmetric) <= 1e-10 * scale * 10
    batch = np.stack([x, u, w])
    singles = np.stack([pb.grad(f)(z) for z in batch])
    np.testing.assert_allclose(pb.vmap(pb.grad(f))(batch), singles, rtol=1e-10, atol=1e-11)
    total = pb.grad(lambda b: np.sum(pb.vmap(f)(b)))(batch)
    np.testing.assert_allclose(total, singles, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(
        pb.compile(pb.vmap(pb.grad(f)))(batch), singles, rtol=1e-9, atol=1e-10
    )


@examples(100)
@given(st.data())
def test_broadcasting(data):
    """Gradients of broadcast operands have the operands' shapes and values."""
    full = data.draw(st.lists(st.integers(1, 3), min_size=0, max_size=3))
    shapes = []
    for _ in range(2):
        keep = data.draw(st.integers(0, len(full)))
        shapes.append(tuple(n if data.draw(st.booleans()) else 1 for n in full[len(full) - keep :]))
    a, b = (np.random.default_rng(7).normal(size=s) for s in shapes)
    f = lambda a, b: np.sum(np.sin(a * b) + a / (2 + b * b))
    ga, gb = pb.grad(f, (0, 1))(a, b)
    assert ga.shape == a.shape
    assert gb.shape == b.shape
    pb.check_grads(f, (a, b), order=2)
