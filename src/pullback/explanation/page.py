"""The page of an explanation: its graph, walked forward and backward step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from pullback.explanation.folding import Fold, folded
from pullback.explanation.rows import BACKWARD_HEADINGS, FORWARD_HEADINGS, Row, cells, shape_of
from pullback.pages.document import Section, document, table
from pullback.pages.drawing import Box, draw

__all__ = ["Walk", "page"]

MOST_NUMBERS = 12  # of a value that is written out

CONTROL = (
    '<div class="steps" role="group" aria-label="Steps">'
    '<button data-do="first">First</button>'
    '<button data-do="back">Back</button><button data-do="next">Next</button>'
    '<button data-do="play">Play</button><button data-do="last">Last</button>'
    '<input type="range" min="0" value="0" aria-label="Step"><output></output>'
    '<label>Colour <select><option value="">by pass</option>'
    '<option value="gradient">by size of gradient</option><option value="bytes">by bytes</option>'
    '<option value="flops">by work</option></select></label></div>'
)


def page(walk: Walk, costs: str, memory: str) -> str:
    """One self-contained HTML page."""
    graph = (
        f'{CONTROL}<div class="view">{draw(walk.boxes, walk.edges, walk.title)}'
        '<div class="panel"><h3></h3><dl></dl>'
        '<p aria-live="polite" class="skip"></p></div></div>'
    )
    sections = [Section("Graph", graph)]
    for title, headings, rows, is_back in (
        ("Forward pass", FORWARD_HEADINGS, walk.forward, False),
        ("Backward pass", BACKWARD_HEADINGS, walk.backward, True),
    ):
        shown = [cells(r, depends=is_back) for r in rows]
        names = [identifier(title, row) for row in rows]
        sections.append(Section(title, table(headings, shown, f"{title}, row by row", names)))
    sections.append(Section("Cost", f"{costs}<p>{escape(memory)}</p>"))
    lead = f"{len(walk.forward)} steps forward, {len(walk.backward)} back"
    return document(walk.title, lead, sections, walk.data())


def identifier(title: str, row: Row) -> str:
    return f"{title.split()[0].lower()}-{row.name}".replace(" ", "-")


class Walk:
    """Boxes, edges and steps of both passes; repetitions are one box each."""

    def __init__(
        self,
        title: str,
        forward: Sequence[Row],
        backward: Sequence[Row],
        tick: Callable[[Row], str],
    ) -> None:
        self.title = title
        self.forward = forward
        self.backward = backward
        self.tick = tick
        self.parts = folded(forward)
        self.hidden = {
            row.name: f"fold {i}"
            for i, part in enumerate(self.parts)
            if isinstance(part, Fold)
            for row in part.rows
        }
        self.names = {row.name for row in forward}
        self.boxes: list[Box] = []
        self.edges: list[tuple[str, str]] = []
        self.add_boxes()

    def add_boxes(self) -> None:
        seen: set[str] = set()
        output = self.forward[-1].name if self.forward else ""
        for i, part in enumerate(self.parts):
            if isinstance(part, Fold):
                lines = ("⋯", f"{part.times} times more")
                box = Box(f"fold {i}", lines, f"{part.times} repetitions, folded", "value")
                reads = [d.name for row in part.rows for d in row.depends if d.name in self.names]
            else:
                kind = "output" if part.name == output else "value"
                label = f"{part.name} = {part.formula}, {shape_of(part)}"
                box = Box(part.name, (part.name, part.formula, shape_of(part)), label, kind)
                reads = [d.name for d in part.depends]
            for name in reads:
                if name not in self.names and name not in seen:
                    seen.add(name)
                    self.boxes.append(Box(name, (name,), f"input {name}", "input"))
                source = self.hidden.get(name, name)
                if source != box.name:
                    self.edges.append((source, box.name))
            self.boxes.append(box)

    def data(self) -> dict[str, Any]:
        steps = list(self.steps())
        drawn = {box.name for box in self.boxes}
        for step in steps:
            step["node"] = self.hidden.get(step["node"], step["node"])
            step["reads"] = [
                r for r in (self.hidden.get(n, n) for n in step["reads"]) if r in drawn
            ]
        return {
            "title": self.title,
            "steps": [s for s in steps if s["node"] in drawn],
            "colours": {
                "gradient": {row.step: norm(row.value) for row in self.backward},
                "bytes": {row.name: row.type.nbytes for row in self.forward},
                "flops": {row.name: row.cost.flops for row in self.forward},
            },
        }

    def steps(self) -> Iterator[dict[str, Any]]:
        """Every step of both passes as JSON; of repetitions the first and the last."""
        for title, parts in (
            ("Forward pass", self.parts),
            ("Backward pass", folded(self.backward)),
        ):
            is_back = title.startswith("Back")
            shown = [part for part in parts if isinstance(part, Row)]
            nodes = _nodes(shown, self.names) if is_back else [row.name for row in shown]
            for number, (row, node) in enumerate(zip(shown, nodes, strict=True), 1):
                yield {
                    "pass": "backward" if is_back else "forward",
                    "number": number,
                    "count": len(shown),
                    "node": node,
                    "name": row.name,
                    "formula": row.formula,
                    "value": value_of(row.value),
                    "shape": f"{shape_of(row)}, {row.dtype}",
                    "reads": [d.name for d in row.depends],
                    "depends": ", ".join(map(str, row.depends)),
                    "line": ", ".join(row.lines),
                    "flops": f"{row.cost.flops:,}",
                    "check": self.tick(row) if is_back else "",
                    "row": identifier(title, row),
                }


def _nodes(rows: Sequence[Row], known: set[str]) -> list[str]:
    """The value that each backward row is about; a row of its own name belongs to the next."""
    nodes, following = [], ""
    for row in reversed(rows):
        helper = row.step == row.name and row.step not in known
        following = following if helper else row.step
        nodes.append(following)
    return nodes[::-1]


def norm(value: Any) -> float:
    size = float(np.linalg.norm(np.ravel(value)))
    return size if np.isfinite(size) else 0.0


def value_of(value: Any) -> str:
    """All elements of a small array; of a larger one what they are like."""
    array = np.asarray(value)
    if array.size <= MOST_NUMBERS:
        return str(np.array2string(array, precision=5, suppress_small=True))
    if array.dtype.kind != "f":
        return f"{array.dtype} of {array.size:,} elements"
    finite = array[np.isfinite(array)]
    lost = array.size - finite.size
    text = f"from {finite.min():.3g} to {finite.max():.3g}, " if finite.size else ""
    rms = float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
    return f"{text}root mean square {rms:.3g}" + (f", {lost} not finite" if lost else "")
