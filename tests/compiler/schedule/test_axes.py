"""Neighbouring axes: loops run over several as one, and read the same elements."""

import re

import numpy as np
import pytest

import pullback as pb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 5, 11))
Y = RNG.normal(size=(3, 5, 11, 2))
B = RNG.normal(size=3)

READS = {
    "all alike": (lambda x, y, b: x * x + 1, 1),
    "one bias for each channel": (lambda x, y, b: x + b[:, None, None], 3),
    "the last axis apart": (lambda x, y, b: x + y[0, 0, :, 0], 2),
    "an axis of one element": (lambda x, y, b: x * np.sum(x, axis=2, keepdims=True), 3),
    "transposed, neighbours together": (lambda x, y, b: x + np.transpose(y, (3, 0, 1, 2)), 2),
    "transposed, none together": (lambda x, y, b: x + np.transpose(y, (3, 0, 1, 2))[..., ::-1], 3),
    "swapped": (lambda x, y, b: np.swapaxes(np.swapaxes(x, 1, 2) * 2, 1, 2) + x, 1),
    "part of the first axis": (lambda x, y, b: x[:, 1:] + 1, 2),
    "part of the last axis": (lambda x, y, b: x[..., 1:] + 1, 2),
    "every other": (lambda x, y, b: x[:, :, ::2] + 1, 3),
    "reversed": (lambda x, y, b: x[:, ::-1] + 1, 3),
    "one of an axis": (lambda x, y, b: x[:, 1] * y[1, :, :, 0], 2),
    "one of an axis between others": (lambda x, y, b: y[:, 1] * 2.0, 2),
    "new axes": (lambda x, y, b: (x[:, None] + b[None, :, None, None])[:, 0], 3),
    "rolled along the first axis": (lambda x, y, b: np.roll(x, 1, axis=0) + x, 2),
    "rolled in the middle": (lambda x, y, b: np.roll(x, 1, axis=1) * x, 5),
    "rolled along the last axis": (lambda x, y, b: np.roll(x, 5, axis=3) - x, 4),
    "padded": (lambda x, y, b: np.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, 1:] * x, 2),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("copies", [1, 40])  # 40 make several chunks
def test_elements_are_read_where_they_are(name, copies):
    read, _ = READS[name]
    x, y = np.concatenate([X] * copies), np.concatenate([Y] * copies, axis=3)

    def function(x, y, b):
        return np.tanh(read(x, y, b))

    got = pb.compile(function)(x, y, B)
    np.testing.assert_allclose(got, function(x, y, B), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", READS)
def test_loops_run_over_neighbours_at_once(name):
    """The loops of the last kernel, of all of its regions; there is one block of each."""
    read, n_loops = READS[name]
    text = pb.compile(lambda x, y, b: np.tanh(read(x, y, b))).show("llvm", X, Y, B)
    *_, kernel = re.findall(r'define internal void @"kernel.*?\n}', text, re.DOTALL)
    assert len(re.findall(r"^loop[.\d]*:", kernel, re.MULTILINE)) == n_loops


@pytest.mark.parametrize(("length", "n_loops"), [(2, 1), (4, 1), (5, 2)])
def test_short_last_axes_are_written_out(length, n_loops):
    x, b = RNG.normal(size=(6, length)), RNG.normal(size=(6, 1))

    def function(x, b):
        return np.tanh(x[::-1] + b)

    text = pb.compile(function).show("llvm", x, b)
    *_, kernel = re.findall(r'define internal void @"kernel.*?\n}', text, re.DOTALL)
    assert len(re.findall(r"^loop[.\d]*:", kernel, re.MULTILINE)) == n_loops
    np.testing.assert_allclose(pb.compile(function)(x, b), function(x, b), rtol=1e-14)
