"""Turbulence in a periodic plane by a spectral method, and the past of a flow from its end.

The vorticity equation in Fourier space with the 2/3 rule and a Runge-Kutta step of second order:
Canuto et al. (2006), *Spectral Methods*, section 3.4. The reference is the Taylor-Green vortex,
which decays as exp(-2 nu t).
"""

import numpy as np

import pullback as pb

N, VISCOSITY, DT = 16, 0.05, 0.05
X = 2 * np.pi * np.arange(N) / N
KX = np.fft.fftfreq(N, 1 / N)[:, None]
KY = np.fft.rfftfreq(N, 1 / N)[None, :]
SQUARES = KX**2 + KY**2
INVERSE = 1 / np.where(SQUARES == 0, 1, SQUARES)
KEPT = np.where((np.abs(KX) < N / 3) & (np.abs(KY) < N / 3), 1.0, 0.0)


def change(spectrum):
    stream = spectrum * INVERSE
    u, v = np.fft.irfft2(1j * KY * stream), np.fft.irfft2(-1j * KX * stream)
    dx, dy = np.fft.irfft2(1j * KX * spectrum), np.fft.irfft2(1j * KY * spectrum)
    return -KEPT * np.fft.rfft2(u * dx + v * dy) - VISCOSITY * SQUARES * spectrum


def flow(vorticity, steps):
    spectrum = np.fft.rfft2(vorticity)
    for _ in range(steps):
        middle = spectrum + 0.5 * DT * change(spectrum)
        spectrum = spectrum + DT * change(middle)
    return np.fft.irfft2(spectrum)


def start():
    rng = np.random.default_rng(1)
    return np.fft.irfft2((SQUARES < 9) * np.fft.rfft2(rng.normal(size=(N, N))) * (SQUARES > 0))


def test_a_known_flow() -> None:
    vortex = 2 * np.cos(X)[:, None] * np.cos(X)[None, :]
    found, slope = pb.jvp(lambda w: flow(w, 20), (vortex,), (vortex,))
    decay = np.exp(-2 * VISCOSITY * 20 * DT)
    np.testing.assert_allclose(found, decay * vortex, atol=1e-6)
    np.testing.assert_allclose(slope, decay * vortex, atol=1e-6)  # an exact solution for any height


def test_the_gradient_of_a_later_flow() -> None:
    w = start()
    target = flow(w, 4)

    def misfit(guess):
        return np.mean((flow(guess, 4) - target) ** 2)

    guess = 0.7 * w
    direction = np.random.default_rng(2).normal(size=w.shape)
    h = 1e-5
    expected = (misfit(guess + h * direction) - misfit(guess - h * direction)) / (2 * h)
    for gradient in (pb.grad(misfit), pb.compile(pb.grad(misfit))):
        np.testing.assert_allclose(np.sum(gradient(guess) * direction), expected, rtol=1e-7)
    for _ in range(30):
        guess = guess - 60 * pb.grad(misfit)(guess)
    assert misfit(guess) < 0.02 * misfit(0.7 * w)


def test_energy_spectra_have_gradients() -> None:
    def enstrophy(w):
        return np.sum(np.abs(np.fft.fftshift(np.fft.fft2(flow(w, 2)))) ** 2) / N**4

    def by_parts(w):  # smooth where the spectrum is zero, too
        spectrum = np.fft.fftn(flow(w, 2))
        return np.sum(np.real(spectrum * np.conj(spectrum))) / N**4

    w = start()
    pb.check_grads(enstrophy, (w,), order=1)
    pb.check_grads(by_parts, (w,))
    np.testing.assert_allclose(pb.grad(enstrophy)(w), pb.grad(by_parts)(w), atol=1e-15)
