"""The node over real DDS: complete frame sets in order, honest statuses, refused input, lifecycle."""

from __future__ import annotations

import itertools
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
import xxhash
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nav_msgs.msg import Odometry
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_system_default
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from r3d2_ros.assembly import Assembled, load_config_rig
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.nodes.conversions import ns_to_stamp, write_pose
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.nodes.sim_node import SimNode, ends
from r3d2_ros.sync import MAX_QUEUE_LIMIT
from tests.nodes.harness import MS, Client, Running, assembler, pixel, small_rig, wait_for


@pytest.fixture(autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


def stamps(client: Client) -> list[int]:
    return [stamp_to_ns(f.header.stamp) // MS for f in client.frame_sets]


def test_every_ego_pose_gives_one_complete_frame_set_in_order() -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        assert node.start()
        wait_for(client.matched, "the node's subscriptions")
        for i in range(30):
            client.publish_ego(i * 100 * MS, x_m=i)
        wait_for(lambda: len(client.images["left"]) == 30, "30 images")
        wait_for(lambda: len(client.frame_sets) == 30, "30 frame sets")
        for got in (client.images["front"], *client.infos.values()):
            wait_for(lambda got=got: len(got) == 30, "30 images and camera_infos")
    assert stamps(client) == [i * 100 for i in range(30)]
    assert [f.index for f in client.frame_sets] == list(range(30))
    for name in ("front", "left"):
        assert [stamp_to_ns(m.header.stamp) // MS for m in client.images[name]] == stamps(client)
        assert [stamp_to_ns(m.header.stamp) // MS for m in client.infos[name]] == stamps(client)
        assert [pixel(m)[0] for m in client.images[name]] == list(range(30))
        assert client.images[name][0].header.frame_id == f"{name}_optical_frame"


def test_status_carries_the_hash_of_the_pixels_and_the_timings() -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=3.0)
        wait_for(lambda: bool(client.frame_sets and client.images["left"]), "a frame set")
    status = client.frame_sets[0].cameras[1]
    assert (status.camera, status.published, status.reason) == ("left", True, "")
    assert status.content_hash == xxhash.xxh3_128_hexdigest(bytes(client.images["left"][0].data))
    assert status.render_ms > 0 and status.publish_ms > 0 and status.harmonize_ms == 0


@pytest.mark.parametrize("actors_first", [True, False])
def test_required_actors_are_waited_for_and_interpolated(actors_first: bool) -> None:
    with Running({"sync.actors": "required"}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        if actors_first:
            client.publish_actors(0, car=10.0)
            client.publish_actors(100 * MS, car=20.0)
            client.publish_ego(50 * MS, x_m=1.0)
        else:
            client.publish_ego(50 * MS, x_m=1.0)
            client.publish_actors(0, car=10.0)
            client.publish_actors(100 * MS, car=20.0)
        wait_for(lambda: len(client.images["front"]) == 1 and bool(client.frame_sets), "the frame set")
    # Half way between 10 m and 20 m.
    assert pixel(client.images["front"][0]) == (1, 1, 15)
    assert list(client.frame_sets[0].instance_ids) == ["car"]


def test_auto_waits_for_actors_that_somebody_publishes() -> None:
    with Running() as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        wait_for(lambda: node.count_publishers("/sim_node/input/actors") > 0, "the publisher of actors")
        client.publish_ego(0, x_m=1.0)
        client.publish_actors(0, car=10.0)
        wait_for(lambda: bool(client.images["front"]), "the image")
    assert pixel(client.images["front"][0]) == (1, 1, 10)


def test_rate_ticks_expose_each_camera_at_its_own_time() -> None:
    rig = small_rig(("front",), rate_hz=10.0)
    left = small_rig(("left",), rate_hz=20.0, phase_s=0.01)
    both = type(rig)("two rates", rig.cameras + left.cameras)
    parameters = {"sync.tick": "rate", "sync.actors": "static"}
    with Running(parameters, assemble=assembler(both)) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        for i in range(3):
            client.publish_ego(i * 100 * MS, x_m=i * 100.0)
        wait_for(lambda: len(client.frame_sets) == 7, "7 frame sets")
        wait_for(lambda: len(client.images["left"]) == 4 and len(client.images["front"]) == 3, "the images")
    assert stamps(client) == [0, 10, 60, 100, 110, 160, 200]
    assert [[c.camera for c in f.cameras] for f in client.frame_sets] == [
        ["front"], ["left"], ["left"], ["front"], ["left"], ["left"], ["front"],
    ]  # fmt: skip
    # The ego moves 1 m per millisecond, so the pixel tells the exposure time.
    assert [pixel(m)[0] for m in client.images["left"]] == [10, 60, 110, 160]


def test_trigger_asks_for_a_frame_set_at_a_stamp() -> None:
    with Running({"sync.tick": "trigger", "sync.actors": "static"}) as node, Client() as client:
        trigger = client.node.create_publisher(Header, "/sim_node/input/trigger", reliable(10))
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        wait_for(lambda: trigger.get_subscription_count() > 0, "the trigger subscription")
        trigger.publish(Header(stamp=ns_to_stamp(30 * MS)))
        client.publish_ego(0, x_m=0.0)
        client.publish_ego(100 * MS, x_m=100.0)
        wait_for(lambda: bool(client.images["front"] and client.frame_sets), "the image")
    assert stamps(client) == [30]
    assert pixel(client.images["front"][0])[0] == 30


def test_latest_renders_the_newest_pose_and_counts_what_it_skipped() -> None:
    parameters = {"sync.mode": "latest", "sync.latest_rate_hz": 5.0}
    with Running(parameters) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        for i in range(20):
            client.publish_ego(i * 10 * MS, x_m=i)
        wait_for(lambda: bool(client.frame_sets) and stamps(client)[-1] == 190, "the newest pose")
        skipped = node._inputs.figures()["skipped"]
    assert skipped + len(client.frame_sets) == 20


def test_first_tick_waits_for_subscribers() -> None:
    with Running({"sync.actors": "static", "output.min_subscribers": 1}) as node:
        node.start()
        with Client(()) as driver:
            wait_for(driver.matched, "the node's subscriptions")
            driver.publish_ego(0, x_m=7.0)
            with Client() as client:
                wait_for(lambda: bool(client.images["front"] and client.images["left"]), "the images")
    assert pixel(client.images["front"][0])[0] == 7


def test_bad_messages_are_reported_and_the_node_goes_on() -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=float("nan"))
        client.publish_ego(0, x_m=1.0, frame_id="odom")
        client.publish_ego(0, x_m=1.0, child_frame_id="lidar")
        client.publish_actors(0, car=float("inf"))
        client.publish_ego(100 * MS, x_m=5.0)
        wait_for(lambda: bool(client.images["front"] and client.frame_sets), "the frame set of the good pose")
        figures = node._inputs.figures()
    assert pixel(client.images["front"][0]) == (5, 0, 0)
    assert len(client.frame_sets) == 1
    for cause in ("ego.position", "/sim_node/input/odometry.frame", "ego.child_frame"):
        assert any(name.endswith(cause.removeprefix("/sim_node")) for name in figures), (cause, figures)


def test_pose_stamped_and_markers_are_the_standard_alternatives() -> None:
    with Running() as node, Client() as client:
        pose = client.node.create_publisher(PoseStamped, "/sim_node/input/pose", reliable(10))
        markers = client.node.create_publisher(MarkerArray, "/sim_node/input/actor_markers", reliable(10))
        node.start()
        wait_for(lambda: pose.get_subscription_count() and markers.get_subscription_count(), "subscriptions")
        array = MarkerArray(markers=[Marker(ns="npc", id=4, type=Marker.CUBE, text="car")])
        marker = array.markers[0]
        marker.header.frame_id = "map"
        marker.scale.x, marker.scale.y, marker.scale.z = 8.0, 2.0, 1.5
        write_pose(marker.pose, Rigid.from_xyz_yaw(33.0, 0, 0, 0))
        markers.publish(array)
        message = PoseStamped()
        message.header.frame_id = "map"
        write_pose(message.pose, Rigid.from_xyz_yaw(2.0, 0, 0, 0))
        pose.publish(message)
        wait_for(lambda: bool(client.images["front"]) and bool(client.frame_sets), "the image")
    assert pixel(client.images["front"][0]) == (2, 1, 33)
    assert list(client.frame_sets[0].instance_ids) == ["npc/4"]


def test_markers_for_rviz_do_not_shut_out_the_actors_of_their_stamp() -> None:
    with Running() as node, Client() as client:
        markers = client.node.create_publisher(MarkerArray, "/sim_node/input/actor_markers", reliable(10))
        node.start()
        wait_for(lambda: markers.get_subscription_count() and client.matched(), "subscriptions")
        wait_for(lambda: node.count_publishers("/sim_node/input/actors") > 0, "the publisher of actors")
        markers.publish(MarkerArray(markers=[Marker(ns="rviz", type=Marker.CUBE)]))
        wait_for(lambda: node._inputs.figures().get("actors.not_used") == 1, "the report")
        client.publish_actors(0, car=10.0)
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: bool(client.images["front"]), "the image")
    assert pixel(client.images["front"][0]) == (1, 1, 10)


def test_time_that_jumps_back_begins_anew() -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        for lap in range(2):
            for i in range(3):
                client.publish_ego(10_000 * MS + i * 1000 * MS, x_m=lap * 10 + i)
        wait_for(lambda: len(client.images["front"]) == 6, "two laps")
        assert node._inputs.figures()["time_jump"] == 1
    assert [pixel(m)[0] for m in client.images["front"]] == [0, 1, 2, 10, 11, 12]


def test_as_many_poses_may_wait_in_the_middleware_as_in_the_longest_queue() -> None:
    with Running() as node:
        assert node.start()
        assert {s.qos_profile.depth for s in node._inputs._subscriptions} == {MAX_QUEUE_LIMIT}


def test_depth_instance_and_jpeg_topics() -> None:
    outputs = {"output.depth": True, "output.instance": True, "output.compressed": True}
    with Running({"sync.actors": "required", **outputs}) as node, Client() as client:
        got: dict[str, list] = {"depth": [], "instance": [], "image_raw/compressed": []}
        for topic, kind in (("depth", Image), ("instance", Image), ("image_raw/compressed", CompressedImage)):
            client.node.create_subscription(kind, f"/camera/front/{topic}", got[topic].append, reliable(5))
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        wait_for(
            lambda: all(node.count_subscribers(f"/camera/front/{t}") for t in got),
            "the client's subscriptions",
        )
        client.publish_actors(0, car=9.0)
        client.publish_ego(0, x_m=0.0)
        wait_for(lambda: all(got.values()), "all topics")
    depth, instance = got["depth"][0], got["instance"][0]
    assert depth.encoding == "32FC1" and np.frombuffer(depth.data, np.float32)[0] == 7.5
    assert instance.encoding == "16UC1" and np.frombuffer(instance.data, np.uint16)[0] == 1
    assert bytes(got["image_raw/compressed"][0].data[:2]) == b"\xff\xd8"


def test_nothing_of_tf_static_stays_behind_when_a_robot_description_owns_it() -> None:
    with Running() as node:
        assert node.start() and node.count_publishers("/tf_static") == 1
        assert node.trigger_deactivate() and node.trigger_cleanup()
        wait_for(lambda: node.count_publishers("/tf_static") == 0, "the publisher to be gone")
        node.set_parameters([Parameter("output.publish_tf", value=False)])
        assert node.start() and node.count_publishers("/tf_static") == 0


def test_a_prefix_is_in_front_of_every_frame_of_the_vehicle() -> None:
    def assemble(config: SimConfig, say: Callable[[str], None]) -> Assembled:
        return assembler(load_config_rig(config))(config, say)

    parameters = {"sync.actors": "static", "frames.prefix": "car_a/", "rig.source": "demo3", "output.depth": True}
    with Running(parameters, assemble=assemble) as node, Client(("front",)) as client:
        transforms: list[TFMessage] = []
        depth: list[Image] = []
        client.node.create_subscription(
            TFMessage, "/tf_static", transforms.append, reliable(1, transient_local=True)
        )
        client.node.create_subscription(Image, "/camera/front/depth", depth.append, reliable(5))
        assert node.start()
        wait_for(client.matched, "the node's subscriptions")
        wait_for(lambda: node.count_subscribers("/camera/front/depth") == 1, "the reader of depth")
        client.publish_ego(0, x_m=1.0)
        client.publish_ego(100 * MS, x_m=1.0, child_frame_id="car_a/base_link")
        client.publish_ego(200 * MS, x_m=1.0, child_frame_id="car_b/base_link")
        wait_for(lambda: len(client.frame_sets) == 2 and bool(transforms and depth), "both frame sets")
        wait_for(lambda: "ego.child_frame" in node._inputs.figures(), "the other vehicle's pose")
        wait_for(lambda: bool(client.images["front"] and client.infos["front"]), "the pictures")
    assert client.frame_sets[0].header.frame_id == "car_a/base_link"
    for message in (client.images["front"][0], client.infos["front"][0], depth[0]):
        assert message.header.frame_id == "car_a/front_optical_frame"
    names = {(t.header.frame_id, t.child_frame_id) for t in transforms[0].transforms}
    assert ("car_a/base_link", "car_a/front_optical_frame") in names and len(names) == 3
    assert all(name.startswith("car_a/") for pair in names for name in pair)


def test_tf_static_holds_every_camera() -> None:
    with Running() as node, Client() as client:
        got: list[TFMessage] = []
        client.node.create_subscription(TFMessage, "/tf_static", got.append, reliable(1, transient_local=True))
        node.start()
        wait_for(lambda: bool(got), "tf_static")
    names = [(t.header.frame_id, t.child_frame_id) for t in got[0].transforms]
    assert names == [("base_link", "front_optical_frame"), ("base_link", "left_optical_frame")]


def test_overflow_stops_the_run_with_an_error() -> None:
    parameters = {"sync.actors": "static", "sync.queue_limit": 5}
    with Running(parameters, assemble=assembler(delay_s=0.2)) as node, Client() as client:
        errors: list[str] = []

        def on_diagnostics(message: DiagnosticArray) -> None:
            errors.extend(s.message for s in message.status if s.level == DiagnosticStatus.ERROR)

        client.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, reliable(50))
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        for i in range(30):
            client.publish_ego(i * 10 * MS, x_m=i)
        wait_for(lambda: node._state_machine.current_state[1] == "inactive", "the run to stop")
        wait_for(lambda: any("queue_limit is 5" in text for text in errors), "the ERROR diagnostic")
        wait_for(lambda: "frame sets not made" in node.statistics.counts(), "the end of the run")
        not_made, published = (node.statistics.counts()[name] for name in ("frame sets not made", "frame sets"))
    assert not_made > 0 and published + not_made >= 6
    assert any("`ros2 lifecycle set /sim_node activate` begins a new run" in text for text in errors)


def told_by(node: SimNode, monkeypatch: pytest.MonkeyPatch) -> Callable[[], DiagnosticStatus]:
    """What the node says of its run when it is asked."""
    told: list[DiagnosticStatus] = []
    monkeypatch.setattr(node.diagnostics, "publish", lambda *statuses: told.append(statuses[0]))

    def ask() -> DiagnosticStatus:
        node._diagnose()
        return told[-1]

    return ask


def held(node: SimNode, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Rendering waits until the event is set."""
    assert node._assembled is not None
    go_on, renderer = threading.Event(), node._assembled.simulator.renderer
    render = renderer.render

    def wait_and_render(*arguments: object, **options: object) -> object:
        assert go_on.wait(40)
        return render(*arguments, **options)

    monkeypatch.setattr(renderer, "render", wait_and_render)
    return go_on


def test_frame_sets_that_wait_when_the_run_ends_are_counted_and_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        assert node.start()
        go_on = held(node, monkeypatch)
        wait_for(client.matched, "the node's subscriptions")
        for i in range(10):
            client.publish_ego(i * 100 * MS, x_m=i)
        wait_for(lambda: node._inputs.waiting_ticks() == 9, "one in the making and the others")
        loop = node._loop
        ending = threading.Thread(target=node.trigger_deactivate)
        ending.start()
        wait_for(lambda: loop._stopping, "the end to begin")
        go_on.set()
        ending.join(10)
        assert node.trigger_cleanup()
        assert node.statistics.counts() | {"frame sets": 1, "frame sets not made": 9} == node.statistics.counts()
    log = capfd.readouterr().err
    assert "deactivated: 9 frame sets that waited are not made" in log and "cleaned up" in log


def test_a_backlog_is_told_before_it_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    parameters = {"sync.actors": "static", "sync.queue_limit": 40}
    with Running(parameters) as node, Client() as client:
        ask = told_by(node, monkeypatch)
        assert node.start()
        go_on = held(node, monkeypatch)
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=0)
        wait_for(lambda: not node._inputs.missing_ego(), "the first pose")
        assert (ask().message, ask().level) == ("rendering", DiagnosticStatus.OK)
        for i in range(1, 11):
            client.publish_ego(i * 100 * MS, x_m=i)
        wait_for(lambda: node._inputs.waiting_ticks() > 5, "ticks that wait")
        ask()
        told = ask()
        go_on.set()
        wait_for(lambda: len(client.frame_sets) == 11, "all frame sets")
        assert ask().message == "rendering"
        assert float({v.key: v.value for v in ask().values}["frame sets per second"]) > 0
    assert told.level == DiagnosticStatus.WARN
    assert re.search(r"frame sets wait, the oldest for \d+\.\d s: .* fewer or smaller cameras", told.message)
    log = capfd.readouterr().err
    assert log.count("More than sync.queue_limit, 40, end the run") == 1


def test_a_run_without_an_ego_says_where_it_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    with Running({"sync.actors": "static"}) as node, Client(()) as client:
        ask = told_by(node, monkeypatch)
        client.node.destroy_publisher(client.odometry)
        client.odometry = client.node.create_publisher(Odometry, "/sim_node/input/odometry", best_effort)
        assert node.start()
        wait_for(lambda: "odometry (1 publisher, incompatible RELIABILITY)" in ask().message, "the publisher")
        told = ask()
    assert told.level == DiagnosticStatus.WARN
    assert "waiting for the ego on /sim_node/input/odometry" in told.message
    assert "/sim_node/input/pose (0 publishers)" in told.message
    assert "qos_overrides./sim_node/input/odometry.subscription.reliability" in capfd.readouterr().err


def test_a_best_effort_ego_is_heard_where_the_override_says_so() -> None:
    override = {"qos_overrides./sim_node/input/odometry.subscription.reliability": "best_effort"}
    best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
    with Running({"sync.actors": "static", **override}) as node, Client() as client:
        client.odometry = client.node.create_publisher(Odometry, "/sim_node/input/odometry", best_effort)
        assert node.start()
        drive_until_answered(client)


def call(client: Client, kind: type, name: str, request: object, timeout_s: float = 60.0) -> object:
    """A service's answer. One of its name in a process that was killed is in the way until a lease of 20 s is over."""
    known = [service for service in client.node.clients if service.srv_name == name]
    service = known[0] if known else client.node.create_client(kind, name)
    if not service.wait_for_service(timeout_s):
        servers, callers = client.node.count_services(name), client.node.count_clients(name)
        pytest.fail(f"{name}: {servers} servers, {callers} clients seen; nodes: {client.node.get_node_names()}")
    future = service.call_async(request)
    wait_for(future.done, name, timeout_s)
    return future.result()


def test_services_answer_while_a_scene_loads_and_a_failed_transition_tells_why() -> None:
    loading, go_on = threading.Event(), threading.Event()

    def slow_then_broken(config: SimConfig, say: object) -> Assembled:
        loading.set()
        assert go_on.wait(20)
        raise InputError("scene.source", "a scene", "a potato")

    with Running(assemble=slow_then_broken) as node, Client() as client:
        errors: list[str] = []

        def on_diagnostics(message: DiagnosticArray) -> None:
            errors.extend(s.message for s in message.status if s.level == DiagnosticStatus.ERROR)

        client.node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, qos_profile_system_default)
        starting = threading.Thread(target=node.start)
        starting.start()
        assert loading.wait(20)
        state = call(client, GetState, "/sim_node/get_state", GetState.Request())
        assert state.current_state.label == "configuring"
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        assert not call(client, ChangeState, "/sim_node/change_state", request).success
        go_on.set()
        starting.join(10)
        state = call(client, GetState, "/sim_node/get_state", GetState.Request())
        assert state.current_state.label == "unconfigured"
        wait_for(lambda: any("a potato" in text for text in errors), "the ERROR diagnostic")


def test_a_configure_that_fails_keeps_nothing_of_what_it_loaded() -> None:
    loaded: list[weakref.ref[Assembled]] = []
    kept: list[int] = []

    def assemble(config: SimConfig, say: Callable[[str], None]) -> Assembled:
        kept.append(sum(ref() is not None for ref in loaded))
        assembled = assembler()(config, say)
        loaded.append(weakref.ref(assembled))
        return assembled

    node = SimNode(assemble=assemble, parameter_overrides=[Parameter("output.namespace", value="n" * 300)])
    threads = set(threading.enumerate())
    assert not node.start()
    assert set(threading.enumerate()) <= threads, "its harmonize thread has ended"
    node.set_parameters([Parameter("output.namespace", value="camera")])
    assert node.start() and kept == [0, 0]
    node.stop()
    node.destroy_node()


def test_lifecycle_through_its_services_with_a_second_run() -> None:
    with Running({"sync.actors": "static"}), Client() as client:

        def change(transition: int) -> bool:
            request = ChangeState.Request(transition=Transition(id=transition))
            return call(client, ChangeState, "/sim_node/change_state", request).success

        assert not change(Transition.TRANSITION_ACTIVATE), "activate is not possible from unconfigured"
        for lap in range(2):
            assert change(Transition.TRANSITION_CONFIGURE)
            assert change(Transition.TRANSITION_ACTIVATE)
            wait_for(client.matched, "the node's subscriptions")
            client.publish_ego(1000 * MS, x_m=lap + 1)
            wait_for(lambda n=lap + 1: len(client.images["front"]) == n, "an image of this run")
            wait_for(lambda n=lap + 1: len(client.frame_sets) == n, "its frame set")
            assert change(Transition.TRANSITION_DEACTIVATE)
            assert change(Transition.TRANSITION_CLEANUP)
            wait_for(lambda: client.odometry.get_subscription_count() == 0, "the inputs to close")
    assert [pixel(m)[0] for m in client.images["front"]] == [1, 2]
    assert [f.index for f in client.frame_sets] == [0, 0], "each run counts from 0"


def test_a_slow_reader_loses_only_its_own_samples() -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client, Client(()) as slow:
        seen: list[int] = []

        def on_image(message: Image) -> None:
            time.sleep(0.5)
            seen.append(stamp_to_ns(message.header.stamp))

        slow.node.create_subscription(Image, "/camera/front/image_raw", on_image, reliable(1))
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        wait_for(lambda: node.count_subscribers("/camera/front/image_raw") == 2, "both readers")
        for i in range(40):
            client.publish_ego(i * 100 * MS, x_m=i)
        wait_for(lambda: len(client.images["front"]) == 40, "all 40 images at the reader that keeps up")
        wait_for(lambda: len(client.frame_sets) == 40, "all 40 frame sets")
        assert len(seen) < 20, "the slow reader takes 0.5 s an image: the node must not have waited for it"
    assert stamps(client) == [i * 100 for i in range(40)]


def test_the_time_after_which_a_stall_is_reported_can_be_changed_while_it_lasts() -> None:
    with Running({"sync.actors": "required", "sync.stall_report_s": 3600.0}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: node._inputs.figures().get("queued") == 1, "the tick")
        (result,) = node.set_parameters([Parameter("sync.stall_report_s", value=0.5)])
        assert result.successful
        wait_for(lambda: node._inputs.stall is not None, "the report")


def test_latest_follows_the_simulated_clock() -> None:
    parameters = {"sync.mode": "latest", "sync.latest_rate_hz": 10.0, "use_sim_time": True}
    with Running(parameters) as node, Client() as client:
        clock = client.node.create_publisher(Clock, "/clock", reliable(10))
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        wait_for(lambda: clock.get_subscription_count() > 0, "the clock subscription")
        clock.publish(Clock(clock=ns_to_stamp(1000 * MS)))
        wait_for(lambda: node.get_clock().now().nanoseconds == 1000 * MS, "the simulated time")
        time.sleep(0.2)  # the leap from 0 to 1 s is itself a moment to render
        client.publish_ego(1000 * MS, x_m=1.0)
        time.sleep(0.5)
        rendered_while_time_stood = len(client.frame_sets)
        for t in range(1100, 1600, 50):
            clock.publish(Clock(clock=ns_to_stamp(t * MS)))
            time.sleep(0.05)
        wait_for(lambda: bool(client.frame_sets), "the frame set once time goes on")
    assert rendered_while_time_stood == 0
    assert stamps(client) == [1000]


@pytest.mark.parametrize("broken", [True, False])
def test_a_missing_clock_hides_no_fault_and_is_told_of_a_node_that_renders(
    broken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(config: SimConfig, say: object) -> Assembled:
        raise InputError("scene.source", "a scene", "a potato")

    parameters = {"use_sim_time": True, "sync.mode": "latest"}
    with Running(parameters, assemble=refuse if broken else None) as node:
        told: list[DiagnosticStatus] = []
        monkeypatch.setattr(node.diagnostics, "publish", lambda *statuses: told.append(statuses[0]))
        node._diagnose()
        assert told[-1].message == "unconfigured"
        assert node.start() is not broken
        node._diagnose()
        assert ("a potato" if broken else "no /clock has arrived") in told[-1].message


def test_reports_of_different_severity_follow_each_other() -> None:
    with Running({"sync.actors": "required"}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        client.publish_actors(0)  # information: an empty array
        client.publish_actors(4000 * MS)
        client.publish_ego(2000 * MS, x_m=1.0)  # warning: the gap is too large to interpolate
        wait_for(lambda: len(client.frame_sets) == 1, "the failed frame set")
        client.publish_ego(4000 * MS, x_m=2.0)
        wait_for(lambda: len(client.images["front"]) == 1, "the picture after it")
        wait_for(lambda: len(client.frame_sets) == 2, "its frame set")
    assert "max_interpolation_gap_s" in client.frame_sets[0].cameras[0].reason
    assert [f.cameras[0].published for f in client.frame_sets] == [False, True]


def test_a_render_thread_that_ends_stops_the_run_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        monkeypatch.setattr(node._outputs, "publish", lambda *a, **k: 1 / 0)
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: node._state_machine.current_state[1] == "inactive", "the run to stop")
        assert "ZeroDivisionError" in node._fault


def marker(action: int, x_m: float = 0.0, stamp_ns: int = 0, frame_id: str = "map") -> Marker:
    made = Marker(ns="npc", action=action, type=Marker.CUBE, text="car", id=int(x_m))
    made.header.frame_id, made.header.stamp = frame_id, ns_to_stamp(stamp_ns)
    made.scale.x, made.scale.y, made.scale.z = 4.0, 2.0, 1.5
    write_pose(made.pose, Rigid.from_xyz_yaw(x_m, 0, 0, 0))
    return made


def test_markers_behind_a_delete_all_and_markers_of_two_frames() -> None:
    with Running({"sync.actors": "required"}) as node, Client() as client:
        markers = client.node.create_publisher(MarkerArray, "/sim_node/input/actor_markers", reliable(10))
        node.start()
        wait_for(lambda: markers.get_subscription_count() and client.matched(), "subscriptions")
        mixed = [marker(Marker.ADD, 9.0, 100 * MS), marker(Marker.ADD, 8.0, 100 * MS, "base_link")]
        markers.publish(MarkerArray(markers=mixed))
        cleared = [Marker(action=Marker.DELETEALL), marker(Marker.ADD, 33.0, 200 * MS)]
        markers.publish(MarkerArray(markers=cleared))
        client.publish_ego(200 * MS, x_m=2.0)
        wait_for(lambda: bool(client.images["front"]), "the image")
        assert node._inputs.figures()["actors.mixed_headers"] == 1
    assert pixel(client.images["front"][0]) == (2, 1, 33)


def test_what_a_failed_transition_made_is_taken_down_again() -> None:
    overrides = {
        "output.depth": True,
        "qos_overrides./camera/front/depth.publisher.reliability": "sometimes",
        "qos_overrides./sim_node/input/trigger.subscription.reliability": "sometimes",
    }
    with Running(overrides) as node:
        assert not node.start()
        assert "camera/front/depth" in node._fault and "sometimes" in node._fault
        wait_for(lambda: node.count_publishers("/camera/front/image_raw") == 0, "the publishers to be gone")
        node.set_parameters([Parameter("output.depth", value=False)])
        assert not node.start()
        assert "input/trigger" in node._fault
        assert node._state_machine.current_state[1] == "inactive"
        assert node.count_publishers("/camera/front/image_raw") == 1
        wait_for(lambda: node.count_subscribers("/sim_node/input/odometry") == 0, "the subscriptions to be gone")


def test_min_subscribers_counts_the_pictures_that_are_published() -> None:
    with (
        Running(
            {"sync.actors": "static", "output.raw": False, "output.depth": True, "output.min_subscribers": 1}
        ) as node,
        Client(()) as client,
    ):
        got: list[Image] = []
        for name in ("front", "left"):
            client.node.create_subscription(Image, f"/camera/{name}/depth", got.append, reliable(5))
        node.start()
        wait_for(client.matched, "the node's subscriptions")
        client.publish_ego(0, x_m=1.0)
        wait_for(lambda: len(got) == 2, "both depth images")


def drive_until_answered(client: Client) -> None:
    """Pose after pose: the first frame sets of another process may come before it has found this one's reader."""
    poses = itertools.count()

    def answered() -> bool:
        pose = next(poses)
        client.publish_ego(pose * 100 * MS, x_m=pose)
        time.sleep(0.05)
        return bool(client.frame_sets)

    wait_for(answered, "a frame set")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_process_without_a_traceback(number: int) -> None:
    command = [sys.executable, "-m", "r3d2_ros.nodes.bench_node", "--ros-args", "-p", "sync.actors:=static"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child,
        Client(()) as client,
    ):
        try:
            wait_for(client.matched, "the node's subscriptions")
            drive_until_answered(client)
        except AssertionError:
            child.kill()
            raise
        child.send_signal(number)
        output, _ = child.communicate(timeout=30)
    assert child.returncode == 0, output
    assert "Traceback" not in output and "FATAL" not in output


def test_nothing_begins_to_load_when_the_process_ends() -> None:
    with Running({"sync.actors": "static"}) as node, Client() as client:
        assert node.stop()
        assert not node.start(), "a thread that was about to start it comes too late"
        request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
        assert not call(client, ChangeState, "/sim_node/change_state", request).success
        assert node._state_machine.current_state[1] == "unconfigured"


BUSY_NODE = """
import sys, time
from r3d2_ros.nodes import sim_node

sim_node.STOP_WAIT_S = 0.1

class Node(sim_node.SimNode):
    def destroy_node(self):
        print("destroyed", file=sys.stderr)
        super().destroy_node()

def make_node():
    node = Node()

    def work():
        print("at work", flush=True)
        time.sleep(20.0)

    node.create_timer(0.05, work)
    return node

sys.exit(sim_node.spin(make_node, ["--ros-args", "-p", "autostart:=false"]))
"""


def test_the_node_is_not_destroyed_under_a_callback_that_outlasts_the_signal() -> None:
    command = [sys.executable, "-c", BUSY_NODE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == "at work\n"
            child.send_signal(signal.SIGINT)
            _, errors = child.communicate(timeout=15)
        finally:
            child.kill()
    assert child.returncode == 0, errors
    assert "destroyed" not in errors and "Traceback" not in errors


def test_a_second_signal_is_taken_while_the_first_one_ends_the_wait() -> None:
    ended = threading.Event()
    take = ends(ended)
    take(signal.SIGINT, None)
    assert ended.is_set()
    with ended._cond:  # held by the thread that wakes, which is the one that takes signals
        second = threading.Thread(target=take, args=(signal.SIGINT, None), daemon=True)
        second.start()
        second.join(5.0)
        assert not second.is_alive()


FAILING_NODE = """
import sys
from r3d2_ros.nodes.sim_node import SimNode, spin

def make_node():
    node = SimNode()
    node.create_timer(0.1, lambda: 1 / 0)
    return node

sys.exit(spin(make_node, ["--ros-args", "-p", "autostart:=false"]))
"""


def test_a_callback_that_ends_the_executor_ends_the_process_with_status_1() -> None:
    run = subprocess.run([sys.executable, "-c", FAILING_NODE], capture_output=True, text=True, timeout=30)
    assert "ZeroDivisionError" in run.stderr
    assert run.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--badflag"], "UnknownROSArgsError: ['--badflag']"),
        (["-p", "autostart:=5"], "'autostart' to '5' of type 'INTEGER', expecting type 'BOOL'"),
        (["-p", "sync.mode:=x"], "sync.mode: expected 'lockstep' or 'latest', got 'x'"),
        (["-p", "rig.source:=/nope"], "configure failed: "),
    ],
)
def test_arguments_that_cannot_be_used_give_one_line(arguments: list[str], expected: str) -> None:
    command = [sys.executable, "-m", "r3d2_ros.nodes.bench_node", "--ros-args", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert expected in run.stderr.strip().splitlines()[-1]
