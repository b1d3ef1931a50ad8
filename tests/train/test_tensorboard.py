"""Event files: checksums of published vectors, and records that are read back."""

import struct
from pathlib import Path

from pullback.train.tensorboard import EventFile, _masked


def test_the_checksum_has_the_published_value() -> None:
    # RFC 3720, appendix B.4: CRC-32C of 32 bytes of zeros, and of 0 to 31.
    for content, crc in ((bytes(32), 0x8A9136AA), (bytes(range(32)), 0x46DD794E)):
        masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
        assert _masked(content) == masked


def test_records_are_framed_and_hold_the_numbers(tmp_path: Path) -> None:
    with EventFile(tmp_path) as file:
        file.add(300, {"loss": 0.5, "accuracy": 1.0})
    (path,) = tmp_path.iterdir()
    content, records = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        assert struct.unpack("<I", content[8:12]) == (_masked(content[:8]),)
        record = content[12 : 12 + length]
        assert struct.unpack("<I", content[12 + length : 16 + length]) == (_masked(record),)
        records.append(record)
        content = content[16 + length :]
    assert b"brain.Event:2" in records[0]
    # field 2 as a varint: 300 is 0xAC 0x02; then value { tag: "loss" simple_value: 0.5 }
    assert b"\x10\xac\x02" in records[1]
    assert b"\x0a\x04loss\x15" + struct.pack("<f", 0.5) in records[1]
