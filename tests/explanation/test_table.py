"""The backward table against derivatives that know nothing of it."""

import re

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.explanation.report import Report

RNG = np.random.default_rng(7)
D, H, K = 3, 4, 2
POINT = {
    "W1": RNG.normal(size=(H, D)),
    "b1": RNG.normal(size=H),
    "W2": RNG.normal(size=(K, H)),
    "b2": RNG.normal(size=K),
    "x": RNG.normal(size=D),
    "y": RNG.normal(size=K),
}


def network(W1, b1, W2, b2, x, y):
    z1 = W1 @ x + b1
    a1 = np.tanh(z1)
    z2 = W2 @ a1 + b2
    yhat = 1 / (1 + np.exp(-z2))
    L = 0.5 * np.sum((yhat - y) ** 2)
    return L  # noqa: RET504 - the table shows the name


def network_from(step):
    """The loss as a function of one of its steps, the others at the point; no tracing."""
    W1, b1, W2, b2, x, y = POINT.values()

    def rest(value):
        part = {"W1": W1, "b1": b1, "W2": W2, "b2": b2, step: value}
        z1 = part.get("z1", part["W1"] @ x + part["b1"])
        a1 = part.get("a1", np.tanh(z1))
        z2 = part.get("z2", part["W2"] @ a1 + part["b2"])
        yhat = part.get("yhat", 1 / (1 + np.exp(-z2)))
        return 0.5 * np.sum((yhat - y) ** 2)

    return rest


STEPS = ["yhat", "z2", "W2", "b2", "a1", "z1", "W1", "b1"]


@pytest.fixture(scope="module")
def two_layer() -> Report:
    return pb.explain(network, *POINT.values(), argnums=(0, 1, 2, 3))


def value_of(step, report):
    return POINT[step] if step in POINT else next(r for r in report.forward if r.name == step).value


def test_a_two_layer_network_has_the_eight_rows_of_the_textbook(two_layer):
    assert [row.step for row in two_layer.rows] == STEPS
    assert [row.name for row in two_layer.rows] == [f"dL/d{step}" for step in STEPS]
    shapes = [(K,), (K,), (K, H), (K,), (H,), (H,), (H, D), (H,)]
    assert [row.shape for row in two_layer.rows] == shapes
    assert two_layer["W2"].formula == "outer(dL/dz2, a1)"
    assert two_layer["b2"].formula == "dL/dz2"
    assert two_layer["a1"].formula == "W2.T @ dL/dz2"
    assert two_layer["W1"].formula == "outer(dL/dz1, x)"
    assert two_layer["z1"].formula == "dL/da1 * (1 - a1 * a1)"
    depends = {row.step: [str(d) for d in row.depends] for row in two_layer.rows}
    assert depends["W2"] == ["dL/dz2", "a1 (cached)"]
    assert depends["a1"] == ["W2", "dL/dz2"]
    assert depends["W1"] == ["dL/dz1", "x (cached)"]


@pytest.mark.parametrize("step", STEPS)
def test_rows_match_the_complex_step(step, two_layer):
    at = value_of(step, two_layer)
    loss, derivative = network_from(step), np.empty(at.shape)
    for i in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[i] += 1e-30j
        derivative[i] = loss(moved).imag / 1e-30
    error = np.abs(two_layer[step].value - derivative).max()
    assert error <= 1e-14 * np.abs(derivative).max()


@pytest.mark.parametrize("step", STEPS)
def test_rows_match_central_differences(step, two_layer):
    at = value_of(step, two_layer)
    loss, width, derivative = network_from(step), 6e-6, np.empty(at.shape)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += width
        down[i] -= width
        derivative[i] = (loss(up) - loss(down)) / (up[i] - down[i])
    error = np.abs(two_layer[step].value - derivative).max()
    assert error <= 1e-8 * np.abs(derivative).max()


def test_a_batch_is_the_sum_of_its_examples():
    def loss(W, b, x, y):
        z = x @ W.T + b
        L = np.mean(np.sum((np.tanh(z) - y) ** 2, axis=1))
        return L  # noqa: RET504 - the table shows the name

    W, b = POINT["W1"], POINT["b1"]
    x, y = RNG.normal(size=(5, D)), RNG.normal(size=(5, H))
    whole = pb.explain(loss, W, b, x, y, argnums=(0, 1))
    single = [pb.explain(loss, W, b, x[i : i + 1], y[i : i + 1], argnums=(0, 1)) for i in range(5)]
    for step in ("W", "b"):
        total = sum(report[step].value for report in single) / 5
        np.testing.assert_allclose(whole[step].value, total, rtol=1e-13)
    np.testing.assert_allclose(whole["z"].value[2], single[2]["z"].value[0] / 5, rtol=1e-13)


