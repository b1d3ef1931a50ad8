"""Bessel functions in their order, against mpmath."""

import mpmath as mp
import pytest
from numpy.testing import assert_allclose
from scipy import special

import pullback as pb
from pullback.errors import NotDifferentiableError

EXACT = {"jv": mp.besselj, "yv": mp.bessely, "iv": mp.besseli, "kv": mp.besselk}
POINTS = [(0.0, 0.5), (0.5, 40.0), (2.3, 3.0), (7.0, 13.0), (25.0, 10.0), (30.0, 25.0), (-2.3, 5.0)]


@pytest.mark.parametrize("name", EXACT)
def test_slopes_by_the_order(name: str) -> None:
    for point in POINTS:
        with mp.workdps(40):
            expected = float(mp.diff(EXACT[name], tuple(map(mp.mpf, point)), (1, 0)))
        found = pb.grad(getattr(special, name))(*point)
        assert_allclose(found, expected, rtol=2e-12, err_msg=f"{name}{point}")


def test_second_derivatives_and_scaled_functions() -> None:
    with mp.workdps(40):
        twice = float(mp.diff(mp.besselk, (mp.mpf(2), mp.mpf("1.5")), (2, 0)))
        scaled = float(mp.diff(lambda v, x: mp.exp(-x) * mp.besseli(v, x), (2, 3), (1, 0)))
    assert_allclose(pb.grad(pb.grad(special.kv))(2.0, 1.5), twice, rtol=1e-11)
    assert_allclose(pb.grad(special.ive)(2.0, 3.0), scaled, rtol=1e-12)


def test_where_digits_are_lost_it_is_refused() -> None:
    assert pb.grad(special.jv)(1.5, 0.0) == 0
    with pytest.raises(NotDifferentiableError, match=r"jv by its order.*orders of at most 30"):
        pb.grad(special.jv)(60.0, 50.0)
