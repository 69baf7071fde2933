"""Errors for the user: what was expected, what was got, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class InputError(ValueError):
    """Something that came from outside (file, message, argument) cannot be used.

    `where` names the file and key, topic, or argument; `hint` says what to do.
    """

    def __init__(self, where: str, expected: str, got: str, hint: str = "") -> None:
        self.where, self.expected, self.got, self.hint = where, expected, got, hint
        super().__init__(f"{where}: expected {expected}, got {got}" + (f". {hint}" if hint else ""))

    def __reduce__(self) -> tuple[Any, ...]:  # so that one reaches another process whole
        return type(self), (self.where, self.expected, self.got, self.hint)


class InputErrors(ValueError):
    """Several faults of one input, found in one pass."""

    def __init__(self, faults: Sequence[InputError]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(f) for f in self.faults))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.faults,)


@contextmanager
def collecting(faults: list[InputError]) -> Iterator[None]:
    """Add the faults of the code inside to `faults`; what follows it is looked at too."""
    try:
        yield
    except InputErrors as errors:
        faults.extend(errors.faults)
    except InputError as error:
        faults.append(error)


def raise_collected(faults: Sequence[InputError]) -> None:
    """Raise one fault as it is and several as InputErrors; nothing when there is none."""
    if faults:
        raise faults[0] if len(faults) == 1 else InputErrors(faults)


class MissingPackageError(ImportError):
    """A package that was asked for by name is not installed."""

    def __init__(self, package: str, needed_for: str, install: str) -> None:
        self._stated = (package, needed_for, install)
        super().__init__(f"{needed_for} needs the package '{package}', which is not installed: {install}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._stated


def printable(text: str, most: int = 200) -> str:
    """`text` from a stranger's file on one line of a terminal, cut after `most` characters.

    Control characters, of which a terminal may do anything, and lone surrogates, which cannot be encoded, are escaped.
    """
    cut = f"{text[:most]}... ({len(text)} characters)" if len(text) > most else text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in cut)
