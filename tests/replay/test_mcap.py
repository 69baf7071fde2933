"""`r3d2 replay` into a bag: what is in it, that others open it, and that it goes on after every kind of end."""

from __future__ import annotations

import errno
import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import xxhash
from mcap.reader import make_reader
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from r3d2_ros.assembly import assemble
from r3d2_ros.config import load_config
from r3d2_ros.replay import mcap_file
from r3d2_ros.replay.mcap_parts import manifest_of, stated_in
from r3d2_ros.simulator import History, Simulator
from tests.replay import bags
from tests.replay.bags import LOG_OFFSET_NS, Entry, drive, ns, oncoming, recorded, storage_file, write_bag
from tests.replay.test_folder import SECONDS, Place, state, unlucky

TOPICS = {
    "/camera/eye/camera_info", "/camera/eye/image_raw", "/camera/side/camera_info", "/camera/side/image_raw",
    "/sim_node/frame_set", "/tf_static",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.out = tmp_path / "run.mcap"
    return place


def read(path: Path) -> dict[str, list[tuple[int, Any]]]:
    """Messages by topic, decoded with nothing but the definitions in the file."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with Reader(path) as reader:
        store = get_typestore(Stores.EMPTY)
        for connection in reader.connections:
            if connection.msgtype not in store.fielddefs:
                types = get_types_from_msg(connection.msgdef.data, connection.msgtype)
                store.register({name: entry for name, entry in types.items() if name not in store.fielddefs})
        for connection, log_ns, data in reader.messages():
            found.setdefault(connection.topic, []).append((log_ns, store.deserialize_cdr(data, connection.msgtype)))
    return found


def hashes(path: Path) -> dict[int, list[str]]:
    """Content hashes of each frame set by its index, as the bag states them."""
    return {m.index: [c.content_hash for c in m.cameras] for _, m in read(path)["/sim_node/frame_set"]}


def test_what_is_in_it(place: Place) -> None:
    assert place.run() == 0
    found = read(place.out)
    assert set(found) == TOPICS
    simulator = assemble(load_config(place.config)).simulator
    for i, second in enumerate(SECONDS):
        frame_set, _ = simulator.step(state(second), History())
        log_ns, stated = found["/sim_node/frame_set"][i]
        assert (stated.index, log_ns, bags.ns(second) + LOG_OFFSET_NS) == (i, log_ns, log_ns)
        assert [c.camera for c in stated.cameras] == ["eye", "side"] and all(c.published for c in stated.cameras)
        assert stated.instance_ids == ["other"] and stated.off_path_m == pytest.approx(0.0, abs=1e-6)
        for frame in frame_set.frames:
            name = frame.camera.name
            image = found[f"/camera/{name}/image_raw"][i][1]
            pixels = image.data.reshape(image.height, image.width, 3)
            np.testing.assert_array_equal(pixels, frame.rgb)
            assert (image.encoding, image.step, image.header.frame_id) == ("rgb8", 195, f"{name}_optical_frame")
            assert image.header.stamp == stated.header.stamp == found[f"/camera/{name}/camera_info"][i][1].header.stamp
            content = next(c.content_hash for c in stated.cameras if c.camera == name)
            assert content == xxhash.xxh3_128_hexdigest(image.data.tobytes()) == frame.content_hash
    info = found["/camera/eye/camera_info"][0][1]
    assert (info.width, info.height, info.distortion_model, info.d.tolist()) == (65, 49, "plumb_bob", [0.0] * 5)
    assert info.p.reshape(3, 4)[:, :3].tolist() == info.k.reshape(3, 3).tolist()
    ((_, transforms),) = found["/tf_static"]
    assert [t.child_frame_id for t in transforms.transforms] == ["eye_optical_frame", "side_optical_frame"]


def test_a_prefix_is_in_front_of_every_frame_of_the_vehicle(place: Place) -> None:
    place.config.write_text(place.config.read_text() + "\nframes: {prefix: car_a/}\n")
    assert place.run() == 0
    found = read(place.out)
    ((_, transforms),) = found["/tf_static"]
    assert [(t.header.frame_id, t.child_frame_id) for t in transforms.transforms] == [
        ("car_a/base_link", "car_a/eye_optical_frame"), ("car_a/base_link", "car_a/side_optical_frame")
    ]  # fmt: skip
    assert {m.header.frame_id for _, m in found["/sim_node/frame_set"]} == {"car_a/base_link"}
    for topic in ("image_raw", "camera_info"):
        assert {m.header.frame_id for _, m in found[f"/camera/eye/{topic}"]} == {"car_a/eye_optical_frame"}


def test_the_file_is_whole_and_says_how_its_topics_were_offered(place: Place) -> None:
    assert place.run() == 0
    assert sorted(path.name for path in place.out.parent.iterdir()) == ["bag", "run.mcap", "sim"]
    with place.out.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        assert summary.statistics.message_count == 8 * 5 + 1 and summary.statistics.chunk_count >= 1
        assert reader.get_header().profile == "ros2"
        assert sum(1 for _ in reader.iter_messages()) == 41
        for schema in summary.schemas.values():
            assert schema.encoding == "ros2msg" and schema.data
        offered = {c.topic: c.metadata["offered_qos_profiles"] for c in summary.channels.values()}
    assert "durability: 1" in offered["/tf_static"] and "durability: 2" in offered["/sim_node/frame_set"]
    assert all("reliability: 1" in text for text in offered.values())


def test_jpeg_and_further_images(place: Place) -> None:
    assert place.run("--format", "jpg", "--also", "depth,instance,mask,rendered", "--duration", "0.15") == 0
    found = read(place.out)
    assert "/camera/eye/image_raw" not in found
    packed = found["/camera/eye/image_raw/compressed"][1][1]
    assert packed.format == "rgb8; jpeg compressed bgr8"
    shown = cv2.imdecode(packed.data, cv2.IMREAD_COLOR)[:, :, ::-1]
    simulator = assemble(load_config(place.config, {"output.instance": True})).simulator
    frame = simulator.step(state(0.1), History())[0].frames[0]
    assert np.abs(shown.astype(int) - frame.rgb).mean() < 6
    depth = found["/camera/eye/depth"][1][1]
    assert (depth.encoding, depth.step) == ("32FC1", 260)
    np.testing.assert_array_equal(depth.data.view(np.float32).reshape(49, 65), frame.depth)
    instance = found["/camera/eye/instance"][1][1]
    np.testing.assert_array_equal(instance.data.view(np.uint16).reshape(49, 65), frame.instance)
    assert found["/camera/eye/harmonizer_mask"][1][1].encoding == "mono8"
    rendered = found["/camera/eye/image_rendered"][1][1]
    np.testing.assert_array_equal(rendered.data.reshape(49, 65, 3), frame.rendered)


def test_a_folder_and_a_bag_have_the_same_hashes(place: Place, tmp_path: Path) -> None:
    assert place.run() == 0
    found = hashes(place.out)
    place.out = tmp_path / "folder"
    assert place.run() == 0 and place.hashes() == found


def test_the_output_can_be_replayed_itself(place: Place, tmp_path: Path) -> None:
    """With the source's topics the bag is a recording of the whole drive."""
    assert place.run("--source-topics", "all") == 0
    first = hashes(place.out)
    place.bag, place.out = place.out, tmp_path / "second.mcap"
    assert place.run() == 0
    assert hashes(place.out) == first


def test_topics_of_the_source_are_passed_through_as_they_are(tmp_path: Path) -> None:
    mounted = bags.tf(bags.transform(0, "base_link", "lidar", bags.pose(1)))
    entries = [*drive(SECONDS), *oncoming(SECONDS), Entry("/tf_static", ns(-5), mounted)]
    entries += [recorded("/note", s, bags.T["std_msgs/msg/String"](data=f"at {s}")) for s in SECONDS]
    entries += [recorded("/camera/eye/image_raw", 0.0, bags.T["std_msgs/msg/String"](data="of the real camera"))]
    place = Place(tmp_path, entries)
    place.out = tmp_path / "run.mcap"
    assert place.run("--source-topics", "/note,odom", "--start", "0.2", "--duration", "0.3") == 0
    found = read(place.out)
    assert [m.data for _, m in found["/note"]] == ["at 0.2", "at 0.3", "at 0.4"]
    assert [log_ns for log_ns, _ in found["/odom"]] == [ns(s) + LOG_OFFSET_NS for s in (0.2, 0.3, 0.4)]
    place.out = tmp_path / "all.mcap"
    assert place.run("--source-topics", "all") == 0
    found = read(place.out)
    assert len(found["/camera/eye/image_raw"]) == 8, "those of the replay alone"
    assert len(found["/note"]) == len(found["/odom"]) == len(found["/actors"]) == 8


def test_static_transforms_of_the_source_are_kept_although_they_were_recorded_before(tmp_path: Path) -> None:
    forever = QosTime(2147483647, 4294967295)
    latched = Qos(QosHistory.KEEP_LAST, 1, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL, forever, forever,
                  QosLiveliness.AUTOMATIC, forever, False)  # fmt: skip
    place = Place(tmp_path)
    bag = tmp_path / "latched"
    mounted = bags.tf(bags.transform(0, "base_link", "lidar", bags.pose(1)))
    with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        static = writer.add_connection("/tf_static", "tf2_msgs/msg/TFMessage", typestore=bags.STORE,
                                       offered_qos_profiles=[latched])  # fmt: skip
        writer.write(static, ns(-5), bags.STORE.serialize_cdr(mounted, "tf2_msgs/msg/TFMessage"))
        odom = writer.add_connection("/odom", "nav_msgs/msg/Odometry", typestore=bags.STORE)
        for entry in drive(SECONDS):
            writer.write(odom, entry.log_ns, bags.STORE.serialize_cdr(entry.message, "nav_msgs/msg/Odometry"))
    place.bag, place.out = bag, tmp_path / "run.mcap"
    assert place.run("--source-topics", "/tf_static", "--start", "0.3") == 0
    found = read(place.out)["/tf_static"]
    children = {t.child_frame_id for _, m in found for t in m.transforms}
    assert children == {"lidar", "eye_optical_frame", "side_optical_frame"}
    assert all(log_ns == ns(0.3) + LOG_OFFSET_NS for log_ns, _ in found)


def test_frame_sets_without_pictures_are_stated(tmp_path: Path) -> None:
    place = Place(tmp_path, [*drive([0.0, 0.1, 0.2]), *oncoming([0.1, 0.2])])
    place.out = tmp_path / "run.mcap"
    assert place.run() == 0
    first = read(place.out)["/sim_node/frame_set"][0][1]
    assert [c.published for c in first.cameras] == [False, False]
    assert first.cameras[0].reason.startswith("actors: expected a message at or before")
    assert np.isnan(first.off_path_m)
    before = place.out.stat().st_mtime_ns
    assert place.run() == 0 and place.out.stat().st_mtime_ns == before, "nothing is left to do"


def left_by_a_killed_run(place: Place, share: float) -> Path:
    """Turn a finished run into what is on the disk when the process is killed: a part that is cut off."""
    parts = place.out.with_name("run.mcap.parts")
    parts.mkdir()
    manifest = manifest_of(place.out)
    (parts / "replay.json").write_text(json.dumps(manifest))
    part = parts / "part-00000.mcap"
    data = place.out.read_bytes()
    part.write_bytes(data[: int(len(data) * share)])
    place.out.unlink()
    return part


@pytest.mark.parametrize("share", [0.02, 0.4, 0.8, 1.0])
def test_a_killed_run_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], share: float
) -> None:
    """Small chunks, so that of these few frame sets some are on the disk."""
    monkeypatch.setattr(mcap_file, "CHUNK_BYTES", 20_000)
    assert place.run() == 0
    whole = hashes(place.out)
    part = left_by_a_killed_run(place, share)
    kept = sum(1 for stated in stated_in(part) if not stated.reasons)
    assert {0.02: kept == 0, 0.4: 1 <= kept <= 4, 0.8: 4 <= kept <= 7, 1.0: kept == 8}[share]
    capsys.readouterr()
    assert place.run() == 0
    told = capsys.readouterr().err
    assert (f"{kept} of 8 frame sets are there from an earlier run" in told) == (kept > 0)
    assert hashes(place.out) == whole
    assert [m.index for _, m in read(place.out)["/sim_node/frame_set"]] == list(range(8))
    assert len(read(place.out)["/tf_static"]) == 1
    assert not part.parent.exists()


