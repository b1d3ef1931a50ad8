"""Traces: levels that nest, values that Python may look at, and those that have ended."""

import math
from typing import Any

import pytest

import pullback as pb
from pullback.errors import LeakedTracerError


def test_control_flow_sees_the_value() -> None:
    def newton(a: Any) -> Any:
        x = a
        while abs(x * x - a) > 1e-12:
            x = 0.5 * (x + a / x)
        return x

    # d sqrt(a) / da = 1 / (2 sqrt(a)), by the implicit function theorem
    assert float(pb.grad(newton)(2.0)) == pytest.approx(0.5 / math.sqrt(2.0), rel=1e-9)


def test_a_leaked_tracer_is_refused() -> None:
    kept = []
    pb.grad(lambda x: kept.append(x) or x * x)(1.0)  # type: ignore[func-returns-value]
    with pytest.raises(LeakedTracerError, match="of a finished grad is used"):
        kept[0] + 1.0


def test_nested_levels_are_not_confused() -> None:
    # d/dx [x * d/dy (x + y)] = 1: the inner derivative does not depend on x (Siskind & Pearlmutter)
    inner = lambda x: pb.grad(lambda y: x + y)(1.0)
    assert float(pb.grad(lambda x: x * inner(x))(1.0)) == 1.0
