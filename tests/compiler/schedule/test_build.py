"""Schedules: which operations share a kernel, and that sharing never changes a result."""

import numpy as np
import pytest

import pullback as pb

X = np.arange(1.0, 17.0).reshape(4, 4)


def kernels(fun, *args):
    lines = pb.compile(fun).show("loops", *args).splitlines()
    return [line for line in lines if line.startswith("kernel")]


def same(fun, *args):
    for got, want in zip(pb.compile(fun)(*args), fun(*args), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-15)


def momentum(p, m, g):
    m = 0.9 * m + 0.1 * g
    return p - 0.5 * m, m


def test_maps_that_share_memory_run_in_one_loop():
    assert len(kernels(momentum, X, X, X)) == 1
    same(momentum, X, X + 1, X - 1)


def test_a_scalar_that_is_computed_in_between_is_waited_for():
    def clipped(p, m, g):
        m = 0.9 * m + 0.1 * g
        return p - m / np.sqrt(np.sum(g * g)), m

    assert len(kernels(clipped, X, X, X)) == 2  # the sum; its root and the rest
    same(clipped, X, X + 1, X - 1)


@pytest.mark.parametrize(
    "move",
    [
        np.transpose,
        lambda a: a[::-1],
        lambda a: a[:, ::-1] + a.T,
        lambda a: np.broadcast_to(a[0], (4, 4)),
    ],
)
def test_elements_at_other_places_are_read_after_the_loop_that_writes_them(move):
    def both(x):
        a = np.exp(x / 16)
        return a, a * move(a), move(a) + x

    same(both, X)


def test_a_value_between_two_maps_keeps_them_apart_where_it_must():
    def chained(x):
        a = x + 1
        total = np.sum(a, axis=0)
        b = a * total
        return a, b, total @ (b + x)

    same(chained, X)


def test_an_operation_without_native_form_leaves_the_others_native():
    def mixed(x, n):
        return x + n, np.signbit(n) & (x > n), x - n

    n = np.arange(16, dtype=np.uint8).reshape(4, 4)
    same(mixed, X, n)


def arena(fun, *args):
    """Bytes of working memory."""
    return int(pb.compile(fun).show("memory", *args).split()[1])


W = np.linspace(-1.0, 1.0, 16).reshape(4, 4)


def test_a_map_of_a_product_is_computed_where_the_product_is():
    def layer(x, w, b):
        return np.tanh(x @ w + b)

    (line,) = kernels(layer, X, W, X[0])
    assert "matmul" in line
    assert "then: float64[4,4] = tanh of (add)" in pb.compile(layer).show("loops", X, W, X[0])
    assert arena(layer, X, W, X[0]) == 0  # the product is written where the result will be
    np.testing.assert_allclose(pb.compile(layer)(X, W, X[0]), layer(X, W, X[0]), rtol=1e-14)


