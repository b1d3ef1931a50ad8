"""Rules given by the user are used, checked and transformed."""

from __future__ import annotations

import ctypes
import ctypes.util
import math

import numpy as np
import pytest
from scipy import integrate, special

import pullback as pb
from pullback.errors import ArgumentError, NotDifferentiableError, ShapeError, TracedValueError
from pullback.testing.grads import GradientError

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


# -- opaque code: plain arrays only, by C and by SciPy ---------------------------------------------
LIBM = ctypes.CDLL(ctypes.util.find_library("m"))
for _name in ("j0", "j1"):
    getattr(LIBM, _name).restype = ctypes.c_double
    getattr(LIBM, _name).argtypes = [ctypes.c_double]


@pb.custom_vjp
def area(x):
    """The integral of exp(-t^2) from 0 to x, by a Fortran library that calls Python back."""
    return integrate.quad(lambda t: math.exp(-t * t), 0.0, float(x))[0]


area.defvjp(
    lambda x: (integrate.quad(lambda t: math.exp(-t * t), 0.0, float(x))[0], float(x)),
    lambda x, ct: (math.exp(-(float(x) ** 2)) * float(ct),),
)


@pb.custom_jvp
def bessel(x):
    return np.array([LIBM.j0(v) for v in x])


bessel.defjvp(
    lambda p, t: (
        bessel(p[0]),
        np.array([-LIBM.j1(v) * float(d) for v, d in zip(p[0], t[0], strict=True)]),
    )
)

POINTS = np.array([0.3, 1.2])
ERF = math.sqrt(math.pi) / 2 * special.erf(POINTS)
SLOPES = 6 * ERF * np.exp(-(POINTS**2))  # of 3 area(x)^2
J0J1 = -2 * special.j0(POINTS) * special.j1(POINTS)  # of j0(x)^2


def thrice_squared(x):
    return 3 * area(x) ** 2


def bessel_energy(x):
    return np.sum(bessel(x) ** 2)


WRAPS = {
    "eager": lambda f: f,
    "compiled": pb.compile,
    "checkpoint": pb.checkpoint,
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_opaque_rules_get_plain_arrays(wrap):
    wrapped = WRAPS[wrap]
    for x, slope, value in zip(POINTS, SLOPES, 3 * ERF**2, strict=True):
        np.testing.assert_allclose(wrapped(thrice_squared)(x), value, rtol=1e-13)
        np.testing.assert_allclose(pb.grad(wrapped(thrice_squared))(x), slope, rtol=1e-13)
        np.testing.assert_allclose(wrapped(pb.grad(thrice_squared))(x), slope, rtol=1e-13)
    for _ in range(2):
        np.testing.assert_allclose(wrapped(pb.grad(bessel_energy))(POINTS), J0J1, rtol=1e-13)
    push = wrapped(lambda x, u: pb.jvp(bessel_energy, (x,), (u,))[1])
    np.testing.assert_allclose(push(POINTS, np.array([1.0, 2.0])), J0J1 @ [1, 2], rtol=1e-13)


@pytest.mark.parametrize("wrap", ["eager", "compiled"])
def test_opaque_rules_in_batches_and_loops(wrap):
    wrapped = WRAPS[wrap]
    np.testing.assert_allclose(wrapped(pb.vmap(thrice_squared))(POINTS), 3 * ERF**2, rtol=1e-13)
    np.testing.assert_allclose(
        wrapped(pb.vmap(pb.grad(thrice_squared)))(POINTS), SLOPES, rtol=1e-13
    )
    rows = np.stack([POINTS, POINTS + 1])
    found = wrapped(pb.vmap(pb.grad(bessel_energy)))(rows)
    np.testing.assert_allclose(found, -2 * special.j0(rows) * special.j1(rows), rtol=1e-13)
    looped = lambda x: pb.scan(lambda c, _: (area(c), None), x, None, length=2)[0]
    np.testing.assert_allclose(
        wrapped(pb.grad(looped))(0.7), pb.grad(lambda x: area(area(x)))(0.7), rtol=1e-13
    )


def test_a_derivative_of_an_opaque_rule_is_refused():
    with pytest.raises(NotDifferentiableError, match="takes plain arrays only"):
        pb.grad(pb.grad(thrice_squared))(0.7)


def test_an_opaque_function_that_changes_its_types_is_refused():
    sizes = iter([2, 2, 3, 3])
    f = pb.custom_vjp(lambda x: np.zeros(next(sizes)) + float(x))
    f.defvjp(lambda x: (f(x), None), lambda kept, ct: (np.sum(ct),))
    g = pb.compile(lambda x: np.sum(f(x)))
    run = lambda: [g(1.0) for _ in range(4)]
    with pytest.raises(ShapeError, match="one shape"):
        run()


def test_an_error_inside_opaque_code_is_its_own():
    f = pb.custom_vjp(lambda x: math.sqrt(float(x) - 5.0))
    f.defvjp(lambda x: (f(x), None), lambda kept, ct: (ct,))
    for g in (f, pb.grad(f), pb.compile(f)):
        with pytest.raises(ValueError, match="math domain error"):
            g(np.array(1.0))


def test_what_an_opaque_function_reads_is_what_it_is_when_it_runs():
    scale = np.array([2.0])
    f = pb.custom_vjp(lambda x: float(x) * float(scale[0]))
    f.defvjp(lambda x: (f(x), None), lambda kept, ct: (float(scale[0]) * float(ct),))
    value, slope = pb.compile(f), pb.compile(pb.grad(f))
    assert (float(value(3.0)), float(slope(3.0))) == (6.0, 2.0)
    scale[0] = 5.0
    assert (float(value(3.0)), float(slope(3.0))) == (15.0, 5.0)


def test_a_rule_of_ones_own_is_checked():
    """An error of one millionth is caught; the true rule passes."""

    def made(factor):
        f = pb.custom_vjp(lambda x: np.array([LIBM.j0(v) for v in x]))
        f.defvjp(
            lambda x: (np.array([LIBM.j0(v) for v in x]), x),
            lambda x, ct: (-np.array([LIBM.j1(v) for v in x]) * ct * factor,),
        )
        return f

    x = np.linspace(0.5, 3.0, 50)
    pb.check_grads(made(1.0), (x,), modes=("reverse",), order=1)
    with pytest.raises(GradientError):
        pb.check_grads(made(1 + 1e-6), (x,), modes=("reverse",), order=1)
