"""Batches of data: from arrays, files and generators, in an order that a seed repeats.

The order of an epoch and the noise of a step follow from the seed and their numbers alone, so a
run that goes on at any step sees what it would have seen.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pullback.errors import ArgumentError, DataError
from pullback.train.table import read_table

__all__ = ["Batches", "batches_of", "prefetched"]

Batch = tuple[Any, ...]
Augment = Callable[[Batch, np.random.Generator], Batch]
AHEAD = 2  # batches that wait for the step


class Batches:
    """Batches of the rows of arrays, or those that a function of the epoch makes.

    Args:
        arrays: of equal length; or ``None``.
        make: ``make(epoch)`` gives an epoch's batches; or ``None``.
        batch_size: rows per batch at most; the batches of an epoch are equal, so that one compiled
            step takes them all, and an epoch leaves out fewer rows than it has batches.
        seed: of the order and of ``augment``.
        augment: changes a batch, with a generator of its own for every step.
    """

    def __init__(
        self,
        arrays: Sequence[Any] | None,
        make: Callable[[int], Iterable[Any]] | None,
        batch_size: int,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        self.arrays, self.make, self.seed, self.augment = arrays, make, seed, augment
        self.n_rows = len(arrays[0]) if arrays is not None else None
        self.n_steps: int | None = None
        self.size = batch_size
        if self.n_rows is not None:
            self.n_steps = -(-self.n_rows // batch_size)
            self.size = self.n_rows // self.n_steps

    def epoch(self, number: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from the one with the number ``first`` on."""
        found = self._made(number, first) if self.arrays is None else self._rows(number, first)
        is_slow = self.augment is not None or self.make is not None
        if self.augment is not None:
            found = self._changed(found, number, first)
        if is_slow or any(isinstance(x, np.memmap) for x in self.arrays or ()):
            return prefetched(found)
        return found

    def in_order(self) -> Iterator[Batch]:
        """All rows once, in their order, the last batch smaller; for measuring."""
        if self.arrays is None:
            yield from self._made(0, 0)
            return
        assert self.n_rows is not None
        for start in range(0, self.n_rows, self.size):
            yield tuple(np.asarray(x[start : start + self.size]) for x in self.arrays)

    def _rows(self, number: int, first: int) -> Iterator[Batch]:
        assert self.arrays is not None
        assert self.n_rows is not None
        assert self.n_steps is not None
        order = np.random.default_rng([self.seed, number]).permutation(self.n_rows)
        for step in range(first, self.n_steps):
            rows = order[step * self.size : (step + 1) * self.size]
            yield tuple(np.asarray(x[rows]) for x in self.arrays)

    def _made(self, number: int, first: int) -> Iterator[Batch]:
        assert self.make is not None
        for step, batch in enumerate(self.make(number)):
            if step >= first:
                yield tuple(batch) if isinstance(batch, tuple | list) else (batch,)

    def _changed(self, found: Iterator[Batch], number: int, first: int) -> Iterator[Batch]:
        assert self.augment is not None
        for step, batch in enumerate(found, first):
            rng = np.random.default_rng([self.seed, number, step])
            yield tuple(self.augment(batch, rng))


def batches_of(
    data: Any,
    batch_size: int = 32,
    *,
    seed: int = 0,
    augment: Augment | None = None,
    target: str | None = None,
) -> Batches:
    """Batches of whatever holds data.

    Args:
        data: an array; a tuple or list of arrays with one entry per row each (memory-mapped ones
            are read batch by batch); a function ``make(epoch)`` that returns the batches of an
            epoch, the same whenever it is asked; or the path of a table that ``pullback train``
            reads, with ``target``; of an ``.npz`` file without, whose arrays ``x`` and ``y`` are
            taken.
        batch_size, seed, augment: see :class:`Batches`.
        target: column of a table to predict.

    Raises:
        ArgumentError: if it is none of these, the lengths differ, or the size is less than 1.
        DataError: if a file cannot be read.

    >>> import numpy as np
    >>> from pullback.train.batches import batches_of
    >>> batches = batches_of((np.arange(10), np.arange(10.0)), batch_size=4)
    >>> [x.shape for x, y in batches.epoch(1)]
    [(3,), (3,), (3,)]
    """
    if batch_size < 1:
        raise ArgumentError(f"batch_size is {batch_size}", fix="choose a number from 1 on")
    if isinstance(data, Batches):
        return data
    if isinstance(data, str | Path):
        data = _read(str(data), target)
    if callable(data):
        return Batches(None, data, batch_size, seed, augment)
    arrays = list(data) if isinstance(data, tuple | list) else [data]
    if not arrays or not all(isinstance(x, np.ndarray) and x.ndim for x in arrays):
        kinds = ", ".join(type(x).__name__ for x in arrays) or "nothing"
        raise ArgumentError(
            f"data: {kinds}",
            fix="give a tuple of NumPy arrays with one entry per row, a function of the epoch that "
            "returns batches, or the path of a file",
        )
    lengths = {len(x) for x in arrays}
    if len(lengths) > 1 or 0 in lengths:
        raise ArgumentError(
            "data: the arrays need one entry per row, and all the same number of rows",
            details=[f"{x.dtype} {x.shape}" for x in arrays],
            fix="give arrays whose first axis counts the examples",
        )
    return Batches(arrays, None, batch_size, seed, augment)


def _read(path: str, target: str | None) -> tuple[Any, ...]:
    if target is None and path.endswith(".npz"):
        with np.load(path, allow_pickle=False) as file:
            if {"x", "y"} <= {*file.files}:
                return file["x"], file["y"]
        raise DataError(f"{path} has no arrays x and y", fix="save them, or name a target column")
    table = read_table(path)
    if target is None:
        raise ArgumentError(
            f"{path}: which column shall be predicted?",
            details=[f"columns: {', '.join(table.columns)}"],
            fix=f"pass target={list(table.columns)[-1]!r}, or another of these",
        )
    table.column(target)
    names = [name for name in table.columns if name != target]
    y = table.columns[target]
    if y.dtype.kind == "f":
        y = y.astype(np.float32)[:, None]
    return table.features(names).astype(np.float32), y


def prefetched(batches: Iterator[Batch], ahead: int = AHEAD) -> Iterator[Batch]:
    """The same batches, made by a thread while the caller works on the one before.

    An error in the thread is raised here, in the place of the batch that it prevented. When the
    caller stops early, so does the thread.

    >>> from pullback.train.batches import prefetched
    >>> list(prefetched(iter([(1,), (2,)])))
    [(1,), (2,)]
    """
    waiting: queue.Queue[Any] = queue.Queue(ahead)
    stopped = threading.Event()

    def put(item: Any) -> None:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for batch in batches:
                put((batch, None))
                if stopped.is_set():
                    return
            put((None, None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            put((None, error))

    thread = threading.Thread(target=work, name="pullback-batches", daemon=True)
    thread.start()
    try:
        yield from _taken(waiting)
    finally:
        stopped.set()
        thread.join()


def _taken(waiting: queue.Queue[Any]) -> Iterator[Batch]:
    """What a thread has put there: batches, and an error or nothing at their end."""
    while True:
        batch, error = waiting.get()
        if error is not None:
            raise error
        if batch is None:
            return
        yield batch
