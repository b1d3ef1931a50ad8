"""Reshapes that move out of the way of loops, and results that stay what they were."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.passes.sink_reshapes import sink_reshapes
from pullback.core.types import type_of
from pullback.transforms.evaluate import evaluate
from pullback.transforms.passes.pipeline import optimize
from pullback.transforms.stage import stage

X = np.random.default_rng(0).integers(-9, 9, (2, 3, 4, 6)).astype(float)  # with equal values


def names(f, *args):
    """The names of the equations after the pass, which leaves the results as they are."""
    before = optimize(stage(lambda *a: [f(*a)], [type_of(x) for x in args]).graph)
    after = optimize(sink_reshapes(before)).verify()
    for x, y in zip(evaluate(before, args), evaluate(after, args), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(y, x)
    return [e.primitive.name for e in after.equations]


def windows(x):
    """Windows of 2 x 3, whose values are the first axis."""
    split = np.reshape(x, (2, 3, 2, 2, 2, 3))
    return np.reshape(np.transpose(split, (3, 5, 0, 1, 2, 4)), (6, 2, 3, 2, 2))


@pytest.mark.parametrize("fold", [np.max, np.min, np.sum, np.prod, np.mean])
def test_a_fold_of_joined_axes_folds_the_axes(fold):
    assert names(lambda x: fold(windows(x), axis=0), X).count("reshape") == 1
    assert names(lambda x: fold(windows(x), axis=(0, 2)), X).count("reshape") == 1


def test_an_array_may_meet_its_own_joined_axes():
    row = np.arange(5.0)[:, None]
    for x in (row, row[:1]):
        assert "add" in names(lambda x: x.T + np.reshape(x.T, -1), x)
        np.testing.assert_array_equal(
            pb.compile(lambda x: np.sin(x.T) * np.reshape(x.T, -1))(x), np.sin(x.T) * x[:, 0]
        )


def test_the_gradient_of_pooling_needs_no_transposed_array():
    ones = names(pb.grad(lambda x: np.sum(np.max(windows(np.maximum(x, 0)), axis=0) ** 2)), X)
    assert ones.count("reshape") == 2  # to the windows and back
    f = pb.compile(pb.grad(lambda x: np.sum(pb.nn.max_pool(np.maximum(x, 0), (2, 3)) ** 2)))
    assert "transpose  #" not in f.show("loops", X)


def test_a_rectifier_comes_after_the_reshape_of_what_has_memory():
    def rectified(x):
        y = np.maximum(np.cumsum(x, axis=0), 0)
        return np.reshape(y, (6, 24))

    assert names(rectified, X) == ["cumsum", "reshape", "maximum"]

    def layer(x):
        y = np.maximum(np.cumsum(x, axis=0), 0)
        return np.reshape(y, (6, 24)) @ np.reshape(y, (24, 6)), np.sum(y)

    f = pb.compile(layer)
    assert f.show("loops", X).count("maximum") == 1  # it is read elsewhere too
    alone = names(lambda x: np.reshape(np.maximum(np.exp(x), 2), (6, 24)), X)
    assert alone == ["exp", "maximum", "reshape"]


def test_reshapes_that_stay():
    other = np.ones((6, 2, 3, 2, 2))
    assert "reshape" in names(lambda x, y: windows(x) * y, X, other)  # another operand is joined
    assert names(lambda x: np.max(windows(x), axis=1), X)[-2:] == ["reshape", "max"]
    assert names(lambda x: np.argmax(windows(x), axis=0), X)[-2:] == ["reshape", "argmax"]
    plain = names(lambda x: np.max(np.reshape(x, (6, 4, 6)), axis=0), X)
    assert plain == ["reshape", "max"]  # nothing is transposed


def test_arithmetic_of_joined_axes_with_themselves():
    assert names(lambda x: np.sum(windows(x) * windows(x), axis=0), X).count("reshape") == 1


def test_joined_axes_that_are_broadcast_by_the_other_operand():
    def broadcast(x, row):
        split = np.reshape(x, (2, 3, 2, 2, 1, 3))
        joined = np.reshape(np.transpose(split, (3, 5, 0, 1, 2, 4)), (6, 2, 3, 2, 1))
        return np.sum(joined * row, axis=0)

    assert names(broadcast, X[..., :3], np.arange(1.0, 5.0)).count("reshape") == 1
