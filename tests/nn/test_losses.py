"""Losses against SciPy, and their gradients against the closed forms of the literature."""

import numpy as np
import pytest
from scipy import special

import pullback as pb
from pullback import nn
from pullback.errors import ArgumentError, ShapeError


def test_mean_squared_error(rng: np.random.Generator) -> None:
    predictions, targets = rng.normal(size=(2, 5, 3))
    distance = np.linalg.norm(predictions - targets)
    assert nn.mean_squared_error(predictions, targets) == pytest.approx(distance**2 / 15)
    np.testing.assert_allclose(
        pb.grad(nn.mean_squared_error)(predictions, targets), (predictions - targets) * 2 / 15
    )


def test_cross_entropy_of_classes_and_of_probabilities(rng: np.random.Generator) -> None:
    logits, labels = 50 * rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    expected = -special.log_softmax(logits, axis=1)[np.arange(6), labels].mean()
    assert nn.softmax_cross_entropy(logits, labels) == pytest.approx(expected, rel=1e-13)
    assert nn.softmax_cross_entropy(logits, np.eye(4)[labels]) == pytest.approx(expected, rel=1e-13)
    assert nn.softmax_cross_entropy(logits, labels.tolist()) == pytest.approx(expected, rel=1e-13)
    soft = special.softmax(rng.normal(size=(6, 4)), axis=1)
    entropy = special.entr(soft).sum(axis=1).mean()
    # Cross entropy is entropy plus Kullback-Leibler divergence.
    divergence = special.rel_entr(soft, special.softmax(logits, axis=1)).sum(axis=1).mean()
    assert nn.softmax_cross_entropy(logits, soft) == pytest.approx(entropy + divergence)


def test_the_gradient_of_cross_entropy_is_the_error_of_the_probabilities(
    rng: np.random.Generator,
) -> None:
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    error = (special.softmax(logits, axis=1) - np.eye(4)[labels]) / 6
    np.testing.assert_allclose(pb.grad(nn.softmax_cross_entropy)(logits, labels), error, atol=1e-15)


def test_binary_cross_entropy(rng: np.random.Generator) -> None:
    logits, targets = 5 * rng.normal(size=(2, 20))
    targets = special.expit(targets)
    p = special.expit(logits)
    expected = -(special.xlogy(targets, p) + special.xlog1py(1 - targets, -p)).mean()
    assert nn.binary_cross_entropy_with_logits(logits, targets) == pytest.approx(expected)
    np.testing.assert_allclose(
        pb.grad(nn.binary_cross_entropy_with_logits)(logits, targets),
        (p - targets) / 20,
        atol=1e-15,
    )


@pytest.mark.parametrize("logit", [-1e3, 1e3])
def test_certainty_is_finite(logit: float) -> None:
    z = np.array([logit])
    for target in (0.0, 1.0):
        value, grads = pb.value_and_grad(nn.binary_cross_entropy_with_logits)(z, np.array([target]))
        # Right and certain costs nothing, wrong and certain costs the logit.
        assert value == pytest.approx(0 if (target == 1) == (logit > 0) else 1e3)
        assert abs(grads[0]) <= 1
    pair = np.array([[logit, 0.0]])
    value, grads = pb.value_and_grad(nn.softmax_cross_entropy)(pair, np.array([0]))
    assert value == pytest.approx(max(0, -logit))
    assert np.isfinite(grads).all()


def test_float32_stays(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(3, 4)).astype(np.float32)
    for loss, targets in (
        (nn.softmax_cross_entropy, np.array([0, 1, 2])),
        (nn.mean_squared_error, logits + 1),
        (nn.binary_cross_entropy_with_logits, np.ones_like(logits)),
    ):
        value, grads = pb.value_and_grad(loss)(logits, targets)
        assert value.dtype == grads.dtype == np.float32


def test_shapes_that_would_broadcast_are_refused() -> None:
    column, row = np.ones((4, 1)), np.ones(4)
    for loss in (nn.mean_squared_error, nn.binary_cross_entropy_with_logits):
        with pytest.raises(ShapeError, match="different shapes"):
            loss(column, row)
    with pytest.raises(ShapeError, match=r"targets: int64 \(3,\)"):
        nn.softmax_cross_entropy(np.ones((4, 2)), np.zeros(3, int))
    with pytest.raises(ShapeError, match=r"targets: float64 \(4,\)"):
        nn.softmax_cross_entropy(np.ones((4, 2)), row)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_class_that_does_not_exist_is_refused(label: int) -> None:
    with pytest.raises(ArgumentError, match=rf"class {label} does not exist\n.*\n  targets\[1\]"):
        nn.softmax_cross_entropy(np.zeros((2, 3)), np.array([0, label]))
