"""Signals end native loops, or leave them alone, as their handlers in Python say."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest

import pullback as pb
from pullback.compiler import executable

START = '''
import os, signal, sys, threading, time
import numpy as np
import pullback as pb

# A shell in the background hands on to its children that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def endless(x):
    return pb.while_loop(lambda s: s > -1, lambda s: 0.5 * s + 1, x)

def long(x):
    def steps(x):
        return pb.scan(lambda c, _: (0.5 * c + 1, None), x, None, length=10**13)[0]

    return pb.cond(x > 0, steps, np.sin, x)

def rows(x):
    return pb.scan(lambda _, row: ((), endless(row)), (), x + np.zeros(64))[1]

def nested(x):
    return pb.scan(lambda c, _: (c + endless(c), None), x, None, length=3)[0]

def send():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)

def ready(f, **options):
    """Compiled, and called in a way that ends."""
    native = pb.compile(f, **options)
    native(-5.0)
    return native

def interrupted(f):
    thread = threading.Thread(target=send)
    thread.start()
    try:
        return f(1.0)
    finally:
        thread.join()
'''
CASES = {
    "kinds": """
for f in (endless, long, rows, nested):
    native = ready(f, threads=3)
    for again in range(2):
        try:
            interrupted(native)
        except KeyboardInterrupt:
            print(f.__name__)
""",
    "afterwards": """
def some(x, n):
    return pb.while_loop(lambda s: s[0] < s[1], lambda s: (s[0] + 1, s[1]), (x, n))[0]
native = pb.compile(some)
native(1.0, 4.0)
try:
    interrupted(lambda x: native(x, np.inf))
except KeyboardInterrupt:
    print(native(1.0, 4.0))
""",
    "a handler that goes on": """
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append("seen"))
bounded = pb.compile(lambda x, n: pb.while_loop(lambda s: s < n, lambda s: s + 1, x))
n = 1e6
while not seen:
    n *= 2
    thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
    thread.start()
    assert bounded(0.0, n) == n
    thread.join()
print(seen[0])
""",
    "another signal, another exception": """
def handler(number, frame):
    raise TimeoutError("enough")
native = ready(endless)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    native(1.0)
except TimeoutError as error:
    print(error)
""",
    "a call inside of a handler": """
def handler(number, frame):
    print(pb.compile(lambda x: pb.while_loop(lambda s: s < 5, lambda s: s + 1, x))(1.0))
    raise KeyboardInterrupt
native = ready(endless)
signal.signal(signal.SIGINT, handler)
try:
    interrupted(native)
except KeyboardInterrupt:
    print("ended")
""",
    "a forked child": """
native = ready(endless)
try:
    interrupted(native)
except KeyboardInterrupt:
    pid = os.fork()
    if not pid:
        try:
            interrupted(native)
        except KeyboardInterrupt:
            os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
}
EXPECTED = {
    "kinds": "endless endless long long rows rows nested nested",
    "afterwards": "4.0",
    "a handler that goes on": "seen",
    "another signal, another exception": "enough",
    "a call inside of a handler": "5.0 ended",
    "a forked child": "7",
}


@pytest.mark.parametrize("name", CASES)
def test_a_handler_decides_about_a_native_loop(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + CASES[name]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.split(), done.returncode) == (EXPECTED[name].split(), 0), done.stderr


def test_only_programs_with_loops_are_watched() -> None:
    without = pb.compile(np.sin)
    without(np.ones(3))
    inside = pb.compile(
        lambda x: pb.cond(
            x[0] > 0, lambda x: pb.scan(lambda c, _: (c, c), x, None, 2)[0], np.sin, np.sum(x)
        )
    )
    inside(np.ones(3))
    assert without.last.attempt.__self__.watch is None
    watch = inside.last.attempt.__self__.watch
    assert watch is executable.entry()[2]
    assert not watch.running


def test_the_thread_ends_when_no_program_runs() -> None:
    watch = executable.entry()[2]
    with watch:
        thread = next(t for t in threading.enumerate() if t.name == "pullback watch")
    thread.join(30)
    assert not watch.is_awake
    with watch:
        assert watch.is_awake
