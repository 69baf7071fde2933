"""A replay from its options to its summary."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from r3d2_ros.assembly import Assembled, assemble, load_config_library, load_config_rig
from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.progress import Progress
from r3d2_ros.replay.folder_store import FolderStore
from r3d2_ros.replay.frames import Entry, is_done
from r3d2_ros.replay.manifest import described_config, described_files
from r3d2_ros.replay.pipeline import Part, make_frames
from r3d2_ros.replay.place import anchor, distance_notes
from r3d2_ros.replay.recording import Recording, open_recording
from r3d2_ros.replay.ticks import OUTSIDE, Moment, PlannedTick, Selection, Ticks, describe, replay_config, replay_rig
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.versions import own_version

Say = Callable[[str], None]
FORMATS = ("jpg", "png")


@dataclass(frozen=True)
class ReplayOptions:
    """What is replayed, and into what.

    ego, actors   topics; None: found
    rate_hz       frame sets per second of message time; None: as `sync.tick` says
    cameras       names; none: the whole rig
    anchor_start  move the drive to where the capture of the scene begins
    """

    bag: Path
    out: Path
    config: SimConfig
    ego: str | None = None
    actors: str | None = None
    selection: Selection = field(default_factory=Selection)
    rate_hz: float | None = None
    cameras: tuple[str, ...] = ()
    anchor_start: bool = False
    image_format: str = "jpg"
    workers: int = 1
    overwrite: bool = False


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

    @property
    def left(self) -> int:
        """Frame sets that nothing was done about yet."""
        return self.total - self.done - self.outside - self.missing.total()

    @property
    def is_complete(self) -> bool:
        return not (self.fault or self.interrupted or self.left or self.missing or self.damage)

    def count(self, *, cause: str | None, reason: str = "") -> None:
        """Count a frame set: with pictures (cause None) or without."""
        if cause is None:
            self.done += 1
        elif cause in OUTSIDE:
            self.outside += 1
        else:
            self.missing[reason.split("\n")[0][:200]] += 1


def replay(
    options: ReplayOptions,
    say: Say,
    *,
    stop: threading.Event | None = None,
    assemble: Callable[..., Assembled] = assemble,
) -> Outcome:
    """Replay a bag. Ends early when `stop` is set, and when the output cannot be written any more.

    InputError(s) for what cannot be used, before anything is rendered.
    """
    config = replay_config(options.config, options.rate_hz)
    rig = replay_rig(load_config_rig(config), cameras=options.cameras, rate_hz=options.rate_hz)
    library = load_config_library(config, say)
    with open_recording(
        options.bag, config=config, library=library, ego=options.ego, actors=options.actors
    ) as recording:
        run = _Run(options, config, rig=rig, library=library, recording=recording, say=say)
        return run.run(stop or threading.Event(), assemble)


class _Run:
    """The parts of a replay that are known before it begins."""

    def __init__(
        self,
        options: ReplayOptions,
        config: SimConfig,
        *,
        rig: Rig,
        library: AssetLibrary,
        recording: Recording,
        say: Say,
    ) -> None:
        self._options, self._config, self._rig, self._library = options, config, rig, library
        self._recording, self._say = recording, say
        self._outcome = Outcome(notes=[*recording.ego.notes])

    def run(self, stop: threading.Event, assemble: Callable[..., Assembled]) -> Outcome:
        moments = self._moments()
        wanted = self._options.selection.indices(moments)
        outcome = self._outcome
        outcome.total = len(wanted)
        if not wanted:
            first, last = moments[0].stamp_ns, moments[-1].stamp_ns
            expected = f"a part of the drive, which takes {(last - first) * 1e-9:.3f} s"
            raise InputError("--start, --duration", expected, "no frame set in it")
        store = FolderStore(self._options.out, self._rig.cameras, self._config.output, self._options.image_format)
        try:
            kept = store.begin(self._manifest(), overwrite=self._options.overwrite)
            self._count_kept(kept, wanted)
            left = [index for index in wanted if index not in kept]
            if left and not stop.is_set():
                self._make(store, left, moments=moments, wanted=wanted, stop=stop, assemble=assemble)
            try:
                store.finish()
            except InputError as error:
                outcome.fault = outcome.fault or str(error)
        finally:
            store.release()
        outcome.interrupted = stop.is_set() and outcome.left > 0
        outcome.damage += self._recording.bag.damage
        return outcome

    def _moments(self) -> list[Moment]:
        ticks = self._ticks(None)
        moments = ticks.moments()
        self._say(f"ego: {self._recording.ego.title}")
        self._say(f"actors: {self._recording.actors or 'none'}")
        if not moments:
            reasons = "; ".join(report.text for report in ticks.reports) or "no message"
            where = f"{self._options.bag}: {self._recording.ego.topic}"
            raise InputError(where, "poses that can be used", reasons)
        self._say(describe(moments))
        return moments

    def _ticks(self, T_map_recorded: Rigid | None) -> Ticks:
        return Ticks(
            self._recording,
            config=self._config,
            rig=self._rig,
            library=self._library,
            T_map_recorded=T_map_recorded,
        )

    def _manifest(self) -> dict[str, Any]:
        options, selection = self._options, self._options.selection
        actors = self._recording.actors
        return {
            "replay": 1,
            "version": own_version(),
            "bag": str(options.bag.absolute()),
            "ego": self._recording.ego.topic,
            "actors": actors.name if actors else None,
            "start_s": selection.start_s,
            "duration_s": selection.duration_s,
            "every": selection.every,
            "rate_hz": options.rate_hz,
            "cameras": [camera.name for camera in self._rig.cameras],
            "anchor_start": options.anchor_start,
            "format": options.image_format,
            "config": described_config(self._config),
            "files": described_files(self._config, self._recording.bag.files),
        }

    def _count_kept(self, kept: dict[int, Entry], wanted: Sequence[int]) -> None:
        for index in wanted:
            entry = kept.get(index)
            if entry is None:
                continue
            if is_done(entry):
                self._outcome.kept += 1
            reason = next((c.get("reason", "") for c in entry["cameras"].values()), "")
            self._outcome.count(cause=None if is_done(entry) else str(entry["cause"]), reason=str(reason))
        if self._outcome.kept:
            self._say(f"{self._outcome.kept} of {len(wanted)} frame sets are there from an earlier run")

    def _make(
        self,
        store: FolderStore,
        left: Sequence[int],
        *,
        moments: Sequence[Moment],
        wanted: Sequence[int],
        stop: threading.Event,
        assemble: Callable[..., Assembled],
    ) -> None:
        outcome = self._outcome
        assembled = assemble(self._config, self._say, rig=self._rig, library=self._library)
        simulator = assembled.simulator
        outcome.renderer = simulator.renderer.name
        outcome.notes += assembled.notes
        window = [moments[index] for index in wanted]
        T_map_recorded = anchor(window, simulator.scene) if self._options.anchor_start else None
        outcome.notes += distance_notes(window, simulator.scene, T_map_recorded)
        for note in outcome.notes:
            self._say(f"note: {note}")
        ticks = self._ticks(T_map_recorded)

        def done(planned: PlannedTick, cause: str | None, reason: str) -> None:
            outcome.count(cause=cause, reason=reason)
            progress.at(outcome.total - outcome.left)

        start = time.monotonic()
        with Progress(outcome.total, done=outcome.total - outcome.left) as progress:
            try:
                make_frames(
                    iter(ticks),
                    Part(frozenset(left)),
                    simulator=simulator,
                    output=store.output(None),
                    stop=stop,
                    done=done,
                    say=self._say,
                )
            except InputError as error:
                outcome.fault = str(error)
        outcome.seconds = time.monotonic() - start
        outcome.reports = [f"{report.text} ({report.count} times)" for report in ticks.reports]