def test_a_gradient_is_consumed_where_it_is_computed():
    """Of a step of gradient descent with momentum no gradient of the weights is ever stored."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 300)), rng.normal(size=(8, 400))
    w, m = rng.normal(size=(300, 400)), np.zeros((300, 400))

    def step(w, m, x, y):
        g = pb.grad(lambda w: np.mean((x @ w - y) ** 2))(w)
        m = 0.9 * m + g
        return w - 0.1 * m, m

    assert arena(step, w, m, x, y) < w.nbytes / 10
    g = 2 * x.T @ (x @ w - y) / y.size
    got = pb.compile(step)(w, m, x, y)
    np.testing.assert_allclose(got[1], g, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got[0], w - 0.1 * g, rtol=1e-12)


@pytest.mark.parametrize(
    "shapes",
    [
        [(300, 64), (64, 130)],  # pieces of rows, whose last one is smaller
        [(40, 64), (64, 700)],  # of columns
        [(7, 33, 21), (7, 21, 19)],  # a stack
        [(5, 1, 3, 4), (6, 4, 5)],  # a broadcast one
        [(3, 50, 64), (64, 130)],  # a stack that is one matrix
        [(300, 64), (64, 1)],  # a column
        [(300, 64), (64,)],  # a vector
        [(64,), (64, 300)],
        [(2, 4), (4, 1000)],
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tails_of_products_of_all_shapes(shapes, dtype):
    rng = np.random.default_rng(1)
    a, b = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    c = a @ b
    bias = rng.normal(size=c.shape[-1:]).astype(dtype)

    def tail(a, b, bias, other):
        return np.maximum(a @ b + bias, 0.0), other

    def residual(a, b, bias, other):
        c = a @ b
        other = 0.5 * other + c
        return other, np.tanh(other) - bias

    for fun in (tail, residual):
        assert "then:" in pb.compile(fun).show("loops", a, b, bias, c)
        for got, want in zip(pb.compile(fun)(a, b, bias, c), fun(a, b, bias, c), strict=True):
            rtol = 1e-12 if dtype is np.float64 else 2e-5
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol)


def test_a_product_that_is_read_elsewhere_too_keeps_its_memory():
    def both(x, w):
        z = x @ w
        a = np.exp(z / 100)
        return a, z.T @ a, z[::-1] * a

    same(both, X, W)


def test_a_tail_waits_for_what_needs_the_product():
    def clipped(x, w, g):
        z = x @ w
        scale = np.sqrt(np.sum(z * z))  # the first reader is a sum
        return z / scale + g, (x @ g - np.sum(g)) * scale

    same(clipped, X, W, X + 1)


def test_maps_write_over_what_nobody_reads_later():
    def chain(x):
        a = np.cumsum(x, axis=0)
        b = np.cumsum(np.exp(a / 100), axis=1)
        c = np.cumsum(b * b + a, axis=0)
        return np.sum(c / 2, axis=0) + b[0]

    big = np.linspace(0.0, 1.0, 10_000).reshape(100, 100)
    assert arena(chain, big) <= 3 * big.nbytes + 1000
    np.testing.assert_allclose(pb.compile(chain)(big), chain(big), rtol=1e-12)


def test_maps_write_over_what_has_other_axes_of_length_one():
    def renamed(x):
        return 2 * np.cumsum(x, axis=0)[None], np.cumsum(x, axis=1)[:, None] - x[:, None]

    def turned(x):
        return 2 * np.cumsum(x, axis=0).T[None]

    x = np.random.default_rng(0).normal(size=(100, 100))
    assert arena(renamed, x) == 0
    assert arena(turned, x) >= x.nbytes
    for f in (renamed, turned):
        pairs = (pb.tree.leaves(g(x)) for g in (pb.compile(f), f))
        for got, want in zip(*pairs, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.parametrize("function", [np.sin, np.cos, np.tan])
def test_loops_that_may_be_run_again_keep_their_operands(function):
    def waves(x):
        return function(np.cumsum(x)) + 1.0

    x = np.full(100, 1e7)  # beyond the quick reduction of the argument
    np.testing.assert_allclose(pb.compile(waves)(x), waves(x), rtol=1e-12)


def test_what_only_its_own_loop_reads_is_not_stored():
    def step(p, m):
        m = 0.9 * m + p
        u = np.sqrt(m * m + 1.0)
        return p - m * u + u / 3.0, m

    big = np.linspace(0.0, 1.0, 1000)
    assert arena(step, big, big) == 0
    same(step, X, X + 1)


def test_steps_of_equal_operations_that_share_operands_otherwise_differ():
    def both(a, b, c, d):
        return np.cumsum(a * b - a), np.cumsum(c * d - d), np.cumsum(a * a - a)

    same(both, X[0], X[1], X[2], X[3])


def test_an_element_is_replaced_from_elements_of_the_same_array():
    def run(x):
        y = np.cumsum(x)
        y[1:] = y[:-1] + y[1:]
        y[2] = 7.0
        z = np.exp(-y)
        z[np.array([0, 3])] = z[np.array([3, 0])]
        return y, z

    x = np.linspace(0.0, 1.0, 6)
    for got, want in zip(pb.compile(run)(x), run(x.copy()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-14)


# -- seams --------------------------------------------------------------------------------------
def ring(u, k):
    return u + k * (np.roll(u, 1) - 2 * u + np.roll(u, -1))


def plate(u, k):
    around = np.roll(u, 1, 0) + np.roll(u, -1, 0) + np.roll(u, 2, 1) + np.roll(u, -1, 1)
    return u + k * (around - 4 * u)


def rod(u, k):
    """Fixed ends, as slices."""
    inner = u[1:-1] + k[1:-1] * (u[2:] - 2 * u[1:-1] + u[:-2])
    return np.concatenate([u[:1], inner, u[-1:]])


def padded(u, k):
    return np.tanh(np.pad(u, 2)[3:-1] * k + np.pad(u[1:], (0, 1)))


def gates(u, k):
    a, b, c = np.split(u, [2, 5])
    return np.concatenate([np.tanh(a), b * b, np.exp(c)]) * k


@pytest.mark.parametrize(
    ("stencil", "shape", "n_kernels"),
    [(ring, (9,), 1), (plate, (6, 7), 1), (rod, (9,), 1), (padded, (9,), 2), (gates, (9,), 1)],
)
def test_pieces_side_by_side_are_read_inside_of_the_loops(stencil, shape, n_kernels):
    rng = np.random.default_rng(5)
    u, k = rng.normal(size=shape), rng.uniform(0.1, 0.2, shape)
    assert len(kernels(stencil, u, k)) == n_kernels
    np.testing.assert_allclose(pb.compile(stencil)(u, k), stencil(u, k), rtol=1e-13)


@pytest.mark.parametrize("stencil", [ring, plate, rod, padded, gates])
def test_gradients_of_stencils(stencil):
    rng = np.random.default_rng(6)
    shape = (6, 7) if stencil is plate else (9,)
    u, k, ct = rng.normal(size=shape), rng.uniform(0.1, 0.2, shape), rng.normal(size=shape)

    def loss(u, k):
        return np.sum(np.tanh(stencil(u, k)) * ct)

    got = pb.compile(pb.grad(loss, (0, 1)))(u, k)
    h = 1e-6
    for i, x in enumerate((u, k)):
        v = rng.normal(size=shape)
        steps = [[u, k], [u, k]]
        steps[0][i], steps[1][i] = x + h * v, x - h * v
        slope = (loss(*steps[0]) - loss(*steps[1])) / (2 * h)
        np.testing.assert_allclose(np.sum(got[i] * v), slope, rtol=1e-7)


def test_large_stencils_run_in_chunks():
    u = np.random.default_rng(7).normal(size=(700, 333))
    k = np.full_like(u, 0.1)
    assert "chunks" in pb.compile(plate).show("schedule", u, k).replace("1 chunk", "")
    np.testing.assert_allclose(pb.compile(plate)(u, k), plate(u, k), rtol=1e-13, atol=1e-14)
    flat = u.ravel()
    np.testing.assert_allclose(pb.compile(ring)(flat, 0.1), ring(flat, 0.1), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_pieces_of_few_or_no_elements(n):
    def joined(a, b):
        return 2 * np.concatenate([a[:0], b, a, b[:0]]) + np.concatenate([a, b])

    a, b = np.arange(float(n)), np.arange(2.0)
    np.testing.assert_array_equal(pb.compile(joined)(a, b), joined(a, b))


def test_pieces_with_new_axes_are_put_in_place_first():
    def grown(x):
        return np.sum(np.exp(x[:, None])[:, 0] * x[:, None][::2, 0])

    x = np.array([0.5])
    got = pb.compile(pb.grad(grown))(x)
    np.testing.assert_allclose(got, np.exp(x) * (x + 1), rtol=1e-14)


def test_many_seams_are_put_together_first():
    def many(u):
        total = u
        for i in range(1, 12):
            total = total + np.roll(u, i)
        return total

    u = np.random.default_rng(8).normal(size=40)
    np.testing.assert_allclose(pb.compile(many)(u), many(u), rtol=1e-13)


def test_seams_under_a_sum_or_a_transposition_are_put_together_first():
    def both(u):
        pair = np.concatenate([u, -u], axis=1)
        return np.sum(np.exp(pair), axis=0), (np.tanh(np.concatenate([u, u])) + 1).T

    same(both, X / 16)


# -- values in outputs ---------------------------------------------------------------------------
LARGE = np.linspace(-0.1, 0.1, 128 * 128).reshape(128, 128)


def values_bytes(fun, *args):
    """What values take; products take more for their tiles."""
    lines = pb.compile(fun).show("memory", *args).splitlines()[1:]
    return max(int(line.split()[2]) for line in lines)


def test_a_value_lives_in_an_output_that_is_written_later():
    def products(x):
        return (np.tanh(x) @ x) @ x, x

    # The tanh is in the output, which the second product writes.
    assert values_bytes(products, LARGE) == LARGE.nbytes
    np.testing.assert_allclose(
        pb.compile(products)(LARGE)[0], products(LARGE)[0], rtol=1e-12, atol=1e-14
    )
    assert values_bytes(products, X) == X.nbytes


def test_a_value_does_not_live_in_the_output_of_its_reader():
    def product(x):
        return np.tanh(x) @ x

    assert values_bytes(product, LARGE) == LARGE.nbytes
    np.testing.assert_allclose(pb.compile(product)(LARGE), product(LARGE), rtol=1e-12, atol=1e-14)


def test_values_in_outputs_are_gone_before_the_outputs_are_written():
    def chain(x, w):
        products = [x]
        for k in range(5):
            products.append(np.tanh(products[-1] @ w + k))
        first = products[1] * products[3] + np.sum(products[5] @ w)
        second = first @ products[4] + products[2]
        return first, second, (second - x)[:64], np.sum(second)

    gradient = pb.value_and_grad(lambda x, w: np.sum(np.sin(chain(x, w)[1])), argnums=(0, 1))

    def both(x, w):
        value, (a, b) = gradient(x, w)
        return (*chain(x, w), value, 0.1 * a + x, w - 0.1 * b)

    assert values_bytes(both, LARGE, LARGE) < 10 * LARGE.nbytes
    for got, want in zip(pb.compile(both)(LARGE, LARGE), both(LARGE, LARGE), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9)


def test_a_rectified_array_is_computed_again_by_its_readers():
    """Its source has memory. What rounds is computed once; a mask is smaller than its source."""

    def rectified(x, y):
        z = np.cumsum(x, axis=0)
        a = np.maximum(z, 0)
        return np.sum(a, axis=0), np.sum(a * y, axis=1), np.sum(z)

    def rounded(x, y):
        a = 3 * np.cumsum(x, axis=0)
        return np.sum(a, axis=0), np.sum(a * y, axis=1)

    def masked(x, y):
        mask = np.cumsum(x, axis=0) > y
        total = np.sum(mask, axis=0)
        later = np.cumsum(y + total, axis=1)
        return np.sum(np.where(mask, later, 0.5), axis=1)

    x = np.random.default_rng(0).normal(size=(100, 100))
    assert arena(rectified, x, x + 1) == x.nbytes
    assert arena(rounded, x, x + 1) == x.nbytes  # the product, written over the sums
    assert arena(masked, x, x + 1) < 1.5 * x.nbytes  # the mask, while other sums are there
    assert any("= multiply" in line for line in kernels(rounded, x, x))
    for f in (rectified, rounded, masked):
        pairs = (pb.tree.leaves(g(x, x + 1)) for g in (pb.compile(f), f))
        for got, want in zip(*pairs, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_a_mask_of_small_operands_is_computed_again():
    """As that of causal attention: rows against columns. It costs less than to load its bytes."""
    times, keys = np.arange(1000)[:, None], np.arange(1000)

    def attend(x, times, keys):
        past = times >= keys
        scores = np.where(past, np.cumsum(x, axis=1), -np.inf)
        weights = np.exp(scores - np.max(scores, axis=1, keepdims=True))
        return np.where(past, np.cumsum(weights, axis=1), 0)

    x = np.linspace(0.0, 1.0, 1000) * np.ones((1000, 1))
    assert "bool" not in pb.compile(attend).show("memory", x, times, keys)
    assert not any("bool" in line for line in kernels(attend, x, times, keys))
    want = attend(x, times, keys)
    np.testing.assert_allclose(pb.compile(attend)(x, times, keys), want, rtol=1e-13)


def test_what_has_memory_anyway_is_read():
    def layer(x, w):
        a = np.maximum(np.cumsum(x, axis=0), 0)
        return a @ w, np.sum(a, axis=0)

    text = "".join(kernels(layer, X, W))
    assert text.count("maximum") == 1
    same(layer, X, W)


def test_a_tail_does_not_write_over_what_other_pieces_read():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(400, 400)), rng.normal(size=(400, 400)) / 20

    def residual(x, w):
        t = np.tanh(x)
        return np.cumsum(t @ w + t, axis=0)

    np.testing.assert_allclose(pb.compile(residual)(x, w), residual(x, w), rtol=1e-9, atol=1e-9)


def test_a_mask_that_is_smaller_than_its_source_is_kept():
    """Its readers load a byte instead of a number."""
    x, y = np.random.default_rng(0).integers(-9, 9, size=(2, 300, 70)).astype(float)

    def masked(x, y):
        mask = x > 0.5
        return np.sum(np.where(mask, y, 0), axis=0), np.where(mask, y + 1, 0) @ y.T

    assert "bool[300,70]" in "".join(kernels(masked, x, y))
    same(masked, x, y)


def test_a_maximum_is_found_again_in_what_is_computed_again():
    """Equality of values that were computed in two loops: both must have the same last digit."""
    rng = np.random.default_rng(0)
    x, s, b = rng.normal(size=(50, 40)), rng.normal(size=40), rng.normal(size=40)

    def loss(x):
        return np.sum(np.max(np.maximum(x * s + b, 0.1), axis=1))

    got = pb.compile(pb.grad(loss))(x)
    np.testing.assert_array_equal(got, pb.grad(loss)(x))
    assert (got != 0).any(axis=1).sum() > 40


def test_a_reshaped_result_is_written_where_it_belongs():
    def flat(x):
        return np.reshape(np.cumsum(x, axis=0), -1)

    def merged(x):
        y = np.exp(x / 16)
        return y.sum(), np.reshape(y * x, (2, 8)), y + x

    for f, n in ((flat, 1), (merged, 3)):
        assert len(kernels(f, X)) <= n
    assert arena(flat, X) == 0
    np.testing.assert_array_equal(pb.compile(flat)(X), flat(X))
    same(merged, X)


# -- the last product ----------------------------------------------------------------------------
def two_layers(n_moments):
    """A training step; the first weights, in the end, are the largest."""

    def step(w, u, m, v, x):
        h = np.tanh(x @ w)
        d = (h @ u) @ u.T * (1 - h * h)
        g = x.T @ d
        m = 0.9 * m + g
        v = 0.9 * v + g * g
        moments = (m, v)[:n_moments]
        return w - 0.1 * sum(moments) - 0.1 * g, *moments

    return step


def weights():
    draw = np.random.default_rng(9).normal
    shapes = [(96, 128), (128, 4), (96, 128), (96, 128), (48, 96)]
    return [draw(size=shape) / 16 for shape in shapes]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_tail_does_not_write_over_what_its_product_reads(side):
    """Pieces that come later read the operand, also elsewhere than the tail does."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 64, 64)) / 8

    def f(a, b):
        x = np.tanh(a)
        y = x @ b if side == "left" else b @ x
        return y + x, y * x, b @ a

    assert "  then: float64[64,64], float64[64,64]" in pb.compile(f).show("loops", a, b)
    for got, want in zip(pb.compile(f, threads=1)(a, b), f(a, b), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("n_moments", [1, 2])
def test_operands_of_the_last_product_lie_in_what_is_written_after_it(n_moments):
    step, args = two_layers(n_moments), weights()
    compiled = pb.compile(step)
    assert compiled.show("loops", *args).splitlines()[-2].startswith("kernel")  # no tail
    assert "float64[48,128]" not in compiled.show("memory", *args)  # the arena
    for y, z in zip(compiled(*args), step(*args), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("donated", [(), (0, 2, 3)])
def test_a_tail_stays_where_outputs_have_no_room(donated):
    step, args = two_layers(2 if donated else 0), weights()
    compiled = pb.compile(step, donate_argnums=donated)
    assert compiled.show("loops", *args).splitlines()[-2].startswith("  then")
    expected = step(*args)
    for y, z in zip(compiled(*args), expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-14)


def test_outputs_of_small_updates_hold_other_values_first():
    """The cotangent of a layer, and the product for its weights, lie in moments to be written."""
    rng = np.random.default_rng(0)
    shapes = (8, 32), (32, 32), (32, 1)
    ws = [rng.normal(size=shape).astype(np.float32) / 4 for shape in shapes]
    x = rng.normal(size=(32, 8)).astype(np.float32)

    def loss(ws):
        y = x
        for w in ws:
            y = np.tanh(y @ w)
        return np.mean(y**2)

    def step(ws, ms, vs):
        gradients = pb.grad(loss)(ws)
        ms = [0.9 * m + g for m, g in zip(ms, gradients, strict=True)]
        vs = [0.9 * v + g * g for v, g in zip(vs, gradients, strict=True)]
        updates = [m / np.sqrt(v + 1) for m, v in zip(ms, vs, strict=True)]
        return [w - 0.1 * u for w, u in zip(ws, updates, strict=True)], ms, vs

    assert arena(step, ws, ws, ws) == ws[1].nbytes  # an activation
    got, want = pb.compile(step)(ws, ws, ws), step(ws, ws, ws)
    for g, w in zip(pb.tree.leaves(got), pb.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-6)
