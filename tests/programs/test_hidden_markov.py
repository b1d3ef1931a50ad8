"""A hidden Markov model, trained by the gradient of its likelihood.

The forward algorithm: Rabiner (1989), equations 19 to 21. The reference sums over all paths.
"""

import itertools

import numpy as np

import pullback as pb
import pullback.numpy as pnp

RNG = np.random.default_rng(1)
OBSERVED = [0, 2, 1, 1, 0, 2]
START, MOVES, SIGNS = RNG.normal(size=2), RNG.normal(size=(2, 2)), RNG.normal(size=(2, 3))


def normalized(logits):
    return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def forward(start, moves, signs):
    """Log likelihood, state by state, with lists as in a textbook."""
    start, moves, signs = normalized(start), normalized(moves), normalized(signs)
    alpha = [start[j] + signs[j, OBSERVED[0]] for j in range(2)]
    for seen in OBSERVED[1:]:
        alpha = [
            np.logaddexp.reduce(pnp.array([alpha[i] + moves[i, j] for i in range(2)]))
            + signs[j, seen]
            for j in range(2)
        ]
    return np.logaddexp(alpha[0], alpha[1])


def over_all_paths(start, moves, signs):
    start, moves, signs = (np.exp(normalized(v)) for v in (start, moves, signs))
    total = 0.0
    for path in itertools.product(range(2), repeat=len(OBSERVED)):
        likelihood = start[path[0]]
        for a, b in itertools.pairwise(path):
            likelihood = likelihood * moves[a, b]
        for state, seen in zip(path, OBSERVED, strict=True):
            likelihood = likelihood * signs[state, seen]
        total = total + likelihood
    return np.log(total)


def viterbi(start, moves, signs):
    """Log likelihood of the best path, kept in a table that is filled in place."""
    start, moves, signs = normalized(start), normalized(moves), normalized(signs)
    table = pnp.zeros((len(OBSERVED), 2))
    table[0] = start + signs[:, OBSERVED[0]]
    for t, seen in enumerate(OBSERVED[1:], 1):
        for j in range(2):
            table[t, j] = np.max(table[t - 1] + moves[:, j]) + signs[j, seen]
    return np.max(table[-1])


def test_likelihood_and_its_gradient() -> None:
    args = (START, MOVES, SIGNS)
    np.testing.assert_allclose(forward(*args), over_all_paths(*args))
    ours, theirs = (pb.grad(f, (0, 1, 2))(*args) for f in (forward, over_all_paths))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)
    pb.check_grads(forward, args)
    compiled = pb.compile(pb.grad(forward, (0, 1, 2)))(*args)
    for a, b in zip(compiled, ours, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-13)


def test_the_best_path() -> None:
    pb.check_grads(viterbi, (START, MOVES, SIGNS), order=1)
    # The gradient counts the moves of the best path, less what normalizing takes away.
    moves = pb.grad(viterbi, 1)(START, MOVES, SIGNS)
    np.testing.assert_allclose(moves.sum(axis=1), 0, atol=1e-14)
