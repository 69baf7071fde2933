"""One HTML page about many runs, with everything in it: tables, drawings, film strips. No script, no other file."""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.closed_loop.charts import Band, Series, Shape, chart, map_view
from r3d2_ros.closed_loop.film import pictures
from r3d2_ros.closed_loop.report_style import STYLE
from r3d2_ros.closed_loop.run_log import RunLog, read_log
from r3d2_ros.closed_loop.scores.collisions import first_contact
from r3d2_ros.closed_loop.scores.data import RunData, run_data
from r3d2_ros.closed_loop.scores.track import ACCELERATION, SPEED, YAW, X, Y
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.geometry import Array
from r3d2_ros.versions import own_version

REPORT = "report.html"
FILM_PICTURES = 8
MAX_DETAILED = 200
"""Runs that are drawn; of more, those that did not pass come first."""

BOX_EVERY_S = 1.0
SCORE_NAMES = {"neuroncap": "NeuroNCAP", "hd": "HD-Score", "alpasim": "AlpaSim"}


def write_report(out: Path, results: Mapping[str, Any]) -> Path:
    """Write OUT/report.html from the results and the runs' folders. InputError when that is not possible."""
    runs = results["runs"]
    ranked = sorted(runs, key=lambda run: run["verdict"] == "passed")
    detailed = {run["run_id"] for run in ranked[:MAX_DETAILED]}
    body = [
        _head(runs),
        *_all_means(results),
        _regressions(results["regressions"]),
        _table(runs, detailed),
        *(_run(out, run) for run in runs if run["run_id"] in detailed),
    ]
    if left_out := [run for run in runs if run["run_id"] not in detailed]:
        body.append(f"<p>In the table only: {_verdicts(left_out)}; {MAX_DETAILED} of {len(runs)} runs are drawn.</p>")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>r3d2 scenario report</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"{''.join(body)}<footer>r3d2_ros {escape(own_version())}</footer></body></html>\n"
    )
    path = out / REPORT
    with atomic_output(path) as file:
        file.write(page.encode())
    return path


def _head(runs: list[dict[str, Any]]) -> str:
    verdicts = {run["verdict"] for run in runs}
    worst = next((name for name in ("error", "invalid", "failed") if name in verdicts), "passed")
    drivers = ", ".join(sorted({str(run.get("group") or run["controller"]) for run in runs}))
    return (
        f'<h1>Scenario report</h1><p class="lead"><b class="{worst}">{_verdicts(runs) or "no runs"}</b> '
        f"of {len(runs)} runs, driven by {escape(drivers or 'nobody')}</p>"
    )


def _verdicts(runs: list[dict[str, Any]]) -> str:
    """How many have which verdict."""
    counts = Counter(run["verdict"] for run in runs)
    return ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "invalid", "error") if counts[name])


def _all_means(results: Mapping[str, Any]) -> list[str]:
    """Of each group by itself where there are several: a mean over stacks says nothing about any of them."""
    groups = results.get("groups") or {"": results["means"]}
    return [_means(means, f"Means: {name}" if name else "Means") for name, means in groups.items()]


def _means(means: Mapping[str, Any], title: str) -> str:
    names = [*SCORE_NAMES.values(), "collision rate"]
    keys = [*SCORE_NAMES, "collision_rate"]
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for kind, group in means["types"].items():
        rows.append(_means_row(kind, group, keys, "type"))
        rows += [_means_row(name, one, keys, "sequence") for name, one in group["sequences"].items()]
    rows.append(_means_row("mean of the types", means, keys, "total"))
    counted = escape(str(means["runs"]))
    text = f"Over runs, then sequences, then types; {counted} runs, for invalid and broken ones do not count."
    table = f'<table><tr><th class="left"></th>{head}</tr>{"".join(rows)}</table>'
    return f'<h2>{escape(title)}</h2><p>{text}</p><div class="scroll">{table}</div>'


def _means_row(name: str, group: Mapping[str, Any], keys: list[str], kind: str) -> str:
    cells = "".join(f"<td>{_number(group[key])}</td>" for key in keys)
    return f'<tr class="{kind}"><th class="left">{escape(name)}</th>{cells}</tr>'


def _regressions(found: list[str]) -> str:
    if not found:
        return ""
    return f"<h2>Worse than the baseline</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in found)}</ul>"


