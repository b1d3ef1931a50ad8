"""Estimators: scikit-learn's own checks, pipelines with a grid search in processes, pickles."""

import os
import pickle
import unittest
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from pullback.train.estimators import PullbackClassifier, PullbackRegressor

ESTIMATORS = (
    PullbackClassifier((16,), epochs=30, learning_rate=0.02),
    PullbackRegressor((16,), epochs=30, learning_rate=0.02),
)
ALL = "PULLBACK_CHECK_ESTIMATORS" in os.environ
# The checks that train most often; the others come with the variable.
QUICK = ("_train", "nan", "clone", "init", "tags", "1d")


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_scikit_learn_accepts_the_estimator(estimator: Any) -> None:
    n = 0
    for checked, check in estimator_checks_generator(estimator):
        name = getattr(check, "func", check).__name__
        if ALL or any(word in name for word in QUICK):
            with suppress(unittest.SkipTest):  # checks of libraries that are not installed
                check(checked)
            n += 1
    assert n >= 8


def test_a_pipeline_is_searched_in_processes() -> None:
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), PullbackClassifier(epochs=20, random_state=0))
    grid = {"pullbackclassifier__hidden": [(2,), (16,)]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2 if ALL else 1).fit(x, y)
    assert search.best_score_ > 0.8


def test_a_pickle_is_small_and_answers_the_same() -> None:
    x, y = load_iris(return_X_y=True)
    model = PullbackClassifier((8,), epochs=5, random_state=0).fit(x, y)
    content = pickle.dumps(model)
    n_weights = (4 + 1) * 8 + (8 + 1) * 3
    assert len(content) < 4 * n_weights + 4000
    np.testing.assert_array_equal(pickle.loads(content).predict_proba(x), model.predict_proba(x))
    np.testing.assert_allclose(model.predict_proba(x).sum(axis=1), 1)
    again = PullbackClassifier((8,), epochs=5, random_state=0).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
