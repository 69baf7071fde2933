"""The example stacks as processes of their own: equal runs in two processes and without ROS, and timers."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from nav_msgs.msg import Path as PathMessage
from r3d2_ros.msg import FrameSet
from rclpy.executors import SingleThreadedExecutor
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from r3d2_ros.closed_loop.controllers import CONTROLLERS
from r3d2_ros.closed_loop.example_stacks import STACKS, StackCommand, example_stack, stack_command
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.in_process import run_in_process
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from r3d2_ros.errors import InputError
from r3d2_ros.lenses import PINHOLE, LensModel
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.nodes.ros_runs import RosRuns
from r3d2_ros.nodes.stacks.base import Stack, run_stack
from r3d2_ros.nodes.stacks.constant_velocity import ConstantVelocityStack
from r3d2_ros.nodes.stacks.depth_aeb import DepthAebStack
from r3d2_ros.nodes.stacks.timer_driver import TimerDriver
from tests.closed_loop.small_world import parked, simulator
from tests.closed_loop_ros.harness import FAST, pose_simulator, tiny_plan

S = 1_000_000_000
ROOT = Path(__file__).resolve().parents[2]
PATIENT = {"timeout_s": 20.0}
"""On a busy machine an answer may take long, and a miss would be another run."""

CAR_AHEAD: dict[str, Any] = {
    "actors": [parked(34.0, jitter={"longitudinal_m": 1.0})],
    "control": PATIENT,
    "end": {"duration_s": 8.0, "standstill_s": 0.5},
    "phases": {"warmup_s": 0.2},
    "clock": FAST,
}


def over_ros(folder: Path, stack: StackCommand, made: Any, **keys: Any) -> RunLog:
    folder.mkdir(parents=True, exist_ok=True)
    with RosRuns(lambda sim: made, stack=stack, log_name="run.jsonl") as runs:
        runs(tiny_plan(**keys), folder)
    return read_log(folder / "run.jsonl")


def without_ros(path: Path, name: str, **keys: Any) -> RunLog:
    planned, made = tiny_plan(**keys), simulator()
    with LogWriter(path) as log:
        log.write("header", **header(planned, controller=name, renderer=made.renderer.name))
        run_in_process(planned, made, CONTROLLERS[name](planned), log)
    return read_log(path)


def essence(log: RunLog) -> list[Any]:
    """What has to be equal: end, poses, commands and pictures of the scenario."""
    assert log.end is not None
    frames = [f["hashes"] for f in log.of("frame") if f["phase"] != "startup"]
    ticks = [[t["t_s"], t["ego"], t["actors"]] for t in log.of("tick")]
    return [log.end["digest"], log.end["reason"], log.end["detail"], frames, ticks]


SCRIPT = """
import json, sys
from pathlib import Path
from r3d2_ros.closed_loop.example_stacks import example_stack
from tests.closed_loop.small_world import simulator
from tests.closed_loop_ros.test_stacks import CAR_AHEAD, essence, over_ros
print(json.dumps(essence(over_ros(Path(sys.argv[1]), example_stack("constant_velocity"), simulator(), **CAR_AHEAD))))
"""


@pytest.mark.slow
def test_two_processes_and_a_run_without_ros_are_equal(tmp_path: Path) -> None:
    results = []
    for name in ("a", "b"):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / name)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=220)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout))
    reference = json.loads(json.dumps(essence(without_ros(tmp_path / "c.jsonl", "constant_velocity", **CAR_AHEAD))))
    assert results[0] == results[1] == reference
    assert reference[1] == "collision"
    assert len({json.dumps(hashes) for hashes in reference[3]}) > 10  # the pictures do change


def test_depth_aeb_stops_before_a_parked_car(tmp_path: Path) -> None:
    log = over_ros(tmp_path, example_stack("depth_aeb"), simulator(), depth=True, **CAR_AHEAD)
    assert log.end is not None and log.end["reason"] == "standstill", (tmp_path / "stack.log").read_text()
    assert log.end["misses"] == 0


@pytest.mark.parametrize(("max_age_s", "reason"), [(0.1, "goal"), (0.0, None)])
def test_a_stack_that_acts_on_timers_never_deadlocks(tmp_path: Path, max_age_s: float, reason: str | None) -> None:
    keys = {
        "ego": {"reference": {"points": [[0, 0], [10, 0], [20, 2]]}, "speed_mps": 8.0},
        "control": {"max_age_s": max_age_s, "timeout_s": 0.2, "max_misses": 5},
        "phases": {"warmup_s": 0.3, "startup_timeout_s": 30.0},
        "end": {"duration_s": 10.0},
        "clock": {"rtf_max": 2.0},
    }
    log = over_ros(tmp_path, example_stack("timer_driver"), pose_simulator(), **keys)
    assert log.end is not None
    if reason is not None:
        assert log.end["reason"] == reason
        assert not log.end["deterministic"]


@pytest.mark.parametrize("name", ["constant_velocity", "timer_driver"])
def test_a_stack_that_outlives_a_run_drives_the_next_one_at_its_own_speed(tmp_path: Path, name: str) -> None:
    """10 m/s in the first run, 5 m/s in the second one."""
    keys: dict[str, Any] = {
        "control": {"max_age_s": STACKS[name].max_age_s, **PATIENT},
        "phases": {"warmup_s": 0.3, "startup_timeout_s": 30.0},
        "end": {"duration_s": 1.5},
        "clock": {"rtf_max": 2.0},
    }
    made, command = pose_simulator(), [sys.executable, "-m", "r3d2_ros.cli", "stack", name]
    external = RosRuns(lambda sim: made, stack=None, log_name="run.jsonl")
    with external as runs, subprocess.Popen(command, cwd=ROOT) as process:
        try:
            for speed in (10.0, 5.0):
                ego = {"reference": {"lane": "ego", "to_m": 200.0}, "speed_mps": speed}
                folder = tmp_path / f"{speed:g}"
                folder.mkdir()
                runs(tiny_plan(ego=ego, **keys), folder)
                last = read_log(folder / "run.jsonl").of("tick")[-1]
                assert (last["phase"], last["ego"][4]) == ("drive", pytest.approx(speed, abs=0.01))
        finally:
            process.kill()


class Sender:
    """What a timer driver listens to, from a node that a test ends."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("closed_loop_node")
        self._clock = self.node.create_publisher(Clock, "/clock", 10)
        self._odometry = self.node.create_publisher(Odometry, "~/odometry", reliable(10))
        path = self.node.create_publisher(PathMessage, "~/reference", reliable(1, transient_local=True))
        poses = [PoseStamped(), PoseStamped()]
        poses[1].pose.position.x = 1000.0
        path.publish(PathMessage(poses=poses))

    def publish(self, stamp_ns: int, speed_mps: float | None) -> None:
        message = Odometry()
        message.header.stamp = ns_to_stamp(stamp_ns)
        message.pose.pose.orientation.w = 1.0
        if speed_mps is not None:
            message.twist.twist.linear.x = speed_mps
            self._odometry.publish(message)
        self._clock.publish(Clock(clock=message.header.stamp))