def _table(runs: list[dict[str, Any]], detailed: set[str]) -> str:
    heads = ["NeuroNCAP", "HD-Score", "AlpaSim", "min TTC", "min distance", "progress", "misses", "latency p50 / p95"]
    rows = []
    for run in runs:
        name = escape(run["run_id"])
        shown = re.sub(r"([_.-])", r"\1<wbr>", name)
        link = f'<a href="#{name}">{shown}</a>' if run["run_id"] in detailed else shown
        latency = run["commands"]["latency_ms"]
        cells = [
            *(_score_cell(run["scores"][key]) for key in SCORE_NAMES),
            _number(run.get("ttc_min_s"), " s"),
            _number(run.get("distance_min_m"), " m"),
            "" if run.get("progress") is None else f"{run['progress']:.0%}",
            str(run["commands"]["misses"]),
            "" if latency is None else f"{round(latency['p50'])} / {round(latency['p95'])} ms",
        ]
        rows.append(
            f'<tr><th class="left name">{link}</th><td>{escape(run["type"])}</td>'
            f'<td><b class="{run["verdict"]}">{run["verdict"]}</b></td><td>{escape(run["outcome"]["reason"])}</td>'
            + "".join(f"<td>{cell}</td>" for cell in cells)
            + "</tr>"
        )
    head = "".join(f"<th>{name}</th>" for name in ["type", "verdict", "ended by", *heads])
    return (
        f'<h2>Runs</h2><div class="scroll"><table><tr><th class="left">run</th>{head}</tr>{"".join(rows)}</table></div>'
    )


def _score_cell(score: Mapping[str, Any]) -> str:
    if score["value"] is not None:
        return f"{score['value']:.3f}"
    return f'<span class="none" title="{escape("missing: " + "; ".join(score["missing"]))}">none</span>'


def _number(value: float | None, unit: str = "") -> str:
    return "" if value is None else f"{value:.3g}{unit}" if unit else f"{value:.3f}"


# One run


def _run(out: Path, run: dict[str, Any]) -> str:
    folder = out / "runs" / run["run_id"]
    name, verdict = escape(run["run_id"]), escape(run["verdict"])
    head = f'<section id="{name}"><h3>{name} <b class="{verdict}">{verdict}</b></h3>'
    outcome = run["outcome"]
    ended = [] if run["verdict"] == "error" else [f"{outcome['reason']} {outcome['detail']}".strip()]
    lines = [*ended, *run["reasons"], *run.get("notes", ())]  # of a run that broke off the reason is how it ended
    text = "".join(f"<li>{escape(line)}</li>" for line in dict.fromkeys(lines))
    contact_s = None
    try:
        log = read_log(folder / "run.jsonl")
        data = run_data(log)
        if contact := first_contact(data):
            data = data.until(contact.tick)
            contact_s = float(data.t_s[-1])
        drawings = _drawings(log, data)
    except InputError as error:
        drawings = f'<p class="none">{escape(str(error))}</p>'
    return f"{head}<ul>{text}</ul>{_film(folder, contact_s)}{drawings}{_facts(run)}</section>"


def _film(folder: Path, contact_s: float | None) -> str:
    """Pictures of the run, evenly in time; of one with a contact, up to the picture that is nearest to it."""
    found = pictures(folder)
    if not found:
        return ""
    times = np.array([t for t, _ in found])
    last = len(found) - 1 if contact_s is None else int(np.abs(times - contact_s).argmin())
    wanted = np.linspace(times[0], times[last], FILM_PICTURES)
    chosen = [found[k] for k in np.unique(np.abs(times[: last + 1] - wanted[:, None]).argmin(axis=1))]
    tiles = "".join(
        f'<figure><img alt="picture at {t:.1f} s" src="data:image/jpeg;base64,{_encoded(path)}">'
        f"<figcaption>{t:.1f} s</figcaption></figure>"
        for t, path in chosen
    )
    return f'<div class="film">{tiles}</div>'


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _drawings(log: RunLog, data: RunData) -> str:
    """data: as much of the run as is drawn."""
    bands = _phases(log, data)
    t = data.t_s
    speed = [Series("ego", "ego", np.stack([t, data.ego[:, SPEED]], axis=1))]
    acceleration = [Series("ego", "ego", np.stack([t, data.ego[:, ACCELERATION]], axis=1))]
    target = data.target
    if target is not None:
        there = ~np.isnan(target.rows[:, X])
        speed.append(Series(target.id, "actor", np.stack([t, target.rows[:, 4]], axis=1)[there]))
    epoch_ns = log.of("tick")[0]["stamp_ns"]
    latencies = [((r["stamp_ns"] - epoch_ns) / 1e9, r["latency_ms"]) for r in log.of("command")]
    misses = [((r["stamp_ns"] - epoch_ns) / 1e9, r["waited_ms"]) for r in log.of("miss")]
    commands = [
        Series("command after its frame set", "ego", _pairs(latencies), dots=True),
        Series("missed", "actor", _pairs(misses), dots=True),
    ]
    off = [
        (frame["t_s"], frame["off_path_m"])
        for frame in log.of("frame")
        if frame["off_path_m"] is not None and frame["phase"] != "startup" and frame["t_s"] <= data.t_s[-1]
    ]
    distance = [Series("ego", "ego", _pairs(off))]
    return (
        _map(data)
        + '<div class="charts">'
        + chart("Speed", speed, x_label="s", y_label="m/s", bands=bands)
        + chart("Acceleration", acceleration, x_label="s", y_label="m/s²", bands=bands)
        + chart("Command latency", commands, x_label="s", y_label="ms", bands=bands)
        + chart("Distance to the capture path", distance, x_label="s", y_label="m", bands=bands)
        + "</div>"
    )


