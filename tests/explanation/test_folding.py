"""Repetitions of rows, told once."""

import numpy as np

import pullback as pb
from pullback.explanation.folding import Fold, folded


def deep(weights, x):
    for W in weights:
        h = x @ W
        x = np.tanh(h)
    return np.mean(x**2)


def report(n, shape=(4, 4)):
    rng = np.random.default_rng(0)
    return pb.explain(deep, [rng.normal(size=shape) for _ in range(n)], rng.normal(size=(3, 4)))


def test_layers_are_shown_first_and_last():
    parts = folded(report(30).forward)
    assert [p.name for p in parts if not isinstance(p, Fold)] == [
        "h",
        "x#2",
        "h#30",
        "x#31",
        "deep",
    ]
    (fold,) = [p for p in parts if isinstance(p, Fold)]
    assert (fold.times, fold.period, len(fold.rows)) == (28, 2, 56)
    assert str(report(30)).count("28 times more: the 2 rows above") == 1


def test_no_row_is_lost():
    for rows in (report(9).forward, report(9).rows):
        parts = folded(rows)
        again = [row for p in parts for row in (p.rows if isinstance(p, Fold) else (p,))]
        assert again == list(rows)


def test_few_or_different_rows_stay():
    assert not [p for p in folded(report(3).forward) if isinstance(p, Fold)]

    def growing(x):
        for _ in range(7):
            x = np.concatenate([np.sin(x), x[:1]])
        return np.sum(x)

    rows = pb.explain(growing, np.ones(2)).forward
    assert not [p for p in folded(rows) if isinstance(p, Fold)]
