"""Places for the nodes of a graph: in layers, with few crossings.

Algorithm: layers by longest path, sources next to their first reader; edges across several layers
get a waypoint in each; the order within layers by sweeps of barycentres, the best of all sweeps
kept; then places by pulling each node towards its neighbours while order and gaps are kept. The
result depends on the order of nodes and edges only. Cost: sweeps times edges. Known limits: no
cycles; crossings are few, not fewest (that problem is NP-hard).

Source: K. Sugiyama, S. Tagawa, M. Toda (1981), "Methods for visual understanding of hierarchical
system structures", IEEE Transactions on Systems, Man, and Cybernetics 11(2).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, pairwise
from operator import itemgetter

__all__ = ["Layout", "crossings", "place"]

SWEEPS = 12
PULLS = 60
GAP = 22.0  # between the boxes of a layer
WAYPOINT = 8.0  # width that an edge takes where it passes a layer

Node = Hashable
Edge = tuple[Node, Node]


@dataclass(frozen=True)
class Layout:
    """Where nodes are.

    Attributes:
        layers: the nodes and waypoints of each layer, from left to right.
        x: the middle of each node and waypoint.
        routes: for each edge what it passes, from its first to its last node.
        width: of the whole.
    """

    layers: tuple[tuple[Node, ...], ...]
    x: Mapping[Node, float]
    routes: Mapping[Edge, tuple[Node, ...]]
    width: float


def place(nodes: Sequence[Node], edges: Sequence[Edge], widths: Mapping[Node, float]) -> Layout:
    """Layers, order and places of ``nodes``, which are given in an order that edges follow."""
    edges = list(dict.fromkeys(edges))
    rank = _ranks(nodes, edges)
    layers: list[list[Node]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in nodes:
        layers[rank[node]].append(node)
    routes: dict[Edge, tuple[Node, ...]] = {}
    links: list[Edge] = []
    for a, b in edges:
        between = [(a, b, level) for level in range(rank[a] + 1, rank[b])]
        for waypoint in between:
            layers[waypoint[2]].append(waypoint)
        routes[a, b] = (a, *between, b)
        links += pairwise(routes[a, b])
    _order(layers, links)
    x = _places(layers, links, {**dict.fromkeys(chain(*layers), WAYPOINT), **widths})
    half = {v: widths.get(v, WAYPOINT) / 2 for v in x}
    left = min((x[v] - half[v] for v in x), default=0.0)
    moved = {v: x[v] - left for v in x}
    width = max((moved[v] + half[v] for v in x), default=0.0)
    return Layout(tuple(map(tuple, layers)), moved, routes, width)


def crossings(layers: Sequence[Sequence[Node]], links: Sequence[Edge]) -> int:
    """How many pairs of links between neighbouring layers cross."""
    level = {v: k for k, layer in enumerate(layers) for v in layer}
    at = {v: i for layer in layers for i, v in enumerate(layer)}
    ends: list[list[tuple[int, int]]] = [[] for _ in layers]
    for a, b in links:
        ends[level[a]].append((at[a], at[b]))
    total = 0
    for pairs in ends:
        seen: list[int] = []  # ends of the links that begin further left, sorted
        for _, group in groupby(sorted(pairs), key=itemgetter(0)):
            new = [b for _, b in group]
            total += sum(len(seen) - bisect_right(seen, b) for b in new)
            for b in new:
                insort(seen, b)
    return total


def _ranks(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[Node, int]:
    before: dict[Node, list[Node]] = {v: [] for v in nodes}
    after: dict[Node, list[Node]] = {v: [] for v in nodes}
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    rank: dict[Node, int] = {}
    for v in nodes:
        rank[v] = 1 + max((rank[a] for a in before[v]), default=-1)
    for v in nodes:  # a source stands above its first reader, not at the top
        if not before[v] and after[v]:
            rank[v] = min(rank[b] for b in after[v]) - 1
    least = min(rank.values(), default=0)
    return {v: r - least for v, r in rank.items()}


def _order(layers: list[list[Node]], links: Sequence[Edge]) -> None:
    """Sort each layer by the mean place of neighbours, downwards and upwards in turn."""
    up: dict[Node, list[Node]] = {v: [] for layer in layers for v in layer}
    down: dict[Node, list[Node]] = {v: [] for v in up}
    for a, b in links:
        down[a].append(b)
        up[b].append(a)
    best = [list(layer) for layer in layers]
    fewest = crossings(layers, links)
    at = {v: i for layer in layers for i, v in enumerate(layer)}
    for sweep in range(SWEEPS if fewest else 0):
        neighbours = up if sweep % 2 == 0 else down
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            key = {
                v: sum(at[w] for w in neighbours[v]) / len(neighbours[v])
                if neighbours[v]
                else float(at[v])
                for v in layer
            }
            layer.sort(key=key.__getitem__)
            at.update({v: i for i, v in enumerate(layer)})
        found = crossings(layers, links)
        if found < fewest:
            fewest, best = found, [list(layer) for layer in layers]
    layers[:] = best


def _places(
    layers: Sequence[Sequence[Node]], links: Sequence[Edge], widths: Mapping[Node, float]
) -> dict[Node, float]:
    x: dict[Node, float] = {}
    for layer in layers:
        at = 0.0
        for v in layer:
            x[v] = at + widths[v] / 2
            at += widths[v] + GAP
        for v in layer:  # centred
            x[v] -= (at - GAP) / 2
    neighbours: dict[Node, list[Node]] = {v: [] for v in x}
    for a, b in links:
        neighbours[a].append(b)
        neighbours[b].append(a)
    for pull in range(PULLS):
        for layer in layers if pull % 2 == 0 else layers[::-1]:
            wanted = [
                sum(x[w] for w in neighbours[v]) / len(neighbours[v]) if neighbours[v] else x[v]
                for v in layer
            ]
            _settle(layer, wanted, widths, x)
    return x


def _settle(
    layer: Sequence[Node],
    wanted: Sequence[float],
    widths: Mapping[Node, float],
    x: dict[Node, float],
) -> None:
    """The places nearest to ``wanted`` with gaps kept: blocks that touch share their mean shift."""
    blocks: list[tuple[list[Node], list[float], float]] = []  # nodes, offsets, place of the first
    for v, goal in zip(layer, wanted, strict=True):
        members, offsets, start = [v], [0.0], goal
        while blocks:
            last, shifts, before = blocks[-1]
            reach = shifts[-1] + (widths[last[-1]] + widths[members[0]]) / 2 + GAP
            if before + reach <= start:
                break
            blocks.pop()
            total = len(last) * before + len(members) * (start - reach)
            offsets = [*shifts, *(reach + o for o in offsets)]
            members = [*last, *members]
            start = total / len(members)
        blocks.append((members, offsets, start))
    for members, offsets, start in blocks:
        for v, offset in zip(members, offsets, strict=True):
            x[v] = start + offset
