"""Processes, domain, files and progress of the demo."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.cameras import Rig
from r3d2_ros.config import load_config
from r3d2_ros.demo import children as children_module
from r3d2_ros.demo import files
from r3d2_ros.demo.children import Children, DemoError
from r3d2_ros.demo.domain import RANGE_VARIABLE, VARIABLE, demo_environment, free_domain_id
from r3d2_ros.harmonizer.model.shipped import shipped_model
from r3d2_ros.progress import Progress
from r3d2_ros.rigs import load_rig

SCRIPTS = {
    "dies": "import sys; print('reading'); sys.exit('no such scene')",
    "sleeps": "import os, time; print(os.getpid(), os.environ['MARK'], flush=True); time.sleep(60)",
    "stubborn": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('on', flush=True)\n"
    "time.sleep(60)",
}


@pytest.fixture(autouse=True)
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in SCRIPTS.items():
        (tmp_path / f"child_{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def wait_for_line(log: Path) -> str:
    end = time.monotonic() + 20
    while not log.read_text().endswith("\n"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return log.read_text()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Children({}) as children:
        child = children.start("reader", "child_dies", [], log=tmp_path / "reader.log")
        assert child.wait(20)
        with pytest.raises(DemoError, match="reader ended with exit code 1") as raised:
            children.check()
    assert "reading\nno such scene" in str(raised.value)
    assert str(tmp_path / "reader.log") in str(raised.value)


def test_children_end_with_the_block_and_get_the_environment(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Children({"MARK": "here"}) as children:
        children.start("sleeper", "child_sleeps", [], log=tmp_path / "s.log")
        pid, mark = wait_for_line(tmp_path / "s.log").split()
        assert is_running(int(pid))
        raise KeyboardInterrupt
    assert mark == "here"
    assert not is_running(int(pid))


def test_a_stubborn_child_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children_module, "TERM_S", 0.3)
    with Children({}) as children:
        child = children.start("stubborn", "child_stubborn", [], log=tmp_path / "s.log")
        wait_for_line(tmp_path / "s.log")
    assert child.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("leader", ["stays", "has ended"])
def test_what_a_child_has_started_ends_with_it(tmp_path: Path, leader: str) -> None:
    """A shell hands no signal on, and neither does `ros2 run`; one that has ended leaves behind what it started."""
    shell = f"{sys.executable} -m child_sleeps & wait" if leader == "stays" else f"{sys.executable} -m child_sleeps &"
    with Children({"MARK": "x"}) as children:
        child = children.start_command("shell", ["sh", "-c", shell], log=tmp_path / "s.log")
        pid = int(wait_for_line(tmp_path / "s.log").split()[0])
        assert is_running(pid) and (leader == "stays" or child.wait(20))
    assert not is_running(pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel ends orphans on Linux only")
def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    log = tmp_path / "s.log"
    code = (
        "import sys, time; from pathlib import Path; from r3d2_ros.demo.children import Children\n"
        f"with Children({{'MARK': 'x'}}) as c: c.start('s', 'child_sleeps', [], log=Path({str(log)!r})); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 20
    while not log.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    pid = int(wait_for_line(log).split()[0])
    parent.kill()
    parent.wait(10)
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_running(pid)


def test_a_domain_that_is_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "42")
    assert demo_environment() == {VARIABLE: "42"}


def test_otherwise_a_free_one_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    environment = demo_environment()
    assert 1 <= int(environment[VARIABLE]) <= 101
    assert environment[RANGE_VARIABLE] == "LOCALHOST"


def test_a_domain_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    from r3d2_ros.demo import domain

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        for candidate in (97, 98, 99):
            try:
                taken.bind(("", 7400 + 250 * candidate + 10))
                break
            except OSError:
                continue
        monkeypatch.setattr(domain, "DOMAINS", [candidate, 100, 101])
        assert {free_domain_id() for _ in range(10)} <= {100, 101}


def test_the_configuration_waits_for_readers_and_drops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    files.write_config(path, scene=tmp_path, rig="surround6", fov_deg=0.0, backend="cpu", harmonizer=None)
    config = load_config(path)
    assert (config.sync.mode, config.sync.tick, config.sync.actors) == ("lockstep", "ego", "required")
    assert (config.output.min_subscribers, config.rig.source) == (1, "surround6")
    assert config.scene.source == str(tmp_path)
    assert (config.harmonizer.backend, config.output.image_rendered) == ("none", False)


def test_a_harmonized_demo_publishes_the_picture_before_it_too(tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    nano = files.HarmonizerChoice("nano", "r3d2", shipped_model("nano"))
    files.write_config(path, scene=tmp_path, rig="demo3", fov_deg=0.0, backend="cpu", harmonizer=nano)
    config = load_config(path)
    assert (config.harmonizer.backend, config.harmonizer.checkpoint) == ("r3d2", str(shipped_model("nano")))
    assert config.harmonizer.roi.enabled and config.output.image_rendered


def test_a_narrower_rig_sees_the_same(tmp_path: Path) -> None:
    full = load_rig("surround6")
    files.write_rig(tmp_path / "rig.yaml", files.narrower(full, 400))
    small = load_rig(tmp_path / "rig.yaml")
    assert [c.name for c in small.cameras] == [c.name for c in full.cameras]
    for a, b in zip(small.cameras, full.cameras, strict=True):
        # 900 / 4 = 225 px, made even.
        assert (a.width_px, a.height_px, a.topic, a.frame_id) == (400, 224, b.topic, b.frame_id)
        np.testing.assert_allclose(a.T_ego_camera.matrix(), b.T_ego_camera.matrix(), atol=1e-12)
        assert a.K[0, 0] == pytest.approx(b.K[0, 0] / 4)


def test_a_narrower_rig_has_the_same_lenses(tmp_path: Path) -> None:
    lens = ("equidistant", (0.02, -0.01, 0.003, -0.0005))
    bent = replace(load_rig("demo3")["front"], distortion_model=lens[0], D=lens[1])
    files.write_rig(tmp_path / "rig.yaml", files.narrower(Rig("bent", (bent,)), 400))
    small = load_rig(tmp_path / "rig.yaml")["front"]
    assert (small.distortion_model, small.D) == lens
    # The corner's ray stays, since K is scaled about the corner.
    for camera in (small, bent):
        at = (camera.K[:2, 2] + 0.5) / camera.K[[0, 1], [0, 1]]
        np.testing.assert_allclose(camera.lens.rays(at), bent.lens.rays((bent.K[:2, 2] + 0.5) / bent.K[[0, 1], [0, 1]]))


def test_a_rig_that_is_narrow_enough_stays(tmp_path: Path) -> None:
    full = load_rig("demo3")
    assert files.narrower(full, 960).cameras[0].width_px == 960


def test_only_the_demos_own_files_are_removed(tmp_path: Path) -> None:
    for name in ("summary.json", "front.mp4", "holiday.mp4"):
        (tmp_path / name).write_text("x")
    files.clear(tmp_path, ["front"])
    assert [path.name for path in tmp_path.glob("*.json")] == []
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["holiday.mp4"]


def test_without_a_terminal_progress_is_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(3) as progress:
        for done in (0, 1, 2, 3):
            progress.at(done)
    assert capsys.readouterr().err.splitlines() == ["1 of 3 frame sets", "3 of 3 frame sets"]
