"""Plans against proven optima: chains, a net with skips, and an independent exact search."""

import heapq

import numpy as np
import pytest

from pullback.planner.chain import by_segments, stages_of
from pullback.planner.greedy import evicting
from pullback.planner.plan import least_bound, plan
from pullback.planner.problem import Operation, Problem


def problem(forward, costs, sizes, backward=2.0):
    """``forward[i]`` are the operands of node ``i``; node ``i`` backward reads its operands, its
    value and the cotangents of its readers."""
    n = len(forward)
    operations = [Operation(costs[i], tuple(forward[i]), (i,)) for i in range(n)]
    operations.append(Operation(0.0, (n - 1,), (n,)))
    cotangent = {}
    for i in reversed(range(n)):
        readers = [cotangent[j] for j in range(n) if i in forward[j]] or [n]
        number = len(operations)
        reads = tuple(dict.fromkeys((*readers, i, *forward[i])))
        operations.append(Operation(backward * costs[i], reads, (number,)))
        cotangent[i] = number
    all_sizes = [*sizes, 1, *(sizes[i] for i in reversed(range(n)))]
    return Problem(tuple(operations), tuple(all_sizes), frozenset([len(operations) - 1]))


def chain(n):
    return problem([[i - 1] if i else [] for i in range(n)], [1.0] * n, [1] * n)


# Chains of equal steps, memory 1 each: length, budget, least time (proven by integer programmes).
PROVEN = [
    (4, 4, 15),
    (4, 5, 13),
    (6, 4, 28),
    (6, 5, 21),
    (6, 6, 20),
    (8, 4, 45),
    (8, 5, 31),
    (8, 6, 28),
    (8, 8, 26),
    (10, 4, 66),
    (10, 5, 41),
    (10, 7, 35),
    (10, 10, 32),
    (12, 5, 53),
    (12, 8, 42),
    (16, 6, 66),
    (16, 10, 56),
]


def test_chains_with_a_proven_optimum():
    ratios = []
    for n, budget, least in PROVEN:
        found = plan(chain(n), budget, 0)
        assert found.peak <= budget
        ratios.append(found.cost / least)
    assert max(ratios) <= 1.05
    assert np.exp(np.mean(np.log(ratios))) <= 1.02


def exact(given, budget):
    """Least time by Dijkstra's search over what is there and what has been computed by now."""
    goal = frozenset(given.stays)
    heap, seen = [(0.0, 0, frozenset())], {}
    count = 0
    while heap:
        cost, _, there = heapq.heappop(heap)
        if there in seen:
            continue
        seen[there] = cost
        if goal <= there:
            return cost
        held = sum(given.sizes[v] for v in there)
        for v in there:
            count += 1
            heapq.heappush(heap, (cost, count, there - {v}))
        for operation in given.operations:
            new = set(operation.makes) - there
            fits = held + sum(given.sizes[v] for v in new) <= budget
            if new and fits and there.issuperset(operation.reads):
                count += 1
                heapq.heappush(heap, (cost + operation.cost, count, there | new))
    return None


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_against_the_exact_search(seed):
    rng = np.random.default_rng(seed)
    n = 4
    forward = [sorted({int(rng.integers(0, i)), i - 1}) if i else [] for i in range(n)]
    given = problem(forward, rng.integers(1, 6, n).astype(float), rng.integers(1, 5, n).tolist())
    whole = given.simulate(range(len(given.operations))).peak
    for budget in range(least_bound(given), whole + 1, 2):
        least, found = exact(given, budget), plan(given, budget, 4.0)
        if least is None:
            assert found is None
        else:
            assert found is not None
            assert found.peak <= budget
            assert least <= found.cost <= 1.05 * least + 1e-9


def test_a_net_with_skips():
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (2, 5), (5, 6), (1, 6), (6, 7), (0, 7), (7, 8)]
    forward = [sorted(a for a, b in edges if b == i) for i in range(9)]
    given = problem(forward, [4.0, 4, 4, 4, 4, 6, 6, 6, 1], [8, 4, 2, 1, 1, 2, 4, 8, 4])
    whole = given.simulate(range(len(given.operations))).peak
    costs = []
    for budget in range(whole, least_bound(given) - 1, -2):
        found = plan(given, budget, 0)
        if found is None:
            break
        assert found.peak <= budget
        costs.append(found.cost)
    assert len(costs) > 3
    assert costs[0] == given.cost


def test_segments_of_a_chain():
    given = chain(36)
    sequence = by_segments(stages_of(given), 6)
    again = sum(1 for i in sequence if i < 36) - 36
    assert again == 36 - 6  # all but the last segment (Chen et al. 2016)
    assert given.simulate(sequence).peak <= 2 * 6 + 3  # cotangents, and the loss


def test_eviction_keeps_to_the_budget_on_what_is_no_chain():
    rng = np.random.default_rng(5)
    forward = [sorted({*map(int, rng.integers(0, i, 3))}) if i else [] for i in range(30)]
    given = problem(forward, rng.uniform(1, 9, 30), rng.integers(1, 50, 30).tolist())
    whole = given.simulate(range(len(given.operations))).peak
    for share in (0.9, 0.7, 0.6):
        found = evicting(given, int(share * whole))
        if found is not None:
            assert given.simulate(found).peak <= share * whole


def test_nothing_fits_below_the_needs_of_one_operation():
    given = chain(6)
    assert plan(given, least_bound(given) - 1, 1.0) is None
