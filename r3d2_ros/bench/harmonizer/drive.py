"""A drive along the embedded street with as many actors as wanted, all of them near the ego all the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from r3d2_ros.demo.drive import Drive, DriveActor, DriveTick
from r3d2_ros.lines import Line
from r3d2_ros.street.lanes import Lanes
from r3d2_ros.world import ActorState, EgoState, WorldState

CARS = ("car_white", "car_red", "van", "car_blue", "bus")
WALKERS = ("pedestrian", "pedestrian_2")
"""Names in the library of the embedded street."""

ORDER = ("oncoming", "ahead", "right", "oncoming", "left", "oncoming", "behind")
"""Where the actors go, in turn: the lane beside the ego's, its own before and behind it, the footways."""

SPEED_MPS, ONCOMING_MPS, WALK_MPS = 8.0, 8.0, 1.4
BEHIND_M, AHEAD_M = 50.0, 70.0
"""Actors that the ego meets come again at AHEAD_M when they are BEHIND_M behind it."""

FIRST_GAP_M, GAP_M = 12.0, 11.0
START_M, END_M = 15.0, 15.0
"""The ego starts and stops so far from the ends of its lane."""

START_NS = 10_000_000_000
"""A stamp of zero would mean `no stamp` to many ROS programs."""


def rig_drive(lanes: Lanes, *, ticks: int, rate_hz: float, actors: int) -> Drive:
    """`ticks` ticks at `rate_hz` along the lane, at 8 m/s or what the street is long enough for."""
    lines = {
        "ego": Line(lanes.ego),
        "oncoming": Line(lanes.oncoming),
        "right": Line(lanes.pavements[0][::-1]),
        "left": Line(lanes.pavements[1]),
    }
    length_m = lines["ego"].length_m - START_M - END_M
    speed = min(SPEED_MPS, length_m * rate_hz / max(ticks - 1, 1))
    places = [ORDER[k % len(ORDER)] for k in range(actors)]
    return Drive(
        "a drive with actors all around",
        tuple(_tick(k, k / rate_hz, speed, lines, places) for k in range(ticks)),
    )


def _tick(tick: int, t: float, speed: float, lines: Mapping[str, Line], places: Sequence[str]) -> DriveTick:
    ego_m = START_M + speed * t
    count = {place: places.count(place) for place in set(places)}
    seen: dict[str, int] = {}
    actors = []
    for number, place in enumerate(places):
        k = seen[place] = seen.get(place, -1) + 1
        name, line, s_m, v = _place(place, k, count[place], t=t, ego_m=ego_m, speed=speed, lines=lines)
        actors.append(DriveActor(f"{place}_{k}", _asset(name, number), line.pose(s_m), v))
    stamp_ns = START_NS + round(t * 1e9)
    return DriveTick(stamp_ns, lines["ego"].pose(ego_m), speed, tuple(actors))


def _place(
    place: str, k: int, count: int, *, t: float, ego_m: float, speed: float, lines: Mapping[str, Line]
) -> tuple[str, Line, float, float]:
    """Kind, line, distance along it and speed of the k-th of `count` actors that go at `place`."""
    if place in ("ahead", "behind"):
        gap_m = FIRST_GAP_M + GAP_M * k
        return "car", lines["ego"], ego_m + (gap_m if place == "ahead" else -gap_m), speed
    line = lines[place]
    kind, v = ("car", ONCOMING_MPS) if place == "oncoming" else ("walker", WALK_MPS)
    beside_m = line.project(lines["ego"].at(ego_m))
    passed_m = beside_m - line.project(lines["ego"].at(START_M))
    # Along its own line an actor that comes towards the ego starts AHEAD_M before it.
    begin_m, span_m = -BEHIND_M if place == "left" else -AHEAD_M, BEHIND_M + AHEAD_M
    offset_m = span_m * (k + 0.5) / count + v * t - passed_m
    return kind, line, beside_m + begin_m + offset_m % span_m, v


def _asset(kind: str, number: int) -> str:
    names = CARS if kind == "car" else WALKERS
    return names[number % len(names)]


def world_states(drive: Drive) -> list[WorldState]:
    """The states that the node has at the drive's ticks: actors numbered from 1 in order of appearance."""
    ids = drive.actor_ids
    numbers = {actor_id: number for number, actor_id in enumerate(ids, start=1)}
    return [
        WorldState(
            tick.stamp_ns,
            EgoState(tick.stamp_ns, tick.T_world_ego),
            tuple(ActorState(a.id, a.asset, a.T_world_actor, instance=numbers[a.id]) for a in tick.actors),
            ids,
        )
        for tick in drive.ticks
    ]
