"""Real and imaginary parts, angles and questions about complex arrays, against NumPy."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb
import pullback.numpy as pnp

RNG = np.random.default_rng(4)
Z = RNG.normal(size=(2, 3)) + 1j * RNG.normal(size=(2, 3))
X = RNG.normal(size=(2, 3))

CASES = {
    "real": np.real,
    "imag": np.imag,
    "attributes": lambda z: (z.real * 2, z.imag),
    "angle": np.angle,
    "degrees": lambda z: np.angle(z, deg=True),
    "conj": lambda z: (np.conj(z), z.conj(), z.conjugate()),
    "abs": np.abs,
    "sign": np.sign,
    "vdot": lambda z: np.vdot(z, z * 1j),
    "vecdot": lambda z: np.vecdot(z, z * 1j),
    "inner": lambda z: np.inner(z, z * 1j),
    "mean, var, std": lambda z: (np.mean(z), np.var(z, axis=0), np.std(z)),
    "astype": lambda z: z.astype(np.complex128),
    "nan_to_num": np.nan_to_num,
    "convolve": lambda z: (np.convolve(z[0], 1j * z[1]), np.convolve(z[0, :2], z[1], "same")),
    "correlate": lambda z: (np.correlate(z[0], 1j * z[1], "full"), np.correlate(z[0, :2], z[1])),
    "cov": np.cov,
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("a", [Z, X], ids=["complex", "real"])
def test_parts(name: str, a) -> None:
    if name in ("angle", "degrees", "sign") and a is X:
        check_values(CASES[name], a)
    else:
        check(CASES[name], a)


def test_questions() -> None:
    def answers(z):
        return [np.iscomplex(z), np.isreal(z), np.isfinite(z), z == z, np.equal(z, 1)]

    check_values(answers, np.array([1 + 1j, 2, np.nan, complex(0, np.inf)]), staged=False)
    for z in (Z, X):
        assert pb.vjp(lambda z: np.abs(z) * np.iscomplexobj(z) + np.isrealobj(z), z)[0].all()
        kinds = []
        pb.vjp(lambda z, kinds=kinds: kinds.append((np.iscomplexobj(z), np.isrealobj(z))) or z, z)
        assert kinds == [(np.iscomplexobj(z), np.isrealobj(z))]
    near = pb.vjp(lambda z: np.real_if_close(z * (1 + 1e-17j)), X)[0]
    np.testing.assert_array_equal(near, X)
    assert near.dtype == np.float64
    assert pb.vjp(np.real_if_close, Z)[0].dtype == np.complex128


def test_rounding_and_extremes_of_complex_numbers() -> None:
    for f in (lambda z: np.round(z, 1), np.max, lambda z: np.min(z, axis=0), np.sort, np.argmax):
        check_values(f, Z)
    for f in (np.sort_complex, lambda z: np.median(z, axis=1)):
        check_values(f, Z)
    pb.check_grads(np.max, (Z,))
    check_values(lambda z: np.max(z, initial=1j, where=z.real > 0), Z)


def test_casts_that_drop_the_imaginary_part_warn_as_in_numpy() -> None:
    with pytest.warns(np.exceptions.ComplexWarning, match="discards the imaginary part"):
        g = pb.grad(lambda z: np.sum(z.astype(float)))(Z)
    np.testing.assert_array_equal(g, np.ones_like(Z))


def test_parts_are_views() -> None:
    def f(z):
        z = z.copy()
        part = z.imag
        part *= 3
        z.real[0] = part[1]
        z.real += 1
        z.imag = z.real * 2
        return z * part

    check(f, Z)
    with pytest.raises(ValueError, match="read-only"):
        pb.vjp(lambda x: np.imag(x).fill(1), X)
    buffer = pnp.zeros(2, complex)
    buffer.real[0] = 1
    np.testing.assert_array_equal(buffer, [1, 0])


def test_infinite_parts_are_joined_exactly() -> None:
    def f(x):
        z = pnp.zeros(2, complex)
        z.real, z.imag = x, np.inf
        return z

    expected = np.zeros(2, complex)
    expected.real, expected.imag = 1.0, np.inf
    np.testing.assert_array_equal(pb.vjp(f, np.ones(2))[0], expected)
