"""`r3d2 sim`: what it hands to the node, and what it says without ROS 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from r3d2_ros.cli.main import main


def test_a_bad_configuration_is_named_before_the_node_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sim.yaml").write_text("sync: {mode: sometimes}\n")
    assert main(["sim", "--config", str(tmp_path / "sim.yaml")]) == 1
    assert "r3d2 sim: " in (text := capsys.readouterr().err)
    assert "sync.mode: expected 'lockstep' or 'latest', got 'sometimes'" in text


def test_the_node_gets_the_configuration_and_then_what_is_for_ros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim_node = pytest.importorskip("r3d2_ros.nodes.sim_node", reason="needs ROS 2 and the built messages")
    path = tmp_path / "a: #'b.yaml"
    path.write_text("sync: {mode: latest}\n")
    given: list[list[str]] = []
    monkeypatch.setattr(sim_node, "main", lambda words: given.append(words) or 0)
    assert main(["sim", "--config", str(path), "--ros-args", "-p", "rig.source:=surround6", "-r", "__ns:=/a"]) == 0
    assert given == [
        ["--ros-args", "-p", f'config:="{path}"', "--ros-args", "-p", "rig.source:=surround6", "-r", "__ns:=/a"]
    ]


@pytest.mark.parametrize("command", [["sim"], ["demo"]])
def test_without_ros_it_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "class NoRos:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('rclpy', 'sensor_msgs', 'nav_msgs', 'tf2_msgs'):\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, NoRos())\n"
        f"from r3d2_ros.cli.main import main; sys.exit(main({command!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"r3d2 {command[0]}: r3d2 {command[0]} needs the package '")
    assert "make setup" in line
    assert not list(tmp_path.iterdir())
