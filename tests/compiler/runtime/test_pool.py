"""The thread pool: every chunk runs once, and nothing hangs, whoever calls, forks or ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from pullback.compiler import executable
from pullback.compiler.llvm import assembler
from pullback.compiler.runtime import pool as module
from pullback.errors import ArgumentError

CHUNK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
RUN = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p)
THREADS = 4
# A chunk counts its index in the table. A nesting one runs a job of its own: its table holds the
# pool, `run`, the number of inner chunks and, behind them, a row of counters for each outer one.
# `jobs` runs jobs of 0 to most - 1 chunks in turn, all on one table. `meetings` runs jobs whose
# chunks wait for each other: the table counts who came and, behind, who gave up.
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
  call void %run(ptr %pool, ptr @main, ptr %row, i64 %n, ptr null)
  ret void
}
define void @jobs(ptr %pool, ptr %run, ptr %table, i64 %count, i64 %most) {
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  %n = urem i64 %k, %most
  call void %run(ptr %pool, ptr @main, ptr %table, i64 %n, ptr null)
  %next = add i64 %k, 1
  %go = icmp slt i64 %next, %count
  br i1 %go, label %head, label %end
end:
  ret void
}
declare i32 @sched_yield()
define void @meeting(ptr %table, i64 %i) {
  %before = atomicrmw add ptr %table, i64 1 acq_rel
  %rounds = udiv i64 %before, 4
  %following = add i64 %rounds, 1
  %all = mul i64 %following, 4
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %wait]
  %came = load atomic i64, ptr %table acquire, align 8
  %met = icmp uge i64 %came, %all
  br i1 %met, label %end, label %wait
wait:
  %status = call i32 @sched_yield()
  %next = add i64 %k, 1
  %lost = icmp ugt i64 %k, 300000
  br i1 %lost, label %give.up, label %head
give.up:
  %failures = getelementptr i64, ptr %table, i64 1
  %one.more = atomicrmw add ptr %failures, i64 1 monotonic
  br label %end
end:
  ret void
}
define void @meetings(ptr %pool, ptr %run, ptr %table, i64 %count) {
  br label %head
head:
  %k = phi i64 [0, %0], [%next, %head]
  call void %run(ptr %pool, ptr @meeting, ptr %table, i64 4, ptr null)
  %next = add i64 %k, 1
  %failures.at = getelementptr i64, ptr %table, i64 1
  %failures = load atomic i64, ptr %failures.at monotonic, align 8
  %fine = icmp eq i64 %failures, 0
  %more = icmp slt i64 %next, %count
  %go = and i1 %fine, %more
  br i1 %go, label %head, label %end
end:
  ret void
}
"""


@pytest.fixture(scope="module")
def pool():
    return executable.pool(THREADS)


@pytest.fixture(scope="module")
def chunks():
    """Addresses of the native chunks by their names."""
    return executable.load(assembler.compiled(CHUNKS)).address


def run(pool, chunk, table, n):
    RUN(pool.run_address)(pool.address, chunk, table.ctypes.data, n, None)


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


def meeting(pool):
    """Threads of a job that needs all of the pool at once."""
    barrier = threading.Barrier(THREADS)
    seen = set()

    @CHUNK
    def meet(table, i):
        barrier.wait(10)  # one thread alone would break it
        seen.add(threading.get_ident())

    run(pool, meet, np.zeros(1), THREADS)
    return seen


def test_chunks_are_shared_among_threads(pool):
    assert len(meeting(pool)) == THREADS


