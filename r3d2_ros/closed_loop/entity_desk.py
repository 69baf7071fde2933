"""Where requests about entities are checked and answered at once, and their changes wait for the run to make them."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r3d2_ros.closed_loop.entities import Delete, Edit, Move, Placement, Spawn, World, applied
from r3d2_ros.closed_loop.entity_view import EGO, Entity, entities, entity
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.simulation_codes import OK, Answer, MoveCode, Result, SpawnCode
from r3d2_ros.config import FramesConfig
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.input_checks import Fault, checked_pose
from r3d2_ros.scene import AssetLibrary

SCHEME = "asset:"
"""In front of an asset's name in a URI; the name alone will do."""

WORLD = "world"
MAX_ENTITIES = 1000
MAX_NAMES = 65_535
"""Numbers in instance images are 16 bits; a name keeps its number for the whole run."""

MAX_CHANGES = 100_000
"""That wait for the next tick: a run that is paused for ever does not fill the memory."""

MAX_NAME = 200
MAX_SPEED_MPS = 150.0
ASIDE_MPS, ASIDE_SHARE = 0.01, 0.01
"""A velocity that deviates from the heading by no more than the larger of these is along it."""

NAMESPACE = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")
ENDED = Answer(Result.INCORRECT_STATE, "the run has ended")


@dataclass(frozen=True)
class SpawnRequest:
    """What SpawnEntity asks for. Position [3] in metres and quaternion [4] (wxyz) in `frame`, unchecked."""

    name: str = ""
    allow_renaming: bool = False
    uri: str = ""
    resource_string: str = ""
    namespace: str = ""
    frame: str = ""
    position_m: Sequence[float] = (0.0, 0.0, 0.0)
    quat_wxyz: Sequence[float] = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class MoveRequest:
    """What SetEntityState asks for, in the axes of `frame`, unchecked. acceleration: linear, then angular."""

    entity: str
    frame: str = ""
    position_m: Sequence[float] = (0.0, 0.0, 0.0)
    quat_wxyz: Sequence[float] = (1.0, 0.0, 0.0, 0.0)
    linear_mps: Sequence[float] = (0.0, 0.0, 0.0)
    angular_radps: Sequence[float] = (0.0, 0.0, 0.0)
    acceleration: Sequence[float] = (0.0,) * 6
    set_pose: bool = True
    set_twist: bool = True
    set_acceleration: bool = False


