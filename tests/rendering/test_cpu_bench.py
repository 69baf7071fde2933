"""What the benchmark reports, on small cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r3d2_ros.bench import render as bench

SMALL = (
    bench.Case("few", lambda: bench.frustum_scene(2000), 96, 54, goal_ms=1e6),
    bench.Case("ring", lambda: bench.ring_scene(4000), 96, 54, goal_ms=0.0, cameras=4),
    bench.Case("bent", lambda: bench.ring_scene(4000), 96, 54, goal_ms=None, cameras=4, lens=bench.BARREL),
)


def test_rows_and_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "CASES", SMALL)
    assert bench.main(["--repeats", "3", "--json", str(tmp_path / "out" / "rows.json")]) == 0
    few, ring, bent, reference = json.loads((tmp_path / "out" / "rows.json").read_text())
    assert (few["name"], few["width"], few["height"], few["repeats"], few["gaussians"]) == ("few", 96, 54, 3, 2000)
    assert few["within_goal"] is True and ring["within_goal"] is False
    # All but the faintest are on screen: opacity sigmoid(N(0, 2)) is below 1/255 for 0.3 %.
    assert 1900 < few["visible"] <= 2000
    # Four cameras of 84 degrees see 336 of 360 degrees, and what overlaps an edge twice.
    assert 0.85 * 4000 < ring["visible"] < 1.3 * 4000
    # Behind a barrel each sees farther to the sides.
    assert 1.1 * ring["visible"] < bent["visible"] < 1.6 * ring["visible"]
    stages = few["project_ms"] + few["sort_ms"] + few["composite_ms"] + few["sky_ms"]
    assert 0 < stages <= 1.5 * few["median_ms"]
    assert reference["renderer"] == "reference" and reference["times_slower"] > 1
    table = capsys.readouterr().out
    assert "met" in table and "MISSED" in table and "times slower" in table
