"""The file of `--json` of the measurements that `python -m` runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, check_output_file


def check_rows_file(path: Path | None, parser: argparse.ArgumentParser) -> None:
    """Leave with the parser's error, before anything is measured, where the file could not be written."""
    if path is not None:
        try:
            check_output_file(path)
        except InputError as error:
            parser.error(f"--json: {error}")


def write_rows(path: Path | None, rows: Sequence[dict[str, Any]], parser: argparse.ArgumentParser) -> None:
    """Write the rows, whole; leave with status 1 and the reason where that fails."""
    if path is not None:
        try:
            with atomic_output(path) as file:
                file.write((json.dumps(rows, indent=2) + "\n").encode())
        except InputError as error:
            parser.exit(1, f"{parser.prog}: {error}\n")
