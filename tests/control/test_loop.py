"""checkpoint_loop: the gradient of the plain loop, in the memory and the steps that it promises."""

import tracemalloc

import numpy as np
import pytest

import pullback as pb
from pullback.control.revolve import advances

rng = np.random.default_rng(0)
W = rng.normal(size=(5, 5)) * 0.15
S = rng.normal(size=5)


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self, s, i, w):
        self.calls += 1
        return np.tanh(w @ s) if i % 3 else np.sin(w @ s)


def plain(s, w, n):
    for i in range(n):
        s = Counted()(s, i, w)
    return np.sum(s)


@pytest.mark.parametrize(
    ("n", "options", "steps"),
    [
        (10, {"snapshots": 3}, advances(10, 3) + 10),
        (100, {"snapshots": 5}, advances(100, 5) + 100),
        (1, {"snapshots": 1}, 1),
        (20, {"snapshots": 100}, advances(20, 20) + 20),
        (100, {}, None),
        (60, {"memory": 1000}, None),
        (60, {"memory": "300 B"}, None),
    ],
)
def test_the_gradient_is_bitwise_that_of_the_plain_loop(n, options, steps):
    step = Counted()
    loss = lambda s, w: np.sum(pb.checkpoint_loop(step, s, n, w, **options))
    found = pb.grad(loss, (0, 1))(S, W)
    for a, b in zip(found, pb.grad(lambda s, w: plain(s, w, n), (0, 1))(S, W), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps is None or step.calls == steps


def test_small_tapes_are_kept_where_that_saves_steps():
    step = Counted()
    pb.grad(lambda s: np.sum(pb.checkpoint_loop(step, s, 60, W, memory=40 * 11)))(S)
    assert step.calls < advances(60, 9) + 60


def test_states_on_disk(tmp_path):
    loss = lambda s, w: np.sum(pb.checkpoint_loop(Counted(), s, 40, w, snapshots=2, spill=tmp_path))
    found = pb.grad(loss, (0, 1))(S, W)
    for a, b in zip(found, pb.grad(lambda s, w: plain(s, w, 40), (0, 1))(S, W), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list(tmp_path.iterdir())


def test_while_a_condition_holds():
    goes_on = lambda s, w: np.sum(np.abs(s)) > 1e-4
    n, s = 0, S
    while goes_on(s, W):
        s, n = Counted()(s, n, W), n + 1
    loop = lambda s, w: np.sum(
        pb.checkpoint_loop(Counted(), s, None, w, condition=goes_on, snapshots=3)
    )
    found = pb.grad(loop, (0, 1))(S, W)
    for a, b in zip(found, pb.grad(lambda s, w: plain(s, w, n), (0, 1))(S, W), strict=True):
        np.testing.assert_array_equal(a, b)
    never = lambda s, w: np.sum(
        pb.checkpoint_loop(Counted(), s, None, w, condition=lambda *_: False)
    )
    np.testing.assert_array_equal(pb.grad(never)(S, W), np.ones(5))


def test_random_draws_are_replayed():
    def step(state, i, w):
        x, generator = state
        return np.tanh(w @ x + generator.normal(size=5)), generator

    def loss(w, n):
        start = S, pb.random.default_rng(3)
        return np.sum(pb.checkpoint_loop(step, start, 20, w, snapshots=n)[0])

    np.testing.assert_array_equal(pb.grad(loss)(W, 2), pb.grad(loss)(W, 20))


def test_second_derivatives():
    inner = lambda f: lambda w: np.sum(pb.grad(f)(w) ** 2)
    loop = lambda w: np.sum(pb.checkpoint_loop(Counted(), S, 6, w, snapshots=2))
    np.testing.assert_allclose(
        pb.grad(inner(loop))(W), pb.grad(inner(lambda w: plain(S, w, 6)))(W), rtol=1e-12
    )


def test_memory_does_not_grow_with_the_steps():
    x = rng.normal(size=20_000)

    def peak(n):
        loss = lambda s: np.sum(
            pb.checkpoint_loop(lambda s, i: s + 0.01 * np.sin(s), s, n, snapshots=6)
        )
        tracemalloc.start()
        pb.grad(loss)(x)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(80) < 1.02 * peak(20)


def test_what_cannot_be_right_is_refused():
    loop = pb.checkpoint_loop
    with pytest.raises(pb.errors.ArgumentError, match="number of steps or a condition"):
        loop(Counted(), S)
    with pytest.raises(pb.errors.ArgumentError, match="snapshots=0"):
        loop(Counted(), S, 3, W, snapshots=0)
    with pytest.raises(pb.errors.ShapeError, match="type of the state"):
        loop(lambda s, i: s[:2], S, 3)
    with pytest.raises(pb.errors.BudgetError, match="give memory="):
        pb.grad(lambda s: np.sum(loop(Counted(), s, 3, W, memory=10)))(S)
    with pytest.raises(pb.errors.MutationError, match="another state when it runs again"):
        pb.grad(lambda s: np.sum(loop(lambda s, i: s * rng.normal(), s, 9, snapshots=2)))(S)
    with pytest.raises(pb.errors.TracedValueError, match="from outside"):
        pb.grad(lambda s: np.sum(loop(lambda x, i: x * s, 2 * s, 3)))(S)
