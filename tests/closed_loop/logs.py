"""Logs of runs that never happened: the ego and the actors are wherever a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, sin
from pathlib import Path
from typing import Any

from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from tests.closed_loop.small_world import plan

Row = Sequence[float]
EPOCH_NS = 20_000_000_000


def moving(x_m: float, y_m: float, yaw_rad: float, speed_mps: float) -> Callable[[float], list[float]]:
    """x, y, z, yaw, speed of something that goes straight on."""
    return lambda t: [x_m + speed_mps * cos(yaw_rad) * t, y_m + speed_mps * sin(yaw_rad) * t, 0.0, yaw_rad, speed_mps]


def straight_ego(speed_mps: float, x_m: float = 0.0, y_m: float = 0.0) -> Callable[[float], list[float]]:
    return lambda t: [x_m + speed_mps * t, y_m, 0.0, 0.0, speed_mps, 0.0, 0.0]


def write(
    path: Path,
    *,
    ego: Callable[[float], Row],
    actors: Mapping[str, Callable[[float], Row]] | None = None,
    seconds: float = 4.0,
    warmup_s: float = 0.0,
    off_path_m: Callable[[float], float] = lambda t: 0.0,
    plans: Callable[[float], list[list[float]]] | None = None,
    last: Mapping[str, Any] | None = None,
    scenario: Mapping[str, Any] | None = None,
) -> RunLog:
    """A log with a tick every 10 ms and a frame set every 100 ms. `actors` by the ids that `scenario` has."""
    planned = plan(**(scenario or {}))
    with LogWriter(path) as log:
        log.write("header", **header(planned, controller="test", renderer="none"))
        for k in range(round(seconds * 100) + 1):
            t, stamp = k / 100, EPOCH_NS + k * 10_000_000
            phase = "drive" if t >= warmup_s else "warmup"
            rows = {name: list(where(t)) for name, where in (actors or {}).items()}
            log.write("tick", stamp_ns=stamp, t_s=t, phase=phase, ego=list(ego(t)), actors=rows)
            if k % 10 == 0 and k < round(seconds * 100):
                log.write(
                    "frame",
                    stamp_ns=stamp,
                    t_s=t,
                    phase=phase,
                    index=k // 10,
                    hashes={"front": "0" * 32},
                    off_path_m=off_path_m(t),
                    off_path_deg=0.0,
                    out_of_bounds_m=0.0,
                )
                if plans is not None:
                    log.write("plan", stamp_ns=stamp, of_stamp_ns=stamp, points=plans(t))
        end: dict[str, Any] = {"reason": "duration", "detail": "", "infrastructure": False}
        end |= {"deterministic": True, "digest": "d", "refused": {}}
        log.write("end", stamp_ns=stamp, t_s=seconds, phase="drive", **{**end, **(last or {})})
    return read_log(path)
