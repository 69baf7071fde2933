"""Paths of the ego from bags that this file writes, from damaged ones, and from a real one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from r3d2_ros.errors import InputError
from r3d2_ros.replay.ego_path import read_ego_path
from tests.data import shared_data

STORE = get_typestore(Stores.ROS2_JAZZY)
START_NS = 1_700_000_000_000_000_000
Row = tuple[float, ...]

Point = STORE.types["geometry_msgs/msg/Point"]
Quaternion = STORE.types["geometry_msgs/msg/Quaternion"]
Pose = STORE.types["geometry_msgs/msg/Pose"]
PoseStamped = STORE.types["geometry_msgs/msg/PoseStamped"]
PoseWithCovariance = STORE.types["geometry_msgs/msg/PoseWithCovariance"]
PoseWithCovarianceStamped = STORE.types["geometry_msgs/msg/PoseWithCovarianceStamped"]
Twist = STORE.types["geometry_msgs/msg/Twist"]
TwistWithCovariance = STORE.types["geometry_msgs/msg/TwistWithCovariance"]
Vector3 = STORE.types["geometry_msgs/msg/Vector3"]
Odometry = STORE.types["nav_msgs/msg/Odometry"]
Header = STORE.types["std_msgs/msg/Header"]
String = STORE.types["std_msgs/msg/String"]
Time = STORE.types["builtin_interfaces/msg/Time"]


def message(kind: str, row: Row, frame: str = "map") -> object:
    """A message of row (seconds, x, y, z, w, x, y, z)."""
    stamp_ns = START_NS + round(row[0] * 1e9)
    header = Header(stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9), frame_id=frame)
    w, x, y, z = row[4:]
    pose = Pose(position=Point(*row[1:4]), orientation=Quaternion(x=x, y=y, z=z, w=w))
    if kind == "PoseStamped":
        return PoseStamped(header=header, pose=pose)
    with_covariance = PoseWithCovariance(pose=pose, covariance=np.zeros(36))
    if kind == "PoseWithCovarianceStamped":
        return PoseWithCovarianceStamped(header=header, pose=with_covariance)
    zero = Vector3(0.0, 0.0, 0.0)
    twist = TwistWithCovariance(twist=Twist(linear=zero, angular=zero), covariance=np.zeros(36))
    return Odometry(header=header, child_frame_id="base_link", pose=with_covariance, twist=twist)


def write_bag(
    path: Path,
    topics: dict[str, list[object]],
    *,
    storage: StoragePlugin = StoragePlugin.SQLITE3,
    compression: CompressionMode = CompressionMode.NONE,
    types: dict[str, str] | None = None,
) -> Path:
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression != CompressionMode.NONE:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        for name, messages in topics.items():
            msgtype = messages[0].__msgtype__ if messages else (types or {})[name]  # type: ignore[attr-defined]
            connection = writer.add_connection(name, msgtype, typestore=STORE)
            for i, entry in enumerate(messages):
                writer.write(connection, START_NS + i, STORE.serialize_cdr(entry, msgtype))
    return path


def drive(count: int = 5, step_s: float = 0.1, kind: str = "Odometry") -> list[object]:
    """1 m along x with each message, heading to the left (+90 degrees)."""
    half = np.sqrt(0.5)
    return [message(kind, (i * step_s, float(i), 2.0, 0.5, half, 0.0, 0.0, half)) for i in range(count)]


@pytest.mark.parametrize("kind", ["Odometry", "PoseStamped", "PoseWithCovarianceStamped"])
@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def test_what_was_written_is_read(tmp_path: Path, kind: str, storage: StoragePlugin):
    bag = write_bag(tmp_path / "bag", {"/pose": drive(kind=kind)}, storage=storage)
    path = read_ego_path(bag)
    assert (path.topic, path.frame_id, path.skipped) == ("/pose", "map", 0)
    assert path.child_frame_id == ("base_link" if kind == "Odometry" else "")
    np.testing.assert_array_equal(path.stamps_ns, START_NS + np.arange(5) * 100_000_000)
    np.testing.assert_array_equal(path.positions, [[i, 2.0, 0.5] for i in range(5)])
    assert [pose.yaw_rad for pose in path.poses] == pytest.approx([np.pi / 2] * 5)
    assert path.length_m == pytest.approx(4.0) and path.duration_s == pytest.approx(0.4)


@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE], ids=["file", "message"])
def test_compressed_bags(tmp_path: Path, mode: CompressionMode):
    assert len(read_ego_path(write_bag(tmp_path / "bag", {"/pose": drive()}, compression=mode))) == 5


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def test_without_metadata_the_file_and_its_folder_work(tmp_path: Path, storage: StoragePlugin):
    bag = write_bag(tmp_path / "bag", {"/pose": drive()}, storage=storage)
    (bag / "metadata.yaml").unlink()
    (file,) = bag.iterdir()
    assert len(read_ego_path(file)) == len(read_ego_path(bag)) == 5
    file.with_stem("second").write_bytes(file.read_bytes())
    twice = read_ego_path(bag)  # both files, whose messages have the same stamps
    assert (len(twice), twice.skipped) == (5, 5)


def test_metadata_that_cannot_be_read_is_not_needed(tmp_path: Path):
    bag = write_bag(tmp_path / "bag", {"/pose": drive()})
    (bag / "metadata.yaml").write_text("rosbag2_bagfile_information: [1, 2")
    assert len(read_ego_path(bag)) == 5


def test_the_autoware_bag():
    path = read_ego_path(shared_data("autoware-bag-ego"))
    assert (path.topic, path.frame_id, path.child_frame_id) == (
        "/localization/kinematic_state",
        "map",
        "base_link",
    )
    assert (len(path), path.skipped) == (2130, 0)
    assert path.length_m == pytest.approx(166.9, abs=0.05)
    assert path.duration_s == pytest.approx(53.2, abs=0.05)
    headings = np.unwrap([pose.yaw_rad for pose in path.poses])
    travel = np.unwrap(np.arctan2(*np.diff(path.positions[::40, 1::-1], axis=0).T))
    assert np.abs(headings[20::40][: len(travel)] - travel).max() < np.radians(15)  # it drives where it looks
    sampled = path.sampled(10.0)
    assert len(sampled) == 533
    assert np.diff(sampled.stamps_ns).mean() == pytest.approx(1e8, rel=0.01)


def test_sampling_keeps_recorded_messages_only(tmp_path: Path):
    """40 Hz to 10 Hz: every fourth. A clock faster than the recording keeps everything."""
    path = read_ego_path(write_bag(tmp_path / "bag", {"/pose": drive(41, step_s=0.025)}))
    sampled = path.sampled(10.0)
    np.testing.assert_array_equal(sampled.stamps_ns, path.stamps_ns[::4])
    np.testing.assert_array_equal(sampled.positions, path.positions[::4])
    assert len(path.sampled(1000.0)) == 41
    with pytest.raises(InputError, match="a rate above 0"):
        path.sampled(0.0)


def test_a_gap_of_years_costs_nothing(tmp_path: Path):
    rows = [(t, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0) for t in (-1.6e9, 0.0, 0.04, 0.11)]
    path = read_ego_path(write_bag(tmp_path / "bag", {"/pose": [message("Odometry", row) for row in rows]}))
    np.testing.assert_array_equal(path.sampled(10.0).stamps_ns, path.stamps_ns[[0, 1, 3]])


def test_order_and_doubles_are_by_stamp(tmp_path: Path):
    """Stored as 0.2, 0.0, 0.1 and 0.1 again elsewhere: sorted, and the first of equal stamps stays."""
    rows = [(t, x, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0) for t, x in [(0.2, 2.0), (0.0, 0.0), (0.1, 1.0), (0.1, 9.0)]]
    path = read_ego_path(write_bag(tmp_path / "bag", {"/pose": [message("Odometry", row) for row in rows]}))
    np.testing.assert_array_equal(path.positions[:, 0], [0.0, 1.0, 2.0])
    assert path.skipped == 1


def test_unusable_poses_are_skipped_and_counted(tmp_path: Path):
    nan, inf = float("nan"), float("inf")
    bad = [
        (1.0, nan, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        (1.1, inf, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        (1.2, 1e12, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0),
        (1.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        (1.4, 0.0, 0.0, 0.0, nan, 0.0, 0.0, 1.0),
    ]
    unusable = [message("PoseStamped", row) for row in bad]
    path = read_ego_path(write_bag(tmp_path / "bag", {"/pose": [*unusable, *drive(kind="PoseStamped")]}))
    assert (len(path), path.skipped) == (5, 5)
    only_bad = write_bag(tmp_path / "bad", {"/pose": unusable})
    with pytest.raises(InputError, match="/pose: expected messages with usable poses, got 5 messages, all with NaN"):
        read_ego_path(only_bad)


def test_quaternions_are_normalised(tmp_path: Path):
    row = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0)
    path = read_ego_path(write_bag(tmp_path / "bag", {"/pose": [message("PoseStamped", row)]}))
    np.testing.assert_allclose(path.poses[0].rotation, np.diag([-1.0, -1.0, 1.0]), atol=1e-12)


def test_several_topics_need_a_choice(tmp_path: Path):
    topics = {"/a/odom": drive(), "/b/pose": drive(3, kind="PoseStamped"), "/text": [String(data="hello")]}
    bag = write_bag(tmp_path / "bag", topics)
    with pytest.raises(InputError) as caught:
        read_ego_path(bag)
    assert caught.value.got == "2: /a/odom (nav_msgs/msg/Odometry), /b/pose (geometry_msgs/msg/PoseStamped)"
    assert "--topic" in caught.value.hint
    assert len(read_ego_path(bag, "/b/pose")) == len(read_ego_path(bag, "b/pose")) == 3
    for wrong in ("/c", "/text"):
        with pytest.raises(InputError, match=f"topic '{wrong}'.*expected a topic of type.*/a/odom"):
            read_ego_path(bag, wrong)


def test_an_empty_topic_is_no_candidate(tmp_path: Path):
    types = {"/empty": "nav_msgs/msg/Odometry"}
    both = write_bag(tmp_path / "both", {"/empty": [], "/full": drive()}, types=types)
    assert read_ego_path(both).topic == "/full"
    empty = write_bag(tmp_path / "empty", {"/empty": []}, types=types)
    with pytest.raises(InputError, match="got no message on /empty"):
        read_ego_path(empty)


def test_a_bag_without_poses_names_what_it_has(tmp_path: Path):
    with pytest.raises(InputError, match=r"expected messages of type nav_msgs.*got /text \(std_msgs/msg/String\)"):
        read_ego_path(write_bag(tmp_path / "text", {"/text": [String(data="hello")]}))
    with pytest.raises(InputError, match="got no topics"):
        read_ego_path(write_bag(tmp_path / "nothing", {}))


def test_poses_in_several_frames_make_no_path(tmp_path: Path):
    messages = [message("Odometry", (t, t, 0, 0, 1, 0, 0, 0), frame) for t, frame in [(0.0, "map"), (1.0, "odom")]]
    with pytest.raises(InputError, match="expected poses in one frame, got poses in 'map', 'odom'"):
        read_ego_path(write_bag(tmp_path / "bag", {"/pose": messages}))


def test_stamps_that_stand_still_make_no_path(tmp_path: Path):
    messages = [message("Odometry", (0.0, float(i), 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)) for i in range(3)]
    with pytest.raises(InputError, match="expected header stamps that advance, got 3 messages with the stamp"):
        read_ego_path(write_bag(tmp_path / "bag", {"/pose": messages}))


def _garbage(bag: Path) -> Path:
    path = bag.parent / "garbage.db3"
    path.write_bytes(bytes(range(256)) * 64)
    return path


def _garbage_mcap(bag: Path) -> Path:
    return _garbage(bag).rename(bag.parent / "garbage.mcap")


def _empty_file(bag: Path) -> Path:
    path = bag.parent / "empty.db3"
    path.touch()
    return path


def _empty_folder(bag: Path) -> Path:
    path = bag.parent / "folder"
    path.mkdir()
    return path


def _other_suffix(bag: Path) -> Path:
    path = bag.parent / "drive.bag"
    path.write_bytes(b"#ROSBAG V2.0\n")
    return path


def _missing_storage(bag: Path) -> Path:
    next(bag.glob("*.db3")).unlink()
    return bag


def _pipe(bag: Path) -> Path:
    path = bag.parent / "pipe.mcap"
    os.mkfifo(path)
    return path


def _nothing(bag: Path) -> Path:
    return bag / "not-there.db3"


@pytest.mark.parametrize(
    "damage",
    [
        _garbage,
        _garbage_mcap,
        _empty_file,
        _empty_folder,
        _other_suffix,
        _missing_storage,
        _pipe,
        _nothing,
    ],
)
def test_what_is_no_bag_is_an_input_error_that_names_it(tmp_path: Path, damage: Callable[[Path], Path]):
    path = damage(write_bag(tmp_path / "bag", {"/pose": drive()}))
    with pytest.raises(InputError, match=r"rosbag2|metadata\.yaml|\.mcap") as caught:
        read_ego_path(path)
    assert str(path) in caught.value.where


def test_pipes_are_not_waited_for(tmp_path: Path):
    bag = write_bag(tmp_path / "bag", {"/pose": drive()})
    storage = next(bag.glob("*.db3"))
    storage.unlink()
    os.mkfifo(storage)
    with pytest.raises(InputError, match="a file of a rosbag2, got a named pipe, not a regular file") as caught:
        read_ego_path(bag)
    assert caught.value.where == str(storage)


def test_an_unknown_home_folder_is_named():
    with pytest.raises(InputError, match="bag: expected a path, got '~nobody-has-this/bag'"):
        read_ego_path("~nobody-has-this/bag")


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def test_truncated_bags_fail_cleanly_or_give_true_poses(tmp_path: Path, storage: StoragePlugin):
    bag = write_bag(tmp_path / "bag", {"/pose": drive(60)}, storage=storage)
    (file,) = (path for path in bag.iterdir() if path.suffix in (".db3", ".mcap"))
    whole = file.read_bytes()
    refused = 0
    for fraction in np.linspace(0.02, 0.98, 25):
        file.write_bytes(whole[: int(len(whole) * fraction)])
        try:
            path = read_ego_path(file)
        except InputError as error:
            refused += 1
            assert str(file) in error.where
        else:
            assert set(path.positions[:, 0]) <= set(map(float, range(60)))
    assert refused > 12


@pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
def test_flipped_bytes_never_crash(tmp_path: Path, storage: StoragePlugin):
    bag = write_bag(tmp_path / "bag", {"/pose": drive(20)}, storage=storage)
    (file,) = (path for path in bag.iterdir() if path.suffix in (".db3", ".mcap"))
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    random = np.random.default_rng(7)
    for _ in range(60):
        damaged = whole.copy()
        where = random.integers(0, len(whole), size=8)
        damaged[where] = random.integers(0, 256, size=8)
        file.write_bytes(damaged.tobytes())
        try:
            path = read_ego_path(file)
        except InputError as error:
            assert str(file) in error.where
        else:
            assert np.all(np.isfinite(path.positions)) and np.all(np.diff(path.stamps_ns) > 0)
