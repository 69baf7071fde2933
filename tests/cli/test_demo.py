"""`r3d2 demo`: arguments that are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from r3d2_ros.cli.main import main

pytest.importorskip("r3d2_ros.nodes.demo_client", reason="needs ROS 2 and the built messages")

REFUSED = [
    (["--full"], "--full and --topic: expected a bag (--bag FILE), got none"),
    (["--topic", "/pose"], "--full and --topic: expected a bag (--bag FILE), got none"),
    (["--width", "3"], "--width: expected 16 to 8192 pixels, got 3"),
    (["--seconds", "0"], "--seconds: expected 0.5 or more, got 0"),
    (["--seconds", "nan"], "--seconds: expected 0.5 or more, got nan"),
    (["--harmonizer", "nope"], "--harmonizer: expected the folder of a checkpoint or of a pipeline, or one of nano,"),
    (["--rig", "nope"], "rig: expected a rig file or one of demo3, surround6, got 'nope'"),
    (["--bag", "nope.db3"], "nope.db3: expected a rosbag2 folder, .db3 or .mcap file, got no such file"),
]


@pytest.mark.parametrize(("extra", "text"), REFUSED)
def test_what_cannot_be_used_is_named(
    extra: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), *extra]) == 1
    captured = capsys.readouterr()
    assert f"r3d2 demo: {text}" in captured.err
    assert captured.out == ""


def test_an_out_folder_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "demo").write_text("mine")
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert "expected a folder that can be written" in capsys.readouterr().err
