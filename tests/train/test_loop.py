"""The loop on problems with a known answer, and where it must stop."""

from collections import deque

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from pullback import tree
from pullback.errors import ArgumentError, DataError, NonFiniteError
from pullback.train.loop import OPTIMIZERS, Progress, Scores, Settings, fit, score, split
from pullback.train.model import Spec, describe
from pullback.train.table import Table, read_table


def line(rng: np.random.Generator, n: int = 200) -> tuple[Table, Spec]:
    """A noisy plane: its least-squares fit is known."""
    x = rng.normal(size=(n, 2)) * [1.0, 50.0] + [0.0, 1000.0]
    y = 3 * x[:, 0] - 0.1 * x[:, 1] + 0.1 * rng.normal(size=n)
    table = Table("plane", {"a": x[:, 0], "b": x[:, 1], "constant": np.full(n, 0.1), "y": y})
    spec = describe(table, "y", task="auto", ignored=(), hidden=(), activation="relu")
    return table, spec


def clusters(rng: np.random.Generator) -> tuple[Table, Spec]:
    label = rng.integers(0, 3, 150)
    x = rng.normal(size=(150, 2)) + 6 * np.array([[0, 0], [1, 0], [0, 1]])[label]
    table = Table("clusters", {"a": x[:, 0], "b": x[:, 1], "label": label})
    return table, describe(table, "label", task="auto", ignored=(), hidden=(8,), activation="tanh")


def run(spec: Spec, settings: Settings, table: Table) -> Progress:
    rows = np.arange(len(table))
    return deque(fit(spec, settings, table, rows), maxlen=1)[0]


def test_a_linear_network_finds_the_least_squares_plane(rng: np.random.Generator) -> None:
    table, spec = line(rng)
    model = run(spec, Settings(epochs=60, learning_rate=0.03, batch_size=200), table).model
    features = np.column_stack([table.features(["a", "b"]), np.ones(len(table))])
    best = features @ np.linalg.lstsq(features, table.columns["y"])[0]
    close = run(spec, Settings(epochs=400, learning_rate=0.03, batch_size=200), table).model
    answers = close.answers(close.outputs(table))
    assert np.abs(answers - best).max() < 0.01 * table.columns["y"].std()
    assert close.std.tolist()[2] == 1  # a constant has no spread
    assert model.target_std == pytest.approx(table.columns["y"].std())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_separates_clusters(optimizer: str, rng: np.random.Generator) -> None:
    table, spec = clusters(rng)
    last = run(spec, Settings(optimizer, epochs=30), table)
    answers = last.model.answers(last.model.outputs(table))
    scores = score(last.model, answers, table, np.arange(len(table)))
    assert scores.accuracy is not None
    assert scores.accuracy > 0.95
    assert last.accuracy == pytest.approx(scores.accuracy, abs=0.03)


def test_a_seed_repeats_everything_and_another_does_not(rng: np.random.Generator) -> None:
    table, spec = clusters(rng)
    vectors = [
        tree.ravel(run(spec, Settings(epochs=2, seed=seed), table).model.network)[0]
        for seed in (5, 5, 6)
    ]
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])


def test_progress_counts_the_rows_of_an_epoch(rng: np.random.Generator) -> None:
    table, spec = clusters(rng)
    steps = list(fit(spec, Settings(epochs=2, batch_size=40), table, np.arange(150)))
    assert [(p.epoch, p.step) for p in steps] == [(e, s) for e in (1, 2) for s in (1, 2, 3, 4)]
    assert {(p.n_epochs, p.n_steps) for p in steps} == {(2, 4)}
    # Four equal steps of 37 rows; the accuracy is that of all rows so far.
    n_right = [(p.accuracy or 0) * p.step * 37 for p in steps]
    assert n_right == pytest.approx(np.round(n_right))
    gained = np.diff(n_right[:4])
    assert gained.min() >= 0
    assert gained.max() <= 37
    assert steps[0].loss == pytest.approx(np.log(3), rel=0.8)
    assert min(p.first_norm for p in steps) > 0
    assert min(p.last_norm for p in steps) > 0


def test_by_default_a_thousand_steps(rng: np.random.Generator) -> None:
    table, spec = clusters(rng)
    first = next(fit(spec, Settings(batch_size=30), table, np.arange(150)))
    assert first.n_epochs * first.n_steps == 1000


def test_compiled_steps_are_the_same_steps(rng: np.random.Generator) -> None:
    table, spec = clusters(rng)
    eager, native = (
        list(fit(spec, Settings(epochs=3, clip=0.5), table, np.arange(150), is_compiled=flag))
        for flag in (False, True)
    )
    assert len(eager) == len(native) == 15
    for one, other in zip(eager, native, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.accuracy == one.accuracy
        assert other.first_norm == pytest.approx(one.first_norm, rel=1e-4)
    for before, after in zip(*(tree.leaves(p[-1].model) for p in (eager, native)), strict=True):
        assert before.dtype == after.dtype
        np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-6)


