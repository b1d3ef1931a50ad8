"""Tables of numbers from CSV files, npz files, and the handwritten digits of scikit-learn.

A table is complete when it exists: a missing or unreadable value raises with its row and column,
and nothing is filled in.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pullback.errors import DataError
from pullback.files import TooLargeError, opened

__all__ = ["Table", "read_table"]

Cells = np.ndarray[Any, Any]
MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
MOST_BYTES = 2 << 30  # of a file, of what an npz file unpacks to, and of a column of text
MOST_COLUMNS = 100_000
LARGEST = 1e150  # numbers whose squares, which training sums up, are finite
MEMBER = ".npy"  # ends the name of an array in an npz file
DIGITS = "digits"
DIGITS_TARGET = "digit"


@dataclasses.dataclass(frozen=True)
class Table:
    """Columns of equal length.

    Args:
        source: where it comes from, for messages.
        columns: name to values ``(rows,)``: float64, int64, or strings.
        lines: line of the file that each row starts on; ``None`` if the source has no lines.
        has_one_unit: whether the features are measured in the same unit, as pixels are, so that
            they must be scaled alike.
    """

    source: str
    columns: dict[str, Cells]
    lines: Sequence[int] | None = None
    has_one_unit: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def place(self, row: int, column: str) -> str:
        """Row (from 1) and column, as messages name them."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.source}, row {row + 1}{line}, column {column!r}"

    def column(self, name: str) -> Cells:
        """The values of one column.

        Raises:
            DataError: if there is no such column; names those that exist.
        """
        if name not in self.columns:
            raise DataError(
                f"{self.source} has no column {name!r}",
                details=[f"columns: {listed(self.columns)}"],
                fix="check the spelling, or add the column",
            )
        return self.columns[name]

    def features(self, names: Sequence[str]) -> Cells:
        """The named columns as numbers ``(rows, len(names))``, float64.

        Raises:
            DataError: if a column is missing or holds text or an infinity.
        """
        matrix = np.empty((len(self), len(names)))
        for j, name in enumerate(names):
            matrix[:, j] = self.numbers(name)
        return matrix

    def numbers(self, name: str) -> Cells:
        """One column as float64.

        Raises:
            DataError: at the first cell that is no finite number.
        """
        cells = self.column(name)
        if cells.dtype.kind != "U":
            return cells.astype(np.float64)
        row = next(i for i, cell in enumerate(cells) if _number(cell) is None)
        raise DataError(
            f"{self.place(row, name)}: {str(cells[row])!r} is not a number",
            fix=f"replace it by a number, or leave the column out: --ignore {name}",
        )


def read_table(source: str) -> Table:
    """Read ``digits``, a ``.csv`` or an ``.npz`` file.

    A CSV file is comma-separated UTF-8 text whose first line names the columns. In an npz file
    every array has one entry per row; an array with more axes becomes the columns ``name[0]``,
    ``name[1]``, ... Limits are checked before memory is taken: 2 GiB of a file and of what it
    unpacks to, 100,000 columns, and numbers of at most 1e150, whose squares are finite.

    Raises:
        DataError: naming the row and the column of a missing value, or what is wrong with the
            file.

    >>> from pullback.train.table import read_table
    >>> table = read_table("digits")
    >>> len(table), table.column("digit")[:4]
    (1797, array([0, 1, 2, 3]))
    """
    if source == DIGITS:
        return _digits()
    path = Path(source)
    readers = {".csv": _read_csv, ".npz": _read_npz}
    if path.suffix.lower() not in readers:
        raise DataError(
            f"{source}: unknown kind of data", fix="give 'digits', a .csv file or an .npz file"
        )
    try:
        with opened(path, MOST_BYTES) as file:
            return readers[path.suffix.lower()](path, file)
    except TooLargeError as error:
        raise DataError(f"{source}: {error}", fix="train on a part of the rows") from error
    except FileNotFoundError as error:
        raise DataError(f"{source}: there is no such file", fix="check the path") from error
    except OSError as error:
        raise DataError(
            f"{source} cannot be read: {error.strerror or error}", fix="check the file"
        ) from error


def listed(names: Sequence[str] | dict[str, Any], most: int = 12) -> str:
    """The first names, and how many more there are."""
    shown = list(names)[:most]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f", and {rest} more" if rest else "")


