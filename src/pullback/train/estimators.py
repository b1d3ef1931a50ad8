"""Networks as estimators of scikit-learn: in pipelines, grid searches, and joblib's processes.

This module needs scikit-learn, so it is imported by its own name:
``from pullback.train.estimators import PullbackClassifier``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from pullback.nn.functional import relu, softmax
from pullback.nn.layers import mlp
from pullback.nn.losses import mean_squared_error, softmax_cross_entropy
from pullback.optim import adamw
from pullback.train.run import fit

__all__ = ["PullbackClassifier", "PullbackRegressor"]

Array = np.ndarray[Any, Any]


class _Network(BaseEstimator):  # type: ignore[misc]
    def __init__(
        self,
        hidden: Sequence[int] = (64,),
        *,
        activation: Callable[[Any], Any] = relu,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        validation: float | None = None,
        patience: int | None = None,
        compile: bool = False,
        random_state: Any = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation = validation
        self.patience = patience
        self.compile = compile
        self.random_state = random_state

    def _train(self, X: Array, targets: Array, n_outputs: int, loss: Any) -> None:  # noqa: N803
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.mean_, spread = X.mean(axis=0), X.std(axis=0)
        self.scale_ = np.where(spread > 0, spread, 1.0)
        network = mlp(
            np.random.default_rng(seed),
            (X.shape[1], *self.hidden, n_outputs),
            activation=self.activation,
            dtype=np.float32,
        )
        result = fit(
            network,
            loss,
            (self._inputs(X), targets),
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=adamw(self.learning_rate, weight_decay=self.weight_decay),
            validation=self.validation,
            patience=self.patience,
            seed=seed,
            compile=self.compile,
            show=False,
        )
        self.network_, self.history_ = result.model, result.history
        self.n_iter_ = len(result.history)

    def _inputs(self, X: Array) -> Array:  # noqa: N803
        inputs: Array = ((X - self.mean_) / self.scale_).astype(np.float32)
        return inputs

    def _outputs(self, X: Any) -> Array:  # noqa: N803
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)  # noqa: N806
        outputs: Array = self.network_(self._inputs(X)).astype(np.float64)
        return outputs


class PullbackClassifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A network that tells classes apart, as an estimator of scikit-learn.

    Args:
        hidden: widths of the hidden layers.
        activation: elementwise function, a name of a module (so that joblib can send it).
        epochs, batch_size: as :func:`pullback.train.fit` takes them.
        learning_rate, weight_decay: of :func:`pullback.optim.adamw`.
        validation: share of the rows that are set apart; with ``patience`` they tell when to stop.
        patience: see :func:`pullback.train.fit`.
        compile: run the steps as native code; pays off in long runs.
        random_state: seed or generator of everything random.

    Attributes: ``classes_``, ``network_``, ``history_``, ``n_iter_``, ``n_features_in_``; features
    are standardized with ``mean_`` and ``scale_``.

    >>> from sklearn.datasets import load_iris
    >>> from pullback.train.estimators import PullbackClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = PullbackClassifier((16,), epochs=30, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    classes_: Array

    def fit(self, X: Any, y: Any) -> PullbackClassifier:  # noqa: N803
        """Train on rows of features ``X`` and classes ``y``."""
        X, y = validate_data(self, X, y, dtype=np.float64)  # noqa: N806
        check_classification_targets(y)
        self.classes_, positions = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"PullbackClassifier needs two classes, and the data has 1 class: {self.classes_}"
            )
        self._train(X, positions.astype(np.int64), len(self.classes_), softmax_cross_entropy)
        return self

    def predict_proba(self, X: Any) -> Array:  # noqa: N803
        """Probabilities ``(rows, classes)``, in the order of ``classes_``."""
        probabilities: Array = softmax(self._outputs(X))
        return probabilities

    def predict(self, X: Any) -> Array:  # noqa: N803
        """The most probable class of each row."""
        found: Array = np.argmax(self._outputs(X), axis=1)
        answers: Array = self.classes_[found]
        return answers


class PullbackRegressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A network that predicts a number, as an estimator of scikit-learn.

    Arguments and attributes as :class:`PullbackClassifier`; targets are standardized with
    ``target_mean_`` and ``target_scale_``.

    >>> from sklearn.datasets import load_diabetes
    >>> from pullback.train.estimators import PullbackRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = PullbackRegressor((16,), epochs=20, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.5)
    True
    """

    target_mean_: float
    target_scale_: float

    def fit(self, X: Any, y: Any) -> PullbackRegressor:  # noqa: N803
        """Train on rows of features ``X`` and numbers ``y``."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)  # noqa: N806
        self.target_mean_, self.target_scale_ = float(y.mean()), float(y.std()) or 1.0
        targets = ((y - self.target_mean_) / self.target_scale_).astype(np.float32)[:, None]
        self._train(X, targets, 1, mean_squared_error)
        return self

    def predict(self, X: Any) -> Array:  # noqa: N803
        """A number for each row."""
        return self._outputs(X)[:, 0] * self.target_scale_ + self.target_mean_
