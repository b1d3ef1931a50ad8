"""Derivatives of complex functions: the convention, holomorphic functions, and what is refused."""

import numpy as np
import pytest

import pullback as pb
import pullback.numpy as pnp
from pullback.core.primitive import registry
from pullback.errors import DTypeError, NotDifferentiableError, UnsupportedError
from pullback.testing.battery import outputs_of, samples_of

RNG = np.random.default_rng(3)
Z = RNG.normal(size=(3, 2)) + 1j * RNG.normal(size=(3, 2))
W = RNG.normal(size=(2, 4)) + 1j * RNG.normal(size=(2, 4))
X = RNG.normal(size=(3, 2))


def real_loss(z):
    return np.sum(np.abs(np.sin(z) * z - 1j) ** 2) + np.sum(np.angle(z) * z.imag)


def ascent(f, z, step=1e-6):
    """``df/du + i df/dv`` of a function of one array by central differences."""
    found = np.zeros_like(z)
    for k in np.ndindex(z.shape):
        for unit in (1, 1j):
            d = np.zeros_like(z)
            d[k] = unit * step
            found[k] += unit * (f(z + d) - f(z - d)) / (2 * step)
    return found


def test_the_gradient_is_the_direction_of_steepest_ascent() -> None:
    z = np.array(3.0 + 4.0j)
    assert complex(pb.grad(np.abs)(z)) == pytest.approx((3 + 4j) / 5)
    assert complex(pb.grad(np.real)(z)) == 1
    assert complex(pb.grad(np.imag)(z)) == 1j
    np.testing.assert_allclose(pb.grad(real_loss)(Z), ascent(real_loss, Z), rtol=1e-6)


def test_a_step_against_the_gradient_descends() -> None:
    w = W.copy()
    losses = []
    for _ in range(200):
        value, g = pb.value_and_grad(lambda w: np.sum(np.abs(Z @ w - 1j) ** 2))(w)
        losses.append(value)
        w = w - 0.02 * g
    assert losses[-1] < losses[0]
    best = np.linalg.lstsq(Z, np.full((3, 4), 1j), rcond=None)[0]
    assert losses[-1] == pytest.approx(np.sum(np.abs(Z @ best - 1j) ** 2), rel=1e-3)


# Linear in real numbers only; all others multiply tangents by a complex number.
NOT_HOLOMORPHIC = {"absolute", "complex", "conjugate", "imag", "real"}
NOT_HOLOMORPHIC |= {"cholesky", "det_phase", "pinv", "solve_triangular"}


def test_the_cauchy_riemann_equations() -> None:
    """Along i u a holomorphic function moves i times as fast as along u."""
    tried = set()
    for name, primitive in registry.items():
        if name in NOT_HOLOMORPHIC or not isinstance(primitive.vjp, tuple):
            continue
        for dtype, sample in samples_of(primitive):
            args = [np.asarray(a) for a in sample.args]
            if dtype != np.complex128 or sample.error or sample.kink or sample.nonfinite_ok:
                continue
            at = [i for i, a in enumerate(args) if a.dtype.kind == "c"]
            if not at or outputs_of(primitive, args, sample.params)[0].dtype.kind != "c":
                continue

            def f(*some, args=args, at=at, primitive=primitive, sample=sample):
                full = [*args]
                for i, a in zip(at, some, strict=True):
                    full[i] = a
                return primitive(*full, **sample.params)

            primals = tuple(args[i] for i in at)
            u = tuple(RNG.normal(size=p.shape) + 0j for p in primals)
            straight = pb.jvp(f, primals, u)[1]
            turned = pb.jvp(f, primals, tuple(1j * d for d in u))[1]
            np.testing.assert_allclose(turned, 1j * straight, rtol=1e-12, atol=1e-12)
            tried.add(name)
    assert {"exp", "matmul", "power", "conv", "cumprod", "where", "arccosh", "prod"} <= tried


