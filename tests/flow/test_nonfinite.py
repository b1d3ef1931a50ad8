"""The first NaN or infinity is traced to the operation that made it, in both passes."""

import numpy as np
import pytest

import pullback as pb
from pullback import nn
from pullback.errors import NonFiniteError
from pullback.flow import find_nonfinite

Z, ONE, NEG, BIG = np.zeros(3), np.ones(3), -np.ones(3), np.full(3, 1e200)
M0 = np.zeros((2, 2))

# name: (function, point, phase, operation that makes the first number that is not finite)
FORWARD = {
    "log": (lambda x: np.sum(np.log(x)), Z, "log"),
    "log, negative": (lambda x: np.sum(np.log(x)), NEG, "log"),
    "log2": (lambda x: np.sum(np.log2(x)), Z, "log2"),
    "log10": (lambda x: np.sum(np.log10(x)), Z, "log10"),
    "log1p": (lambda x: np.sum(np.log1p(x)), NEG, "log1p"),
    "sqrt": (lambda x: np.sum(np.sqrt(x)), NEG, "sqrt"),
    "exp": (lambda x: np.sum(np.exp(x)), BIG, "exp"),
    "exp2": (lambda x: np.sum(np.exp2(x)), BIG, "exp2"),
    "expm1": (lambda x: np.sum(np.expm1(x)), BIG, "expm1"),
    "sinh": (lambda x: np.sum(np.sinh(x)), BIG, "sinh"),
    "cosh": (lambda x: np.sum(np.cosh(x)), BIG, "cosh"),
    "arcsin": (lambda x: np.sum(np.arcsin(x)), 2 * ONE, "arcsin"),
    "arccos": (lambda x: np.sum(np.arccos(x)), 2 * ONE, "arccos"),
    "arctanh": (lambda x: np.sum(np.arctanh(x)), ONE, "arctanh"),
    "arccosh": (lambda x: np.sum(np.arccosh(x)), Z, "arccosh"),
    "divide": (lambda x: np.sum(1 / x), Z, "divide"),
    "0 / 0": (lambda x: np.sum(x / x), Z, "divide"),
    "power": (lambda x: np.sum(x**-1.3), Z, "power"),
    "power, negative": (lambda x: np.sum(x**0.3), NEG, "power"),
    "multiply": (lambda x: np.sum(x * 1e200), BIG, "multiply"),
    "square": (lambda x: np.sum(np.square(x)), BIG, "square"),
    "add": (lambda x: np.sum(x + x), np.full(3, 1.5e308), "add"),
    "subtract": (lambda x: np.sum(x - (-x)), np.full(3, 1.5e308), "subtract"),
    "sum": (lambda x: np.sum(x), np.full(3, 1e308), "sum"),
    "prod": (lambda x: np.prod(x), BIG, "prod"),
    "matmul": (lambda x: x @ x, BIG, "matmul"),
    "mean": (lambda x: np.mean(x), np.full(3, 1e308), "mean"),
    "var": (lambda x: np.var(x), BIG * np.arange(3), "var"),
    "cumsum": (lambda x: np.sum(np.cumsum(x) * 1e-3), np.full(3, 1e308), "cumsum"),
    "cumprod": (lambda x: np.sum(np.cumprod(x) * 1e-3), BIG, "cumprod"),
    "astype": (lambda x: np.sum(x.astype(np.float32)), BIG, "astype"),
    "remainder": (lambda x: np.sum(np.remainder(ONE, x)), Z, "remainder"),
    "fmod": (lambda x: np.sum(np.fmod(ONE, x)), Z, "fmod"),
    "hypot": (lambda x: np.sum(np.hypot(x, x)), np.full(3, 1.5e308), "hypot"),
    "conv": (lambda x: np.sum(nn.conv(np.full((1, 1, 4), 1e200), x[None, None])), BIG, "conv"),
    "log_abs_det": (lambda x: np.linalg.slogdet(x)[1], M0, "log_abs_det"),
    "tan after overflow": (lambda x: np.sum(np.tan(x * 1e200)), BIG, "multiply"),
    "logaddexp": (lambda x: np.sum(np.logaddexp(x, x) * 2), np.full(3, 1.2e308), "multiply"),
    "inside a layer": (lambda x: np.mean(nn.gelu(x) ** 2), BIG, "square"),
}
BACKWARD = {
    "sqrt at 0": (lambda x: np.sum(np.sqrt(x)), Z, "sqrt"),
    "norm at 0": (lambda x: np.sqrt(np.sum(x**2)), Z, "sqrt"),
    "power below 1": (lambda x: np.sum(x**0.3), Z, "power"),
    "cbrt": (lambda x: np.sum(np.cbrt(x)), Z, "cbrt"),
    "arcsin at 1": (lambda x: np.sum(np.arcsin(x)), ONE, "arcsin"),
    "arccos at 1": (lambda x: np.sum(np.arccos(x)), ONE, "arccos"),
    "arccosh at 1": (lambda x: np.sum(np.arccosh(x)), ONE, "arccosh"),
    "arctan2 at 0": (lambda x: np.sum(np.arctan2(x, x)), Z, "arctan2"),
    "masked log": (lambda x: np.sum(np.where(x > 0, np.log(x), 0.0)), np.arange(3.0), "log"),
    "masked division": (lambda x: np.sum(np.where(x > 0, 1 / x, 0.0)), np.arange(3.0), "divide"),
    "masked sqrt": (lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0)), np.arange(3.0), "sqrt"),
    "masked exp": (lambda x: np.sum(np.where(x < 9, np.exp(x), 0.0)), np.array([1, 1e4]), "exp"),
    "overflow of a slope": (lambda x: np.sum(np.sqrt(x)) * 1e200, np.full(3, 1e-300), "sqrt"),
    "1 / x": (lambda x: np.sum(1 / x), np.full(3, 1e-200), "divide"),
    "log of a tiny number": (lambda x: np.sum(np.log(x)), np.full(3, 1e-310), "log"),
}
CASES = [(n, *c, "forward") for n, c in FORWARD.items()]
CASES += [(n, *c, "backward") for n, c in BACKWARD.items()]
IDS = [case[0] for case in CASES]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "f", "x", "operation", "phase"), CASES, ids=IDS)
def test_eager(name, f, x, operation, phase):
    with pytest.raises(NonFiniteError) as caught, pb.debug_nonfinite():
        pb.value_and_grad(f)(x)
    found = find_nonfinite(f, x)
    assert (found.phase, found.operation) == (phase, operation), str(caught.value)
    assert operation in str(caught.value)
    assert "test_nonfinite.py" in found.line
    where = "the derivative of" if phase == "backward" else ""
    assert where in caught.value.headline


