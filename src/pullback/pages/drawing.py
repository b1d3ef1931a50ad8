"""A graph as static SVG: readable without scripts, and stepped through with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pullback.pages.layout import Edge, Layout, place

__all__ = ["Box", "draw"]

CHARACTER = 7.3  # width of one in the font of the boxes, in pixels
LINE = 17.0
PADDING = 9.0
BETWEEN = 42.0  # from the boxes of a layer to those of the next
LONGEST = 34  # characters of a line in a box


@dataclass(frozen=True)
class Box:
    """A node: its name, its lines of text, and what a screen reader says of it."""

    name: str
    lines: tuple[str, ...]
    label: str
    kind: str  # "input", "value", "output": a class of the stylesheet


def draw(boxes: Sequence[Box], edges: Sequence[Edge], title: str) -> str:
    """Boxes in layers from top to bottom, edges with the number of their ends in ``data``.

    Nodes are ``<g class="node" data-name>``, edges ``<path class="edge" data-from data-to>``.
    """
    sizes = {box.name: _size(box) for box in boxes}
    layout = place([b.name for b in boxes], edges, {name: w for name, (w, _) in sizes.items()})
    tops, heights, height = _rows(layout, sizes)
    level = {v: i for i, layer in enumerate(layout.layers) for v in layer}
    paths = []
    for (a, b), route in layout.routes.items():
        points = [(layout.x[a], tops[level[a]] + sizes[str(a)][1])]
        for v in route[1:-1]:
            points += [
                (layout.x[v], tops[level[v]]),
                (layout.x[v], tops[level[v]] + heights[level[v]]),
            ]
        points.append((layout.x[b], tops[level[b]]))
        paths.append(
            f'<path class="edge" data-from="{escape(str(a))}" data-to="{escape(str(b))}" '
            f'd="{_curve(points)}" marker-end="url(#arrow)"/>'
        )
    nodes = [
        _node(box, layout.x[box.name], tops[level[box.name]], sizes[box.name]) for box in boxes
    ]
    return (
        f'<div class="wide"><svg class="graph" role="group" aria-label="{escape(title)}" '
        f'viewBox="-8 -8 {layout.width + 16:.0f} {height + 16:.0f}" '
        f'width="{layout.width + 16:.0f}" height="{height + 16:.0f}">'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
        'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>'
        f"{''.join(paths)}{''.join(nodes)}</svg></div>"
    )


def _size(box: Box) -> tuple[float, float]:
    longest = max(len(_cut(line)) for line in box.lines)
    return longest * CHARACTER + 2 * PADDING, len(box.lines) * LINE + 2 * PADDING - 4


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _rows(
    layout: Layout, sizes: dict[str, tuple[float, float]]
) -> tuple[list[float], list[float], float]:
    """The top and the height of each layer, and the height of all."""
    tops, heights, at = [], [], 0.0
    for layer in layout.layers:
        heights.append(max(sizes.get(v, (0.0, 0.0))[1] for v in layer))  # type: ignore[call-overload]
        tops.append(at)
        at += heights[-1] + BETWEEN
    return tops, heights, max(at - BETWEEN, 0.0)


def _curve(points: Sequence[tuple[float, float]]) -> str:
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        parts.append(f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}")
    return "".join(parts)


def _node(box: Box, x: float, top: float, size: tuple[float, float]) -> str:
    width, height = size
    left = x - width / 2
    lines = "".join(
        f'<text class="line{i}" x="{left + PADDING:.1f}" y="{top + PADDING + 9 + i * LINE:.1f}">'
        f"{escape(_cut(line))}</text>"
        for i, line in enumerate(box.lines)
    )
    return (
        f'<g class="node {box.kind}" data-name="{escape(box.name)}" role="button" tabindex="-1" '
        f'aria-label="{escape(box.label)}"><title>{escape(box.label)}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>'
        f"{lines}</g>"
    )
