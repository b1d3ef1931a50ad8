"""``compile(f, verify=n)`` runs NumPy beside the native code."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.errors import ArgumentError, CompileError

X = np.array([1.0, 2.0])


def test_agreement_passes_and_every_nth_call_is_compared() -> None:
    runs = []

    def f(x: Any) -> Any:
        runs.append(type(x))
        return {"y": np.sum(np.sin(x)), "n": x > 1}

    g = pb.compile(f, verify=3)
    for _ in range(7):
        g(X)
    assert runs.count(np.ndarray) == 3  # calls 1, 4 and 7


def test_what_is_frozen_is_found_with_its_line() -> None:
    ticks = itertools.count(1)
    g = pb.compile(lambda x: np.sum(x * x) * next(ticks), verify=1)
    with pytest.raises(CompileError, match="another thing than when it was staged") as caught:
        g(X)
    assert "next(ticks)" in str(caught.value)
    assert "largest difference" in str(caught.value)


def test_wrong_native_code_is_told_from_that(monkeypatch: pytest.MonkeyPatch) -> None:
    g = pb.compile(lambda x: np.exp(x) * 2, verify=1)
    g(X)
    assert g.last is not None
    right = g.last.attempt
    monkeypatch.setattr(g.last, "attempt", lambda args: [y + 1e-3 for y in right(args)])
    with pytest.raises(CompileError, match="its native code is wrong") as caught:
        g(X)
    assert "np.exp(x) * 2" in str(caught.value)


def test_donated_arguments_are_compared_as_they_were_given() -> None:
    g = pb.compile(lambda w, d: w - 0.1 * d, donate_argnums=0, verify=1)
    w = X.copy()
    for _ in range(3):
        w = g(w, X)
    np.testing.assert_allclose(w, 0.7 * X, rtol=1e-14)


def test_refusals() -> None:
    with pytest.raises(ArgumentError, match="verify=0"):
        pb.compile(np.sin, verify=0)
