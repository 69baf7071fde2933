"""The bag player over DDS: what it publishes, and that a live simulator fed by it shows what a replay shows."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import xxhash
from nav_msgs.msg import Odometry
from r3d2_ros.msg import ActorArray, FrameSet
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from r3d2_ros.assembly import assemble
from r3d2_ros.cli.main import main
from r3d2_ros.config import load_config
from r3d2_ros.errors import InputError
from r3d2_ros.input_checks import ActorInput, ActorRules, Fault, actor_state
from r3d2_ros.message_fields import position, stamp_to_ns
from r3d2_ros.nodes import bag_player
from r3d2_ros.nodes.bag_player import BagPlayer
from r3d2_ros.nodes.executor import LastingSingleThreadedExecutor, spin_until_shutdown
from r3d2_ros.nodes.play_topics import SimulatorInputs
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.world import ActorState
from tests.cli.small import blobs
from tests.nodes.harness import Running, assembler, small_rig, wait_for
from tests.replay import bags
from tests.replay.bags import LOG_OFFSET_NS, NS, Entry, drive, ns, oncoming, recorded, write_bag
from tests.replay.small import write_small
from tests.replay.test_folder import Place

SECONDS = [i / 10 for i in range(12)]


@pytest.fixture(autouse=True)
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.try_shutdown()


class Playing:
    """A BagPlayer that plays in a thread."""

    def __init__(self, bag: Path, **parameters: Any) -> None:
        overrides = [Parameter(name, value=value) for name, value in {"bag": str(bag), **parameters}.items()]
        self.player = BagPlayer(parameter_overrides=overrides)
        self._executor = LastingSingleThreadedExecutor()
        self._executor.add_node(self.player)
        self._spinning = threading.Thread(target=spin_until_shutdown, args=(self._executor,), daemon=True)
        self._spinning.start()
        self.thread = threading.Thread(target=self.player.play, daemon=True)
        self.thread.start()

    def __enter__(self) -> Playing:
        return self

    def __exit__(self, *error: object) -> None:
        self.player.stop()
        self.thread.join(10.0)
        assert not self.thread.is_alive()
        self._executor.shutdown(timeout_sec=2.0)
        self._spinning.join(5.0)
        self.player.close()
        self.player.destroy_node()


class Ear:
    """Collects what is published on some topics, in the order of its arrival."""

    def __init__(self, topics: dict[str, type], *, latched: tuple[str, ...] = ()) -> None:
        self.node = rclpy.create_node("ear")
        self.heard: dict[str, list[Any]] = {name: [] for name in topics}
        for name, kind in topics.items():
            quality = reliable(1000, transient_local=name in latched)
            self.node.create_subscription(kind, name, self.heard[name].append, quality)
        self._executor = LastingSingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin_until_shutdown, args=(self._executor,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(5.0)
        self.node.destroy_node()


def test_topics_are_published_as_they_are_and_the_clock_with_them(tmp_path: Path) -> None:
    mounted = bags.tf(bags.transform(0, "base_link", "lidar", bags.pose(1)))
    entries = [*drive(SECONDS[:4]), Entry("/tf_static", ns(0) + 1, mounted)]
    entries += [recorded("/note", s, bags.T["std_msgs/msg/String"](data=f"at {s}")) for s in SECONDS[:4]]
    entries += [recorded("/odd", 0.1, bags.derived_objects(0.1, []))]
    bag = write_bag(tmp_path / "bag", entries)
    topics = {"/odom": Odometry, "/note": String, "/clock": Clock, "/tf_static": TFMessage}
    with Ear(topics) as ear, Playing(bag, simulator="", rate=4.0, clock_hz=50.0) as playing:
        wait_for(lambda: not playing.thread.is_alive(), "the end of the bag")
        wait_for(lambda: len(ear.heard["/note"]) == len(ear.heard["/odom"]) == 4, "every message")
        assert playing.player._passed is not None
        assert playing.player._passed.notes == [
            "/odd is not published: derived_object_msgs/msg/ObjectArray is not installed"
        ]
    assert [m.data for m in ear.heard["/note"]] == [f"at {s}" for s in SECONDS[:4]]
    assert [stamp_to_ns(m.header.stamp) for m in ear.heard["/odom"]] == [ns(s) for s in SECONDS[:4]]
    assert [m.pose.pose.position.x for m in ear.heard["/odom"]] == [10 * s for s in SECONDS[:4]]
    times = [stamp_to_ns(m.clock) for m in ear.heard["/clock"]]
    assert times == sorted(set(times)), "the clock rises with every message"
    assert {ns(s) + LOG_OFFSET_NS for s in SECONDS[:4]} <= set(times)
    assert len(times) >= 15, "50 Hz over 0.3 s, and a step for each message"


def test_the_clock_follows_stamps_of_another_clock(tmp_path: Path) -> None:
    """Recorded hours after the stamps say: /clock is in the time of the stamps."""
    late = [Entry(e.topic, e.log_ns + 7200 * NS, e.message) for e in drive([0.0, 0.1])]
    bag = write_bag(tmp_path / "bag", late)
    with Ear({"/clock": Clock}) as ear, Playing(bag, simulator="", clock_hz=0.001) as playing:
        wait_for(lambda: not playing.thread.is_alive(), "the end of the bag")
        wait_for(lambda: len(ear.heard["/clock"]) >= 2, "the clock")
    assert [stamp_to_ns(m.clock) for m in ear.heard["/clock"]][-1] == ns(0.1)


def test_without_a_simulator_any_bag_is_played(tmp_path: Path) -> None:
    notes = [recorded("/note", s, bags.T["std_msgs/msg/String"](data=f"at {s}")) for s in SECONDS[:3]]
    bag = write_bag(tmp_path / "bag", notes)
    with Ear({"/note": String}) as ear, Playing(bag, simulator="", start_s=0.1, rate=4.0):
        wait_for(lambda: len(ear.heard["/note"]) == 2, "the notes")
    assert [m.data for m in ear.heard["/note"]] == ["at 0.1", "at 0.2"]
    with pytest.raises(InputError, match="ego: expected messages of type"):
        BagPlayer(parameter_overrides=[Parameter("bag", value=str(bag)), Parameter("rate", value=4.0)])


def test_topics_of_somebody_else_and_those_that_ros_does_not_know_are_left_out(tmp_path: Path) -> None:
    notes = [recorded(name, 0.0, bags.T["std_msgs/msg/String"](data="a")) for name in ("/note", "/two words")]
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS[:3]), *notes])
    other = rclpy.create_node("other")
    other.create_publisher(Odometry, "/odom", reliable(1))
    try:
        with Playing(bag, simulator="", delay_s=0.0) as playing:
            wait_for(lambda: not playing.thread.is_alive(), "the end of the bag")
            passed = playing.player._passed
            assert passed is not None and passed.topics == ["/note"]
            taken, odd = sorted(passed.notes)
            assert taken == "/odom is not published: another node publishes it"
            assert odd.startswith("/two words is not published: topic name") and "must not contain" in odd
    finally:
        other.destroy_node()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"start_s": 0.21}, "parameter start_s: expected at most 0.200, the seconds that .*bag takes, got 0.21"),
        ({"topics": "none"}, "bag: expected messages that can be published, got none"),
    ],
)
def test_nothing_to_play_is_said_once_and_not_looped_over(
    tmp_path: Path, parameters: dict[str, Any], text: str
) -> None:
    mounted = Entry("/tf_static", ns(0) + LOG_OFFSET_NS, bags.tf(bags.transform(0, "base_link", "a", bags.pose(1))))
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS[:3]), mounted])
    values = {"bag": str(bag), "simulator": "", "delay_s": 0.0, "loop": True, **parameters}
    player = BagPlayer(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    end = threading.Timer(1.0, player.stop)
    end.start()
    try:
        with pytest.raises(InputError, match=text):
            player.play()
    finally:
        end.cancel()
        player.close()
        player.destroy_node()


def tracked_car(second: float) -> Any:
    car = bags.autoware_object(3, 1, bags.pose(20 - 5 * second, 2, 1.0, 3.1), (2.0, 1.0, 1.5))
    return bags.autoware_objects(second, [car])


OBJECTS = [recorded("/objects", s, tracked_car(s)) for s in SECONDS]
TF = [
    recorded("/tf", s, bags.tf(bags.transform(s, "map", "odom", bags.pose(0.3 * s, 0, 0, 0.02 * s)),
                               bags.transform(s, "odom", "base_link", bags.pose(10 * s, 0.1, 0, 0.1 * s))))
    for s in SECONDS
]  # fmt: skip
DRIVES: dict[str, list[Entry]] = {
    "odometry, actor arrays": [*drive(SECONDS), *oncoming(SECONDS[::3])],
    "pose with covariance": drive(SECONDS, kind="PoseWithCovarianceStamped"),
    "tf, tracked objects": [*TF, *OBJECTS],
    "odometry, cubes": [*drive(SECONDS), *(recorded("/shown", s, bags.marker_array(s, [("car", 15 - 5 * s)]))
                                           for s in SECONDS)],
}


@pytest.mark.parametrize("tick", ["ego", "rate"])
@pytest.mark.parametrize("name", DRIVES)
def test_a_live_simulator_shows_what_a_replay_shows(tmp_path: Path, name: str, tick: str) -> None:
    """The same frame sets under the same numbers, the same bytes, whatever the bag holds."""
    place = Place(tmp_path, DRIVES[name])
    place.config.write_text(place.config.read_text() + f"sync: {{tick: {tick}}}\n")
    compare_live_and_replay(place)


def tilted_car(second: float) -> Any:
    """2 m high and nose down by 15 degrees; the asset that stands for it is 1.5 m high."""
    car = bags.autoware_object(3, 1, bags.pose(20 - 5 * second, 2, 1.0), (2.0, 1.0, 2.0))
    stated = car.kinematics.pose_with_covariance.pose.orientation
    stated.w, stated.y = np.cos(np.radians(7.5)), np.sin(np.radians(7.5))
    return bags.autoware_objects(second, [car])


def test_a_live_simulator_that_expects_centres_shows_tilted_objects_as_a_replay_does(tmp_path: Path) -> None:
    place = Place(tmp_path, [*drive(SECONDS), *(recorded("/objects", s, tilted_car(s)) for s in SECONDS)])
    text = place.config.read_text()
    place.config.write_text(text.replace("library: assets.yaml", "library: assets.yaml, actor_pose: box_center"))
    compare_live_and_replay(place)


PITCHED = (math.cos(math.radians(7.5)), 0.0, math.sin(math.radians(7.5)), 0.0)


@pytest.mark.parametrize(
    ("quat_wxyz", "size_m", "expected"),
    [
        ((1, 0, 0, 0), (0, 0, 0), (10, 5, 1 + 1.75)),
        ((1, 0, 0, 0), (9, 2.5, 4), (10, 5, 1 + 2)),
        ((2, 2, 0, 0), (0, 0, 0), (10, 5 - 1.75, 1)),
        (PITCHED, (0, 0, 0), (10 + 1.75 * math.sin(math.radians(15)), 5, 1 + 1.75 * math.cos(math.radians(15)))),
        ((0, 0, 0, 0), (0, 0, 0), (10, 5, 1)),
    ],
    ids=["upright", "of a size of its own", "on its right side", "nose down", "without an orientation"],
)
def test_centres_lie_along_the_actors_own_axis(
    quat_wxyz: tuple[float, ...], size_m: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    """A truck of 3.5 m above (10, 5, 1): the simulator, which takes half of its height off again, has it there."""
    node = rclpy.create_node("player")
    config = load_config(None, {"assets.actor_pose": "box_center"})
    dot = blobs([(0.0, 0.0, 1.0)], [(0.5, 0.5, 0.5)], 0.1)
    library = AssetLibrary({"truck": Asset("truck", dot, (8.0, 2.5, 3.5), "truck")})
    inputs = SimulatorInputs(node, "/sim_node", config=config, library=library, has_actors=True)
    actor = ActorInput("a", "truck", (10.0, 5.0, 1.0), quat_wxyz, size_m, actor_pose="ground_center")
    try:
        message = inputs._actor(actor)
    finally:
        node.destroy_node()
    assert position(message.pose) == pytest.approx(expected)
    rules = ActorRules(library.__contains__, lambda name: library[name].size_m[2], "box_center")
    heard = actor_state(replace(actor, position_m=position(message.pose), actor_pose=None), rules)
    if any(quat_wxyz):
        assert isinstance(heard, ActorState)
        assert heard.T_world_actor.translation == pytest.approx([10.0, 5.0, 1.0])
    else:
        assert isinstance(heard, Fault) and heard == actor_state(actor, rules)


@pytest.mark.slow
@pytest.mark.parametrize("temporal", [True, False], ids=["temporal", "each by itself"])
def test_a_live_simulator_with_a_harmonizer_shows_what_a_replay_shows(tmp_path: Path, temporal: bool) -> None:
    pytest.importorskip("torch", reason="the harmonizer needs torch: pip install 'r3d2_ros[harmonizer]'")
    from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
    from tests.harmonizer.small import TINY, seeded
    from tests.replay.test_temporal import harmonize

    place = Place(tmp_path, [*drive(SECONDS, speed=1.0), *oncoming(SECONDS)])
    save_checkpoint(seeded(TINY), tmp_path / "model")
    harmonize(place, temporal=temporal)
    compare_live_and_replay(place)


def compare_live_and_replay(place: Place) -> None:
    assert place.run() == 0
    replayed = {e["index"]: e for e in place.entries() if e.get("cause") != "end_of_inputs"}
    assert len(replayed) >= 9
    topics = {"/sim_node/frame_set": FrameSet, "/camera/eye/image_raw": Image, "/camera/side/image_raw": Image}
    parameters = {"config": str(place.config), "output.min_subscribers": 1}
    with Ear(topics) as ear, Running(parameters, assemble=assemble) as node:
        assert node.start()
        with Playing(place.bag, config=str(place.config), rate=4.0, max_lag_s=0.5):
            wait_for(lambda: len(ear.heard["/sim_node/frame_set"]) >= len(replayed), "the frame sets", 60.0)
    live = ear.heard["/sim_node/frame_set"]
    assert [m.index for m in live] == list(replayed)
    assert [stamp_to_ns(m.header.stamp) for m in live] == [e["stamp_ns"] for e in replayed.values()]
    for message in live:
        told = {c.camera: c.content_hash for c in message.cameras if c.published}
        cameras = replayed[message.index]["cameras"]
        assert told == {camera: held["content_hash"] for camera, held in cameras.items() if held.get("file")}
    images = [np.asarray(m.data, np.uint8).tobytes() for m in ear.heard["/camera/eye/image_raw"]]
    hashes = {xxhash.xxh3_128_hexdigest(image) for image in images}
    assert hashes == {e["cameras"]["eye"]["content_hash"] for e in replayed.values() if "cause" not in e}


def test_a_loop_resets_the_state_once_each_time_and_goes_on(tmp_path: Path) -> None:
    """1.1 s of drive, again and again: the second round shows what the first showed, and nothing is mixed."""
    config = write_small(tmp_path / "sim")
    seconds = [*SECONDS, 1.2, 1.3]
    bag = write_bag(tmp_path / "bag", [*drive(seconds), *oncoming(seconds)])
    topics = {"/sim_node/frame_set": FrameSet, "/clock": Clock}
    with Ear(topics) as ear, Running({"config": str(config), "use_sim_time": True}, assemble=assemble) as node:
        assert node.start()
        with Playing(bag, config=str(config), rate=4.0, loop=True, max_lag_s=0.5):
            wait_for(lambda: len(ear.heard["/sim_node/frame_set"]) >= 2 * len(seconds) + 3, "two rounds and more", 60.0)
        times = [stamp_to_ns(m.clock) for m in ear.heard["/clock"]]
        backs = sum(b < a for a, b in pairwise(times))
        assert backs in (2, 3)
        reports = node._inputs._door.reports
        wait_for(lambda: reports.count("time_jump") == backs, "each jump to be told once, not once for each input")
    count = len(seconds)
    live = ear.heard["/sim_node/frame_set"]
    assert [m.index for m in live] == list(range(len(live)))
    stamps = [stamp_to_ns(m.header.stamp) for m in live]
    assert stamps[:count] == stamps[count : 2 * count] == [ns(s) for s in seconds]
    told = [[c.content_hash for c in m.cameras] for m in live]
    assert told[:count] == told[count : 2 * count] and all(all(hashes) for hashes in told)
    assert [m.instance_ids for m in live] == [["other"]] * len(live)


def test_the_bag_waits_for_a_slow_simulator(tmp_path: Path) -> None:
    """Without max_lag_s the queue of the simulator would overflow, which ends its run."""
    config = write_small(tmp_path / "sim")
    bag = write_bag(tmp_path / "bag", drive([i / 100 for i in range(120)]))
    simulator = Running({"sync.queue_limit": 30}, assemble=assembler(small_rig(), delay_s=0.01))
    with Ear({"/sim_node/frame_set": FrameSet}) as ear, simulator as node:
        assert node.start()
        with Playing(bag, config=str(config), rate=100.0, max_lag_s=0.2) as playing:
            wait_for(lambda: not playing.thread.is_alive(), "the end of the bag", 60.0)
            wait_for(lambda: len(ear.heard["/sim_node/frame_set"]) == 120, "every frame set")
        assert node._fault == ""


def test_a_simulator_that_never_answers_is_given_up_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Held at the fourth pose of twelve, for 1 s; not again for 1 s at each of the others."""
    monkeypatch.setattr(bag_player, "GIVE_UP_S", 1.0)
    config = write_small(tmp_path / "sim")
    bag = write_bag(tmp_path / "bag", drive(SECONDS))
    with Ear({"/sim_node/input/odometry": Odometry, "/sim_node/input/actors": ActorArray}) as ear:
        with Playing(bag, config=str(config), rate=100.0, delay_s=0.0, max_lag_s=0.25) as playing:
            wait_for(lambda: playing.player._given_up, "the player to give up")
            wait_for(lambda: not playing.thread.is_alive(), "the end of the bag", 2.0)
        wait_for(lambda: len(ear.heard["/sim_node/input/odometry"]) == 12, "the poses")
    assert capfd.readouterr().err.count("no frame set for 1 s: played without waiting") == 1


