"""Event files that TensorBoard shows: scalars over steps.

A file is a row of records: length, checksum, a protocol buffer, checksum. Two messages are needed,
and they are written out here: https://github.com/tensorflow/tensorboard, ``event.proto`` and
``summary.proto``; records as in TensorFlow's ``record_writer.h``.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Self

__all__ = ["EventFile"]

CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, bits reversed
MASK_DELTA = 0xA282EAD8
BITS = 0xFFFFFFFF


class EventFile:
    """Appends scalars to a new file in a folder.

    >>> import tempfile, pathlib
    >>> from pullback.train.tensorboard import EventFile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with EventFile(folder) as file:
    ...         file.add(1, {"loss": 0.5})
    ...     [path.name[:19] for path in pathlib.Path(folder).iterdir()]
    ['events.out.tfevents']
    """

    def __init__(self, folder: str | Path) -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.pullback.{os.getpid()}.{os.urandom(3).hex()}"
        self.file = (Path(folder) / name).open("wb")
        self._write(_bytes(3, b"brain.Event:2"))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of a step, each under its name, and flush them."""
        summary = b"".join(
            _bytes(1, _bytes(1, name.encode()) + _key(2, 5) + struct.pack("<f", value))
            for name, value in values.items()
        )
        self._write(_key(2, 0) + _varint(step) + _bytes(5, summary))
        self.file.flush()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, fields: bytes) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + fields
        length = struct.pack("<Q", len(event))
        for part in (length, event):
            self.file.write(part + struct.pack("<I", _masked(part)))


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


@cache
def _table() -> tuple[int, ...]:
    rows = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (CASTAGNOLI if number & 1 else 0)
        rows.append(number)
    return tuple(rows)


def _masked(content: bytes) -> int:
    table, crc = _table(), BITS
    for byte in content:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    crc ^= BITS
    return ((crc >> 15 | crc << 17) + MASK_DELTA) & BITS
