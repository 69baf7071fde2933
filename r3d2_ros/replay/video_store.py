"""A folder of videos: pieces of each camera's while it works, one CAMERA.mp4 when every frame set has had its turn."""

from __future__ import annotations

import contextlib
import shutil
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av

from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import make_folder, write_problem
from r3d2_ros.replay.folder_output import FolderOutput
from r3d2_ros.replay.folder_store import PART, FolderStore
from r3d2_ros.replay.frames import FAILED, FRAMES, Entry, digest_of, done_entry
from r3d2_ros.replay.output import Output, Picture
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import CameraFrame, FrameSet
from r3d2_ros.video import VideoWriter, join_videos

PIECE_FRAMES = 100
"""Frame sets of a piece. A run that is killed loses the piece that it was writing."""

MAX_STEP_NS = 3600 * 10**9
"""Between two pictures. An MP4 holds a step in 32 bits, which are 6.6 h."""

MIN_FPS = 0.01

USUAL_STEP_NS = 100_000_000
"""Where there is no step to go by."""


def pieces_folder(camera: str) -> str:
    return f"{camera}.pieces"


@dataclass(frozen=True)
class Steps:
    """What the times of videos go by: message time, but for a step of more than `limit_ns`, which takes `usual_ns`."""

    usual_ns: int = USUAL_STEP_NS
    limit_ns: int = MAX_STEP_NS

    @property
    def fps(self) -> float:
        """The nominal rate of the videos, of which an encoder wants to hear one of some size."""
        return max(1e9 / self.usual_ns, MIN_FPS)


def steps_of(stamps: Sequence[tuple[int, int]], *, leap_ns: int) -> tuple[Steps, int]:
    """From (timeline, stamp) of the frame sets, in their order; and how many of their steps are longer.

    A step counts as a pause when it is a leap of time and no usual one: of every 300th frame set all are that long.
    """
    forward = [b[1] - a[1] for a, b in pairwise(stamps) if b[0] == a[0]]
    usual_ns = round(median([step for step in forward if step <= MAX_STEP_NS] or [USUAL_STEP_NS]))
    steps = Steps(usual_ns, min(max(leap_ns, 2 * usual_ns), MAX_STEP_NS))
    return steps, sum(step > steps.limit_ns for step in forward)


@dataclass(eq=False)
class _Piece:
    """The piece of a camera's video that is being written."""

    writer: VideoWriter
    name: str
    unfinished: Path
    first_stamp_ns: int
    frames: int = 0


