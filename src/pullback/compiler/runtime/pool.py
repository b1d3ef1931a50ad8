"""The threads of compiled programs: one job at a time, in chunks that any of them takes.

The ticket holds the number of chunks of the current job and the next one, in 32 bits each. Who adds
one to it reads both in the same step, so a late thread takes a chunk of the job that there is or
none. A chunk that is taken keeps its job from ending, and so function and table in place, until
``done`` counts it.

A thread without work spins, then offers its processor to others, then sleeps on the word ``wake``.
Sleepers are counted before the last look at the ticket, and looked for after it is stored. Linux
would often wake a thread on the processor of its caller, where it waits until the caller has done
the job alone: who wakes the workers from another processor than before bars them from it.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import sys
import threading
from string import Template
from typing import Any

import numpy as np

from pullback.compiler.runtime.frame import SEEN, WATCH
from pullback.errors import ArgumentError

__all__ = ["MOST_THREADS", "Pool", "emit_pool", "n_threads"]

VARIABLE = "PULLBACK_NUM_THREADS"
MOST_THREADS = 1024  # more than any machine gains by; each takes memory for its stack
QUOTA = "/sys/fs/cgroup/cpu.max"
FUTEX = {"x86_64": 202, "aarch64": 98}  # the number of the system call
FUTEX_WAIT, FUTEX_WAKE = 128, 129  # among the threads of one process
PAUSE = {"x86_64": "llvm.x86.sse2.pause()", "aarch64": "llvm.aarch64.isb(i32 15)"}
TARGET = platform.machine() if sys.platform == "linux" else ""
LINE = 128  # processors fetch cache lines in pairs
SET_BYTES = 1024  # for 8192 processors, as many as Linux can have
LAYOUT = {  # bytes from the start of the state; what different threads write is on different lines
    "TICKET": 0,
    "FUNCTION": 8,
    "TABLE": 16,
    "BARRED": 24,  # 1 + the number of the processor that workers keep off
    "DONE": LINE,
    "WAKE": 2 * LINE,
    "SLEEPERS": 2 * LINE + 8,
    "STOP": 2 * LINE + 16,
    "BUSY": 3 * LINE,
    "WORKERS": 3 * LINE + 8,
    "ALLOWED": 4 * LINE,  # the processors that the workers may use, as a set of bits
    "TIDS": 4 * LINE + SET_BYTES,  # of the workers, to the end of the state
}
SPINS = 128  # about 5 us
YIELDS = 1024  # about 400 us
JOIN_S = 1.0

SERIAL = """
define void @serial(ptr %function, ptr %table, i64 %n) {
  br label %head
head:
  %i = phi i64 [0, %0], [%next, %body]
  %go = icmp slt i64 %i, %n
  br i1 %go, label %body, label %end
body:
  call void %function(ptr %table, i64 %i)
  %next = add i64 %i, 1
  br label %head
end:
  ret void
}
"""

WITHOUT_THREADS = """
define void @run(ptr %pool, ptr %function, ptr %table, i64 %n, ptr %status) {
  call void @serial(ptr %function, ptr %table, i64 %n)
  ret void
}
define void @wake(ptr %pool, i64 %n) {
  ret void
}
define void @main(ptr %pool) {
  ret void
}
define void @stop(ptr %pool) {
  ret void
}
"""

RUN = """
define void @run(ptr %pool, ptr %function, ptr %table, i64 %n, ptr %status) {
  %workers.at = getelementptr i8, ptr %pool, i64 $WORKERS
  %workers = load atomic i64, ptr %workers.at monotonic, align 8
  %alone = icmp eq i64 %workers, 0
  %others = sub i64 %n, 1
  %rest = sub i64 %n, 2
  %unfit = icmp uge i64 %rest, 2147483646
  %refused = or i1 %alone, %unfit
  %busy = getelementptr i8, ptr %pool, i64 $BUSY
  br i1 %refused, label %serial, label %claim
claim:
  %claimed = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %is.mine = extractvalue {i64, i1} %claimed, 1
  br i1 %is.mine, label %publish, label %serial
serial:
  call void @serial(ptr %function, ptr %table, i64 %n)
  ret void
publish:
  %function.at = getelementptr i8, ptr %pool, i64 $FUNCTION
  store ptr %function, ptr %function.at
  %table.at = getelementptr i8, ptr %pool, i64 $TABLE
  store ptr %table, ptr %table.at
  %done.at = getelementptr i8, ptr %pool, i64 $DONE
  store atomic i64 0, ptr %done.at monotonic, align 8
  %ticket = shl i64 %n, 32
  store atomic i64 %ticket, ptr %pool seq_cst, align 8
  call void @wake(ptr %pool, i64 %others)
  br label %work
work:
  %worked = call i1 @step(ptr %pool)
  br i1 %worked, label %work, label %wait
wait:
  %k = phi i64 [0, %work], [%next, %relax], [%next, %watch], [%next, %look]
  %done = load atomic i64, ptr %done.at acquire, align 8
  %is.over = icmp eq i64 %done, %n
  br i1 %is.over, label %end, label %relax
relax:
  call void @relax(i64 %k)
  %next = add i64 %k, 1
  %is.early = icmp ult i64 %k, $SPINS
  %is.unwatched = icmp eq ptr %status, null
  %is.blind = or i1 %is.early, %is.unwatched
  br i1 %is.blind, label %wait, label %watch
watch:
  %watch.at = getelementptr i64, ptr %status, i64 $WATCH
  %ticks = load ptr, ptr %watch.at
  %tick = load atomic i64, ptr %ticks monotonic, align 8
  %seen.at = getelementptr i64, ptr %status, i64 $SEEN
  %seen = load atomic i64, ptr %seen.at monotonic, align 8
  %is.old = icmp eq i64 %tick, %seen
  br i1 %is.old, label %wait, label %look
look:
  %look.at = getelementptr i64, ptr %ticks, i64 1
  %looking = load ptr, ptr %look.at
  call void %looking(ptr %status)
  br label %wait
end:
  store atomic i64 0, ptr %busy release, align 8
  ret void
}
define void @wake(ptr %pool, i64 %n) {
  %sleepers.at = getelementptr i8, ptr %pool, i64 $SLEEPERS
  %sleepers = load atomic i64, ptr %sleepers.at seq_cst, align 8
  %none = icmp eq i64 %sleepers, 0
  br i1 %none, label %end, label %call
call:
  call void @keep_off(ptr %pool)
  %wake = getelementptr i8, ptr %pool, i64 $WAKE
  %before = atomicrmw add ptr %wake, i32 1 seq_cst
  call void @futex(ptr %wake, i64 $FUTEX_WAKE, i64 %n)
  br label %end
end:
  ret void
}
define void @stop(ptr %pool) {
  %stop = getelementptr i8, ptr %pool, i64 $STOP
  store atomic i64 1, ptr %stop seq_cst, align 8
  call void @wake(ptr %pool, i64 2147483647)
  ret void
}
"""

WORK = """
declare i64 @syscall(i64, ...)
declare i32 @sched_yield()
declare i32 @sched_getcpu()
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i32 @sched_setaffinity(i32, i64, ptr)
declare void @$PAUSED

