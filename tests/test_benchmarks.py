"""The benchmarks run, and what they compare computes the same thing."""

import json
import re
import statistics
import subprocess
import sys

import numpy as np
import pytest
from benchmarks import (
    call_overhead,
    compiled_steps,
    eager_mlp,
    figures,
    gradient_cost,
    import_time,
    limits,
    run,
)
from benchmarks.memory import program_of
from benchmarks.steps import candidates
from benchmarks.workloads import causal_attention, convolutional, residual, transformer

import pullback as pb


def test_differences_and_gradient_agree():
    rng = np.random.default_rng(0)
    w, x, y = rng.normal(size=(3, 3)), rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    before = w.copy()
    rough = gradient_cost.differences(w, x, y)
    np.testing.assert_allclose(rough, pb.grad(gradient_cost.loss)(w, x, y), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(w, before)


def test_the_cost_of_a_gradient_does_not_grow_with_the_number_of_parameters(capsys):
    results = gradient_cost.main(quick=True)
    assert [r["n"] for r in results] == [1, 9, 100, 1024, 10_000, 99_856]
    # Loose, because other programs run beside the tests; the goal of 4 is for a quiet machine.
    assert statistics.median(r["ratio"] for r in results) < 8
    assert results[-1]["differences"] > 1000 * results[-1]["gradient"]
    assert "~" in capsys.readouterr().out


def test_the_eager_step_is_compared_with_two_others(capsys):
    times = eager_mlp.main(quick=True)
    assert {"by hand", "pullback", "autograd"} < set(times)
    assert times["over"] == pytest.approx(times["pullback"] / times["by hand"])
    assert "over by hand" in capsys.readouterr().out


def test_import_time_is_measured_in_fresh_processes(capsys):
    times = import_time.main(quick=True)
    assert times["python"] < times["numpy"]
    assert "goal" in capsys.readouterr().out


def test_the_cost_of_a_compiled_call_is_compared_with_numpy(capsys):
    times = call_overhead.main(quick=True)
    assert len(times) == 6
    assert min(times.values()) > 0
    assert "goal" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["MLP 8", "mixture", "HVP"])
def test_steps_of_all_libraries_agree(name, capsys):
    (result,) = compiled_steps.main(quick=True, only=name)
    assert {"compiled", "eager", "autograd"} <= set(result["seconds"])
    assert "of limit" in capsys.readouterr().out


@pytest.mark.parametrize(
    "work",
    [
        convolutional((3, 4, 5), 2),
        residual(1, 3),
        causal_attention(2, 70, 4),
        transformer(1, 8, 2, 6),
    ],
    ids=lambda w: w.name,
)
def test_steps_of_networks_agree(work):
    steps = candidates(work)
    # The second loss is after an update by the first gradient.
    for _ in range(2):
        answers = {name: step() for name, step in steps.items()}
        compiled_steps.agree(answers)


def test_operations_and_bytes_of_a_step_are_counted():
    work = compiled_steps.all_workloads()[0]
    step = candidates(work)["compiled"]
    step()
    needed = limits.needs(program_of(step).schedule.graph)
    # Three products a layer, forward and for two gradients, but none for the gradient of x.
    products = 2 * 32 * (2 * 8 * 32 + 3 * 32 * 32 + 3 * 32 * 1)
    assert products < needed["flops"] < 1.3 * products
    # Parameters and two moments are read and written; the count of steps too; then x, y, loss.
    n_params = 8 * 32 + 32 + 32 * 32 + 32 + 32 + 1
    assert needed["bytes"] == 4 * (6 * n_params + 2 + 32 * 8 + 32 + 1)
    assert needed["dtype"] == "float32"


def test_the_limits_of_the_machine_are_measured(capsys):
    rates = limits.main(quick=True)
    assert set(rates) == {"float32", "float64", "memory"}
    assert min(rates.values()) > 1e8
    assert "GFLOP/s" in capsys.readouterr().out


def test_the_limit_is_that_of_the_slower_resource():
    needed = {"flops": 6, "dtype": "float64", "bytes": 10}
    assert limits.least_seconds(needed, {"float64": 2, "memory": 5}) == 3
    assert limits.least_seconds(needed, {"float64": 6, "memory": 5}) == 2


def test_a_table_is_replaced_in_a_text():
    text = "before\n\n| step | old |\n| --- | --: |\n| a | 1 |\n\nafter\n"
    table = figures.in_markdown([["step", "new"], ["b", "2"], ["c", "3"]])
    expected = "before\n\n| step | new |\n| --- | --: |\n| b | 2 |\n| c | 3 |\n\nafter\n"
    assert figures.with_table(text, table) == expected


@pytest.mark.parametrize("name", run.benchmarks())
def test_a_benchmark_prints_its_table(name):
    """As ``./scripts/bench --quick`` runs it, but with one step or size where there are many."""
    only = {"compiled_steps": "MLP 8", "cached_start": "MLP 8", "products": "64 x 64 x 64"}
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    command += ["--only", only[name]] if name in only else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^[ |]*---[-:| ]*\n.*\d", done.stdout, re.MULTILINE), done.stdout


def test_figures_are_written_into_copies_of_the_pages(tmp_path, monkeypatch):
    for name in ("KEPT", "README"):
        original = getattr(figures, name)
        monkeypatch.setattr(figures, name, tmp_path / original.name)
        (tmp_path / original.name).write_text(original.read_text())
    monkeypatch.setattr(figures, "PAGE", tmp_path / "benchmarks.md")
    before = json.loads(figures.KEPT.read_text())
    figures.main(quick=True, only="MLP 8")
    after = json.loads(figures.KEPT.read_text())
    changed = [a["name"] for a, b in zip(after["rows"], before["rows"], strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0].startswith("MLP 8")
    for page in (figures.README, figures.PAGE):
        assert f"| {changed[0]} | " in page.read_text()


def test_an_unknown_benchmark_is_refused_with_the_names_of_all():
    command = [sys.executable, "-m", "benchmarks.run", "speed"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no benchmark speed; there are" in done.stderr
    assert "gradient_cost" in done.stderr
