"""Types of arguments that are numbers: one that is none, or not within its limits, is told what was expected."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole_number(most: int | None = None) -> Callable[[str], int]:
    """From 1 to `most`."""
    expected = f"a whole number from 1 {'on' if most is None else f'to {most}'}"

    def parse(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < 1 or (most is not None and int(text) > most):
            raise _refused(expected, text)
        return int(text)

    return parse


def number(expected: str, accepts: Callable[[float], bool]) -> Callable[[str], float]:
    """A finite one that `accepts`, which `expected` says in words."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise _refused(expected, text) from None
        if not (math.isfinite(value) and accepts(value)):
            raise _refused(expected, text)
        return value

    return parse


def _refused(expected: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {expected}, got '{text.strip()}'")
