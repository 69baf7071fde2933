"""`r3d2 bench`: what it prints and writes; the measurements themselves are tested where they are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r3d2_ros.bench import render, transport
from r3d2_ros.bench.harmonizer import nano
from r3d2_ros.bench.harmonizer.faults import MeasurementError
from r3d2_ros.cli.main import main

RENDER_ROW = {
    "name": "200k visible", "renderer": "cpu", "width": 960, "height": 540, "cameras": 1, "visible": 200_000,
    "median_ms": 40.0, "p95_ms": 42.0, "cpu_ms": 75.0, "goal_ms": 80, "within_goal": True,
}  # fmt: skip
NANO_ROW = {
    "name": "nano, whole frame, eager", "width": 960, "height": 540, "ms_p50": 300.0, "ms_max": 310.0, "cpu_ms": 580.0,
    "goal_ms": None, "within_goal": None,
}  # fmt: skip
ROS_ROW = {"name": "transport", "frame_sets": 60, "lost": 0}


@pytest.fixture(autouse=True)
def prepared_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("r3d2_ros.nodes.bench_node", reason="needs ROS 2 and the built messages")
    monkeypatch.setattr(render, "bench_render", lambda **options: [RENDER_ROW])
    monkeypatch.setattr(nano, "measure_nano", lambda **options: [NANO_ROW])
    monkeypatch.setattr(transport, "run", lambda **options: [ROS_ROW])


def test_tables_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json", str(tmp_path / "new" / "bench.json")]) == 0
    text = capsys.readouterr().out
    assert "200k visible" in text
    assert "nano, whole frame, eager" in text and " 960x540      300.0     310.0     580.0" in text
    assert "transport: frame_sets 60, lost 0" in text
    facts = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert facts["render"] == [RENDER_ROW]
    assert facts["harmonizer"] == [NANO_ROW]
    assert facts["ros"] == [ROS_ROW]
    assert facts["machine"]["cpus"] >= 1


def test_json_alone_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["render"] == [RENDER_ROW]


def test_what_is_measured_is_no_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--json", "harmonizer"]) == 1
    assert "`r3d2 bench harmonizer --json` measures it" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["bench", "--json", "./harmonizer"]) == 0 and (tmp_path / "harmonizer").is_file()


def test_a_measurement_that_fails_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**options: object) -> list[dict]:
        raise MeasurementError("the client ended with exit code 3")

    monkeypatch.setattr(transport, "run", fail)
    assert main(["bench", "--json"]) == 1
    captured = capsys.readouterr()
    assert "exit code 3" in json.loads(captured.out)["ros_not_measured"]
    assert "exit code 3" in captured.err
