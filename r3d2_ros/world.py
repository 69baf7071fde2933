"""World state: the ego vehicle and the actors at one stamp. Frames: REP-105 map and base_link; float64."""

from __future__ import annotations

from dataclasses import dataclass

from r3d2_ros.geometry import Rigid


@dataclass(frozen=True)
class EgoState:
    """Pose of base_link (rear axle on the ground; x forward, y left, z up) in map at `stamp_ns`."""

    stamp_ns: int
    T_world_ego: Rigid


@dataclass(frozen=True)
class ActorState:
    """One actor: an instance of an asset, its frame at the ground centre of its box (x forward, z up).

    size_m    (length, width, height) that replaces the asset's own, or None
    instance  number of the actor in the instance image, >= 1, stable within a run
    """

    id: str
    asset: str
    T_world_actor: Rigid
    size_m: tuple[float, float, float] | None = None
    instance: int = 0


@dataclass(frozen=True)
class WorldState:
    """Everything a frame set is a function of.

    instance_ids: entry k-1 is the id of the actor with instance k, or empty when that is none of `actors`.
    """

    stamp_ns: int
    ego: EgoState
    actors: tuple[ActorState, ...] = ()
    instance_ids: tuple[str, ...] = ()
