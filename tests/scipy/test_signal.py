"""Convolutions and filters against SciPy and differences."""

import numpy as np
import pytest
import scipy.signal
from numpy.testing import assert_allclose

import pullback as pb
from pullback.errors import ArgumentError, UnsupportedError

own = pb.scipy.signal
RNG = np.random.default_rng(0)
X, W = RNG.normal(size=12), RNG.normal(size=4)
IMAGE, KERNEL = RNG.normal(size=(6, 7)), RNG.normal(size=(3, 2))
B, A = scipy.signal.butter(3, 0.3)
SECTIONS = scipy.signal.butter(4, 0.3, output="sos")


def compare(name: str, args: tuple, options: dict, check: bool = True) -> None:
    expected = getattr(scipy.signal, name)(*args, **options)
    found = getattr(own, name)(*args, **options)
    pairs = zip(found, expected, strict=True) if isinstance(found, tuple) else [(found, expected)]
    for one, two in pairs:
        assert_allclose(one, two, rtol=1e-10, atol=1e-12)
    if check:
        pb.check_grads(lambda *args: getattr(own, name)(*args, **options), args)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", ["convolve", "correlate", "fftconvolve"])
def test_convolutions(name: str, mode: str) -> None:
    compare(name, (X, W), {"mode": mode})
    compare(name, (X + 1j * X[::-1], W - 2j * W), {"mode": mode}, check=mode == "full")
    for args in ((W, X), (IMAGE, KERNEL), (np.tile(IMAGE, (2, 2)), IMAGE)):
        compare(name, args, {"mode": mode}, check=False)


def test_recursive_filters() -> None:
    compare("lfilter", (B, 2 * A, X), {})
    compare("lfilter", (B, A, IMAGE), {"axis": 0}, check=False)
    for b, a in ((B, A), (W, np.array([2.0, 0.3])), (np.ones(1), A)):
        state = RNG.normal(size=max(len(a), len(b)) - 1)
        compare("lfilter", (b, a, X), {"zi": state}, check=b is B)
    compare("lfilter_zi", (B, A), {})
    compare("sosfilt", (SECTIONS, X), {})
    for padtype in ("odd", "even", "constant", None):
        compare("filtfilt", (B, A, X), {"padtype": padtype, "padlen": 5}, check=padtype == "odd")


def test_responses_and_transforms() -> None:
    compare("freqz", (B, A, 16), {}, check=False)
    compare("freqz", (B, A), {"worN": 8, "whole": True, "fs": 10.0}, check=False)
    pb.check_grads(lambda b, a: np.real(own.freqz(b, a, 5)[1]), (B, A))
    assert_allclose(own.sosfreqz(SECTIONS, 16)[1], scipy.signal.freqz_sos(SECTIONS, 16)[1])
    compare("hilbert", (X,), {})
    compare("hilbert", (IMAGE,), {"axis": 0, "N": 5}, check=False)
    compare("detrend", (X,), {})
    compare("detrend", (IMAGE,), {"type": "constant", "axis": 0}, check=False)


def test_batches_and_compiled() -> None:
    energy = pb.grad(lambda a, x: np.sum(own.lfilter(B, a, x) ** 2))
    stack = np.stack([X, 2 * X])
    expected = [energy(A, x) for x in stack]
    assert_allclose(pb.vmap(energy, (None, 0))(A, stack), expected)
    assert_allclose(pb.compile(energy)(A, X), expected[0])


def test_refusals() -> None:
    with pytest.raises(UnsupportedError, match="method='gust'"):
        own.filtfilt(B, A, X, method="gust")
    with pytest.raises(ArgumentError, match="one at least as large"):
        own.convolve(IMAGE, X)
    with pytest.raises(ArgumentError, match="smaller padlen"):
        own.filtfilt(B, A, X[:5])
