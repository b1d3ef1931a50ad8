"""``fit``: any model, loss and data; cuts, kills and full disks lose nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import io, nn, optim, tree
from pullback.errors import ArgumentError, NonFiniteError, ShapeError, SnapshotError

KILLS = int(os.environ.get("PULLBACK_KILLS", "1"))
CUTS = int(os.environ.get("PULLBACK_CUTS", "4"))


def problem(n: int = 40) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    return x, (x[:, :1] - 2 * x[:, 1:2]).astype(np.float32)


def network() -> nn.Sequential:
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Linear.init(rng, 3, 4, dtype=np.float32),
        nn.BatchNorm.init(4, dtype=np.float32),
        nn.Dropout(0.1),
        nn.Linear.init(rng, 4, 1, dtype=np.float32),
    )


def run(**options: Any) -> Any:
    base: dict[str, Any] = {
        "epochs": 4,
        "batch_size": 8,
        "optimizer": optim.adamw(0.01),
        "learning_rate": optim.cosine(0.01, 20),
        "validation": problem(),
        "show": False,
        "compile": False,
    }
    return pb.train.fit(network(), nn.mean_squared_error, problem(), **{**base, **options})


def assert_same(a: Any, b: Any) -> None:
    for ours, theirs in zip(tree.leaves(a.model), tree.leaves(b.model), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert a.history == b.history
    assert a.steps == b.steps


def test_parameters_alone_reach_the_least_squares_solution(rng: Any) -> None:
    x, y = rng.normal(size=(60, 3)), rng.normal(size=60)

    def loss(params: Any, x: Any, y: Any) -> Any:
        return np.mean((x @ params["w"] + params["b"] - y) ** 2)

    result = pb.train.fit(
        {"w": np.zeros(3), "b": 0.0},
        loss,
        (x, y),
        epochs=300,
        batch_size=60,
        optimizer=optim.sgd(0.3),
        show=False,
    )
    expected = np.linalg.lstsq(np.column_stack([x, np.ones(60)]), y)[0]
    np.testing.assert_allclose(result.model["w"], expected[:3], rtol=1e-6)
    np.testing.assert_allclose(result.model["b"], expected[3], rtol=1e-6)
    assert result.history[-1]["loss"] == pytest.approx(loss(result.model, x, y), rel=1e-6)


def test_statistics_and_noise_reach_the_network() -> None:
    result = run(validation=None)
    assert np.all(result.model.layers[1].mean != 0)
    other = run(validation=None, seed=1)
    assert not np.array_equal(result.model.layers[0].weight, other.model.layers[0].weight)
    assert_same(result, run(validation=None))


def test_a_compiled_run_takes_the_same_steps() -> None:
    # Not Adam: it divides the rounding errors of gradients that are 0 by their own size.
    for options in ({}, {"clip": 0.1}):
        options = {"optimizer": optim.sgd(0.01, 0.9), "epochs": 2, "validation": None, **options}
        ours, eager = run(compile=True, **options), run(**options)
        for a, b in zip(tree.leaves(ours.model), tree.leaves(eager.model), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


class Cut(Exception):
    """The end of a run from outside."""


def cut_after(n: int) -> Any:
    seen = []

    def monitor(*_: Any, **__: Any) -> None:
        seen.append(1)
        if len(seen) > n:
            raise Cut

    return monitor


def test_a_run_that_is_cut_anywhere_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    def augment(batch: Any, rng: Any) -> Any:
        return batch[0] + 0.1 * rng.standard_normal(batch[0].shape, np.float32), batch[1]

    options = {"augment": augment, "patience": 3, "epochs": 3}
    whole = run(**options)
    for n in np.random.default_rng(0).permutation(14)[:CUTS]:
        path = tmp_path / f"{n}.safetensors"
        with pytest.raises(Cut):
            run(**options, snapshot=path, snapshot_seconds=0, monitor=cut_after(int(n)))
        assert_same(run(**options, snapshot=path, resume=True), whole)


def test_a_plateau_and_mixed_precision_go_on_to_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    options = {"learning_rate": optim.Plateau(0.05, 0.5, 0), "precision": "float16"}
    whole = run(**options)
    rates = [row["rate"] for row in whole.history]
    assert whole.history[-1]["loss"] < whole.history[0]["loss"]
    assert rates == sorted(rates, reverse=True)
    with pytest.raises(Cut):
        run(**options, snapshot=path, snapshot_seconds=0, monitor=cut_after(12))
    assert_same(run(**options, snapshot=path, resume=True), whole)


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_run import run
result = run(epochs=10, snapshot={path!r}, snapshot_seconds=0, resume=True,
             monitor=lambda *_, **__: print("step", flush=True))
print("done", flush=True)
"""


def killed(path: Path, n: int) -> bool:
    """Kill a run some steps after its start; whether it ended before."""
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(path))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    for _ in range(n):
        if "done" in process.stdout.readline():
            break
    process.kill()
    rest = process.communicate()[0]
    return "done" in rest or process.returncode == 0