def _digits() -> Table:
    from sklearn.datasets import load_digits

    data = load_digits()
    columns = dict(zip(data.feature_names, data.data.T, strict=True))
    columns[DIGITS_TARGET] = data.target.astype(np.int64)
    return Table(DIGITS, columns, has_one_unit=True)


# -- CSV ------------------------------------------------------------------------------------------
def _read_csv(path: Path, file: BinaryIO) -> Table:
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        with io.TextIOWrapper(file, newline="", encoding="utf-8-sig") as text:
            reader = csv.reader(text, strict=True)
            for cells in reader:
                if any("\0" in cell for cell in cells):
                    raise csv.Error("a NUL byte, which no text has")
                if not header:
                    header = _header(path, cells)
                elif cells:
                    _check_width(path, len(rows), line, cells, header)
                    rows.append([cell.strip() for cell in cells])
                    lines.append(line)
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text", fix="save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: {error}", fix="repair the line: look at its quotes first"
        ) from error
    if not rows:
        raise DataError(
            f"{path} has no rows" if header else f"{path} is empty",
            fix="the first line names the columns, each further line is one example",
        )
    table = Table(str(path), {}, lines)
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        table.columns[name] = _parsed(table, name, column)
    return table


def _header(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if any(_number(name) is not None for name in names):
        raise DataError(
            f"{path}: the first line looks like data, not like names of columns",
            details=[f"line 1: {listed(names)}"],
            fix="put a line with the names of the columns first",
        )
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise DataError(
            f"{path}: the columns are not separated by commas", fix="save it with commas"
        )
    _check_columns(str(path), len(names))
    seen: set[str] = set()
    for j, name in enumerate(names):
        if not name or name in seen:
            reason = f"is named {name!r}, as another is" if name else "has no name"
            raise DataError(
                f"{path}: column {j + 1} {reason}", fix="give every column its own name"
            )
        seen.add(name)
    return names


def _check_columns(source: str, n: int) -> None:
    if n > MOST_COLUMNS:
        raise DataError(
            f"{source}: {n} columns, more than {MOST_COLUMNS}", fix="leave some of them out"
        )


def _check_width(path: Path, row: int, line: int, cells: list[str], header: list[str]) -> None:
    if len(cells) != len(header):
        reason = (
            f"no value in column {header[len(cells)]!r}"
            if len(cells) < len(header)
            else f"a value after the last column {header[-1]!r}"
        )
        raise DataError(
            f"{path}, row {row + 1} (line {line}): {reason}",
            details=[f"{len(cells)} values, {len(header)} columns"],
            fix="give every row one value per column; quote values that contain commas",
        )


def _parsed(table: Table, name: str, cells: Sequence[str]) -> Cells:
    """A column as int64 if all cells are whole numbers, float64 if all are numbers, else text."""
    for row, cell in enumerate(cells):
        if cell.lower() in MISSING:
            raise _missing(table.place(row, name), cell)
    numbers = [_number(cell) for cell in cells]
    if any(number is None for number in numbers):
        row = max(range(len(cells)), key=lambda i: len(cells[i]))
        if len(cells) * len(cells[row]) * np.dtype("U1").itemsize > MOST_BYTES:
            raise DataError(  # since all of them take as much memory as the longest
                f"{table.place(row, name)}: a text of {len(cells[row])} characters is too long",
                fix="shorten it, or leave the column out",
            )
        return np.array(cells, dtype=str)
    if all(isinstance(number, int) for number in numbers):
        return np.array(numbers, dtype=np.int64)
    return _finite(table, name, np.array(numbers, dtype=np.float64))


def _number(cell: str) -> int | float | None:
    for kind in (int, float):
        try:
            number = kind(cell)
        except ValueError:
            continue
        # Python also reads 1_000; a whole number beyond 64 bits is kept as a float.
        if "_" not in cell:
            return number if isinstance(number, float) or abs(number) < 2**63 else float(cell)
    return None


def _finite(table: Table, name: str, values: Cells) -> Cells:
    for row in np.flatnonzero(~(np.abs(values) <= LARGEST)):
        if math.isnan(values[row]):
            raise _missing(table.place(int(row), name), "nan")
        is_finite = math.isfinite(values[row])
        reason = f"is larger than {LARGEST:g}" if is_finite else "is not a finite number"
        raise DataError(
            f"{table.place(int(row), name)}: {values[row]} {reason}",
            fix="replace it, or leave the row out",
        )
    return values


def _missing(place: str, cell: str) -> DataError:
    return DataError(
        f"{place}: the value is missing" + (f" ({cell!r})" if cell else ""),
        fix="fill it in, or leave out the row or the column",
    )


# -- npz ------------------------------------------------------------------------------------------
def _read_npz(path: Path, file: BinaryIO) -> Table:
    try:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
            raise ValueError("it holds one array without a name")
        with zipfile.ZipFile(file) as archive:
            _check_members(path, archive.infolist())
            arrays = {
                info.filename.removesuffix(MEMBER): _member(path, archive, info)
                for info in archive.infolist()
            }
    except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError, and NotImplementedError which is one: encrypted, an unknown compression.
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} is damaged, or no npz file of plain arrays",
            details=[str(error)],
            fix="write it with numpy.savez(path, x=..., y=...)",
        ) from error
    rows = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if not arrays or min(rows.values()) == 0 or len(set(rows.values())) > 1:
        raise DataError(
            f"{path}: every array needs one entry per row, and all the same number of rows",
            details=[f"{name}: {array.dtype} {array.shape}" for name, array in arrays.items()],
            fix="save arrays whose first axis counts the examples",
        )
    _check_columns(str(path), sum(math.prod(array.shape[1:]) for array in arrays.values()))
    table = Table(str(path), {})
    for name, array in arrays.items():
        _add_columns(table, name, array)
    return table


