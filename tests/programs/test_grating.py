"""A stack of glass layers: complex fields, and a design that reflects as little as possible.

The transfer matrices of Born & Wolf (1999), *Principles of Optics*, section 1.6. The reference is a
layer of a quarter of a wavelength with the index sqrt(n), which reflects nothing.
"""

from itertools import pairwise

import numpy as np

import pullback as pb
import pullback.numpy as pnp

GLASS = 2.25
WAVELENGTHS = np.linspace(0.5, 0.6, 5)


def reflected(thicknesses, indices, wavelength):
    """The amplitude that a stack on glass sends back."""
    matrix = np.eye(2)
    for d, n in zip(thicknesses, indices, strict=True):
        phase = 2 * np.pi * n * d / wavelength
        layer = pnp.zeros((2, 2), complex)
        layer[0, 0] = layer[1, 1] = np.cos(phase)
        layer[0, 1] = 1j * np.sin(phase) / n
        layer[1, 0] = 1j * np.sin(phase) * n
        matrix = matrix @ layer
    field = matrix @ np.array([1.0, GLASS])
    return (field[0] - field[1]) / (field[0] + field[1])


def power(thicknesses, indices):
    return sum(np.abs(reflected(thicknesses, indices, w)) ** 2 for w in WAVELENGTHS)


def test_a_quarter_wave_reflects_nothing() -> None:
    d, n, w = np.array([0.55 / 4 / 1.5]), np.array([1.5 + 0j]), 0.55
    assert abs(pb.vjp(lambda d: reflected(d, n, w), d)[0]) < 1e-15
    slope = pb.grad(lambda d: np.abs(reflected(d, n, w)) ** 2)(d)
    np.testing.assert_allclose(slope, 0, atol=1e-13)  # the least that there is
    # With loss, the index is complex; the amplitude is holomorphic in it.
    lossy = np.array([1.4 + 0.2j])
    h = 1e-6
    found = pb.grad(lambda n: reflected(d, n, w), holomorphic=True)(lossy)
    expected = (reflected(d, lossy + h, w) - reflected(d, lossy - h, w)) / (2 * h)
    np.testing.assert_allclose(found, [expected], rtol=1e-8)


def test_a_design_descends() -> None:
    d = np.array([0.05, 0.08, 0.06])
    n = np.array([1.38, 2.1 + 0.01j, 1.6])
    pb.check_grads(power, (d, n), step=5e-5, rtol=1e-6)
    losses = []
    for _ in range(40):
        loss, gradient = pb.value_and_grad(power)(d, n)
        losses.append(loss)
        d = d - 4e-4 * gradient
    assert losses[-1] < 0.1 * losses[0]
    assert all(b < a for a, b in pairwise(losses))


def test_all_wavelengths_at_once() -> None:
    d, n = np.array([0.05, 0.08]), np.array([1.38, 2.1 + 0.01j])

    def powers(d):
        return np.abs(pb.vmap(lambda w: reflected(d, n, w))(WAVELENGTHS)) ** 2

    one_by_one = [np.abs(reflected(d, n, w)) ** 2 for w in WAVELENGTHS]
    np.testing.assert_allclose(powers(d), one_by_one)
    found = pb.compile(pb.jacobian(powers))(d)
    slopes = [pb.grad(lambda d, w=w: np.abs(reflected(d, n, w)) ** 2)(d) for w in WAVELENGTHS]
    np.testing.assert_allclose(found, slopes)


def test_the_far_field_of_a_grating() -> None:
    """Phases of slits are adjusted until their light goes into the third order."""

    def into_third(phases):
        orders = np.fft.fft(np.exp(1j * phases)) / len(phases)
        return np.abs(orders[3]) ** 2

    phases = np.random.default_rng(0).normal(size=16)
    pb.check_grads(into_third, (phases,))
    for _ in range(200):
        phases = phases + 8 * pb.grad(into_third)(phases)
    assert into_third(phases) > 0.999  # a blazed grating: phases rise evenly
    rise = np.diff(np.unwrap(phases))
    np.testing.assert_allclose(np.mod(rise, 2 * np.pi), 2 * np.pi * 3 / 16, atol=0.05)
