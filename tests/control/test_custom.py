"""Rules given by the user are used, checked and transformed."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.errors import ArgumentError, NotDifferentiableError, ShapeError, TracedValueError

XS = np.arange(3.0)


@pb.custom_jvp
def squared(x):
    return x * x


squared.defjvp(lambda p, t: (squared(p[0]), 2 * p[0] * t[0]))


@pb.custom_vjp
def cubic(x, y):
    return x**3 * y


cubic.defvjp(
    lambda x, y: (x**3 * y, (x, y)),
    lambda r, ct: (3 * r[0] ** 2 * r[1] * ct, r[0] ** 3 * ct),
)


def test_custom_jvp_serves_both_modes_and_nests():
    assert float(pb.grad(squared)(3.0)) == 6.0
    assert [float(v) for v in pb.jvp(squared, (3.0,), (1.0,))] == [9.0, 6.0]
    assert float(pb.grad(pb.grad(squared))(3.0)) == 2.0
    np.testing.assert_array_equal(pb.vmap(pb.grad(squared))(XS), 2 * XS)
    np.testing.assert_array_equal(pb.grad(lambda x: np.sum(pb.vmap(squared)(x)))(XS), 2 * XS)


def test_custom_vjp_nests():
    assert [float(v) for v in pb.grad(cubic, (0, 1))(2.0, 1.0)] == [12.0, 8.0]
    assert float(pb.grad(pb.grad(cubic))(2.0, 1.0)) == 12.0
    np.testing.assert_array_equal(pb.vmap(pb.grad(cubic), (0, None))(XS, 1.0), 3 * XS**2)
    total = pb.grad(lambda y: np.sum(pb.vmap(cubic, (0, None))(XS, y)))(1.0)
    assert float(total) == np.sum(XS**3)


def test_the_given_rule_wins_over_the_true_derivative():
    @pb.custom_vjp
    def f(x):
        return x * x

    f.defvjp(lambda x: (x * x, None), lambda r, ct: (np.full((), 7.0) * ct,))
    assert float(pb.grad(f)(3.0)) == 7.0


def test_containers_and_none():
    @pb.custom_vjp
    def f(p, scale):
        return np.sum(p["a"]) * scale

    f.defvjp(
        lambda p, scale: (np.sum(p["a"]) * scale, scale),
        lambda scale, ct: ({"a": np.full(2, 1.0) * scale * ct}, None),
    )
    grads = pb.grad(f, (0, 1))({"a": np.ones(2)}, 3.0)
    np.testing.assert_array_equal(grads[0]["a"], [3.0, 3.0])
    assert float(grads[1]) == 0.0


def test_errors():
    with pytest.raises(NotDifferentiableError, match="custom_jvp"):
        pb.jvp(cubic, (2.0, 1.0), (1.0, 1.0))
    with pytest.raises(ArgumentError, match="no rule yet"):
        pb.custom_vjp(lambda x: x)(1.0)

    bad = pb.custom_vjp(lambda x: np.sum(x))
    bad.defvjp(lambda x: (np.sum(x), None), lambda r, ct: (np.ones(5) * ct,))
    with pytest.raises(ShapeError, match=r"shape \(5,\)"):
        pb.grad(bad)(np.ones(3))

    wrong_count = pb.custom_vjp(lambda x: np.sum(x))
    wrong_count.defvjp(lambda x: (np.sum(x), None), lambda r, ct: ct)
    with pytest.raises(ArgumentError, match="one per argument"):
        pb.grad(wrong_count)(np.ones(3))


def test_a_traced_value_behind_the_rules_back_is_refused():
    def f(w):
        @pb.custom_vjp
        def inner(x):
            return x * w

        inner.defvjp(lambda x: (x * w, None), lambda r, ct: (ct,))
        return inner(w)

    with pytest.raises(TracedValueError, match="argument"):
        pb.grad(f)(2.0)
