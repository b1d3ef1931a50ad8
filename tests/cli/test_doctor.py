"""``pullback doctor``: what it prints, writes and exits with."""

import json

import pytest
from typer.testing import CliRunner

from pullback.cli.main import app
from pullback.errors import ArgumentError

HEALTHY = """
import numpy as np
from pullback import nn
from pullback.flow import Problem

def loss(net, x, label):
    return nn.softmax_cross_entropy(net(x), label)

def build(scale=1.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 6))
    label = np.argmax(x[:, :3], axis=1)
    net = nn.mlp(rng, (6, 32, 32, 3))
    return Problem(loss, net, (scale * x, label), learning_rate=0.2, n_steps=60, batch_size=32)

def unscaled():
    return build(300.0)

def pair():
    problem = build()
    return problem.loss, problem.params, *problem.batch

def wrong():
    return 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "doctor_model.py"
    path.write_text(HEALTHY)
    return path


def run(*args):
    return CliRunner().invoke(app, ["doctor", *map(str, args)])


def test_a_healthy_network_exits_with_0(file):
    result = run(f"{file}:build")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("No fault found.")
    assert max(map(len, result.output.splitlines())) <= 100
    assert run(f"{file}:pair").exit_code == 0


def test_a_fault_exits_with_3_and_is_named_first(file, tmp_path):
    report = tmp_path / "report.json"
    result = run(f"{file}:unscaled", "--json", report)
    assert result.exit_code == 3
    assert result.output.startswith("1. input scale at batch[0]")
    found = json.loads(report.read_text())
    assert found["findings"][0]["kind"] == "input scale"
    page = tmp_path / "flow.html"
    assert run(f"{file}:unscaled", "--html", page).output.endswith(f"wrote {page}\n")
    assert "<h3>1. input scale at batch[0]</h3>" in page.read_text()
    assert run(f"{file}:unscaled", "--fail-on", "never").exit_code == 0


def test_bad_arguments_are_refused(file):
    for args, message in (
        ((f"{file}:wrong",), "returned a int"),
        ((f"{file}:build", "--fail-on", "often"), "--fail-on often"),
        ((f"{file}:build", "--extras", "magic"), "unknown extra"),
    ):
        result = run(*args)
        assert isinstance(result.exception, ArgumentError)
        assert message in str(result.exception)
