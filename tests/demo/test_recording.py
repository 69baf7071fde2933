"""What is kept: complete frame sets, videos, the contact sheet, figures."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, Rig
from r3d2_ros.demo.before_after import Change, before_after_sheet, greatest_change
from r3d2_ros.demo.collector import Collector, CompleteSet
from r3d2_ros.demo.contact_sheet import BACKGROUND, SheetRow, contact_sheet, fitted, tile_size, write_contact_sheet
from r3d2_ros.demo.recorder import Recorder
from r3d2_ros.demo.summary import figures, write_summary
from r3d2_ros.geometry import Rigid
from r3d2_ros.video import VideoWriter


def plain(colour: tuple[int, int, int], *, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    return np.full((height, width, 3), colour, np.uint8)


RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)


class TestCollector:
    def collected(self) -> tuple[Collector, list[CompleteSet]]:
        complete: list[CompleteSet] = []
        return Collector(["a", "b"], complete.append), complete

    def test_a_set_is_complete_with_its_last_message_whatever_the_order(self) -> None:
        collector, complete = self.collected()
        collector.add_frame_set(7, {}, ["a", "b"], 10)
        collector.add_image("a", 7, plain(RED), 11)
        collector.add_info("a", 7, 12)
        collector.add_info("b", 7, 13)
        assert not complete
        collector.add_image("b", 7, plain(BLUE), 14)
        (made,) = complete
        assert (made.stamp_ns, made.received_ns, set(made.images)) == (7, 14, {"a", "b"})
        assert (collector.complete, collector.announced, collector.received_ns) == (1, 1, {7: 14})

    def test_without_its_list_or_an_info_it_is_not_complete(self) -> None:
        collector, complete = self.collected()
        for camera in ("a", "b"):
            collector.add_image(camera, 1, plain(RED), 1)
            collector.add_info(camera, 1, 1)
        for camera in ("a", "b"):
            collector.add_image(camera, 2, plain(RED), 1)
        collector.add_frame_set(2, {}, ["a", "b"], 2)
        collector.add_info("a", 2, 3)
        assert not complete

    def test_an_unpublished_camera_makes_a_lost_set_with_its_reason(self) -> None:
        collector, complete = self.collected()
        collector.add_image("a", 1_500_000_000, plain(RED), 1)
        collector.add_frame_set(1_500_000_000, {"b": "no memory"}, ["a", "b"], 2)
        assert not complete
        assert collector.announced == 1
        assert collector.failures == ["b at 1.500 s: no memory"]


    def test_with_a_harmonizer_the_pictures_before_it_belong_to_the_set(self) -> None:
        complete: list[CompleteSet] = []
        collector = Collector(["a"], complete.append, rendered=True)
        collector.add_image("a", 7, plain(RED), 11)
        collector.add_info("a", 7, 12)
        collector.add_frame_set(7, {}, ["a"], 13)
        assert not complete
        collector.add_rendered("a", 7, plain(BLUE), 14)
        (made,) = complete
        assert tuple(made.rendered["a"][0, 0]) == BLUE and tuple(made.images["a"][0, 0]) == RED


class TestVideo:
    @pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
    def test_it_is_h264_that_players_show(self, tmp_path: Path, width: int, height: int) -> None:
        writer = VideoWriter(tmp_path / "v.mp4", width_px=width, height_px=height, fps=10.0)
        for colour in (RED, GREEN, BLUE):
            writer.write(plain(colour, width=width, height=height))
        writer.close()
        with av.open(str(tmp_path / "v.mp4")) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt, stream.frames) == ("h264", "yuv420p", 3)
            assert (stream.width, stream.height) == (width + width % 2, height + height % 2)
            assert float(stream.duration * stream.time_base) == pytest.approx(0.3)
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        for frame, colour in zip(frames, (RED, GREEN, BLUE), strict=True):
            np.testing.assert_allclose(frame[height // 2, width // 2], colour, atol=12)


class TestContactSheet:
    def test_every_picture_is_where_its_row_and_column_are(self) -> None:
        rows = [
            SheetRow(0.5, "first", {"left": plain(RED), "right": plain(GREEN)}),
            SheetRow(1.5, "second", {"left": plain(BLUE), "right": plain(RED)}),
        ]
        sheet = np.asarray(contact_sheet(rows, cameras=["left", "right"], title="t", subtitle="s"))
        centres = {}
        for colour in (RED, GREEN, BLUE):
            y, x = np.nonzero((sheet == colour).all(axis=2))
            centres[colour] = (y.min(), y.max(), x.min(), x.max())
            count = 2 if colour == RED else 1
            assert (sheet == colour).all(axis=2).sum() == count * 64 * 48
        assert centres[GREEN][2] > centres[BLUE][3]  # the right column
        assert centres[BLUE][0] > centres[GREEN][1]  # the second row

    def test_titles_and_labels_are_written(self) -> None:
        rows = [SheetRow(0.5, "something to read", {"left": plain(RED)})]
        with_text = np.asarray(contact_sheet(rows, cameras=["left"], title="Title", subtitle="Subtitle"))
        without = np.asarray(
            contact_sheet([SheetRow(0.5, "", rows[0].images)], cameras=["left"], title="", subtitle="")
        )
        changed = np.flatnonzero((with_text != without).any(axis=(1, 2)))
        assert changed.min() < 60  # the title
        assert changed.max() > 118  # the label of the row

    def test_tiles_keep_the_shape_of_the_pictures(self) -> None:
        assert tile_size({"a": (960, 540), "b": (960, 540), "c": (960, 540)}) == (634, 357)
        assert tile_size({"a": (1600, 900)}) == (640, 360)
        tile = fitted(plain(RED, width=48, height=48), (64, 32))
        assert tile.shape == (32, 64, 3)
        assert tuple(tile[16, 32]) == RED
        assert tuple(tile[16, 2]) == BACKGROUND

    def test_the_file_is_a_png(self, tmp_path: Path) -> None:
        sheet = contact_sheet([SheetRow(0.0, "", {"a": plain(RED)})], cameras=["a"], title="", subtitle="")
        write_contact_sheet(tmp_path / "sheet.png", sheet)
        with Image.open(tmp_path / "sheet.png") as image:
            assert (image.format, image.size) == ("PNG", sheet.size)


class TestBeforeAfter:
    def test_the_camera_that_changed_most_is_kept(self) -> None:
        before = {"a": plain(RED), "b": plain(RED), "c": plain(RED)}
        after = {"a": plain(RED), "b": plain((210, 20, 20)), "c": plain((219, 20, 20))}
        change = greatest_change(1.5, before=before, after=after)
        assert change is not None and (change.camera, change.amount) == ("b", pytest.approx(10 / 3))
        assert greatest_change(1.5, before=before, after=before) is None
        assert greatest_change(1.5, before={}, after=after) is None, "there was no harmonizer"

    def test_the_greatest_changes_in_order_of_time_before_on_the_left(self) -> None:
        """Of four moments the one with the least change is left out."""
        reds = {0.0: 90, 1.0: 10, 2.0: 50, 3.0: 70}
        changes = [
            Change(t, "a", plain((level, 0, 0)), plain((0, level, 0)), float(level)) for t, level in reds.items()
        ]
        sheet = np.asarray(before_after_sheet(changes, title="t", subtitle="s"))
        places = {}
        for level in reds.values():
            for side, colour in (("before", (level, 0, 0)), ("after", (0, level, 0))):
                y, x = np.nonzero((sheet == colour).all(axis=2))
                if len(y) == 64 * 48:
                    places[level, side] = (y.min(), x.min())
        assert {level for level, _ in places} == {90, 50, 70}
        assert places[90, "before"][0] < places[50, "before"][0] < places[70, "before"][0]
        assert all(places[level, "before"][1] < places[level, "after"][1] for level in (90, 50, 70))


def rig() -> Rig:
    K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
    T = Rigid(R_BODY_OPTICAL, np.zeros(3))
    return Rig("two", (Camera("a", 64, 48, K, T), Camera("b", 64, 48, K, T)))


class TestRecorder:
    def test_videos_and_the_rows_of_the_moments(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path, rig(), fps=10.0, moments={100: (0.1, "second")})
        for stamp, colour in ((0, RED), (100, GREEN), (200, BLUE)):
            rendered = {"a": plain(colour), "b": plain(RED)}
            recorder.add(CompleteSet(stamp, {"a": plain(colour), "b": plain(colour)}, 0, rendered))
        recorder.close()
        (change,) = recorder.changes
        assert (change.camera, tuple(change.before[0, 0]), tuple(change.after[0, 0])) == ("b", RED, GREEN)
        (row,) = recorder.rows
        assert (row.time_s, row.label, set(row.images)) == (0.1, "second", {"a", "b"})
        assert tuple(row.images["a"][100, 100]) == GREEN
        for name in ("a", "b"):
            with av.open(str(tmp_path / f"{name}.mp4")) as container:
                assert container.streams.video[0].frames == 3

    def test_what_goes_wrong_while_writing_is_raised_at_the_end(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path, rig(), fps=10.0, moments={})
        recorder.add(CompleteSet(0, {"a": plain(RED)}, 0))
        with pytest.raises(KeyError, match="b"):
            recorder.close()


class TestSummary:
    def test_figures_by_hand(self) -> None:
        """Published at 0, 1, 2, 3 s; received 0.1, 0.2 and 0.3 s later; one never."""
        published = {k: k * 1_000_000_000 for k in range(4)}
        received = {k: k * 1_000_000_000 + (k + 1) * 100_000_000 for k in range(3)}
        made = figures(published_ns=published, received_ns=received)
        assert (made["frame_sets"], made["lost"]) == (3, 1)
        assert made["fps"] == pytest.approx(2 / 2.2, abs=1e-3)  # two intervals from 0.1 s to 2.3 s
        assert made["latency_ms"] == {"p50": 200.0, "p95": 290.0}

    def test_when_nothing_arrives(self) -> None:
        made = figures(published_ns={1: 1, 2: 2}, received_ns={})
        assert made == {"frame_sets": 0, "lost": 2, "fps": 0.0, "latency_ms": {"p50": None, "p95": None}}

    def test_the_file_is_json(self, tmp_path: Path) -> None:
        made = figures(published_ns={1: 1}, received_ns={1: 5_000_001})
        write_summary(tmp_path / "summary.json", made)
        assert json.loads((tmp_path / "summary.json").read_text()) == made
        assert made["latency_ms"]["p50"] == 5.0
