"""A folder of pictures: CAMERA/000012.jpg for frame set 12, and a line in frames.jsonl."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from r3d2_ros.cameras import Camera
from r3d2_ros.config import OutputConfig
from r3d2_ros.formats.files import atomic_output, make_folder
from r3d2_ros.replay.frames import Entry, FrameLog, camera_entry, digest, done_entry, missing_entry
from r3d2_ros.replay.output import Picture, also_wanted, encode
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import CameraFrame, FrameSet


@dataclass(eq=False)
class FolderOutput:
    """Writes each picture under a temporary name first: what has its name is whole.

    log_name   the file of lines
    with_main  False: the pictures themselves go elsewhere, only further ones are files
    """

    folder: Path
    cameras: tuple[Camera, ...]
    config: OutputConfig
    image_format: str
    log_name: str
    with_main: bool = True
    log: FrameLog = field(init=False)

    def __post_init__(self) -> None:
        self._also = also_wanted(self.config)
        self._files = ("", *self._also) if self.with_main else self._also
        for camera in self.cameras:
            for kind in self._files:
                make_folder(self.folder / _place(camera.name, kind))
        self.log = FrameLog(self.folder / self.log_name)

    def prepare(self, planned: PlannedTick, frame_set: FrameSet) -> list[Picture]:
        return [
            encode(frame, kind=kind, image_format=self.image_format, jpeg_quality=self.config.jpeg_quality)
            for frame in frame_set.frames
            for kind in self._files
        ]

    def write(self, planned: PlannedTick, frame_set: FrameSet, prepared: list[Picture]) -> None:
        cameras = self.cameras_entry(planned, frame_set, prepared)
        self.log.write(done_entry(planned, frame_set, cameras))

    def write_missing(self, planned: PlannedTick, reason: str, cause: str) -> None:
        self.log.write(missing_entry(planned, reason, cause))

    def close(self) -> None:
        self.log.close()

    def cameras_entry(self, planned: PlannedTick, frame_set: FrameSet, prepared: list[Picture]) -> dict[str, Entry]:
        """Write the pictures of a frame set; returns what its line says of each camera."""
        cameras = {}
        for frame in frame_set.frames:
            pictures = [picture for picture in prepared if picture.camera == frame.camera.name]
            main = self.main_picture(planned, frame, pictures)
            also = {p.kind: self._written(planned, p) for p in pictures if p.kind}
            encode_ms = sum(picture.encode_ms for picture in pictures)
            more = main | ({"also": also} if also else {})
            cameras[frame.camera.name] = camera_entry(frame, encode_ms=encode_ms, **more)
        return cameras

    def main_picture(self, planned: PlannedTick, frame: CameraFrame, pictures: list[Picture]) -> Entry:
        """Write the picture itself."""
        return self._written(planned, next(picture for picture in pictures if not picture.kind))

    def _written(self, planned: PlannedTick, picture: Picture) -> Entry:
        name = f"{_place(picture.camera, picture.kind)}/{planned.index:06d}{picture.suffix}"
        with atomic_output(self.folder / name) as file:
            file.write(picture.data)
        return {"file": name, "file_hash": digest(picture.data)}


def _place(camera: str, kind: str) -> str:
    """The folder of a camera's pictures of one kind."""
    return f"{camera}.{kind}" if kind else camera
