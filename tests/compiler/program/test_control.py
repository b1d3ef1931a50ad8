"""Loops: where their state is, and that it is what Python's loop would have."""

import numpy as np
import pytest

import pullback as pb

W = np.linspace(-0.5, 0.5, 16).reshape(4, 4)


def arena(fun, *args):
    return int(pb.compile(fun).show("memory", *args).splitlines()[0].split()[1])


def written(n):
    """A loop that writes one element of a buffer after the other."""

    def run(x):
        def step(buffer, i):
            buffer[i] = buffer[i - 1] * 0.5 + x[i]
            return buffer, buffer[i]

        return pb.scan(step, np.zeros(n), np.arange(1, n))

    return run


def test_a_buffer_is_written_in_place_by_a_loop():
    n = 2000
    x = np.linspace(0.0, 1.0, n)
    want = np.zeros(n)
    for i in range(1, n):
        want[i] = want[i - 1] * 0.5 + x[i]
    buffer, stacked = pb.compile(written(n))(x)
    np.testing.assert_allclose(buffer, want, rtol=1e-14)
    np.testing.assert_allclose(stacked, want[1:], rtol=1e-14)
    assert arena(written(n), x) < 3 * x.nbytes  # the buffer once, and what the loop runs over


@pytest.mark.parametrize(
    "step",
    [
        lambda a, b: ((b, a), a + b),  # the carry changes places
        lambda a, b: ((a + b, a + b), a),  # one value twice
        lambda a, b: ((a * 2, a + b), b),  # read after it would be written
        lambda a, b: ((a, b * a), b),  # one stays
        lambda a, b: ((np.cumsum(a) + a, b[::-1] - a), a * b),
        lambda a, b: ((a + b[::-1], b + 1), a),
        lambda a, b: ((np.tanh(a @ W), np.cumsum(b)), b),
    ],
)
def test_carries_of_all_kinds(step):
    def run(a, b):
        return pb.scan(lambda carry, x: step(*carry), (a, b), None, 5)

    a, b = np.linspace(0.1, 1.0, 4), np.linspace(0.5, 0.6, 4)
    (p, q), stacked = pb.compile(run)(a, b)
    pairs, kept = (a, b), []
    for _ in range(5):
        pairs, y = step(*pairs)
        kept.append(y)
    np.testing.assert_allclose(p, pairs[0], rtol=1e-13)
    np.testing.assert_allclose(q, pairs[1], rtol=1e-13)
    np.testing.assert_allclose(stacked, kept, rtol=1e-13)
    np.testing.assert_array_equal(a, np.linspace(0.1, 1.0, 4))


def test_a_while_loop_updates_its_state_in_place():
    def run(x):
        def body(state):
            i, x = state
            return i + 1, x * 0.5 + 1.0

        return pb.while_loop(lambda state: np.max(state[1]) > 2.5, body, (0, x))

    x = np.array([100.0, 3.0])
    i, got = pb.compile(run)(x)
    count, want = 0, x
    while np.max(want) > 2.5:
        count, want = count + 1, want * 0.5 + 1.0
    assert int(i) == count
    np.testing.assert_allclose(got, want, rtol=1e-14)


# -- a loop starts where its operand is, and ends where its result is ----------------------------
def stencil(u):
    return u + 0.1 * (np.roll(u, 1) - 2 * u + np.roll(u, -1))


def repeated(u, n):
    for _ in range(n):
        u = stencil(u)
    return u


@pytest.mark.parametrize("n", range(5))
def test_state_that_moves_ends_in_the_result(n):
    """After an even number of steps it is where it began, after an odd one at the other place."""
    u = np.linspace(0.0, 1.0, 1000) ** 2
    run = lambda u: pb.scan(lambda c, _: (stencil(c), None), 2 * u, None, n)[0]
    np.testing.assert_allclose(pb.compile(run)(u), repeated(2 * u, n), rtol=1e-13)
    assert arena(run, u) == u.nbytes  # the other place


def test_state_in_the_middle_of_a_program_takes_two_places():
    run = lambda u: np.sum(pb.scan(lambda c, _: (stencil(c), None), 2 * u, None, 6)[0] ** 2)
    u = np.linspace(0.0, 1.0, 1000) ** 2
    np.testing.assert_allclose(pb.compile(run)(u), np.sum(repeated(2 * u, 6) ** 2), rtol=1e-13)
    assert arena(run, u) == 2 * u.nbytes


READ_BY_OTHERS = {
    "a constant": lambda y: pb.scan(lambda c, _: (c * 0.5 + y[::-1], None), y, None, 3)[0],
    "rows": lambda y: pb.scan(lambda c, r: (c * 0.5 + r, c[0]), y, np.outer(y, y) + y)[0],
    "its own rows": lambda y: pb.scan(lambda c, r: (c * 0.5 + r, c[0]), y, y)[0],
    "another carry": lambda y: pb.scan(lambda c, _: ((c[1] + 1, c[0] * 2), None), (y, y), None, 3)[
        0
    ],
    "a later step": lambda y: pb.scan(lambda c, _: (c * 0.5 + 1, None), y, None, 3)[0] + y,
    "a reshape": lambda y: pb.scan(
        lambda c, _: (c * 0.5 + y.reshape(2, 3).T.ravel(), None), y, None, 3
    )[0],
    "a test": lambda y: pb.while_loop(
        lambda c: np.sum(c) < 50 * np.sum(y), lambda c: c * 1.5 + 0.1, y
    ),
    "a body": lambda y: pb.while_loop(lambda c: np.sum(c) < 300.0, lambda c: c * 1.5 + y[::-1], y),
}


@pytest.mark.parametrize("reader", READ_BY_OTHERS)
def test_a_first_state_that_others_read_stays(reader):
    x = np.linspace(0.5, 3.0, 6)
    run = lambda x: READ_BY_OTHERS[reader](np.cumsum(x))
    got, want = pb.compile(run)(x), run(x)
    for g, w in zip(pb.tree.leaves(got), pb.tree.leaves(want), strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-13)


def reversed_late(_, row):
    """A row of results is written before the last of its operand is read."""
    y = np.cumsum(row)
    return None, np.sort(y)[::-1] + np.roll(row, 1)


def test_rows_of_results_do_not_lie_in_rows_of_operands():
    x = np.linspace(1.0, 2.0, 60).reshape(5, 12)
    run = lambda x: np.sum(pb.scan(reversed_late, None, np.cumsum(x, axis=1))[1] * x)
    rows = np.stack([reversed_late(None, row)[1] for row in np.cumsum(x, axis=1)])
    np.testing.assert_allclose(pb.compile(run)(x), np.sum(rows * x), rtol=1e-13)
