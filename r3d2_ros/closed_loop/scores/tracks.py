"""Every actor of a log at every tick, also of those that were spawned, deleted or moved while the run went on."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from r3d2_ros.closed_loop.run_log import RunLog
from r3d2_ros.closed_loop.scores.track import ActorTrack

COLUMNS = 5


@dataclass
class _Life:
    """An actor from the first tick at which it is there to the one at which it is not any more."""

    id: str
    entry: dict[str, Any]
    first: int = 0
    end: int | None = None
    jumps: set[int] = field(default_factory=set)
    edited: bool = False


def tracks(log: RunLog) -> tuple[ActorTrack, ...]:
    """The scenario's actors, then those that were spawned; who was never there at a tick is left out.

    A name that was free again and taken anew is another actor. KeyError and the like for records that no run writes.
    """
    ticks = log.of("tick")
    found = (_track(life, ticks) for life in _lives(log, [tick["stamp_ns"] for tick in ticks]))
    return tuple(track for track in found if track is not None)


def _lives(log: RunLog, stamps: list[int]) -> list[_Life]:
    lives = [_Life(name, entry) for name, entry in log.header["actors"].items()]
    alive = {life.id: life for life in lives}
    for record in log.of("entity"):
        # A change is in the ticks after its stamp.
        k, name = bisect.bisect_right(stamps, record["stamp_ns"]), record["id"]
        if record["edit"] == "spawn":
            alive[name] = _Life(name, {**record, "target": False, "planned": None}, first=k, jumps={k})
            lives.append(alive[name])
            continue
        life = alive[name]
        life.edited = True
        if record["edit"] == "delete":
            life.end = k
            del alive[name]
        elif record["pose"] is not None:
            life.jumps.add(k)
    return lives


def _track(life: _Life, ticks: list[dict[str, Any]]) -> ActorTrack | None:
    end = len(ticks) if life.end is None else life.end
    rows = np.full((len(ticks), COLUMNS), np.nan)
    if life.first >= end:
        return None
    rows[life.first : end] = [tick["actors"][life.id] for tick in ticks[life.first : end]]
    planned = life.entry["planned"]
    times = life.entry.get("times_s")  # of spawned actors there are none
    return ActorTrack(
        id=life.id,
        category=life.entry["category"],
        size_m=tuple(life.entry["size_m"]),
        target=life.entry["target"],
        rows=rows,
        planned=None if planned is None else np.array(planned, np.float64),
        jumps=frozenset(life.jumps),
        edited=life.edited,
        times_s=None if times is None or life.edited else (times[0], times[1]),
    )