def test_the_simulator_is_waited_for(tmp_path: Path) -> None:
    config = write_small(tmp_path / "sim")
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS[:3]), *oncoming(SECONDS[:3])])
    topics = {"/sim_node/input/odometry": Odometry, "/sim_node/input/actors": ActorArray}
    with Playing(bag, config=str(config), rate=10.0, delay_s=0.0) as playing:
        assert playing.player._passed is None, "nothing is published yet"
        with Ear(topics) as ear:
            wait_for(lambda: len(ear.heard["/sim_node/input/odometry"]) == 3, "the poses")
            wait_for(lambda: len(ear.heard["/sim_node/input/actors"]) == 3, "the actors")


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "parameter bag: expected a bag to play"),
        ({"rate": 0.0}, "parameter rate"),
        ({"clock_hz": -1.0}, "parameter clock_hz"),
        ({"simulator": "bad name"}, "topic 'bad name/input/odometry': expected a valid name"),
        ({"topics": "/nothing"}, ""),
    ],
)
def test_parameters_that_cannot_be_used(tmp_path: Path, parameters: dict[str, Any], text: str) -> None:
    if parameters:
        parameters["bag"] = str(write_bag(tmp_path / "bag", drive(SECONDS[:2])))
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    if not text:
        player = BagPlayer(parameter_overrides=[*overrides, Parameter("simulator", value="")])
        try:
            with pytest.raises(InputError, match="parameter topics: expected topics of"):
                player.play()
        finally:
            player.close()
            player.destroy_node()
        return
    with pytest.raises(InputError, match=text):
        BagPlayer(parameter_overrides=overrides)


def test_r3d2_play_says_what_is_no_bag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", str(tmp_path / "nothing.db3")]) == 1
    assert "expected a rosbag2 folder, .db3 or .mcap file, got no such file" in capsys.readouterr().err


def test_r3d2_play_leaves_the_bag_to_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compressed one would be unpacked twice."""
    seen: list[list[str]] = []
    monkeypatch.setattr("r3d2_ros.nodes.bag_player.main", lambda words: (seen.append(words), 5)[1])
    (tmp_path / "drive.db3.zstd").write_bytes(b"what is in it is looked at by the node")
    assert main(["play", str(tmp_path / "drive.db3.zstd"), "--start", "2"]) == 5
    assert f'bag:="{tmp_path / "drive.db3.zstd"}"' in seen[0] and "start_s:=2.0" in seen[0]
