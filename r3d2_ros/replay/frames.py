"""frames.jsonl: one line for each frame set of a replay, written when everything it names lies on the disk."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, write_problem
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import CameraFrame, FrameSet

FRAMES = "frames.jsonl"
RENDERING_FAILED, HARMONIZING_FAILED = "rendering_failed", "harmonizing_failed"
FAILED = (RENDERING_FAILED, HARMONIZING_FAILED)
"""Causes that a later run may not meet again."""
Entry = dict[str, Any]


def done_entry(planned: PlannedTick, frame_set: FrameSet, cameras: dict[str, Entry]) -> Entry:
    """The line of a frame set with pictures; `cameras` says for each that has one which files hold it."""
    failed = {failure.camera.name: {"file": None, "reason": failure.reason} for failure in frame_set.failures}
    return {
        **_head(planned),
        **({"cause": HARMONIZING_FAILED} if failed else {}),
        "off_path_m": _number(frame_set.off_path_m),
        "off_path_deg": _number(frame_set.off_path_deg),
        "out_of_bounds_m": _number(frame_set.out_of_bounds_m),
        "actors": len(planned.tick.state.actors) if planned.tick.state else 0,
        "cameras": {**cameras, **failed},
    }


def camera_entry(frame: CameraFrame, /, *, encode_ms: float, **more: Any) -> Entry:
    """What a line says of one camera. content_hash is that of the pixels, as the live node states it."""
    return {
        "content_hash": frame.content_hash,
        "render_ms": round(frame.render_ms, 3),
        "harmonize_ms": round(frame.harmonize_ms, 3),
        "encode_ms": round(encode_ms, 3),
        **more,
    }


def missing_entry(planned: PlannedTick, reason: str, cause: str) -> Entry:
    """The line of a frame set without pictures."""
    cameras = {camera.name: {"file": None, "reason": reason} for camera in planned.tick.due}
    return {**_head(planned), "cause": cause, "cameras": cameras}


def _head(planned: PlannedTick) -> Entry:
    tick = planned.tick
    return {"index": planned.index, "stamp_ns": tick.stamp_ns, "log_ns": planned.log_ns, "timeline": tick.timeline}


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None


def is_done(entry: Entry) -> bool:
    """Whether a line stands for the pictures of every camera that was due."""
    return "cause" not in entry


def digest(data: bytes | memoryview) -> str:
    """Of the bytes of a written file."""
    return xxhash.xxh3_128_hexdigest(data)


class FrameLog:
    """Appends lines to a file; what was written before a fault stays readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise InputError(str(path), "a file that can be written", write_problem(path, error)) from error

    def write(self, entry: Entry) -> None:
        """InputError when the disk is full."""
        rest = memoryview(json.dumps(entry, allow_nan=False).encode() + b"\n")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise InputError(str(self._path), "room for a line", write_problem(self._path, error)) from error

    def close(self) -> None:
        self._file.close()


def read_entries(path: Path) -> Iterator[Entry]:
    """The whole lines of a file. Others, such as the half of one that a killed run leaves, are passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines[:-1]:  # without a newline at its end a line is not whole
        try:
            entry = json.loads(line)
            if isinstance(entry["index"], int) and isinstance(entry["cameras"], dict):
                yield entry
        except (ValueError, KeyError, TypeError):
            continue


def write_entries(path: Path, entries: Iterable[Entry]) -> None:
    """Replace the file by these lines, in the order of their indices."""
    with atomic_output(path) as file:
        for entry in sorted(entries, key=lambda entry: entry["index"]):
            file.write(json.dumps(entry, allow_nan=False).encode() + b"\n")


def files_of(entry: Entry) -> Iterator[tuple[str, str]]:
    """(name, digest) of each file that a line names."""
    for camera in entry["cameras"].values():
        for holder in (camera, *camera.get("also", {}).values()):
            if holder.get("file") and holder.get("file_hash"):
                yield holder["file"], holder["file_hash"]


class Files:
    """The files of a folder by what is in them; each is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, str] = {}

    def are_whole(self, entry: Entry) -> bool:
        """Whether every file of a line is there with the bytes that were written."""
        try:
            return all(self._digest(name) == wanted for name, wanted in files_of(entry))
        except (TypeError, AttributeError):  # a line that somebody else wrote
            return False

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = digest_of(self._folder / name)
        return self._digests[name]


def digest_of(path: Path) -> str:
    """That of a file, empty for one that cannot be read."""
    hashed = xxhash.xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                hashed.update(block)
    except OSError:
        return ""
    return hashed.hexdigest()
