"""The scenario's actors: a function of the scenario, its seed, the time, and what the ego has done so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from r3d2_ros.boxes import Size, box, gap_m
from r3d2_ros.closed_loop.motions import Following, Motion, Progress, Standing
from r3d2_ros.geometry import Array, Rigid


@dataclass(frozen=True, eq=False)
class PlannedActor:
    """An actor with everything drawn and resolved.

    starts_s         when it is at the beginning of its motion; None: when the ego's box is as near as `trigger_m`
    waits            whether it stands there until then, or comes from before it
    speed_mps        of a follower when it starts
    depends_on_ego   whether where it is can depend on what the ego does
    """

    id: str
    asset: str
    category: str
    size_m: Size
    target: bool
    motion: Motion
    starts_s: float | None = 0.0
    trigger_m: float = 0.0
    waits: bool = True
    speed_mps: float = 0.0

    @property
    def depends_on_ego(self) -> bool:
        return self.starts_s is None or isinstance(self.motion, Following)


@dataclass(frozen=True)
class PlacedActor:
    """An actor at one moment; its speed is along x."""

    actor: PlannedActor
    T_world_actor: Rigid
    speed_mps: float

    @property
    def id(self) -> str:
        return self.actor.id

    def box(self) -> Array:
        """Corners [4, 2] on the ground."""
        return box(self.T_world_actor, self.actor.size_m)


@dataclass(frozen=True)
class TrafficState:
    """The actors' progress at one moment, by id."""

    t_s: float
    progress: Mapping[str, Progress]


class Traffic:
    """The planned actors. It has no state of its own: `advance` takes one and gives the next."""

    def __init__(self, actors: tuple[PlannedActor, ...], ids: tuple[str, ...] = ()) -> None:
        self.actors = actors
        known = set(ids)
        self.ids = (*ids, *(actor.id for actor in actors if actor.id not in known))
        """Every actor of the run so far, in the order in which they appeared; those that are gone keep their place."""

    def with_actors(self, actors: tuple[PlannedActor, ...]) -> Traffic:
        """Other actors from now on."""
        return Traffic(actors, self.ids)

    def start(self) -> TrafficState:
        """The actors at t = 0."""
        return TrafficState(0.0, {actor.id: _at(actor, 0.0, actor.starts_s) for actor in self.actors})

    def advance(
        self, state: TrafficState, t_s: float, *, ego: tuple[Array, Rigid, float]
    ) -> TrafficState:
        """The actors at `t_s`, not before `state`; `ego`: corners [4, 2], pose and speed of the ego at `state`."""
        placed = self.placed(state)
        progress = {}
        for now in placed:
            actor, before = now.actor, state.progress[now.id]
            started = before.started_s
            if started is None and actor.starts_s is None and gap_m(now.box(), ego[0]) <= actor.trigger_m:
                started = state.t_s
            if isinstance(actor.motion, Following):
                others = [ego, *((p.box(), p.T_world_actor, p.speed_mps) for p in placed if p.id != now.id)]
                progress[now.id] = _follow(actor, actor.motion, before, started, others, (state.t_s, t_s))
            else:
                progress[now.id] = _at(actor, t_s, started)
        return TrafficState(t_s, progress)

    def placed(self, state: TrafficState) -> tuple[PlacedActor, ...]:
        """Every actor where it is."""
        return tuple(
            PlacedActor(actor, actor.motion.pose(progress), progress.speed_mps)
            for actor in self.actors
            for progress in (state.progress[actor.id],)
        )

    def planned(self, actor: PlannedActor, t_s: float) -> Rigid | None:
        """Where an actor will be at a time; None when that depends on the ego."""
        return None if actor.depends_on_ego else actor.motion.pose(_at(actor, t_s, actor.starts_s))


def _at(actor: PlannedActor, t_s: float, started_s: float | None) -> Progress:
    """Progress of a motion that depends on the time since its start alone, and of a follower before its first step."""
    motion = actor.motion
    waiting = started_s is None or (actor.waits and t_s < started_s)
    if isinstance(motion, Standing):
        return Progress(started_s, 0.0, 0.0)
    if isinstance(motion, Following):
        return Progress(started_s, motion.start_m, 0.0 if waiting else actor.speed_mps)
    if started_s is None or waiting:
        return Progress(started_s, motion.after(0.0)[0], 0.0)
    return Progress(started_s, *motion.after(t_s - started_s))


def _follow(
    actor: PlannedActor,
    motion: Following,
    before: Progress,
    started_s: float | None,
    others: list[tuple[Array, Rigid, float]],
    step: tuple[float, float],
) -> Progress:
    """One step, from and to the times in `step`; the first one after its start only gives it its speed."""
    if before.started_s is None or started_s is None or step[0] < started_s:
        return _at(actor, step[1], started_s)
    seconds = step[1] - step[0]
    wanted = motion.acceleration(before.speed_mps, motion.ahead(before.s_m, others))
    speed = max(0.0, before.speed_mps + wanted * seconds)
    return Progress(started_s, before.s_m + (before.speed_mps + speed) / 2 * seconds, speed)
