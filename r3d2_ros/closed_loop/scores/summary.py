"""Everything that is said about a run, computed from its log: outcome, scores, margins, comfort, commands, verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from r3d2_ros.closed_loop.run_log import RunLog
from r3d2_ros.closed_loop.runs import RunSpec, configuration_hash
from r3d2_ros.closed_loop.scenario import Criteria
from r3d2_ros.closed_loop.scores.alpasim import alpasim, off_road_s
from r3d2_ros.closed_loop.scores.collisions import first_contact, margins, unseen
from r3d2_ros.closed_loop.scores.data import RunData, SceneFacts, Score, run_data
from r3d2_ros.closed_loop.scores.driving import comfort, finite_or_none, off_path, progress
from r3d2_ros.closed_loop.scores.hd import hd_score
from r3d2_ros.closed_loop.scores.neuroncap import neuroncap
from r3d2_ros.closed_loop.verdict import Figures, verdict
from r3d2_ros.errors import InputError
from r3d2_ros.schema import validate

DIGITS = 6


def summarise(log: RunLog, scene: SceneFacts, *, compat: bool = True) -> dict[str, Any]:
    """The summary of a run as JSON. compat: of the NeuroNCAP score.

    A run that broke off has no scores: they would say how the infrastructure did. InputError for a log whose records
    are not what a run writes.
    """
    try:
        return _summary(log, scene, compat=compat)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(str(log.path), "records as a run writes them", f"{type(error).__name__}: {error}") from error


def _summary(log: RunLog, scene: SceneFacts, *, compat: bool) -> dict[str, Any]:
    header, end = log.header, log.end
    broken = "" if end is not None and not end["infrastructure"] else _broken(log)
    summary: dict[str, Any] = {
        "run_id": header["run_id"],
        "scenario": header["scenario"],
        "type": header["type"],
        "seed": header["seed"],
        "variation": header["variation"],
        "group": header.get("group", ""),
        "controller": header["controller"],
        "configuration_hash": header["configuration_hash"],
        "outcome": {
            "reason": end["reason"] if end is not None else "cut_off",
            "detail": end["detail"] if end is not None else broken,
            "infrastructure": bool(broken),
            "t_s": end["t_s"] if end is not None else _last_time(log),
        },
        "deterministic": bool(end is not None and end["deterministic"]),
        "digest": end["digest"] if end is not None else None,
        "commands": _commands(log),
        "entities": [{name: record[name] for name in ("t_s", "edit", "id")} for record in log.of("entity")],
    }
    figures = Figures() if broken else _figures(run_data(log), scene, compat=compat)
    summary |= _described(figures, broken)
    criteria = validate(Criteria, header["configuration"]["scenario"]["criteria"], f"{log.path}: criteria")
    result = verdict(
        figures,
        criteria,
        max_share=header["configuration"]["scenario"]["validity"]["max_share"],
        misses=log.counts["miss"],
        broken=broken,
    )
    return summary | {"verdict": result.status, "reasons": list(result.reasons)}


def never_began(spec: RunSpec, *, controller: str, reason: str) -> dict[str, Any]:
    """The summary of a run of which there is no log."""
    return {
        "run_id": spec.run_id,
        "scenario": spec.scenario.name,
        "type": spec.scenario.type,
        "seed": spec.seed,
        "variation": spec.variation,
        "group": spec.group,
        "controller": controller,
        "configuration_hash": configuration_hash(spec),
        "outcome": {"reason": "never_began", "detail": reason, "infrastructure": True, "t_s": 0.0},
        "deterministic": False,
        "digest": None,
        "commands": {"consumed": 0, "misses": 0, "refused": {}, "latency_ms": None, "age_ms": None},
        **_described(Figures(), reason),
        "verdict": "error",
        "reasons": [reason],
    }


def _broken(log: RunLog) -> str:
    if log.end is None:
        where = f"after {_last_time(log):.2f} s"
        return f"the log ends {where} without a last record" + (", in the middle of a line" if log.cut else "")
    return f"{log.end['reason']}: {log.end['detail']}" if log.end["detail"] else str(log.end["reason"])


def _last_time(log: RunLog) -> float:
    ticks = log.of("tick")
    return float(ticks[-1]["t_s"]) if ticks else 0.0


def _figures(data: RunData, scene: SceneFacts, *, compat: bool) -> Figures:
    end = data.log.end
    contact = first_contact(data)
    # After a collision the run goes on for a moment, for a score whose boxes are smaller. The others end with it.
    whole, data = data, data if contact is None else data.until(contact.tick)
    room = margins(data)
    return Figures(
        collision_with=contact.actor.id if contact is not None else "",
        note=unseen(contact, float(data.t_s[contact.tick])) if contact is not None else "",
        beside=end["detail"] if end is not None and end["reason"] == "off_reference" else "",
        off_road_s=off_road_s(data, scene.lane_map),
        neuroncap=neuroncap(data, compat=compat),
        hd=hd_score(data, scene),
        alpasim=alpasim(whole, scene.lane_map),
        distance_m=room.distance_m,
        ttc_s=room.ttc_s,
        progress=progress(data),
        comfort=comfort(data),
        off_path=off_path(data, data.header["configuration"]["scenario"]["validity"]),
        actors=bool(data.actors),
    )


def _described(figures: Figures, broken: str) -> dict[str, Any]:
    if broken:
        missing = Score(None, (f"a complete run ({broken})",))
        return {"scores": {name: _score(missing) for name in ("neuroncap", "hd", "alpasim")}}
    assert figures.neuroncap is not None and figures.hd is not None and figures.alpasim is not None
    assert figures.comfort is not None and figures.off_path is not None
    return {
        "collision": bool(figures.collision_with),
        "collision_with": figures.collision_with or None,
        "notes": [figures.note] if figures.note else [],
        "scores": {
            "neuroncap": _score(figures.neuroncap),
            "hd": _score(figures.hd),
            "alpasim": _score(figures.alpasim),
        },
        "distance_min_m": finite_or_none(figures.distance_m),
        "ttc_min_s": finite_or_none(figures.ttc_s),
        "progress": round(figures.progress, DIGITS),
        "comfort": {name: round(value, DIGITS) for name, value in asdict(figures.comfort).items()},
        "off_path": asdict(figures.off_path),
    }


def _score(score: Score) -> dict[str, Any]:
    value = None if score.value is None else round(score.value, DIGITS)
    parts = {name: round(part, DIGITS) if isinstance(part, float) else part for name, part in score.parts.items()}
    return {"value": value, "missing": list(score.missing), "parts": parts}


def _commands(log: RunLog) -> dict[str, Any]:
    """What came from the stack: how many, what was refused, how long it took from frame set to command."""
    commands = log.of("command")
    latencies = [record["latency_ms"] for record in commands if record["latency_ms"] is not None]
    ages = [(record["stamp_ns"] - record["command"]["stamp_ns"]) * 1e-6 for record in commands]
    refused = log.end["refused"] if log.end is not None else Counter(r["cause"] for r in log.of("refused"))
    return {
        "consumed": len(commands),
        "misses": log.counts["miss"],
        "refused": dict(refused),
        "latency_ms": _percentiles(latencies),
        "age_ms": _percentiles(ages),
    }


def _percentiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "max": round(max(values), 3)}

