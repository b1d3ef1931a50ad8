"""Signals while native code runs: Ctrl-C, alarms, whatever has a handler in Python.

Python runs handlers between its own instructions, so none while its main thread is in native code.
A loop in native code therefore asks for them, whenever the word ``tick`` of the watch has changed,
which a thread does as long as a program with loops is running. Between two ticks a step of a loop
pays for a few words that stay in its processor's cache. No handler is installed, so there is none
to restore: those that the user has installed run, and decide whether the program goes on.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

__all__ = ["Watch"]

PERIOD_S = 0.05
PATIENCE = 20  # ticks without a program, before the thread ends
PYTHON = (  # what native code calls, in the order of its words
    "PyGILState_Ensure",
    "PyErr_CheckSignals",
    "PyErr_Fetch",
    "PyGILState_Release",
)


class Watch:
    """The words that native code reads, at ``address``, and the thread that counts the ticks.

    The ticks are counted in a ``with`` block of it.

    The words are the tick, the address of the native function ``look``, the main thread as C knows
    it, and the addresses of the functions of Python that ``look`` calls.
    """

    def __init__(self, look: int) -> None:
        functions = [getattr(ctypes.pythonapi, name) for name in PYTHON]
        addresses = [ctypes.cast(f, ctypes.c_void_p).value or 0 for f in functions]
        words = [0, look, threading.main_thread().ident or 0, *addresses]
        self.words: Any = (ctypes.c_int64 * len(words))(*words)
        self.address = ctypes.addressof(self.words)
        self.running: list[None] = []  # one for each program that runs
        self.is_awake = False
        os.register_at_fork(after_in_child=self.start_afresh)

    def __enter__(self) -> None:
        self.running.append(None)
        if not self.is_awake:
            self.wake()

    def __exit__(self, *_: object) -> None:
        self.running.pop()

    def wake(self) -> None:
        self.is_awake = True
        try:
            threading.Thread(target=self.count, name="pullback watch", daemon=True).start()
        except RuntimeError:  # Python is about to end, or there may be no more threads
            self.is_awake = False

    def count(self) -> None:
        """Count ticks until no program has run for a while."""
        idle = 0
        while idle < PATIENCE:
            time.sleep(PERIOD_S)
            self.words[0] += 1
            idle = 0 if self.running else idle + 1
        self.is_awake = False
        if self.running and not self.is_awake:  # a call that has still seen this thread awake
            self.wake()

    def start_afresh(self) -> None:
        """In a forked child, whose one thread is its main thread."""
        self.words[2] = threading.get_ident()
        self.is_awake = False
