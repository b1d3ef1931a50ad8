"""Tables: what is read, and what is refused with its place."""

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pullback.errors import DataError
from pullback.train import table as table_module
from pullback.train.table import listed, read_table

GOOD = "height,count,kind\n1.5,3,oak\n-2e3,4,ash\n"


def write(folder: Path, text: str | bytes, name: str = "table.csv") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(",", " , "),
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\n\n"),
        GOOD.replace("oak", '"oak"'),
    ],
    ids=["plain", "byte order mark", "crlf", "spaces", "no last newline", "blank lines", "quotes"],
)
def test_a_csv_file(tmp_path: Path, text: str) -> None:
    table = read_table(write(tmp_path, text))
    assert len(table) == 2
    assert table.columns["height"].tolist() == [1.5, -2000.0]
    assert table.columns["count"].dtype == np.int64
    assert table.columns["kind"].tolist() == ["oak", "ash"]
    assert table.features(["count", "height"]).tolist() == [[3.0, 1.5], [4.0, -2000.0]]


def test_quoted_commas_and_lines(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'name,x\n"a, b",1\n"two\nlines",2\nc,3\n'))
    assert table.columns["name"].tolist() == ["a, b", "two\nlines", "c"]
    assert list(table.lines or ()) == [2, 3, 5]
    assert table.place(2, "x").endswith("table.csv, row 3 (line 5), column 'x'")


