"""A network together with what it needs to answer for the rows of a table."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from pullback import tree
from pullback.errors import ArgumentError, DataError, SnapshotError
from pullback.nn import functional, init
from pullback.nn.layers import Linear, Sequential, mlp
from pullback.nn.residual import Residual
from pullback.train.table import LARGEST, Table, listed

__all__ = [
    "ACTIVATIONS",
    "DEFAULT_HIDDEN",
    "INITIALIZERS",
    "Model",
    "Spec",
    "choice",
    "describe",
    "empty_model",
]

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    name: getattr(functional, name)
    for name in ("elu", "gelu", "leaky_relu", "relu", "selu", "sigmoid", "silu", "tanh")
}
INITIALIZERS: dict[str, Callable[..., Any]] = {
    "he": init.he,
    "lecun": init.lecun,
    "xavier": init.xavier,
}
DEFAULT_HIDDEN = (256, 128)
FORMAT = "2"
DTYPE = np.float32

Task = Literal["classification", "regression"]
Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What a model reads, what it answers, and how its network is built; all of it is text.

    Args:
        columns: the features, in the order of the network's inputs.
        target: the column that is predicted.
        ignored: columns that may be present and are not read.
        task: ``"classification"`` or ``"regression"``.
        classes: values of the target in the order of the network's outputs; empty for regression.
        hidden: widths of the hidden layers.
        activation: a key of ``ACTIVATIONS``.
    """

    columns: tuple[str, ...]
    target: str
    ignored: tuple[str, ...]
    task: Task
    classes: tuple[int | str, ...]
    hidden: tuple[int, ...]
    activation: str

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the network: inputs, hidden layers, outputs."""
        return (len(self.columns), *self.hidden, len(self.classes) or 1)

    @property
    def n_parameters(self) -> int:
        """Weights and biases of the network."""
        straight = self.widths[0] + 1 if self.task == "regression" and self.hidden else 0
        return straight + sum((a + 1) * b for a, b in pairwise(self.widths))

    def network(self, rng: np.random.Generator, initializer: str) -> Sequential | Residual:
        """A network with random weights.

        For a regression with hidden layers it is the sum of a linear map and of a network whose
        last layer is 0: it starts from a linear model, which many tables cannot beat.
        """
        network = mlp(
            rng,
            self.widths,
            activation=ACTIVATIONS[self.activation],
            initializer=INITIALIZERS[initializer],
            dtype=DTYPE,
        )
        if self.task == "classification" or not self.hidden:
            return network
        *layers, last = network.layers
        branch = Sequential(*layers, tree.map(np.zeros_like, last))
        width = self.widths[0]
        return Residual(branch, Linear(np.zeros((width, 1), DTYPE), np.zeros(1, DTYPE)))

    def targets(self, table: Table) -> Array:
        """The target column: float64 numbers, or positions in ``classes``.

        Raises:
            DataError: if a row has a class that the model does not know.
        """
        if self.task == "regression":
            return table.numbers(self.target)
        cells = table.column(self.target).tolist()
        position = {value: i for i, value in enumerate(self.classes)}
        for row, cell in enumerate(cells):
            if cell not in position:
                raise DataError(
                    f"{table.place(row, self.target)}: the model does not know the class {cell!r}",
                    details=[f"classes: {listed([str(c) for c in self.classes])}"],
                    fix="correct the value, or train again with this class",
                )
        return np.array([position[cell] for cell in cells], dtype=np.int64)

    def metadata(self) -> dict[str, str]:
        """As the text of a snapshot."""
        return {"pullback": FORMAT, "spec": json.dumps(dataclasses.asdict(self))}

    @classmethod
    def from_metadata(
        cls, metadata: Mapping[str, str], path: str, n_bytes: float = math.inf
    ) -> Spec:
        """Undo :meth:`metadata`; ``path`` is for messages, ``n_bytes`` the size of the file.

        Raises:
            SnapshotError: if the text was not written by :meth:`metadata`, or if the network that
                it describes has more weights than ``n_bytes`` can hold.
        """
        if metadata.get("pullback") != FORMAT:
            raise SnapshotError(
                f"{path} was not written by this version of 'pullback train'",
                details=[f"format: {metadata.get('pullback', 'none')}, expected {FORMAT}"],
                fix="train the model again",
            )
        try:
            spec = cls(**_checked(json.loads(metadata["spec"])))
            if spec.n_parameters * np.dtype(DTYPE).itemsize > n_bytes:
                raise ValueError(
                    f"it describes {spec.n_parameters:,} parameters, the file has {n_bytes:,} bytes"
                )
            return spec
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise SnapshotError(
                f"{path}: the description of the model is damaged",
                details=[str(error)],
                fix="train the model again, or restore the file from a copy",
            ) from error


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a Spec from JSON; a TypeError, ValueError or KeyError if they cannot be."""
    lists = {name: fields[name] for name in ("columns", "ignored", "classes", "hidden")}
    for name, values in lists.items():
        if not isinstance(values, list) or (len(set(values)) < len(values) and name != "hidden"):
            raise TypeError(f"{name} is a list of different values")
    if not all(
        type(word) is str for word in (fields["target"], *lists["columns"], *lists["ignored"])
    ):
        raise TypeError("names of columns are text")
    if not all(type(width) is int and width > 0 for width in lists["hidden"]):
        raise TypeError("widths are positive whole numbers")
    if {*map(type, lists["classes"])} not in (set(), {int}, {str}):
        raise TypeError("classes are whole numbers or text")
    choice("activation", fields["activation"], ACTIVATIONS)
    n_classes = len(lists["classes"])
    if n_classes == 1 or fields["task"] != ("classification" if n_classes else "regression"):
        raise ValueError("a classification has two classes or more, a regression none")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


