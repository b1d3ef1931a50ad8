"""Generators: NumPy's numbers, explicit state, and refusal of hidden repetition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import pullback as pb
from pullback.errors import ArgumentError, StagingError


def test_uniform_draws_are_numpys():
    ours, theirs = pb.random.default_rng(3), np.random.Generator(np.random.Philox(3))
    np.testing.assert_array_equal(ours.random((2, 4)), theirs.random((2, 4)))
    np.testing.assert_array_equal(ours.random(8), theirs.random(8))


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (lambda g, n: g.random(n), stats.uniform()),
        (lambda g, n: g.random(n, np.float32), stats.uniform()),
        (lambda g, n: g.uniform(-1.0, 3.0, n), stats.uniform(-1, 4)),
        (lambda g, n: g.normal(2.0, 0.5, n), stats.norm(2, 0.5)),
        (lambda g, n: g.exponential(3.0, n), stats.expon(scale=3)),
    ],
)
def test_distributions(draw, distribution):
    sample = np.asarray(draw(pb.random.default_rng(1), 20_000), np.float64)
    assert stats.kstest(sample, distribution.cdf).pvalue > 1e-3


def test_integers_and_permutations():
    g = pb.random.default_rng(0)
    counts = np.bincount(g.integers(2, 7, 10_000), minlength=7)
    assert counts[:2].sum() == 0
    assert stats.chisquare(counts[2:]).pvalue > 1e-3
    assert sorted(g.permutation(10)) == list(range(10))
    with pytest.raises(ValueError, match="low >= high"):
        g.integers(3, 3)
    with pytest.raises(ArgumentError, match="float64 or float32"):
        g.random(3, np.int32)


def test_spawned_generators_differ():
    a, b = pb.random.default_rng(0).spawn(2)
    assert abs(np.corrcoef(a.random(1000), b.random(1000))[0, 1]) < 0.1


def test_draws_are_differentiable_in_their_parameters():
    noise = pb.random.default_rng(5).standard_normal(4)
    grads = pb.grad(lambda m, s: np.sum(pb.random.default_rng(5).normal(m, s, 4)), (0, 1))(0.0, 2.0)
    assert float(grads[0]) == 4.0
    assert float(grads[1]) == pytest.approx(noise.sum(), rel=1e-14)


def test_a_generator_argument_is_advanced_by_vmap_as_by_a_loop():
    parents = pb.random.default_rng(0).spawn(2)
    stacked = pb.random.Generator(np.stack([p.state for p in parents]))
    f = lambda rng, x: x + rng.random(3)
    first = pb.vmap(f)(stacked, np.zeros(2))
    second = pb.vmap(f)(stacked, np.zeros(2))
    np.testing.assert_array_equal(first, [p.random(3) for p in parents])
    np.testing.assert_array_equal(second, [p.random(3) for p in parents])


def test_a_captured_generator_in_a_staged_body_is_refused():
    g = pb.random.default_rng(0)
    with pytest.raises(StagingError, match="pass the generator as an argument"):
        pb.scan(lambda c, _: (c + g.random(), None), 0.0, None, length=3)


def test_a_generator_travels_through_a_carry():
    def step(carry, _):
        rng, total = carry
        return (rng, total + rng.random()), None

    (_, total), _ = pb.scan(step, (pb.random.default_rng(0), 0.0), None, length=4)
    g = pb.random.default_rng(0)
    assert float(total) == pytest.approx(sum(float(g.random()) for _ in range(4)), rel=1e-15)


def test_checkpoint_replays_the_same_draws():
    def f(x, wrap):
        rng = pb.random.default_rng(7)
        return np.sum(wrap(lambda x: x * rng.random(3))(x))

    plain = pb.grad(lambda x: f(x, lambda g: g))(np.ones(3))
    np.testing.assert_array_equal(pb.grad(lambda x: f(x, pb.checkpoint))(np.ones(3)), plain)