class FullFile(FileIO):
    """A file on a disk that has room for so many bytes."""

    room = 0

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_a_full_disk_ends_the_run_with_what_was_done(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mcap_file, "CHUNK_BYTES", 20_000)
    with monkeypatch.context() as patch:
        patch.setattr(FullFile, "room", 100_000)
        patch.setattr(mcap_file, "opened", lambda path: FullFile(path, "wb"))
        assert place.run() == 3
    text = capsys.readouterr().out
    assert "no space left on the disk" in text and "the same command goes on" in text
    done = int(text.split()[0])
    assert 2 <= done <= 5 and not place.out.exists()
    assert place.run() == 0
    assert f"{done} of them from earlier runs" in capsys.readouterr().out
    assert sorted(hashes(place.out)) == list(range(8))


def test_what_failed_is_tried_again_and_put_in_its_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Simulator, "render", unlucky("render"))
        assert place.run() == 3
    stated = [m for _, m in read(place.out)["/sim_node/frame_set"]]
    assert [m.index for m in stated] == list(range(8))
    assert stated[3].cameras[0].reason == "RuntimeError: out of luck"
    assert place.run() == 0
    stated = [m for _, m in read(place.out)["/sim_node/frame_set"]]
    assert [(m.index, m.cameras[0].published) for m in stated] == [(i, True) for i in range(8)]