def test_a_run_that_is_killed_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    draws = np.random.default_rng(int(os.environ.get("PULLBACK_SEED", "0")))
    for _ in range(KILLS):
        if killed(path, int(draws.integers(1, 45))):
            break
        assert io.metadata(path)
        assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == [path.name]
    assert_same(run(epochs=10, snapshot=path, resume=True), run(epochs=10))


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_full_or_broken_disk_leaves_the_snapshot_before(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.safetensors"
    run(epochs=1, snapshot=path)
    before = path.read_bytes()
    original = getattr(os, call)

    def fail(target: Any, *args: Any) -> Any:
        if call == "open" and not args[0] & os.O_CREAT:
            return original(target, *args)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(f"pullback.files.os.{call}", fail)
        with pytest.warns(RuntimeWarning, match=f"no new snapshot(.|\n)*{os.strerror(code)}"):
            broken = run(epochs=2, snapshot=path, resume=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert_same(broken, run(epochs=2, snapshot=path, resume=True))


def test_ctrl_c_finishes_the_step_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    path, lines = tmp_path / "run.safetensors", []

    def monitor(*_: Any, **__: Any) -> None:
        if not lines and threading.current_thread() is threading.main_thread():
            lines.append("sent")
            signal.raise_signal(signal.SIGINT)

    result = run(snapshot=path, monitor=monitor, show=lines.append)
    assert (result.stopped, result.steps) == ("interrupted", 1)
    assert "after step 1" in lines[-1]
    assert "resume=True" in lines[-1]
    assert_same(run(snapshot=path, resume=True), run())


def test_foreign_damaged_and_other_snapshots_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    run(epochs=1, snapshot=path)
    content = path.read_bytes()
    for broken in (content[:-1], content[:100], content[:-9] + b"x" + content[-8:], b""):
        path.write_bytes(broken)
        with pytest.raises(SnapshotError, match="damaged"):
            run(snapshot=path, resume=True)
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match="batch_size: 8 in the file, 10 now"):
        run(snapshot=path, resume=True, batch_size=10)
    with pytest.raises(SnapshotError, match="another model"):
        run(snapshot=path, resume=True, optimizer=optim.sgd(0.1))
    io.save(path, network())
    with pytest.raises(SnapshotError, match="no snapshot of a run"):
        run(snapshot=path, resume=True)
    io.save(path, network(), {"pullback.run": json.dumps({"format": 1, "settings": {}})})
    with pytest.raises(SnapshotError, match="description of the run is damaged"):
        run(snapshot=path, resume=True)


def test_early_stopping_returns_the_best_weights() -> None:
    values = iter([3.0, 1.0, 2.0, 2.0, 2.0, 0.5])
    models = []

    def loss(model: Any, x: Any) -> Any:
        return np.mean((model["w"] - x) ** 2)

    def watched(numbers: Any, model: Any) -> None:
        models.append(model["w"])

    def make(_: int) -> Any:
        return [np.full(1, next(values))]

    result = pb.train.fit(
        {"w": np.zeros(1)},
        loss,
        lambda epoch: [np.ones(1)] * 2,
        validation=make,
        epochs=10,
        patience=2,
        optimizer=optim.sgd(0.0),
        callbacks=[watched],
        show=False,
        compile=False,
    )
    assert [row["validation_loss"] for row in result.history] == [9, 1, 4, 4]
    assert (result.stopped, result.best_epoch) == ("patience", 2)


def test_reports_are_written_for_every_epoch(tmp_path: Path) -> None:
    lines: list[str] = []
    result = run(
        epochs=2,
        metrics={"mae": lambda p, y: np.mean(np.abs(p - y))},
        log=tmp_path / "log.jsonl",
        tensorboard=tmp_path / "events",
        curves=tmp_path / "curves.png",
        show=lines.append,
    )
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == result.history
    assert {"epoch", "loss", "validation_loss", "validation_mae", "rate"} == set(rows[0])
    assert lines[1].startswith("epoch 2/2 loss ")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list((tmp_path / "events").iterdir())) == 1


def test_a_callback_ends_the_run() -> None:
    result = run(callbacks=[lambda numbers, model: numbers["epoch"] == 2])
    assert (result.stopped, len(result.history)) == ("callback", 2)


def test_a_share_of_the_rows_is_set_apart() -> None:
    result = run(validation=0.25)
    assert result.steps == 4 * 4  # 30 rows in batches of 8 at most
    assert "validation_loss" in result.history[0]
    with pytest.raises(ArgumentError, match=r"validation is 0\.001 of 40 rows"):
        run(validation=0.001)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"precision": "bfloat16"}, "use 'full' or 'float16'"),
        ({"patience": 0}, "patience is 0"),
        ({"resume": True}, "without a snapshot"),
        ({"snapshot": "/no/folder/x"}, "there is no folder /no/folder"),
        ({"log": "/no/folder/x"}, "there is no folder"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_arguments_are_checked_before_the_first_step(options: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        run(**options, monitor=cut_after(0))


def test_divergence_and_losses_that_are_no_number_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    with pytest.raises(NonFiniteError, match=r"epoch \d+, step \d+\n(.|\n)*run.safetensors"):
        run(optimizer=optim.sgd(1e20), learning_rate=None, snapshot=path, epochs=9)
    with pytest.raises(ShapeError, match=r"the loss has shape \(8, 1\)"):
        pb.train.fit(network(), lambda p, y: (p - y) ** 2, problem(), batch_size=8, show=False)