def test_a_stack_that_finds_the_next_simulator_late_has_nothing_left_of_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Times go on from one to the other, as where the second one's start-up has outlasted the first one's run."""
    rclpy.init()
    try:
        stack, executor = TimerDriver(), SingleThreadedExecutor()
        executor.add_node(stack)
        sent: list[float] = []
        monkeypatch.setattr(stack, "send", lambda stamp_ns, wanted: sent.append(wanted.acceleration_mps2))
        stamp_ns = 10 * S

        def spin(sender: Sender, speed_mps: float | None, seconds: float, until: Callable[[], bool]) -> None:
            nonlocal stamp_ns
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s and not until():
                stamp_ns += S // 10
                sender.publish(stamp_ns, speed_mps)
                for _ in range(5):  # clock, odometry, timer, path, a publisher that is new or gone
                    executor.spin_once(timeout_sec=0.005)

        first = Sender()
        spin(first, 10.0, 30.0, lambda: len(sent) > 3)
        assert sent[-1] == 0.0
        for _ in range(20):  # what has not arrived yet would arrive from nobody
            executor.spin_once(timeout_sec=0.05)
        first.node.destroy_node()
        second = Sender()
        spin(second, None, 30.0, lambda: stack.count_publishers("/closed_loop_node/reference") == 1)
        spin(second, None, 0.5, lambda: False)
        sent.clear()
        spin(second, None, 0.5, lambda: False)
        assert not sent  # the clock alone says nothing of where the vehicle is
        spin(second, 5.0, 30.0, lambda: len(sent) > 3)
        assert sent[-1] == 0.0  # and not 5 m/s2 towards the first one's speed
        second.node.destroy_node()
        stack.destroy_node()
    finally:
        rclpy.try_shutdown()


def test_a_frame_set_that_overtakes_a_simulators_first_odometry_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator waits for the answer."""
    rclpy.init()
    try:
        stack, executor = ConstantVelocityStack(), SingleThreadedExecutor()
        executor.add_node(stack)
        sent: list[int] = []
        monkeypatch.setattr(stack, "send", lambda stamp_ns, wanted: sent.append(stamp_ns))
        early = FrameSet()
        early.header.stamp = ns_to_stamp(11 * S)
        stack._take("frame_set", early)
        sender = Sender()
        end_s = time.monotonic() + 30.0
        while not sent and time.monotonic() < end_s:
            sender.publish(11 * S, 5.0)
            executor.spin_once(timeout_sec=0.05)
        assert sent == [11 * S]
        sender.node.destroy_node()
        stack.destroy_node()
    finally:
        rclpy.try_shutdown()


