"""Datasets on disk: what is written is read again, and damaged samples are named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from r3d2_ros.cli.main import main
from r3d2_ros.dataset.check import check_dataset
from r3d2_ros.dataset.meta import SampleMeta
from r3d2_ros.dataset.samples import DatasetWriter, open_dataset
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.schema import validate
from tests.dataset.small import BOX, HEIGHT, WIDTH, meta, pair

MADE = {"command": "r3d2 dataset build --seed 1", "seed": 1, "options": {"size": [24, 32]}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two samples to train with and one to test with."""
    writer = DatasetWriter(tmp_path / "pairs", MADE)
    writer.write("train", meta("street_1_0000", "street_1"), pair())
    writer.write("train", meta("street_1_0001", "street_1"), pair())
    writer.write("test", meta("street_9_0000", "street_9"), pair())
    return tmp_path / "pairs"


def test_what_is_written_is_read_again(folder: Path) -> None:
    dataset = open_dataset(folder)
    assert dataset.made == {"format": 1, **MADE}
    assert [s.name for s in dataset.samples] == ["train/street_1_0000", "train/street_1_0001", "test/street_9_0000"]
    assert [s.meta.name for s in dataset.split("train")] == ["street_1_0000", "street_1_0001"]
    assert dataset.split("val") == ()
    sample, wrote = dataset.samples[0], pair()
    assert sample.meta == meta("street_1_0000", "street_1")
    got = sample.load()
    assert got.input.shape == got.target.shape == (HEIGHT, WIDTH, 3) and got.input.dtype == np.float32
    np.testing.assert_allclose(got.input, wrote.input, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(got.target, wrote.target, atol=0.5 / 255 + 1e-6)
    assert got.input[10, 12, 0] > 0.75 > 0.25 > got.input[10, 12, 2], "red stays the first channel"
    np.testing.assert_array_equal(got.mask, wrote.mask)
    np.testing.assert_array_equal(got.shadow, wrote.shadow)
    assert check_dataset(folder) == (3, [])


def test_the_camera_that_comes_back_sees_the_same_pixels() -> None:
    """A point 8 m before the camera, 2 m to the left, lies at u = 16 - 40 * 2 / 8 = 6 from the image's edge."""
    view = meta().camera.view
    point = view.K @ view.T_camera_world.apply([8.0, 2.0, 1.0])
    np.testing.assert_allclose(point[:2] / point[2], [6.0, 12.0])
    sun = meta().sun
    assert sun is not None and sun.camera == pytest.approx((-0.6, -0.8, 0.0)), "left and up in optical axes"


def test_region_is_around_the_mask_and_on_the_ground(folder: Path) -> None:
    sample = open_dataset(folder).samples[0]
    mask = sample.load().mask
    region = sample.region(mask, RegionConfig(feather_px=0))
    assert np.all(region[mask] == 1)
    # The box is 2 m high at 8.5 to 11.5 m: 9.4 pixels, from row 7.3 down to 16.7. Margin below: 0.45 of that.
    assert region[BOX[3] + 3, 16] == 1 and region[0, 16] == 0


def test_no_region_without_a_visible_insert(folder: Path) -> None:
    sample = open_dataset(folder).samples[0]
    assert not sample.region(np.zeros((HEIGHT, WIDTH), bool), RegionConfig()).any()


def test_a_sequence_in_two_splits_is_refused_and_found(folder: Path) -> None:
    DatasetWriter(folder, MADE).write("val", meta("street_1_0002", "street_1"), pair())
    with pytest.raises(InputError, match="sequence 'street_1' in one split.*train.*val"):
        open_dataset(folder)
    count, faults = check_dataset(folder)
    assert count == 4 and len(faults) == 1 and "street_1_0002" in faults[0].where


def test_the_same_dataset_is_continued_and_another_is_not_touched(folder: Path, tmp_path: Path) -> None:
    writer = DatasetWriter(folder, MADE)
    assert writer.has("train", "street_1_0001") and not writer.has("train", "street_1_0002")
    with pytest.raises(InputError, match="another one: seed differ"):
        DatasetWriter(folder, {**MADE, "seed": 2})
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"a folder with mine\.txt"):
        DatasetWriter(tmp_path / "letters", MADE)
    assert (tmp_path / "letters" / "mine.txt").read_text() == "keep"


def test_unfinished_samples_do_not_count(folder: Path) -> None:
    left = folder / "train" / ".making-abc"
    left.mkdir()
    (left / "input.png").write_bytes(b"half")
    assert len(open_dataset(folder).samples) == 3
    DatasetWriter(folder, MADE).tidy()
    assert not left.exists() and len(open_dataset(folder).samples) == 3


def test_images_of_another_size_are_not_written(folder: Path) -> None:
    wrote = pair()
    wrong = type(wrote)(wrote.input[:-1], wrote.target, wrote.mask)
    with pytest.raises(ValueError, match="expected images"):
        DatasetWriter(folder, MADE).write("train", meta("street_1_0007"), wrong)
    assert not (folder / "train" / "street_1_0007").exists()


