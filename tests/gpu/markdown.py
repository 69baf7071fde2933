"""The report as tables that can go into docs/performance.md as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def fragment(data: Mapping[str, Any], *, details: bool = True) -> str:
    """Date, machine and versions, the state of every step, then a table per step that has rows.

    details  also single operations, whose tables are long
    """
    machine = data.get("machine") or {}
    where = machine.get("gpu") or machine.get("processor")
    lines = [f"### Measured {str(machine.get('date', '-'))[:10]} on {where}", ""]
    if data.get("rehearsal"):
        lines += ["**A rehearsal on a CPU: these numbers mean nothing.**", ""]
    lines += [_versions(machine), ""]
    if data.get("fault"):
        lines += [f"Not measured: {data['fault']}", ""]
    steps = data.get("steps", {})
    if steps:
        states = [(name, s["state"], f"{s.get('seconds', 0):.0f}", s.get("fault") or "") for name, s in steps.items()]
        lines += [*_table(("step", "state", "s", ""), states), ""]
    for name, step in steps.items():
        if step["rows"] and (details or KINDS.get(name) is not _kernels):
            lines += [f"#### {name}", "", *KINDS.get(name, _plain)(step["rows"]), ""]
    return "\n".join(lines)


def _versions(machine: Row) -> str:
    versions = {name: version for name, version in (machine.get("versions") or {}).items() if version}
    parts = [f"driver {machine.get('driver')}", f"CUDA {machine.get('cuda')}", f"cuDNN {machine.get('cudnn')}"]
    parts += [f"{name} {version}" for name, version in versions.items()]
    git = machine.get("git") or {}
    changed = f" with {git['changed_files']} changed files" if git.get("changed_files") else ""
    return ", ".join(parts) + f"; commit {git.get('commit') or '-'}{changed}."


def _network(rows: Mapping[str, Any]) -> list[str]:
    columns = (
        "path", "protocol", "image", "FPS", "ms mean / p50 / p99", "TFLOP/s", "MiB allocated / reserved", "MHz, W, C",
        "rel. L2", "x eager 16 bit", "prepared s",
    )  # fmt: skip
    lines = []
    for name, row in rows.items():
        if "fault" in row:
            lines.append((name, f"FAILED: {row['fault']}", *[""] * (len(columns) - 2)))
            continue
        size, accuracy = row["size"], row["accuracy"]
        ratio = accuracy["ratio_l2"]
        verdict = "" if accuracy["within_limit"] is not False else " BEYOND THE LIMIT"
        lines.append((
            name, row["protocol"]["label"] + ("" if row["accepted"] else " (not accepted)"),
            f"{row['batch']} x {size['height']}x{size['width']}",
            f"{row['fps_mean']:.3f} +- {row['fps_std']:.3f}",
            f"{row['ms_mean']:.2f} / {row['ms_p50']:.2f} / {row['ms_p99']:.2f}", f"{row['tflop_per_s']:.3g}",
            " / ".join(f"{mib:.0f}" for key, mib in row["memory"].items() if key != "of"),
            _telemetry(row), f"{accuracy['relative_l2']:.1e}", ("-" if ratio is None else f"{ratio:.2f}") + verdict,
            f"{row['prepare_s']:.0f}",
        ))  # fmt: skip
    return _table(columns, lines)


def _telemetry(row: Row) -> str:
    facts = row["telemetry"]
    if not facts:
        return row["telemetry_reason"]
    fields = ("sm_clock_mhz", "power_w", "temperature_c")
    return ", ".join("-" if facts[field] is None else f"{facts[field]['median']:.0f}" for field in fields)


def _rig(rows: Mapping[str, Any]) -> list[str]:
    columns = ("mode", "ticks made", "Hz", "misses", "latency ms p50 / p99 / max", "stages ms p50 / p99", "scene")
    lines = []
    for name, row in rows.items():
        if "fault" in row:
            lines.append((name, f"FAILED: {row['fault']}", *[""] * (len(columns) - 2)))
            continue
        late = " / ".join(_number(row.get(f"latency_ms_{key}"), "never") for key in ("p50", "p99", "max"))
        stages = ", ".join(
            f"{stage} {_number(times['p50'])} / {_number(times['p99'])}" for stage, times in row["stages_ms"].items()
        )
        scene = f"{row['splats']:,} splats, {row['actors']} actors, {row['cameras']} cameras, {row['renderer']}"
        made = f"{row['made']} of {row['ticks']}" if "made" in row else str(row["ticks"])
        hz = f"{row['achieved_hz']:.2f}" if "achieved_hz" in row else "-"
        misses, late = str(row.get("deadline_misses", "-")), late if "made" in row else "-"
        lines.append((name, made, hz, misses, late, stages, scene))
    return _table(columns, lines)


def _quality(rows: Mapping[str, Any]) -> list[str]:
    from r3d2_ros.bench.harmonizer.quality import quality_table

    return quality_table([dict(row) for row in rows.values()]).splitlines()


def _kernels(rows: Mapping[str, Any]) -> list[str]:
    """A column per form of the operation; below, what the layers of a variant take together."""
    forms = list(dict.fromkeys(form for row in rows.values() for form in row.get("forms", {})))
    lines = []
    for name, row in rows.items():
        if "fault" in row:
            lines.append((name, "", f"FAILED: {row['fault']}", *[""] * (len(forms) - 1)))
            continue
        layers = row["layers"]
        counts = ", ".join(f"{v} {c}" for v, c in layers.items()) if isinstance(layers, dict) else str(layers or "")
        lines.append((name, counts, *(_form(row["forms"].get(form)) for form in forms)))
    return [*_table(("shape", "layers", *(f"{form}, ms (TFLOP/s)" for form in forms)), lines), *_sums(rows)]


def _form(times: Row | None) -> str:
    if times is None:
        return ""
    if "not_possible" in times:
        return "not possible"
    return f"{times['ms']:.3f}" + (f" ({times['tflop_per_s']:.3g})" if times["tflop_per_s"] else "")


def _sums(rows: Mapping[str, Any]) -> list[str]:
    """Variant by variant, ms of all its layers one by one: in the first form, and in the fastest of each shape."""
    first: dict[str, float] = {}
    fastest: dict[str, float] = {}
    for row in rows.values():
        times = [form["ms"] for form in row.get("forms", {}).values() if "ms" in form]
        if times and isinstance(row["layers"], Mapping):
            for variant, count in row["layers"].items():
                first[variant] = first.get(variant, 0.0) + count * times[0]
                fastest[variant] = fastest.get(variant, 0.0) + count * min(times)
    sums = [f"{variant}: {first[variant]:.2f} ms, fastest forms {fastest[variant]:.2f} ms" for variant in first]
    return ["", f"All layers one by one: {'; '.join(sums)}."] if sums else []


def _tests(rows: Mapping[str, Any]) -> list[str]:
    outcomes = [row["outcome"] for row in rows.values()]
    counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
    lines = [(name, row["outcome"], f"{row.get('seconds', 0):.1f}", _last_line(row.get("message", "")))
             for name, row in rows.items() if row["outcome"] != "passed"]  # fmt: skip
    return [counts, *(["", *_table(("test", "outcome", "s", ""), lines)] if lines else [])]


def _gsplat(rows: Mapping[str, Any]) -> list[str]:
    columns = ("scene", "Gaussians", "device ms", "with copy ms", "first frame ms", "GPU memory MiB")
    return _table(columns, (
        (m["case"], f"{m['gaussians']:,}", f"{m['device_ms']:.2f}", f"{m['host_ms']:.2f}", f"{m['first_ms']:.0f}",
         f"{m['peak_memory_mib']:.0f}")
        for m in rows.values()
    ))  # fmt: skip


def _plain(rows: Mapping[str, Any]) -> list[str]:
    def text(value: Any) -> str:
        if not isinstance(value, Mapping):
            return f"{value:.4g}" if isinstance(value, float) else str(value)
        return ", ".join(f"{key} {text(entry)}" for key, entry in value.items())

    return _table(("", ""), ((name, text(row)) for name, row in rows.items()))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [" | ".join(_cell(cell) for cell in row) for row in (columns, ["---"] * len(columns), *rows)]
    return [f"| {line} |" for line in cells]


def _cell(text: Any) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _number(value: float | None, otherwise: str = "-") -> str:
    return otherwise if value is None else f"{value:.1f}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else ""


KINDS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    **dict.fromkeys(("harmonizer-tests", "gsplat-tests"), _tests),
    **dict.fromkeys(("r3d2", "r3d2-paper", "r3d2-big", "r3d2-big-paper"), _network),
    **dict.fromkeys(("rig", "rendering"), _rig),
    **dict.fromkeys(("attention", "convolutions", "products", "norms"), _kernels),
    "gsplat-speed": _gsplat,
    "quality": _quality,
}
"""Step -> how its rows become a table; others are listed as they are."""
