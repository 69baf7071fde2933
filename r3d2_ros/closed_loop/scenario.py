"""The keys of a scenario file. `config/scenarios/reference.yaml` shows each with its default and meaning."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from r3d2_ros.errors import InputError
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.schema import STRICT, Number

Metres = Annotated[Number, Field(ge=-MAX_COORDINATE_M, le=MAX_COORDINATE_M)]
Distance = Annotated[Number, Field(ge=0, le=1e6)]
Degrees = Annotated[Number, Field(ge=-360, le=360)]
Seconds = Annotated[Number, Field(ge=0, le=86_400)]
Speed = Annotated[Number, Field(ge=0, le=150)]
Rate = Annotated[Number, Field(gt=0, le=1000)]
Positive = Annotated[Number, Field(gt=0, le=1e6)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
SizeM = Annotated[Number, Field(gt=0, le=1000)]

REFERENCE_LANE = "reference"
"""Name of the ego's own reference path among the lanes, as it is before its jitter; it begins at the ego's start."""


# Where things are


@dataclass(frozen=True, kw_only=True)
class LanePlace:
    """A place `s_m` along a lane and `left_m` beside it; `heading_deg` against the lane's direction."""

    __pydantic_config__ = STRICT
    lane: Annotated[str, Field(min_length=1)]
    s_m: Metres
    left_m: Metres = 0.0
    heading_deg: Degrees = 0.0


@dataclass(frozen=True, kw_only=True)
class MapPlace:
    """A place in the map: ground centre of the box."""

    __pydantic_config__ = STRICT
    x: Metres
    y: Metres
    z: Metres = 0.0
    yaw_deg: Degrees = 0.0


def _kind_of_place(value: Any) -> str:
    return "lane" if isinstance(value, LanePlace) or (isinstance(value, dict) and "lane" in value) else "map"


Place = Annotated[
    Annotated[LanePlace, Tag("lane")] | Annotated[MapPlace, Tag("map")], Discriminator(_kind_of_place)
]


@dataclass(frozen=True, kw_only=True)
class ReferencePath:
    """The path that the ego is meant to drive: exactly one of lane, points and file. It begins at the ego's start."""

    __pydantic_config__ = STRICT
    lane: str = ""
    from_m: Metres = 0.0
    to_m: Metres | None = None
    points: list[tuple[Metres, Metres] | tuple[Metres, Metres, Metres]] = field(default_factory=list)
    times_s: list[Seconds] = field(default_factory=list)
    file: str = ""

    def __post_init__(self) -> None:
        if sum((bool(self.lane), bool(self.points), bool(self.file))) != 1:
            raise ValueError("exactly one of lane, points and file")
        if self.points and len(self.points) < 2:
            raise ValueError("at least two points")
        if self.times_s and len(self.times_s) != len(self.points):
            raise ValueError(f"one of times_s for each of the {len(self.points)} points, got {len(self.times_s)}")
        if self.times_s and any(b <= a for a, b in zip(self.times_s, self.times_s[1:], strict=False)):
            raise ValueError("times_s that increase")


# Who moves how


@dataclass(frozen=True, kw_only=True)
class Start:
    """When an actor starts: at a time, when the ego's box is near, or so that it meets the ego on its reference."""

    __pydantic_config__ = STRICT
    time_s: Seconds | None = None
    distance_m: Distance | None = None
    meets_reference: bool = False

    def __post_init__(self) -> None:
        if sum((self.time_s is not None, self.distance_m is not None, self.meets_reference)) != 1:
            raise ValueError("exactly one of time_s, distance_m and meets_reference: true")


@dataclass(frozen=True, kw_only=True)
class Parked:
    __pydantic_config__ = STRICT
    kind: Literal["parked"] = "parked"


@dataclass(frozen=True, kw_only=True)
class ConstantVelocity:
    """Straight ahead from `place`. Without `start` it moves from the beginning; until a start it stands."""

    __pydantic_config__ = STRICT
    kind: Literal["constant_velocity"]
    speed_mps: Annotated[Speed, Field(gt=0)]
    start: Start | None = None


@dataclass(frozen=True, kw_only=True)
class FollowPath:
    """Along a smooth curve through `points`, standing before its start and after its end.

    frame  'map' ([x, y] or [x, y, z]) or a lane ([s, left])
    Either speed_mps, reached from standstill with acceleration_mps2 (0: at once), or times_s, one for each point.
    """

    __pydantic_config__ = STRICT
    kind: Literal["path"]
    points: Annotated[
        list[tuple[Metres, Metres] | tuple[Metres, Metres, Metres]], Field(min_length=2, max_length=100_000)
    ]
    frame: str = "map"
    speed_mps: Annotated[Speed, Field(gt=0)] | None = None
    acceleration_mps2: Annotated[Number, Field(ge=0, le=50)] = 0.0
    times_s: list[Seconds] = field(default_factory=list)
    start: Start | None = None

    def __post_init__(self) -> None:
        if (self.speed_mps is None) == (not self.times_s):
            raise ValueError("either speed_mps or times_s")
        if self.times_s and len(self.times_s) != len(self.points):
            raise ValueError(f"one of times_s for each of the {len(self.points)} points, got {len(self.times_s)}")
        if any(b <= a for a, b in zip(self.times_s, self.times_s[1:], strict=False)):
            raise ValueError("times_s that increase")
        if self.times_s and self.start is not None and self.start.meets_reference:
            raise ValueError("speed_mps with meets_reference: the meeting decides the times")


