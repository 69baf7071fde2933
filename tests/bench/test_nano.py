"""The rows of the smallest network that `make bench` shows."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

from r3d2_ros.bench.harmonizer import nano


@pytest.mark.slow
def test_whole_frame_and_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "SIZE", (64, 96))
    whole, crops = nano.measure_nano(quick=True)
    assert whole["name"] == "nano, whole frame, eager" and whole["goal_ms"] is None
    assert crops["name"] == "nano, crops around 5 actors, eager" and crops["goal_ms"] == 250.0
    for row in (whole, crops):
        assert (row["width"], row["height"]) == (96, 64)
        assert row["ms_max"] >= row["ms_p50"] > 0 and row["cpu_ms"] > 0
    assert crops["within_goal"] is (crops["ms_p50"] <= 250.0)


def test_the_table() -> None:
    rows = [
        {"name": "a", "width": 960, "height": 540, "ms_p50": 249.0, "ms_max": 260.0, "cpu_ms": 480.0,
         "goal_ms": 250.0, "within_goal": True},
        {"name": "b", "width": 960, "height": 540, "ms_p50": 251.0, "ms_max": 260.0, "cpu_ms": 480.0,
         "goal_ms": 250.0, "within_goal": False},
        {"name": "c", "not_measured": "no compiler"},
    ]  # fmt: skip
    _, met, missed, without = nano.format_nano(rows).splitlines()
    assert met.endswith("250 met") and missed.endswith("250 MISSED")
    assert "not measured: no compiler" in without
