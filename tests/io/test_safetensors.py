"""Snapshots: what comes back, what is refused, and that a file is whole or absent."""

import json
import os
import stat
import struct
import tracemalloc
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


def raw(path: Path, dtype: str, shape: list[int], n_bytes: int) -> None:
    """A file with one array ``w`` of any dtype and shape that the format allows."""
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, n_bytes]}})
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(n_bytes))


@pytest.mark.parametrize(
    ("dtype", "shape", "n_bytes", "message"),
    [
        ("BF16", [6], 12, r"w in the file: BF16 \(6,\)"),
        ("F8_E4M3", [6], 6, r"w in the file: F8_E4M3 \(6,\)"),
        ("F64", [1] * 101, 8, r"w in the file: float64 \(1, 1, 1"),
        ("F64", [2**62, 2**62], 8, "is damaged"),
        ("F99", [6], 8, "is damaged"),
    ],
)
def test_what_numpy_does_not_have_is_refused(
    tmp_path: Path, dtype: str, shape: list[int], n_bytes: int, message: str
) -> None:
    path = tmp_path / "net.safetensors"
    raw(path, dtype, shape, n_bytes)
    with pytest.raises(SnapshotError, match=message):
        io.load(path, {"w": np.zeros(6)})


def test_an_array_is_not_read_before_its_shape_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    raw(path, "F64", [1 << 22], 1 << 25)
    like = {"w": np.zeros(6)}
    tracemalloc.start()
    with pytest.raises(SnapshotError, match="holds another model"):
        io.load(path, like)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net")
    with pytest.raises(SnapshotError, match="cannot be read: it is no plain file"):
        io.metadata(tmp_path / "net")


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    params = {"w": np.array([np.nan, 1.0]), "b": np.array([True])}
    io.save(path, params, {"color": 'light "green"', "made": "pullback"})
    good = path.read_bytes()
    assert io.load(path, params)["w"][1] == 1
    assert sorted(load_file(path)) == ["b", "w"]  # others read it, too
    for place in range(len(good)):
        for bits in (1, 0x20, 0x80):
            path.write_bytes(good[:place] + bytes([good[place] ^ bits]) + good[place + 1 :])
            with pytest.raises(SnapshotError, match="is damaged"):
                io.load(path, params)
            with pytest.raises(SnapshotError, match="is damaged"):
                io.metadata(path)


def test_dtypes_that_no_file_holds_are_refused(tmp_path: Path) -> None:
    for array in (np.array(["a"]), np.zeros(2, np.longdouble)):
        with pytest.raises(SnapshotError, match=r"a\.0 has dtype .* cannot hold"):
            io.save(tmp_path / "net", {"a": [array]})
    for dtype in "?bBhHiIlLefdF":
        params = {"w": np.ones(3, dtype)}
        io.save(tmp_path / "net", params)
        assert io.load(tmp_path / "net", params)["w"].dtype == params["w"].dtype


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="there is no such file"):
        io.metadata(tmp_path / "none")
    with pytest.raises(SnapshotError, match="cannot be written"):
        io.save(tmp_path / "none" / "net", {"w": np.ones(2)})


def test_names_that_would_collide_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"two parameters would both be named a\.b"):
        io.save(tmp_path / "net", {"a.b": np.ones(1), "a": {"b": np.ones(1)}})
