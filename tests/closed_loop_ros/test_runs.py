"""Whole runs over DDS: what is published in which order, and every kind of command."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Path as PathMessage
from r3d2_ros.msg import ActorArray
from rclpy.publisher import Publisher
from tf2_msgs.msg import TFMessage

from r3d2_ros.errors import MissingPackageError
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.nodes.command_messages import Unusable, plan_from
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.qos import reliable
from tests.closed_loop.small_world import parked
from tests.closed_loop_ros.harness import MS, Run, TestStack, drive, tiny_plan
from tests.nodes.harness import wait_for


def test_a_whole_run(tmp_path: Path) -> None:
    with TestStack() as stack, Run(tmp_path / "run.jsonl", tiny_plan()) as run:
        outcome = run.wait()
    log = run.read()
    assert outcome.reason == "duration"
    assert log.end is not None and log.end["deterministic"] and log.end["misses"] == 0
    # 10 m/s for 0.7 s.
    assert log.of("tick")[-1]["ego"][0] == pytest.approx(7.0)
    frames = [f for f in log.of("frame") if f["phase"] != "startup"]
    assert [round(f["t_s"], 3) for f in frames] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    hashes = {s.camera: s.content_hash for s in stack.frame_sets[-1].cameras}
    assert hashes == frames[-1]["hashes"]
    assert stamp_to_ns(stack.frame_sets[-1].header.stamp) == frames[-1]["stamp_ns"]


def test_odometry_tf_and_actors_say_where_everything_is(tmp_path: Path) -> None:
    transforms: list[TFMessage] = []
    actors: list[ActorArray] = []
    with TestStack() as stack:
        stack.node.create_subscription(TFMessage, "/tf", transforms.append, reliable(1000))
        stack.node.create_subscription(ActorArray, "/closed_loop_node/actors", actors.append, reliable(1000))
        with Run(tmp_path / "run.jsonl", tiny_plan(actors=[parked(50.0)])) as run:
            run.wait()
    ticks = {tick["stamp_ns"]: tick for tick in run.read().of("tick")}
    seen = {stamp_to_ns(m.header.stamp): m for m in stack.odometry}
    both = sorted(seen.keys() & ticks.keys())
    assert len(both) > 20
    for stamp in both:
        message, ego = seen[stamp], ticks[stamp]["ego"]
        assert message.pose.pose.position.x == ego[0] and message.twist.twist.linear.x == ego[4]
        assert (message.header.frame_id, message.child_frame_id) == ("map", "base_link")
    placed = {stamp_to_ns(m.transforms[0].header.stamp): m.transforms[0].transform.translation.x for m in transforms}
    assert all(placed[stamp] == seen[stamp].pose.pose.position.x for stamp in placed.keys() & seen.keys())
    actor = actors[-1].actors[0]
    assert (actor.id, actor.asset, actor.pose.position.x) == ("target", "car", 50.0)
    assert (actor.size.x, actor.size.y, actor.size.z) == (4.0, 2.0, 1.5)


def test_order_within_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[str] = []
    publish = Publisher.publish

    def record(self: Publisher, message: Any) -> None:
        if "/input/" not in self.topic_name:
            published.append(self.topic_name)
        publish(self, message)

    monkeypatch.setattr(Publisher, "publish", record)
    drive(tmp_path / "run.jsonl")
    own = [topic for topic in published if topic not in ("/diagnostics", "/rosout", "/parameter_events")]
    last = len(own) - 1 - own[::-1].index("/closed_loop_node/frame_set")
    first = last - own[last::-1].index("/clock")
    assert own[first : last + 1] == [
        "/clock",
        "/tf",
        "/closed_loop_node/odometry",
        "/closed_loop_node/actors",
        "/camera/front/camera_info",
        "/camera/left/camera_info",
        "/camera/front/image_raw",
        "/camera/left/image_raw",
        "/closed_loop_node/frame_set",
    ]


def test_twist_brakes(tmp_path: Path) -> None:
    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        message = TwistStamped()
        message.header.stamp = ns_to_stamp(stamp_ns)
        publishers["twist"].publish(message)

    publishers: dict[str, Any] = {}
    with TestStack(answer) as stack:
        publishers["twist"] = stack.node.create_publisher(TwistStamped, "/closed_loop_node/input/twist", reliable(10))
        with Run(tmp_path / "run.jsonl", tiny_plan(end={"duration_s": 4.0})) as run:
            outcome = run.wait()
    assert outcome.reason == "duration"
    assert run.read().of("tick")[-1]["ego"][4] < 0.1
    assert {r["command"]["source"] for r in run.read().of("command")} == {"twist"}


def straight(stamp_ns: int, x_m: float, y_m: float, **keys: Any) -> PathMessage:
    """Ten points, 5 m apart along +x."""
    message = PathMessage()
    message.header.stamp, message.header.frame_id = ns_to_stamp(stamp_ns), keys.get("frame", "map")
    for k in range(10):
        pose = PoseStamped()
        pose.pose.position.x, pose.pose.position.y, pose.pose.orientation.w = x_m + 5.0 * k, y_m, 1.0
        message.poses.append(pose)
    return message


def test_a_path_is_tracked_and_a_plan_is_logged(tmp_path: Path) -> None:
    publishers: dict[str, Any] = {}

    def answer(stack: TestStack, stamp_ns: int, number: int) -> None:
        if not stack.odometry:
            return  # the frame set has overtaken it
        x_m = stack.odometry[-1].pose.pose.position.x
        publishers["plan"].publish(straight(stamp_ns, x_m + 5.0, 1.0))
        publishers["path"].publish(straight(stamp_ns, x_m, 1.0))
        publishers["path"].publish(straight(stamp_ns, x_m, -5.0, frame="base_link"))

    with TestStack(answer) as stack:
        for name in ("path", "plan"):
            topic = f"/closed_loop_node/input/{name}"
            publishers[name] = stack.node.create_publisher(PathMessage, topic, reliable(10))
        with Run(tmp_path / "run.jsonl", tiny_plan(end={"duration_s": 5.0})) as run:
            outcome = run.wait()
    log = run.read()
    assert outcome.reason == "duration"
    assert log.of("tick")[-1]["ego"][1] == pytest.approx(1.0, abs=0.15)
    assert {r["command"]["source"] for r in log.of("command")} == {"path"}
    assert any("the frame 'map'" in r["text"] for r in log.of("refused"))
    assert len(log.of("plan")[-1]["points"]) == 10


def test_a_plan_with_times_is_brought_to_steps_of_half_a_second() -> None:
    message = straight(0, 0.0, 0.0)
    for k, pose in enumerate(message.poses):
        pose.header.stamp = ns_to_stamp(k * 200 * MS)
    plan = plan_from(message, frame="map")
    # 5 m every 0.2 s, until 1.8 s: at 0.5, 1.0 and 1.5 s.
    assert plan.xy[:, 0] == pytest.approx([12.5, 25.0, 37.5])
    assert np.all(plan.yaw_rad == 0.0)


def test_plans_that_say_nothing() -> None:
    with pytest.raises(Unusable, match="at least one pose"):
        plan_from(PathMessage(), frame="map")
    with pytest.raises(Unusable, match="in the frame 'map', got 'odom'"):
        plan_from(straight(0, 0.0, 0.0, frame="odom"), frame="map")
    broken = straight(0, 0.0, 0.0)
    broken.poses[3].pose.position.x = math.nan
    assert math.isnan(plan_from(broken, frame="map").xy[3, 0])  # the log leaves out a plan with such a point


def test_autoware_commands_need_their_package(tmp_path: Path) -> None:
    try:
        import autoware_control_msgs  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("autoware_control_msgs is installed, and this is about an environment without it")
    with pytest.raises(MissingPackageError, match="autoware_control_msgs"):
        Run(tmp_path / "run.jsonl", tiny_plan(), parameters={"autoware_control": True})


def test_a_stack_that_joins_late_gets_a_frame_set_of_its_own(tmp_path: Path) -> None:
    """It has missed the first one, whose answer the simulator would wait for for hours."""
    with Run(tmp_path / "run.jsonl", tiny_plan(control={"timeout_s": 1e4})) as run:
        wait_for(lambda: run.path.exists() and b'"frame"' in run.path.read_bytes(), "the first frame set")
        with TestStack():
            outcome = run.wait()
    log = run.read()
    assert outcome.reason == "duration" and log.counts["miss"] == 0
    assert len([f for f in log.of("frame") if f["phase"] == "startup"]) >= 2