def _check_members(path: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    names = [info.filename for info in members]
    if foreign := [name for name in names if not name.endswith(MEMBER)]:
        raise DataError(
            f"{path}: {foreign[0]!r} in it is no array",
            fix="write the file with numpy.savez(path, x=..., y=...)",
        )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{path}: two arrays in it are named {twice.removesuffix(MEMBER)!r}",
            fix="give every array its own name",
        )
    if (n_bytes := sum(info.file_size for info in members)) > MOST_BYTES:
        raise DataError(
            f"{path} unpacks to {n_bytes} bytes, the most that is read is {MOST_BYTES}",
            fix="train on a part of the rows",
        )


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Cells:
    """An array of an npz file, whose header must fit its bytes."""
    lib = np.lib.format
    with archive.open(info) as member:
        version = lib.read_magic(member)
        if version > (2, 0):
            raise ValueError(f"an array of the version {version} of the format")
        read_header = lib.read_array_header_1_0 if version == (1, 0) else lib.read_array_header_2_0
        shape, _, dtype = read_header(member)
        n_bytes = math.prod(shape) * dtype.itemsize
        n_left = info.file_size - member.tell()
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects")
        if min(shape, default=0) < 0 or n_bytes != n_left or not dtype.itemsize:
            raise DataError(
                f"{path}: array {info.filename.removesuffix(MEMBER)!r} is said to be {dtype} "
                f"{shape}, and has {n_left} bytes",
                fix="write the file with numpy.savez(path, x=..., y=...)",
            )
    with archive.open(info) as member:
        array: Cells = lib.read_array(member, allow_pickle=False)
    return array


def _add_columns(table: Table, name: str, array: Cells) -> None:
    kinds = {"b": np.int64, "i": np.int64, "u": np.int64, "f": np.float64, "U": np.str_}
    if array.dtype.kind not in kinds:
        raise DataError(
            f"{table.source}: array {name!r} has dtype {array.dtype}",
            fix="save numbers, or text for a target",
        )
    if array.ndim == 1:
        entries = {name: array}
    else:
        places = np.ndindex(array.shape[1:])
        entries = {
            f"{name}[{','.join(map(str, place))}]": array[(slice(None), *place)] for place in places
        }
    for column, values in entries.items():
        if column in table.columns:
            raise DataError(
                f"{table.source}: two columns are named {column!r}",
                details=[f"an array of this name, and a column of the array {name!r}"],
                fix="rename one of the arrays",
            )
        if values.dtype.kind == "u" and values.dtype.itemsize == 8 and values.max() >= 2**63:
            row = int(np.argmax(values))
            raise DataError(
                f"{table.place(row, column)}: {values[row]} needs more than 63 bits",
                fix="save the array as float64",
            )
        values = values.astype(kinds[values.dtype.kind], copy=False)
        table.columns[column] = (
            _finite(table, column, values) if values.dtype.kind == "f" else values
        )
