"""Fourier transforms of all kinds against NumPy, and losses on spectra."""

import numpy as np
import pytest
from tests.numpy.oracle import check, check_values

import pullback as pb
import pullback.numpy as pnp
from pullback.errors import TracedValueError

RNG = np.random.default_rng(6)
X, Y = RNG.normal(size=(3, 4)), RNG.normal(size=(4, 5))
Z = X + 1j * RNG.normal(size=(3, 4))
F = np.fft

OF_ONE_AXIS = [F.fft, F.ifft, F.rfft, F.irfft, F.hfft, F.ihfft]
OF_AXES = [F.fft2, F.ifft2, F.rfft2, F.irfft2, F.fftn, F.ifftn, F.rfftn, F.irfftn]


def takes(f, a) -> bool:
    return a.dtype.kind == "f" or f.__name__ not in ("rfft", "ihfft", "rfft2", "rfftn")


@pytest.mark.parametrize("a", [X, Y, Z], ids=["real", "odd", "complex"])
@pytest.mark.parametrize("f", OF_ONE_AXIS, ids=lambda f: f.__name__)
def test_along_one_axis(f, a) -> None:
    if not takes(f, a):
        with pytest.raises(TypeError):
            pb.vjp(f, a)
        return
    check(f, a)
    for m in (None, "backward", "ortho", "forward"):
        check_values(lambda x, m=m: (f(x, norm=m), f(x, 5, 0, m), f(x, n=2, axis=-2)), a)
    check(lambda x: f(x, 7, 0, "ortho") + f(x, 7, 0, "forward")[:1], a)


@pytest.mark.parametrize("a", [X, Y, Z], ids=["real", "odd", "complex"])
@pytest.mark.parametrize("f", OF_AXES, ids=lambda f: f.__name__)
def test_along_several_axes(f, a) -> None:
    if not takes(f, a):
        return
    check(lambda x: f(x, norm="ortho"), a)
    check_values(lambda x: (f(x, (5, 2), (1, 0)), f(x, axes=(0,)), f(x, s=(-1, 3), axes=(0, 1))), a)


def test_shifts_and_frequencies() -> None:
    check(lambda x: (F.fftshift(x), F.ifftshift(x, axes=1), F.fftshift(x, axes=(0,))), Y)
    check(lambda d: (F.fftfreq(5, d), F.rfftfreq(4, d)), np.array(0.5))


def test_float32_stays() -> None:
    for f, dtype in ((F.fft, "F"), (F.rfft, "F"), (F.irfft, "f")):
        assert pb.vjp(f, X.astype("f"))[0].dtype == dtype
    assert pb.grad(lambda x: np.sum(np.abs(F.rfft(x)) ** 2))(X.astype("f")).dtype == np.float32


def test_second_derivatives_of_losses_on_spectra() -> None:
    for f in (F.fft, F.rfft, F.irfft, F.hfft, F.rfft2, F.irfftn):
        pb.check_grads(lambda x, f=f: np.sum(np.abs(f(np.sin(x))) ** 2.5), (Y,))
    pb.check_grads(lambda z: np.angle(F.ifftn(z**2)), (Z,))


def test_a_power_spectrum_has_the_energy_of_its_signal() -> None:
    """Parseval: the sum of |fft x|^2 is n times that of x^2, so its gradient is 2 n x."""
    for grad in (pb.grad, lambda f: pb.compile(pb.grad(f))):
        found = grad(lambda x: np.sum(np.abs(F.fft(x, axis=0)) ** 2))(Y)
        np.testing.assert_allclose(found, 2 * 4 * Y)
    found = pb.jacobian(lambda z: F.fft(z), holomorphic=True)(Z[0])
    np.testing.assert_allclose(found, F.fft(np.eye(4)), atol=1e-15)


def test_results_in_buffers() -> None:
    def f(x):
        out = pnp.zeros((3, 4), complex)
        out[:, :2] = 1j * x[:, :2]
        assert pnp.fft.fft(out, out=out) is out
        return out

    expected = F.fft(np.concatenate([1j * X[:, :2], 0 * X[:, 2:]], 1))
    np.testing.assert_allclose(pb.vjp(f, X)[0], expected)
    with pytest.raises(TracedValueError, match="plain NumPy array"):
        pb.vjp(lambda x: F.fft(x, out=np.zeros((3, 4), complex)), X)


def test_refusals_are_those_of_numpy() -> None:
    with pytest.raises(ValueError, match=r"Invalid number of FFT data points \(0\)"):
        pb.vjp(lambda x: F.fft(x, 0), X)
    with pytest.raises(ValueError, match="Invalid norm value unitary"):
        pb.vjp(lambda x: F.irfft(x, norm="unitary"), X)
    with pytest.raises(np.exceptions.AxisError):
        pb.vjp(lambda x: F.rfft(x, 3, axis=2), X)
