"""The door of the world state: raw numbers of a message become checked states, or a fault that is reported
once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

import numpy as np

from r3d2_ros.geometry import Rigid
from r3d2_ros.world import ActorState, EgoState

MAX_COORDINATE_M = 1e9
"""Positions beyond this are no place on Earth in any projection; they would overflow float32 further on."""

SIZE_RANGE_M = (1e-3, 1e3)
"""Accepted edge lengths of an actor's box."""

Level = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class Fault:
    """Something that is wrong with an input. `cause` is the key under which it is reported once; `text` is
    for people."""

    cause: str
    text: str
    level: Level = "warning"


@dataclass(frozen=True)
class Report:
    """A cause, the text of its first occurrence and the number of occurrences."""

    cause: str
    text: str
    level: Level
    count: int


class Reports:
    """Collects faults: the text of the first one of each cause, and how often each cause occurred.

    `take_new` gives every cause once, for the log; `all` gives the counts, for diagnostics. A name from outside (an
    asset) stands behind the second dot of a cause. Causes that differ in it alone cannot grow without bound: beyond
    `MAX_NAMES` they are counted together, and the other causes are told as before.
    """

    MAX_NAMES = 64
    FURTHER = "further"

    def __init__(self) -> None:
        self._names: Counter[str] = Counter()
        self._first: dict[str, Fault] = {}
        self._counts: Counter[str] = Counter()
        self._new: list[str] = []

    def add(self, fault: Fault) -> None:
        cause = fault.cause
        if cause not in self._first:
            kind = ".".join(cause.split(".", 2)[:2])
            self._names[kind] += 1
            if self._names[kind] > self.MAX_NAMES:
                cause = f"{kind}.{self.FURTHER}"
                text = f"more than {self.MAX_NAMES} causes {kind}, from here on counted only: {fault.text}"
                fault = replace(fault, cause=cause, text=text)
            if cause not in self._first:
                self._first[cause] = fault
                self._new.append(cause)
        self._counts[cause] += 1

    def count(self, cause: str) -> int:
        """How often `cause` occurred."""
        return self._counts[cause]

    def all(self) -> tuple[Report, ...]:
        """Every cause so far, in the order of their first occurrence."""
        return tuple(self._report(cause) for cause in self._first)

    def take_new(self) -> tuple[Report, ...]:
        """Causes that occurred for the first time since the last call."""
        new, self._new = self._new, []
        return tuple(self._report(cause) for cause in new)

    def _report(self, cause: str) -> Report:
        first = self._first[cause]
        return Report(cause, first.text, first.level, self._counts[cause])


@dataclass(frozen=True)
class ActorInput:
    """One actor as a message gives it, unchecked: position [3] in metres, quaternion [4] (wxyz), size [3] in
    metres.

    size_m      (length, width, height); all zero stands for the asset's own size
    actor_pose  what the position means; None: what the rules say
    tracked     whether the id is that of the same actor in every message
    """

    id: str
    asset: str
    position_m: Sequence[float]
    quat_wxyz: Sequence[float]
    size_m: Sequence[float] = (0.0, 0.0, 0.0)
    actor_pose: Literal["ground_center", "box_center"] | None = None
    tracked: bool = True


@dataclass(frozen=True)
class ActorRules:
    """What the loaded assets and the configuration say about actors.

    known_asset     whether an asset of this name is loaded
    asset_height_m  height of a known asset's own box
    actor_pose      what the position of an input means: the ground centre of the box, or the centre of the
    box
    """

    known_asset: Callable[[str], bool]
    asset_height_m: Callable[[str], float]
    actor_pose: Literal["ground_center", "box_center"] = "ground_center"


def ego_state(*, stamp_ns: int, position_m: Sequence[float], quat_wxyz: Sequence[float]) -> EgoState | Fault:
    """EgoState from raw numbers: position [3] in metres, quaternion [4] (wxyz, of any length but zero)."""
    pose = checked_pose("ego", "ego", position_m, quat_wxyz)
    return pose if isinstance(pose, Fault) else EgoState(stamp_ns, pose)