@dataclass(eq=False)
class VideoOutput(FolderOutput):
    """Lines are written when the pieces that they name are finished.

    steps  what the times of the videos go by
    kept   indices of frame sets that are there from earlier runs, rising. A piece ends at each: it is joined as a whole
    """

    steps: Steps = field(default_factory=lambda: Steps())
    kept: tuple[int, ...] = ()
    _pieces: dict[str, _Piece] = field(default_factory=dict)
    _pending: list[Entry] = field(default_factory=list)
    _sequence: tuple[int, int] | None = None
    _last_ns: int = 0

    def main_picture(self, planned: PlannedTick, frame: CameraFrame, pictures: list[Picture]) -> Entry:
        camera = frame.camera
        piece = self._pieces.get(camera.name)
        if piece is None:
            piece = self._pieces[camera.name] = self._opened(camera, planned)
        piece.writer.write(frame.rgb, at_s=(planned.tick.stamp_ns - piece.first_stamp_ns) * 1e-9)
        piece.frames += 1
        return {"file": piece.name, "frame": piece.frames - 1}

    def write(self, planned: PlannedTick, frame_set: FrameSet, prepared: list[Picture]) -> None:
        sequence = planned.tick.timeline, bisect(self.kept, planned.index)
        leaps = planned.tick.stamp_ns - self._last_ns > self.steps.limit_ns
        if sequence != self._sequence or leaps or frame_set.failures:
            self._finish_pieces()
        self._sequence, self._last_ns = sequence, planned.tick.stamp_ns
        try:
            cameras = self.cameras_entry(planned, frame_set, prepared)
        except (OSError, av.FFmpegError) as error:
            self._drop_pieces()
            raise self._problem(error) from error
        except InputError:  # a further picture, or a piece's folder, had no room
            self._drop_pieces()
            raise
        self._pending.append(done_entry(planned, frame_set, cameras))
        if frame_set.failures or len(self._pending) >= PIECE_FRAMES:
            self._finish_pieces()

    def write_missing(self, planned: PlannedTick, reason: str, cause: str) -> None:
        if cause in FAILED:  # a later run makes a piece of its own of it
            self._finish_pieces()
        super().write_missing(planned, reason, cause)

    def close(self) -> None:
        try:
            self._finish_pieces()
        finally:
            super().close()

    def _opened(self, camera: Camera, planned: PlannedTick) -> _Piece:
        name = f"{pieces_folder(camera.name)}/{planned.index:06d}.mp4"
        path = self.folder / name
        make_folder(path.parent)
        unfinished = path.with_name(f".{path.name}.tmp")
        writer = VideoWriter(
            unfinished, width_px=camera.width_px, height_px=camera.height_px, fps=self.steps.fps, alone=False
        )
        return _Piece(writer, name, unfinished, planned.tick.stamp_ns)

    def _finish_pieces(self) -> None:
        pieces, self._pieces = self._pieces, {}
        pending, self._pending = self._pending, []
        hashes = {}
        try:
            for piece in pieces.values():
                piece.writer.close()
                piece.unfinished.replace(self.folder / piece.name)
                hashes[piece.name] = digest_of(self.folder / piece.name)
        except (OSError, av.FFmpegError) as error:
            raise self._problem(error) from error
        finally:
            for piece in pieces.values():
                piece.unfinished.unlink(missing_ok=True)
        for entry in pending:
            for camera in entry["cameras"].values():
                if camera.get("file"):
                    camera["file_hash"] = hashes[camera["file"]]
            self.log.write(entry)

    def _drop_pieces(self) -> None:
        """A piece may hold a picture of a frame set that is not whole."""
        pieces, self._pieces, self._pending = self._pieces, {}, []
        for piece in pieces.values():
            with contextlib.suppress(OSError, av.FFmpegError):
                piece.writer.close()
            piece.unfinished.unlink(missing_ok=True)

    def _problem(self, error: Exception) -> InputError:
        text = write_problem(self.folder, error) if isinstance(error, OSError) else str(error)
        return InputError(str(self.folder), "room for a video", text)


