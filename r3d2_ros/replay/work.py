"""A part of a replay, in this process or another: assemble the simulator, render, write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from r3d2_ros.assembly import Assembled
from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.harmonize_thread import HarmonizeThread
from r3d2_ros.replay.output import Store
from r3d2_ros.replay.pipeline import Part, make_frames
from r3d2_ros.replay.place import anchor, distance_notes
from r3d2_ros.replay.recording import Recording
from r3d2_ros.replay.ticks import Place, PlannedTick, Ticks
from r3d2_ros.scene import AssetLibrary


@dataclass(frozen=True)
class Job:
    """A part of a replay with everything it is made of; can be sent to another process.

    unpacked     of the bag that stays open in this process, see `open_bag`
    ego, actors  topics that were chosen; actors None: there are none
    places       along the part of the drive that is shown
    beginning    first place of the whole drive, whichever part is shown
    number       of the part; None: it is the only one
    """

    bag: Path
    unpacked: Mapping[Path, Path]
    ego: str
    actors: str | None
    config: SimConfig
    rig: Rig
    store: Store
    part: Part
    places: tuple[Place, ...]
    beginning: Place | None = None
    anchor_start: bool = False
    number: int | None = None


class Events(Protocol):
    """What is heard of a part while it is made."""

    def ready(self, renderer: str, notes: list[str]) -> bool:
        """The simulator is there, and what the user should know. False: the part is not to be made any more."""

    def done(self, cause: str | None, reason: str) -> None:
        """A frame set is written, or noted as missing with cause and reason."""

    def say(self, text: str) -> None:
        """A line about the progress of the preparation."""

    def trouble(self, text: str) -> None:
        """Something failed."""


@dataclass(frozen=True)
class Findings:
    """reports: what was wrong with the messages of the bag; damage: what of it could not be read."""

    reports: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()


def work(
    job: Job,
    *,
    recording: Recording,
    library: AssetLibrary,
    events: Events,
    stop: threading.Event,
    assemble: Callable[..., Assembled],
) -> Findings:
    """Make a part; returns what was found of the bag.

    InputError(s) for what cannot be used, and when the output cannot be written any more.
    """
    assembled = assemble(job.config, events.say, rig=job.rig, library=library, warm_harmonizer=False)
    simulator = assembled.simulator
    T_map_recorded = anchor(job.beginning, simulator.scene) if job.anchor_start else None
    notes = [*assembled.notes, *distance_notes(job.places, simulator.scene, T_map_recorded)]
    ticks = Ticks(recording, config=job.config, rig=job.rig, library=library, T_map_recorded=T_map_recorded)

    def done(planned: PlannedTick, cause: str | None, reason: str) -> None:
        events.done(cause, reason)

    with closing(HarmonizeThread(simulator, events.trouble, events.say)) as harmonizing:
        if not events.ready(simulator.renderer.name, notes):
            return Findings()
        make_frames(
            iter(ticks),
            job.part,
            simulator=simulator,
            harmonizing=harmonizing,
            output=job.store.output(job.number),
            stop=stop,
            done=done,
            trouble=events.trouble,
        )
    reports = tuple(f"{report.text} ({report.count} times)" for report in ticks.reports)
    return Findings(reports, tuple(recording.bag.damage))
