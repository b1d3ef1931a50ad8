"""Tables: what is read, and what is refused with its place."""

from pathlib import Path

import numpy as np
import pytest

from pullback.errors import DataError
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


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        read_table(str(tmp_path / "none.csv"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
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
