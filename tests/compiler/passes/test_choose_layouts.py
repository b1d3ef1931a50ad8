"""What loops multiply with lies as they read it; what products copy is said."""

from itertools import takewhile

import numpy as np
import pytest
from tests.compiler.comparing import check

import pullback as pb

RNG = np.random.default_rng(0)
H = RNG.normal(size=(32, 48))
W = RNG.normal(size=(48, 48)) / 8


def recurrent(n_rows=32, length=5):
    """The derivative of its loop multiplies with the transposed weights in each step."""

    def loss(w, h):
        return np.sum(pb.scan(lambda h, _: (np.tanh(h @ w), None), h, None, length=length)[0])

    return pb.grad(loss), W, RNG.normal(size=(n_rows, 48))


def repeated(step, length):
    """A loop of steps ``x = step(w, x)``, which take their ``w`` from inside of it."""

    def f(w, x):
        return pb.scan(lambda c, _: ((c[0], step(*c)), None), (w, x), None, length=length)[0][1]

    return f


def body(text):
    """What is printed of the body of the last loop."""
    lines = text.rpartition("body:\n")[2].splitlines()
    return "\n".join(takewhile(lambda line: line.startswith("    "), lines))


def test_a_loop_does_not_transpose_what_it_does_not_change():
    f, *args = recurrent()
    check(f, *args)
    compiled = pb.compile(f)
    assert "transpose" in body(compiled.show("simplified", *args))
    assert "transpose" not in body(compiled.show("layouts", *args))
    loops = compiled.show("loops", *args)
    assert "copies" not in body(loops)
    assert loops.count("= transpose") == 1


def test_one_row_reads_a_transposed_matrix_in_place():
    f, *args = recurrent(n_rows=1)
    check(f, *args)
    assert "transpose" in body(pb.compile(f).show("layouts", *args))


def test_many_rows_are_worth_a_copy_in_each_step():
    f, *args = recurrent(n_rows=300, length=3)
    check(f, *args)
    assert "transpose" in body(pb.compile(f).show("layouts", *args))


@pytest.mark.parametrize(("n", "is_moved"), [(32, False), (64, True), (300, False)])
def test_left_operands_move_where_they_would_be_copied(n, is_moved):
    f = repeated(lambda w, x: np.tanh(w.T @ x), 3)
    w, x = RNG.normal(size=(300, 300)) / 20, RNG.normal(size=(300, n))
    check(f, w, x)
    text = body(pb.compile(f).show("layouts", w, x))
    assert ("transpose" in text) != is_moved


def test_transposed_constants_leave_loops_in_loops():
    f = repeated(repeated(lambda w, h: np.tanh(h @ w.T), 2), 3)
    check(f, W, H)
    text = pb.compile(f).show("layouts", W, H)
    assert text.count("transpose") == 1
    assert text.index("transpose") < text.index("scan")


def test_stacks_of_constants_move_with_all_their_axes():
    heads = RNG.normal(size=(3, 20, 48)) / 8
    f = repeated(lambda w, x: np.tanh(x @ np.transpose(w, (0, 2, 1))) @ w, 3)
    x = RNG.normal(size=(3, 7, 48))
    check(f, heads, x)
    assert "transpose" not in body(pb.compile(f).show("layouts", heads, x))


def test_heads_whose_rows_lie_as_rows_are_read_in_place():
    f = repeated(lambda w, x: np.tanh(x @ np.transpose(w, (1, 0, 2))), 3)
    heads, x = RNG.normal(size=(20, 3, 20)) / 8, RNG.normal(size=(3, 7, 20))
    check(f, heads, x)
    assert "transpose" in body(pb.compile(f).show("layouts", heads, x))


def test_a_matrix_that_is_also_read_as_it_is_stays():
    f = repeated(lambda w, h: np.tanh(h @ w.T) @ w, 3)
    check(f, W, H)
    text = pb.compile(f).show("layouts", W, H)
    assert "n_constants=2" in text


def test_copies_of_products_and_images_are_said():
    a, b = RNG.normal(size=(200, 300)), RNG.normal(size=(300, 200))
    f = pb.compile(lambda a, b: a @ b)
    assert "= matmul  #" in f.show("loops", a[:2, :8], b[:8])
    assert "= matmul [copies B]  #" in f.show("loops", a, b)
    a, b = RNG.normal(size=(4000, 1000)), RNG.normal(size=(1000, 1000))
    assert "= matmul [copies B once]  #" in f.show("loops", a, b)
    image, filters = RNG.normal(size=(2, 3, 9, 9)), RNG.normal(size=(4, 3, 3, 3))
    conv = pb.compile(lambda x, w: pb.nn.conv(x, w, padding="same"))
    assert "= conv [copies images]  #" in conv.show("loops", image, filters)
    point = filters[:, :, :1, :1]
    assert "= conv  #" in conv.show("loops", image, point)


def test_loops_of_bodies_are_printed():
    text = pb.compile(recurrent()[0]).show("loops", *recurrent()[1:])
    assert text.count("\n  body:\n    kernel 0: ") == 2
