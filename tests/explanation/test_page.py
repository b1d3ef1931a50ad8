"""The page of an explanation says what its report says."""

import json
import re

import numpy as np

import pullback as pb


def loss(w, x):
    z = x @ w
    a = np.tanh(z)
    return np.sum(a * a)


REPORT = pb.explain(loss, np.array([0.3, -0.7]), np.ones((3, 2)))


def data(report, tmp_path):
    text = report.save(tmp_path / "page.html").read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]), text


def test_steps_are_the_rows_of_both_passes(tmp_path):
    found, text = data(REPORT, tmp_path)
    assert found == REPORT.to_json()
    steps = found["steps"]
    assert [s["name"] for s in steps] == [r.name for r in (*REPORT.forward, *REPORT.rows)]
    assert [s["formula"] for s in steps] == [r.formula for r in (*REPORT.forward, *REPORT.rows)]
    assert [s["node"] for s in steps] == ["z", "a", "loss", "a", "z", "w"]
    assert [s["reads"] for s in steps[:2]] == [["x", "w"], ["z"]]
    for step in steps:
        assert f'id="{step["row"]}"' in text
    assert [s["check"][:1] for s in steps] == ["", "", "", "✓", "✓", "✓"]


def test_edges_join_what_is_read_to_what_reads(tmp_path):
    _, text = data(REPORT, tmp_path)
    edges = re.findall(r'data-from="([^"]+)" data-to="([^"]+)"', text)
    assert edges == [("x", "z"), ("w", "z"), ("z", "a"), ("a", "loss")]


def test_colours_are_the_norms_of_gradients():
    found = REPORT.to_json()["colours"]["gradient"]
    expected = np.linalg.norm(pb.grad(loss)(np.array([0.3, -0.7]), np.ones((3, 2))))
    np.testing.assert_allclose(found["w"], expected, rtol=1e-12)


def test_a_hundred_layers_fold_to_a_small_page(tmp_path):
    def deep(weights, x):
        for W in weights:
            x = np.tanh(x @ W)
        return np.mean(x**2)

    rng = np.random.default_rng(0)
    report = pb.explain(
        deep, [rng.normal(size=(8, 8)) for _ in range(100)], rng.normal(size=(4, 8))
    )
    found, text = data(report, tmp_path)
    assert len(text) < 400_000
    assert text.count('class="node') < 12
    assert "97 times more" in text
    assert {s["node"] for s in found["steps"]} <= set(re.findall(r'data-name="([^"]+)"', text))


def test_values_that_are_not_finite_are_counted(tmp_path):
    with np.errstate(all="ignore"):
        report = pb.explain(lambda x: np.sum(np.log(x) * 0), np.zeros(20))
    assert "20 not finite" in json.dumps(report.to_json())


def test_a_notebook_shows_the_tables():
    html = REPORT._repr_html_()
    assert html.count("<table>") == 2
    assert "dloss/dz" in html