# What the compiler has a kind of loop for, one case each.
COMPILED = (
    "log",
    "exp",
    "matmul",
    "sum",
    "sqrt at 0",
    "masked log",
    "inside a layer",
    "log_abs_det",  # whose derivative asks for the inverse of a singular matrix
)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", COMPILED)
def test_compiled(name):
    _, f, x, operation, phase = CASES[IDS.index(name)]
    step = pb.compile(pb.value_and_grad(f), nonfinite=True)
    with pytest.raises(NonFiniteError) as caught:
        step(x)
    assert operation in caught.value.headline
    assert ("the derivative of" in caught.value.headline) == (phase == "backward")


def test_there_are_fifty_kinds():
    assert len(CASES) >= 50
    assert len({operation for _, _, _, operation, _ in CASES}) >= 30


def test_known_patterns_come_with_their_fix():
    for name, pattern in (
        ("masked log", "np.where does not take"),
        ("norm at 0", "sqrt at 0"),
        ("log", "log of 0"),
        ("exp", "overflow of exp"),
        ("0 / 0", "0 / 0"),
    ):
        _, f, x, _, _ = CASES[IDS.index(name)]
        found = find_nonfinite(f, x)
        assert pattern in found.pattern
        assert found.fix


def test_fixes_work_when_followed():
    x = np.arange(3.0)

    def masked(x):
        ok = x > 0
        return np.sum(np.where(ok, np.log(np.where(ok, x, 1.0)), 0))

    assert find_nonfinite(masked, x) is None
    assert find_nonfinite(lambda x: np.sqrt(np.sum(x**2) + 1e-12), Z) is None
    assert find_nonfinite(lambda x: np.sum(nn.log_softmax(x)), BIG) is None


def test_dropped_numbers_are_no_alarm():
    x = np.array([1.0, -1.0])
    mask = np.array([True, False])

    def f(x):
        return np.sum(np.where(mask, np.log(pb.stop_gradient(x)), x))

    with pb.debug_nonfinite(), np.errstate(all="ignore"):
        pb.grad(f)(x)
    assert find_nonfinite(f, x) is None


def test_infinities_can_be_left_out():
    def f(x):
        return np.sum(x * 1e200)

    assert find_nonfinite(f, BIG, infinities=False) is None
    with pb.debug_nonfinite(infinities=False), np.errstate(all="ignore"):
        pb.grad(f)(BIG)


def test_an_argument_that_is_not_finite_is_named_by_its_path():
    net = nn.mlp(np.random.default_rng(0), (3, 4, 2))
    net.layers[2].weight[1, 0] = np.nan
    found = find_nonfinite(lambda net, x: np.sum(net(x)), net, np.ones((2, 3)))
    assert (found.phase, found.operation, found.index) == ("input", "net.layers[2].weight", (1, 0))


def test_the_element_and_its_operands_are_named():
    found = find_nonfinite(lambda x: np.sum(np.log(x)), np.array([1.0, 2.0, 0.0]))
    assert (found.index, found.at) == ((2,), (0.0,))
    assert "from 0 to 2" in found.operands[0]


def test_nothing_is_checked_outside_and_hooks_are_taken_out():
    from pullback.transforms.derivatives import Reverse

    before = Reverse.sweep
    with pb.debug_nonfinite():
        assert Reverse.sweep is not before
        with pb.debug_nonfinite():
            pass
        assert Reverse.sweep is not before
    assert Reverse.sweep is before
    with np.errstate(all="ignore"):
        assert not np.all(np.isfinite(pb.grad(lambda x: np.sum(np.log(x)))(Z)))


def test_gradients_of_gradients_and_aux_values():
    def f(x):
        return np.sum(x**1.3)

    with (
        pytest.raises(NonFiniteError, match="power"),
        pb.debug_nonfinite(),
        np.errstate(all="ignore"),
    ):
        pb.grad(lambda x: np.sum(pb.grad(f)(x)))(Z)
    with (
        pytest.raises(NonFiniteError, match="log"),
        pb.debug_nonfinite(),
        np.errstate(all="ignore"),
    ):
        pb.grad(lambda x: (np.sum(np.log(x)), x), has_aux=True)(Z)


def test_a_training_step_with_donated_arguments():
    def step(w, x):
        grads = pb.grad(lambda w: np.sum(np.sqrt(x @ w)))(w)
        return w - 0.1 * grads

    compiled = pb.compile(step, donate_argnums=0)
    with pytest.raises(NonFiniteError, match="the derivative of sqrt"), pb.debug_nonfinite():
        compiled(np.zeros(3), np.ones((2, 3)))
