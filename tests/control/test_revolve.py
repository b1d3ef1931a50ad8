"""Schedules of long loops against published counts, and against all ways to cut a loop."""

from functools import lru_cache

import pytest

from pullback.control.revolve import (
    advances,
    kept_apart,
    mixed_forwards,
    mixed_schedule,
    repetitions,
    revolve,
    revolve_between,
)

# Steps, states kept, repetitions, advances (Griewank & Walther 2000).
EXACT = [
    (10, 3, 2, 15),
    (10, 2, 3, 20),
    (16, 4, 3, 27),
    (50, 5, 3, 122),
    (64, 8, 3, 137),
    (100, 3, 7, 490),
    (100, 5, 4, 316),
    (100, 10, 3, 222),
    (1000, 5, 8, 6284),
    (1000, 10, 4, 3636),
    (1000, 20, 3, 2747),
    (10**4, 20, 4, 37976),
    (10**6, 20, 8, 6815960),
]


def counted(actions):
    return sum(a.stop - a.step for a in actions if a.kind == "advance")


@pytest.mark.parametrize(("length", "slots", "r", "n"), EXACT)
def test_published_counts(length, slots, r, n):
    assert (repetitions(length, slots), advances(length, slots)) == (r, n)
    if length <= 1000:
        assert counted(revolve(length, slots)) == n


@lru_cache(None)
def least(length, slots):
    if length == 1:
        return 0
    if slots == 1:
        return length * (length - 1) // 2
    return min(m + least(m, slots) + least(length - m, slots - 1) for m in range(1, length))


def test_no_schedule_of_a_short_loop_is_cheaper():
    for length in range(1, 40):
        for slots in range(1, 8):
            assert counted(revolve(length, slots)) == least(length, slots)


def followed(actions, length, slots):
    """Run a schedule on numbers: the present state is the number of the step that it begins."""
    kept, state, tapes, most = {0}, 0, set(), 0
    pulled = []
    for kind, step, stop in actions:
        if kind == "advance":
            assert state == step
            state = stop
        elif kind == "keep":
            assert state == step
            kept.add(step)
        elif kind == "restore":
            assert step in kept
            state = step
        elif kind == "drop":
            kept.remove(step)
        elif kind == "tape":
            assert state == step
            tapes.add(step)
            state = step + 1
        else:
            tapes.remove(step)
            pulled.append(step)
        most = max(most, len(kept))
    assert pulled == list(range(length))[::-1]
    assert most <= slots
    assert not tapes


@pytest.mark.parametrize(("length", "slots"), [(1, 1), (7, 1), (30, 4), (41, 9), (5, 9)])
def test_states_are_there_when_they_are_read(length, slots):
    followed(revolve(length, slots), length, slots)
    followed(mixed_schedule(length, slots), length, slots + 1)


def test_parts_between_kept_states():
    actions = list(revolve_between([0, 8, 16], 21, 5))
    assert [a.step for a in actions if a.kind == "pull"] == list(range(21))[::-1]


@pytest.mark.parametrize(
    ("length", "slots", "forwards"), [(100, 5, 352), (1000, 10, 3921), (1000, 20, 2823)]
)
def test_published_counts_where_tapes_are_as_small_as_states(length, slots, forwards):
    assert mixed_forwards(length, slots) == forwards < advances(length, slots) + length
    actions = list(mixed_schedule(length, slots))
    assert counted(actions) + sum(a.kind == "tape" for a in actions) == forwards


def test_large_tapes_are_not_kept():
    kinds = [a.kind for a in mixed_schedule(50, 4, tape=50)]
    assert all(kinds[i + 1] == "pull" for i, kind in enumerate(kinds) if kind == "tape")


def test_an_unknown_number_of_steps_keeps_states_at_growing_distances():
    kept, distance = {}, 1
    for step in range(1000):
        if step % distance == 0:
            distance = kept_apart(kept, step, distance, 8)
            if step % distance == 0:
                kept[step] = None
    assert len(kept) <= 8
    assert sorted(kept) == list(range(0, 1000, distance))
