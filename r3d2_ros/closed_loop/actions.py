"""What the loop asks its driver to do, and what the driver answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from r3d2_ros.closed_loop.traffic import PlacedActor
from r3d2_ros.closed_loop.vehicle import VehicleState
from r3d2_ros.geometry import Rigid
from r3d2_ros.simulator import FrameSet
from r3d2_ros.world import ActorState, EgoState, WorldState

Phase = Literal["startup", "warmup", "engage", "drive"]


@dataclass(frozen=True)
class Snapshot:
    """The world at one tick. t_s: scenario time, 0 at the beginning of the warm-up and during the start-up.

    ids  every actor of the run so far: an actor's number in the instance images is its place here, from 1 on
    """

    stamp_ns: int
    t_s: float
    phase: Phase
    ego: VehicleState
    T_world_ego: Rigid
    actors: tuple[PlacedActor, ...]
    ids: tuple[str, ...]

    def world_state(self) -> WorldState:
        """What a frame set of this moment is a function of."""
        number = {name: k for k, name in enumerate(self.ids, start=1)}
        actors = tuple(
            ActorState(a.id, a.actor.asset, a.T_world_actor, a.actor.size_m, instance=number[a.id])
            for a in self.actors
        )
        ego = EgoState(self.stamp_ns, self.T_world_ego)
        return WorldState(self.stamp_ns, ego, actors, self.ids)


@dataclass(frozen=True)
class Gate:
    """Time is about to go on: a driver that can be paused waits here."""


@dataclass(frozen=True)
class Tick:
    """Make it the snapshot's time: clock, transforms, odometry, actors. A driver with a wall clock paces itself."""

    snapshot: Snapshot


@dataclass(frozen=True)
class Frame:
    """Make and publish the frame set of the tick before; the answer carries its facts."""

    snapshot: Snapshot


@dataclass(frozen=True)
class Wait:
    """Wait until there is a command for the frame at `stamp_ns`, at most `timeout_s` of wall time."""

    stamp_ns: int
    timeout_s: float


Action = Gate | Tick | Frame | Wait


@dataclass(frozen=True)
class FrameFacts:
    """What the log keeps of a frame set. Distances as in `simulator.FrameSet`.

    hashes    camera -> content hash
    failures  camera that was due and has no picture -> why; such a run ends
    """

    hashes: Mapping[str, str]
    off_path_m: float
    off_path_deg: float
    out_of_bounds_m: float
    render_ms: float = 0.0
    failures: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, frame_set: FrameSet) -> FrameFacts:
        return cls(
            hashes={frame.camera.name: frame.content_hash for frame in frame_set.frames},
            off_path_m=frame_set.off_path_m,
            off_path_deg=frame_set.off_path_deg,
            out_of_bounds_m=frame_set.out_of_bounds_m,
            render_ms=sum(frame.render_ms + frame.harmonize_ms for frame in frame_set.frames),
            failures={failure.camera.name: failure.reason for failure in frame_set.failures},
        )


@dataclass(frozen=True)
class Done:
    """An action is done, at `wall_s` of the driver's monotonic clock."""

    wall_s: float
    frame: FrameFacts | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. infrastructure: it says nothing about how the stack drives."""

    reason: str
    detail: str = ""
    infrastructure: bool = False
    with_actors: tuple[str, ...] = field(default=())
