"""Pages of gradient flow say what their objects say."""

import json
import re

import numpy as np
import pytest

import pullback as pb
from pullback import nn

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 8))
Y = np.argmax(X[:, :3], axis=1)


def loss(net, x, y):
    return nn.softmax_cross_entropy(net(x), y)


def network(depth, activation):
    draw = np.random.default_rng(1)
    sizes = (8, *[16] * depth, 3)
    return nn.mlp(draw, sizes, activation=activation, initializer=nn.init.xavier)


@pytest.fixture(scope="module")
def diagnosis():
    return pb.flow.diagnose(loss, network(10, nn.sigmoid), X, Y)


def data(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_diagnosis_begins_with_its_verdicts(diagnosis, tmp_path):
    text = diagnosis.save(tmp_path / "flow.html").read_text()
    assert data(text) == json.loads(diagnosis.dumps())
    for number, finding in enumerate(diagnosis.findings, 1):
        assert f"<h3>{number}. {finding.kind} at {finding.place}</h3>" in text
        assert all(line in text for line in finding.evidence)
        assert finding.threshold.source.split(" (")[0] in text
    places = [text.index(f'<h2 id="{part}-title">') for part in ("verdict", "over-the-depth")]
    assert places[0] < text.index("vanishing") < places[1]
    for layer in diagnosis.probe.layers:
        assert f'<th scope="row">{layer.name}</th>' in text
    assert diagnosis.findings[0].kind in diagnosis._repr_html_()


def test_a_healthy_network_is_told_so(tmp_path):
    found = pb.flow.diagnose(loss, network(2, nn.tanh), X, Y)
    assert found.is_healthy
    assert "No fault found" in found.save(tmp_path / "flow.html").read_text()


def test_remedies_stand_behind_the_verdict(diagnosis, tmp_path):
    treatment = pb.flow.remedies(diagnosis, n_steps=4, seeds=1, learning_rate=0.1)
    text = diagnosis.save(tmp_path / "flow.html", treatment).read_text()
    for outcome in treatment.outcomes:
        assert f'<th scope="row">{outcome.remedy}</th>' in text
    assert data(text)["remedies"] == json.loads(treatment.dumps())


def test_training_is_a_heat_map_of_layers_against_steps(tmp_path):
    clock = iter(range(10**6))
    monitor = pb.flow.Monitor(loss, share=0.9, clock=lambda: float(next(clock)))
    net = network(3, nn.relu)
    for _ in range(40):
        monitor(net, X, Y)
    text = monitor.save(tmp_path / "train.html").read_text()
    assert data(text) == json.loads(json.dumps(monitor.to_json()))
    cells = re.findall(r'class="cell".*?<title>(.*?)</title>', text)
    assert len(cells) == len(monitor.samples) * len(monitor.samples[0].layers)
    name, rms = monitor.samples[0].layers[0]
    assert cells[0] == f"{name}, step {monitor.samples[0].step}: {rms:.3g}"


def test_paths_have_their_masses_and_lesions(tmp_path):
    weights = [rng.normal(size=(2, 4, 4)) for _ in range(3)]

    def residual(weights, x):
        for i, (A, B) in enumerate(weights):
            x = x + pb.flow.branch(np.tanh(x @ A) @ B, f"block {i}")
        return np.mean(x**2)

    report = pb.flow.paths(residual, weights, rng.normal(size=(5, 4)))
    text = report.save(tmp_path / "paths.html").read_text()
    assert data(text) == json.loads(json.dumps(report.to_json()))
    for lesion in report.lesions:
        assert f'<th scope="row">{lesion.branch}</th><td>{lesion.loss:.4g}</td>' in text