def _pairs(pairs: list[tuple[float, float | None]]) -> Array:
    return np.array([(x, y) for x, y in pairs if y is not None], np.float64).reshape(-1, 2)


def _phases(log: RunLog, data: RunData) -> list[Band]:
    epoch_ns = log.of("tick")[0]["stamp_ns"]
    starts = [((r["stamp_ns"] - epoch_ns) / 1e9, r["phase"]) for r in log.of("phase") if r["phase"] != "startup"]
    ended = float(data.t_s[-1]), ""
    return [Band(name, start, end) for (start, name), (end, _) in pairwise([*starts, ended])]


def _map(data: RunData) -> str:
    shapes = [Shape("reference", data.reference.line.points[:, :2])]
    every = max(1, round(BOX_EVERY_S / data.tick_s))
    ticks = [*range(0, len(data.t_s), every)]
    for actor in data.actors:
        kind = "actor" if actor.target else "other"
        there = np.flatnonzero(~np.isnan(actor.rows[:, X]))
        if not len(there):
            continue
        rows = actor.rows[there, :2]
        shapes.append(Shape(kind, rows))
        moved = np.ptp(rows, axis=0).max() > 0.5
        shapes += [Shape(f"{kind} faint", actor.box(k), closed=True) for k in ticks if moved and actor.there(k)]
        shapes.append(Shape(kind, actor.box(int(there[-1])), closed=True, label=actor.id))
    shapes.append(Shape("ego", data.centres))
    shapes += [Shape("ego faint", data.ego_box(k), closed=True) for k in ticks]
    shapes.append(Shape("ego", data.ego_box(len(data.t_s) - 1), closed=True, label="ego"))
    x, y, yaw = data.ego[0, [X, Y, YAW]]
    along = np.array([x, y]), np.array([math.cos(yaw), math.sin(yaw)])
    near = _near(shapes, data)
    kinds = {shape.kind for shape in near}
    names = (("ego", "ego"), ("target", "actor"), ("others", "other"), ("reference path", "reference"))
    legend = [(name, kind) for name, kind in names if kind in kinds]
    return map_view("From above, a box every second", near, along=along, legend=legend)


def _near(shapes: list[Shape], data: RunData) -> list[Shape]:
    """The reference only as far as something happens, so that the drawing is not a thin line."""
    low, high = data.centres.min(axis=0) - 25.0, data.centres.max(axis=0) + 25.0
    kept = []
    for shape in shapes:
        inside = np.all((shape.points >= low) & (shape.points <= high), axis=1)
        if shape.closed and inside.any():
            kept.append(shape)
        elif not shape.closed and inside.any():
            kept.append(Shape(shape.kind, shape.points[inside], shape.closed, shape.label))
    return kept


def _facts(run: Mapping[str, Any]) -> str:
    commands = run["commands"]
    rows = [
        ("seed", run["seed"]),
        ("varied", ", ".join(f"{k} {v}" for k, v in run["variation"].items()) or "nothing"),
        ("deterministic", "yes" if run["deterministic"] else "no: something depended on the wall clock"),
        ("digest", run["digest"] or ""),
        (
            "commands",
            f"{commands['consumed']} consumed, {commands['misses']} misses, refused: {commands['refused'] or 'none'}",
        ),
    ]
    if changes := run.get("entities"):
        rows.append(("changed from outside", ", ".join(f"{c['edit']} {c['id']} at {c['t_s']:.2f} s" for c in changes)))
    for key, name in SCORE_NAMES.items():
        score = run["scores"][key]
        parts = ", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in score["parts"].items())
        missing = f"missing: {'; '.join(score['missing'])}" if score["missing"] else ""
        rows.append((name, " · ".join(filter(None, (parts, missing)))))
    if "comfort" in run:
        rows.append(("comfort", ", ".join(f"{k} {v:.3g}" for k, v in run["comfort"].items())))
    cells = "".join(
        f'<tr><th class="left">{escape(k)}</th><td class="left">{escape(str(v))}</td></tr>' for k, v in rows
    )
    return f"<details><summary>All figures</summary><table>{cells}</table></details>"
