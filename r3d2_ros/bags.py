"""The ego's path from a rosbag2, read without a ROS runtime (library `rosbags`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.input_files import not_a_file
from r3d2_ros.message_inputs import ego_message
from r3d2_ros.resources import user_path

POSE_TYPES = (
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
)
STORAGE_SUFFIXES = (".db3", ".mcap")
MIN_QUAT_NORM = 1e-6


@dataclass(frozen=True, eq=False)
class EgoPath:
    """Poses of the vehicle by message time, as recorded.

    stamps_ns       [N] int64 header stamps, strictly increasing
    poses           [N] pose of `child_frame_id` in `frame_id`, float64
    child_frame_id  empty for message types that do not name it
    skipped         messages left out: unreadable ones, positions that are not finite or absurd, zero quaternions,
                    and stamps that an earlier message has
    """

    stamps_ns: NDArray[np.int64]
    poses: tuple[Rigid, ...]
    topic: str
    frame_id: str
    child_frame_id: str = ""
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def positions(self) -> Array:
        """Positions [N, 3] in `frame_id`, metres."""
        return np.array([pose.translation for pose in self.poses]).reshape(-1, 3)

    @property
    def duration_s(self) -> float:
        return float(self.stamps_ns[-1] - self.stamps_ns[0]) * 1e-9

    @property
    def length_m(self) -> float:
        """Sum of the distances between consecutive positions."""
        return float(np.linalg.norm(np.diff(self.positions, axis=0), axis=1).sum())

    def sampled(self, rate_hz: float) -> EgoPath:
        """About `rate_hz` of the recorded messages per second of message time; none is invented.

        A clock of that rate starts with the first message, and each of its ticks keeps the message nearest to
        it. A recording that is slower than the clock is kept whole.
        """
        if not (np.isfinite(rate_hz) and rate_hz > 0):
            raise InputError("rate_hz", "a rate above 0", f"{rate_hz:g}")
        ticks = (self.stamps_ns - self.stamps_ns[0]) * 1e-9 * rate_hz
        nearest = np.rint(ticks)
        best_first = np.lexsort((np.abs(ticks - nearest), nearest))
        keep = np.sort(best_first[np.unique(nearest[best_first], return_index=True)[1]])
        return replace(self, stamps_ns=self.stamps_ns[keep], poses=tuple(self.poses[i] for i in keep))


def read_ego_path(path: str | Path, topic: str | None = None) -> EgoPath:
    """The poses of one topic of a rosbag2: a bag folder (sqlite3 or MCAP), or a bare .db3 or .mcap file.

    A folder without metadata.yaml works when it holds a single storage file. Topics of POSE_TYPES are
    candidates; `topic` chooses where there are several. Messages are decoded by the standard definitions of
    their types, so definitions that a bag carries are never compiled. InputError with the file and the topics
    found for everything that cannot be used.
    """
    storage = _storage(user_path(path, "bag"))
    try:
        with Reader(storage) as reader:
            connections = _chosen(reader.connections, topic, storage)
            return _collected(reader, connections, storage)
    except InputError:
        raise
    except Exception as error:  # damaged files end in errors of sqlite, struct, zstd, the YAML parser, ...
        raise InputError(str(storage), "a readable rosbag2", _one_line(error)) from error


def _storage(path: Path) -> Path:
    """What rosbags opens for `path`."""
    if not path.is_dir():
        if (got := not_a_file(path)) is not None:
            raise InputError(str(path), "a rosbag2 folder, .db3 or .mcap file", got)
        if path.suffix not in STORAGE_SUFFIXES:
            raise InputError(str(path), "a rosbag2 folder, .db3 or .mcap file", f"a '{path.suffix}' file")
        if path.stat().st_size == 0:
            raise InputError(str(path), "a readable rosbag2", "an empty file")
        return path
    entries = _entries(path)
    if (path / "metadata.yaml") in entries:
        return path
    files = [file for file in entries if file.suffix in STORAGE_SUFFIXES]
    if len(files) == 1:
        return _storage(files[0])
    raise InputError(
        str(path),
        "metadata.yaml, or a single .db3 or .mcap file, in the folder",
        f"{', '.join(file.name for file in files[:8])}" if files else "neither",
        "Run `ros2 bag reindex` on it, or name one of the files." if files else "",
    )


def _entries(folder: Path) -> list[Path]:
    """What lies in a bag folder. InputError for pipes and devices, which would be opened, and block, as storage."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(str(folder), "a rosbag2 folder that can be read", error.strerror or str(error)) from error
    for entry in entries:
        if entry.exists() and not entry.is_dir() and (got := not_a_file(entry)) is not None:
            raise InputError(str(entry), "a file of a rosbag2", got)
    return entries


