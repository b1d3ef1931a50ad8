"""Tables of numbers from CSV files, npz files, and the handwritten digits of scikit-learn.

A table is complete when it exists: a missing or unreadable value raises with its row and column,
and nothing is filled in.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pullback.errors import DataError

__all__ = ["Table", "read_table"]

Cells = np.ndarray[Any, Any]
MISSING = {"", "?", "na", "n/a", "nan", "null", "none"}
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
    ``name[1]``, ...

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
        return readers[path.suffix.lower()](path)
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
def _read_csv(path: Path) -> Table:
    header: list[str] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            line = 1
            for cells in reader:
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
        raise DataError(f"{path}, line {line}: {error}", fix="repair the quotes") from error
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
    for j, name in enumerate(names):
        if not name or name in names[:j]:
            reason = f"is named {name!r}, as another is" if name else "has no name"
            raise DataError(
                f"{path}: column {j + 1} {reason}", fix="give every column its own name"
            )
    return names


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
            return number if isinstance(number, float) or abs(number) < 2**63 else float(number)
    return None


def _finite(table: Table, name: str, values: Cells) -> Cells:
    for row in np.flatnonzero(~np.isfinite(values)):
        if math.isnan(values[row]):
            raise _missing(table.place(int(row), name), "nan")
        raise DataError(
            f"{table.place(int(row), name)}: {values[row]} is not a finite number",
            fix="replace it, or leave the row out",
        )
    return values


def _missing(place: str, cell: str) -> DataError:
    return DataError(
        f"{place}: the value is missing" + (f" ({cell!r})" if cell else ""),
        fix="fill it in, or leave out the row or the column",
    )


# -- npz ------------------------------------------------------------------------------------------
def _read_npz(path: Path) -> Table:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it holds one array without a name")
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
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
    table = Table(str(path), {})
    for name, array in arrays.items():
        _add_columns(table, name, array)
    return table


def _add_columns(table: Table, name: str, array: Cells) -> None:
    kinds = {"b": np.int64, "i": np.int64, "u": np.int64, "f": np.float64, "U": np.str_}
    if array.dtype.kind not in kinds:
        raise DataError(
            f"{table.source}: array {name!r} has dtype {array.dtype}",
            fix="save numbers, or text for a target",
        )
    array = array.astype(kinds[array.dtype.kind], copy=False)
    if array.ndim == 1:
        entries = {name: array}
    else:
        places = np.ndindex(array.shape[1:])
        entries = {
            f"{name}[{','.join(map(str, place))}]": array[(slice(None), *place)] for place in places
        }
    for column, values in entries.items():
        table.columns[column] = (
            _finite(table, column, values) if values.dtype.kind == "f" else values
        )
