"""Actors that are spawned, deleted and moved from outside while a run goes on: what a change does, and its log record.

A change takes effect at a clock tick. What it does is a function of the traffic before it, so a run whose changes come
from its log is the same run again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol

from r3d2_ros.boxes import Size
from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.motions import Progress, Standing, Straight
from r3d2_ros.closed_loop.traffic import PlannedActor, Traffic, TrafficState
from r3d2_ros.geometry import Rigid

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Placement:
    """A pose in the map as the numbers that are logged: position [3] in metres, quaternion [4] (wxyz, not zero).

    The transform is made of these numbers, live and in a replay: through a matrix and back the last bit may change.
    """

    position_m: Numbers
    quat_wxyz: Numbers

    @classmethod
    def of(cls, T_world_actor: Rigid) -> Placement:
        return cls(tuple(T_world_actor.translation.tolist()), tuple(T_world_actor.quat_wxyz.tolist()))

    @property
    def T_world_actor(self) -> Rigid:
        return Rigid.from_quat(self.quat_wxyz, self.position_m)


@dataclass(frozen=True)
class Spawn:
    """A new actor, which stands."""

    id: str
    asset: str
    category: str
    size_m: Size
    placement: Placement


@dataclass(frozen=True)
class Delete:
    """An actor is gone."""

    id: str


@dataclass(frozen=True)
class Move:
    """An actor is put elsewhere, or gets another speed along its heading; None: as it is.

    From then on it stands, or goes straight on: whatever the scenario had planned for it is over.
    """

    id: str
    placement: Placement | None
    speed_mps: float | None


Edit = Spawn | Delete | Move


@dataclass(frozen=True, eq=False)
class World:
    """The newest moment of a run, and the traffic behind it. before: the moment one tick earlier, if there is one."""

    traffic: Traffic
    state: TrafficState
    snapshot: Snapshot | None = None
    before: Snapshot | None = None


class Edits(Protocol):
    """Where a run's changes come from: services, or the log of an earlier run."""

    def begin(self, epoch_ns: int) -> None:
        """The scenario's t = 0 is at this stamp."""

    def take(self, now_ns: int) -> tuple[Edit, ...]:
        """The changes to make before the tick that follows `now_ns`, in order."""

    def show(self, world: World) -> None:
        """The world, with everything in it that was taken."""


class NoEdits:
    """Nobody changes anything."""

    def begin(self, epoch_ns: int) -> None:
        pass

    def take(self, now_ns: int) -> tuple[Edit, ...]:
        return ()

    def show(self, world: World) -> None:
        pass


def applied(edit: Edit, traffic: Traffic, state: TrafficState) -> tuple[Traffic, TrafficState]:
    """The traffic after a change. KeyError for an actor that is not there, or, to be spawned, is there already."""
    progress = dict(state.progress)
    if isinstance(edit, Spawn):
        if edit.id in progress:
            raise KeyError(f"there is an actor '{edit.id}' already")
        actor = _spawned(edit, state.t_s)
        progress[edit.id] = Progress(state.t_s, 0.0, 0.0)
        return traffic.with_actors((*traffic.actors, actor)), TrafficState(state.t_s, progress)
    if edit.id not in progress:
        raise KeyError(f"there is no actor '{edit.id}'")
    if isinstance(edit, Delete):
        del progress[edit.id]
        left = tuple(actor for actor in traffic.actors if actor.id != edit.id)
        return traffic.with_actors(left), TrafficState(state.t_s, progress)
    before = progress[edit.id]
    speed = before.speed_mps if edit.speed_mps is None else edit.speed_mps
    progress[edit.id] = Progress(state.t_s, 0.0, speed)
    actors = tuple(
        _moved(actor, edit, before, speed, state.t_s) if actor.id == edit.id else actor for actor in traffic.actors
    )
    return traffic.with_actors(actors), TrafficState(state.t_s, progress)


def _spawned(edit: Spawn, t_s: float) -> PlannedActor:
    return PlannedActor(
        id=edit.id,
        asset=edit.asset,
        category=edit.category,
        size_m=edit.size_m,
        target=False,
        motion=Standing(edit.placement.T_world_actor),
        starts_s=t_s,
    )


def _moved(actor: PlannedActor, edit: Move, before: Progress, speed_mps: float, t_s: float) -> PlannedActor:
    T = actor.motion.pose(before) if edit.placement is None else edit.placement.T_world_actor
    motion = Straight(T, speed_mps) if speed_mps != 0.0 else Standing(T)
    return replace(actor, motion=motion, starts_s=t_s, trigger_m=0.0, waits=False, speed_mps=0.0)


# Records of the log


def edit_record(edit: Edit) -> dict[str, Any]:
    """A change as the log has it. Its pose is [x, y, z, qw, qx, qy, qz]."""
    if isinstance(edit, Delete):
        return {"edit": "delete", "id": edit.id}
    pose = None if edit.placement is None else [*edit.placement.position_m, *edit.placement.quat_wxyz]
    if isinstance(edit, Move):
        return {"edit": "move", "id": edit.id, "pose": pose, "speed_mps": edit.speed_mps}
    spawned = {"asset": edit.asset, "category": edit.category, "size_m": list(edit.size_m), "pose": pose}
    return {"edit": "spawn", "id": edit.id, **spawned}


def edit_of(record: dict[str, Any]) -> Edit:
    """The change of a record. KeyError, TypeError or ValueError for what `edit_record` does not write."""
    kind, name = record["edit"], str(record["id"])
    if kind == "delete":
        return Delete(name)
    placement = None if record["pose"] is None else _placement(record["pose"])
    if kind == "move":
        speed = record["speed_mps"]
        return Move(name, placement, None if speed is None else float(speed))
    if kind != "spawn" or placement is None:
        raise ValueError(f"expected a spawn with a pose, a move or a delete, got {kind!r}")
    length, width, height = (float(v) for v in record["size_m"])
    return Spawn(name, str(record["asset"]), str(record["category"]), (length, width, height), placement)


def _placement(pose: list[float]) -> Placement:
    x, y, z, *quat = (float(v) for v in pose)
    placement = Placement((x, y, z), tuple(quat))
    _ = placement.T_world_actor  # ValueError for numbers that are no pose
    return placement
