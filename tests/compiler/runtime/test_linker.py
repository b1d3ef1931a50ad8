"""Linked code does what its object files say, wherever it lies in memory."""

from __future__ import annotations

import ctypes
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pullback as pb
from pullback.compiler.llvm import assembler
from pullback.compiler.runtime import linker
from pullback.errors import CompileError

pytestmark = pytest.mark.skipif(not linker.IS_KNOWN, reason="LLVM links on this platform")

# Constants, a table of functions of both files, functions of libraries, two functions of one name.
FIRST = """
@table = internal constant [3 x ptr] [ptr @half, ptr @other, ptr @fmod]
@row = constant <8 x float> <float 1.0, float 2.0, float 3.0, float 4.0, float 5.0,
                            float 6.0, float 7.0, float 8.0>
@weights = internal constant [4 x double] [double 1.5, double 2.5, double 3.5, double 4.5]
declare double @other(double, double)
declare double @fmod(double, double)
declare ptr @memcpy(ptr, ptr, i64)
define double @by_number(i64 %i, double %x, double %y) {
  %place = getelementptr ptr, ptr @table, i64 %i
  %function = load ptr, ptr %place
  %z = call double %function(double %x, double %y)
  ret double %z
}
define double @directly(double %x, double %y) {
  %a = call double @other(double %x, double %y)
  %b = call double @fmod(double %a, double %y)
  ret double %b
}
define ptr @address_of_other() {
  ret ptr @other
}
define void @copy(ptr %target) {
  %end = call ptr @memcpy(ptr %target, ptr @weights, i64 32)
  ret void
}
define internal double @half(double %x, double %y) noinline {
  %z = fmul double %x, 0.5
  ret double %z
}
define void @sum(ptr %target) {
  %x = load <8 x float>, ptr @row, align 32
  %y = load <8 x float>, ptr %target, align 4
  %z = fadd <8 x float> %x, %y
  store <8 x float> %z, ptr %target, align 4
  ret void
}
"""
SECOND = """
@text = constant [3 x i8] c"abc"
declare double @fmod(double, double)
define double @other(double %x, double %y) {
  %z = fadd double %x, %y
  ret double %z
}
define ptr @address_of_fmod() {
  ret ptr @fmod
}
"""
THIRD = """
define internal double @directly(double %x, double %y) noinline {
  %z = fsub double %x, %y
  ret double %z
}
define double @difference(double %x, double %y) {
  %z = call double @directly(double %x, double %y)
  ret double %z
}
"""
POINTER, DOUBLE, LONG = ctypes.c_void_p, ctypes.c_double, ctypes.c_int64


def objects(*texts):
    return [assembler.compile_text(text, assembler.machine()) for text in texts]


@pytest.fixture(scope="module", params=["linker", "LLVM", "turned round"])
def code(request):
    texts = (SECOND, FIRST) if request.param == "turned round" else (FIRST, SECOND)
    if request.param == "LLVM":
        return assembler.Code(assembler.joined(objects(*texts)))
    return linker.Code(linker.link(objects(*texts)))


def function(code, name, result, *kinds):
    return ctypes.CFUNCTYPE(result, *kinds)(code.address(name))


def test_functions_call_each_other_and_libraries(code):
    directly = function(code, "directly", DOUBLE, DOUBLE, DOUBLE)
    assert directly(7.25, 2.0) == math.fmod(9.25, 2.0)


@pytest.mark.parametrize(("i", "expected"), [(0, 3.625), (1, 9.25), (2, 1.25)])
def test_a_table_has_the_addresses_of_functions(code, i, expected):
    by_number = function(code, "by_number", DOUBLE, LONG, DOUBLE, DOUBLE)
    assert by_number(i, 7.25, 2.0) == expected


def test_addresses_are_those_of_the_functions(code):
    assert function(code, "address_of_other", POINTER)() == code.address("other")
    found = function(code, "address_of_fmod", POINTER)()
    assert ctypes.CFUNCTYPE(DOUBLE, DOUBLE, DOUBLE)(found)(7.25, 2.0) == 1.25