def actor_state(actor: ActorInput, rules: ActorRules) -> ActorState | Fault:
    """ActorState from raw numbers, its pose moved to the ground centre of its box."""
    name = f"actor {_short(actor.id)}"
    if not rules.known_asset(actor.asset):
        return Fault(
            f"actors.unknown_asset.{actor.asset[:80]}",
            f"{name}: expected the name of a loaded asset, got {_short(actor.asset)}; the actor is not drawn",
        )
    size_m = _size(actor)
    if isinstance(size_m, Fault):
        return size_m
    pose = checked_pose("actors", name, actor.position_m, actor.quat_wxyz)
    if isinstance(pose, Fault):
        return pose
    if (actor.actor_pose or rules.actor_pose) == "box_center":
        height_m = rules.asset_height_m(actor.asset) if size_m is None else size_m[2]
        pose = Rigid(pose.rotation, pose.apply((0.0, 0.0, -height_m / 2)))
    return ActorState(id=actor.id, asset=actor.asset, T_world_actor=pose, size_m=size_m)


def actor_states(actors: Sequence[ActorInput], rules: ActorRules) -> tuple[tuple[ActorState, ...], tuple[Fault, ...]]:
    """The actors of one array that can be drawn, in its order, and what is wrong with the others.

    An id that occurs twice removes all its actors, also where only one of them is valid otherwise. An empty
    array is valid (no actors at that time) and gives a fault of level "info".
    """
    if not actors:
        return (), (Fault("actors.empty", "an actor array is empty: no actors at that time", "info"),)
    single, faults = without_repeated(actors)
    states: list[ActorState] = []
    for actor in single:
        state = actor_state(actor, rules)
        if isinstance(state, Fault):
            faults.append(state)
        else:
            states.append(state)
    return tuple(states), tuple(faults)


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Identified = TypeVar("Identified", bound=HasId)


def without_repeated(actors: Iterable[Identified]) -> tuple[list[Identified], list[Fault]]:
    """Actors whose id occurs once, and a fault for each id that occurs more often."""
    actors = list(actors)
    times = Counter(actor.id for actor in actors)
    faults = [
        Fault(
            "actors.duplicate_id",
            f"actor {_short(id_)}: expected each id once in an array, got it {n} times; none is drawn",
        )
        for id_, n in times.items()
        if n > 1
    ]
    return [actor for actor in actors if times[actor.id] == 1], faults


def checked_pose(cause: str, name: str, position_m: Sequence[float], quat_wxyz: Sequence[float]) -> Rigid | Fault:
    """The transform, or what is wrong with its position [3] in metres or its quaternion [4] (wxyz)."""
    position = np.asarray(position_m, np.float64)
    quat = np.asarray(quat_wxyz, np.float64)
    if position.shape != (3,) or not np.all(np.abs(position) <= MAX_COORDINATE_M):
        expected = f"three finite metres within {MAX_COORDINATE_M:g}"
        return Fault(f"{cause}.position", f"{name}: expected a position of {expected}, got {position.tolist()}")
    length = math.hypot(*quat) if quat.shape == (4,) else 0.0
    if not (math.isfinite(length) and length > 1e-9):
        expected = "a quaternion of four finite numbers that are not all zero"
        return Fault(f"{cause}.quaternion", f"{name}: expected {expected}, got wxyz {quat.tolist()}")
    return Rigid.from_quat(quat / length, position)


def above(
    position_m: Sequence[float], quat_wxyz: Sequence[float], distance_m: float
) -> tuple[float, float, float]:
    """The point above a position [3], along the z axis of the quaternion [4] (wxyz); the position itself where that
    cannot be said, which the checks refuse."""
    pose = checked_pose("", "", position_m, quat_wxyz)
    x, y, z = position_m if isinstance(pose, Fault) else pose.apply((0.0, 0.0, distance_m)).tolist()
    return x, y, z


def _size(actor: ActorInput) -> tuple[float, float, float] | Fault | None:
    size = np.asarray(actor.size_m, np.float64)
    if size.shape == (3,) and np.all(size == 0.0):
        return None
    low, high = SIZE_RANGE_M
    if size.shape != (3,) or not np.all((size >= low) & (size <= high)):
        expected = f"length, width, height each from {low:g} to {high:g} m, or all zero for the asset's own size"
        return Fault(
            "actors.size",
            f"actor {_short(actor.id)}: expected {expected}, got {size.tolist()}; the actor is not drawn",
        )
    return float(size[0]), float(size[1]), float(size[2])


def _short(name: str) -> str:
    return repr(name) if len(name) <= 80 else repr(name[:77] + "...")
