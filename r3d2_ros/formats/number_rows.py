"""CSV files of numbers, such as paths: rows by their line, under an optional header that names the columns."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from r3d2_ros.errors import InputError
from r3d2_ros.input_files import read_input

MAX_CSV_BYTES = 64 * 2**20


@dataclass(frozen=True)
class NumberRows:
    """names: the columns by the header, None without one; rows: the numbers of each line that is not blank."""

    names: tuple[str, ...] | None
    rows: dict[int, list[float]]


def read_number_rows(
    path: Path, *, expected: str, columns: str, usable: Callable[[tuple[str, ...]], bool]
) -> NumberRows:
    """Read a CSV file in UTF-8. Its first line is a header when it does not begin with a number.

    expected, columns  what the file and its header should be, in words
    usable             whether the columns of a header are those
    InputError names file and line. How many numbers a row has is left to the caller.
    """
    data = read_input(path, expected=expected, most_bytes=MAX_CSV_BYTES)
    try:
        reader = csv.reader(data.decode("utf-8-sig").splitlines(), skipinitialspace=True)
        lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(str(path), "a CSV file in UTF-8", str(error)) from error
    names = None
    if lines and not _is_number(lines[0][1][0]):
        names = tuple(cell.strip() for cell in lines.pop(0)[1])
        if not usable(names):
            raise InputError(f"{path}: header", columns, ", ".join(names)[:80])
    return NumberRows(names, {number: _numbers(cells, f"{path}: line {number}") for number, cells in lines})


def _numbers(cells: list[str], where: str) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise InputError(where, "numbers", ", ".join(cells)[:80]) from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
