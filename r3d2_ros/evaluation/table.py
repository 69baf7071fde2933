"""The table of an evaluation, in Markdown, and the figures of the paper that stand below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from r3d2_ros.evaluation.tally import FULL, REGION

PAPER_ROWS = (
    ("original reconstruction", 0.177, 0.896, 28.94),
    ("naive insertion", 0.211, 0.866, 24.48),
    ("naive insertion + R3D2", 0.142, 0.862, 25.29),
    ("naive insertion + Difix3D", 0.254, 0.806, 23.58),
)
"""Row, LPIPS, SSIM, PSNR of inserted assets: supplement of the R3D2 paper (arXiv 2506.07826), Table 5."""

PAPER_NOTE = (
    "Rows marked *paper* are published figures (arXiv 2506.07826, supplement, Table 5: inserted assets, recorded "
    "Waymo scenes). They were measured on other pictures: only differences between rows of one origin mean something."
)

FIRST = (("PSNR dB", "psnr", 2), ("SSIM", "ssim", 3), ("LPIPS", "lpips", 3))
SECOND = (
    ("shadow IoU", REGION, "shadow_iou", 3),
    ("shadow score", REGION, "shadow_score", 3),
    ("with shadow %", REGION, "shadow_share", -1),
    ("luminance ratio", REGION, "luminance_ratio", 3),
    ("luminance error", REGION, "luminance_error", 3),
    ("PSNR outside dB", FULL, "psnr_outside", 2),
    ("raw PSNR outside dB", FULL, "raw_psnr_outside", 2),
    ("changed outside px", FULL, "changed_outside_px", 0),
    ("flicker around", REGION, "flicker_surroundings", 2),
    ("flicker insert %", REGION, "flicker_insert_percent", 2),
    ("ground gap m", REGION, "ground_gap_m", 3),
)


def markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Of the JSON's rows: similarity with the target and the paper's figures, then what is measured beside it."""
    parts = ["## Similarity with the target", _similarity(rows), PAPER_NOTE, "## Beside it", _further(rows)]
    return "\n\n".join([*parts, *_remarks(rows)]) + "\n"


def _similarity(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for name, row in rows.items():
        for label, part in (("region", REGION), ("whole frame", FULL)):
            cells = [_number(row[part][key], digits) for _, key, digits in FIRST]
            lines.append([name, label, *cells, str(row["counts"]["samples"])])
    for name, lpips, ssim, psnr in PAPER_ROWS:
        lines.append([f"*paper: {name}*", "as published", _number(psnr, 2), _number(ssim, 3), _number(lpips, 3), ""])
    return _table(["row", "over", *(head for head, _, _ in FIRST), "samples"], lines)


def _further(rows: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        [name, *(_number(row[part][key], digits) for _, part, key, digits in SECOND)] for name, row in rows.items()
    ]
    return _table(["row", *(head for head, *_ in SECOND)], lines)


def _remarks(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Faults, and each reason with the rows that it holds for."""
    faults = [f"- {name} was not measured: {row['fault']}" for name, row in rows.items() if "fault" in row]
    found: dict[str, dict[str, list[str]]] = {}
    for name, row in rows.items():
        for key, reason in row["reasons"].items():
            found.setdefault(reason, {}).setdefault(name, []).append(key)
    reasons = [f"- {_whose(keys_of)}: {reason}" for reason, keys_of in found.items()]
    return ["\n".join([*faults, *reasons])] if faults or reasons else []


def _whose(keys_of: Mapping[str, Sequence[str]]) -> str:
    """Keys and the rows that have no value there; rows with the same keys stand together."""
    groups: dict[str, list[str]] = {}
    for name, keys in keys_of.items():
        groups.setdefault(", ".join(keys), []).append(name)
    return "; ".join(f"{keys} of {', '.join(names)}" for keys, names in groups.items())


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.0f}" if digits < 0 else f"{value:.{digits}f}"


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[k]) for line in [heads, *lines]) for k in range(len(heads))]

    def text(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "-" * (widths[0] + 2) + "|" + "|".join("-" * (w + 1) + ":" for w in widths[1:]) + "|"
    return "\n".join([text(heads), rule, *(text(line) for line in lines)])
