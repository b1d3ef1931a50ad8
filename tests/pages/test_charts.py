"""Charts: what is drawn is what was given, and what is no number shows."""

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

from pullback.pages.charts import bars, curves, heat_map


def points(path):
    return [tuple(map(float, p.split())) for p in path.get("d")[1:].split("L")]


def test_a_curve_is_straight_for_a_geometric_series():
    root = ET.fromstring(curves({"a": [1.0, 0.1, 0.01, 0.001]}, "falls", "layer"))
    (path,) = [p for p in root.iter("path") if "curve" in p.get("class")]
    ys = [y for _, y in points(path)]
    steps = [b - a for a, b in pairwise(ys)]
    assert min(steps) > 0  # smaller values stand lower
    assert max(steps) - min(steps) < 0.3


def test_values_without_a_logarithm_leave_a_gap_and_stand_in_the_table():
    text = curves({"a": [1.0, 0.0, math.nan, math.inf, 10.0], "b": [2.0]}, "t", "x", list("vwxyz"))
    root = ET.fromstring(text)
    first, second = [p for p in root.iter("path") if "curve" in p.get("class")]
    assert len(points(first)) == 2
    assert len(points(second)) == 1
    assert first.get("stroke-dasharray") != second.get("stroke-dasharray")
    cells = [[c.text for c in row] for row in root.iter("tr")]
    assert cells[2] == ["w", "0", "-"]
    assert [row[1] for row in cells[3:5]] == ["nan", "inf"]


def test_axes_have_round_numbers():
    text = curves({"a": [0.0, 50.0]}, "t", "x", logarithmic=False)
    labels = re.findall(r'class="axis end"[^>]*>([^<]+)<', text)
    assert labels == ["0", "10", "20", "30", "40", "50"]


def test_nothing_measured_is_said():
    assert "nothing was measured" in curves({"a": [math.nan]}, "t", "x")


def test_darker_cells_are_larger_and_zero_is_marked():
    root = ET.fromstring(heat_map({"r": [1e-3, 1.0, 0.0, math.nan]}, "t", "step"))
    cells = [c for c in root.iter("rect") if c.get("class") == "cell"]
    shades = [float(c.get("fill-opacity")) for c in cells]
    assert shades[0] < shades[1] == 1.0
    assert [c.find("title").text for c in cells][2] == "r, step 2: 0"
    marks = [t.text for t in root.iter("text") if t.get("class") == "mark"]
    assert marks == ["0", "×"]


def test_bars_have_the_widths_of_their_values():
    root = ET.fromstring(bars({"a": 4.0, "b": 1.0, "none": 0.0}, "t", "MB"))
    widths = re.findall(r"width:([\d.]+)%", ET.tostring(root, encoding="unicode"))
    assert [float(w) for w in widths] == [100.0, 25.0, 0.0]
    assert "4 MB" in "".join(root.itertext())