# -- formulas are true -----------------------------------------------------------------------------
NAMESPACE = {name: getattr(np, name) for name in np.__all__}
NAMESPACE |= {
    "expit": lambda x: 1 / (1 + np.exp(-x)),
    "place": lambda x, shape, key: (y := np.zeros(shape), y.__setitem__(key, x))[0],
    "scatter_add": lambda x, *i, shape: (y := np.zeros(shape), np.add.at(y, i, x))[0],
}


def check_formulas(report, known):
    """Evaluate each printed formula with NumPy, with the rows above it for its symbols."""
    symbols = dict(known)
    for row in (*report.forward, *report.rows):
        text = row.formula
        plain = {}
        for number, name in enumerate(sorted(symbols, key=len, reverse=True)):
            pattern = rf"(?<![\w.\]/#]){re.escape(name)}(?![\w#'])"
            text = re.sub(pattern, f"symbol_{number}_", text)
            plain[f"symbol_{number}_"] = symbols[name]
        assert "#" not in text, text
        got = eval(text, {**NAMESPACE, **plain})
        np.testing.assert_allclose(got, row.value, rtol=1e-12, atol=1e-14, err_msg=row.formula)
        assert np.shape(got) == row.shape, row.formula
        symbols[row.name] = row.value


def sharing(x, w):
    u = x * w
    v = (u - 2 * w) / (3 - u)
    return np.sum(v * np.sin(v) - v**3 / 7)


def repeated(w, x):
    h = x
    for _ in range(3):
        h = np.tanh(h @ w)
    return np.mean(h**2)


def normalized(x, s):
    centered = x - x.mean(axis=1, keepdims=True)
    scale = np.sqrt((centered**2).mean(axis=1, keepdims=True) + 1e-5)
    return np.sum(s * centered / scale)


def reshaped(x, w):
    tiles = x.reshape(2, 3).T
    y = tiles[1:, ::-1] * w
    return (y.sum(axis=0) - y[0] % 0.7).max()


def unnamed(x, w):
    return np.sum(np.exp(-((x - w) ** 2) / 2) * np.where(x > w, x, -w)) * np.log(np.sum(w * w))


@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (sharing, [(3,), (2, 3)]),
        (sharing, [(), ()]),
        (repeated, [(3, 3), (5, 3)]),
        (normalized, [(4, 6), (6,)]),
        (reshaped, [(6,), (2,)]),
        (unnamed, [(5,), (5,)]),
    ],
)
def test_formulas_are_numpy_expressions_that_give_the_values(function, shapes):
    names = function.__code__.co_varnames[:2]
    args = [RNG.uniform(0.5, 2, size=shape) for shape in shapes]
    report = pb.explain(function, *args, argnums=(0, 1))
    check_formulas(report, dict(zip(names, args, strict=True)))
    grads = pb.grad(function, argnums=(0, 1))(*args)
    for name, gradient in zip(names, grads, strict=True):
        np.testing.assert_array_equal(report[name].value, gradient)


def test_formulas_of_the_two_layer_network(two_layer):
    check_formulas(two_layer, POINT)


# -- names, lines, costs ---------------------------------------------------------------------------
def test_the_same_name_twice_is_numbered():
    report = pb.explain(repeated, np.eye(3), np.ones((2, 3)))
    steps = [row.step for row in report.rows]
    assert [step for step in steps if step.startswith("h")] == ["h#3", "h#2", "h"]
    assert {"h", "h#2", "h#3"} < {row.name for row in report.forward}


def test_names_come_from_helpers_closures_and_containers():
    offset = np.ones(3)

    def square(v):
        return v * v

    def loss(params):
        s = square(params["w"] + offset)
        return np.sum(s) * params["scales"][1]

    report = pb.explain(loss, {"w": np.arange(3.0), "scales": [1.0, 2.0]})
    paths = {row.step for row in report.rows}
    assert {"params['w']", "params['scales'][0]", "params['scales'][1]", "v", "s"} == paths
    assert report["params['scales'][0]"].formula == "0"
    assert report.forward[0].formula == "params['w'] + offset"