def test_trying_again_does_not_repeat_the_topics_of_the_source(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Simulator, "render", unlucky("render"))
        assert place.run("--source-topics", "all") == 3
    assert place.run("--source-topics", "all") == 0
    found = read(place.out)
    logs = [ns(s) + LOG_OFFSET_NS for s in SECONDS]
    assert [log_ns for log_ns, _ in found["/odom"]] == [log_ns for log_ns, _ in found["/actors"]] == logs


def test_a_file_of_something_else_is_left_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    other = storage_file(write_bag(place.out.parent / "other", drive([0.0]), storage=StoragePlugin.MCAP))
    other.rename(place.out)
    before = place.out.read_bytes()
    for extra in ((), ("--overwrite",)):
        assert place.run(*extra) == 1
        assert "expected a new file, or that of an earlier run" in capsys.readouterr().err
    assert place.out.read_bytes() == before


def test_another_replay_replaces_it_only_when_asked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run() == 0
    assert place.run("--every", "4") == 1
    assert "got one with every 1 instead of 4" in capsys.readouterr().err
    assert place.run("--every", "4", "--overwrite") == 0
    assert sorted(hashes(place.out)) == [0, 4]


def test_what_is_refused_leaves_the_bag_as_it_was(place: Place) -> None:
    """A scene without the trajectory of its capture has no start."""
    scene = place.config.parent / "scene.yaml"
    scene.write_text(scene.read_text().replace("trajectory_file: capture.csv\n", ""))
    assert place.run("--anchor", "start") == 1
    assert sorted(path.name for path in place.out.parent.iterdir()) == ["bag", "sim"]
    assert place.run() == 0
    whole = place.out.read_bytes()
    assert place.run("--anchor", "start", "--overwrite") == 1
    assert place.out.read_bytes() == whole
    assert sorted(path.name for path in place.out.parent.iterdir()) == ["bag", "run.mcap", "sim"]


@pytest.mark.parametrize(
    ("out", "extra", "text"),
    [
        ("run.mcap", ("--format", "png"), "raw or jpg for a bag"),
        ("folder", ("--format", "raw"), "jpg or png or mp4 for a folder"),
        ("folder", ("--source-topics", "all"), "an output bag"),
        ("run.mcap", ("--source-topics", "/nothing"), "topics of"),
    ],
)
def test_options_that_do_not_fit(
    place: Place, capsys: pytest.CaptureFixture[str], out: str, extra: tuple[str, ...], text: str
) -> None:
    place.out = place.out.with_name(out)
    assert place.run(*extra) == 1
    assert text in capsys.readouterr().err
    assert not place.out.exists()


def test_a_compressed_source_is_passed_through_decompressed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.bag = write_bag(tmp_path / "packed", drive(SECONDS), compression=CompressionMode.MESSAGE)
    place.out = tmp_path / "run.mcap"
    assert place.run("--source-topics", "/odom") == 0
    assert [m.child_frame_id for _, m in read(place.out)["/odom"]] == ["base_link"] * 8
