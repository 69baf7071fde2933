"""Pictures of a run for its report: small JPEGs of one camera, every half second, and all of the last second."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.formats.files import atomic_output, free_name, make_folder
from r3d2_ros.simulator import FrameSet

FOLDER = "film"
EVERY_S = 0.5
LAST_S = 1.0
"""How a run ended is decided only afterwards: a collision, for one, some time after the contact."""
WIDTH_PX = 320
QUALITY = 80


class Film:
    """Writes `film/<milliseconds>.jpg` into the run's folder; nothing of the start-up, where the world stands still.

    The pictures of an earlier run in that folder, or of one that was reset, become `film.1/`, `film.2/`, ..., as its
    log becomes `run.jsonl.1`.
    """

    def __init__(self, folder: Path, rig: Rig) -> None:
        self._folder = folder / FOLDER
        self._camera = ahead(rig).name
        self._begin()

    def _begin(self) -> None:
        self._last_s, self._next_s = 0.0, 0.0
        self._passing: deque[tuple[float, Path]] = deque()
        if self._folder.is_dir() and any(self._folder.iterdir()):
            self._folder.rename(free_name(self._folder))
        make_folder(self._folder)

    def add(self, frame_set: FrameSet, snapshot: Snapshot) -> None:
        """Keep the picture: for good if it is time for one, else for LAST_S."""
        if snapshot.t_s < self._last_s:
            self._begin()
        self._last_s = snapshot.t_s
        if snapshot.phase == "startup":
            return
        while self._passing and self._passing[0][0] < snapshot.t_s - LAST_S - 1e-6:
            self._passing.popleft()[1].unlink(missing_ok=True)
        frame = next((frame for frame in frame_set.frames if frame.camera.name == self._camera), None)
        if frame is None:
            return
        height = max(1, round(WIDTH_PX * frame.rgb.shape[0] / frame.rgb.shape[1]))
        small = cv2.resize(frame.rgb, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=QUALITY, colorspace="RGB")
        path = self._folder / f"{round(snapshot.t_s * 1000):06d}.jpg"
        with atomic_output(path) as file:
            file.write(jpeg)
        if snapshot.t_s < self._next_s - 1e-6:
            self._passing.append((snapshot.t_s, path))
        else:
            self._next_s = snapshot.t_s + EVERY_S


def ahead(rig: Rig) -> Camera:
    """The camera of a rig that looks most straight ahead."""
    return max(rig.cameras, key=lambda camera: float(camera.T_ego_camera.rotation[0, 2]))


def pictures(folder: Path) -> list[tuple[float, Path]]:
    """(seconds, file) of a run's film, in order."""
    found = [(path.stem, path) for path in (folder / FOLDER).glob("*.jpg") if path.stem.isdigit()]
    return sorted((int(stem) / 1000, path) for stem, path in found)
