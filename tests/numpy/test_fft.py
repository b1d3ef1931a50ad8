"""``pullback.numpy.fft`` has NumPy's names."""

import numpy as np

import pullback.numpy as pnp
import pullback.numpy.fft as namespace


def test_it_has_the_names_of_numpy() -> None:
    assert dir(namespace) == dir(np.fft)
    assert all(getattr(pnp.fft, name) is getattr(np.fft, name) for name in np.fft.__all__)
