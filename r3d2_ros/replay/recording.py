"""A recording: the ego's poses and the actors of a bag, as the inputs that a live node would have received."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from r3d2_ros.config import FramesConfig, SimConfig
from r3d2_ros.geometry import Rigid, quat_multiply
from r3d2_ros.input_checks import Fault
from r3d2_ros.message_fields import frame_name, stamp_to_ns
from r3d2_ros.message_inputs import ActorMessage, EgoMessage, actor_message
from r3d2_ros.replay.bag import Bag, open_bag
from r3d2_ros.replay.classes import AssetChooser, load_class_table
from r3d2_ros.replay.definitions import Decoder
from r3d2_ros.replay.ego_track import EgoTrack, ObjectTimelines, without_unfilled
from r3d2_ros.replay.objects import OBJECT_TYPES, SeenObject
from r3d2_ros.replay.records import Record, Topic
from r3d2_ros.replay.sources import (
    NOT_UNDERSTOOD,
    TF_TYPE,
    EgoSource,
    find_actors,
    find_ego,
    undecodable,
)
from r3d2_ros.replay.tf_ego import static_frames, transform_records
from r3d2_ros.scene import AssetLibrary


@dataclass(frozen=True)
class Input:
    """What one recorded message gave; `message` is None where it gave nothing but faults."""

    log_ns: int
    topic: str
    message: EgoMessage | ActorMessage | None
    faults: tuple[Fault, ...] = ()


class Recording:
    """An open bag with its sources chosen; a context manager. `inputs` can be read any number of times, with the same
    result each time.

    actors  topic of the actors, None: there are none
    """

    def __init__(
        self, bag: Bag, *, config: SimConfig, library: AssetLibrary, ego: EgoSource, actors: Topic | None
    ) -> None:
        self.bag, self.ego, self.actors = bag, ego, actors
        self._config, self._library = config, library
        self._track: EgoTrack | None = None
        self._frames: dict[str, Rigid] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.bag.__exit__(*error)

    def inputs(self, *, actors: bool = True) -> Iterator[Input]:
        """Poses and, unless they are not wanted, actors, in the order of their recording; actors first where equal."""
        ego = (
            Input(log_ns, self.ego.topic, None, (entry,))
            if isinstance(entry, Fault)
            else Input(log_ns, self.ego.topic, entry)
            for log_ns, entry in self.ego.messages
        )
        streams = [self._actor_inputs(self.actors)] if actors and self.actors else []
        return heapq.merge(*streams, ego, key=lambda entry: entry.log_ns)

    def _actor_inputs(self, topic: Topic) -> Iterator[Input]:
        decoder = Decoder(topic)
        read_objects = OBJECT_TYPES.get(topic.msgtype)
        chooser = AssetChooser(load_class_table(self._config), self._library, self._config) if read_objects else None
        timelines = ObjectTimelines(self.ego, self._config)
        for record in self.bag.records([topic.name]):
            try:
                message = decoder.decode(record.data)
                if read_objects is None or chooser is None:
                    made = actor_message(topic.name, message)
                    faults: tuple[Fault, ...] = (made,) if isinstance(made, Fault) else ()
                    yield Input(record.log_ns, topic.name, None if isinstance(made, Fault) else made, faults)
                else:
                    yield self._of_objects(record, message.header, read_objects(message), chooser, timelines)
            except NOT_UNDERSTOOD as error:
                yield Input(record.log_ns, topic.name, None, (undecodable(topic.name, error),))

    def _of_objects(
        self, record: Record, header: Any, seen: list[SeenObject], chooser: AssetChooser, timelines: ObjectTimelines
    ) -> Input:
        stamp_ns, frame_id = stamp_to_ns(header.stamp), header.frame_id
        timeline = timelines.of(stamp_ns, record.log_ns)
        if frame_name(frame_id) not in ("", frame_name(self._config.frames.map)):
            moved = self._in_map(seen, frame_id, stamp_ns, timeline)
            if isinstance(moved, Fault):
                return Input(record.log_ns, record.topic, None, (moved,))
            seen, frame_id = moved, self._config.frames.map
        actors, faults = chooser.actors(seen)
        return Input(record.log_ns, record.topic, ActorMessage(stamp_ns, frame_id, actors), tuple(faults))

    def _in_map(
        self, seen: list[SeenObject], frame_id: str, stamp_ns: int, timeline: int
    ) -> list[SeenObject] | Fault:
        """Objects of a sensor's frame, moved into the map by the pose of the ego at their stamp."""
        if self._frames is None or self._track is None:
            self._frames = _sensor_frames(self.bag, self._config.frames, self.ego.static_topic)
            self._track = EgoTrack(self.ego, self._config)
        T_ego_frame = self._frames.get(frame_name(frame_id))
        if T_ego_frame is None:
            map_frame, base_link = self._config.frames.map, self._config.frames.base_link
            wanted = f"'{map_frame}', '{base_link}' or a frame that {self.ego.static_topic} places"
            return Fault(f"actors.frame.{frame_id[:80]}", f"objects: expected the frame {wanted}, got '{frame_id}'")
        if not self._track.covers(stamp_ns, timeline):
            return Fault("actors.outside_of_drive", "objects are left out: their stamp lies outside of the drive")
        T_map_ego = self._track.at(stamp_ns, timeline)
        if T_map_ego is None:
            text = "objects are left out: where the ego was at their stamp is not known"
            return Fault("actors.no_ego", text)
        T = T_map_ego @ T_ego_frame
        return [_moved(entry, T) for entry in seen]


def open_recording(
    path: str | Path,
    *,
    config: SimConfig,
    library: AssetLibrary,
    ego: str | None = None,
    actors: str | None = None,
    unpacked: Mapping[Path, Path] = MappingProxyType({}),
) -> Recording:
    """Open a bag and choose its sources, see `open_bag`, `find_ego` and `find_actors`. InputError(s) for what cannot be
    used."""
    bag = open_bag(path, unpacked=unpacked)
    try:
        source = without_unfilled(find_ego(bag, config, wanted=ego), config)
        topic = find_actors(bag, wanted=actors, known_asset=library.__contains__)
        if topic is not None and topic.msgtype in OBJECT_TYPES:
            load_class_table(config)
        return Recording(bag, config=config, library=library, ego=source, actors=topic)
    except BaseException:
        bag.__exit__()
        raise


def _moved(seen: SeenObject, T: Rigid) -> SeenObject:
    """An object at `T` times its pose. What is not finite stays so and is refused later."""
    x, y, z = T.apply(seen.position_m).tolist()
    w, qx, qy, qz = quat_multiply(T.quat_wxyz, seen.quat_wxyz).tolist()
    return replace(seen, position_m=(x, y, z), quat_wxyz=(w, qx, qy, qz))


def _sensor_frames(bag: Bag, frames: FramesConfig, static_topic: str) -> dict[str, Rigid]:
    """Frame -> T_ego_frame, of the vehicle itself, with and without its prefix, and of everything that the static
    transforms place on it."""
    topic = bag.topics.get(static_topic)
    records = []
    if topic is not None and topic.msgtype == TF_TYPE:
        decoder = Decoder(topic)
        for record in bag.records([topic.name]):
            try:
                records += transform_records(decoder.decode(record.data), log_ns=record.log_ns, is_static=True)
            except ValueError:  # a damaged message places nothing
                continue
    return static_frames(records, frames.base_link) | static_frames(records, frames.vehicle)
