"""Adding an operation takes one definition; everything else follows from its family."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy import special

import pullback as pb
from pullback.core.array import ufuncs
from pullback.core.primitive import Primitive, registry
from pullback.ops.families import elementwise
from pullback.testing.battery import CHECKS, samples_of

DEFINITION = """\
entr = elementwise(
    "entr", special.entr, doc="y = -x log x", domain=((0.2, 3.0),),
    partials=(lambda x: -1 - np.log(x),),
    scalar=lambda b, x: b.neg(b.mul(x, b.call("log", x))))
"""


@pytest.fixture
def entr() -> Iterator[Primitive]:
    """The operation as the user defines it, in the place of the library's own."""
    names = {"elementwise": elementwise, "special": special, "np": np}
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(registry, "entr", raising=False)
        patch.delitem(ufuncs, special.entr, raising=False)
        exec(DEFINITION, names)
        yield names["entr"]
        del registry["entr"], ufuncs[special.entr]


def test_the_definition_is_short() -> None:
    assert len(DEFINITION.splitlines()) <= 8


@pytest.mark.parametrize("check", CHECKS)
def test_it_passes_the_battery(entr: Primitive, check: str) -> None:
    for _, sample in samples_of(entr):
        CHECKS[check](entr, sample)


def test_code_that_calls_the_ufunc_has_every_transform(entr: Primitive) -> None:
    def entropy(p):
        return np.sum(special.entr(p))

    p = np.array([0.25, 0.5, 1.0])
    expected = np.log([4, 2, 1]) - 1
    np.testing.assert_allclose(pb.grad(entropy)(p), expected, rtol=1e-15)
    np.testing.assert_allclose(pb.compile(pb.grad(entropy))(p), expected, rtol=1e-15)
    np.testing.assert_allclose(np.diag(pb.hessian(entropy)(p)), [-4, -2, -1], rtol=1e-15)
    np.testing.assert_allclose(pb.vmap(pb.grad(entropy))(p[:, None])[:, 0], expected, rtol=1e-15)