def test_rows_name_the_lines_of_the_user(two_layer):
    first = network.__code__.co_firstlineno
    lines = {row.step: row.lines for row in two_layer.rows}
    assert lines["W1"] == lines["b1"] == (f"test_table.py:{first + 1}",)
    assert lines["z2"] == (f"test_table.py:{first + 4}",)
    assert [row.lines for row in two_layer.forward[:2]] == [
        (f"test_table.py:{first + 1}",),
        (f"test_table.py:{first + 2}",),
    ]


def test_every_equation_is_counted_in_one_row(two_layer):
    assert sum(row.cost.flops for row in two_layer.forward) == two_layer.forward_cost.flops
    assert sum(row.cost.flops for row in two_layer.rows) == two_layer.backward_cost.flops
    assert sum(row.cost.bytes for row in two_layer.rows) == two_layer.backward_cost.bytes


def test_a_checkpoint_is_shown_from_inside_and_its_values_are_recomputed():
    def loss(w, x):
        block = pb.checkpoint(lambda v: np.sin(v * w) * np.cos(v))
        u = block(x)
        return np.sum(block(u))

    def plain(w, x):
        u = np.sin(x * w) * np.cos(x)
        return np.sum(np.sin(u * w) * np.cos(u))

    w, x = np.full(3, 0.5), np.arange(3.0)
    checkpointed, kept = pb.explain(loss, w, x), pb.explain(plain, w, x)
    kinds = {d.name: d.kind for d in checkpointed["w"].depends}
    assert kinds["x"] == "cached"
    assert kinds["x * w"] == "recomputed"
    assert {d.kind for d in kept["w"].depends} == {"cached", "cotangent"}
    np.testing.assert_allclose(checkpointed["w"].value, kept["w"].value, rtol=1e-15)
    assert checkpointed.residual_bytes < kept.residual_bytes
    assert checkpointed.backward_cost.flops > kept.backward_cost.flops


def test_a_compiled_function_is_shown_from_inside_with_its_own_lines():
    def loss(w, x):
        z = x @ w
        return np.sum(np.tanh(z))

    w, x = np.full(3, 0.5), np.ones((2, 3))
    compiled, plain = pb.explain(pb.compile(loss), w, x), pb.explain(loss, w, x)
    np.testing.assert_allclose(compiled["w"].value, plain["w"].value, rtol=1e-15)
    assert compiled.backward_cost == plain.backward_cost
    first = loss.__code__.co_firstlineno
    assert set(compiled["w"].lines) == {f"test_table.py:{first + i}" for i in (1, 2)}


def test_writes_into_buffers_are_steps():
    def simulate(theta):
        track = pnp.zeros(3)
        track[0] = theta
        for i in range(2):
            track[i + 1] = track[i] * (1 - track[i])
        return track[-1]

    report = pb.explain(simulate, 0.3)
    steps = [row.step for row in report.rows]
    assert [step for step in steps if step.startswith("t")] == [
        "track#3",
        "track#2",
        "track",
        "theta",
    ]
    step = 0.3 * 0.7  # d/dt of t(1-t) is 1 - 2t, twice
    assert report["theta"].value == pytest.approx((1 - 0.6) * (1 - 2 * step), rel=1e-14)


def test_a_loop_is_one_step():
    def total(w, xs):
        last, _ = pb.scan(lambda c, x: (np.tanh(c * w + x), c), np.zeros(3), xs)
        return np.sum(last)

    args = np.ones(3), np.ones((4, 3))
    report = pb.explain(total, *args)
    assert report.forward[0].primitives == ("scan",)
    np.testing.assert_array_equal(report["w"].value, pb.grad(total)(*args))
    assert report["w"].cost.flops > 0


def test_an_array_is_explained_as_the_sum_of_its_elements():
    report = pb.explain(lambda x: np.stack([x, x**2]), np.arange(3.0))
    np.testing.assert_array_equal(report["x"].value, [1, 3, 5])
    assert "sum of its elements" in str(report)


# -- refusals --------------------------------------------------------------------------------------
def test_a_function_with_several_outputs_is_refused():
    with pytest.raises(pb.errors.ArgumentError, match="returns 2 arrays"):
        pb.explain(lambda x: (x, x), 1.0)


def test_an_output_without_derivative_is_refused():
    with pytest.raises(pb.errors.NotDifferentiableError, match="does not depend"):
        pb.explain(lambda x: np.sum(x > 0), np.ones(2))
    with pytest.raises(pb.errors.NotDifferentiableError, match="floating-point"):
        pb.explain(lambda x: x, np.ones(2, int))


def test_an_unknown_row_is_refused_with_the_names_of_all(two_layer):
    with pytest.raises(KeyError, match="W1"):
        two_layer["W3"]
