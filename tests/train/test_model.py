"""What a table becomes: tasks, classes, scaled inputs, and the description in a snapshot."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from pullback import tree
from pullback.errors import ArgumentError, DataError, SnapshotError
from pullback.train.model import Model, Spec, describe, empty_model
from pullback.train.table import Table

TABLE = Table(
    "trees",
    {
        "height": np.array([1.0, 2.0, 4.0, 5.0]),
        "rings": np.array([3, 3, 9, 9]),
        "kind": np.array(["oak", "ash", "ash", "oak"]),
    },
)


def spec_of(target: str, table: Table = TABLE, task: str = "auto", *ignored: str) -> Spec:
    return describe(table, target, task=task, ignored=ignored, hidden=(4,), activation="tanh")


def test_the_target_decides_the_task() -> None:
    words = spec_of("kind")
    assert (words.task, words.classes, words.columns) == (
        "classification",
        ("ash", "oak"),
        ("height", "rings"),
    )
    numbers = spec_of("rings", TABLE, "auto", "kind")
    assert (numbers.task, numbers.classes) == ("classification", (3, 9))
    assert numbers.columns == ("height",)
    assert spec_of("height", TABLE, "auto", "kind").task == "regression"
    assert spec_of("rings", TABLE, "regression", "kind").classes == ()
    assert words.widths == (2, 4, 2)
    assert spec_of("height", TABLE, "auto", "kind").widths == (1, 4, 1)


def test_targets_are_positions_or_numbers() -> None:
    assert spec_of("kind").targets(TABLE).tolist() == [1, 0, 0, 1]
    assert spec_of("height", TABLE, "auto", "kind").targets(TABLE).tolist() == [1, 2, 4, 5]
    other = Table("new", {"kind": np.array(["oak", "elm"])})
    with pytest.raises(DataError, match=r"new, row 2, column 'kind': .* class 'elm'\n.*ash, oak"):
        spec_of("kind").targets(other)


@pytest.mark.parametrize(
    ("target", "task", "ignored", "message"),
    [
        ("height", "classification", ("kind",), r"row 1, column 'height': 1\.5 is not a class"),
        ("kind", "regression", (), "row 1, column 'kind': 'oak' is not a number"),
        ("rings", "auto", (), "row 1, column 'kind': 'oak' is not a number"),
        ("kind", "auto", ("height", "rings"), "no column is left"),
        ("kind", "auto", ("color",), "has no column 'color'"),
        ("color", "auto", (), "has no column 'color'"),
    ],
)
def test_what_cannot_be_learned(
    target: str, task: str, ignored: tuple[str, ...], message: str
) -> None:
    heights = np.array([1.5, 2.0, 4.0, 5.0])
    table = dataclasses.replace(TABLE, columns={**TABLE.columns, "height": heights})
    with pytest.raises(DataError, match=message):
        spec_of(target, table, task, *ignored)


def test_classes_need_two_rows_and_company() -> None:
    x = np.arange(3.0)
    with pytest.raises(DataError, match=r"row 2, column 'y': the class 8 occurs once"):
        spec_of("y", Table("t", {"x": x, "y": np.array([7, 8, 7])}))
    with pytest.raises(DataError, match="has one value only, 7"):
        spec_of("y", Table("t", {"x": x, "y": np.array([7, 7, 7])}))


def test_options_are_checked() -> None:
    with pytest.raises(ArgumentError, match="unknown task 'sort'"):
        spec_of("kind", TABLE, "sort")
    with pytest.raises(ArgumentError, match="unknown activation 'step'"):
        describe(TABLE, "kind", task="auto", ignored=(), hidden=(), activation="step")


def make_model(target: str, *ignored: str) -> Model:
    model = empty_model(spec_of(target, TABLE, "auto", *ignored))
    n = len(model.spec.columns)
    return dataclasses.replace(
        model,
        mean=np.arange(1.0, n + 1),
        std=np.full(n, 2.0),
        target_mean=np.asarray(10.0),
        target_std=np.asarray(100.0),
    )


def test_inputs_are_standardized_and_answers_scaled_back() -> None:
    model = make_model("kind")
    inputs = model.inputs(np.array([[1.0, 2.0], [5.0, 0.0]]))
    assert inputs.tolist() == [[0.0, 0.0], [2.0, -1.0]]
    assert inputs.dtype == np.float32
    assert model.answers(np.array([[0.1, 0.3], [5.0, -1.0]])).tolist() == [1, 0]
    numbers = make_model("height", "kind")
    assert numbers.answers(np.array([[0.5], [-1.0]], np.float32)).tolist() == [60.0, -90.0]


def test_columns_are_found_by_name() -> None:
    model = make_model("kind")
    swapped = Table("new", dict(reversed(TABLE.columns.items())))
    assert np.array_equal(model.outputs(swapped), model.outputs(TABLE))
    without = {name: TABLE.columns[name] for name in ("height", "rings")}
    assert np.array_equal(model.outputs(Table("new", without)), model.outputs(TABLE))
    with pytest.raises(DataError, match="new: unknown column 'color'"):
        model.outputs(Table("new", {**TABLE.columns, "color": np.zeros(4)}))
    with pytest.raises(DataError, match="new has no column 'rings'"):
        model.outputs(Table("new", {"height": np.zeros(4)}))
    ignoring = make_model("rings", "kind")
    assert ignoring.outputs(TABLE).shape == (4, 2)


@pytest.mark.parametrize("spec", [spec_of("kind"), spec_of("height", TABLE, "auto", "kind")])
def test_a_description_survives_its_text(spec: Spec) -> None:
    assert Spec.from_metadata(spec.metadata(), "file") == spec


@pytest.mark.parametrize(
    "change",
    [
        {"hidden": [0]},
        {"hidden": ["4"]},
        {"hidden": 4},
        {"columns": [1]},
        {"columns": None},
        {"classes": ["ash"]},
        {"classes": []},
        {"task": "sort"},
        {"activation": "step"},
        {"color": "green"},
        {"target": 3},
        {"columns": "xy"},
        {"columns": ["x", "x"]},
        {"classes": ["ash", "ash"]},
        {"classes": ["ash", 3]},
        {"classes": ["ash", None]},
        {"classes": [["ash"], ["oak"]]},
        {"hidden": [True]},
        {"hidden": [10**400]},
    ],
    ids=str,
)
def test_a_damaged_description_is_refused(change: dict[str, object]) -> None:
    metadata = spec_of("kind").metadata()
    fields = {**json.loads(metadata["spec"]), **change}
    with pytest.raises(SnapshotError, match="file: the description of the model is damaged"):
        Spec.from_metadata({**metadata, "spec": json.dumps(fields)}, "file", 10_000)


def test_a_network_larger_than_its_file_is_refused_before_it_takes_memory() -> None:
    metadata = spec_of("kind").metadata()
    fields = {**json.loads(metadata["spec"]), "hidden": [100_000, 100_000]}
    with pytest.raises(SnapshotError, match="describes 10,000,600,002 parameters, the file has 9"):
        Spec.from_metadata({**metadata, "spec": json.dumps(fields)}, "file", 9)


def test_deeply_nested_text_is_refused() -> None:
    text = "[" * 100_000 + "]" * 100_000
    with pytest.raises(SnapshotError, match="the description of the model is damaged"):
        Spec.from_metadata({"pullback": "2", "spec": text}, "file")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mean", np.array([np.nan, 0.0]), "mean holds NaN or an infinity"),
        ("std", np.array([1.0, np.inf]), "std holds NaN or an infinity"),
        ("std", np.array([1.0, 0.0]), "std holds 0.0, and divides by it"),
        ("target_std", np.asarray(-1.0), "target_std holds -1.0, and divides by it"),
    ],
)
def test_numbers_that_cannot_answer_are_refused(field: str, value: Any, message: str) -> None:
    model = make_model("kind")
    model.check("file")
    with pytest.raises(SnapshotError, match=f"file: this model cannot answer\n  {message}"):
        dataclasses.replace(model, **{field: value}).check("file")
    network = tree.map(lambda leaf: np.full_like(leaf, np.nan), model.network)
    with pytest.raises(SnapshotError, match=r"network\.layers\[0\]\.\S+ holds NaN"):
        dataclasses.replace(model, network=network).check("file")


def test_rows_too_far_away_are_refused_with_their_place() -> None:
    model = make_model("kind")
    far = Table("new", {"height": np.array([1.0, 1e100]), "rings": np.array([3, 3])})
    with pytest.raises(DataError, match=r"row 2, column 'height': 1e\+100 is too far from what"):
        model.outputs(far)
    network = tree.map(lambda leaf: np.full_like(leaf, 1e38), model.network)
    with pytest.raises(DataError, match="new, row 1: the network's answer is no finite number"):
        dataclasses.replace(model, network=network).outputs(
            Table("new", {"height": np.ones(1), "rings": np.ones(1)})
        )


def test_values_whose_squares_vanish_are_refused() -> None:
    tiny = Table("t", {"x": np.arange(3.0), "y": np.array([1e-200, 2e-200, 3.5e-200])})
    for target in ("x", "y"):
        with pytest.raises(DataError, match=r"column 'y' differ by 2\.5e-200 at most"):
            spec_of(target, tiny, "regression")


def test_foreign_text_is_refused() -> None:
    for metadata in ({}, {"pullback": "99", "spec": "{}"}):
        with pytest.raises(SnapshotError, match="was not written by this version"):
            Spec.from_metadata(metadata, "file")
    for text in ("[]", "{", "3"):
        with pytest.raises(SnapshotError, match="damaged"):
            Spec.from_metadata({"pullback": "2", "spec": text}, "file")
