"""A replay from its options to its summary."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
from r3d2_ros.replay.mcap_output import FRAME_SET_TOPIC, topic_of
from r3d2_ros.replay.mcap_parts import SourceTopics
from r3d2_ros.replay.mcap_store import McapStore
from r3d2_ros.replay.output import Store
from r3d2_ros.replay.pipeline import Part, make_frames
from r3d2_ros.replay.place import anchor, distance_notes
from r3d2_ros.replay.recording import Recording, open_recording
from r3d2_ros.replay.ticks import OUTSIDE, Moment, PlannedTick, Selection, Ticks, describe, replay_config, replay_rig
from r3d2_ros.replay.video_store import VideoStore
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.versions import own_version

Say = Callable[[str], None]
FOLDER_FORMATS = ("jpg", "png", "mp4")
BAG_FORMATS = ("raw", "jpg")
BAG_SUFFIX = ".mcap"
ALL = "all"


@dataclass(frozen=True)
class ReplayOptions:
    """What is replayed, and into what.

    ego, actors   topics; None: found
    rate_hz       frame sets per second of message time; None: as `sync.tick` says
    cameras       names; none: the whole rig
    anchor_start  move the drive to where the capture of the scene begins
    image_format  of FOLDER_FORMATS, or BAG_FORMATS where `out` ends in .mcap; empty: jpg, or for a bag as configured
    source_topics topics of the bag that go into the output bag as well; 'all' stands for all of them
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
    image_format: str = ""
    source_topics: tuple[str, ...] = ()
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
    config = _output_config(replay_config(options.config, options.rate_hz), options)
    options = replace(options, image_format=options.image_format or ("" if _is_bag(options) else "jpg"))
    rig = replay_rig(load_config_rig(config), cameras=options.cameras, rate_hz=options.rate_hz)
    library = load_config_library(config, say)
    with open_recording(
        options.bag, config=config, library=library, ego=options.ego, actors=options.actors
    ) as recording:
        run = _Run(options, config, rig=rig, library=library, recording=recording, say=say)
        return run.run(stop or threading.Event(), assemble)


def _is_bag(options: ReplayOptions) -> bool:
    return options.out.suffix == BAG_SUFFIX


def _output_config(config: SimConfig, options: ReplayOptions) -> SimConfig:
    """The configuration with the images that the format asks for. InputError for one that does not fit the output."""
    image_format = options.image_format
    formats = BAG_FORMATS if _is_bag(options) else FOLDER_FORMATS
    if image_format and image_format not in formats:
        what = f"a bag ({BAG_SUFFIX})" if _is_bag(options) else "a folder"
        raise InputError("--format", f"{' or '.join(formats)} for {what}", image_format)
    if options.source_topics and not _is_bag(options):
        raise InputError("--source-topics", f"an output bag (--out NAME{BAG_SUFFIX})", f"the folder {options.out}")
    if not _is_bag(options) or not image_format:
        return config
    is_raw = image_format == "raw"
    return replace(config, output=replace(config.output, raw=is_raw, compressed=not is_raw))


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
        store = self._store(moments, wanted)
        try:
            kept = store.begin(self._manifest(), overwrite=self._options.overwrite)
            outcome.recount(kept, wanted)
            outcome.kept = outcome.done
            if outcome.kept:
                self._say(f"{outcome.kept} of {len(wanted)} frame sets are there from an earlier run")
            left = [index for index in wanted if index not in kept]
            if left and not stop.is_set():
                self._make(store, left, moments=moments, wanted=wanted, stop=stop, assemble=assemble)
            outcome.recount(store.state(), wanted)
            try:
                store.finish(self._recording.bag, complete=outcome.left == 0)
            except InputError as error:
                outcome.fault = outcome.fault or str(error)
        finally:
            store.release()
        outcome.interrupted = stop.is_set() and outcome.left > 0
        outcome.damage += self._recording.bag.damage
        return outcome

    def _store(self, moments: Sequence[Moment], wanted: Sequence[int]) -> Store:
        out, image_format, cameras = self._options.out, self._options.image_format, self._rig.cameras
        if out.suffix == BAG_SUFFIX:
            return McapStore(out, cameras, self._config, source=self._source(moments, wanted))
        if image_format == "mp4":
            stamps = [moments[index].stamp_ns for index in wanted]
            steps = sorted(b - a for a, b in pairwise(stamps) if b > a) or [100_000_000]
            return VideoStore(out, cameras, self._config.output, fps=1e9 / steps[len(steps) // 2])
        return FolderStore(out, cameras, self._config.output, image_format)

    def _source(self, moments: Sequence[Moment], wanted: Sequence[int]) -> SourceTopics | None:
        """The topics that are passed through, without those that the replay writes itself."""
        names, bag = self._options.source_topics, self._recording.bag
        if not names:
            return None
        if names == (ALL,):
            names = tuple(bag.topics)
        found = [name if name in bag.topics else f"/{name.lstrip('/')}" for name in names]
        unknown = [name for name in found if name not in bag.topics]
        if unknown:
            raise InputError("--source-topics", f"topics of {bag.path}: {', '.join(sorted(bag.topics))}", unknown[0])
        own = {FRAME_SET_TOPIC, *(topic_of(camera, self._config) for camera in self._rig.cameras)}
        passed = [name for name in found if not any(name == o or name.startswith(f"{o}/") for o in own)]
        left_out = sorted(set(found) - set(passed))
        if left_out:
            self._outcome.notes.append(f"not passed through, as the replay writes them: {', '.join(left_out)}")
        logs = [moments[index].log_ns for index in wanted]
        return SourceTopics(tuple(passed), min(logs), max(logs))

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
            "source_topics": list(options.source_topics),
            "config": described_config(self._config),
            "files": described_files(self._config, self._recording.bag.files),
        }

    def _make(
        self,
        store: Store,
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