class EntityDesk:
    """`entities.Edits` of a run over ROS. Thread-safe; nothing here waits for the run.

    A request is judged by the world as it will be when the changes before it are made: after two spawns of the same
    name the second has failed, however long the run is paused. An accepted change takes effect at the next tick.
    """

    def __init__(self, plan: RunPlan, library: AssetLibrary, frames: FramesConfig) -> None:
        self._plan, self.library = plan, library
        self._map_frames = ("", WORLD, frames.map)
        self._ego_frames = (EGO, frames.vehicle, frames.base_link)
        self._scripted = frozenset(actor.id for actor in plan.traffic.actors)
        self._lock = threading.Lock()
        self._waiting: list[Edit] = []
        self._taken = 0
        self._spawned: dict[str, Spawn] = {}
        self._keep = self._begun = self._ended = False
        self._world = self._ahead = self._start()

    # For the run

    def keep_spawned(self, keep: bool) -> None:
        """Whether what was spawned is there again, where it was spawned, when the run begins anew."""
        with self._lock:
            self._keep = keep

    def begin_run(self) -> None:
        """A run begins, or begins anew. What was asked for before the first one is done in it."""
        with self._lock:
            self._ended = False
            if not self._begun:
                self._begun = True
                return
            kept = list(self._spawned.values()) if self._keep else []
            self._waiting, self._taken, self._spawned = [], 0, {}
            self._keep = False
            self._world = self._ahead = self._start()
            for edit in kept:
                if edit.id in self._scripted:  # spawned in place of a scripted actor, which is there again
                    self._add(Delete(edit.id))
                self._add(edit)

    def end_run(self) -> None:
        """Nothing can be changed any more."""
        with self._lock:
            self._ended = True

    def begin(self, epoch_ns: int) -> None:
        """Nothing to do: requests know nothing of the scenario's time."""

    def take(self, now_ns: int) -> tuple[Edit, ...]:
        with self._lock:
            self._taken = len(self._waiting)
            return tuple(self._waiting)

    def show(self, world: World) -> None:
        with self._lock:
            del self._waiting[: self._taken]
            self._taken, self._world = 0, world
            self._ahead = world
            for edit in self._waiting:
                self._ahead = _after(edit, self._ahead)

    # Questions

    def entities(self) -> tuple[Entity, ...]:
        """The ego and all actors, as they will be when what waits is done."""
        with self._lock:
            return entities(self._plan, self._ahead, self._own())

    def entity(self, name: str) -> tuple[Answer, Entity | None]:
        with self._lock:
            found = self._named(name)
        return (_not_found(name), None) if found is None else (OK, found)

    @property
    def stamp_ns(self) -> int:
        """Simulation time of the newest moment; 0 before the first."""
        with self._lock:
            return 0 if self._world.snapshot is None else self._world.snapshot.stamp_ns

    # Changes

    def spawn(self, request: SpawnRequest) -> tuple[Answer, str]:
        """(answer, the name that the entity has got)."""
        with self._lock:
            faults = self._closed(), self._asset_fault(request), _namespace_fault(request.namespace), self._room_fault()
            if (first := next((fault for fault in faults if fault is not None), None)) is not None:
                return first, ""
            asset_name = _asset_name(request.uri)
            name, fault = self._name(request, asset_name)
            if fault is not None:
                return fault, ""
            T = self._pose(request.frame, request.position_m, request.quat_wxyz)
            if isinstance(T, str):
                return Answer(SpawnCode.INVALID_POSE, f"initial_pose: {T}"), ""
            asset = self.library[asset_name]
            self._add(Spawn(name, asset_name, asset.category, asset.size_m, T))
            return OK, name

    def delete(self, name: str) -> Answer:
        with self._lock:
            if fault := self._unchangeable(name, "deleted"):
                return fault
            self._add(Delete(name))
            return OK

    def delete_spawned(self) -> Answer:
        """Everything that was spawned; the scenario's own actors stay."""
        with self._lock:
            if self._ended:
                return ENDED
            for name in list(self._spawned):
                self._add(Delete(name))
            return OK

    def move(self, request: MoveRequest) -> Answer:
        with self._lock:
            if fault := self._unchangeable(request.entity, "moved: its stack drives it"):
                return fault
            if not (request.set_pose or request.set_twist or request.set_acceleration):
                return _failed("expected set_pose, set_twist or set_acceleration to be true, got none")
            now = self._named(request.entity)
            assert now is not None
            placement, T = None, now.T_world_entity
            if request.set_pose:
                found = self._pose(request.frame, request.position_m, request.quat_wxyz)
                if isinstance(found, str):
                    return Answer(MoveCode.INVALID_POSE, f"state.pose: {found}")
                placement, T = found, found.T_world_actor
            speed = self._speed(request, T)
            if isinstance(speed, Answer):
                return speed
            if placement is not None or speed is not None:
                self._add(Move(request.entity, placement, speed))
            return OK

    # Checks, with the lock

    def _start(self) -> World:
        return World(self._plan.traffic, self._plan.traffic.start())

    def _own(self) -> frozenset[str]:
        return self._scripted - self._spawned.keys()

    def _named(self, name: str) -> Entity | None:
        return entity(self._plan, self._ahead, self._own(), name)

    def _add(self, edit: Edit) -> None:
        self._waiting.append(edit)
        self._ahead = _after(edit, self._ahead)
        if isinstance(edit, Spawn):
            self._spawned[edit.id] = edit
        elif isinstance(edit, Delete):
            self._spawned.pop(edit.id, None)

    def _closed(self) -> Answer | None:
        if self._ended:
            return ENDED
        full = len(self._waiting) >= MAX_CHANGES
        return _failed(f"{MAX_CHANGES} changes wait for the next tick already") if full else None

    def _unchangeable(self, name: str, what: str) -> Answer | None:
        if fault := self._closed():
            return fault
        if name == EGO:
            return _failed(f"the ego cannot be {what}")
        return _not_found(name) if self._named(name) is None else None

    def _asset_fault(self, request: SpawnRequest) -> Answer | None:
        known = ", ".join(sorted(self.library.assets)) or "none"
        if not request.uri:
            if request.resource_string:
                text = "a resource_string is not supported; name an asset of the library in uri"
                return Answer(Result.FEATURE_UNSUPPORTED, f"{text}: {known}")
            return Answer(SpawnCode.NO_RESOURCE, f"expected the name of an asset in uri, got nothing; known: {known}")
        name = _asset_name(request.uri)
        if name in self.library:
            return None
        expected = f"expected an asset of the scenario's library as NAME or {SCHEME}NAME, got {_short(request.uri)}"
        looks_like_a_file = ":" in name or "/" in name or "." in name
        code = SpawnCode.UNSUPPORTED_FORMAT if looks_like_a_file else SpawnCode.MISSING_ASSETS
        return Answer(code, f"{expected}; known: {known}")

    def _room_fault(self) -> Answer | None:
        traffic = self._ahead.traffic
        if len(traffic.actors) >= MAX_ENTITIES:
            return _failed(f"expected at most {MAX_ENTITIES} actors at a time")
        if len(traffic.ids) >= MAX_NAMES:
            return _failed(f"expected at most {MAX_NAMES} names of actors in a run; reset it")
        return None

    def _name(self, request: SpawnRequest, asset: str) -> tuple[str, Answer | None]:
        """A name for the new entity, or why there is none."""
        name = request.name
        if not name and not request.allow_renaming:
            return "", Answer(SpawnCode.NAME_INVALID, "expected a name, or allow_renaming: true, got neither")
        if len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
            expected = f"1 to {MAX_NAME} printable characters without spaces at the ends"
            return "", Answer(SpawnCode.NAME_INVALID, f"expected a name of {expected}, got {_short(name)}")
        taken = {actor.id for actor in self._ahead.traffic.actors} | {*self._map_frames, *self._ego_frames}
        if name not in taken:
            return name, None
        if not request.allow_renaming:
            return "", Answer(SpawnCode.NAME_NOT_UNIQUE, f"the name {_short(name)} is taken")
        stem = (name or asset)[: MAX_NAME - 6]
        return next(free for k in range(1, MAX_NAMES) if (free := f"{stem}_{k}") not in taken), None

    def _frame(self, frame: str) -> Rigid | None:
        """T_world_frame of the map, of the ego, or of an actor."""
        if frame in self._map_frames:
            return Rigid.identity()
        found = self._named(EGO if frame in self._ego_frames else frame)
        return None if found is None else found.T_world_entity

    def _pose(self, frame: str, position_m: Sequence[float], quat_wxyz: Sequence[float]) -> Placement | str:
        """The pose in the map, or what is wrong with it."""
        T_world_frame = self._frame(frame)
        if T_world_frame is None:
            names = f"{self._map_frames[2]}, {WORLD}, {self._ego_frames[1]} or the name of an entity"
            return f"expected a pose in {names}, got frame_id {_short(frame)}"
        T = checked_pose("pose", "pose", position_m, quat_wxyz)
        if isinstance(T, Fault):
            return T.text
        return Placement.of(T_world_frame @ T)

    def _speed(self, request: MoveRequest, T: Rigid) -> float | Answer | None:
        """The speed along the heading of `T`; None when it is to stay as it is."""
        numbers = [*request.linear_mps, *request.angular_radps, *request.acceleration]
        used = numbers if request.set_acceleration else numbers[:6]
        if (request.set_twist or request.set_acceleration) and not np.all(np.isfinite(used)):
            return _failed(f"expected finite velocities and accelerations, got {used}")
        if request.set_acceleration and any(request.acceleration):
            return Answer(Result.FEATURE_UNSUPPORTED, "an acceleration cannot be set: an actor keeps its speed")
        if not request.set_twist:
            return None
        if any(request.angular_radps):
            return Answer(Result.FEATURE_UNSUPPORTED, "an angular velocity cannot be set: an actor goes straight on")
        frame = self._frame(request.frame)
        if frame is None:
            return _failed(f"expected a known frame, got frame_id {_short(request.frame)}")
        return _along(frame.rotation @ np.asarray(request.linear_mps, np.float64), T.rotation[:, 0])


