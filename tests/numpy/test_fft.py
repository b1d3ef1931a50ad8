"""``pullback.numpy.fft`` has NumPy's names."""

import numpy as np

import pullback.numpy as pnp
import pullback.numpy.fft as namespace

X = np.arange(5.0)


def test_it_has_the_names_of_numpy() -> None:
    assert dir(namespace) == sorted(dir(np.fft))
    for name in np.fft.__all__:
        if name not in ("fftfreq", "rfftfreq", "fftshift", "ifftshift"):
            np.testing.assert_array_equal(
                getattr(pnp.fft, name)(X + 0 * X[:, None]),
                getattr(np.fft, name)(X + 0 * X[:, None]),
            )
    np.testing.assert_array_equal(namespace.fftfreq(5, 0.1), np.fft.fftfreq(5, 0.1))
