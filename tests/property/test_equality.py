"""Every public function with generated arguments: NumPy's value, dtype, shape, aliasing, refusal.

``PULLBACK_SEED=7 PULLBACK_CALLS=200`` asks for other calls of each function, and more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.property.calls import RECIPES, Call, calls_of
from tests.property.equality import compare

from pullback.core.array import functions, ufuncs

SEED = int(os.environ.get("PULLBACK_SEED", "0"))
CALLS = int(os.environ.get("PULLBACK_CALLS", "6"))

# What is known to differ, and why.
KNOWN = {
    ("i0", "bool"): "NumPy's own code, of masks where it expects numbers",
    ("frexp", "dtype"): "a dtype that it has no loop for is ignored",
    ("frexp", "bool"): "float64 instead of float16",
    ("nextafter", "["): "the neighbor of an infinity",
    ("nanquantile", "bool"): "of truth values with an integer q NumPy gives truth values",
    ("nanpercentile", "bool"): "of truth values with an integer q NumPy gives truth values",
    ("quantile", "bool"): "of truth values with an integer q NumPy gives truth values",
    ("percentile", "bool"): "of truth values with an integer q NumPy gives truth values",
    ("nanquantile", "int64"): "of integers with an integer q NumPy gives integers",
    ("nanpercentile", "int64"): "of integers with an integer q NumPy gives integers",
    ("quantile", "int64"): "of integers with an integer q NumPy gives integers",
    ("percentile", "int64"): "of integers with an integer q NumPy gives integers",
}


def is_known(call: Call) -> bool:
    return any(call.name == name and sign in str(call) for name, sign in KNOWN)


def complaints(name: str, how: str, n: int, seed: int = SEED) -> tuple[list[str], Counter[str]]:
    """What differs in ``n`` calls of a function, and how the calls went."""
    found, tally = [], Counter[str]()
    for call in calls_of(name, n, seed):
        if is_known(call):
            continue
        result = compare(call, how)
        kind = result.split()[0]
        tally[kind] += 1
        if kind not in ("same", "refused", "unsupported"):
            found.append(f"{call}, {how}: {result}")
    return found, tally


@pytest.mark.parametrize("name", RECIPES)
def test_traced_calls_are_those_of_numpy(name: str) -> None:
    found, tally = complaints(name, "eager", CALLS)
    more, _ = complaints(name, "written", CALLS // 2, SEED + 1)
    assert not found + more, "\n".join(found + more)
    if not tally["same"] and name != "nextafter":  # many arguments do not fit together
        found, tally = complaints(name, "eager", 100, SEED + 4)
        assert not found, "\n".join(found)
        assert tally["same"], f"no call of np.{name} was compared: {dict(tally)}"


SHAPE_ONLY = sorted(RECIPES)


@pytest.mark.parametrize("name", SHAPE_ONLY[:: 1 if CALLS > 6 else 2])
def test_staged_calls_are_those_of_numpy(name: str) -> None:
    found, _ = complaints(name, "staged", max(CALLS // 3, 1), SEED + 2)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", SHAPE_ONLY[SEED % 12 :: 1 if CALLS > 6 else 12])
def test_compiled_calls_are_those_of_numpy(name: str) -> None:
    found, _ = complaints(name, "compiled", 1, SEED + 3)
    assert not found, "\n".join(found)


# -- planted faults -------------------------------------------------------------------------------
@pytest.fixture
def planted(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Replaces the traced form of a function until the test ends."""
    before: list[tuple[Any, Any, Any]] = []

    def plant(function: Any, fault: Any) -> None:
        table = ufuncs if isinstance(function, np.ufunc) else functions
        original = table[function]
        before.append((table, function, original))
        table[function] = lambda *args, **options: fault(original(*args, **options))

    yield plant
    for table, function, original in before:
        table[function] = original


FAULTS = {
    "a value": (np.mean, "mean", lambda y: y * (1 + 1e-5)),
    "one element": (
        np.sort,
        "sort",
        lambda y: y * np.where(np.arange(y.size) == 1, 1.01, 1) if y.ndim == 1 else y,
    ),
    "a wider dtype": (np.linspace, "linspace", lambda y: y.astype(np.float64)),
    "a lost axis": (np.max, "max", lambda y: y.reshape(-1)),
    "a view that is a copy": (np.transpose, "transpose", lambda y: y.copy()),
    "a copy of too much": (np.ravel, "ravel", lambda y: y * 1),
    "a sign": (np.hypot, "hypot", lambda y: -y),
    "the infinite": (np.logaddexp, "logaddexp", lambda y: np.where(np.isinf(y), 0, y)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, planted: Any) -> None:
    function, name, change = FAULTS[fault]
    assert not complaints(name, "eager", 20, 0)[0] + complaints(name, "written", 20, 0)[0]
    planted(function, change)
    assert complaints(name, "eager", 20, 0)[0] + complaints(name, "written", 20, 0)[0]


def test_an_argument_that_numpy_refuses_is_not_accepted(planted: Any) -> None:
    original = functions[np.quantile]
    functions[np.quantile] = lambda a, q, **options: original(a, np.clip(q, 0, 1), **options)
    try:
        found, _ = complaints("quantile", "eager", 20, 0)
    finally:
        functions[np.quantile] = original
    assert any("accepted" in text for text in found)
