"""The page of a memory report says what the report says."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np

import pullback as pb


def loss(weights, x):
    for W in weights:
        x = np.tanh(x @ W)
    return np.mean(x**2)


REPORT = pb.memory(pb.grad(loss), [np.zeros((8, 8))] * 4, np.zeros((50, 8)))


def test_the_page_has_the_data_of_the_report(tmp_path):
    text = REPORT.save(tmp_path / "memory.html").read_text()
    found = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert found == json.loads(json.dumps(REPORT.to_json()))
    assert max(found["held"]) == found["eager"]["total"]
    for part in REPORT.kept:
        assert f"<td>{part.bytes:,}</td>" in text


def test_bytes_rise_forward_and_fall_backward(tmp_path):
    text = REPORT.save(tmp_path / "memory.html").read_text()
    chart = ET.fromstring(re.search(r"<svg class=\"chart.*?</svg>", text, re.DOTALL)[0])
    forward, backward = [p for p in chart.iter("path") if "curve" in p.get("class")]

    def heights(path):
        return [-float(point.split()[1]) for point in path.get("d")[1:].split("L")]

    assert len(heights(forward)) == REPORT.n_forward
    assert len(heights(forward)) + len(heights(backward)) == len(REPORT.held)
    assert heights(forward)[0] < max(heights(backward))
    assert heights(backward)[-1] < max(heights(backward))


def test_a_notebook_shows_the_figures():
    assert "kept for the backward pass" in REPORT._repr_html_()
