"""Parameters in safetensors files: named arrays and a little text, nothing that can run.

Format: https://huggingface.co/docs/safetensors. A file is replaced as a whole or not at all, and
what is read is checked against the container that it shall fill. A file that was saved here holds
the checksum of all its bytes, the digits of the checksum itself taken as zeros.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pullback import tree
from pullback.errors import SnapshotError
from pullback.files import opened, replacing

__all__ = ["load", "metadata", "save"]

KEY, MARK = "pullback.checksum", "pullback-sha256:"  # two: a damaged byte can break one of them
ZEROS = "0" * hashlib.sha256().digest_size * 2
CHECKSUM = re.compile(rf'"{re.escape(KEY)}":"{MARK}([0-9a-f]{{{len(ZEROS)}}})"'.encode())
LENGTH_BYTES = 8  # of the number of bytes in the header, which follows
MOST_HEADER_BYTES = 100_000_000  # as the format says
CHUNK_BYTES = 1 << 20
DTYPES = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "C64": "c8",
    "BOOL": "?",
    **{f"I{8 * n}": f"i{n}" for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": f"u{n}" for n in (1, 2, 4, 8)},
}


def save(path: str | Path, params: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write the leaves of ``params`` under their paths (``layers.0.weight``) and the metadata.

    The file appears complete or not at all: it is written beside its place and moved there.

    Raises:
        SnapshotError: if the file cannot be written, or a leaf has a dtype that no such file holds.

    >>> import tempfile, pathlib, numpy as np
    >>> from pullback import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "net.safetensors"
    ...     io.save(path, {"w": np.array([1.0, 2.0])}, {"made": "today"})
    ...     io.load(path, {"w": np.zeros(2)}), io.metadata(path)
    ({'w': array([1., 2.])}, {'made': 'today'})
    """
    from safetensors.numpy import save as to_bytes

    arrays = {
        name: np.asarray(leaf, order="C")
        for name, leaf in zip(_names(params), tree.leaves(params), strict=True)
    }
    for name, array in arrays.items():
        if array.dtype.newbyteorder("=") not in map(np.dtype, DTYPES.values()):
            raise SnapshotError(
                f"{name} has dtype {array.dtype}, which a safetensors file cannot hold",
                fix="save numbers or booleans of a common size",
            )
    content = to_bytes(arrays, metadata={**(metadata or {}), KEY: MARK + ZEROS})
    found = CHECKSUM.search(content)
    assert found is not None
    start, stop = found.span(1)
    digits = hashlib.sha256(content).hexdigest().encode()
    try:
        with replacing(path) as file:
            for part in (content[:start], digits, memoryview(content)[stop:]):
                file.write(part)
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be written: {error.strerror or error}",
            fix="name a file in an existing folder that you may write to",
        ) from error


def load(path: str | Path, like: Any) -> Any:
    """A container like ``like`` with the arrays of the file in place of its leaves.

    Names, shapes and dtypes are compared before an array is read.

    Raises:
        SnapshotError: if the file is missing, damaged or no safetensors file, or if its names,
            shapes or dtypes are not those of ``like``.
    """
    leaves, structure = tree.flatten(like)
    leaves = list(map(np.asarray, leaves))  # numbers are saved as arrays
    expected = dict(zip(_names(like), leaves, strict=True))
    with _opened(path) as file:
        names = set(file.keys())
        if missing := sorted(expected.keys() - names):
            raise _misfit(path, [f"missing: {', '.join(missing)}"])
        if extra := sorted(names - expected.keys()):
            raise _misfit(path, [f"unknown: {', '.join(extra)}"])
        for name, leaf in expected.items():
            came = file.get_slice(name)
            shape, dtype = tuple(came.get_shape()), str(came.get_dtype())
            if (shape, DTYPES.get(dtype)) != (leaf.shape, leaf.dtype.str[1:].replace("b1", "?")):
                dtype = str(np.dtype(DTYPES[dtype])) if dtype in DTYPES else dtype
                raise _misfit(
                    path,
                    [
                        f"{name} in the file: {dtype} {shape}",
                        f"{name} in the model: {leaf.dtype} {leaf.shape}",
                    ],
                )
        return tree.unflatten(structure, [file.get_tensor(name) for name in expected])


def metadata(path: str | Path) -> dict[str, str]:
    """The text stored with the arrays.

    Raises:
        SnapshotError: if the file is missing, damaged or no safetensors file.
    """
    with _opened(path) as file:
        return {k: v for k, v in (file.metadata() or {}).items() if k != KEY}


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with opened(path) as content:
            _check(path, content)
        with safe_open(path, framework="numpy") as file:
            yield file
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise SnapshotError(f"{path} cannot be read: {reason}", fix="check the path") from error
    except SafetensorError as error:
        raise _damaged(path, str(error)) from error


def _check(path: str | Path, file: BinaryIO) -> None:
    """Compare a file with the checksum in it; the files of others have none."""
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    header = file.read(min(length, MOST_HEADER_BYTES))
    found = CHECKSUM.search(header)
    if found is None:
        if KEY.encode() in header or MARK.encode() in header:
            raise _damaged(path, "the checksum in it is damaged")
        return
    start, stop = (LENGTH_BYTES + place for place in found.span(1))
    file.seek(0)
    digest = hashlib.sha256(file.read(start))
    digest.update(ZEROS.encode())
    file.seek(stop)
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    if digest.hexdigest().encode() != found[1]:
        raise _damaged(path, "its bytes do not match the checksum that was saved with them")


def _damaged(path: str | Path, reason: str) -> SnapshotError:
    return SnapshotError(
        f"{path} is damaged, or no safetensors file",
        details=[reason],
        fix="save it again, or restore it from a copy",
    )


def _names(params: Any) -> list[str]:
    """Paths with dots only, as other readers of the format expect them."""
    marks = str.maketrans({"[": ".", "]": "", "'": "", '"': ""})
    names = [path.translate(marks).lstrip(".") or "value" for path in tree.paths(params)]
    if twice := {name for name in names if names.count(name) > 1}:
        raise SnapshotError(
            f"two parameters would both be named {min(twice)}",
            fix="rename a key of the container: dots and quotes do not tell names apart",
        )
    return names


def _misfit(path: str | Path, details: list[str]) -> SnapshotError:
    return SnapshotError(
        f"{path} holds another model", details=details, fix="load it into the model that saved it"
    )