def test_constants_are_read(code):
    target = np.zeros(4)
    function(code, "copy", None, POINTER)(target.ctypes.data)
    np.testing.assert_array_equal(target, [1.5, 2.5, 3.5, 4.5])


def test_constants_are_aligned(code):
    target = np.ones(8, np.float32)
    function(code, "sum", None, POINTER)(target.ctypes.data)
    np.testing.assert_array_equal(target, np.arange(2, 10))


def test_functions_that_only_their_file_knows():
    code = linker.Code(linker.link(objects(FIRST, SECOND, THIRD)))
    assert function(code, "difference", DOUBLE, DOUBLE, DOUBLE)(7.25, 2.0) == 5.25
    assert function(code, "directly", DOUBLE, DOUBLE, DOUBLE)(7.25, 2.0) == math.fmod(9.25, 2.0)


def test_code_is_freed_with_its_last_user():
    code = linker.Code(linker.link(objects(SECOND)))
    place = code.start

    def rights():
        """Of the range that it lies in, which may go on to both sides: neighbours are merged."""
        for line in Path("/proc/self/maps").read_text().splitlines():
            first, last = (int(n, 16) for n in line.split()[0].split("-"))
            if first <= place < last:
                return line.split()[1]
        return None

    assert rights() == "r-xp"
    del code
    assert rights() != "r-xp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@x = global i64 1\ndefine ptr @main() {\n  ret ptr @x\n}", "into its section .data"),
        ("@x = global i64 0\ndefine ptr @main() {\n  ret ptr @x\n}", "into its section .bss"),
        (
            "@x = external thread_local global i64\ndefine i64 @main() {\n"
            "  %y = load i64, ptr @x\n  ret i64 %y\n}",
            "a relocation of an unknown type, 19",
        ),
    ],
)
def test_what_the_linker_does_not_know_is_refused(text, message):
    with pytest.raises(CompileError, match=message):
        linker.link(objects(text))


def test_a_missing_function_is_named():
    text = "declare void @no_such_function()\ndefine void @main() {\n"
    linked = linker.link(objects(text + "  call void @no_such_function()\n  ret void\n}"))
    with pytest.raises(CompileError, match="has no no_such_function"):
        linker.Code(linked)


def test_a_process_that_may_not_run_new_code_says_so(monkeypatch):
    locked = SimpleNamespace(mprotect=lambda *arguments: -1)
    monkeypatch.setattr(linker, "libc", lambda: locked)
    with pytest.raises(CompileError, match="may not run code"):
        linker.Code(linker.link(objects("define void @main() {\n  ret void\n}")))


def test_programs_where_llvm_links(monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", "")
    monkeypatch.setattr(linker, "IS_KNOWN", False)
    assembler.compiled.cache_clear()
    x = np.linspace(0.1, 1.0, 12).reshape(3, 4)
    f = lambda x: np.tanh(x @ np.linalg.inv(x.T @ x + np.eye(4)) @ x.T)
    run = pb.compile(f)
    np.testing.assert_allclose(run(x), f(x), rtol=1e-10)
    assert isinstance(executable_of(run).code, assembler.Code)
    assembler.compiled.cache_clear()


def executable_of(compiled):
    (signature,) = compiled.signatures.values()
    return signature.executor.executable(signature.staged.graph)


PROGRAM = """
import sys
import numpy as np, pullback as pb
x = np.linspace(-1.0, 1.0, 100_000)
f = pb.compile(pb.grad(lambda x: np.sum(np.sin(x) * x)))
np.testing.assert_allclose(f(x), np.cos(x) * x + np.sin(x), rtol=1e-12)
print("llvmlite.binding" in sys.modules)
"""


def test_code_from_the_disk_starts_without_llvm(tmp_path, monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PULLBACK_NUM_THREADS", "2")
    command = [sys.executable, "-c", PROGRAM]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(3)]
    assert [run.stdout for run in runs] == ["True\n", "False\n", "False\n"]
