"""The quick experiments hold, and the generator of planted faults draws what it says."""

import numpy as np
import pytest
from benchmarks.flow_problems import FAULTS, PAIRS, REPORT_HALF, THRESHOLD_HALF, build, specs, twin
from experiments import initial
from experiments.result import near

from pullback import tree


@pytest.mark.parametrize("experiment", [initial.a3, initial.a10], ids=lambda f: f.__name__)
def test_quick_experiments_hold(experiment):
    assert [row.what for row in experiment() if not row.holds] == []


def test_a_row_that_does_not_hold_says_so():
    assert near("X", "a", 1.2, 1.0, 0.1, "nobody").cells()[4] == "NO"


def test_problems_are_reproducible_and_differ_from_their_twin_by_the_fault_alone():
    spec = ("plain", ("large inputs",), 11)
    first, again, healthy = build(*spec), build(*spec), twin(*spec)
    for a, b in zip(tree.leaves(first.params), tree.leaves(again.params), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(first.batch[0], 300 * healthy.batch[0])
    np.testing.assert_array_equal(first.batch[1], healthy.batch[1])
    assert first.learning_rate == healthy.learning_rate


def test_halves_share_no_family_and_every_fault_is_drawn():
    assert not set(THRESHOLD_HALF) & set(REPORT_HALF)
    drawn = {f for _, faults, _ in specs(REPORT_HALF, 200, 0) for f in faults}
    possible = {n for n, f in FAULTS.items() if set(f.families) & set(REPORT_HALF)}
    assert drawn == possible
    assert all(name in FAULTS for pair in PAIRS for name in pair)
