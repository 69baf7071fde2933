"""A replay from its options to its outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from r3d2_ros.assembly import Assembled, assemble, load_config_library, load_config_rig
from r3d2_ros.cameras import Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.message_inputs import EgoMessage
from r3d2_ros.progress import Progress
from r3d2_ros.replay.folder_store import FolderStore
from r3d2_ros.replay.manifest import described_config, described_files
from r3d2_ros.replay.mcap_output import FRAME_SET_TOPIC, topic_of
from r3d2_ros.replay.mcap_parts import SourceTopics
from r3d2_ros.replay.mcap_store import McapStore
from r3d2_ros.replay.options import ALL, ReplayOptions, checked
from r3d2_ros.replay.outcome import Outcome
from r3d2_ros.replay.output import Store
from r3d2_ros.replay.pipeline import Part
from r3d2_ros.replay.place import sampled_places
from r3d2_ros.replay.recording import Recording, open_recording
from r3d2_ros.replay.ticks import Moment, Ticks, describe, replay_rig
from r3d2_ros.replay.video_store import VideoStore, steps_of
from r3d2_ros.replay.work import Job, work
from r3d2_ros.replay.workers import PartEnded, split, with_threads, work_in_processes
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.state_buffer import nanoseconds, seconds
from r3d2_ros.versions import own_version

Say = Callable[[str], None]


def replay(
    options: ReplayOptions,
    say: Say,
    *,
    stop: threading.Event | None = None,
    assemble: Callable[..., Assembled] = assemble,
) -> Outcome:
    """Replay a bag. Ends early when `stop` is set, and when the output cannot be written any more.

    `assemble` makes the simulator; processes of their own (`workers`) use the usual one. InputError(s) for what cannot
    be used, before anything is rendered.
    """
    options = checked(options)
    config = options.config
    rig = replay_rig(load_config_rig(config), cameras=options.cameras, rate_hz=options.rate_hz)
    library = load_config_library(config, say)
    with open_recording(
        options.bag, config=config, library=library, ego=options.ego, actors=options.actors
    ) as recording:
        return _Run(options, rig, library, recording, say).run(stop or threading.Event(), assemble)


class _Run:
    """The parts of a replay that are known before it begins."""

    def __init__(self, options: ReplayOptions, rig: Rig, library: AssetLibrary, recording: Recording, say: Say) -> None:
        self._options, self._config = options, options.config
        self._rig, self._library, self._recording, self._say = rig, library, recording, say
        self._is_taken = False
        self._outcome = Outcome(notes=[*recording.bag.notes, *recording.ego.notes])

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
            if not left:
                self._take(store)
            elif not stop.is_set():
                self._make(self._jobs(store, left, moments, wanted), store, stop, assemble)
            if self._is_taken:
                self._finish(store, wanted)
        finally:
            store.release()
        outcome.interrupted = stop.is_set() and outcome.left > 0
        outcome.damage = list(dict.fromkeys([*outcome.damage, *self._recording.bag.damage]))
        return outcome

    def _take(self, store: Store) -> None:
        """Only when everything that the replay needs is there: what is refused before leaves the place as it was."""
        store.take()
        self._is_taken = True

    def _finish(self, store: Store, wanted: Sequence[int]) -> None:
        outcome = self._outcome
        outcome.recount(store.state(), wanted)
        try:
            store.finish(self._recording.bag, complete=outcome.left == 0)
        except InputError as error:
            outcome.fault = outcome.fault or str(error)

    def _moments(self) -> list[Moment]:
        ticks = self._ticks()
        moments = ticks.moments()
        self._say(f"ego: {self._recording.ego.title}")
        self._say(f"actors: {self._recording.actors or 'none'}")
        stamps = [entry.stamp_ns for _, entry in self._recording.ego.messages if isinstance(entry, EgoMessage)]
        if len(stamps) > 1 and len(set(stamps)) == 1:
            what = f"{seconds(stamps[0])}: they are one moment" if stamps[0] else "0: the header was never filled"
            self._recording.bag.damage.append(f"{self._recording.ego.topic}: all stamps are {what}")
        if not moments:
            reasons = "; ".join(report.text for report in ticks.reports) or "no message"
            where = f"{self._options.bag}: {self._recording.ego.topic}"
            raise InputError(where, "poses that can be used", reasons)
        self._say(describe(moments))
        return moments

    def _ticks(self) -> Ticks:
        return Ticks(self._recording, config=self._config, rig=self._rig, library=self._library)

    # Where it is written

    def _store(self, moments: Sequence[Moment], wanted: Sequence[int]) -> Store:
        options, cameras = self._options, self._rig.cameras
        if options.is_bag:
            return McapStore(options.out, cameras, self._config, source=self._source(moments, wanted))
        if options.image_format == "mp4":
            stamps = [(moments[index].timeline, moments[index].stamp_ns) for index in wanted]
            steps, pauses = steps_of(stamps, leap_ns=nanoseconds(self._config.state.leap_s))
            if pauses:
                limit_s, usual_s = steps.limit_ns * 1e-9, steps.usual_ns * 1e-9
                text = f"videos: a pause of more than {limit_s:g} s is shown as {usual_s:g} s ({pauses} times)"
                self._outcome.notes.append(text)
            fps = 1e9 / steps.usual_ns
            return VideoStore(options.out, cameras, self._config.output, fps=fps, limit_ns=steps.limit_ns)
        return FolderStore(options.out, cameras, self._config.output, options.image_format)

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

    # How it is made

    def _jobs(self, store: Store, left: Sequence[int], moments: Sequence[Moment], wanted: Sequence[int]) -> list[Job]:
        """The frame sets that are left, in as many parts as there are workers."""
        remembers = is_temporal(self._config)
        parts = split(left, self._options.workers, moments, whole_sequences=remembers)
        actors = self._recording.actors
        beginning = self._ticks().beginning() if self._options.anchor_start else None
        return [
            Job(
                bag=self._options.bag,
                unpacked=self._recording.bag.unpacked,
                ego=self._recording.ego.topic,
                actors=actors.name if actors else None,
                config=self._config,
                rig=self._rig,
                store=store,
                part=Part(frozenset(part), _carried(part, wanted, moments) if remembers else frozenset()),
                places=sampled_places([moments[index] for index in wanted]),
                beginning=beginning,
                anchor_start=self._options.anchor_start,
                number=None if len(parts) == 1 else number,
            )
            for number, part in enumerate(parts)
        ]

    def _make(
        self, jobs: Sequence[Job], store: Store, stop: threading.Event, assemble: Callable[..., Assembled]
    ) -> None:
        outcome = self._outcome
        with _Told(outcome, self._say, stop, lambda: self._take(store)) as told:
            try:
                if len(jobs) == 1:
                    found = work(
                        jobs[0], recording=self._recording, library=self._library, events=told, stop=stop,
                        assemble=assemble,
                    )  # fmt: skip
                else:
                    jobs = [with_threads(job, len(jobs)) for job in jobs]
                    found = work_in_processes(jobs, events=told, stop=stop)
                outcome.reports, outcome.damage = list(found.reports), list(found.damage)
            except InputError as error:
                if not told.is_ready:
                    raise
                outcome.fault = str(error)
            except PartEnded as error:
                outcome.fault = str(error)
        outcome.seconds = told.seconds


class _Told:
    """Turns what is heard of the parts into progress and counts."""

    def __init__(self, outcome: Outcome, say: Say, stop: threading.Event, take: Callable[[], None]) -> None:
        self._outcome, self._stop, self._take = outcome, stop, take
        self.say = self.trouble = say
        self._progress: Progress | None = None
        self._start = 0.0
        self.seconds = 0.0

    def __enter__(self) -> _Told:
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self.seconds = time.monotonic() - self._start
            self._progress.__exit__(*error)

    @property
    def is_ready(self) -> bool:
        return self._progress is not None

    def ready(self, renderer: str, notes: list[str]) -> bool:
        if self._stop.is_set():
            return False
        self._take()
        outcome = self._outcome
        outcome.renderer = renderer
        outcome.notes += notes
        for note in outcome.notes:
            self.say(f"note: {note}")
        self._start = time.monotonic()
        self._progress = Progress(outcome.total, done=outcome.total - outcome.left).__enter__()
        return True

    def done(self, cause: str | None, reason: str) -> None:
        self._outcome.count(cause=cause, reason=reason)
        if self._progress is not None:
            self._progress.at(self._outcome.total - self._outcome.left)


def is_temporal(config: SimConfig) -> bool:
    """Whether a frame set depends on those before it."""
    return config.harmonizer.backend != "none" and config.harmonizer.temporal.enabled


def _carried(part: Sequence[int], wanted: Sequence[int], moments: Sequence[Moment]) -> frozenset[int]:
    """Frame sets of the part's sequences that are there already, and that later ones depend on."""
    last = {moments[index].timeline: index for index in part}
    own = set(part)
    return frozenset(index for index in wanted if index not in own and index < last.get(moments[index].timeline, -1))
