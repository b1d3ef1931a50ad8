"""Native code a thousand times over, from many threads, and killed while it fills the cache."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import pullback as pb
from pullback import nn

RNG = np.random.default_rng(0)


def training(w, m, v, x, y):
    """Products with tails, reductions of both kinds, random numbers of a fixed seed, a scan."""

    def loss(w):
        h = np.tanh(x @ w[0] + w[1])
        h = nn.layer_norm(h, w[1], 0.5)
        h = pb.scan(lambda c, row: (0.9 * c + row, c * row), h[0], h)[1]
        return np.var(h @ w[2] - y) + np.sum(np.square(w[0])) / 1000

    value, g = pb.value_and_grad(loss)(w)
    m = [0.9 * a + b for a, b in zip(m, g, strict=True)]
    v = [0.99 * a + b * b for a, b in zip(v, g, strict=True)]
    steps = [a / (np.sqrt(b) + 1e-3) for a, b in zip(m, v, strict=True)]
    return [a - 0.1 * s for a, s in zip(w, steps, strict=True)], value


W = [RNG.normal(size=(70, 300)), RNG.normal(size=300), RNG.normal(size=(300, 90))]
ZEROS = [np.zeros_like(w) for w in W]
ARGS = (W, ZEROS, ZEROS, RNG.normal(size=(200, 70)), RNG.normal(size=(200, 90)))


def bits(result):
    weights, value = result
    return b"".join(np.ascontiguousarray(a).tobytes() for a in (*weights, value))


def test_a_thousand_runs_give_the_same_bits():
    f = pb.compile(training, threads=3)
    assert "chunks" in f.show("schedule", *ARGS)
    first = bits(f(*ARGS))
    assert {bits(f(*ARGS)) for _ in range(1000)} == {first}


@pytest.mark.parametrize("threads", [1, 2, 5, 8])
def test_any_number_of_threads_gives_the_same_bits(threads):
    expected = bits(pb.compile(training, threads=3)(*ARGS))
    assert bits(pb.compile(training, threads=threads)(*ARGS)) == expected


def test_callers_in_many_threads_do_not_meet():
    """Each has its own arrays; half of them share a function, and so its pool."""
    shared = pb.compile(training, threads=2)
    wrong: list[object] = []

    def work(k):
        f = shared if k % 2 else pb.compile(training, threads=2)
        x = ARGS[3] + k
        expected = bits(f(*ARGS[:3], x, ARGS[4]))
        wrong.extend(k for _ in range(30) if bits(f(*ARGS[:3], x, ARGS[4])) != expected)

    callers = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


WRITER = """
import sys
import numpy as np, pullback as pb
first = int(sys.argv[1])
x = np.linspace(0.0, 1.0, 50)
print("ready", flush=True)
for k in range(first, first + 1000):
    f = pb.compile(lambda x: np.sum(np.tanh(x * k)) + k)
    np.testing.assert_allclose(f(x), np.sum(np.tanh(x * k)) + k, rtol=1e-12)
"""


def test_a_writer_that_is_killed_leaves_a_cache_that_others_use(tmp_path):
    environment = {**os.environ, "PULLBACK_CACHE_DIR": str(tmp_path)}
    for k in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(100 * k)], env=environment, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        n_files = len(os.listdir(tmp_path))
        while len(os.listdir(tmp_path)) <= n_files + k:  # in the midst of writing the next
            assert writer.poll() is None
            time.sleep(0.0002)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    code = WRITER.replace("first + 1000", "first + 20")
    for first in ("0", "700"):
        command = [sys.executable, "-c", code, first]
        subprocess.run(command, env=environment, check=True, timeout=120)
