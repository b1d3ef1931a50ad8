"""Parameters in safetensors files: named arrays and a little text, nothing that can run.

Format: https://huggingface.co/docs/safetensors. A file is replaced as a whole or not at all, and
what is read is checked against the container that it shall fill.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pullback import tree
from pullback.errors import SnapshotError

__all__ = ["load", "metadata", "save"]


def save(path: str | Path, params: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Write the leaves of ``params`` under their paths (``layers.0.weight``) and the metadata.

    The file appears complete or not at all: it is written beside its place and moved there.

    Raises:
        SnapshotError: if the file cannot be written.

    >>> import tempfile, pathlib, numpy as np
    >>> from pullback import io
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "net.safetensors"
    ...     io.save(path, {"w": np.array([1.0, 2.0])}, {"made": "today"})
    ...     io.load(path, {"w": np.zeros(2)}), io.metadata(path)
    ({'w': array([1., 2.])}, {'made': 'today'})
    """
    from safetensors.numpy import save as to_bytes

    path = Path(path)
    arrays = {
        name: np.asarray(leaf, order="C")
        for name, leaf in zip(_names(params), tree.leaves(params), strict=True)
    }
    content = to_bytes(arrays, metadata=dict(metadata or {}))
    try:
        _replace(path, content)
    except OSError as error:
        raise SnapshotError(
            f"{path} cannot be written: {error.strerror or error}",
            fix="name a file in an existing folder that you may write to",
        ) from error


def load(path: str | Path, like: Any) -> Any:
    """A container like ``like`` with the arrays of the file in place of its leaves.

    Raises:
        SnapshotError: if the file is missing, damaged or no safetensors file, or if its names,
            shapes or dtypes are not those of ``like``.
    """
    leaves, structure = tree.flatten(like)
    expected = dict(zip(_names(like), leaves, strict=True))
    with _opened(path) as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no mapping
    if missing := sorted(expected.keys() - found.keys()):
        raise _misfit(path, [f"missing: {', '.join(missing)}"])
    if extra := sorted(found.keys() - expected.keys()):
        raise _misfit(path, [f"unknown: {', '.join(extra)}"])
    for name, leaf in expected.items():
        came = found[name]
        if (came.shape, came.dtype) != (leaf.shape, leaf.dtype):
            raise _misfit(
                path,
                [
                    f"{name} in the file: {came.dtype} {came.shape}",
                    f"{name} in the model: {leaf.dtype} {leaf.shape}",
                ],
            )
    return tree.unflatten(structure, [found[name] for name in expected])


def metadata(path: str | Path) -> dict[str, str]:
    """The text stored with the arrays.

    Raises:
        SnapshotError: if the file is missing, damaged or no safetensors file.
    """
    with _opened(path) as file:
        return dict(file.metadata() or {})


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise SnapshotError(f"{path} cannot be read: {reason}", fix="check the path") from error
    except SafetensorError as error:
        raise SnapshotError(
            f"{path} is damaged, or no safetensors file",
            details=[str(error)],
            fix="save it again, or restore it from a copy",
        ) from error


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


def _replace(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _misfit(path: str | Path, details: list[str]) -> SnapshotError:
    return SnapshotError(
        f"{path} holds another model", details=details, fix="load it into the model that saved it"
    )