def test_a_stack_whose_process_dies_is_reported(tmp_path: Path) -> None:
    program = "import time; print('no weights'); time.sleep(1.0); raise SystemExit(3)"
    stack = stack_command(shlex.join([sys.executable, "-c", program]))
    log = over_ros(tmp_path, stack, pose_simulator())
    assert log.end is not None and log.end["infrastructure"]
    assert log.end["reason"] == "stack_ended"
    assert "exit code 3" in log.end["detail"] and log.end["detail"].endswith("no weights")


def test_what_cannot_be_started() -> None:
    with pytest.raises(InputError, match="one of constant_velocity, depth_aeb, timer_driver"):
        example_stack("nobody")
    with pytest.raises(InputError, match="a program that can be started"):
        stack_command("no-such-program --fast")
    with pytest.raises(InputError, match="a command line"):
        stack_command("python 'unfinished")


def transform(child_frame_id: str) -> TFMessage:
    stamped = TransformStamped(child_frame_id=child_frame_id)
    stamped.transform.rotation.w = 1.0
    return TFMessage(transforms=[stamped])


def test_depth_aeb_answers_once_it_knows_where_its_camera_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone else's transform, of a lidar, is there first."""
    rclpy.init()
    try:
        stack = DepthAebStack()
        sent: list[int] = []
        monkeypatch.setattr(stack, "send", lambda stamp_ns, wanted: sent.append(stamp_ns))
        depth = Image(height=2, width=2, data=array("B", np.full(4, 50.0, np.float32).tobytes()))
        depth.header.frame_id = "front_optical_frame"
        info = CameraInfo(k=[1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0])
        parts = {"odometry": Odometry(), "frame_set": FrameSet(), "depth": depth, "camera_info": info}
        for stamp_ns, frame in enumerate(["lidar", "front_optical_frame"]):
            stack._on_tf(transform(frame))
            for name, message in parts.items():
                message.header.stamp = ns_to_stamp(stamp_ns)
                stack._take(name, message)
        assert sent == [1]
        stack.destroy_node()
    finally:
        rclpy.try_shutdown()


@pytest.mark.parametrize(
    ("model", "d", "lens"),
    [("", [], PINHOLE), ("equidistant", [0.1, 0.0, 0.0, 0.0], LensModel("equidistant", (0.1, 0.0, 0.0, 0.0)))],
)
def test_depth_aeb_knows_the_lens_of_its_camera(
    model: str, d: list[float], lens: LensModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclpy.init()
    try:
        stack, seen = DepthAebStack(), list[LensModel]()
        stack.begin()
        monkeypatch.setattr(stack._stack, "actuation", lambda views, speed_mps: seen.extend(v.lens for v in views))
        stack._on_tf(transform("eye"))
        depth = Image(height=2, width=2, data=array("B", np.full(4, 50.0, np.float32).tobytes()))
        depth.header.frame_id = "eye"
        info = CameraInfo(k=[1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0], distortion_model=model, d=d)
        stack.answer({"odometry": Odometry(), "depth": depth, "camera_info": info})
        assert seen == [lens]
        stack.destroy_node()
    finally:
        rclpy.try_shutdown()


@pytest.mark.parametrize(
    ("make", "arguments", "expected"),
    [
        (DepthAebStack, ["--bad"], "UnknownROSArgsError: ['--bad']"),
        (DepthAebStack, ["-p", "simulator:=bad-name"], "topic 'bad-name/input/command': expected a valid name"),
        (DepthAebStack, ["-p", "camera:=/bad-name"], "topic '/bad-name/depth': expected a valid name"),
        (TimerDriver, ["-p", "rate_hz:=0.0"], "parameter rate_hz: expected a number from 0.001 to 1000, got 0"),
        (TimerDriver, ["-p", "rate_hz:=20"], "InvalidParameterTypeException: "),
    ],
)
def test_arguments_that_a_stack_cannot_use_give_one_line(
    make: type[Stack],
    arguments: list[str],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert run_stack(make, ["--ros-args", *arguments]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("stack: ")]
    assert expected in line


SIGNALLED = [*((name, signal.SIGINT) for name in STACKS), ("depth_aeb", signal.SIGTERM)]


@pytest.mark.parametrize(("name", "number"), SIGNALLED)
def test_a_stack_without_a_simulator_waits_and_stops(name: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "r3d2_ros.cli", "stack", name]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert "ready" in process.stderr.readline()
            time.sleep(0.2)
            assert process.poll() is None
            process.send_signal(number)
            assert process.wait(20) == 0
        finally:
            process.kill()
