"""A long short-term memory whose states are Python lists: Hochreiter & Schmidhuber (1997), with
the forget gate of Gers et al. (2000).

The reference unrolls the pullback by hand, as a textbook does: Goodfellow et al. (2016), 10.10.
"""

import numpy as np

import pullback as pb
import pullback.numpy as pnp

N, D, T = 3, 2, 5
RNG = np.random.default_rng(9)
WEIGHTS = {gate: 0.5 * RNG.normal(size=(N, N + D)) for gate in "ifoc"}
BIASES = {gate: 0.1 * RNG.normal(size=N) for gate in "ifoc"}
INPUTS, TARGET = RNG.normal(size=(T, D)), RNG.normal(size=N)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run(weights, biases, inputs):
    h, c = [np.zeros(N)], [np.zeros(N)]
    for x in inputs:
        both = np.concatenate((h[-1], x))
        gate = {k: weights[k] @ both + biases[k] for k in "ifoc"}
        c.append(sigmoid(gate["f"]) * c[-1] + sigmoid(gate["i"]) * np.tanh(gate["c"]))
        h.append(sigmoid(gate["o"]) * np.tanh(c[-1]))
    return pnp.array(h), pnp.array(c)


def loss(weights, biases):
    h, _ = run(weights, biases, INPUTS)
    return np.mean((h[1:] - TARGET) ** 2)


def by_hand(weights, biases):
    h, c = run(weights, biases, INPUTS)
    w_bars = {k: np.zeros((N, N + D)) for k in "ifoc"}
    b_bars = {k: np.zeros(N) for k in "ifoc"}
    h_bar, c_bar = np.zeros(N), np.zeros(N)
    for t in range(T - 1, -1, -1):
        both = np.concatenate((h[t], INPUTS[t]))
        i, f, o = (sigmoid(weights[k] @ both + biases[k]) for k in "ifo")
        new = np.tanh(weights["c"] @ both + biases["c"])
        h_bar = h_bar + 2 * (h[t + 1] - TARGET) / (T * N)
        c_bar = c_bar + h_bar * o * (1 - np.tanh(c[t + 1]) ** 2)
        bars = {
            "i": c_bar * new * i * (1 - i),
            "f": c_bar * c[t] * f * (1 - f),
            "o": h_bar * np.tanh(c[t + 1]) * o * (1 - o),
            "c": c_bar * i * (1 - new**2),
        }
        both_bar = np.zeros(N + D)
        for k, bar in bars.items():
            w_bars[k] += np.outer(bar, both)
            b_bars[k] += bar
            both_bar += weights[k].T @ bar
        h_bar, c_bar = both_bar[:N], c_bar * f
    return w_bars, b_bars


def test_gradient_is_that_of_the_textbook() -> None:
    expected = by_hand(WEIGHTS, BIASES)
    for gradient in (pb.grad(loss, (0, 1)), pb.compile(pb.grad(loss, (0, 1)))):
        for ours, theirs in zip(gradient(WEIGHTS, BIASES), expected, strict=True):
            for gate in "ifoc":
                np.testing.assert_allclose(ours[gate], theirs[gate], atol=1e-14)
    pb.check_grads(loss, (WEIGHTS, BIASES))