@pytest.mark.parametrize(
    "f",
    [
        real_loss,
        lambda z: z * np.conj(z) + z**3,
        lambda z: (z.real + 2j * z.imag) ** -1,
        lambda z: np.sign(z) * np.abs(z) ** 1.5,
        lambda z: np.where(z.real > 0, z, 1 / z) @ W,
        lambda z: np.vdot(z, 1j * z),
        lambda z: np.var(z) + np.std(z, axis=0),
        lambda z: np.prod(z, axis=0) / np.cumprod(z, axis=0),
        lambda z: np.einsum("ij,kj->ik", z, z.conj()),
        lambda z: np.linalg.norm(z) + np.linalg.norm(z, axis=1),
        lambda z: np.exp(1j * np.angle(z)),
        lambda z: np.float_power(z, 2.5) + z ** (1 + 1j),
        lambda z: np.convolve(z[:, 0], z[:, 1]),
        lambda z: np.mean(z, axis=1) * np.concatenate([z[0], z[1, :1]]),
        lambda z: np.tan(z) + np.arctanh(z) - np.arccosh(z) * np.log1p(z),
    ],
)
def test_derivatives_of_both_modes_and_second_order(f) -> None:
    pb.check_grads(f, (Z,))


def test_squares_at_zero() -> None:
    zero, v = np.array(0j), np.array(1 + 2j)
    for f in (lambda z: np.abs(z) ** 2, lambda z: np.real(z * np.conj(z))):
        assert complex(pb.grad(f)(zero)) == 0
    assert complex(pb.hvp(f, (zero,), (v,))) == 2 + 4j
    assert np.isnan(pb.hvp(lambda z: np.abs(z) ** 2, (zero,), (v,)))


def test_mixed_real_and_complex_operands() -> None:
    """The cotangent of a real operand is real: the real part of what arrives."""
    functions = [np.multiply, np.add, np.divide, np.power, lambda x, z: np.dot(x.T, z)]
    for f in functions:
        pb.check_grads(f, (np.abs(X) + 0.5, Z))
        pb.check_grads(lambda z, x, f=f: f(z, x), (Z, np.abs(X) + 0.5))
    g = pb.grad(lambda x: np.sum(np.abs(x * (1 + 2j))))(X)
    assert g.dtype == np.float64
    np.testing.assert_allclose(g, np.sqrt(5) * np.sign(X))
    pb.check_grads(lambda x: x ** (2 + 1j), (X,))  # a real negative base
    pb.check_grads(lambda z: (-2.0) ** z, (Z,))
    assert pb.grad(lambda x: np.sum((x * np.complex64(1j)).imag))(X.astype("f")).dtype == "f"


def test_holomorphic_functions() -> None:
    z = np.array(0.3 + 0.7j)
    for f, slope in [
        (np.exp, np.exp),
        (np.sin, np.cos),
        (lambda z: 1j * z**3, lambda z: 3j * z**2),
    ]:
        assert complex(pb.grad(f, holomorphic=True)(z)) == pytest.approx(complex(slope(z)))
        np.testing.assert_allclose(
            pb.jvp(f, (z,), (np.array(1 + 0j),))[1], pb.grad(f, holomorphic=True)(z)
        )
    second = pb.grad(pb.grad(np.tanh, holomorphic=True), holomorphic=True)
    assert complex(second(z)) == pytest.approx(complex(-2 * np.tanh(z) / np.cosh(z) ** 2))
    np.testing.assert_allclose(pb.hessian(np.tanh, holomorphic=True)(z), second(z))


def test_jacobians() -> None:
    a = RNG.normal(size=(3, 4)) + 1j * RNG.normal(size=(3, 4))
    z, x = RNG.normal(size=4) + 1j * RNG.normal(size=4), RNG.normal(size=4)
    for mode in ("auto", "forward", "reverse"):
        found = pb.jacobian(lambda z: a @ z, mode=mode, holomorphic=True)(z)
        np.testing.assert_allclose(found, a)
    np.testing.assert_allclose(pb.jacobian(lambda x: a @ x)(x), a)
    found = pb.jacobian(lambda z: np.real(a @ z))(z)
    np.testing.assert_allclose(found, np.conj(a))  # each row ascends


