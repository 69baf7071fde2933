"""Reading bags: every storage, many files, compression, and what is left of damaged ones."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import zstandard
from mcap.reader import make_reader
from mcap.writer import CompressionType, IndexType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionMode, StoragePlugin

from r3d2_ros.errors import InputError
from r3d2_ros.replay.bag import open_bag
from r3d2_ros.replay.definitions import Decoder
from tests.data import shared_data
from tests.replay.bags import LOG_OFFSET_NS, STORE, Entry, drive, ns, oncoming, storage_file, write_bag

STORAGES = pytest.mark.parametrize("storage", list(StoragePlugin), ids=lambda plugin: plugin.name.lower())
SECONDS = [0.0, 0.1, 0.2, 0.3]
LOGS = [ns(s) + LOG_OFFSET_NS for s in SECONDS]


def logs(path: Path, *topics: str) -> list[int]:
    with open_bag(path) as bag:
        found = [record.log_ns for record in bag.records(topics or ["/odom"])]
        assert bag.damage == []
    return found


@STORAGES
def test_what_was_written_is_read_in_order(tmp_path: Path, storage: StoragePlugin) -> None:
    bag = write_bag(tmp_path / "bag", [*drive(SECONDS), *oncoming([0.05])], storage=storage)
    assert logs(bag) == LOGS
    with open_bag(bag) as opened:
        assert {name: topic.count for name, topic in opened.topics.items()} == {"/odom": 4, "/actors": 1}
        assert opened.topics["/odom"].msgtype == "nav_msgs/msg/Odometry"
        order = [record.topic for record in opened.records(["/odom", "/actors"])]
    assert order == ["/odom", "/actors", "/odom", "/odom", "/odom"]


@STORAGES
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE], ids=["file", "message"])
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "bare"])
def test_compressed_bags(tmp_path: Path, storage: StoragePlugin, mode: CompressionMode, metadata: bool) -> None:
    bag = write_bag(tmp_path / "bag", drive(SECONDS), storage=storage, compression=mode)
    if not metadata:
        (bag / "metadata.yaml").unlink()
    assert logs(bag) == logs(storage_file(bag)) == LOGS
    with open_bag(bag) as opened:
        record = next(opened.records(["/odom"]))
    assert STORE.deserialize_cdr(record.data, "nav_msgs/msg/Odometry").child_frame_id == "base_link"


@STORAGES
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "bare"])
def test_many_files_are_one_recording(tmp_path: Path, storage: StoragePlugin, metadata: bool) -> None:
    """Twelve files of one message each: _10 and _11 come after _9, whatever the alphabet says."""
    folder = tmp_path / "bag"
    folder.mkdir()
    for i in range(12):
        part = write_bag(tmp_path / f"part_{i}", drive([i / 10]), storage=storage)
        file = storage_file(part)
        shutil.copy(file, folder / f"bag_{i}{file.suffix}")
    if metadata:
        names = "\n".join(f"  - bag_{i}{file.suffix}" for i in range(12))
        text = f"rosbag2_bagfile_information:\n  version: 5\n  relative_file_paths:\n{names}\n"
        (folder / "metadata.yaml").write_text(text)
    assert logs(folder) == [ns(i / 10) + LOG_OFFSET_NS for i in range(12)]


def test_files_that_overlap_are_merged(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for name, entries in (("a", drive([0.0, 0.2])), ("b", drive([0.1, 0.3]))):
        shutil.copy(storage_file(write_bag(tmp_path / name, entries)), folder / f"{name}.db3")
    assert logs(folder) == LOGS


def test_a_missing_and_a_damaged_file_are_named_and_the_others_read(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for i in (0, 2):
        shutil.copy(storage_file(write_bag(tmp_path / f"{i}", drive([SECONDS[i]]))), folder / f"bag_{i}.db3")
    (folder / "bag_1.db3").write_bytes(b"SQLite format 3\x00" + bytes(2000))
    names = ", ".join(f"bag_{i}.db3" for i in range(4))
    (folder / "metadata.yaml").write_text(f"rosbag2_bagfile_information: {{relative_file_paths: [{names}]}}\n")
    with open_bag(folder) as bag:
        assert [record.log_ns for record in bag.records(["/odom"])] == [LOGS[0], LOGS[2]]
        assert len(bag.damage) == 2
        assert "bag_3.db3: is named in metadata.yaml and is not there" in bag.damage
        assert any(line.startswith("bag_1.db3: cannot be read") for line in bag.damage)


def test_files_that_metadata_does_not_name_are_no_part_of_the_drive(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", drive(SECONDS))
    shutil.copy(storage_file(write_bag(tmp_path / "other", drive([50.0]))), bag / "old_test.db3")
    with open_bag(bag) as opened:
        assert [record.log_ns for record in opened.records(["/odom"])] == LOGS
        assert opened.damage == [] and [file.name for file in opened.files] == ["bag.db3"]
        assert opened.notes == ["not named in metadata.yaml and not read: old_test.db3"]


def test_files_under_other_names_than_in_metadata_are_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", drive(SECONDS))
    storage_file(bag).rename(bag / "renamed.db3")
    with open_bag(bag) as opened:
        assert [record.log_ns for record in opened.records(["/odom"])] == LOGS
        assert opened.damage == ["bag.db3: is named in metadata.yaml and is not there"] and opened.notes == []


@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "bare"])
@pytest.mark.parametrize("kept", [True, False], ids=["both", "unpacked"])
def test_a_file_that_was_unpacked_is_the_same_file(tmp_path: Path, metadata: bool, kept: bool) -> None:
    bag = write_bag(tmp_path / "bag", drive(SECONDS), compression=CompressionMode.FILE)
    file = storage_file(bag)
    with file.open("rb") as packed, (bag / "bag.db3").open("wb") as plain:
        zstandard.ZstdDecompressor().copy_stream(packed, plain)
    if not kept:
        file.unlink()
    if not metadata:
        (bag / "metadata.yaml").unlink()
    assert logs(bag) == LOGS
    with open_bag(bag) as opened:
        assert opened.notes == []


def test_a_bag_that_is_open_already_is_not_unpacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bag = write_bag(tmp_path / "bag", drive(SECONDS), compression=CompressionMode.FILE)
    with open_bag(bag) as first:
        monkeypatch.setattr(zstandard, "ZstdDecompressor", None)
        with open_bag(bag, unpacked=first.unpacked) as second:
            assert [record.log_ns for record in second.records(["/odom"])] == LOGS
        assert [record.log_ns for record in first.records(["/odom"])] == LOGS


@pytest.mark.parametrize("name", ["drive#1.db3", "what?.db3", "drive 100%25.db3", "größe.db3"])
def test_names_that_mean_something_in_a_uri(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    shutil.copy(storage_file(write_bag(tmp_path / "bag", drive(SECONDS))), file)
    assert logs(file) == LOGS


def test_a_damaged_message_of_a_compressed_bag_is_one_message(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", drive(SECONDS), compression=CompressionMode.MESSAGE))
    with sqlite3.connect(file) as database:
        (data,) = database.execute("SELECT data FROM messages WHERE id = 2").fetchone()
        database.execute("UPDATE messages SET data = ? WHERE id = 2", [data[:12] + b"\xff" * (len(data) - 12)])
    database.close()
    with open_bag(file) as bag:
        found = list(bag.records(["/odom"]))
        decoder = Decoder(bag.topics["/odom"])
        assert ([record.log_ns for record in found], bag.damage) == (LOGS, [])
    with pytest.raises(ValueError, match="does not begin as a CDR message"):
        decoder.decode(found[1].data)
    assert decoder.decode(found[2].data).pose.pose.position.x == 2.0


def test_a_damaged_chunk_is_named_and_the_others_read(tmp_path: Path) -> None:
    """Chunks of one message."""
    out = BytesIO()
    writer = McapWriter(out, chunk_size=1, compression=CompressionType.ZSTD)
    writer.start(profile="ros2")
    definition, _ = STORE.generate_msgdef("nav_msgs/msg/Odometry", ros_version=2)
    schema = writer.register_schema("nav_msgs/msg/Odometry", "ros2msg", definition.encode())
    channel = writer.register_channel("/odom", "cdr", schema)
    for entry in drive(SECONDS):
        data = bytes(STORE.serialize_cdr(entry.message, "nav_msgs/msg/Odometry"))
        writer.add_message(channel, entry.log_ns, data, entry.log_ns)
    writer.finish()
    summary = make_reader(BytesIO(out.getvalue())).get_summary()
    assert summary is not None
    chunk = next(c for c in summary.chunk_indexes if c.message_start_time == LOGS[1])
    damaged = bytearray(out.getvalue())
    damaged[chunk.chunk_start_offset + chunk.chunk_length - 20] ^= 0xFF
    file = tmp_path / "chunks.mcap"
    file.write_bytes(damaged)
    with open_bag(file) as bag:
        assert [record.log_ns for record in bag.records(["/odom"])] == [LOGS[0], *LOGS[2:]]
        (line,) = bag.damage
    where = f"chunks.mcap: the chunk at byte {chunk.chunk_start_offset}, recorded from {LOGS[1]} to {LOGS[1]} ns"
    assert line.startswith(f"{where}, cannot be read: ")


def test_what_has_no_index_is_not_held_in_memory(tmp_path: Path) -> None:
    """30 messages of 1 MB, of which a few are there at a time."""
    file = tmp_path / "large.mcap"
    big = [Entry("/odom", log_ns, STORE.types["std_msgs/msg/String"](data="x" * 2**20)) for log_ns in range(30)]
    file.write_bytes(mcap_of(big, profile="ros2", index=False))
    with open_bag(file) as bag:
        tracemalloc.start()
        assert [len(record.data) > 2**20 for record in bag.records(["/odom"])] == [True] * 30
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 15 * 2**20


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """An MCAP recorder that was killed leaves no index."""
    file = storage_file(write_bag(tmp_path / "bag", drive([i / 100 for i in range(4000)]), storage=StoragePlugin.MCAP))
    whole = logs(file)
    with open_bag(cut(file, 0.7)) as bag:
        found = [record.log_ns for record in bag.records(["/odom"])]
        assert len(bag.damage) == 1 and "bag.mcap" in bag.damage[0] and "as far as it goes" in bag.damage[0]
    assert 1000 < len(found) < 4000
    assert found == whole[: len(found)]


def mcap_of_one_chunk(folder: Path) -> tuple[bytes, int, int]:
    """A file of 4 messages, where its chunk begins, and how many bytes that has."""
    file = storage_file(write_bag(folder / "bag", drive(SECONDS), storage=StoragePlugin.MCAP))
    data = file.read_bytes()
    summary = make_reader(BytesIO(data)).get_summary()
    assert summary is not None
    (chunk,) = summary.chunk_indexes
    return data, chunk.chunk_start_offset, chunk.chunk_length


NO_END = "cut.mcap: its end, where the index is, is missing; read from the beginning "


@pytest.mark.parametrize("there", [0, 5, 49])
def test_a_cut_behind_the_messages_is_told_with_their_number(tmp_path: Path, there: int) -> None:
    """Behind the chunk is the index of its messages: 9 bytes of head, 6 of its own, 16 for each of the 4."""
    data, begin, length = mcap_of_one_chunk(tmp_path)
    end = begin + length
    (tmp_path / "cut.mcap").write_bytes(data[: end + there])
    with open_bag(tmp_path / "cut.mcap") as bag:
        assert [record.log_ns for record in bag.records(["/odom"])] == LOGS
        (line,) = bag.damage
    what = f"it is cut off: of the 70 bytes of the record at byte {end}, 40 are there"
    what = what if there == 49 else f"it is cut off at byte {end + there}, behind a record"
    assert line == f"{NO_END}as far as it goes, 4 messages: {what}"


def test_a_cut_in_the_only_chunk_leaves_nothing_and_says_so(tmp_path: Path) -> None:
    data, begin, length = mcap_of_one_chunk(tmp_path)
    (tmp_path / "cut.mcap").write_bytes(data[: begin + 109])
    with pytest.raises(InputError) as caught:
        open_bag(tmp_path / "cut.mcap")
    what = f"it is cut off: of the {length - 9} bytes of the record at byte {begin}, 100 are there"
    assert caught.value.got == f"{NO_END}it has nothing that can be used: {what}"


def test_a_file_without_messages_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "none.mcap").write_bytes(mcap_of([], profile="ros2", index=False))
    with open_bag(tmp_path / "none.mcap") as bag:
        assert (bag.topics, bag.damage) == ({}, [])


def test_a_compressed_file_that_was_cut_off(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", drive([i / 100 for i in range(4000)]), storage=StoragePlugin.MCAP))
    packed = tmp_path / "cut.mcap.zstd"
    packed.write_bytes(zstandard.ZstdCompressor().compress(file.read_bytes()))
    with open_bag(cut(packed, 0.8)) as bag:
        found = [record.log_ns for record in bag.records(["/odom"])]
        assert len(bag.damage) == 1 and "cut.mcap.zstd" in bag.damage[0]
    assert found == logs(file)[: len(found)] and found


def mcap_of(entries: list[Entry], *, profile: str, index: bool, chunking: bool = True) -> bytes:
    """As other programs write it, with the messages of each second in reverse order."""
    out = BytesIO()
    summary = dict.fromkeys(("use_statistics", "use_summary_offsets", "repeat_channels", "repeat_schemas"), index)
    kinds = IndexType.ALL if index else IndexType.NONE
    writer = McapWriter(out, index_types=kinds, use_chunking=chunking, compression=CompressionType.LZ4, **summary)
    writer.start(profile=profile)
    channels = {}
    for kind in dict.fromkeys(entry.message.__msgtype__ for entry in entries):
        definition, _ = STORE.generate_msgdef(kind, ros_version=2)
        schema = writer.register_schema(kind, "ros2msg", definition.encode())
        channels[kind] = writer.register_channel("/odom", "cdr", schema)
    for entry in reversed(entries):
        kind = entry.message.__msgtype__
        data = bytes(STORE.serialize_cdr(entry.message, kind))
        writer.add_message(channels[kind], entry.log_ns, data, entry.log_ns)
    writer.finish()
    return out.getvalue()


@pytest.mark.parametrize("chunking", [True, False], ids=["chunks", "no chunks"])
@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
@pytest.mark.parametrize("profile", ["ros2", ""], ids=["ros2", "no profile"])
def test_mcap_files_of_other_writers(tmp_path: Path, profile: str, index: bool, chunking: bool) -> None:
    file = tmp_path / "other.mcap"
    file.write_bytes(mcap_of(drive(SECONDS), profile=profile, index=index, chunking=chunking))
    assert logs(file) == LOGS


TWO_TYPES = "/odom is geometry_msgs/msg/PoseStamped here and nav_msgs/msg/Odometry before; not read"


def test_a_topic_that_has_another_type_in_a_later_file_is_not_read_there(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for name, entries in (("a", drive(SECONDS[:2])), ("b", drive(SECONDS[2:], kind="PoseStamped"))):
        shutil.copy(storage_file(write_bag(tmp_path / name, entries)), folder / f"{name}.db3")
    with open_bag(folder) as bag:
        assert [record.log_ns for record in bag.records(["/odom"])] == LOGS[:2]
        assert (bag.topics["/odom"].count, bag.damage) == (2, [f"b.db3: {TWO_TYPES}"])


@pytest.mark.parametrize("index", [True, False], ids=["index", "no index"])
def test_a_topic_that_has_two_types_in_one_file_is_read_with_the_first(tmp_path: Path, index: bool) -> None:
    file = tmp_path / "two.mcap"
    entries = [*drive(SECONDS[:2]), *drive(SECONDS[2:], kind="PoseStamped")]
    file.write_bytes(mcap_of(entries, profile="ros2", index=index))
    with open_bag(file) as bag:
        assert bag.topics["/odom"].msgtype == "nav_msgs/msg/Odometry"
        assert [record.log_ns for record in bag.records(["/odom"])] == LOGS[:2]
        assert bag.damage == [f"two.mcap: {TWO_TYPES}"]


def test_a_log_that_was_never_written_back_is_named(tmp_path: Path) -> None:
    file = storage_file(write_bag(tmp_path / "bag", drive(SECONDS)))
    file.with_name(file.name + "-wal").write_bytes(b"x" * 100)
    with open_bag(file) as bag:
        assert len(list(bag.records(["/odom"]))) == 4
        assert bag.damage == ["bag.db3: bag.db3-wal holds messages that are not read; open it once with sqlite3"]


def _nothing(folder: Path) -> Path:
    return folder / "not-there"


def _empty_folder(folder: Path) -> Path:
    return folder


def _empty_file(folder: Path) -> Path:
    (folder / "empty.mcap").touch()
    return folder / "empty.mcap"


def _garbage(folder: Path) -> Path:
    (folder / "garbage.mcap").write_bytes(bytes(range(256)) * 100)
    return folder


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.db3")
    return folder


def _other_file(folder: Path) -> Path:
    (folder / "drive.bag").write_bytes(b"#ROSBAG V2.0\n")
    return folder / "drive.bag"


@pytest.mark.parametrize("make", [_nothing, _empty_folder, _empty_file, _garbage, _pipe, _other_file])
def test_what_is_no_bag_is_named(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    path = make(folder)
    with pytest.raises(InputError, match="rosbag2|storage|mcap") as caught:
        open_bag(path)
    assert str(folder) in caught.value.where


def test_a_bag_of_ros_1_is_told_how_it_becomes_one_of_ros_2(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_bag(_other_file(tmp_path))
    assert caught.value.got == "a '.bag' file"
    assert caught.value.hint.endswith("`rosbags-convert --src NAME.bag --dst FOLDER` makes a rosbag2 of one")


@STORAGES
def test_truncation_anywhere_gives_true_messages_or_a_line(tmp_path: Path, storage: StoragePlugin) -> None:
    bag = write_bag(tmp_path / "bag", drive([i / 100 for i in range(300)]), storage=storage)
    file = storage_file(bag)
    whole, expected = file.read_bytes(), set(logs(file))
    for tenth in range(1, 10):
        file.write_bytes(whole[: len(whole) * tenth // 10])
        try:
            with open_bag(file) as opened:
                found = [record.log_ns for record in opened.records(["/odom"])]
                assert opened.damage or len(found) == 300
        except InputError as error:
            assert str(file) in str(error)
        else:
            assert set(found) <= expected and found == sorted(found)


def test_the_real_bag_is_read() -> None:
    found = logs(shared_data("autoware-bag-ego"), "/localization/kinematic_state")
    assert len(found) == 2130