@dataclasses.dataclass(frozen=True)
class Model:
    """A network and the scaling of its inputs and outputs; a container whose leaves are arrays.

    Args:
        spec: what it reads and answers.
        network: from standardized features ``(rows, columns)`` float32 to ``(rows, outputs)``.
        mean: of each feature in the training rows, ``(columns,)`` float64.
        std: of each feature in the training rows; 1 where it is 0.
        target_mean: of the target in the training rows, ``()``; 0 for classification.
        target_std: of the target in the training rows; 1 for classification.
    """

    spec: Spec
    network: Any
    mean: Array
    std: Array
    target_mean: Array
    target_std: Array

    def inputs(self, features: Array) -> Array:
        """Standardized float32 features."""
        return ((features - self.mean) / self.std).astype(DTYPE)

    def outputs(self, table: Table) -> Array:
        """The network's answers ``(rows, outputs)`` for a table that has the model's columns.

        Raises:
            DataError: if a column is missing, unknown, or not a number.
        """
        known = {*self.spec.columns, self.spec.target, *self.spec.ignored}
        if unknown := [name for name in table.columns if name not in known]:
            raise DataError(
                f"{table.source}: unknown column {unknown[0]!r}",
                details=[f"the model knows: {listed(self.spec.columns)}"],
                fix="remove the column, or train with it",
            )
        features = table.features(self.spec.columns)
        with np.errstate(over="ignore", invalid="ignore"):  # refused below, with their place
            inputs = self.inputs(features)
            result: Array = self.network(inputs)
        self._check_finite(table, features, inputs, result)
        return result

    def _check_finite(self, table: Table, features: Array, inputs: Array, outputs: Array) -> None:
        for row, column in np.argwhere(~np.isfinite(inputs))[:1]:
            raise DataError(
                f"{table.place(int(row), self.spec.columns[column])}: {features[row, column]} is "
                "too far from what the model was trained on",
                details=[f"there: {self.mean[column]:g}, give or take {self.std[column]:g}"],
                fix="correct the value, or train again with such rows",
            )
        for row in np.flatnonzero(~np.isfinite(outputs).all(axis=1))[:1]:
            raise DataError(
                f"{table.source}, row {row + 1}: the network's answer is no finite number",
                fix="leave the row out, or train again with such rows",
            )

    def check(self, path: str) -> None:
        """Look at the numbers of a model that was read; ``path`` is for messages.

        Raises:
            SnapshotError: if one is not finite, or a scale is not positive.
        """
        for name, leaf in zip(tree.paths(self), tree.leaves(self), strict=True):
            if not np.isfinite(leaf).all():
                reason = f"{name.lstrip('.')} holds NaN or an infinity"
            elif name.endswith("std") and not (leaf > 0).all():
                reason = f"{name.lstrip('.')} holds {leaf.min()}, and divides by it"
            else:
                continue
            raise SnapshotError(
                f"{path}: this model cannot answer",
                details=[reason],
                fix="train the model again, or restore the file from a copy",
            )

    def answers(self, outputs: Array) -> Array:
        """Outputs as values of the target: numbers, or positions in ``spec.classes``."""
        if self.spec.task == "classification":
            classes: Array = np.argmax(outputs, axis=1)
            return classes
        return outputs[:, 0] * self.target_std + self.target_mean