class VideoStore(FolderStore):
    """When a picture is shown is the message time of its frame set, but for pauses.

    fps       the nominal rate of the videos
    limit_ns  a step of more than this is a pause, see `Steps`
    """

    def __init__(
        self,
        folder: Path,
        cameras: tuple[Camera, ...],
        config: OutputConfig,
        *,
        fps: float,
        limit_ns: int = MAX_STEP_NS,
    ) -> None:
        super().__init__(folder, cameras, config, "jpg")
        self._steps = Steps(round(1e9 / fps), limit_ns)
        self._kept_indices: tuple[int, ...] = ()

    def begin(self, manifest: Mapping[str, Any], *, overwrite: bool) -> dict[int, Entry]:
        kept = super().begin(manifest, overwrite=overwrite)
        self._kept_indices = tuple(sorted(kept))
        return kept

    def output(self, part: int | None) -> Output:
        log = FRAMES if part is None else PART.format(part)
        return VideoOutput(
            self.folder,
            self._cameras,
            self._config,
            image_format="jpg",
            log_name=log,
            with_main=False,
            steps=self._steps,
            kept=self._kept_indices,
        )

    def _usable(self, entries: dict[int, Entry]) -> dict[int, Entry]:
        """A video is joined as a whole: it counts where each of its pictures does, with those of no other video between
        them. A run that was killed or had no room may not have written all lines of a piece."""
        usable = super()._usable(entries)
        left = set(usable)
        runs = [
            (same, _pictures_in(self.folder / name))
            for camera in self._cameras
            for name, indices in _runs(entries, camera.name)
            if (same := left.intersection(indices))
        ]
        while lost := [same for same, pictures in runs if same & left and len(same & left) != pictures]:
            left.difference_update(*lost)
        return {index: entry for index, entry in usable.items() if index in left}

    def _completed(self, entries: dict[int, Entry]) -> dict[int, Entry]:
        """Join the pieces. They stay while something failed that a later run tries again."""
        shown = {i: entry for i, entry in entries.items() if any(_video(entry, c.name) for c in self._cameras)}
        times = show_times(shown, self._steps)
        retried = any(entry.get("cause") in FAILED for entry in entries.values())
        for camera in self._cameras:
            self._join(camera.name, entries, times, keep_pieces=retried)
        return entries

    def _join(self, camera: str, entries: dict[int, Entry], times: dict[int, float], *, keep_pieces: bool) -> None:
        video = f"{camera}.mp4"
        pieces = _runs(entries, camera)
        if all(name == video for name, _ in pieces):
            return
        unfinished = self.folder / f".{video}.tmp"
        try:
            join_videos([(self.folder / name, times[indices[0]]) for name, indices in pieces], unfinished)
            unfinished.replace(self.folder / video)
        except (OSError, av.FFmpegError) as error:
            path = self.folder / video
            text = write_problem(path, error) if isinstance(error, OSError) else str(error)
            raise InputError(str(path), "a video that can be written", text) from error
        finally:
            unfinished.unlink(missing_ok=True)
        if keep_pieces:
            return
        whole = digest_of(self.folder / video)
        for number, index in enumerate(chain.from_iterable(indices for _, indices in pieces)):
            entries[index]["cameras"][camera].update(file=video, frame=number, file_hash=whole)

    def finish(self, bag: Any, *, complete: bool) -> None:
        super().finish(bag, complete=complete)
        if not complete:
            return
        named = {held["file"] for entry in self._entries().values() for held in entry["cameras"].values()}
        for camera in self._cameras:
            folder = self.folder / pieces_folder(camera.name)
            if not any(name and name.startswith(f"{folder.name}/") for name in named):
                shutil.rmtree(folder, ignore_errors=True)

    def _remove_earlier(self) -> None:
        super()._remove_earlier()
        for camera in self._cameras:
            (self.folder / f"{camera.name}.mp4").unlink(missing_ok=True)
            shutil.rmtree(self.folder / pieces_folder(camera.name), ignore_errors=True)


def _runs(entries: dict[int, Entry], camera: str) -> list[tuple[str, list[int]]]:
    """Videos of a camera in the order in which they are shown, each with the frame sets that it shows there."""
    shown = [(name, index) for index in sorted(entries) if (name := _video(entries[index], camera))]
    return [(name, [index for _, index in same]) for name, same in groupby(shown, key=lambda pair: pair[0])]


def _video(entry: Entry, camera: str) -> str | None:
    held = entry["cameras"].get(camera)
    name = held.get("file") if isinstance(held, dict) else None
    return name if isinstance(name, str) else None  # else none, or of a line that somebody else wrote


def _pictures_in(video: Path) -> int:
    try:
        with av.open(str(video)) as container:
            return container.streams.video[0].frames
    except (OSError, av.FFmpegError):
        return 0


def show_times(entries: dict[int, Entry], steps: Steps) -> dict[int, float]:
    """Seconds at which each frame set is shown: message time since the first one. Where time goes back, and after a
    pause, the next one is shown one usual step later."""
    times: dict[int, float] = {}
    base_ns, last_ns, first_ns, timeline = 0, 0, 0, None
    for index in sorted(entries):
        stamp_ns, own = entries[index]["stamp_ns"], entries[index]["timeline"]
        if own != timeline or base_ns + stamp_ns - first_ns - last_ns > steps.limit_ns:
            base_ns = 0 if timeline is None else last_ns + steps.usual_ns
            first_ns, timeline = stamp_ns, own
        last_ns = base_ns + stamp_ns - first_ns
        times[index] = last_ns * 1e-9
    return times
