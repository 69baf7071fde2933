"""Messages of simulation_interfaces -> plain requests, and answers -> messages; of its versions 1.x and 2.x."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import Vector3

from r3d2_ros.closed_loop.entity_desk import SCHEME, MoveRequest, SpawnRequest
from r3d2_ros.closed_loop.entity_filters import Filters
from r3d2_ros.closed_loop.entity_view import Entity, box_corners
from r3d2_ros.closed_loop.simulation_codes import Answer, BoundsType
from r3d2_ros.geometry import Array
from r3d2_ros.message_fields import position, quat_wxyz
from r3d2_ros.nodes.conversions import ns_to_stamp, write_pose
from r3d2_ros.scene import Asset

ALL_TAGS = 1
"""TagsFilter.FILTER_MODE_ALL."""


def write_answer(result: Any, answer: Answer) -> None:
    """Put an answer into a Result."""
    result.result, result.error_message = int(answer.code), answer.text


def spawn_request(message: Any) -> SpawnRequest:
    """Of a request or a message SpawnEntity. Before 2.0 `uri` and `resource_string` were in the request itself."""
    resource = getattr(message, "entity_resource", message)
    pose = message.initial_pose
    return SpawnRequest(
        name=message.name,
        allow_renaming=message.allow_renaming,
        uri=resource.uri,
        resource_string=resource.resource_string,
        namespace=message.entity_namespace,
        frame=pose.header.frame_id,
        position_m=position(pose.pose),
        quat_wxyz=quat_wxyz(pose.pose),
    )


def move_request(message: Any) -> MoveRequest:
    """Of a request of SetEntityState. Before 2.1 it had no flags: pose and twist were meant.

    The acceleration, which the standard lets a simulator ignore, then is: a state that was read could not be set else.
    """
    state = message.state
    return MoveRequest(
        entity=message.entity,
        frame=state.header.frame_id,
        position_m=position(state.pose),
        quat_wxyz=quat_wxyz(state.pose),
        linear_mps=_numbers(state.twist.linear),
        angular_radps=_numbers(state.twist.angular),
        acceleration=(*_numbers(state.acceleration.linear), *_numbers(state.acceleration.angular)),
        set_pose=getattr(message, "set_pose", True),
        set_twist=getattr(message, "set_twist", True),
        set_acceleration=getattr(message, "set_acceleration", False),
    )


def entity_filters(message: Any) -> Filters:
    """Of an EntityFilters."""
    return Filters(
        name=message.filter,
        categories=tuple(category.category for category in message.categories),
        tags=tuple(message.tags.tags),
        all_tags=message.tags.filter_mode == ALL_TAGS,
        bounds=(message.bounds.type, tuple(_numbers(point) for point in message.bounds.points)),
    )


def write_state(state: Any, entity: Entity, *, frame: str, stamp_ns: int) -> None:
    """Put where an entity is and how it moves into an EntityState."""
    state.header.frame_id, state.header.stamp = frame, ns_to_stamp(stamp_ns)
    write_pose(state.pose, entity.T_world_entity)
    _write(state.twist.linear, entity.linear_mps)
    _write(state.twist.angular, entity.angular_radps)
    _write(state.acceleration.linear, entity.linear_mps2)
    _write(state.acceleration.angular, entity.angular_radps2)


def write_info(info: Any, entity: Entity) -> None:
    """Put what an entity is into an EntityInfo."""
    info.category.category = int(entity.category)
    info.description, info.tags = entity.description, list(entity.tags)


def write_box(bounds: Any, low: Array, high: Array) -> None:
    """Put a box into a Bounds: its upper corner comes first."""
    bounds.type, bounds.points = int(BoundsType.BOX), [_vector(high), _vector(low)]


def write_spawnable(spawnable: Any, name: str, asset: Asset) -> None:
    """Put an asset into a Spawnable. Before 2.0 `uri` was in it itself."""
    getattr(spawnable, "entity_resource", spawnable).uri = f"{SCHEME}{name}"
    spawnable.description = ", ".join(filter(None, (asset.category or "object", asset.licence)))
    write_box(spawnable.spawn_bounds, *box_corners(asset.size_m))


def _numbers(vector: Any) -> tuple[float, float, float]:
    return vector.x, vector.y, vector.z


def _vector(values: Any) -> Vector3:
    vector = Vector3()
    _write(vector, values)
    return vector


def _write(vector: Any, values: Any) -> None:
    vector.x, vector.y, vector.z = (float(v) for v in values)