def _chosen(connections: list[Connection], topic: str | None, storage: Path) -> list[Connection]:
    """The connections of the one topic to read."""
    by_topic: dict[str, list[Connection]] = {}
    for connection in connections:
        by_topic.setdefault(connection.topic, []).append(connection)
    found = _titles(by_topic) or "no topics"
    poses = {name: group for name, group in by_topic.items() if all(c.msgtype in POSE_TYPES for c in group)}
    if topic is not None:
        name = topic if topic in by_topic else f"/{topic.lstrip('/')}"
        if name not in poses:
            raise InputError(f"{storage}: topic '{topic}'", f"a topic of type {', '.join(POSE_TYPES)}", found)
        return poses[name]
    filled = {name: group for name, group in poses.items() if sum(c.msgcount for c in group) > 0}
    if not filled:
        got = found if not poses else f"no message on {', '.join(sorted(poses))}"
        raise InputError(str(storage), f"messages of type {', '.join(POSE_TYPES)}", got)
    if len(filled) > 1:
        raise InputError(
            str(storage),
            "one topic with poses",
            f"{len(filled)}: {_titles(filled)}",
            "Choose one by its name (--topic).",
        )
    return next(iter(filled.values()))


def _titles(topics: dict[str, list[Connection]]) -> str:
    """Names and types of the first twenty topics, for people."""
    return ", ".join(f"{name} ({group[0].msgtype})" for name, group in sorted(topics.items())[:20])


@dataclass(frozen=True)
class _Recorded:
    stamp_ns: int
    frame_id: str
    child_frame_id: str
    pose: Rigid


def _collected(reader: Reader, connections: list[Connection], storage: Path) -> EgoPath:
    where = f"{storage}: {connections[0].topic}"
    recorded: list[_Recorded] = []
    count = 0
    for entry in _decoded(reader, connections):
        count += 1
        if entry is not None:
            recorded.append(entry)
    if not recorded:
        got = "no message" if count == 0 else f"{count} messages, all with NaN, zero quaternions or damage"
        raise InputError(where, "messages with usable poses", got)
    frames = sorted({entry.frame_id for entry in recorded})
    if len(frames) > 1:
        raise InputError(where, "poses in one frame", f"poses in {', '.join(map(repr, frames))}")
    unique = {entry.stamp_ns: entry for entry in reversed(recorded)}  # of equal stamps, the first recorded stays
    if len(recorded) > 1 and len(unique) == 1:
        raise InputError(
            where,
            "header stamps that advance",
            f"{len(recorded)} messages with the stamp {min(unique)}",
        )
    stamps_ns = np.array(sorted(unique), np.int64)
    return EgoPath(
        stamps_ns=stamps_ns,
        poses=tuple(unique[int(stamp_ns)].pose for stamp_ns in stamps_ns),
        topic=connections[0].topic,
        frame_id=frames[0],
        child_frame_id=recorded[0].child_frame_id,
        skipped=count - len(unique),
    )


def _decoded(reader: Reader, connections: list[Connection]) -> Iterator[_Recorded | None]:
    """Every message of the connections in recorded order; None for one that gives no pose."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    for connection, _, data in reader.messages(connections=connections):
        try:
            message: Any = typestore.deserialize_cdr(data, connection.msgtype)
        except Exception:  # a damaged message raises whatever its bytes lead to; it is counted as skipped
            yield None
        else:
            yield _recorded(message)


def _recorded(message: Any) -> _Recorded | None:
    ego = ego_message(message)
    position, quat_wxyz = np.array(ego.position_m), np.array(ego.quat_wxyz)
    norm = np.linalg.norm(quat_wxyz)
    if not np.all(np.abs(position) <= MAX_COORDINATE_M) or not MIN_QUAT_NORM < norm < np.inf:
        return None
    return _Recorded(
        stamp_ns=ego.stamp_ns,
        frame_id=ego.frame_id,
        child_frame_id=ego.child_frame_id,
        pose=Rigid.from_quat(quat_wxyz / norm, position),
    )


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