def fall_asleep(pool):
    end = time.monotonic() + 10
    while pool.state[module.LAYOUT["SLEEPERS"] // 8] < THREADS - 1 and time.monotonic() < end:
        time.sleep(0.001)
    assert pool.state[module.LAYOUT["SLEEPERS"] // 8] == THREADS - 1


def test_sleeping_workers_wake(pool):
    for _ in range(20):
        fall_asleep(pool)
        assert len(meeting(pool)) == THREADS


def test_workers_that_were_woken_in_vain_sleep_again(pool):
    wake = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(pool.wake_address)
    fall_asleep(pool)
    wake(pool.address, THREADS)
    fall_asleep(pool)
    assert len(meeting(pool)) == THREADS


def test_no_wake_is_lost_by_workers_about_to_sleep(monkeypatch, chunks):
    monkeypatch.setattr(module, "SPINS", 0)
    monkeypatch.setattr(module, "YIELDS", 0)  # sleep at once, so that jobs come in the midst of it
    code = executable.load(assembler.compiled(module.emit_pool()))
    sleepy = module.Pool(code, THREADS)
    sleepy.start()
    table = np.zeros(2, np.int64)
    meetings = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(chunks("meetings"))
    meetings(sleepy.address, sleepy.run_address, table.ctypes.data, 4_000)
    sleepy.stop()
    np.testing.assert_array_equal(table, [4_000 * THREADS, 0])


def test_sleeping_workers_keep_off_the_processor_of_the_caller(pool):
    allowed = os.sched_getaffinity(0)
    try:
        for cpu in [*allowed, *allowed]:
            os.sched_setaffinity(0, {cpu})
            meeting(pool)
            fall_asleep(pool)
            for worker in pool.workers:
                assert os.sched_getaffinity(worker.native_id) == (allowed - {cpu} or allowed)
    finally:
        os.sched_setaffinity(0, allowed)


def test_an_idle_pool_takes_no_processor_time(pool):
    meeting(pool)
    fall_asleep(pool)
    start = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - start < 0.15  # one thread that spins would take 0.3


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


def n_workers():
    """Of all pools of this process."""
    return sum(thread.name == "pullback" for thread in threading.enumerate())


def test_a_forked_child_has_a_pool_of_its_own(pool):
    n = n_workers()
    pool.state[module.LAYOUT["BUSY"] // 8] = 1  # as if another thread of the parent ran a job
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        try:
            os._exit(0 if len(meeting(pool)) == THREADS else 1)
        finally:
            os._exit(2)
    pool.state[module.LAYOUT["BUSY"] // 8] = 0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(meeting(pool)) == THREADS
    assert n_workers() == n


def test_forks_between_jobs_of_another_thread(pool, chunks):
    table = np.zeros(11, np.int64)
    caller = threading.Thread(target=run_jobs, args=(pool, chunks, table, 200_000, 11))
    caller.start()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    caller.join(30)
    np.testing.assert_array_equal(table, expected_counts(200_000, 11))


@pytest.mark.parametrize(
    "ending", ["", "raise SystemExit(0)", "threading.Thread(target=spin).start()"]
)
def test_a_process_with_a_live_pool_ends(ending):
    script = f"""
import atexit, ctypes, threading
def remaining():
    for thread in threading.enumerate():
        if thread.name == "pullback":
            print("still runs:", thread)
atexit.register(remaining)  # runs after what is registered later
from pullback.compiler import executable
pool = executable.pool({THREADS})
chunk_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
kinds = *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_void_p
run = ctypes.CFUNCTYPE(None, *kinds)(pool.run_address)
chunk = chunk_type(lambda table, i: None)
def spin():
    for _ in range(1000):
        run(pool.address, chunk, None, 8, None)
spin()
{ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_thread_has_no_workers(chunks):
    alone = executable.pool(1)
    seen = []

    @CHUNK
    def note(table, i):
        seen.append((threading.get_ident(), i))

    run(alone, note, np.zeros(1), 5)
    assert not alone.workers
    assert seen == [(threading.get_ident(), i) for i in range(5)]


def test_pools_are_kept(pool):
    assert executable.pool(THREADS) is pool
    assert [worker.is_alive() for worker in pool.workers] == [True] * (THREADS - 1)


def test_a_platform_without_futexes_runs_all_in_the_caller(monkeypatch, chunks):
    monkeypatch.setattr(module, "TARGET", "")
    code = executable.load(assembler.compiled(module.emit_pool()))
    plain = module.Pool(code, THREADS)
    plain.start()
    table = np.zeros(10, np.int64)
    run(plain, chunks("main"), table, 9)
    plain.stop()
    np.testing.assert_array_equal(table, [1] * 9 + [0])
    assert not plain.workers
    monkeypatch.delenv(module.VARIABLE, raising=False)
    assert module.n_threads() == 1


def test_the_number_of_threads_is_that_of_the_variable(monkeypatch):
    monkeypatch.setenv("PULLBACK_NUM_THREADS", "7")
    assert module.n_threads() == 7


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "1.5", "1025", "9" * 5000])
def test_a_bad_number_of_threads_is_refused(monkeypatch, value):
    monkeypatch.setenv("PULLBACK_NUM_THREADS", value)
    with pytest.raises(ArgumentError, match=rf"PULLBACK_NUM_THREADS(.|\n)*{value!r}"):
        module.n_threads()


@pytest.mark.parametrize(
    ("quota", "n"),
    [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("900000 100000", 4), (None, 4)],
)
def test_processors_and_quota_bound_the_number_of_threads(monkeypatch, tmp_path, quota, n):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota + "\n")
    monkeypatch.setattr(module, "QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5})
    monkeypatch.delenv("PULLBACK_NUM_THREADS", raising=False)
    assert module.n_threads() == n
