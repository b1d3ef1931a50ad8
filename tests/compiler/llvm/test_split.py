"""Texts in several units: together they say the same."""

from __future__ import annotations

import itertools
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from llvmlite.binding import ffi

import pullback as pb
from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.compiler.llvm.split import LEAST_LINES, MOST_UNITS, callers_and_callees, units

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 24))
SIZES = (24, 30, 36, 24)
WEIGHTS = [RNG.normal(size=pair) / 5 for pair in itertools.pairwise(SIZES)]


def network(weights, x):
    for w in weights:
        x = np.tanh(x @ w) + np.mean(x, axis=-1, keepdims=True)
    return np.sum(np.sort(x, axis=-1) * np.sin(x)) / np.sum(np.exp(x))


def defined(text):
    return re.findall(r'^define .*@"?([\w.]+)"?\(', text, re.MULTILINE)


@pytest.fixture(scope="module")
def text():
    return pb.compile(pb.grad(network)).show("llvm", WEIGHTS, X)


def test_each_function_is_in_one_unit(text):
    parts = units(text)
    assert len(parts) == MOST_UNITS
    inlined = set(re.findall(r'@"([\w.]+)"\(.*\) alwaysinline', text))
    names = [name for part in parts for name in defined(part) if name not in inlined]
    assert sorted(names) == sorted(set(defined(text)) - inlined)
    assert inlined <= {name for part in parts for name in defined(part)}


def test_units_are_no_small_ones_and_repeat_little(text):
    sizes = [part.count("\n") for part in units(text)]
    assert min(sizes) > LEAST_LINES / 2
    assert sum(sizes) < 1.1 * text.count("\n")


def test_functions_that_are_called_stay_with_their_callers(text):
    """They stay internal, so that LLVM knows all their calls."""
    tile = re.findall(r'"tile_\w+"', text)[0]
    (part,) = (part for part in units(text) if tile in part)
    assert re.search(rf"^define internal .*@{tile}", part, re.MULTILINE)


def test_functions_without_optimization_do_not_keep_what_they_call_together(text):
    """One of them calls all pieces of a product, and the map that follows it."""
    named = {defined(item)[0]: item for item in re.split(r"\n(?=define )", text)[1:]}
    caller = next(n for n, item in named.items() if re.match(r"define .*\boptnone", item))
    callees = set(re.findall(r'call void @"?([\w.]+)', named[caller])) & named.keys()
    groups = callers_and_callees(named)
    assert callees
    assert re.search("optnone", named["main"].partition("\n")[0])
    assert not any(caller in group and group & callees for group in groups)
    assert len(groups) > 2 * MOST_UNITS


def test_short_text_is_one_unit():
    text = pb.compile(np.sin).show("llvm", X)
    assert units(text) == [text]


def test_programs_of_several_units():
    got = pb.compile(pb.grad(network))(WEIGHTS, X)
    for g, want in zip(got, pb.grad(network)(WEIGHTS, X), strict=True):
        np.testing.assert_allclose(g, want, rtol=1e-10, atol=1e-12)


def test_llvm_is_not_locked():
    """Else the units would be compiled one after the other."""
    for name in ("LLVMPY_RunNewModulePassManager", "LLVMPY_TargetMachineEmitToMemory"):
        locked = getattr(ffi.lib, name)
        assert assembler.unlocked(locked) is not locked


def test_without_llvmlite_s_lock_to_pass(monkeypatch):
    """Another llvmlite may have none: its functions are called as they are."""
    monkeypatch.setattr(assembler, "unlocked", lambda function: function)
    assembler.compiled.cache_clear()
    executable.executables.clear()
    np.testing.assert_allclose(pb.compile(lambda x: np.cos(x) + 3)(X), np.cos(X) + 3, rtol=1e-15)


def test_threads_compile_at_the_same_time():
    def compiled(k):
        f = pb.compile(lambda w, x: network(w, x) * k)
        return f(WEIGHTS, X) / k

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(compiled, range(1, 9)))
    np.testing.assert_allclose(found, network(WEIGHTS, X), rtol=1e-11)


def test_refused_text_is_an_error():
    """The error of a unit reaches the caller."""
    assembler.prepare()
    with pytest.raises(RuntimeError):
        assembler.compiled("define void @main() {\n  ret i32 1\n}")
