"""cond and while_loop against Python's if and while."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.errors import NotDifferentiableError, ShapeError

W = np.array([1.0, 2.0])
X = np.array([0.3, 0.4])
P = np.array([[1.0, 2.0], [-1.0, -2.0]])


def branched(p, x):
    return pb.cond(
        np.sum(p) > 0,
        lambda x: np.sum(np.sin(x) * W * p),
        lambda x: np.sum(x * x * p[0]),
        x,
    )


def python(p, x):
    return np.sum(np.sin(x) * W * p) if np.sum(p) > 0 else np.sum(x * x * p[0])


@pytest.mark.parametrize("p", P)
def test_derivatives_are_those_of_the_taken_branch(p):
    np.testing.assert_allclose(
        pb.grad(branched, (0, 1))(p, X), pb.grad(python, (0, 1))(p, X), rtol=1e-14
    )
    np.testing.assert_allclose(
        pb.hvp(branched, (p, X), (X, p)), pb.hvp(python, (p, X), (X, p)), rtol=1e-13
    )
    assert pb.jvp(branched, (p, X), (X, p))[1] == pb.jvp(python, (p, X), (X, p))[1]


def test_a_batched_predicate_chooses_per_example():
    batched = pb.vmap(pb.grad(branched), (0, None))(P, X)
    np.testing.assert_allclose(batched, [pb.grad(python)(p, X) for p in P], rtol=1e-14)


def test_only_the_chosen_branch_runs():
    f = lambda x: pb.cond(x > 0, np.log, lambda x: x * 0.0, x)
    with np.errstate(all="raise"):
        assert float(pb.grad(f)(-1.0)) == 0.0


def test_branches_must_agree():
    with pytest.raises(ShapeError, match="different types"):
        pb.cond(True, lambda x: x, lambda x: np.stack([x, x]), 1.0)
    with pytest.raises(ShapeError, match="predicate has shape"):
        pb.cond(np.array([True, False]), lambda x: x, lambda x: x, 1.0)


def grow(x):
    return pb.while_loop(lambda s: s[0] < 50.0, lambda s: (s[0] * x, s[1] + 1), (x, 0))


def test_while_in_forward_mode_and_batched():
    value, count = grow(3.0)
    assert (float(value), int(count)) == (81.0, 3)
    (_, _), (dot, _) = pb.jvp(grow, (3.0,), (1.0,))
    assert float(dot) == 108.0  # d x^4 = 4 x^3
    values, counts = pb.vmap(grow)(np.array([2.0, 3.0, 7.0]))
    np.testing.assert_array_equal(values, [64.0, 81.0, 343.0])
    np.testing.assert_array_equal(counts, [5, 3, 2])


def test_while_refuses_reverse_mode():
    with pytest.raises(NotDifferentiableError, match="scan"):
        pb.grad(lambda x: grow(x)[0])(3.0)
    with pytest.raises(ShapeError, match="type of the state"):
        pb.while_loop(lambda s: s < 3, lambda s: s + 0.5, 0)
