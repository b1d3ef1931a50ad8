"""Every check of the battery on every primitive, dtype and sample."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback import control
from pullback.core.primitive import registry
from pullback.errors import MissingRuleError
from pullback.scipy import ufuncs
from pullback.testing.battery import CHECKS, is_missing, samples_of

assert control  # registers the primitives that hold graphs
assert ufuncs  # registers those that SciPy evaluates
NAMES = sorted(name for name in registry if not name.startswith("_"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_primitive(name: str, check: str) -> None:
    tried = 0
    for dtype, sample in samples_of(registry[name]):
        if sample.error is not None:
            continue
        tried += 1
        try:
            CHECKS[check](registry[name], sample)
        except Exception as error:
            shapes = [np.shape(a) for a in sample.args]
            error.add_note(f"{name}, {dtype}, shapes {shapes}, params {sample.params}")
            raise
    assert tried, "a primitive without samples is not tested"


@pytest.mark.parametrize("name", NAMES)
def test_error_samples(name: str) -> None:
    for dtype, sample in samples_of(registry[name]):
        if sample.error is not None:
            with pytest.raises(sample.error, match=sample.match or None):
                registry[name](*sample.args, **sample.params)
            if dtype == np.float64 and sample.args[0].dtype.kind == "f":
                with pytest.raises(sample.error):
                    pb.vjp(
                        lambda x, s=sample: registry[name](x, *s.args[1:], **s.params),
                        sample.args[0],
                    )


@pytest.mark.parametrize("name", NAMES)
def test_missing_rules_are_refused_in_both_modes(name: str) -> None:
    primitive = registry[name]
    sample = next(
        sample
        for dtype, sample in samples_of(primitive)
        if sample.error is None and (dtype == np.float64 or dtype.kind != "f")
    )
    for i, x in enumerate(sample.args):
        if not is_missing(primitive, i):
            continue

        def f(x: np.ndarray, i: int = i) -> np.ndarray:
            return primitive(*sample.args[:i], x, *sample.args[i + 1 :], **sample.params)

        with pytest.raises(MissingRuleError, match=f"{name}: no derivative rule for operand"):
            pb.jvp(f, (x,), (x,))
        with pytest.raises(MissingRuleError, match=f"{name}: no derivative rule for operand"):
            pb.vjp(f, x)
