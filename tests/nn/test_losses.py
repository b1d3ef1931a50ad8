"""Losses against SciPy, and their gradients against the closed forms of the literature."""

from typing import Any

import mpmath
import numpy as np
import pytest
from scipy import special
from tests.reference import recorded

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


@pytest.mark.parametrize(
    ("case", "loss"),
    [
        ("huber", lambda x, y: nn.huber(x, y, delta=0.7)),
        ("kl", nn.kl_divergence),
        ("hinge", nn.hinge),
        ("multi_margin", nn.multi_margin),
    ],
)
def test_values_and_gradients_are_those_of_pytorch(case: str, loss: Any) -> None:
    values = recorded(case)
    y = values["in/1"]
    value, grad = pb.value_and_grad(lambda x: loss(x, y) * values["ct"])(values["in/0"])
    np.testing.assert_allclose(value, values["out"] * values["ct"], rtol=1e-12)
    np.testing.assert_allclose(grad, values["grad/in/0"], rtol=1e-10, atol=1e-14)


def test_the_focal_loss_is_its_formula_in_high_precision() -> None:
    logits, targets = np.array([-3.0, 0.5, 2.0, 40.0]), np.array([1.0, 0.0, 1.0, 0.0])
    with mpmath.workdps(50):
        total = mpmath.mpf(0)
        for x, t in zip(logits, targets, strict=True):
            p = 1 / (1 + mpmath.exp(-x))
            p_t, a_t = (p, 0.3) if t else (1 - p, 0.7)
            total -= a_t * (1 - p_t) ** 1.5 * mpmath.log(p_t)
        expected = float(total / 4)
    found = nn.focal_loss(logits, targets, gamma=1.5, alpha=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ArgumentError, match="delta is 0"):
        nn.huber(np.ones(1), np.ones(1), delta=0)
    with pytest.raises(ArgumentError, match="gamma is -1"):
        nn.focal_loss(np.ones(1), np.ones(1), gamma=-1)
    with pytest.raises(ArgumentError, match="multi_margin: class 3 does not exist"):
        nn.multi_margin(np.ones((1, 3)), np.array([3]))
    with pytest.raises(ShapeError, match="different shapes"):
        nn.hinge(np.ones(2), np.ones((2, 1)))
