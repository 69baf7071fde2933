"""The ego's path from a bag."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.message_inputs import ego_message
from r3d2_ros.replay.bag import Bag, open_bag
from r3d2_ros.replay.records import Topic
from r3d2_ros.replay.sources import EGO_TYPES

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
    """The poses of one topic of a bag, of whatever kind `open_bag` reads.

    Topics of EGO_TYPES are candidates; `topic` chooses where there are several. Messages are decoded by the standard
    definitions of their types, so definitions that a bag carries are never compiled. InputError with the file and the
    topics found for everything that cannot be used, and for a bag of which a part cannot be read: half a path is
    another one.
    """
    try:
        with open_bag(path) as bag:
            found = _collected(bag, _chosen(bag, topic))
            if bag.damage:
                raise InputError(str(bag.path), "a readable rosbag2", "; ".join(bag.damage))
            return found
    except MemoryError as error:  # lengths in a damaged file may be any number
        raise InputError(str(path), "a readable rosbag2", "parts that are larger than the memory") from error


def _chosen(bag: Bag, wanted: str | None) -> Topic:
    """The one topic to read."""
    found = _titles(bag.topics.values()) or "; ".join(bag.damage) or "no topics"
    poses = {name: topic for name, topic in bag.topics.items() if topic.msgtype in EGO_TYPES}
    if wanted is not None:
        name = wanted if wanted in bag.topics else f"/{wanted.lstrip('/')}"
        if name not in poses:
            raise InputError(f"{bag.path}: topic '{wanted}'", f"a topic of type {', '.join(EGO_TYPES)}", found)
        return poses[name]
    filled = [topic for topic in poses.values() if topic.count > 0]
    if not filled:
        got = found if not poses else f"no message on {', '.join(sorted(poses))}"
        raise InputError(str(bag.path), f"messages of type {', '.join(EGO_TYPES)} in a rosbag2", got)
    if len(filled) > 1:
        got = f"{len(filled)}: {_titles(filled)}"
        raise InputError(str(bag.path), "one topic with poses", got, "Choose one by its name (--topic).")
    return filled[0]


def _titles(topics: Iterable[Topic]) -> str:
    """Names and types of the first twenty topics, for people."""
    names = sorted(topics, key=lambda topic: topic.name)
    return ", ".join(f"{topic.name} ({topic.msgtype})" for topic in names[:20])


@dataclass(frozen=True)
class _Recorded:
    stamp_ns: int
    frame_id: str
    child_frame_id: str
    pose: Rigid


def _collected(bag: Bag, topic: Topic) -> EgoPath:
    where = f"{bag.path}: {topic.name}"
    recorded: list[_Recorded] = []
    count = 0
    for entry in _decoded(bag, topic):
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
        topic=topic.name,
        frame_id=frames[0],
        child_frame_id=recorded[0].child_frame_id,
        skipped=count - len(unique),
    )


def _decoded(bag: Bag, topic: Topic) -> Iterator[_Recorded | None]:
    """Every message of the topic in recorded order; None for one that gives no pose."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    for record in bag.records([topic.name]):
        try:
            message: Any = typestore.deserialize_cdr(record.data, topic.msgtype)
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
