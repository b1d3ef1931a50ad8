"""Object code kept on disk between processes.

The folder is ``$PULLBACK_CACHE_DIR``, else ``pullback`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; an
empty ``PULLBACK_CACHE_DIR`` switches the cache off. Its entries are run: keep it to yourself.
A failure of the file system never fails a compilation.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

__all__ = ["load", "store"]

MAX_BYTES = 256 * 2**20
DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> str | None:
    """Where entries are kept, or ``None`` if nowhere."""
    given = os.environ.get("PULLBACK_CACHE_DIR")
    if given is not None:
        return given or None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pullback")


def digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


def load(key: str) -> bytes | None:
    """The object code stored under ``key``, a file name; ``None`` if missing or damaged."""
    place = folder()
    if place is None:
        return None
    try:
        with open(os.path.join(place, key), "rb") as file:
            entry = file.read()
            os.utime(file.fileno())  # most recently used
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
        os.makedirs(place, mode=0o700, exist_ok=True)
        fresh = os.path.join(place, f"tmp-{os.urandom(8).hex()}")
        with open(fresh, "xb", opener=privately) as file:
            file.write(digest(key, code) + code)
        os.replace(fresh, os.path.join(place, key))
        shrink(place)


def privately(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)


def shrink(place: str) -> None:
    """Delete files, those of killed writers too, from the least recently used on."""
    files = []
    for entry in os.scandir(place):
        with contextlib.suppress(FileNotFoundError):  # another process deletes too
            status = entry.stat()
            files.append((status.st_mtime_ns, status.st_size, entry.path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= MAX_BYTES:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
