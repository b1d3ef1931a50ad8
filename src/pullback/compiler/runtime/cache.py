"""Object code kept on disk between processes.

The folder is ``$PULLBACK_CACHE_DIR``, else ``pullback`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; an
empty ``PULLBACK_CACHE_DIR`` switches the cache off. Its entries are run, so folder and entries must
belong to the user, and nobody else may write them or move a folder above them (as OpenSSH asks of
keys). Else nothing is read there: one warning, and a folder of this process takes its place.
A failure of the file system never fails a compilation.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import stat
import warnings
from collections.abc import Iterator
from functools import lru_cache

__all__ = ["load", "store"]

MAX_BYTES = 256 * 2**20
DIGEST_BYTES = hashlib.sha256().digest_size
SUFFIX = ".pullback"  # of the names of our files
OWN = re.compile(rf"([0-9a-f]{{64}}|tmp-[0-9a-f]{{16}}){re.escape(SUFFIX)}")
CAN_ASK = hasattr(os, "getuid") and os.open in os.supports_dir_fd  # who owns a file
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnsafeError(Exception):
    """Somebody else could have written here: where, and what to do."""


def load(key: str) -> bytes | None:
    """The object code stored under ``key``, a file name; ``None`` if missing or damaged."""
    with contextlib.suppress(OSError), opened() as place:
        if place is None:
            return None
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(key + SUFFIX, flags, dir_fd=place), "rb") as file:
            state = os.fstat(file.fileno())
            if not is_own(state) or state.st_size > MAX_BYTES:
                return None
            entry = file.read(state.st_size)
            os.utime(file.fileno())  # most recently used
        code = entry[DIGEST_BYTES:]
        return code if entry[:DIGEST_BYTES] == digest(key, code) else None
    return None


def store(key: str, code: bytes) -> None:
    """Write an entry in one step, then delete the least recently used ones beyond the bound."""
    with contextlib.suppress(OSError), opened() as place:
        if place is None:
            return
        fresh = f"tmp-{os.urandom(8).hex()}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=place), "wb") as file:
                file.write(digest(key, code) + code)
            os.replace(fresh, key + SUFFIX, src_dir_fd=place, dst_dir_fd=place)
        except OSError:
            os.unlink(fresh, dir_fd=place)
            raise
        shrink(place)


def digest(key: str, code: bytes) -> bytes:
    return hashlib.sha256(key.encode() + code).digest()


def is_own(state: os.stat_result) -> bool:
    """Whether this is a plain file of the user that nobody else can write."""
    is_mine = stat.S_ISREG(state.st_mode) and state.st_uid == os.getuid()
    return is_mine and not state.st_mode & OTHERS_WRITE


def shrink(place: int) -> None:
    """Delete entries, and files of killed writers, from the least recently used on."""
    files = []
    for name in os.listdir(place):
        if not OWN.fullmatch(name):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process deletes too
            state = os.stat(name, dir_fd=place, follow_symlinks=False)
            if is_own(state):
                files.append((state.st_mtime_ns, state.st_size, name))
    total = sum(size for _, size, _ in files)
    for _, size, name in sorted(files):
        if total <= MAX_BYTES:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place)
        total -= size


# -- the folder -----------------------------------------------------------------------------------
@contextlib.contextmanager
def opened() -> Iterator[int | None]:
    """A descriptor of the folder, which is made if it is missing; ``None`` if there is none.

    Raises:
        OSError: if the folder cannot be had.
    """
    wanted = folder()
    if wanted is None:
        yield None
        return
    try:
        place = checked(wanted)
    except UnsafeError as error:
        try:
            place = checked(private(*error.args))
        except UnsafeError:  # others may even move what is in the folder for temporary files
            yield None
            return
    try:
        yield place
    finally:
        os.close(place)


def folder() -> str | None:
    """Where entries are kept by the environment, or ``None`` if nowhere."""
    given = os.environ.get("PULLBACK_CACHE_DIR")
    if given == "" or not CAN_ASK:
        return None
    if given is not None:
        return given
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # is to be ignored, says the standard that it comes from
        base = os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "pullback")


def checked(path: str) -> int:
    """A descriptor of a folder that only the user can write, reached through such folders only.

    Raises:
        UnsafeError: if it is not one.
        OSError: if it cannot be made or opened.
    """
    if not os.path.isabs(path):
        raise UnsafeError(
            f"the folder {path!r} for compiled code depends on the current directory",
            "set PULLBACK_CACHE_DIR, or HOME, to an absolute path",
        )
    path = os.path.realpath(path)
    make(path)
    above, name = os.path.split(path)
    while name:
        # Who may write a folder may move what is in it, unless it is sticky, as /tmp.
        state = os.lstat(above)
        may_write = bool(state.st_mode & OTHERS_WRITE and not state.st_mode & stat.S_ISVTX)
        refuse(above, state, may_write, (0, os.getuid()))
        above, name = os.path.split(above)
    place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        state = os.fstat(place)
        refuse(path, state, bool(state.st_mode & OTHERS_WRITE), (os.getuid(),))
    except BaseException:
        os.close(place)
        raise
    return place


def refuse(path: str, state: os.stat_result, may_write: bool, owners: tuple[int, ...]) -> None:
    """Raise if a folder has another owner, or if others may write it."""
    if state.st_uid not in owners:
        raise UnsafeError(
            f"the folder {path} belongs to user {state.st_uid}, who could put code there",
            "set PULLBACK_CACHE_DIR to a folder of your own",
        )
    if may_write:
        raise UnsafeError(
            f"others may write the folder {path} (mode {state.st_mode & 0o7777:o}) and so put "
            "code there",
            f"chmod go-w {path}",
        )


def make(path: str) -> None:
    """Make a folder, and those above it that are missing, for the user alone."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process makes it too
            os.mkdir(path, 0o700)


def private(reason: str, fix: str) -> str:
    """A folder for this process, and a warning where one was wanted that it replaces."""
    if not own_folder.cache_info().currsize:
        warnings.warn(
            f"{reason}. Nothing is read from there; this process keeps its compiled code in a "
            f"folder of its own, which is deleted when it ends. Fix: {fix}",
            RuntimeWarning,
            stacklevel=2,
        )
    return own_folder()


@lru_cache(maxsize=1)
def own_folder() -> str:
    """A folder that only this process knows, deleted when it ends."""
    import shutil  # rarely: together they take as long as a load from the disk
    import tempfile

    place = tempfile.mkdtemp(prefix="pullback-")
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # not a child of it, which ends earlier
            shutil.rmtree(place, ignore_errors=True)

    atexit.register(remove)
    return place
