"""Who else is on the street: a car ahead, oncoming traffic, a bus that gives way, people on foot.

Everything follows from the lanes and from how the ego moves, so that the same script works for any street.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from r3d2_ros.demo.collisions import without_collisions
from r3d2_ros.demo.drive import Drive, DriveActor, DriveTick, Moment
from r3d2_ros.demo.ego import EgoMotion
from r3d2_ros.demo.movers import Mover
from r3d2_ros.lines import Line
from r3d2_ros.street.lanes import Lanes

Size = tuple[float, float, float]

EGO_FRONT_M, EGO_HALF_WIDTH_M = 3.8, 0.95
"""From base_link to the front bumper, and to the side."""

LEAD_S, LEAD_M = 3.5, 9.0
"""The car ahead is where the ego will be after LEAD_S, and LEAD_M further."""

WALK_MPS, STROLL_MPS, CYCLE_MPS, CAR_MPS, BUS_MPS = 1.4, 1.2, 4.0, 8.0, 6.0
PULL_AWAY_MPS2, STOPPING_MPS2 = 1.2, 1.5
CLEAR_S = 0.8
"""The crossing pedestrian has left the ego's lane this long before the ego arrives."""

PERSON_M = 0.4
ZEBRA_HALF_M = 1.6
STANDSTILL_GAP_M = 3.0
CYCLIST_TO_KERB_M = 0.9
LATER_CARS_EVERY_S = 9.0
MOMENTS_PER_DRIVE = 12
SHOWN = {
    "car_white": (10.0, "oncoming car"),
    "van": (10.0, "oncoming van"),
    "cyclist": (8.0, "cyclist"),
    "bus": (15.0, "bus that gave way"),
}
"""Asset -> distance in metres at which it is worth a look, and what to write beside it."""

CAST = ("car_red", "car_white", "car_blue", "van", "bus", "cyclist", "pedestrian", "pedestrian_2")
"""Assets that the script uses, by their names in the library of the street."""


@dataclass(frozen=True, eq=False)
class Crossing:
    """The pedestrian's walk over the street, as seconds of the drive.

    in_lane  while in the ego's lane; cleared: after the lane beside it
    """

    walk: Mover
    in_lane: tuple[float, float]
    cleared_s: float


def make_drive(name: str, motion: EgoMotion, lanes: Lanes, sizes: Mapping[str, Size]) -> Drive:
    """The drive of an ego with all other road users. `sizes` are those of the assets in CAST."""
    ego_lane, oncoming = Line(lanes.ego), Line(lanes.oncoming)
    crossing_line = _crossing_line(motion, lanes, ego_lane)
    place = Line(crossing_line).at(Line(crossing_line).length_m / 2)
    arrival = motion.time_at(ego_lane.project(place) - EGO_FRONT_M - ZEBRA_HALF_M)
    arrival = motion.duration_s * 0.7 if arrival is None else arrival
    crossing = _crossing(Line(crossing_line), ego_lane, oncoming, arrival)
    wanted = [
        Mover("lead_car", "car_red", ego_lane, lambda t: motion.s_of(t + LEAD_S) + LEAD_M),
        crossing.walk,
        *_oncoming(motion, ego_lane, oncoming, arrival),
        *_giving_way(oncoming, oncoming.project(place), crossing, sizes),
        *_strollers(motion, ego_lane, lanes, arrival),
    ]
    movers = without_collisions(wanted, motion, sizes)
    ticks = tuple(
        DriveTick(stamp_ns, pose, _speed(motion, k), _actors(movers, motion.seconds(k)))
        for k, (stamp_ns, pose) in enumerate(zip(motion.stamps_ns, motion.poses, strict=True))
    )
    return Drive(name, ticks, _moments(motion, ego_lane, movers, crossing))


def _actors(movers: Sequence[Mover], t: float) -> tuple[DriveActor, ...]:
    return tuple(actor for mover in movers if (actor := mover.at(t)) is not None)


def _speed(motion: EgoMotion, tick: int) -> float:
    t = motion.seconds(tick)
    return (motion.s_of(t + 0.05) - motion.s_of(t - 0.05)) / 0.1


def _crossing_line(motion: EgoMotion, lanes: Lanes, ego_lane: Line) -> np.ndarray:
    """The zebra crossing where the ego gets there; else straight across the street on the ego's way."""
    zebra_m = ego_lane.project(lanes.crossing.mean(axis=0))
    first, last = motion.s_of(0.0), motion.s_of(motion.duration_s)
    if first + 20.0 <= zebra_m <= last - 2.0:
        return lanes.crossing
    place = ego_lane.at(max(first + 20.0, first + 0.7 * (last - first)))
    right, left = (Line(pavement) for pavement in lanes.pavements)
    return np.stack([right.at(right.project(place)), left.at(left.project(place))])


def _crossing(line: Line, ego_lane: Line, oncoming: Line, arrival: float) -> Crossing:
    """The walk from the right to the left, over the ego's lane in time for the ego at `arrival`."""
    half = EGO_HALF_WIDTH_M + PERSON_M
    lane_m = line.project(ego_lane.at(ego_lane.project(line.at(line.length_m / 2))))
    beside_m = line.project(oncoming.at(oncoming.project(line.at(line.length_m / 2))))
    start = arrival - CLEAR_S - (lane_m + half) / WALK_MPS

    def s_of(t: float) -> float:
        return min(max(0.0, WALK_MPS * (t - start)), line.length_m)

    return Crossing(
        walk=Mover("pedestrian_crossing", "pedestrian", line, s_of),
        in_lane=(start + (lane_m - half) / WALK_MPS, start + (lane_m + half) / WALK_MPS),
        cleared_s=start + (beside_m + half) / WALK_MPS,
    )


