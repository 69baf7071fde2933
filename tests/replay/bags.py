"""Bags that the tests write: drives, actors, transforms and perception messages, in every storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from r3d2_ros.replay.interfaces import interface_types

NS = 1_000_000_000
START_NS = 1_700_000_000 * NS
"""Stamp of second 0 of the drives."""
LOG_OFFSET_NS = 5_000_000
"""How much later than its stamp a message is recorded."""

STORE = get_typestore(Stores.ROS2_JAZZY)
STORE.register(interface_types())
T = STORE.types


@dataclass(frozen=True)
class Entry:
    """A message on a topic, recorded at `log_ns`."""

    topic: str
    log_ns: int
    message: Any


def ns(second: float) -> int:
    return START_NS + round(second * 1e9)


def header(second: float, frame: str = "map") -> Any:
    stamp_ns = ns(second)
    stamp = T["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return T["std_msgs/msg/Header"](stamp=stamp, frame_id=frame)


def pose(x: float, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Any:
    point = T["geometry_msgs/msg/Point"](float(x), float(y), float(z))
    return T["geometry_msgs/msg/Pose"](position=point, orientation=quaternion(yaw))


def quaternion(yaw: float) -> Any:
    return T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2)))


def vector(x: float, y: float, z: float) -> Any:
    return T["geometry_msgs/msg/Vector3"](float(x), float(y), float(z))


def with_covariance(p: Any) -> Any:
    return T["geometry_msgs/msg/PoseWithCovariance"](pose=p, covariance=np.zeros(36))


def no_twist() -> Any:
    zero = T["geometry_msgs/msg/Twist"](linear=vector(0, 0, 0), angular=vector(0, 0, 0))
    return T["geometry_msgs/msg/TwistWithCovariance"](twist=zero, covariance=np.zeros(36))


def odometry(second: float, p: Any, *, frame: str = "map", child: str = "base_link") -> Any:
    return T["nav_msgs/msg/Odometry"](
        header=header(second, frame), child_frame_id=child, pose=with_covariance(p), twist=no_twist()
    )


def ego_message(kind: str, second: float, p: Any) -> Any:
    """A message of the type `kind` with the pose of the vehicle."""
    if kind == "Odometry":
        return odometry(second, p)
    if kind == "PoseStamped":
        return T["geometry_msgs/msg/PoseStamped"](header=header(second), pose=p)
    return T["geometry_msgs/msg/PoseWithCovarianceStamped"](header=header(second), pose=with_covariance(p))


def recorded(topic: str, second: float, message: Any) -> Entry:
    return Entry(topic, ns(second) + LOG_OFFSET_NS, message)


def drive(
    seconds: Iterable[float], *, speed: float = 10.0, topic: str = "/odom", kind: str = "Odometry"
) -> list[Entry]:
    """Along x with `speed`; x = 0 at second 0."""
    return [recorded(topic, s, ego_message(kind, s, pose(speed * s))) for s in seconds]


def actor_array(second: float, frame: str = "map", **places: tuple[float, ...]) -> Any:
    """Actors of the asset 'car': name -> x, y, z, yaw."""
    twist = T["geometry_msgs/msg/Twist"](linear=vector(0, 0, 0), angular=vector(0, 0, 0))
    actors = [
        T["r3d2_ros/msg/Actor"](id=name, asset="car", pose=pose(*place), twist=twist, size=vector(0, 0, 0))
        for name, place in places.items()
    ]
    return T["r3d2_ros/msg/ActorArray"](header=header(second, frame), actors=actors)


def oncoming(seconds: Iterable[float], *, topic: str = "/actors") -> list[Entry]:
    """A car that starts at x = 20 m and comes with 5 m/s."""
    return [recorded(topic, s, actor_array(s, other=(20 - 5 * s, 2.0, 0.0, np.pi))) for s in seconds]


def marker_array(second: float, markers: Sequence[tuple[str, float]], *, action: int = 0) -> Any:
    """CUBE markers (name of the asset, x), 4 x 2 x 1.5 m."""
    color = T["std_msgs/msg/ColorRGBA"](1.0, 1.0, 1.0, 1.0)
    time = T["builtin_interfaces/msg/Time"](0, 0)
    image = T["sensor_msgs/msg/CompressedImage"](
        header=T["std_msgs/msg/Header"](stamp=time, frame_id=""), format="", data=np.zeros(0, np.uint8)
    )
    mesh = T["visualization_msgs/msg/MeshFile"](filename="", data=np.zeros(0, np.uint8))
    made = [
        T["visualization_msgs/msg/Marker"](
            header=header(second), ns="m", id=i, type=1, action=action, pose=pose(x), scale=vector(4.0, 2.0, 1.5),
            color=color, lifetime=T["builtin_interfaces/msg/Duration"](0, 0), frame_locked=False, points=[], colors=[],
            texture_resource="", texture=image, uv_coordinates=[], text=asset, mesh_resource="", mesh_file=mesh,
            mesh_use_embedded_materials=False,
        )
        for i, (asset, x) in enumerate(markers)
    ]  # fmt: skip
    return T["visualization_msgs/msg/MarkerArray"](markers=made)


def transform(second: float, parent: str, child: str, p: Any) -> Any:
    """A geometry_msgs/TransformStamped from a pose."""
    moved = T["geometry_msgs/msg/Transform"](
        translation=vector(p.position.x, p.position.y, p.position.z), rotation=p.orientation
    )
    return T["geometry_msgs/msg/TransformStamped"](header=header(second, parent), child_frame_id=child, transform=moved)


def tf(*transforms: Any) -> Any:
    return T["tf2_msgs/msg/TFMessage"](transforms=list(transforms))


def autoware_object(
    number: int, label: int, p: Any, size: tuple[float, float, float], *, predicted: bool = False
) -> Any:
    package = "autoware_perception_msgs/msg/"
    acceleration = T["geometry_msgs/msg/AccelWithCovariance"](
        accel=T["geometry_msgs/msg/Accel"](linear=vector(0, 0, 0), angular=vector(0, 0, 0)), covariance=np.zeros(36)
    )
    if predicted:
        kinematics = T[package + "PredictedObjectKinematics"](
            initial_pose_with_covariance=with_covariance(p), initial_twist_with_covariance=no_twist(),
            initial_acceleration_with_covariance=acceleration, predicted_paths=[],
        )  # fmt: skip
    else:
        kinematics = T[package + "TrackedObjectKinematics"](
            pose_with_covariance=with_covariance(p), twist_with_covariance=no_twist(),
            acceleration_with_covariance=acceleration, orientation_availability=2, is_stationary=False,
        )  # fmt: skip
    classes = [
        T[package + "ObjectClassification"](label=0, probability=0.1),
        T[package + "ObjectClassification"](label=label, probability=0.9),
    ]
    shape = T[package + "Shape"](type=0, footprint=T["geometry_msgs/msg/Polygon"](points=[]), dimensions=vector(*size))
    return T[package + ("PredictedObject" if predicted else "TrackedObject")](
        object_id=T["unique_identifier_msgs/msg/UUID"](uuid=np.full(16, number, np.uint8)),
        existence_probability=1.0, classification=classes, kinematics=kinematics, shape=shape,
    )  # fmt: skip


def autoware_objects(second: float, objects: Sequence[Any], *, frame: str = "map", predicted: bool = False) -> Any:
    kind = "PredictedObjects" if predicted else "TrackedObjects"
    return T[f"autoware_perception_msgs/msg/{kind}"](header=header(second, frame), objects=list(objects))


def derived_object(number: int, classification: int, p: Any, size: tuple[float, float, float]) -> Any:
    zero = {"linear": vector(0, 0, 0), "angular": vector(0, 0, 0)}
    polygon = T["geometry_msgs/msg/Polygon"](points=[])
    shape = T["shape_msgs/msg/SolidPrimitive"](type=1, dimensions=np.array(size), polygon=polygon)
    return T["derived_object_msgs/msg/Object"](
        header=header(0), id=number, detection_level=1, object_classified=True, pose=p,
        twist=T["geometry_msgs/msg/Twist"](**zero), accel=T["geometry_msgs/msg/Accel"](**zero), polygon=polygon,
        shape=shape, classification=classification, classification_certainty=255, classification_age=1,
    )  # fmt: skip


def derived_objects(second: float, objects: Sequence[Any]) -> Any:
    return T["derived_object_msgs/msg/ObjectArray"](header=header(second), objects=list(objects))


def detection(name: str, label: str, p: Any, size: tuple[float, float, float]) -> Any:
    package = "vision_msgs/msg/"
    hypotheses = [
        T[package + "ObjectHypothesisWithPose"](
            hypothesis=T[package + "ObjectHypothesis"](class_id=class_id, score=score), pose=with_covariance(p)
        )
        for class_id, score in (("unknown", 0.2), (label, 0.8))
    ]
    box = T[package + "BoundingBox3D"](center=p, size=vector(*size))
    return T[package + "Detection3D"](header=header(0), results=hypotheses, bbox=box, id=name)


def detections(second: float, objects: Sequence[Any], *, frame: str = "map") -> Any:
    return T["vision_msgs/msg/Detection3DArray"](header=header(second, frame), detections=list(objects))


def write_bag(
    path: Path,
    entries: Sequence[Entry],
    *,
    storage: StoragePlugin = StoragePlugin.SQLITE3,
    compression: CompressionMode = CompressionMode.NONE,
    types: Mapping[str, str] | None = None,
    store: Typestore = STORE,
) -> Path:
    """A bag folder with the entries in the order of their recording; `types` adds topics without messages."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression != CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {name: writer.add_connection(name, kind, typestore=store) for name, kind in (types or {}).items()}
        for entry in sorted(entries, key=lambda entry: entry.log_ns):
            kind = entry.message.__msgtype__
            if entry.topic not in connections:
                connections[entry.topic] = writer.add_connection(entry.topic, kind, typestore=store)
            writer.write(connections[entry.topic], entry.log_ns, store.serialize_cdr(entry.message, kind))
    return path


def storage_file(bag: Path) -> Path:
    """The one storage file of a bag folder."""
    (file,) = (path for path in bag.iterdir() if path.suffix in (".db3", ".mcap", ".zstd"))
    return file
