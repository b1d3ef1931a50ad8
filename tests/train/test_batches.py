"""Batches: every row once, in an order that the seed repeats; threads that end; refusals."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pullback.errors import ArgumentError, DataError
from pullback.train.batches import batches_of, prefetched


def test_an_epoch_has_every_row_once_and_each_its_own_order() -> None:
    data = np.arange(12), 10 * np.arange(12)
    batches = batches_of(data, 4, seed=3)
    orders = []
    for number in (1, 2, 1):
        found = list(batches.epoch(number))
        assert [len(x) for x, _ in found] == [4, 4, 4]
        rows = np.concatenate([x for x, _ in found])
        np.testing.assert_array_equal(np.concatenate([y for _, y in found]), 10 * rows)
        assert sorted(rows) == list(range(12))
        orders.append(rows.tolist())
    assert orders[0] == orders[2] != orders[1]
    later = np.concatenate([x for x, _ in batches.epoch(1, 2)])
    assert later.tolist() == orders[0][8:]


def test_rows_are_measured_in_order_with_the_rest() -> None:
    batches = batches_of(np.arange(10), 4)
    assert np.concatenate([x for (x,) in batches.in_order()]).tolist() == list(range(10))


def test_augmentation_depends_on_seed_epoch_and_step_only() -> None:
    def noisy(batch: Any, rng: Any) -> Any:
        return (batch[0] + rng.random(batch[0].shape),)

    batches = batches_of(np.zeros(8), 2, augment=noisy)
    whole = [x for (x,) in batches.epoch(5)]
    np.testing.assert_array_equal(
        np.stack([x for (x,) in batches.epoch(5, 2)]), np.stack(whole[2:])
    )
    assert len(np.unique(np.stack(whole))) == 8
    assert not np.array_equal(whole[0], next(batches.epoch(6))[0])


def test_memory_mapped_arrays_and_files_are_read(tmp_path: Path) -> None:
    x = np.arange(20.0).reshape(10, 2)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.concatenate([b for (b,) in batches_of(mapped, 5).epoch(1)])
    assert type(rows) is np.ndarray
    assert sorted(rows[:, 0]) == list(range(0, 20, 2))
    np.savez(tmp_path / "d.npz", x=x, y=x[:, 0])
    assert batches_of(tmp_path / "d.npz").n_rows == 10
    (tmp_path / "t.csv").write_text("a,b,y\n1,2,0.5\n3,4,1.5\n")
    ((features, y),) = batches_of(tmp_path / "t.csv", 2, target="y").in_order()
    assert features.tolist() == [[1, 2], [3, 4]]
    assert y.tolist() == [[0.5], [1.5]]
    with pytest.raises(ArgumentError, match="which column"):
        batches_of(tmp_path / "t.csv")
    np.savez(tmp_path / "e.npz", z=x)
    with pytest.raises(DataError, match="no arrays x and y"):
        batches_of(tmp_path / "e.npz")


def test_the_thread_raises_here_and_ends_with_the_caller() -> None:
    def broken() -> Any:
        yield (1,)
        raise OSError("the disk is gone")

    found = prefetched(broken())
    assert next(found) == (1,)
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    endless = prefetched(iter(lambda: (1,), None))
    next(endless)
    endless.close()
    assert not [t for t in threading.enumerate() if t.name == "pullback-batches"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((), "data: nothing"),
        ([[1, 2]], "data: list"),
        ((np.ones(2), np.ones(3)), "the same number of rows"),
        (np.ones((0, 2)), "one entry per row"),
        (3, "data: int"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        batches_of(data)