def _oncoming(motion: EgoMotion, ego_lane: Line, oncoming: Line, arrival: float) -> list[Mover]:
    """A car and a cyclist before the crossing, and after it a vehicle every LATER_CARS_EVERY_S."""

    def meeting(name: str, asset: str, t_meet: float, speed: float) -> Mover:
        place_m = oncoming.project(ego_lane.at(motion.s_of(t_meet) + EGO_FRONT_M / 2))
        return Mover(name, asset, oncoming, lambda t: place_m + speed * (t - t_meet))

    movers = [
        meeting("oncoming_car", "car_white", 0.25 * arrival, CAR_MPS),
        replace(
            meeting("oncoming_cyclist", "cyclist", 0.7 * arrival, CYCLE_MPS),
            line=oncoming.shifted_left(-CYCLIST_TO_KERB_M),
        ),
    ]
    first = arrival + LATER_CARS_EVERY_S
    for k, t_meet in enumerate(np.arange(first, motion.duration_s, LATER_CARS_EVERY_S), start=1):
        movers.append(meeting(f"oncoming_{k}", "van" if k % 2 else "car_white", float(t_meet), BUS_MPS))
    return movers


def _giving_way(oncoming: Line, zebra_m: float, crossing: Crossing, sizes: Mapping[str, Size]) -> list[Mover]:
    """A bus and a car behind it stop before the crossing and stand until the pedestrian has passed."""
    bus_m = zebra_m - ZEBRA_HALF_M - STANDSTILL_GAP_M - sizes["bus"][0] / 2
    car_m = bus_m - sizes["bus"][0] / 2 - STANDSTILL_GAP_M - sizes["car_blue"][0] / 2
    stop_s, go_s = crossing.in_lane[0] - 0.5, crossing.cleared_s
    return [
        Mover("waiting_bus", "bus", oncoming, _stop_and_go(bus_m, stop_s, go_s + 0.3)),
        Mover("waiting_car", "car_blue", oncoming, _stop_and_go(car_m, stop_s + 0.5, go_s + 1.3)),
    ]


def _stop_and_go(stand_m: float, stop_s: float, go_s: float) -> Callable[[float], float]:
    """At BUS_MPS, standing at `stand_m` from `stop_s` to `go_s`, and at BUS_MPS again."""

    def away_m(seconds: float, rate_mps2: float) -> float:
        changing = min(seconds, BUS_MPS / rate_mps2)
        return 0.5 * rate_mps2 * changing**2 + BUS_MPS * (seconds - changing)

    def s_of(t: float) -> float:
        return stand_m - away_m(max(0.0, stop_s - t), STOPPING_MPS2) + away_m(max(0.0, t - go_s), PULL_AWAY_MPS2)

    return s_of


def _strollers(motion: EgoMotion, ego_lane: Line, lanes: Lanes, arrival: float) -> list[Mover]:
    """Somebody on each footway: on the right towards the ego, on the left along with it."""
    right, left = Line(lanes.pavements[0][::-1]), Line(lanes.pavements[1])

    def passed(line: Line, t: float) -> float:
        return line.project(ego_lane.at(motion.s_of(t) + EGO_FRONT_M))

    right_m, left_m = passed(right, 0.15 * arrival), passed(left, 0.45 * arrival)
    return [
        Mover("walker_right", "pedestrian_2", right, lambda t: right_m + STROLL_MPS * (t - 0.15 * arrival)),
        Mover("walker_left", "pedestrian", left, lambda t: left_m + STROLL_MPS * (t - 0.45 * arrival)),
    ]


def _moments(motion: EgoMotion, ego_lane: Line, movers: Sequence[Mover], crossing: Crossing) -> tuple[Moment, ...]:
    """What the contact sheet shows, in order of time and not too close together."""
    wanted = [(sum(crossing.in_lane) / 2, "pedestrian crosses")]
    for mover in movers:
        if mover.asset in SHOWN:
            gap_m, label = SHOWN[mover.asset]
            t = _seconds_before(motion, ego_lane, mover, gap_m)
            wanted += [(t, label)] if t is not None else []
    seconds = np.array([motion.seconds(k) for k in range(len(motion.stamps_ns))])
    moments: list[Moment] = []
    for t, label in sorted(wanted):
        tick = int(np.argmin(np.abs(seconds - t)))
        if 0.0 <= t <= motion.duration_s and (
            not moments or t - seconds[moments[-1].tick] >= motion.duration_s / MOMENTS_PER_DRIVE
        ):
            moments.append(Moment(tick, label))
    return tuple(moments)


def _seconds_before(motion: EgoMotion, ego_lane: Line, mover: Mover, gap_m: float) -> float | None:
    """When the ego's front first is less than `gap_m` away from the mover; None when it never is."""
    for t in np.arange(0.0, motion.duration_s, 0.05):
        front_m = motion.s_of(float(t)) + EGO_FRONT_M
        if ego_lane.project(mover.line.at(mover.s_of(float(t)))) - front_m < gap_m:
            return float(t)
    return None
