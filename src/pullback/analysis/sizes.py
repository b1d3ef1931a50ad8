"""Sizes in memory, as people write them: 200 MB, 8 GiB."""

from __future__ import annotations

import re
from typing import Any, Final

from pullback.core.source import here
from pullback.errors import ArgumentError

__all__ = ["parse_bytes", "show_bytes"]

UNITS: Final = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
WRITTEN: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([A-Za-z]*)\s*")


def parse_bytes(size: Any, name: str = "memory") -> int:
    """A number of bytes from a whole number or from text such as ``"200 MB"`` or ``"1.5 GiB"``.

    MB are 10^6 bytes, MiB 2^20. A part of a byte is dropped.

    Raises:
        ArgumentError: if it is none, or not positive; ``name`` is what it was given for.

    >>> parse_bytes("8GB"), parse_bytes("8 GiB"), parse_bytes(4096)
    (8000000000, 8589934592, 4096)
    """
    found: int | None = None
    if isinstance(size, str):
        match = WRITTEN.fullmatch(size)
        unit = UNITS.get(match[2].upper()) if match else None
        found = int(float(match[1]) * unit) if match and unit else None
    elif hasattr(size, "__index__") and not isinstance(size, bool):
        found = size.__index__()
    if found is None or found < 1:
        raise ArgumentError(
            f"{name}={size!r} is no size in memory",
            where=str(here()),
            fix=f'write {name}="200 MB", "1.5 GiB", or a positive whole number of bytes',
        )
    return found


def show_bytes(n: float) -> str:
    """Three digits and a unit of thousands.

    >>> show_bytes(13_476_831_232), show_bytes(512)
    ('13.5 GB', '512 B')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 999.5:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"
