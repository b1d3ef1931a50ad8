"""The contract of primitives: residuals read off parameter names, markers, the registry."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.core.primitive import MISSING, Primitive, Rule, registry
from pullback.errors import MissingRuleError, PullbackError
from pullback.ops.arithmetic import multiply


@pytest.mark.parametrize(
    ("function", "kept"),
    [
        (lambda ct: ct, set()),
        (lambda ct, x: ct * x, {0}),
        (lambda y: 1 - y * y, {-1}),
        (lambda ct, x_type, x2, y: ct, {1, -1}),
        (lambda ct, x1, *x3: ct, {0, 2, 3, 4}),
        (lambda ct, *, axis: ct, set()),
    ],
)
def test_residuals_are_the_parameters(function: Any, kept: set[int]) -> None:
    assert set(Rule(function).residuals(5)) == kept


def test_a_name_can_be_taken_once() -> None:
    fields = {f.name: getattr(multiply, f.name) for f in dataclasses.fields(Primitive) if f.init}
    with pytest.raises(PullbackError, match="multiply is defined twice"):
        Primitive(**fields)
    assert registry["multiply"] is multiply


def test_a_primitive_evaluates_on_arrays_and_prints_its_name() -> None:
    np.testing.assert_array_equal(multiply(np.array([2.0, 3.0]), 4.0), [8.0, 12.0])
    assert repr(multiply) == "multiply"


def test_every_primitive_says_what_it_computes() -> None:
    bare = [name for name, primitive in registry.items() if not primitive.doc.strip()]
    assert bare == []


def test_a_missing_rule_is_not_a_zero() -> None:
    fields = {f.name: getattr(multiply, f.name) for f in dataclasses.fields(Primitive) if f.init}
    unruled = Primitive(**{**fields, "name": "unruled", "vjp": (multiply.rule(0), MISSING)})
    try:
        assert float(pb.grad(lambda x: unruled(x, 3.0))(2.0)) == 3.0
        with pytest.raises(MissingRuleError, match="unruled: no derivative rule for operand 2"):
            pb.grad(lambda x: unruled(3.0, x))(2.0)
    finally:
        del registry["unruled"]
