"""The thread pool: every chunk runs once, and nothing hangs, whoever calls, forks or ends."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

from pullback.compile import engine

CHUNK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
RUN = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
THREADS = 4
# A chunk counts its index in the table. A nesting one runs a job of its own: its table holds the
# pool, `run`, the number of inner chunks and, behind them, a row of counters for each outer one.
# `jobs` runs jobs of 0 to most - 1 chunks in turn, all on one table.
CHUNKS = """
define void @main(ptr %table, i64 %i) {
  %place = getelementptr i64, ptr %table, i64 %i
  %before = atomicrmw add ptr %place, i64 1 monotonic
  ret void
}
define void @nesting(ptr %table, i64 %i) {
  %pool = load ptr, ptr %table
  %run.at = getelementptr i64, ptr %table, i64 1
  %run = load ptr, ptr %run.at
  %n.at = getelementptr i64, ptr %table, i64 2
  %n = load i64, ptr %n.at
  %rows = getelementptr i64, ptr %table, i64 3
  %skipped = mul i64 %i, %n
  %row = getelementptr i64, ptr %rows, i64 %skipped
  call void %run(ptr %pool, ptr @main, ptr %row, i64 %n)
  ret void
}
define void @jobs(ptr %pool, ptr %run, ptr %table, i64 %count, i64 %most) {
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  %n = urem i64 %k, %most
  call void %run(ptr %pool, ptr @main, ptr %table, i64 %n)
  %next = add i64 %k, 1
  %go = icmp slt i64 %next, %count
  br i1 %go, label %head, label %end
end:
  ret void
}
"""


@pytest.fixture(scope="module")
def pool():
    return engine.pool(THREADS)


@pytest.fixture(scope="module")
def chunks():
    """Addresses of the native chunks by their names."""
    return engine.machine_code(CHUNKS)[0].get_function_address


def run(pool, chunk, table, n):
    RUN(pool.run_address)(pool.address, chunk, table.ctypes.data, n)


def run_jobs(pool, chunks, table, count, most):
    jobs = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)(chunks("jobs"))
    jobs(pool.address, pool.run_address, table.ctypes.data, count, most)


def expected_counts(count, most):
    """How often `jobs` counts each index: once for each job that is longer."""
    lengths = np.arange(count) % most
    return [(lengths > i).sum() for i in range(most)]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 64, 1000, 100_003])
def test_every_chunk_runs_once(pool, chunks, n):
    table = np.zeros(n + 1, np.int64)
    run(pool, chunks("main"), table, n)
    np.testing.assert_array_equal(table, [1] * n + [0])


def test_every_chunk_runs_once_in_each_of_many_jobs(pool, chunks):
    table = np.zeros(19, np.int64)
    run_jobs(pool, chunks, table, 50_000, 19)
    np.testing.assert_array_equal(table, expected_counts(50_000, 19))


def test_chunks_are_shared_among_threads(pool):
    barrier = threading.Barrier(THREADS)
    seen = []

    @CHUNK
    def meet(table, i):
        barrier.wait(10)  # one thread alone would break it
        seen.append(threading.get_ident())

    run(pool, meet, np.zeros(1), THREADS)
    assert len(set(seen)) == THREADS


def test_a_job_within_a_chunk_runs_in_its_thread(pool, chunks):
    outer, inner = 40, 30
    table = np.zeros(3 + outer * inner, np.int64)
    table[:3] = pool.address, pool.run_address, inner
    run(pool, chunks("nesting"), table, outer)
    np.testing.assert_array_equal(table[3:], 1)


def test_several_callers_at_once(pool, chunks):
    tables = np.zeros((3, 11), np.int64)
    callers = [
        threading.Thread(target=run_jobs, args=(pool, chunks, table, 10_000, 11))
        for table in tables
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    np.testing.assert_array_equal(tables, [expected_counts(10_000, 11)] * 3)