def _grey(path: Path, value: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    cv2.imwrite(str(path), np.full(size, value, np.uint8))


def _edit(path: Path, **changes: object) -> None:
    facts = json.loads(path.read_text())
    facts.update(changes)
    path.write_text(json.dumps(facts))


def _edit_camera(path: Path, **changes: object) -> None:
    _edit(path, camera=json.loads(path.read_text())["camera"] | changes)


def _edit_actor(path: Path, **changes: object) -> None:
    _edit(path, actors=[json.loads(path.read_text())["actors"][0] | changes])


STRETCHED = [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
PROJECTIVE = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


FAULTS = {
    "missing": (lambda s: (s / "target.png").unlink(), "target.png.*no such file"),
    "damaged": (lambda s: (s / "input.png").write_bytes(b"\x89PNG\r\n\x1a\nrest"), "input.png.*damaged file"),
    "no picture": (lambda s: (s / "input.png").write_text("hello"), "input.png.*another or a damaged file"),
    "grey input": (lambda s: _grey(s / "input.png", 9), "input.png.*3 channels, got uint8 with 1 channels"),
    "size": (lambda s: _grey(s / "mask.png", 255, (5, 6)), "mask.png.*camera's 32x24 pixels, got 6x5"),
    "soft mask": (lambda s: _grey(s / "mask.png", 77), "mask.png.*0 or 255.*768 pixels"),
    "empty mask": (lambda s: _grey(s / "mask.png", 0), "mask.png.*an insert, got an empty mask"),
    "mask outside": (lambda s: _grey(s / "mask.png", 255), "mask.png.*672 pixels outside of them"),
    "same": (lambda s: (s / "target.png").write_bytes((s / "input.png").read_bytes()), "target.png.*the same"),
    "damaged original": (lambda s: (s / "original.png").write_text("hello"), "original.png.*a damaged file"),
    "no meta": (lambda s: (s / "meta.json").unlink(), "meta.json.*no such file"),
    "no JSON": (lambda s: (s / "meta.json").write_text("{"), "meta.json: expected JSON"),
    "other name": (lambda s: _edit(s / "meta.json", name="other"), "meta.json: name.*'street_1_0001', got 'other'"),
    "path as name": (lambda s: _edit(s / "meta.json", sequence="../.."), r"sequence: expected"),
    "unknown key": (lambda s: _edit(s / "meta.json", sequense="x"), "sequense.*Did you mean 'sequence'"),
    "no actors": (lambda s: _edit(s / "meta.json", actors=[]), "actors.*at least one insert"),
    "no focal length": (
        lambda s: _edit_camera(s / "meta.json", K=[[0, 0, 16], [0, 40, 12], [0, 0, 1]]),
        r"meta.json: camera.K: expected fx, fy > 0, no skew, last row 0 0 1, got \[\[0, 0, 16\]",
    ),
    "a camera that stretches": (
        lambda s: _edit_camera(s / "meta.json", T_camera_world=STRETCHED),
        r"meta.json: camera.T_camera_world: expected a rigid transform, .* right-handed rotation, got \[\[2",
    ),
    "an actor's pose with a last row": (
        lambda s: _edit_actor(s / "meta.json", T_world_actor=PROJECTIVE),
        r"meta.json: actors.0.T_world_actor: expected a rigid transform, last row 0 0 0 1",
    ),
    "a box beside the image": (
        lambda s: _edit_actor(s / "meta.json", box_px=[-30, -30, -10, 99999]),
        r"meta.json: actors.0.box_px: expected left, top, right, bottom within 32x24 pixels, got \[-30, -30",
    ),
    "a box without pixels of the mask": (
        lambda s: _edit(
            s / "meta.json",
            actors=[one := json.loads((s / "meta.json").read_text())["actors"][0], one | {"box_px": [0, 0, 4, 4]}],
        ),
        "meta.json: actors.1.box_px: expected a box with pixels of the mask, got one without",
    ),
    "a long sun": (
        lambda s: _edit(s / "meta.json", sun={"world": [0, 0.6, 0.8], "camera": [1000, 0, 0]}),
        r"meta.json: sun.camera: expected a unit vector, of a length within 0.001 of 1, got \[1000, 0, 0\]",
    ),
    "no sun": (
        lambda s: _edit(s / "meta.json", sun={"world": [0, 0, 0]}),
        "meta.json: sun.world: expected a unit vector",
    ),
    "two suns": (
        lambda s: _edit(s / "meta.json", sun={"world": [0, 0.6, 0.8], "camera": [0.6, -0.8, 0]}),
        r"sun.camera: expected sun.world in the camera's axes .*, \[-0.6, -0.8, -?0.0\], got \[0.6, -0.8, 0.0\]",
    ),
    "a flat box": (
        lambda s: _edit_actor(s / "meta.json", size_m=[3, 0, 2]),
        "meta.json: actors.0.size_m.1: expected greater than 0, got 0",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_checker_names_the_bad_sample(folder: Path, name: str) -> None:
    spoil, message = FAULTS[name]
    spoil(folder / "train" / "street_1_0001")
    count, faults = check_dataset(folder)
    assert count == 3 and faults
    assert all("street_1_0001" in fault.where for fault in faults)
    with pytest.raises(InputErrors, match=message):
        raise InputErrors(faults)


def test_a_truncated_picture_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "train" / "street_1_0001" / "input.png"
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["dataset", "check", str(folder)]) == 1
    out, err = capfd.readouterr()
    assert out == f"{folder}: 3 samples, 1 fault\n" and err.startswith(f"{path}: expected") and err.count("\n") == 1


def test_what_is_no_dataset_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder with dataset.json"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="format: expected 1, got 99"):
        check_dataset(tmp_path)


def test_a_sun_in_rounded_numbers_is_one(folder: Path) -> None:
    """Of (1, 1, 1) / sqrt(3) with three digits the length is 0.9994."""
    _edit(folder / "train" / "street_1_0001" / "meta.json",
          sun={"world": [0.577, 0.577, 0.577], "camera": [-0.577, -0.577, 0.577]})  # fmt: skip
    assert check_dataset(folder) == (3, [])


def test_meta_needs_finite_numbers() -> None:
    facts = {**asdict(meta()), "sun": {"world": [float("nan"), 0, 1]}}
    with pytest.raises(InputErrors, match=r"sun\.world\.0: expected a finite number"):
        validate(SampleMeta, facts, "meta.json")