@dataclass(frozen=True, kw_only=True)
class IdmFollower:
    """Along its lane behind whatever is ahead on it, ego or actor (Treiber, Hennecke, Helbing 2000).

    `place` must name the lane. It begins with speed_mps; `start` holds it there until then.
    """

    __pydantic_config__ = STRICT
    kind: Literal["idm"]
    desired_speed_mps: Annotated[Speed, Field(gt=0)]
    speed_mps: Speed | None = None
    time_headway_s: Annotated[Number, Field(gt=0, le=20)] = 1.5
    min_gap_m: Distance = 2.0
    acceleration_mps2: Annotated[Number, Field(gt=0, le=20)] = 1.5
    braking_mps2: Annotated[Number, Field(gt=0, le=20)] = 2.0
    start: Start | None = None

    def __post_init__(self) -> None:
        if self.start is not None and self.start.meets_reference:
            raise ValueError("a start by time_s or distance_m: a follower adapts its speed, so no meeting can be set")


def _kind_of_motion(value: Any) -> Any:
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


Motion = Annotated[
    Annotated[Parked, Tag("parked")]
    | Annotated[ConstantVelocity, Tag("constant_velocity")]
    | Annotated[FollowPath, Tag("path")]
    | Annotated[IdmFollower, Tag("idm")],
    Discriminator(
        _kind_of_motion,
        custom_error_type="kind_of_motion",
        custom_error_message="keys with a kind: parked, constant_velocity, path or idm",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """Random changes, drawn for each seed: uniform within +- the value, or normal with it as standard deviation."""

    __pydantic_config__ = STRICT
    longitudinal_m: Distance = 0.0
    lateral_m: Distance = 0.0
    yaw_deg: Annotated[Number, Field(ge=0, le=180)] = 0.0
    speed_mps: Speed = 0.0
    uniform: bool = True


@dataclass(frozen=True, kw_only=True)
class ActorKeys:
    """One actor. `place` may be left out for a path, whose first point it is."""

    __pydantic_config__ = STRICT
    id: Annotated[str, Field(min_length=1, max_length=200)]
    asset: Annotated[str, Field(min_length=1)]
    place: Place | None = None
    motion: Motion = field(default_factory=Parked)
    size_m: tuple[SizeM, SizeM, SizeM] | None = None
    target: bool = False
    jitter: Jitter = field(default_factory=Jitter)

    def __post_init__(self) -> None:
        if self.place is None and self.motion.kind != "path":
            raise ValueError("a place")
        if self.place is not None and self.motion.kind == "path":
            raise ValueError("no place: a path begins at its first point")
        if self.motion.kind == "idm" and not isinstance(self.place, LanePlace):
            raise ValueError("a place on a lane, which the follower follows")
        if self.motion.kind in ("idm", "path") and self.jitter.yaw_deg:
            raise ValueError(f"no yaw_deg in the jitter of a {self.motion.kind}, whose heading is that of its line")


@dataclass(frozen=True, kw_only=True)
class EgoKeys:
    __pydantic_config__ = STRICT
    reference: ReferencePath
    speed_mps: Speed | None = None
    vehicle: str = "car"
    jitter: Jitter = field(default_factory=Jitter)

    def __post_init__(self) -> None:
        if (self.speed_mps is None) != bool(self.reference.times_s):
            raise ValueError("either speed_mps or a reference with times_s")
        jitter = self.jitter
        if self.reference.times_s and (jitter.longitudinal_m or jitter.lateral_m or jitter.speed_mps):
            raise ValueError("no jitter of an ego whose reference has times_s, which say where it is when")
        if self.jitter.yaw_deg:
            raise ValueError("no yaw_deg in the ego's jitter: the ego begins along its reference path")


# How a run goes


@dataclass(frozen=True, kw_only=True)
class Phases:
    __pydantic_config__ = STRICT
    startup_timeout_s: Positive = 60.0
    warmup_s: Seconds = 1.0
    engage_timeout_s: Positive = 5.0


@dataclass(frozen=True, kw_only=True)
class ClockKeys:
    __pydantic_config__ = STRICT
    clock_rate_hz: Rate = 100.0
    frame_rate_hz: Rate = 10.0
    rtf_max: Annotated[Number, Field(ge=0, le=1000)] = 1.0

    def __post_init__(self) -> None:
        if self.ticks_per_frame < 1 or abs(self.clock_rate_hz / self.frame_rate_hz - self.ticks_per_frame) > 1e-9:
            raise ValueError("a clock_rate_hz that is a whole multiple of frame_rate_hz")
        if 1e9 % self.clock_rate_hz:
            raise ValueError("a clock_rate_hz whose period is a whole number of nanoseconds, such as 50, 100 or 200")

    @property
    def ticks_per_frame(self) -> int:
        return round(self.clock_rate_hz / self.frame_rate_hz)

    @property
    def tick_ns(self) -> int:
        return round(1e9 / self.clock_rate_hz)


@dataclass(frozen=True, kw_only=True)
class ControlKeys:
    __pydantic_config__ = STRICT
    wait: bool = True
    max_age_s: Seconds = 0.0
    timeout_s: Positive = 1.0
    on_miss: Literal["hold", "stop", "abort"] = "hold"
    max_misses: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    path_spacing_s: Positive = 0.5


@dataclass(frozen=True, kw_only=True)
class EndKeys:
    __pydantic_config__ = STRICT
    duration_s: Positive
    on_collision: bool = True
    after_collision_s: Seconds = 0.3
    at_goal: bool = True
    off_reference_m: Positive = 10.0
    standstill_s: Seconds = 0.0


@dataclass(frozen=True, kw_only=True)
class Validity:
    __pydantic_config__ = STRICT
    off_path_m: Positive = 3.0
    off_path_deg: Annotated[Number, Field(gt=0, le=180)] = 30.0
    max_share: Annotated[Number, Field(ge=0, le=1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What a run must fulfil to pass. What is left out is not asked for."""

    __pydantic_config__ = STRICT
    no_collision: bool = False
    on_road: bool = False
    neuroncap_min: Annotated[Number, Field(ge=0, le=5)] | None = None
    hd_score_min: Annotated[Number, Field(ge=0, le=1)] | None = None
    alpasim_min: Annotated[Number, Field(ge=0, le=1)] | None = None
    ttc_min_s: Seconds | None = None
    distance_min_m: Distance | None = None
    progress_min: Annotated[Number, Field(ge=0, le=1)] | None = None
    deceleration_max_mps2: Positive | None = None
    jerk_max_mps3: Positive | None = None
    misses_max: Annotated[int, Field(ge=0)] | None = None


@dataclass(frozen=True, kw_only=True)
class Vary:
    """Every combination becomes a run; what is left out keeps the scenario's own value."""

    __pydantic_config__ = STRICT
    asset: list[str] = field(default_factory=list)
    offset_m: list[Metres] = field(default_factory=list)
    speed_mps: list[Speed] = field(default_factory=list)
    seed: list[Annotated[int, Field(ge=0, lt=2**32)]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A whole scenario file."""

    __pydantic_config__ = STRICT
    name: Name = "scenario"
    type: Name = "other"
    description: str = ""
    sim: dict[str, Any] = field(default_factory=dict)
    ego: EgoKeys
    actors: Annotated[list[ActorKeys], Field(max_length=1000)] = field(default_factory=list)
    phases: Phases = field(default_factory=Phases)
    clock: ClockKeys = field(default_factory=ClockKeys)
    control: ControlKeys = field(default_factory=ControlKeys)
    end: EndKeys
    validity: Validity = field(default_factory=Validity)
    criteria: Annotated[Criteria, Field(alias="pass")] = field(default_factory=Criteria)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    vary: Vary = field(default_factory=Vary)

    def __post_init__(self) -> None:
        ids = [actor.id for actor in self.actors]
        if twice := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"an id of its own for each actor, got {', '.join(twice)} more than once")
        if "ego" in ids:
            raise ValueError("another id than 'ego' for an actor")
        if sum(actor.target for actor in self.actors) > 1:
            raise ValueError("at most one actor with target: true")
        if self.vary.speed_mps and self.ego.speed_mps is None:
            raise ValueError("an ego with speed_mps, which vary.speed_mps changes")
        if (self.vary.asset or self.vary.offset_m) and self.target is None:
            raise ValueError("an actor with target: true, which vary.asset and vary.offset_m change")
        if self.hand_over_s >= self.end.duration_s - 1e-6:
            expected = f"a warm-up that is over, at a frame set, before end.duration_s ({self.end.duration_s:g})"
            got = f"{self.phases.warmup_s:g}: the stack would take over at {self.hand_over_s:g} s"
            raise InputError("phases.warmup_s", expected, got, "Shorten the warm-up or lengthen the run")

    @property
    def hand_over_s(self) -> float:
        """When the stack takes over at the earliest: at the first frame set after the warm-up."""
        period_s = 1.0 / self.clock.frame_rate_hz
        return math.ceil(self.phases.warmup_s / period_s - 1e-6) * period_s

    @property
    def target(self) -> ActorKeys | None:
        """The actor that the scores are about, if there is one."""
        return next((actor for actor in self.actors if actor.target), None)
