"""Places of nodes: layers follow edges, boxes keep apart, few edges cross."""

import itertools

import numpy as np
import pytest
from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout

from pullback.pages.layout import GAP, crossings, place


def graph(seed, n=24):
    rng = np.random.default_rng(seed)
    edges = {(int(rng.integers(max(0, b - 6), b)), b) for b in range(1, n) for _ in range(2)}
    return list(range(n)), sorted(edges)


def links_of(layout):
    return [link for route in layout.routes.values() for link in itertools.pairwise(route)]


@pytest.mark.parametrize("seed", range(6))
def test_edges_lead_down_and_boxes_keep_apart(seed):
    nodes, edges = graph(seed)
    widths = {v: 40.0 + 10 * (v % 5) for v in nodes}
    layout = place(nodes, edges, widths)
    level = {v: i for i, layer in enumerate(layout.layers) for v in layer}
    assert sorted(v for v in level if isinstance(v, int)) == nodes
    assert all(level[b] == level[a] + 1 for a, b in links_of(layout))
    for layer in layout.layers:
        for a, b in itertools.pairwise(layer):
            reach = (widths.get(a, 8.0) + widths.get(b, 8.0)) / 2 + GAP
            assert layout.x[b] - layout.x[a] >= reach - 1e-6
    ends = [(layout.x[v] - widths[v] / 2, layout.x[v] + widths[v] / 2) for v in nodes]
    assert min(a for a, _ in ends) >= -1e-6
    assert max(b for _, b in ends) <= layout.width + 1e-6


def test_the_same_graph_is_placed_the_same():
    nodes, edges = graph(3)
    widths = dict.fromkeys(nodes, 50.0)
    assert place(nodes, edges, widths) == place(nodes, edges, widths)


class Size:
    w, h = 40.0, 20.0


def crossings_by_grandalf(nodes, edges):
    """Of an independent implementation of the same method."""
    vertices = {v: Vertex(v) for v in nodes}
    for vertex in vertices.values():
        vertex.view = Size()
    whole = Graph(list(vertices.values()), [Edge(vertices[a], vertices[b]) for a, b in edges])
    total = 0
    for part in whole.C:
        found = SugiyamaLayout(part)
        found.init_all()
        found.draw(12)
        found.dag, found.dirv = True, -1
        total += sum(layer._cc() for layer in found.layers)
    return total


def test_no_more_edges_cross_than_by_an_independent_layout():
    own = other = 0
    for seed in range(12):
        nodes, edges = graph(seed)
        layout = place(nodes, edges, dict.fromkeys(nodes, 40.0))
        own += crossings(layout.layers, links_of(layout))
        other += crossings_by_grandalf(nodes, edges)
    assert 0 < own <= 1.05 * other


def test_crossings_are_counted_as_by_hand():
    layers = [["a", "b", "c"], ["x", "y"]]
    assert crossings(layers, [("a", "x"), ("b", "y")]) == 0
    assert crossings(layers, [("a", "y"), ("b", "x")]) == 1
    assert crossings(layers, [("a", "y"), ("b", "y"), ("c", "x")]) == 2
    assert crossings(layers, [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]) == 1
    rng = np.random.default_rng(0)
    top, bottom = list(range(8)), [f"b{i}" for i in range(8)]
    links = [(int(a), f"b{b}") for a, b in rng.integers(0, 8, size=(20, 2))]
    brute = sum(
        (a - c) * (int(b[1:]) - int(d[1:])) < 0
        for (a, b), (c, d) in itertools.combinations(links, 2)
    )
    assert crossings([top, bottom], links) == brute
