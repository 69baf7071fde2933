"""The actors and the ego of a run as entities: name, kind, box and true motion in the map."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from r3d2_ros.boxes import Size
from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.entities import World
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.simulation_codes import Category
from r3d2_ros.closed_loop.traffic import PlacedActor, Traffic
from r3d2_ros.geometry import Array, Rigid

EGO = "ego"
HUMANS = ("pedestrian", "person")
MOVING = (
    "animal", "bicycle", "bus", "car", "cyclist", "motorcycle", "rider", "trailer", "truck", "van", "vehicle",
)  # fmt: skip


def still() -> Array:
    return np.zeros(3)


@dataclass(frozen=True, eq=False)
class Entity:
    """One of them. linear and angular velocity, and their changes, [3] each, in the axes of the map.

    centre_m  how far the box's centre is ahead of the origin, which is on the ground
    """

    name: str
    category: Category
    description: str
    tags: tuple[str, ...]
    size_m: Size
    T_world_entity: Rigid
    centre_m: float = 0.0
    linear_mps: Array = field(default_factory=still)
    angular_radps: Array = field(default_factory=still)
    linear_mps2: Array = field(default_factory=still)
    angular_radps2: Array = field(default_factory=still)

    @property
    def box_m(self) -> tuple[Array, Array]:
        """Lower and upper corner [3] of the box in the entity's own frame."""
        return box_corners(self.size_m, self.centre_m)


def box_corners(size_m: Size, centre_m: float = 0.0) -> tuple[Array, Array]:
    """Lower and upper corner [3] of a box whose origin is on the ground, `centre_m` behind its centre."""
    low = np.array([centre_m - size_m[0] / 2, -size_m[1] / 2, 0.0])
    return low, low + size_m


def entities(plan: RunPlan, world: World, scripted: frozenset[str]) -> tuple[Entity, ...]:
    """The ego, then the actors in the run's order. scripted: names of the scenario's own."""
    before = {actor.id: actor for actor in world.before.actors} if world.before is not None else {}
    seconds = _seconds(world)
    placed = world.traffic.placed(world.state)
    actors = (_actor(actor, before.get(actor.id), seconds, actor.id in scripted) for actor in placed)
    return (_ego(plan, world.snapshot), *actors)


def entity(plan: RunPlan, world: World, scripted: frozenset[str], name: str) -> Entity | None:
    """The one of that name, without looking at the others."""
    if name == EGO:
        return _ego(plan, world.snapshot)
    actor = next((actor for actor in world.traffic.actors if actor.id == name), None)
    if actor is None:
        return None
    (placed,) = Traffic((actor,)).placed(world.state)
    earlier = () if world.before is None else world.before.actors
    before = next((actor for actor in earlier if actor.id == name), None)
    return _actor(placed, before, _seconds(world), name in scripted)


def _seconds(world: World) -> float:
    """Between the newest moment and the one before it; 0 without them."""
    if world.snapshot is None or world.before is None:
        return 0.0
    return (world.snapshot.stamp_ns - world.before.stamp_ns) * 1e-9


def category_of(asset_category: str) -> Category:
    """The entity's category of an asset's."""
    if asset_category in HUMANS:
        return Category.HUMAN
    return Category.DYNAMIC_OBJECT if asset_category in MOVING else Category.OBJECT


def _actor(now: PlacedActor, before: PlacedActor | None, seconds: float, scripted: bool) -> Entity:
    actor, T = now.actor, now.T_world_actor
    linear = now.speed_mps * T.rotation[:, 0]
    angular, change = still(), still()
    # An actor that was moved by a request is another plan: the jump is no motion.
    if before is not None and before.actor is actor and seconds > 0.0:
        turn = math.remainder(T.yaw_rad - before.T_world_actor.yaw_rad, math.tau)
        angular = np.array([0.0, 0.0, turn / seconds])
        change = (linear - before.speed_mps * before.T_world_actor.rotation[:, 0]) / seconds
    return Entity(
        name=actor.id,
        category=category_of(actor.category),
        description=f"{actor.category or 'object'}, asset {actor.asset}",
        tags=tuple(dict.fromkeys(filter(None, (actor.category, actor.asset, "scenario" if scripted else "spawned")))),
        size_m=actor.size_m,
        T_world_entity=T,
        linear_mps=linear,
        angular_radps=angular,
        linear_mps2=change,
    )


def _ego(plan: RunPlan, snapshot: Snapshot | None) -> Entity:
    vehicle, state = plan.vehicle, plan.start if snapshot is None else snapshot.ego
    T = plan.reference.pose(state, near_m=plan.reference.s_at(0.0)) if snapshot is None else snapshot.T_world_ego
    turning = state.speed_mps * math.tan(state.steer_rad) / vehicle.wheelbase_m
    ahead, left, up = T.rotation.T
    return Entity(
        name=EGO,
        category=Category.ROBOT,
        description=f"the vehicle under test ({vehicle.name}), origin at the rear axle on the ground",
        tags=(EGO,),
        size_m=(vehicle.length_m, vehicle.width_m, vehicle.height_m),
        T_world_entity=T,
        centre_m=vehicle.centre_m,
        linear_mps=state.speed_mps * ahead,
        angular_radps=turning * up,
        linear_mps2=state.acceleration_mps2 * ahead + state.speed_mps * turning * left,
    )
