"""Work of LLVM in threads of its own."""

import os
import subprocess
import sys
import threading

import pytest

from pullback.compiler.llvm import assembler


def test_the_result_waits():
    done, calls = threading.Event(), []

    def work():
        calls.append("called")
        done.wait()
        return b"code"

    result = assembler.meanwhile(work)
    threading.Timer(0.05, done.set).start()
    assert result() == result() == b"code"
    assert calls == ["called"]


def test_errors_are_raised_by_the_result():
    def work():
        raise RuntimeError("no such instruction")

    result = assembler.meanwhile(work)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no such instruction"):
            result()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_works_itself():
    """The thread is not there."""
    done, parent = threading.Event(), os.getpid()

    def work():
        if os.getpid() == parent:
            done.wait()
            return b"parent"
        return b"child"

    result = assembler.meanwhile(work)
    child = os.fork()
    if not child:
        os._exit(0 if result() == b"child" else 1)
    done.set()
    assert os.waitpid(child, 0)[1] == 0
    assert result() == b"parent"


LEAK = """
import gc
from pullback.compiler.llvm.assembler import compile_text, machine
TEXT = "define double @f(double %x) {{ %y = fmul double %x, {}.5 ret double %y }}"
def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
host = machine()
for k in range(60):
    if k == 30:
        before = pages()
    compile_text(TEXT.format(k).replace("ret", "\\n ret"), host)
    gc.collect()
print(pages() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is not counted here")
def test_compiling_leaves_no_memory_taken():
    done = subprocess.run([sys.executable, "-c", LEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 90  # of 4 kB; pass managers that nobody disposes of take 500
