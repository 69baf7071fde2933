"""Keeps what the drive looked like: a video per camera, the tiles of the contact sheet, what the harmonizer changed."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from pathlib import Path

from r3d2_ros.cameras import Rig
from r3d2_ros.demo.before_after import Change, greatest_change
from r3d2_ros.demo.collector import CompleteSet
from r3d2_ros.demo.contact_sheet import SheetRow, fitted, tile_size
from r3d2_ros.demo.files import video
from r3d2_ros.video import VideoWriter

QUEUE_LIMIT = 64
"""Sets that may wait for the encoders, which are several times faster than the renderer."""


class Recorder:
    """Encodes in a thread of its own, so that the receiving one never waits for a picture to be written.

    moments  stamp -> (seconds since the start, label) of the rows of the contact sheet
    """

    def __init__(self, folder: Path, rig: Rig, *, fps: float, moments: Mapping[int, tuple[float, str]]) -> None:
        self._moments = dict(moments)
        self._tile = tile_size({camera.name: (camera.width_px, camera.height_px) for camera in rig.cameras})
        self._writers = {
            camera.name: VideoWriter(
                folder / video(camera.name), width_px=camera.width_px, height_px=camera.height_px, fps=fps
            )
            for camera in rig.cameras
        }
        self.rows: list[SheetRow] = []
        self.changes: list[Change] = []
        self.fault: Exception | None = None
        self._queue: queue.Queue[CompleteSet | None] = queue.Queue(QUEUE_LIMIT)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def add(self, frame_set: CompleteSet) -> None:
        """Take a set; waits when QUEUE_LIMIT of them are not written yet."""
        if self.fault is None:
            self._queue.put(frame_set)

    def _run(self) -> None:
        while (frame_set := self._queue.get()) is not None:
            if self.fault is not None:
                continue
            try:
                self._write(frame_set)
            except Exception as error:  # reported by close(); the queue must be emptied all the same
                self.fault = error

    def _write(self, frame_set: CompleteSet) -> None:
        for camera, writer in self._writers.items():
            writer.write(frame_set.images[camera])
        if frame_set.stamp_ns in self._moments:
            time_s, label = self._moments[frame_set.stamp_ns]
            tiles = {camera: fitted(image, self._tile) for camera, image in frame_set.images.items()}
            self.rows.append(SheetRow(time_s, label, tiles))
            change = greatest_change(time_s, before=frame_set.rendered, after=frame_set.images)
            if change is not None:
                self.changes.append(change)

    def close(self) -> None:
        """Finish the videos. Whatever went wrong while writing is raised here."""
        self._queue.put(None)
        self._thread.join()
        for writer in self._writers.values():
            with contextlib.suppress(Exception) if self.fault else contextlib.nullcontext():
                writer.close()
        if self.fault is not None:
            raise self.fault