REFUSED = {
    "missing": ("a,b\n1,2\n3,\n", r"row 2 \(line 3\), column 'b': the value is missing"),
    "nan": ("a,b\n1,2\n3,NaN\n", r"row 2 \(line 3\), column 'b': the value is missing \('NaN'\)"),
    "question mark": ("a,b\n?,2\n", r"row 1 \(line 2\), column 'a': the value is missing"),
    "after a blank line": ("a,b\n1,2\n\n3,\n", r"row 2 \(line 4\), column 'b'"),
    "infinite": ("a,b\n1,2\n3,-inf\n", r"row 2 \(line 3\), column 'b': -inf is not a finite"),
    "short row": ("a,b,c\n1,2,3\n4,5\n", r"row 2 \(line 3\): no value in column 'c'"),
    "long row": ("a,b\n1,2,3\n", r"row 1 \(line 2\): a value after the last column 'b'"),
    "no names": ("1,2\n3,4\n", "the first line looks like data"),
    "semicolons": ("a;b\n1;2\n", "not separated by commas"),
    "same name": ("a,b,a\n1,2,3\n", "column 3 is named 'a', as another is"),
    "unnamed": ("a,,c\n1,2,3\n", "column 2 has no name"),
    "no rows": ("a,b\n", "has no rows"),
    "empty": ("", "is empty"),
    "not text": (b"a,b\n\xff\xfe,1\n", "is not UTF-8 text"),
    "open quote": ('a,b\n1,"2\n', "line 2: unexpected end of data"),
    "a zero byte": (b"a,b\n1,2\n3,\0\n", "line 3: a NUL byte"),
    "400 digits": (f"a\n1\n{'9' * 400}\n", r"row 2 \(line 3\), column 'a': inf is not a finite"),
    "5000 digits": (f"a\n{'9' * 5000}\n", r"row 1 \(line 2\), column 'a': inf is not a finite"),
    "huge": ("a\n1\n-1e200\n", r"row 2 \(line 3\), column 'a': -1e\+200 is larger than 1e\+150"),
    "a huge cell": (f"a\n{'x' * 200_000}\n", "line 2: field larger than field limit"),
    "columns": (",".join(f"a{i}" for i in range(100_001)) + "\n", "100001 columns, more than"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_a_csv_file_may_not_hold(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_table(write(tmp_path, text))
    assert caught.value.fix


def test_text_is_no_feature_and_unknown_columns_are_named(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a,b\n1,2\n3,4 cm\n"))
    with pytest.raises(DataError, match=r"row 2 \(line 3\), column 'b': '4 cm' is not a number"):
        table.features(["a", "b"])
    with pytest.raises(DataError, match=r"has no column 'c'\n  columns: a, b"):
        table.column("c")


@pytest.mark.parametrize("cell", ["1_000", "0x10", "1e", "--3"])
def test_what_only_looks_like_a_number_is_text(tmp_path: Path, cell: str) -> None:
    assert read_table(write(tmp_path, f"a\n{cell}\n")).columns["a"].tolist() == [cell]


def test_whole_numbers_beyond_64_bits_are_floats(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, f"a\n{2**70}\n1\n"))
    assert table.columns["a"].tolist() == [2.0**70, 1.0]


def test_an_npz_file(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    np.savez(path, x=np.arange(12.0).reshape(3, 2, 2), kind=np.array(["a", "b", "c"]))
    table = read_table(str(path))
    assert list(table.columns) == ["x[0,0]", "x[0,1]", "x[1,0]", "x[1,1]", "kind"]
    assert table.columns["x[1,0]"].tolist() == [2.0, 6.0, 10.0]
    assert table.place(0, "kind").endswith("table.npz, row 1, column 'kind'")


def test_what_an_npz_file_may_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    matrix = np.ones((4, 2))
    matrix[2, 1] = np.nan
    np.savez(path, x=matrix)
    with pytest.raises(DataError, match=r"row 3, column 'x\[1\]': the value is missing"):
        read_table(str(path))
    np.savez(path, x=np.ones((4, 2)), y=np.ones(3))
    with pytest.raises(DataError, match=r"same number of rows\n  x: float64 \(4, 2\)\n  y: "):
        read_table(str(path))
    np.savez(path, x=np.ones(3, complex))
    with pytest.raises(DataError, match="array 'x' has dtype complex128"):
        read_table(str(path))
    np.savez(path, x=np.array([None, 1]))
    with pytest.raises(DataError, match="no npz file of plain arrays"):
        read_table(str(path))
    with path.open("wb") as file:
        np.save(file, matrix)
    with pytest.raises(DataError, match="one array without a name"):
        read_table(str(path))
    with pytest.raises(DataError, match="damaged"):
        read_table(write(tmp_path, b"PK\x03\x04 no archive", "bad.npz"))


def test_a_long_text_among_many_rows_is_refused_before_it_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["x", "y" * 1000, *"z" * 1000]
    path = write(tmp_path, "\n".join(["a", *rows]) + "\n")
    assert read_table(path).columns["a"].itemsize == 4000
    monkeypatch.setattr(table_module, "MOST_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"row 2 \(line 3\), column 'a': a text of 1000 characters"):
        read_table(path)


@pytest.mark.parametrize("name", ["table.csv", "table.npz"])
def test_a_file_beyond_the_limit_and_a_pipe_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(bytes(1001))
    monkeypatch.setattr(table_module, "MOST_BYTES", 1000)
    with pytest.raises(DataError, match="it has 1001 bytes, the most that is read 1000"):
        read_table(str(path))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="it is no plain file"):
        read_table(str(path))


def zipped(path: Path, members: list[tuple[str, bytes]], compression: int = 0) -> None:
    with warnings.catch_warnings():  # of two members with one name
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)


def npy(array: Any, shape: str = "") -> bytes:
    """The bytes of an array, whose header may claim another shape."""
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    if shape:
        before = str(np.shape(array))
        wanted = content.replace(before.encode(), shape.encode())
        head, _, rest = wanted.partition(b"\n")
        content = head.rstrip().ljust(127) + b"\n" + rest
    return content


ONES = np.ones(4)
ENCRYPTED = 1  # the flag in the header of a member
MEMBERS: dict[str, tuple[list[tuple[str, bytes]], str]] = {
    "foreign": ([("x.npy", npy(ONES)), ("run.sh", b"rm")], "'run.sh' in it is no array"),
    "a folder": ([("x/", b"")], "'x/' in it is no array"),
    "twice": ([("x.npy", npy(ONES)), ("x.npy", npy(ONES))], "two arrays in it are named 'x'"),
    "a huge shape": (
        [("x.npy", npy(ONES, "(99999999999,)"))],
        r"array 'x' is said to be float64 \(99999999999,\), and has 32 bytes",
    ),
    "negative": ([("x.npy", npy(ONES, "(-4,)"))], r"float64 \(-4,\), and has 32 bytes"),
    "empty text": ([("x.npy", npy(np.zeros(0, "U1")).replace(b"<U1", b"<U0"))], "and has 0 bytes"),
    "longer": ([("x.npy", npy(ONES) + b"0")], r"float64 \(4,\), and has 33 bytes"),
    "no array": ([("x.npy", b"text")], "damaged, or no npz file"),
    "another version": ([("x.npy", b"\x93NUMPY\x03\0" + npy(ONES)[8:])], "of the version"),
    "64 bits": (
        [("x.npy", npy(np.array([1, 2**64 - 1], np.uint64)))],
        "row 2, column 'x': 18446744073709551615 needs more than 63 bits",
    ),
    "one name for two": (
        [("x.npy", npy(np.ones((4, 2)))), ("x[0].npy", npy(ONES))],
        r"two columns are named 'x\[0\]'",
    ),
    "one name for two, the other way": (
        [("x[1].npy", npy(ONES)), ("x.npy", npy(np.ones((4, 2))))],
        r"two columns are named 'x\[1\]'",
    ),
    "columns": ([("x.npy", npy(np.zeros((1, 100_001), bool)))], "100001 columns, more than"),
    "huge numbers": (
        [("x.npy", npy(np.array([1, 1e200])))],
        r"row 2, column 'x': 1e\+200 is larger",
    ),
}


@pytest.mark.parametrize(("members", "message"), MEMBERS.values(), ids=MEMBERS)
def test_what_the_members_of_an_npz_file_may_not_be(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    path = tmp_path / "table.npz"
    zipped(path, members)
    with pytest.raises(DataError, match=message) as caught:
        read_table(str(path))
    assert str(path) in str(caught.value)
    assert caught.value.fix


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.npz"
    zipped(path, [("x.npy", npy(np.zeros(10_000_000)))], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(table_module, "MOST_BYTES", 1_000_000)

    def unpack(*args: Any) -> None:
        raise AssertionError("unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "open", unpack)
    with pytest.raises(DataError, match="unpacks to 80000128 bytes, the most that is read is"):
        read_table(str(path))


def test_an_encrypted_member_and_damaged_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    zipped(path, [("x.npy", npy(ONES))])
    good = path.read_bytes()
    encrypted = bytearray(good)
    encrypted[6] |= ENCRYPTED
    encrypted[good.index(b"PK\x01\x02") + 8] |= ENCRYPTED
    path.write_bytes(encrypted)
    with pytest.raises(DataError, match=r"damaged, or no npz file.*\n.*encrypted"):
        read_table(str(path))
    unknown = bytearray(good)
    unknown[8] = unknown[good.index(b"PK\x01\x02") + 10] = 97
    path.write_bytes(unknown)
    with pytest.raises(DataError, match=r"damaged, or no npz file.*\n.*compression"):
        read_table(str(path))
    start = good.index(b"NUMPY")
    for place in range(start - 1, start + 160):
        path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        with pytest.raises(DataError):
            read_table(str(path))


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_table(str(tmp_path / "none.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read: it is no plain file"):
        read_table(str(tmp_path / "folder.csv"))
    with pytest.raises(DataError, match="unknown kind of data"):
        read_table("table.xlsx")


def test_the_digits_are_the_published_ones() -> None:
    table = read_table("digits")
    # Alpaydin & Kaynak (1998): 1797 test images of 8 x 8 pixels with values from 0 to 16.
    assert len(table) == 1797
    assert len(table.columns) == 65
    assert table.has_one_unit
    counts = np.bincount(table.column("digit"))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    pixels = table.features([name for name in table.columns if name != "digit"])
    assert (pixels.min(), pixels.max()) == (0, 16)


def test_long_lists_are_shortened() -> None:
    assert listed(["a", "b", "c"], 2) == "a, b, and 1 more"
