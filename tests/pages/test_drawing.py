"""A drawn graph: every box with its text, every edge from bottom to top of its ends."""

import re
import xml.etree.ElementTree as ET

from pullback.pages.drawing import LONGEST, Box, draw

BOXES = [
    Box("x", ("x",), "input x", "input"),
    Box("a < b", ("a < b", "f(x)", "3 x 4"), "a < b = f(x)", "value"),
    Box("y", ("y", "long " * 20), "y", "output"),
]
EDGES = [("x", "a < b"), ("a < b", "y"), ("x", "y")]


def drawn():
    text = draw(BOXES, EDGES, "a & b")
    return ET.fromstring(text)


def test_boxes_hold_their_lines():
    groups = {g.get("data-name"): g for g in drawn().iter("g") if "node" in (g.get("class") or "")}
    assert list(groups) == ["x", "a < b", "y"]
    for box in BOXES:
        group = groups[box.name]
        rect = group.find("rect")
        left, width = float(rect.get("x")), float(rect.get("width"))
        assert group.get("aria-label") == box.label
        assert box.kind in group.get("class").split()
        lines = group.findall("text")
        assert len(lines) == len(box.lines)
        for line in lines:
            assert len(line.text) <= LONGEST
            assert float(line.get("x")) + 7 * len(line.text) <= left + width


def test_edges_lead_from_box_to_box():
    root = drawn()
    rects = {g.get("data-name"): g.find("rect") for g in root.iter("g") if g.get("data-name")}
    paths = [p for p in root.iter("path") if p.get("class") == "edge"]
    assert [(p.get("data-from"), p.get("data-to")) for p in paths] == EDGES
    for path in paths:
        numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", path.get("d"))]
        a, b = rects[path.get("data-from")], rects[path.get("data-to")]
        assert abs(numbers[1] - float(a.get("y")) - float(a.get("height"))) < 0.2
        assert abs(numbers[-1] - float(b.get("y"))) < 0.2
        assert float(a.get("x")) <= numbers[0] <= float(a.get("x")) + float(a.get("width"))


def test_an_empty_graph_is_a_drawing():
    assert ET.fromstring(draw([], [], "nothing")).find("svg") is not None
