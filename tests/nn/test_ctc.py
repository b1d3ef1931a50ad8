"""The CTC loss: PyTorch's values, brute force over all paths, and cases without a path."""

import itertools
from typing import Any

import numpy as np
import pytest
from tests.reference import recorded

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError, ShapeError

TARGETS = np.array([[1, 2, 2], [3, 1, 0], [2, 0, 0]])
INPUT_LENGTHS, TARGET_LENGTHS = np.array([6, 5, 3]), np.array([3, 2, 0])


def test_values_and_gradients_are_those_of_pytorch() -> None:
    values = recorded("ctc")

    def loss(x: Any) -> Any:
        return nn.ctc_loss(x, TARGETS, INPUT_LENGTHS, TARGET_LENGTHS) * values["ct"]

    value, grad = pb.value_and_grad(loss)(values["in/0"])
    np.testing.assert_allclose(value, values["out"] * values["ct"], rtol=1e-12)
    np.testing.assert_allclose(grad, values["grad/in/0"], rtol=1e-9, atol=1e-12)
    compiled = pb.compile(pb.grad(loss))(values["in/0"])
    np.testing.assert_allclose(compiled, grad, rtol=1e-9, atol=1e-12)


def test_all_paths_are_added_up(rng: Any) -> None:
    logits = rng.normal(size=(1, 5, 3))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum(axis=1, keepdims=True)
    for target in ([1], [2, 1], [1, 1], [2, 2, 2]):
        total = 0.0
        for path in itertools.product(range(3), repeat=5):
            joined = [k for k, _ in itertools.groupby(path) if k != 0]
            if joined == target:
                total += np.prod([p[t, k] for t, k in enumerate(path)])
        n = len(target)
        loss = nn.ctc_loss(logits, np.array([target]), np.array([5]), np.array([n]))
        np.testing.assert_allclose(loss, -np.log(total) / n, rtol=1e-12)


def test_a_target_that_is_too_long_costs_infinity_and_has_no_derivative(rng: Any) -> None:
    args = np.array([[1, 1]]), np.array([2]), np.array([2])
    logits = rng.normal(size=(1, 2, 3))
    assert nn.ctc_loss(logits, *args) == np.inf
    assert np.all(np.isfinite(pb.grad(lambda x: nn.ctc_loss(x, *args))(logits)))


def test_wrong_shapes_lengths_and_classes_are_refused() -> None:
    good = np.zeros((1, 4, 3)), np.array([[1, 2]]), np.array([4]), np.array([2])
    nn.ctc_loss(*good)
    for i, bad, message in (
        (1, np.array([[1, 3]]), "targets are not all whole numbers from 0 to 2"),
        (2, np.array([5]), "input_lengths are not all whole numbers from 1 to 4"),
        (3, np.array([3]), "target_lengths"),
    ):
        args = [*good]
        args[i] = bad
        with pytest.raises(ArgumentError, match=message):
            nn.ctc_loss(*args)
    with pytest.raises(ShapeError, match="do not fit together"):
        nn.ctc_loss(good[0], np.array([1, 2]), *good[2:])