define internal void @futex(ptr %word, i64 %operation, i64 %value) {
  call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %word, i64 %operation, i64 %value, ptr null)
  ret void
}
define internal i1 @is_open(i64 %ticket) alwaysinline {
  %n = lshr i64 %ticket, 32
  %index = and i64 %ticket, 4294967295
  %answer = icmp ult i64 %index, %n
  ret i1 %answer
}
define internal void @relax(i64 %k) {
  %is.early = icmp ult i64 %k, $SPINS
  br i1 %is.early, label %spin, label %yield
spin:
  call void @$PAUSE
  ret void
yield:
  %status = call i32 @sched_yield()
  ret void
}
; runs one chunk, if one is left
define internal i1 @step(ptr %pool) {
  %seen = load atomic i64, ptr %pool monotonic, align 8
  %may.be = call i1 @is_open(i64 %seen)
  br i1 %may.be, label %take, label %none
take:
  %ticket = atomicrmw add ptr %pool, i64 1 acquire
  %is.mine = call i1 @is_open(i64 %ticket)
  br i1 %is.mine, label %chunk, label %none
chunk:
  %index = and i64 %ticket, 4294967295
  %function.at = getelementptr i8, ptr %pool, i64 $FUNCTION
  %function = load ptr, ptr %function.at
  %table.at = getelementptr i8, ptr %pool, i64 $TABLE
  %table = load ptr, ptr %table.at
  call void %function(ptr %table, i64 %index)
  %done.at = getelementptr i8, ptr %pool, i64 $DONE
  %before = atomicrmw add ptr %done.at, i64 1 release
  ret i1 true
none:
  ret i1 false
}
; is there reason to look around: a chunk, or the end
define internal i1 @is_called(ptr %pool) {
  %ticket = load atomic i64, ptr %pool seq_cst, align 8
  %is.open = call i1 @is_open(i64 %ticket)
  %stop.at = getelementptr i8, ptr %pool, i64 $STOP
  %stop = load atomic i64, ptr %stop.at seq_cst, align 8
  %is.over = icmp ne i64 %stop, 0
  %answer = or i1 %is.open, %is.over
  ret i1 %answer
}
; bars the workers from the processor of this thread, if they are not yet
define internal void @keep_off(ptr %pool) {
  %allowed = alloca [$SET_BYTES x i8], align 8
  %cpu = call i32 @sched_getcpu()
  %wide = zext i32 %cpu to i64
  %one.up = add i64 %wide, 1
  %barred.at = getelementptr i8, ptr %pool, i64 $BARRED
  %barred = load atomic i64, ptr %barred.at monotonic, align 8
  %is.same = icmp eq i64 %one.up, %barred
  %is.unknown = icmp uge i64 %wide, $CPUS
  %is.moot = or i1 %is.same, %is.unknown
  br i1 %is.moot, label %end, label %mask
mask:
  store atomic i64 %one.up, ptr %barred.at monotonic, align 8
  %all.at = getelementptr i8, ptr %pool, i64 $ALLOWED
  call void @llvm.memcpy.p0.p0.i64(ptr %allowed, ptr %all.at, i64 $SET_BYTES, i1 false)
  %byte = lshr i64 %wide, 3
  %place = getelementptr i8, ptr %allowed, i64 %byte
  %whole = load i8, ptr %place
  %small = trunc i64 %wide to i8
  %position = and i8 %small, 7
  %bit = shl i8 1, %position
  %others = xor i8 %bit, -1
  %rest = and i8 %whole, %others
  store i8 %rest, ptr %place
  %workers.at = getelementptr i8, ptr %pool, i64 $WORKERS
  %n = load atomic i64, ptr %workers.at monotonic, align 8
  br label %head
head:
  %i = phi i64 [0, %mask], [%next, %worker]
  %go = icmp slt i64 %i, %n
  br i1 %go, label %worker, label %end
worker:
  %tids = getelementptr i8, ptr %pool, i64 $TIDS
  %tid.at = getelementptr i64, ptr %tids, i64 %i
  %tid = load i64, ptr %tid.at
  %tid.small = trunc i64 %tid to i32
  %set = call i32 @sched_setaffinity(i32 %tid.small, i64 $SET_BYTES, ptr %allowed)
  %next = add i64 %i, 1
  br label %head
end:
  ret void
}
define void @main(ptr %pool) {
  %stop.at = getelementptr i8, ptr %pool, i64 $STOP
  %wake = getelementptr i8, ptr %pool, i64 $WAKE
  %sleepers = getelementptr i8, ptr %pool, i64 $SLEEPERS
  br label %work
work:
  %worked = call i1 @step(ptr %pool)
  br i1 %worked, label %work, label %look
look:
  %stop = load atomic i64, ptr %stop.at monotonic, align 8
  %go.on = icmp eq i64 %stop, 0
  br i1 %go.on, label %idle, label %end
idle:
  %k = phi i64 [0, %look], [%next, %relax]
  %is.called = call i1 @is_called(ptr %pool)
  br i1 %is.called, label %work, label %rest
rest:
  %next = add i64 %k, 1
  %is.tired = icmp ugt i64 %k, $PATIENCE
  br i1 %is.tired, label %sleep, label %relax
relax:
  call void @relax(i64 %k)
  br label %idle
sleep:
  %word = load atomic i32, ptr %wake seq_cst, align 4
  %word.wide = zext i32 %word to i64
  %more = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %is.called.late = call i1 @is_called(ptr %pool)
  br i1 %is.called.late, label %rise, label %wait
wait:
  call void @futex(ptr %wake, i64 $FUTEX_WAIT, i64 %word.wide)
  br label %rise
rise:
  %fewer = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %work
end:
  ret void
}
"""


def emit_pool() -> str:
    """LLVM text of ``run``, ``wake``, ``stop`` and ``main``, what a worker runs."""
    if TARGET not in FUTEX:
        return SERIAL + WITHOUT_THREADS
    pause = PAUSE[TARGET]
    declared = pause.replace("i32 15", "i32")
    return SERIAL + Template(WORK + RUN).substitute(
        LAYOUT,
        FUTEX=FUTEX[TARGET],
        FUTEX_WAIT=FUTEX_WAIT,
        FUTEX_WAKE=FUTEX_WAKE,
        PAUSE=pause,
        PAUSED=declared,
        SET_BYTES=SET_BYTES,
        CPUS=8 * SET_BYTES,
        SPINS=SPINS,
        WATCH=WATCH,
        SEEN=SEEN,
        PATIENCE=SPINS + YIELDS,
    )


def n_threads() -> int:
    """How many threads programs use: ``$PULLBACK_NUM_THREADS``, else the processors at hand.

    Raises:
        ArgumentError: if the variable is not an integer from 1 to ``MOST_THREADS``.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        if not (given.isdecimal() and len(given) < 9 and 1 <= int(given) <= MOST_THREADS):
            raise ArgumentError(
                f"{VARIABLE} is not an integer from 1 to {MOST_THREADS}",
                details=[f"given: {given!r}"],
                fix=f"unset {VARIABLE}, or set it to the number of threads",
            )
        return int(given)
    if TARGET not in FUTEX:
        return 1
    n = len(os.sched_getaffinity(0))
    try:
        with open(QUOTA) as file:
            quota, period = file.read().split()
    except OSError:
        return n
    return n if quota == "max" else max(1, min(n, int(quota) // int(period)))


class Pool:
    """Worker threads and their state in memory; ``address`` is that of the state.

    ``run_address`` is that of ``void run(pool, void (*chunk)(table, i64 i), table, i64 n,
    status)``, which calls ``chunk`` for each ``i < n``, in any order and on any thread, and returns
    when all is done; in the caller alone, and in order, if another job is running. While it waits
    it looks for signals, on behalf of the program that has this status, if that is not null.
    ``wake_address`` is that of ``void wake(pool, i64 n)``, which rouses up to ``n`` sleepers
    shortly before a job.
    Chunks must not call Python: a process that forks in one is lost.
    """

    def __init__(self, code: Any, threads: int) -> None:
        self.code = code
        self.n_workers = threads - 1 if TARGET in FUTEX else 0
        n_bytes = LAYOUT["TIDS"] + 8 * self.n_workers
        memory = np.zeros(n_bytes + LINE, np.uint8)
        start = -memory.ctypes.data % LINE
        self.state = memory[start : start + n_bytes].view(np.int64)
        self.address: int = self.state.ctypes.data
        self.run_address = code.address("run")
        self.wake_address = code.address("wake")
        signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self.main, self.halt = (signature(code.address(name)) for name in ("main", "stop"))
        self.workers: list[threading.Thread] = []

    def open(self) -> None:
        """Start the workers, and look after them when this process forks or ends."""
        os.register_at_fork(
            before=self.stop, after_in_parent=self.start, after_in_child=self.start_afresh
        )
        atexit.register(self.close)
        self.start()

    def start(self) -> None:
        self.state[LAYOUT["STOP"] // 8] = self.state[LAYOUT["BARRED"] // 8] = 0
        self.workers = [
            threading.Thread(target=self.main, args=(self.address,), name="pullback", daemon=True)
            for _ in range(self.n_workers)
        ]
        for worker in self.workers:
            worker.start()
        start = LAYOUT["ALLOWED"]
        allowed = self.state.view(np.uint8)[start : start + SET_BYTES]
        allowed[:] = 0
        for cpu in os.sched_getaffinity(0) if self.workers else ():
            allowed[cpu // 8] |= 1 << cpu % 8
        self.state[LAYOUT["TIDS"] // 8 :] = [worker.native_id or -1 for worker in self.workers]
        self.state[LAYOUT["WORKERS"] // 8] = self.n_workers

    def start_afresh(self) -> None:
        """In a forked child, where nobody is left to end the job of another thread."""
        self.state[:] = 0
        self.start()

    def stop(self) -> None:
        """End the workers; a job that is running goes on in its caller."""
        self.state[LAYOUT["WORKERS"] // 8] = 0
        self.halt(self.address)
        for worker in self.workers:
            worker.join(JOIN_S)
        self.workers = []

    def close(self) -> None:
        """Stop for good."""
        self.n_workers = 0
        self.stop()
