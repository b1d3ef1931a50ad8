"""Free memory: nothing is given twice, all comes back, and gaps that meet are one."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.compiler.schedule.gaps import Gaps


@pytest.mark.parametrize("stop", [None, 300])
def test_pieces_do_not_overlap_and_come_back(stop):
    rng = np.random.default_rng(0)
    gaps = Gaps() if stop is None else Gaps(0, stop)
    taken = np.zeros(100_000, bool)
    held = []
    for step in range(150):
        gaps.release(step)
        for last, start, size in held:
            if last < step:
                taken[start : start + size] = False
        held = [piece for piece in held if piece[0] >= step]
        size = int(rng.integers(1, 40))
        start = gaps.room(size)
        used = np.cumsum([0, *taken[: stop or 5000]])
        assert (start is not None) == bool(np.any(used[size:] == used[:-size]))
        if start is not None:
            assert not taken[start : start + size].any()
            assert stop is None or start + size <= stop
            taken[start : start + size] = True
            last = step + int(rng.integers(0, 30))
            gaps.hold(start, size, last)
            held.append((last, start, size))
    gaps.release(10_000)
    assert gaps.room(stop or 1 << 40) == 0


def test_the_smallest_gap_that_fits_is_taken():
    gaps = Gaps()
    for start, size, last in ((0, 100, 1), (100, 10, 9), (110, 20, 1), (130, 10, 9)):
        gaps.hold(start, size, last)
    gaps.release(2)
    assert [gaps.room(size) for size in (1, 20, 21, 100, 101)] == [110, 110, 0, 0, 140]
