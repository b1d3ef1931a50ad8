"""Loops end when a step has failed; those that signals end are in ``runtime/test_watch.py``."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb


def test_a_failed_step_ends_its_loop() -> None:
    """The loop would not end by itself: what the failed step leaves fulfils its condition."""

    def f(matrix, table):
        def step(state):
            return state + table[(state[0] + 5).astype(int)] * 0

        return pb.while_loop(lambda s: s[0] > -1, step, matrix)

    with pytest.raises(IndexError, match="out of bounds"):
        pb.compile(f)(np.ones(2), np.zeros(3))
