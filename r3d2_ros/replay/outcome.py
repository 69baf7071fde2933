"""What a replay did, in numbers and reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from r3d2_ros.replay.frames import Entry, is_done
from r3d2_ros.replay.ticks import OUTSIDE


@dataclass(eq=False)
class Outcome:
    """What a replay did.

    total        frame sets that were asked for
    done         of them, those that have their pictures; `kept` of these are from earlier runs
    missing      reason -> how many have no pictures for it, though the recording has what they need
    outside      how many have none because the recording has no actors for them, or no more
    damage       what of the bag could not be read
    reports      what was wrong with its messages
    fault        why the run ended early, or empty
    """

    total: int = 0
    kept: int = 0
    done: int = 0
    outside: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)
    reports: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fault: str = ""
    interrupted: bool = False
    renderer: str = ""
    seconds: float = 0.0

    def recount(self, state: dict[int, Entry], wanted: Sequence[int]) -> None:
        """Count what is there."""
        self.done = self.outside = 0
        self.missing.clear()
        for index in wanted:
            entry = state.get(index)
            if entry is None:
                continue
            reason = next((c["reason"] for c in entry["cameras"].values() if c.get("reason")), "")
            self.count(cause=None if is_done(entry) else str(entry["cause"]), reason=str(reason))

    @property
    def left(self) -> int:
        """Frame sets that nothing was done about yet."""
        return self.total - self.done - self.outside - self.missing.total()

    @property
    def is_complete(self) -> bool:
        return self.done > 0 and not (self.fault or self.interrupted or self.left or self.missing or self.damage)

    def count(self, *, cause: str | None, reason: str = "") -> None:
        """Count a frame set: with pictures (cause None) or without."""
        if cause is None:
            self.done += 1
        elif cause in OUTSIDE:
            self.outside += 1
        else:
            self.missing[reason.split("\n")[0][:200]] += 1
