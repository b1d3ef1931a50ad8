"""Elementary functions of complex numbers in native code, where they are hard, against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import pullback as pb


def rounded(values: np.ndarray) -> np.ndarray:
    """Values whose signs of zero do not count."""
    return values + 0.0


SPECIAL = [0.0, -0.0, 1.0, -2.5, 1e-3, -1e-8, 30.0, -30.0, 710.0, -710.0, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("function", [np.exp, np.log, np.sqrt, np.sign, np.absolute, np.square])
def test_special_values_are_those_of_numpy(function: Callable) -> None:
    z = np.array([complex(a, b) for a in SPECIAL for b in SPECIAL])
    with np.errstate(all="ignore"):
        expected, found = function(z), pb.compile(function)(z)
    for part in (np.real, np.imag):
        np.testing.assert_allclose(rounded(part(found)), rounded(part(expected)), rtol=1e-14)


@pytest.mark.parametrize("function", [np.sin, np.cos, np.tan, np.sinh, np.cosh, np.tanh])
def test_finite_values_far_from_zero(function: Callable) -> None:
    """At infinity C leaves signs open."""
    finite = [x for x in SPECIAL if np.isfinite(x)]
    z = np.array([complex(a, b) for a in finite for b in finite])
    with np.errstate(all="ignore"):
        expected, found = function(z), pb.compile(function)(z)
    for part in (np.real, np.imag):
        np.testing.assert_allclose(part(found), part(expected), rtol=1e-13, atol=1e-300)


def test_division_by_zero_and_of_large_numbers() -> None:
    a = np.array([1 + 2j, 0j, 1e300 + 1e300j, 1 + 1j, complex(np.inf, 1)])
    b = np.array([0j, 0j, 1e300 - 1e300j, 1e-200 + 1e200j, 0j])
    with np.errstate(all="ignore"):
        expected, found = a / b, pb.compile(lambda a, b: a / b)(a, b)
    np.testing.assert_array_equal(found, expected)


def test_a_real_operand_has_an_imaginary_part_of_zero() -> None:
    """So infinity times a complex number is what NumPy says, not what mathematics would."""
    x, z = np.array([np.inf, 2.0]), np.array([1j, 1j])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(pb.compile(lambda x, z: x * z)(x, z), x * z)
