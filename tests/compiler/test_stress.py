"""Threads, forks, signals and kills: results stay what they were, to the bit."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tests.compiler.runtime.test_cache import PROGRAM
from tests.property.executors import grain

import pullback as pb
from pullback.compiler.runtime import cache

rng = np.random.default_rng(0)
PARENT = os.getpid()
X, W = rng.normal(size=(67, 129)), rng.normal(size=(129, 31))


def loss(w, x):
    h = np.tanh(x @ w)
    return np.sum(np.exp(-h * h)) + np.mean(np.max(h, axis=0)) + np.var(np.cumsum(h, axis=1))


def threaded(f, threads=2):
    """``f`` as native code whose every kernel is cut into chunks, and has run once."""
    compiled = pb.compile(f, threads=threads)
    with grain(500):
        compiled(W, X)
    return compiled


def bits(results):
    return [np.asarray(y).tobytes() for y in pb.tree.leaves(results)]


@pytest.fixture(scope="module")
def step():
    native = threaded(pb.value_and_grad(loss))
    assert native.last.attempt.__self__.image.has_jobs
    results = zip(native(W, X), pb.value_and_grad(loss)(W, X), strict=True)
    for y, z in results:
        np.testing.assert_allclose(y, z, rtol=1e-11, atol=1e-13)
    return native


def test_a_thousand_runs_give_the_same_bits_on_any_number_of_threads(step):
    expected = bits(step(W, X))
    for threads in (1, 2, 3, 8):
        native = threaded(pb.value_and_grad(loss), threads)
        for _ in range(250):
            assert bits(native(W, X)) == expected


def mlp(params, x, y):
    w1, b, w2 = params
    scores = np.maximum(x @ w1 + b, 0) @ w2
    return np.mean(pb.numpy.logsumexp(scores, axis=1) - np.sum(scores * y, axis=1))


def network(params, x, y):
    w, head = params
    h = pb.nn.max_pool(np.tanh(pb.nn.conv(x, w, padding=1)), 2)
    return np.mean((np.reshape(h, (len(x), -1)) @ head - y) ** 2)


def attention(params, x, y):
    q, k, v = (np.moveaxis(np.reshape(x @ w, (4, 96, 2, 16)), 2, 1) for w in params)
    return np.mean((np.moveaxis(pb.nn.attention(q, k, v, is_causal=True), 1, 2) - y) ** 2)


def folds(params, x):
    (w,) = params
    z = x * w
    rows = np.max(z, axis=1) * np.var(z, axis=1) + np.sum(np.cumsum(z, axis=1) ** 2, axis=1)
    return np.sum(np.sum(np.exp(-z * z), axis=0) * np.mean(z, axis=0)) + np.mean(rows)


def arrays(*shapes):
    return [np.random.default_rng(1).normal(size=shape).astype("f4") * 0.3 for shape in shapes]


def adam_step(loss):
    optimizer = pb.optim.adam(1e-2)

    def step(params, state, *batch):
        value, grads = pb.value_and_grad(loss)(params, *batch)
        return (*optimizer.update(grads, state, params), value)

    return optimizer, step


def curved_step(loss):
    """A step along the product of the Hessian and the parameters; the state stays."""

    def step(params, state, *batch):
        f = lambda p: loss(p, *batch)
        product = pb.hvp(f, (params,), (params,))
        return [p - 1e-2 * d for p, d in zip(params, product, strict=True)], state, f(params)

    return pb.optim.sgd(1e-2), step


TRAINING = {
    "MLP": (adam_step(mlp), [(200, 150), (150,), (150, 10)], [(300, 200), (300, 10)]),
    "convolution": (
        adam_step(network),
        [(16, 3, 3, 3), (16 * 16 * 16, 10)],
        [(8, 3, 32, 32), (8, 10)],
    ),
    "attention": (adam_step(attention), [(32, 32)] * 3, [(4, 96, 32), (4, 96, 2, 16)]),
    "folds": (adam_step(folds), [(400,)], [(700, 400)]),
    "HVP": (curved_step(mlp), [(200, 150), (150,), (150, 10)], [(300, 200), (300, 10)]),
}


@pytest.mark.parametrize("name", TRAINING)
def test_training_is_bitwise_the_same_for_any_number_of_threads(name):
    """Three steps, each from the results of the one before."""
    (optimizer, step), shapes, batch = TRAINING[name]
    params, found = arrays(*shapes), {}
    for threads in (1, 2, 3):
        native = pb.compile(step, threads=threads, deterministic=True)
        state, values = (params, optimizer.init(params)), []
        for _ in range(3):
            *state, value = native(*state, *arrays(*batch))
            values.append(value)
        assert native.last.attempt.__self__.image.has_jobs
        found[threads] = bits((state, values))
    assert found[1] == found[2] == found[3]
    eager = step(params, optimizer.init(params), *arrays(*batch))[-1]
    np.testing.assert_allclose(values[0], eager, rtol=1e-4)
    assert values[2] != values[0]


def test_callers_of_the_same_and_of_other_functions(step):
    functions = [step, step, threaded(loss, 3), threaded(lambda w, x: np.sort(x @ w, axis=0))]
    expected = [bits(f(W, X)) for f in functions]
    start, wrong = threading.Barrier(len(functions)), []

    def work(k):
        start.wait()
        for _ in range(150):
            if bits(functions[k](W, X)) != expected[k]:
                wrong.append(k)

    callers = [threading.Thread(target=work, args=(k,)) for k in range(len(functions))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_functions_compiled_by_several_threads_at_once():
    found = {}

    def work(k):
        for n in range(6):
            found[k, n] = float(pb.compile(lambda x: np.sum(np.sin(x) * (n + 0.5)))(X))  # noqa: B023

    callers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for (_, n), value in found.items():
        np.testing.assert_allclose(value, np.sum(np.sin(X) * (n + 0.5)), rtol=1e-12)
    assert len(found) == 24


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_processes_use_threads_too(step):
    expected = bits(step(W, X))
    for _ in range(5):
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # ends a child that hangs
            try:
                os._exit(0 if all(bits(step(W, X)) == expected for _ in range(20)) else 1)
            finally:
                os._exit(2)
        assert bits(step(W, X)) == expected
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fallible(raising):
    """A function with a callback between threaded kernels; ``raising`` says what it raises."""

    @pb.custom_jvp
    def middle(x):
        if isinstance(x, np.ndarray) and raising:
            raise raising.pop()
        return x + 0.0

    middle.defjvp(lambda p, t: (middle(p[0]), t[0]))
    return threaded(lambda w, x: np.sum(np.tanh(middle(np.exp(-np.abs(x @ w))) @ w.T), axis=0))


def test_callbacks_that_raise_leave_threads_and_memory_as_they_were():
    raising = []
    f = fallible(raising)
    expected = bits(f(W, X))
    for error in [ValueError, KeyboardInterrupt, MemoryError, SystemExit] * 10:
        raising.append(error())
        with pytest.raises(error):
            f(W, X)
        assert bits(f(W, X)) == expected
    assert len(f.last.attempt.__self__.idle) == 1


def test_interrupts_leave_everything_usable(step):
    expected, interrupted = bits(step(W, X)), 0
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    delays = random.Random(0)
    try:
        for _ in range(100):
            try:
                signal.setitimer(signal.ITIMER_REAL, delays.uniform(1e-5, 2e-3))
                for _ in range(20_000):
                    step(W, X)
            except KeyboardInterrupt:
                interrupted += 1
            assert bits(step(W, X)) == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 90  # one that arrives while Python cleans up is only reported


# -- the cache of several processes ---------------------------------------------------------------
def content(key, version):
    return bytes([key, version]) * (50_000 + 10_000 * key)


def named(kind, key):
    """A key as the compiler makes them: only files with such names are deleted."""
    return hashlib.sha256(f"{kind} {key}".encode()).hexdigest()


def write_for_ever():
    for version in itertools.cycle(range(200)):
        for key in range(6):
            cache.store(named("entry", key), content(key, version))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_writers_killed_at_any_moment_leave_whole_entries(tmp_path, monkeypatch):
    monkeypatch.setenv("PULLBACK_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "MAX_BYTES", 1_500_000)
    delays, n_found = random.Random(0), 0
    for _ in range(60):
        writers = [os.fork() for _ in range(2) if os.getpid() == PARENT]
        if 0 in writers:
            try:
                write_for_ever()
            finally:
                os._exit(1)
        time.sleep(delays.uniform(0.001, 0.02))
        for writer in writers:
            os.kill(writer, signal.SIGKILL)
            assert os.WTERMSIG(os.waitpid(writer, 0)[1]) == signal.SIGKILL
        for key in range(6):
            found = cache.load(named("entry", key))
            if found is not None:
                n_found += 1
                assert found == content(key, found[1])
    assert n_found > 60
    for key in range(30):
        cache.store(named("later", key), bytes(100_000))
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sum(sizes) <= cache.MAX_BYTES  # what the killed left behind is deleted too
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("tmp-")]


def test_compilers_killed_at_any_moment_leave_a_cache_for_others(tmp_path):
    environment = {**os.environ, "PULLBACK_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    for n_entries in (1, 2, 4, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        while process.poll() is None and sum(1 for _ in tmp_path.iterdir()) < n_entries:
            time.sleep(0.001)
        process.kill()
        process.wait()
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(3)]
    for process in several:
        process.communicate()
        assert process.returncode == 0
    last = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert last.stdout == "0\n"
