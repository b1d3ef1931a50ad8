"""The garbage collector waits for a first call, and is as it was after it."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest

import pullback as pb


@pytest.fixture(autouse=True)
def collector() -> Iterator[list[str]]:
    """What the collector does, as often as it can."""
    seen: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        seen.append(phase)

    before = gc.get_threshold()
    gc.callbacks.append(note)
    gc.set_threshold(20)
    yield seen
    gc.set_threshold(*before)
    gc.callbacks.remove(note)
    gc.enable()


def test_nothing_is_collected_while_a_function_is_staged(collector):
    found = []

    def f(x):
        collector.clear()
        for _ in range(50):
            x = x * 2.0 + 1.0
        found.extend(collector)
        return x

    f(np.ones(3))
    pb.grad(lambda x: np.sum(f(x)))(np.ones(3))
    assert found
    found.clear()
    pb.compile(f)(np.ones(3))
    assert not found
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    pb.compile(lambda x: x + 1.0)(np.ones(3))
    assert not gc.isenabled()


def test_the_collector_runs_again_after_an_error():
    def fails(x):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        pb.compile(fails)(np.ones(3))
    assert gc.isenabled()


def test_what_is_staged_is_old_at_once():
    f = pb.compile(lambda x: x * 2.0 + 1.0)
    f.prepare((np.ones(3),), {})
    (signature,) = f.signatures.values()
    old = {id(o) for o in gc.get_objects(generation=2)}
    assert {id(equation) for equation in signature.staged.graph.equations} <= old


def test_what_a_user_has_frozen_stays_frozen():
    users: list[object] = []
    assert any(o is users for o in gc.get_objects())
    gc.freeze()
    try:
        pb.compile(lambda x: x - 1.0)(np.ones(3))
        assert not any(o is users for o in gc.get_objects())
    finally:
        gc.unfreeze()
