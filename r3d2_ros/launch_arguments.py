"""What the launch files in `launch/` share. Nothing here imports launch."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Any

CLOSE = 0.88
"""Similarity, as in difflib, of a mistyped argument to the one that was meant. Arguments of a launch file that includes
one of ours are there too, and none of theirs should be taken for one of ours."""


def mistyped(given: Iterable[str], declared: Collection[str]) -> list[str]:
    """A warning for each argument that is not declared and looks like one that is; launch ignores it."""
    warnings = []
    for name in given:
        close = difflib.get_close_matches(name, declared, n=1, cutoff=CLOSE)
        if close and name not in declared:
            warnings.append(f"launch argument '{name}' is not one of this file's; did you mean '{close[0]}'?")
    return warnings


def check_exit(event: Any, context: Any) -> None:
    """Of launch's ProcessExited: RuntimeError, which ends the launch with exit code 1, for a process that has failed,
    unless the launch ends already and has stopped it."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"{event.process_name} has failed with exit code {event.returncode}, see above")