tree.dataclass(Model, static=("spec",))


def choice(name: str, value: str, options: Mapping[str, Any]) -> Any:
    """The option called ``value``.

    Raises:
        ArgumentError: if there is none; lists them.
    """
    if value not in options:
        raise ArgumentError(f"unknown {name} {value!r}", fix=f"use one of {', '.join(options)}")
    return options[value]


def describe(
    table: Table,
    target: str,
    *,
    task: str = "auto",
    ignored: tuple[str, ...] = (),
    hidden: tuple[int, ...] = DEFAULT_HIDDEN,
    activation: str = "relu",
) -> Spec:
    """Decide what there is to learn: features, and a task that follows from the target's values.

    With ``task="auto"`` whole numbers and text are classes, other numbers a regression.

    Raises:
        DataError: if the target does not suit the task, a feature holds text, or none is left.
        ArgumentError: if an option has no such value.
    """
    choice("task", task, dict.fromkeys(("auto", "classification", "regression")))
    choice("activation", activation, ACTIVATIONS)
    values = table.column(target)
    for name in ignored:
        table.column(name)
    columns = tuple(name for name in table.columns if name not in (target, *ignored))
    if not columns:
        raise DataError(
            f"{table.source}: no column is left beside the target {target!r}",
            fix="give the table at least one feature",
        )
    table.features(columns)
    _check_spread(table, columns)
    if task == "auto":
        task = "regression" if values.dtype.kind == "f" else "classification"
    classes: tuple[int | str, ...] = ()
    if task == "classification":
        classes = _classes(table, target, values)
    else:
        table.numbers(target)
        _check_spread(table, [target])
    return Spec(
        columns=columns,
        target=target,
        ignored=ignored,
        task="classification" if classes else "regression",
        classes=classes,
        hidden=hidden,
        activation=activation,
    )


def _check_spread(table: Table, names: Sequence[str]) -> None:
    for name in names:
        spread = float(np.ptp(table.numbers(name)))
        if 0 < spread < 1 / LARGEST:
            raise DataError(
                f"{table.source}: the values of column {name!r} differ by {spread:g} at most, and "
                "the squares of such differences are 0",
                fix="multiply the column by a large number",
            )


def _classes(table: Table, target: str, values: Array) -> tuple[int | str, ...]:
    if values.dtype.kind == "f":
        row = int(np.argmax(values != np.round(values)))
        raise DataError(
            f"{table.place(row, target)}: {values[row]} is not a class",
            details=["classes are whole numbers or text"],
            fix="pass --task regression",
        )
    classes, first, counts = np.unique(values, return_index=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(
            f"{table.source}: column {target!r} has one value only, {values.tolist()[0]!r}",
            fix="name another target: there is nothing to learn",
        )
    if counts.min() < 2:
        row = int(first[np.argmin(counts)])
        raise DataError(
            f"{table.place(row, target)}: the class {values[row]!s} occurs once; training and test "
            "need one row each",
            details=[f"{len(classes)} different values in {len(values)} rows"],
            fix="add rows of this class or remove this one; if the values are quantities, pass "
            "--task regression",
        )
    return tuple(classes.tolist())


def empty_model(spec: Spec) -> Model:
    """A model with the shapes that ``spec`` says, for a snapshot to fill."""
    network = spec.network(np.random.default_rng(0), "he")
    n = len(spec.columns)
    zero, one = np.zeros(()), np.ones(())
    return Model(spec, network, np.zeros(n), np.ones(n), zero, one)
