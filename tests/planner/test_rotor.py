"""Rotor's programme against the published behaviour of chains of equal stages."""

import pytest

from pullback.planner.rotor import Chain, Rotor

# Times of the whole chain relative to computing it once, by memory in units of an activation:
# tapes of 4 units, backward twice as long as forward (INRIA RR-9302, section 4, recomputed).
EQUAL = {
    16: {6: 3.5, 8: 1.6875, 10: 1.4792, 16: 1.2917, 32: 1.1875, 64: 1.0208},
    32: {8: 1.9688, 16: 1.4062, 32: 1.2708, 64: 1.1771, 128: 1.0104},
    50: {8: 2.2, 16: 1.5, 64: 1.2333, 128: 1.1267, 201: 1.0},
}


def chain(n, tape=4):
    return Chain((1.0,) * n, (2.0,) * n, (1,) * n, (tape,) * n, (1,) * n, (0,) * n, (0,) * n)


@pytest.mark.parametrize("n", EQUAL)
def test_equal_stages(n):
    rotor = Rotor(chain(n), max(EQUAL[n]))
    for memory, overhead in EQUAL[n].items():
        assert rotor.cost(memory) / (3 * n) == pytest.approx(overhead, abs=6e-5)


def test_actions_cost_what_the_programme_says():
    rotor = Rotor(chain(16), 20)
    for memory in (6, 8, 10, 16, 20):
        times = [2.0 if kind == "backward" else 1.0 for kind, _ in rotor.actions(memory)]
        assert sum(times) == rotor.cost(memory)


def test_too_little_memory_has_no_plan():
    assert Rotor(chain(4), 10).cost(4) == float("inf")


def test_blocks_of_llama_7b_with_fused_attention():
    # In units of one activation of 16.8 MB, tapes of 19 units; 32 blocks.
    rotor = Rotor(chain(32, 19), 625)
    units = {10.49: 1.0, 8.72: 1.052, 6.71: 1.125, 5.10: 1.177, 2.55: 1.260, 1.34: 1.302}
    for gigabytes, overhead in units.items():
        assert rotor.cost(int(gigabytes * 1e9 / 16_777_216)) / 96 == pytest.approx(
            overhead, abs=0.012
        )