def test_refusals() -> None:
    f = lambda z: np.sum(z**2)
    with pytest.raises(NotDifferentiableError, match="no direction of steepest ascent"):
        pb.grad(f)(Z)
    with pytest.raises(NotDifferentiableError, match="takes and returns complex"):
        pb.grad(lambda z: np.abs(z), holomorphic=True)(np.array(1j))
    with pytest.raises(NotDifferentiableError, match="takes and returns complex"):
        pb.grad(lambda x: x * 1j, holomorphic=True)(1.0)
    with pytest.raises(NotDifferentiableError, match="cannot hold both"):
        pb.jacobian(np.conj)(Z)
    with pytest.raises(NotDifferentiableError, match="or mode='forward'"):
        pb.jacobian(lambda x: x * 1j, mode="reverse")(X)
    with pytest.raises(NotDifferentiableError, match="or mode='reverse'"):
        pb.jacobian(np.abs, mode="forward")(Z)
    with pytest.raises(DTypeError, match="a tangent of dtype complex128"):
        pb.jvp(np.sin, (X,), (Z,))
    with pytest.raises(DTypeError, match="a cotangent of dtype complex128"):
        pb.vjp(np.sin, X)[1](Z)
    with pytest.raises(UnsupportedError, match=r"use np\.log"):
        pb.grad(lambda z: np.abs(pnp.logsumexp(z)))(Z)
    with pytest.raises(TypeError, match="arctan2"):
        pb.grad(lambda z: np.sum(np.arctan2(z, 1.0)))(Z)


def test_buffers() -> None:
    def f(z):
        out = pnp.zeros((3, 2), complex)
        out.real = z.imag
        out.imag[1:] += 2 * z.real[1:]
        out[0] *= z[0]
        out *= 1j
        return out

    expected = np.zeros((3, 2), complex)
    expected.real = Z.imag
    expected.imag[1:] += 2 * Z.real[1:]
    expected[0] *= Z[0]
    expected *= 1j
    np.testing.assert_array_equal(pb.vjp(f, Z)[0], expected)
    pb.check_grads(f, (Z,))
    np.testing.assert_allclose(pb.compile(f)(Z), expected)

    def cut(z):
        out = pnp.zeros(2)
        out[0] = z[0, 0]
        return np.sum(out)

    with pytest.raises(DTypeError, match="create the buffer with a complex dtype"):
        pb.grad(cut)(Z)


def test_batched_staged_and_compiled() -> None:
    batch = np.stack([Z, 2 * Z, Z.conj()])
    expected = np.stack([pb.grad(real_loss)(z) for z in batch])
    for transformed in (pb.vmap(pb.grad(real_loss)), pb.compile(pb.vmap(pb.grad(real_loss)))):
        np.testing.assert_allclose(transformed(batch), expected, rtol=1e-12)
    _, jvp_fn = pb.linearize(lambda z: z * np.conj(z), Z)
    np.testing.assert_allclose(jvp_fn(W.T[:3]), 2 * np.real(Z.conj() * W.T[:3]) + 0j)
    v = RNG.normal(size=Z.shape) + 1j
    hv = pb.hvp(real_loss, (Z,), (v,))
    h = 1e-5
    gradient = pb.grad(real_loss)
    np.testing.assert_allclose(hv, (gradient(Z + h * v) - gradient(Z - h * v)) / (2 * h), rtol=1e-7)
    assert pb.compile(pb.grad(real_loss))(Z.astype("F")).dtype == np.complex64
    assert complex(pb.compile(lambda z: z * 2)(1 + 2j)) == 2 + 4j


def test_control_flow() -> None:
    def power_sum(z):
        def step(carry, row):
            carry = carry * z + row
            return carry, np.abs(carry) ** 2

        last, sizes = pb.scan(step, np.array(1 + 0j), np.arange(4.0) + 1j)
        branch = pb.cond(sizes[0] > 0, lambda u: u * 1j, np.conj, last)
        return np.real(branch) + np.sum(sizes)

    pb.check_grads(pb.checkpoint(power_sum), (np.array(0.4 - 0.3j),))
    np.testing.assert_allclose(
        pb.compile(pb.grad(power_sum))(np.array(0.4 - 0.3j)), pb.grad(power_sum)(0.4 - 0.3j)
    )


def test_custom_rules_follow_the_convention() -> None:
    @pb.custom_vjp
    def square(z):
        return z**2

    square.defvjp(lambda z: (z**2, z), lambda z, ct: (2 * np.conj(z) * ct,))
    pb.check_grads(lambda z: np.sum(np.abs(square(z))), (Z,), modes=("reverse",), order=1)

    @pb.custom_jvp
    def cube(z):
        return z**3

    cube.defjvp(lambda primals, tangents: (primals[0] ** 3, 3 * primals[0] ** 2 * tangents[0]))
    pb.check_grads(cube, (Z,))
