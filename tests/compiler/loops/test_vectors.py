"""Loops whose elements LLVM computes side by side, which is many times faster than one by one."""

from __future__ import annotations

import re

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.llvm import assembler

X = np.linspace(-3, 3, 40 * 64, dtype=np.float32).reshape(40, 64)
MASK = X > 0.5


def masked(x, mask):
    return np.where(mask, x, -np.inf)


def softmax(x, mask):
    x = masked(x, mask)
    weights = np.exp(x - np.max(x, axis=-1, keepdims=True, initial=-9))
    return weights / np.sum(weights, axis=-1, keepdims=True)


LOOPS = {
    "maximum": lambda x, mask: np.max(x, axis=-1),
    "masked maximum": lambda x, mask: np.max(masked(x, mask), axis=-1),
    "masked minimum": lambda x, mask: np.min(np.where(mask, x, np.inf), axis=-1),
    "masked minimum of all": lambda x, mask: np.min(np.where(mask, x, np.inf)),
    "exponentials": lambda x, mask: np.exp(masked(x, mask)),
    "softmax": softmax,
}


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_of_single_numbers(monkeypatch, name):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    texts = []
    emit = assembler.emit_object

    def emit_object(host, module):
        texts.append(str(module))
        return emit(host, module)

    monkeypatch.setattr(assembler, "emit_object", emit_object)
    f = pb.compile(LOOPS[name])
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(f(X, MASK), LOOPS[name](X, MASK), rtol=1e-6)
    kernels = re.findall(r"^define internal void @kernel.*?^}", "\n".join(texts), re.M | re.S)
    assert kernels
    for kernel in kernels:
        loaded = re.findall(r"load (\S+ x float>|float)", kernel)
        assert loaded
        assert "float" not in loaded, "numbers of X are loaded one by one"


@pytest.mark.parametrize(
    ("f", "n_whole"),
    [
        (lambda x, mask: np.exp(x), 1),
        (lambda x, mask: np.tanh(np.sort(x) + 1) * 2, 1),  # not the sort
        (softmax, 1),
        (lambda x, mask: np.tanh(x @ x.T), 1),  # the tail of the product
        (lambda x, mask: np.where(mask, x * 2, x / 3), 0),  # as fast as memory
        (lambda x, mask: np.exp(x[:0]), 0),
    ],
)
def test_what_computes_elementary_functions_has_whole_vectors(f, n_whole):
    text = pb.compile(f).show("llvm", X, MASK)
    functions = re.findall(r"^define .*$", text, re.MULTILINE)
    assert sum("prefer-vector-width" in line for line in functions) == n_whole
