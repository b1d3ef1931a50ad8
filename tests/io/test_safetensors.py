"""Snapshots: what comes back, what is refused, and that a file is whole or absent."""

import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pullback import io, nn, tree
from pullback.errors import SnapshotError


def test_arrays_come_back_bit_by_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "net.safetensors"
    params = {
        "net": nn.mlp(rng, (3, 4, 2), dtype=np.float32),
        "scalar": np.array(1 / 3),
        "transposed": rng.normal(size=(3, 2)).T,
        "counts": np.arange(4),
        "odd": np.array([np.nan, -0.0, np.inf]),
    }
    io.save(path, params, {"color": "green"})
    back = io.load(path, tree.map(np.zeros_like, params))
    for before, after in zip(tree.leaves(params), tree.leaves(back), strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert after.tobytes() == before.tobytes()
    assert isinstance(back["net"], nn.Sequential)
    assert io.metadata(path) == {"color": "green"}


def test_other_readers_see_names_with_dots(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "net.safetensors"
    io.save(path, nn.mlp(rng, (3, 4, 2)))
    assert sorted(load_file(path)) == [
        "layers.0.bias",
        "layers.0.weight",
        "layers.2.bias",
        "layers.2.weight",
    ]
    assert io.metadata(path) == {}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    io.save(path, {"w": np.ones(2)})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotError, match="cannot be written: No space left on device"):
        io.save(path, {"w": np.zeros(2)})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["net.safetensors"]
    assert io.load(path, {"w": np.zeros(2)})["w"].tolist() == [1, 1]


def test_others_may_read_the_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    io.save(tmp_path / "net", {"w": np.ones(2)})
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("plain", "net")}
    assert len(modes) == 1


def valid(path: Path) -> bytes:
    save_file({"w": np.arange(6.0)}, path)
    return path.read_bytes()


DAMAGE: dict[str, Any] = {
    "empty": lambda content: b"",
    "text": lambda content: b"epoch,loss\n1,0.5\n",
    "truncated header": lambda content: content[:20],
    "truncated data": lambda content: content[:-8],
    "longer": lambda content: content + b"\0" * 8,
    "huge header": lambda content: struct.pack("<Q", 2**40) + content[8:],
    "bad json": lambda content: content[:8] + b"[" + content[9:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "net.safetensors"
    path.write_bytes(damage(valid(path)))
    for read in (io.metadata, lambda path: io.load(path, {"w": np.zeros(6)})):
        with pytest.raises(SnapshotError, match="is damaged, or no safetensors file"):
            read(path)


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": np.zeros(6), "b": np.zeros(1)}, "missing: b"),
        ({}, "unknown: w"),
        ({"w": np.zeros(5)}, r"w in the file: float64 \(6,\)\n  w in the model: float64 \(5,\)"),
        ({"w": np.zeros(6, np.float32)}, r"w in the model: float32 \(6,\)"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, like: Any, message: str) -> None:
    path = tmp_path / "net.safetensors"
    valid(path)
    with pytest.raises(SnapshotError, match=message):
        io.load(path, like)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no such file"):
        io.metadata(tmp_path / "none")
    with pytest.raises(SnapshotError, match="cannot be written"):
        io.save(tmp_path / "none" / "net", {"w": np.ones(2)})


def test_names_that_would_collide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"two parameters would both be named a\.b"):
        io.save(tmp_path / "net", {"a.b": np.ones(1), "a": {"b": np.ones(1)}})
