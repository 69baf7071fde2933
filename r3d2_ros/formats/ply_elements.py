"""The PLY container: header, and elements as numpy structured arrays, addressed by property name."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import MAX_ROWS, file_size

MAX_HEADER_BYTES = 2**20
BLOCK_ROWS = 8192
"""Rows copied at a time: a block of 62 float columns stays in the cache while its columns are picked."""

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "half": "f2", "float": "f4", "double": "f8", "float16": "f2", "float32": "f4", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}


@dataclass(frozen=True)
class Element:
    """One PLY element: `types` maps each property to its numpy type code, or to "list"."""

    name: str
    count: int
    types: dict[str, str]

    @property
    def has_lists(self) -> bool:
        return "list" in self.types.values()

    def dtype(self, byte_order: str) -> np.dtype:
        return np.dtype([(name, byte_order + code) for name, code in self.types.items()])


@dataclass(frozen=True)
class Header:
    """A parsed PLY header; `data_start` is the offset of the first byte after it."""

    path: str
    format: str
    elements: dict[str, Element]
    data_start: int

    def element(self, name: str, *, required: Sequence[str]) -> Element:
        """The element `name`. InputError when it is absent, empty, too long, has lists, or lacks a column."""
        if name not in self.elements:
            models = [key for key in self.elements if key.startswith("vertex_")]
            hint = "They are models of Street Gaussians: write the one that is meant to a file, as 'vertex'"
            got = f"the elements {_short(list(self.elements)) or 'none'}"
            raise InputError(self.path, f"a PLY element '{name}'", got, hint if models else "")
        element = self.elements[name]
        if element.has_lists:
            lists = [key for key, code in element.types.items() if code == "list"]
            expected = f"only scalar properties in element '{name}'"
            raise InputError(self.path, expected, f"lists: {_short(lists)}")
        missing = [key for key in required if key not in element.types]
        if missing:
            got = f"no {_short(missing)} (it has {_short(list(element.types)) or 'no columns'})"
            raise InputError(self.path, f"Gaussian columns in element '{name}'", got, _kind_hint(element, missing))
        if element.count == 0:
            raise InputError(self.path, f"at least one row in element '{name}'", "0 rows")
        if element.count > MAX_ROWS:
            raise InputError(
                self.path, f"at most {MAX_ROWS} rows in element '{name}'", f"{element.count} rows"
            )
        return element


def _kind_hint(element: Element, missing: Sequence[str]) -> str:
    """What an element that lacks these columns looks like."""
    if missing == ["scale_2"]:
        return "It holds 2D Gaussians (surfels), which are not read"
    if "x" in element.types and not {"f_dc_0", "opacity", "scale_0"} & element.types.keys():
        return "It looks like a mesh or a point cloud, not like Gaussians"
    return ""


def is_ply(start: bytes) -> bool:
    """Whether a file that begins with these bytes is a PLY file."""
    return re.match(rb"ply\s*[\r\n]", start) is not None


def read_header(file: BinaryIO, path: str) -> Header:
    """Parse the header of an open PLY file. InputError for anything that is not a valid PLY header."""
    file.seek(0)
    start = file.read(MAX_HEADER_BYTES)
    if not is_ply(start):
        raise InputError(path, "a PLY file (first line 'ply')", f"a file that starts with {start[:8]!r}")
    end = re.search(rb"[\r\n]end_header[ \t]*(\r\n|\n|\r)", start)
    if end is None:
        raise InputError(path, f"'end_header' within {MAX_HEADER_BYTES} bytes", "an unterminated PLY header")
    lines = start[: end.start()].splitlines()
    return _parse([_ascii_line(line, path, number) for number, line in enumerate(lines[1:], start=2)], path, end.end())


def _ascii_line(line: bytes, path: str, number: int) -> str:
    """A header line; comments, which may be in any encoding, become empty."""
    if re.match(rb"\s*(comment|obj_info)(\s|$)", line):
        return ""
    try:
        return line.decode("ascii")
    except UnicodeDecodeError as error:
        got = f"the byte {line[error.start]:#04x}"
        raise InputError(f"{path}: header line {number}", "ASCII outside of comments", got) from error


def _parse(lines: Sequence[str], path: str, data_start: int) -> Header:
    ply_format = ""
    elements: dict[str, Element] = {}
    for number, line in enumerate(lines, start=2):
        where = f"{path}: header line {number}"
        match line.split():
            case []:
                continue
            case ["format", name, "1.0"] if name in BYTE_ORDERS:
                ply_format = name
            case ["element", name, count] if re.fullmatch(r"\d{1,18}", count) and name not in elements:
                elements[name] = Element(name, int(count), {})
            case ["property", *kind, name] if _valid_property(kind) and elements:
                types = elements[next(reversed(elements))].types
                if name in types:
                    raise InputError(where, "each property name once per element", f"'{name}' twice")
                types[name] = "list" if kind[0] == "list" else TYPES[kind[0]]
            case _:
                expected = "'format', 'element NAME COUNT' or 'property TYPE NAME' of PLY 1.0"
                raise InputError(where, expected, repr(line[:80]))
    if not ply_format:
        raise InputError(path, f"a format line with one of {', '.join(BYTE_ORDERS)}", "none in the header")
    return Header(path, ply_format, elements, data_start)


def _valid_property(kind: Sequence[str]) -> bool:
    match kind:
        case ["list", count_type, item_type]:
            return count_type in TYPES and item_type in TYPES
        case [scalar_type]:
            return scalar_type in TYPES
    return False


def read_rows(file: BinaryIO, header: Header, name: str) -> NDArray:
    """All rows of element `name` as a structured array [count].

    Sizes are checked against the file before memory is taken. ASCII files come back with every column in
    float64. InputError when rows are missing, or when a list element lies in front of this one.
    """
    element = header.elements[name]
    before = _elements_before(header, name)
    if header.format == "ascii":
        return _read_ascii(file, header, element, skip_lines=sum(e.count for e in before))
    order = BYTE_ORDERS[header.format]
    if any(e.has_lists for e in before):
        raise InputError(header.path, f"element '{name}' in front of elements with lists", "it behind one")
    dtype = element.dtype(order)
    start = header.data_start + sum(e.count * e.dtype(order).itemsize for e in before)
    needed, size = start + element.count * dtype.itemsize, file_size(file)
    if needed > size:
        expected = f"{element.count} rows of {dtype.itemsize} bytes in element '{name}': {needed} bytes"
        hint = "The file is truncated or its header is wrong"
        raise InputError(header.path, expected, f"a file of {size} bytes", hint)
    file.seek(start)
    rows = np.fromfile(file, dtype, element.count)
    if len(rows) != element.count:
        expected = f"{element.count} rows in element '{name}'"
        raise InputError(header.path, expected, f"{len(rows)}: the file shrank while it was read")
    return rows


def leftover_note(file: BinaryIO, header: Header) -> tuple[str, ...]:
    """A note when data follow the last row that the header announces: most often its count is wrong.

    Nothing is said of binary files with list properties, whose rows have no fixed size.
    """
    elements = header.elements.values()
    if header.format == "ascii":
        file.seek(header.data_start)
        lines = filter(bytes.strip, file)
        rows = min(sum(e.count for e in elements), file_size(file))  # a header may announce more than islice takes
        left = sum(map(len, itertools.islice(lines, rows, None)))
    elif any(e.has_lists for e in elements):
        return ()
    else:
        order = BYTE_ORDERS[header.format]
        announced = sum(e.count * e.dtype(order).itemsize for e in elements)
        left = file_size(file) - header.data_start - announced
    if left <= 0:
        return ()
    counts = ", ".join(f"{e.count} in '{e.name}'" for e in elements)
    note = f"{left} bytes are left over behind the rows of the header ({counts}) and were not read: is its count right?"
    return (f"{header.path}: {note}",)


def _elements_before(header: Header, name: str) -> list[Element]:
    names = list(header.elements)
    return [header.elements[n] for n in names[: names.index(name)]]


def _read_ascii(file: BinaryIO, header: Header, element: Element, *, skip_lines: int) -> NDArray:
    columns = len(element.types)
    needed = 2 * (skip_lines + element.count * columns) - 1  # a digit and a separator for each value
    available = file_size(file) - header.data_start
    expected = f"{element.count} rows of {columns} numbers in element '{element.name}'"
    if needed > available:
        raise InputError(header.path, expected, f"{available} bytes of text")
    file.seek(header.data_start)
    for _ in range(skip_lines):
        file.readline()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # blank lines, no data: the shape is checked below
            values = np.loadtxt(file, np.float64, comments=None, max_rows=element.count, ndmin=2)
    except ValueError as error:
        raise InputError(header.path, expected, " ".join(str(error).split())) from error
    if values.shape != (element.count, columns):
        raise InputError(header.path, expected, f"{values.shape[0]} rows of {values.shape[1]}")
    return values.view(np.dtype([(name, "f8") for name in element.types]))[:, 0]


def stack_columns(rows: NDArray, names: Sequence[str], dtype: DTypeLike = np.float32) -> NDArray:
    """The columns `names` of a structured array [N], as [N, len(names)] of `dtype`."""
    out = np.empty((len(rows), len(names)), dtype)
    # A double too large for float32 becomes inf, and its row is dropped later.
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(rows), BLOCK_ROWS):
            block = rows[start : start + BLOCK_ROWS]
            for column, name in enumerate(names):
                out[start : start + BLOCK_ROWS, column] = block[name]
    return out


def _short(names: Sequence[str]) -> str:
    shown = [n[:40] for n in names[:16]]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
