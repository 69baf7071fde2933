"""Which topics of a bag the replay reads: found where there is one candidate, asked for where there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.input_checks import Fault
from r3d2_ros.message_fields import frame_name
from r3d2_ros.message_inputs import MARKER_ADD, EgoMessage, ego_message, marker_asset
from r3d2_ros.replay.bag import Bag
from r3d2_ros.replay.definitions import Decoder
from r3d2_ros.replay.objects import OBJECT_TYPES
from r3d2_ros.replay.records import Topic
from r3d2_ros.replay.tf_ego import TransformRecord, ego_messages, find_chain, transform_records
from r3d2_ros.state_buffer import track_limits

EGO_TYPES = (
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/PoseStamped",
    "geometry_msgs/msg/PoseWithCovarianceStamped",
)
TF_TYPE = "tf2_msgs/msg/TFMessage"
TF_TOPIC = "/tf"
STATIC_SUFFIX = "_static"
ARRAY_TYPE = "r3d2_ros/msg/ActorArray"
MARKER_TYPE = "visualization_msgs/msg/MarkerArray"
ACTOR_TYPES = (ARRAY_TYPE, MARKER_TYPE, *OBJECT_TYPES)
NONE = "none"
NOT_UNDERSTOOD = (ValueError, AttributeError, TypeError)
"""What a message raises that is damaged, or whose type has other fields than its name promises."""

PEEK = 50
"""Messages of a topic that are looked at to tell whether it is a candidate."""
CHOOSE = "Choose one with --ego TOPIC"
SPARSE = 20
"""Poses in tf for each one of a topic above which the topic is hardly the drive: /initialpose has a few in an hour."""


@dataclass(frozen=True, eq=False)
class EgoSource:
    """Every pose of the vehicle in recorded order, with the time of its recording; a Fault for a damaged message.

    topic         name under which it is reported
    title         for people
    notes         what the user should know
    static_topic  the transforms that place the frames of its vehicle
    """

    topic: str
    title: str
    messages: list[tuple[int, EgoMessage | Fault]]
    notes: tuple[str, ...] = ()
    static_topic: str = TF_TOPIC + STATIC_SUFFIX


def find_ego(bag: Bag, config: SimConfig, *, wanted: str | None = None) -> EgoSource:
    """The source of the ego's pose: the topic `wanted`, else the only one that has it, else tf.

    InputError that lists the candidates when there are several (a topic that is `SPARSE` beside tf counts as one of
    two), and what the bag has when there are none.
    """
    if wanted is not None:
        topic = _topic(bag, wanted)
        if topic is None or topic.msgtype not in (*EGO_TYPES, TF_TYPE):
            expected = f"a topic of type {', '.join((*EGO_TYPES, TF_TYPE))}"
            raise InputError(f"{bag.path}: --ego {wanted}", expected, _listed(bag.topics.values()))
        return _from_tf(bag, config, topic.name) if topic.msgtype == TF_TYPE else _from_topic(bag, topic)
    poses = [topic for topic in bag.topics.values() if topic.msgtype in EGO_TYPES and topic.count > 0]
    fitting = [topic for topic in poses if _frames_fit(bag, topic, config)]
    if len(fitting) == 1:
        tf = _denser_tf(bag, config, fitting[0])
        if tf is None:
            return _from_topic(bag, fitting[0])
        got = f"2: {fitting[0]}, {tf.title}"
        raise InputError(f"{bag.path}: ego", "one topic with its pose", got, CHOOSE)
    if len(fitting) > 1:
        got = f"{len(fitting)}: {_listed(fitting)}"
        raise InputError(f"{bag.path}: ego", "one topic with its pose", got, CHOOSE)
    try:
        return _from_tf(bag, config, TF_TOPIC)
    except InputError as no_tf:
        frames = f"'{config.frames.map}' and '{config.frames.base_link}'"
        if poses:
            found = "; ".join(f"{topic}: {_frames_of(bag, topic)}" for topic in poses[:8])
            hint = "Set frames.map and frames.base_link in the configuration"
            raise InputError(f"{bag.path}: ego", f"a pose between the frames {frames}", found, hint) from no_tf
        types = ", ".join(EGO_TYPES)
        expected = f"messages of type {types}, or tf between {frames}"
        got = f"{_listed(bag.topics.values())}; {TF_TOPIC}: {no_tf.got}"
        others = any(topic.msgtype == TF_TYPE and topic.name.endswith(TF_TOPIC) for topic in bag.topics.values())
        hint = CHOOSE if others and TF_TOPIC not in bag.topics else no_tf.hint
        if TF_TOPIC in bag.topics and TF_TOPIC + STATIC_SUFFIX not in bag.topics:
            hint += f"; or is {TF_TOPIC + STATIC_SUFFIX} missing, which the bag does not have?"
        raise InputError(f"{bag.path}: ego", expected, got, hint) from no_tf


def _denser_tf(bag: Bag, config: SimConfig, pose: Topic) -> EgoSource | None:
    """The poses of tf where they are so many that the topic `pose` is hardly the drive. What is damaged is not reported
    here."""
    tf = bag.topics.get(TF_TOPIC)
    if tf is None or tf.count <= SPARSE * pose.count:  # spares reading it; a message has one transform or more
        return None
    damage = list(bag.damage)
    try:
        source = _from_tf(bag, config, TF_TOPIC)
    except InputError:
        return None
    finally:
        bag.damage[:] = damage
    return source if len(source.messages) > SPARSE * pose.count else None


def _topic(bag: Bag, name: str) -> Topic | None:
    return bag.topics.get(name) or bag.topics.get(f"/{name.lstrip('/')}")


def _listed(topics: Iterable[Topic]) -> str:
    """The first twenty topics, for people."""
    names = [str(topic) for topic in sorted(topics, key=lambda topic: topic.name)]
    return ", ".join(names[:20]) + (f", and {len(names) - 20} more" if len(names) > 20 else "") or "no topics"


def _peek(bag: Bag, topic: Topic, take: Callable[[Any], bool]) -> bool:
    """Whether `take` is true for one of the first messages. What is damaged is not reported here."""
    damage = list(bag.damage)
    try:
        decoder = Decoder(topic)
        for number, record in enumerate(bag.records([topic.name])):
            if number >= PEEK:
                break
            try:
                if take(decoder.decode(record.data)):
                    return True
            except NOT_UNDERSTOOD:
                continue
    except ValueError:
        return False
    finally:
        bag.damage[:] = damage
    return False


def _frames_fit(bag: Bag, topic: Topic, config: SimConfig) -> bool:
    def fits(message: Any) -> bool:
        ego = ego_message(message)
        child_fits = not frame_name(ego.child_frame_id) or config.frames.is_vehicle(ego.child_frame_id)
        return frame_name(ego.frame_id) in ("", frame_name(config.frames.map)) and child_fits

    return _peek(bag, topic, fits)


def _frames_of(bag: Bag, topic: Topic) -> str:
    found: list[str] = []

    def note(message: Any) -> bool:
        ego = ego_message(message)
        found.append(f"'{ego.frame_id}'" + (f" -> '{ego.child_frame_id}'" if ego.child_frame_id else ""))
        return True

    _peek(bag, topic, note)
    return found[0] if found else "no message that can be read"


def _from_topic(bag: Bag, topic: Topic) -> EgoSource:
    decoder = Decoder(topic)
    messages: list[tuple[int, EgoMessage | Fault]] = []
    for record in bag.records([topic.name]):
        try:
            messages.append((record.log_ns, ego_message(decoder.decode(record.data))))
        except NOT_UNDERSTOOD as error:
            messages.append((record.log_ns, undecodable(topic.name, error)))
    if not messages:
        raise InputError(f"{bag.path}: {topic.name}", "messages", "none that can be read")
    return EgoSource(topic.name, str(topic), messages)


def undecodable(topic: str, error: Exception) -> Fault:
    return Fault(f"{topic}.undecodable", f"{topic}: a message that cannot be read is left out: {error}")


def _from_tf(bag: Bag, config: SimConfig, name: str) -> EgoSource:
    """From the transforms on the topic `name` and on that of the static ones beside it."""
    name = name.removesuffix(STATIC_SUFFIX)
    static = name + STATIC_SUFFIX
    topics = [topic for each in (name, static) if (topic := bag.topics.get(each)) and topic.msgtype == TF_TYPE]
    if not topics:
        raise InputError(f"{bag.path}: tf", f"the topic {name}", "none")
    decoders = {topic.name: Decoder(topic) for topic in topics}
    records: list[TransformRecord] = []
    damaged = 0
    for record in bag.records([topic.name for topic in topics]):
        try:
            message = decoders[record.topic].decode(record.data)
        except ValueError:
            damaged += 1
            continue
        is_static = record.topic == static
        records += transform_records(message, log_ns=record.log_ns, is_static=is_static)
    frames = config.frames
    has_prefix = any(record.child == frame_name(frames.vehicle) for record in records)
    base_link = frames.vehicle if has_prefix else frames.base_link
    limits = track_limits(config.state)
    where = f"{bag.path}: tf"
    chain = find_chain(records, map_frame=frames.map, base_link=base_link, limits=limits, where=where)
    messages, unknown = ego_messages(chain)
    notes = [f"tf: {damaged} messages that cannot be read are left out"] if damaged else []
    if unknown:
        notes.append(f"tf: {unknown} poses are left out, for which a part of the chain {chain} is not known yet")
    if not messages:
        raise InputError(f"{bag.path}: tf", f"poses along {chain}", "none", " ".join(notes))
    title = f"{name} ({chain}, {len(messages)} poses)"
    return EgoSource(name, title, list(messages), tuple(notes), static)


def find_actors(bag: Bag, *, wanted: str | None = None, known_asset: Callable[[str], bool]) -> Topic | None:
    """The topic with the actors: `wanted`, else the only candidate; None for none, or when `wanted` is 'none'.

    A MarkerArray is a candidate when one of its first markers names an asset: most of them show other things. Where
    there is no candidate, the bag's notes say what those name. InputError that lists the candidates when there are
    several.
    """
    if wanted == NONE:
        return None
    if wanted is not None:
        topic = _topic(bag, wanted)
        if topic is None or topic.msgtype not in ACTOR_TYPES:
            expected = f"'{NONE}', or a topic of type {', '.join(ACTOR_TYPES)}"
            raise InputError(f"{bag.path}: --actors {wanted}", expected, _listed(bag.topics.values()))
        return topic
    topics = [topic for topic in bag.topics.values() if topic.msgtype in ACTOR_TYPES and topic.count > 0]
    candidates = [
        topic
        for topic in topics
        if topic.msgtype != MARKER_TYPE or _peek(bag, topic, lambda message: _names_an_asset(message, known_asset))
    ]
    if topics and not candidates:
        named = "; ".join(f"{topic.name}: {_first_named(bag, topic)}" for topic in topics[:8])
        bag.notes.append(f"no actors: markers name no asset of the library by mesh_resource or text ({named})")
    if len(candidates) > 1:
        got = f"{len(candidates)}: {_listed(candidates)}"
        hint = f"Choose one with --actors TOPIC, or --actors {NONE}"
        raise InputError(f"{bag.path}: actors", "one topic with actors", got, hint)
    return candidates[0] if candidates else None


def _first_named(bag: Bag, topic: Topic) -> str:
    """What the first marker of a topic names."""
    found: list[str] = []

    def note(message: Any) -> bool:
        found.extend(marker_asset(marker) for marker in message.markers if marker.action == MARKER_ADD)
        return bool(found)

    _peek(bag, topic, note)
    return f"first {found[0][:80]!r}" if found else "none is added in its first messages"


def _names_an_asset(message: Any, known_asset: Callable[[str], bool]) -> bool:
    return any(marker.action == MARKER_ADD and known_asset(marker_asset(marker)) for marker in message.markers)