def test_clipping_bounds_each_step(rng: np.random.Generator) -> None:
    table, spec = clusters(rng)
    settings = Settings("sgd", learning_rate=1.0, epochs=1, clip=1e-3)
    steps = [tree.ravel(p.model.network)[0] for p in fit(spec, settings, table, np.arange(150))]
    moves = np.linalg.norm(np.diff(steps, axis=0), axis=1)
    np.testing.assert_allclose(moves, 1e-3, rtol=1e-2)


def test_divergence_stops_the_run_and_says_where(rng: np.random.Generator) -> None:
    table, spec = line(rng)
    settings = Settings("sgd", learning_rate=1e30, epochs=3)
    with pytest.raises(NonFiniteError, match=r"epoch 1, step \d+\n  loss: (inf|nan)") as caught:
        deque(fit(spec, settings, table, np.arange(200)))
    assert "it is 1e+30" in str(caught.value)


def test_pixels_share_a_scale() -> None:
    table = read_table("digits")
    spec = describe(table, "digit", task="auto", ignored=(), hidden=(), activation="relu")
    model = next(fit(spec, Settings(epochs=1), table, np.arange(100))).model
    assert len(set(model.std.tolist())) == 1
    assert model.inputs(table.features(spec.columns)[:100]).var(axis=0).mean() == pytest.approx(
        1, rel=1e-3
    )


def test_the_split_is_a_fifth_of_each_class_and_loses_no_row(rng: np.random.Generator) -> None:
    spec = Spec(("x",), "y", (), "classification", ("a", "b", "c"), (), "relu")
    targets = np.repeat([0, 1, 2], [100, 20, 2])
    train, test = split(spec, targets, rng)
    assert sorted([*train, *test]) == list(range(122))
    assert np.bincount(targets[test]).tolist() == [20, 4, 1]
    assert not np.array_equal(test, split(spec, targets, rng)[1])
    numbers = Spec(("x",), "y", (), "regression", (), (), "relu")
    assert len(split(numbers, np.zeros(50), rng)[1]) == 10
    with pytest.raises(DataError, match="one row cannot be split"):
        split(numbers, np.zeros(1), rng)


def test_scores_of_a_regression(rng: np.random.Generator) -> None:
    table, spec = line(rng)
    model = next(fit(spec, Settings(epochs=1), table, np.arange(200))).model
    y = table.columns["y"]
    rows = np.arange(200)
    perfect = score(model, y, table, rows)
    assert (perfect.rmse, perfect.r2) == (0, 1)
    mean = score(model, np.full(200, y.mean()), table, rows)
    assert mean.rmse == pytest.approx(y.std())
    assert mean.r2 == pytest.approx(0, abs=1e-12)
    assert str(Scores(4, accuracy=0.75)) == "accuracy 0.7500 (3 of 4 rows)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamw"}, "unknown optimizer 'adamw'"),
        ({"initializer": "zero"}, "unknown initializer 'zero'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"learning_rate": -0.1}, r"learning_rate is -0\.1"),
        ({"clip": float("nan")}, "clip is nan"),
    ],
)
def test_settings_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Settings(**options)  # type: ignore[arg-type]


def test_a_regression_is_as_good_as_least_squares_and_stops_by_itself() -> None:
    data = load_diabetes()
    names = [f"f{i}" for i in range(10)]
    table = Table("diabetes", {**dict(zip(names, data.data.T, strict=True)), "y": data.target})
    spec = describe(table, "y", task="regression", hidden=(32,))
    ours, theirs = [], []
    for seed in range(2):
        settings = Settings(seed=seed)
        rows, test = split(spec, data.target, settings.streams()[0])
        last = deque(fit(spec, settings, table, rows), maxlen=1)[0]
        answers = last.model.answers(last.model.outputs(table))
        ours.append(score(last.model, answers, table, test).r2)
        features = np.column_stack([data.data, np.ones(len(table))])
        weights = np.linalg.lstsq(features[rows], data.target[rows])[0]
        error = data.target[test] - features[test] @ weights
        theirs.append(1 - np.var(error) / np.var(data.target[test]))
        assert last.n_epochs < 100
    assert np.mean(ours) >= np.mean(theirs) - 0.002


def test_where_nothing_is_learned_the_linear_model_stays(rng: np.random.Generator) -> None:
    x = rng.normal(size=(60, 3))
    table = Table("noise", {"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] + 2.0 * x[:, 2]})
    spec = describe(table, "y", task="regression", hidden=(4,))
    # Steps of length 0: the best epoch is that before the first.
    settings = Settings(optimizer="sgd", learning_rate=0.0, patience=2)
    last = deque(fit(spec, settings, table, np.arange(60)), maxlen=1)[0]
    features = np.column_stack([x[:, :2], np.ones(60)])
    expected = features @ np.linalg.lstsq(features, table.columns["y"])[0]
    np.testing.assert_allclose(
        last.model.answers(last.model.outputs(table)), expected, rtol=1e-4, atol=1e-4
    )
