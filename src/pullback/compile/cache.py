"""Object code kept on disk between processes.

The folder is ``$PULLBACK_CACHE_DIR``, else ``pullback`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; an
empty ``PULLBACK_CACHE_DIR`` switches the cache off. Its entries are run: keep it to yourself.
A failure of the file system never fails a compilation.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

__all__ = ["load", "store"]

MAX_BYTES = 256 * 2**20
DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> Path | None:
    """Where entries are kept, or ``None`` if nowhere."""
    given = os.environ.get("PULLBACK_CACHE_DIR")
    if given is not None:
        return Path(given) if given else None
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "pullback"


def digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


def load(key: str) -> bytes | None:
    """The object code stored under ``key``, a file name; ``None`` if missing or damaged."""
    place = folder()
    if place is None:
        return None
    try:
        path = place / key
        entry = path.read_bytes()
        os.utime(path)  # most recently used
    except OSError:
        return None
    code = entry[DIGEST_BYTES:]
    return code if entry[:DIGEST_BYTES] == digest(key, code) else None


def store(key: str, code: bytes) -> None:
    """Write an entry in one step, then delete the least recently used ones beyond the bound."""
    place = folder()
    if place is None:
        return
    with contextlib.suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, prefix="tmp-", delete=False) as file:
            file.write(digest(key, code) + code)
        os.replace(file.name, place / key)
        shrink(place)


def shrink(place: Path) -> None:
    """Delete files, those of killed writers too, from the least recently used on."""
    files = []
    for path in place.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process deletes too
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= MAX_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= size
