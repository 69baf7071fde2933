"""A folder of pictures: CAMERA/000012.jpg for frame set 12, and a line in frames.jsonl."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig
from r3d2_ros.formats.files import atomic_output, make_folder
from r3d2_ros.replay.frames import Entry, FrameLog, camera_entry, digest, done_entry, missing_entry
from r3d2_ros.replay.output import Picture, also_wanted, encode
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import FrameSet


class FolderOutput:
    """Writes each picture under a temporary name first: what has its name is whole. `log` names the file of lines."""

    def __init__(
        self, folder: Path, cameras: Sequence[Camera], config: OutputConfig, *, image_format: str, log: str
    ) -> None:
        self._folder, self._config, self._format = folder, config, image_format
        self._kinds = ("", *also_wanted(config))
        for camera in cameras:
            for kind in self._kinds:
                make_folder(folder / _place(camera.name, kind))
        self._log = FrameLog(folder / log)

    def prepare(self, planned: PlannedTick, frame_set: FrameSet) -> list[Picture]:
        return [
            encode(frame, kind=kind, image_format=self._format, jpeg_quality=self._config.jpeg_quality)
            for frame in frame_set.frames
            for kind in self._kinds
        ]

    def write(self, planned: PlannedTick, frame_set: FrameSet, prepared: list[Picture]) -> None:
        files: dict[tuple[str, str], Entry] = {}
        for picture in prepared:
            name = f"{_place(picture.camera, picture.kind)}/{planned.index:06d}{picture.suffix}"
            with atomic_output(self._folder / name) as file:
                file.write(picture.data)
            files[picture.camera, picture.kind] = {"file": name, "file_hash": digest(picture.data)}
        cameras = {}
        for frame in frame_set.frames:
            camera = frame.camera.name
            encode_ms = sum(picture.encode_ms for picture in prepared if picture.camera == camera)
            also = {kind: files[camera, kind] for kind in self._kinds if kind}
            cameras[camera] = camera_entry(
                frame, encode_ms=encode_ms, **files[camera, ""], **({"also": also} if also else {})
            )
        self._log.write(done_entry(planned, frame_set, cameras))

    def write_missing(self, planned: PlannedTick, reason: str, cause: str) -> None:
        self._log.write(missing_entry(planned, reason, cause))

    def close(self) -> None:
        self._log.close()


def _place(camera: str, kind: str) -> str:
    """The folder of a camera's pictures of one kind."""
    return f"{camera}.{kind}" if kind else camera
