"""Files of others are opened with care, and files of ours appear whole.

What is opened for reading is a plain file of bounded size: a pipe would wait for its writer, and a
device may have no end. What is written appears under its name complete, or not at all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["TooLargeError", "opened", "replacing"]


class TooLargeError(OSError):
    """A file has more bytes than its reader takes."""


def opened(path: str | Path, most_bytes: int | None = None) -> BinaryIO:
    """A plain file, opened for reading.

    Raises:
        TooLargeError: if it has more than ``most_bytes``.
        OSError: if it cannot be opened, or is a pipe, a device or a folder.

    >>> from pullback.files import opened
    >>> opened("/dev/null")
    Traceback (most recent call last):
        ...
    OSError: it is no plain file
    """
    # A pipe without a writer would be waited for. Systems without the flag have no such pipes.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise OSError("it is no plain file")
        if most_bytes is not None and state.st_size > most_bytes:
            raise TooLargeError(f"it has {state.st_size} bytes, the most that is read {most_bytes}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file that takes its place when the block ends, and vanishes if the block raises.

    It is written beside its place and moved there. A link is followed; into a pipe or a device,
    which nothing can replace, the bytes go as they come.

    Raises:
        OSError: if it cannot be written.

    >>> import pathlib, tempfile
    >>> from pullback.files import replacing
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "numbers.txt"
    ...     with replacing(path) as file:
    ...         _ = file.write(b"1 2 3")
    ...         before = path.exists()
    ...     before, path.read_text()
    (False, '1 2 3')
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY
    descriptor = os.open(temporary, flags, 0o666)  # less the user's mask
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


_BINARY = getattr(os, "O_BINARY", 0)