def _after(edit: Edit, world: World) -> World:
    traffic, state = applied(edit, world.traffic, world.state)
    return World(traffic, state, world.snapshot, world.before)


def _along(velocity: Array, heading: Array) -> float | Answer:
    speed = float(velocity @ heading)
    size = float(np.linalg.norm(velocity))
    if size > MAX_SPEED_MPS:
        return _failed(f"expected at most {MAX_SPEED_MPS:g} m/s, got {size:g}")
    if float(np.linalg.norm(velocity - speed * heading)) > max(ASIDE_MPS, ASIDE_SHARE * size):
        text = "an actor moves along its heading; expected a velocity along the x axis of its pose"
        return Answer(Result.FEATURE_UNSUPPORTED, f"{text}, got {velocity.tolist()} in the map")
    return speed


def _asset_name(uri: str) -> str:
    return uri.removeprefix(SCHEME)


def _namespace_fault(namespace: str) -> Answer | None:
    """An actor has no topics of its own, so a namespace changes nothing; a wrong one is refused all the same."""
    if not namespace or NAMESPACE.fullmatch(namespace):
        return None
    return Answer(SpawnCode.NAMESPACE_INVALID, f"expected a ROS namespace, got {_short(namespace)}")


def _failed(text: str) -> Answer:
    return Answer(Result.OPERATION_FAILED, text)


def _not_found(name: str) -> Answer:
    return Answer(Result.NOT_FOUND, f"there is no entity {_short(name)}")


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77] + "...")
