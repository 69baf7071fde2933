"""Pairs from recorded drives: actors are replaced, rules choose, photos or the reconstruction are the target."""

from __future__ import annotations

import gc
import os
import shutil
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin

from r3d2_ros.assembly import load_config_library
from r3d2_ros.cli.main import main
from r3d2_ros.config import SimConfig
from r3d2_ros.dataset import recorded_inputs
from r3d2_ros.dataset.check import check_dataset
from r3d2_ros.dataset.recorded_settings import load_settings
from r3d2_ros.dataset.replacement import PREFIX, Replacer, joint_library
from r3d2_ros.dataset.samples import Sample, open_dataset
from r3d2_ros.errors import InputErrors
from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.geometry import Rigid
from r3d2_ros.locks import lock
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.world import ActorState
from tests.cli.small import blobs
from tests.replay.bags import Entry, actor_array, drive, ns, oncoming, recorded, write_bag
from tests.replay.small import write_small

SECONDS = np.arange(0.0, 0.5, 0.1)
LONGER = np.arange(0.0, 3.0, 0.25)
"""Time that leaps back by so much is time that begins anew."""
SETTINGS = """
assets: generated/assets.yaml
select: {min_pixels: 3}
cameras: [eye]
drives:
  - {name: town, split: train, bag: bag, config: sim/sim.yaml, weather: [clear]}
  - {name: storm, split: train, bag: bag, config: sim/sim.yaml, weather: [clear, heavy_rain]}
  - {name: dazzled, split: test, bag: bag, config: sim/sim.yaml, glare: true}
"""
SECOND = SETTINGS + "  - {name: village, split: val, bag: bag, config: sim/sim.yaml}\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A drive towards a red and blue car, and a green one to take its place."""
    write_small(tmp_path / "sim")
    write_bag(tmp_path / "bag", [*drive(SECONDS), *oncoming(SECONDS)])
    (tmp_path / "generated").mkdir()
    body = [(x, y, z) for x in (-1.0, 1.0) for y in (-0.5, 0.0, 0.5) for z in (0.5, 1.0, 1.5)]
    write_inria_ply(tmp_path / "generated" / "green.ply", blobs(body, [(0.0, 1.0, 0.0)] * len(body), 0.3))
    (tmp_path / "generated" / "assets.yaml").write_text(
        "assets: {green: {file: green.ply, size_m: [2.0, 1.0, 1.5], category: car}}\n"
    )
    (tmp_path / "drives.yaml").write_text(SETTINGS)
    return tmp_path


def status_of_build(place: Path) -> int:
    return main(["dataset", "build", "--recorded", str(place / "drives.yaml"), "--out", str(place / "out")])


def build(place: Path) -> list[Sample]:
    assert status_of_build(place) == 0
    return list(open_dataset(place / "out").samples)


def test_the_input_has_the_asset_where_the_target_has_the_recorded_actor(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = build(place)
    assert (
        len(samples) >= 4 and {s.split for s in samples} == {"train"} and {s.meta.sequence for s in samples} == {"town"}
    )
    assert check_dataset(place / "out") == (len(samples), [])
    for sample in samples:
        pair = sample.load()
        green, was = pair.input[pair.mask].mean(axis=0), pair.target[pair.mask].mean(axis=0)
        assert green[1] > 2 * green[0] and was[1] < was[0], "green takes the place of red"
        np.testing.assert_array_equal(pair.input[:4], pair.target[:4])
        (actor,) = sample.meta.actors
        assert (
            actor.asset == "green" and actor.category == "car" and sample.meta.details["recorded"] == {"other": "car"}
        )
        assert sample.meta.sun is None and pair.shadow is None
    said = capsys.readouterr()
    assert "storm: left out (weather: heavy_rain)" in said.err and "dazzled: left out (sun glare)" in said.err
    assert "not used: 1 (drive left out: sun glare)" in said.out


def test_a_second_run_makes_nothing_anew(place: Path) -> None:
    before = {s.name: (s.folder / "input.png").stat().st_mtime_ns for s in build(place)}
    assert before == {s.name: (s.folder / "input.png").stat().st_mtime_ns for s in build(place)}


def test_photos_are_the_target_where_there_are_some(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "photos" / "eye").mkdir(parents=True)
    photo = np.full((49, 65, 3), 77, np.uint8)
    photo[0] = 5
    cv2.imwrite(str(place / "photos" / "eye" / f"{ns(0.1)}.png"), photo)
    text = SETTINGS.replace("weather: [clear]}", "weather: [clear], photos: photos}").split("  - {name: storm")[0]
    (place / "drives.yaml").write_text(text + "target: photo\n")
    (sample,) = build(place)
    assert sample.meta.name == f"town_{ns(0.1)}_eye"
    np.testing.assert_allclose(sample.load().target[1:], 77 / 255)
    assert "(no photo)" in capsys.readouterr().out
    assert sample.meta.stamp_ns == ns(0.1)
    (place / "drives.yaml").write_text(text.replace("photos: photos", "photos: ''"))
    rendered = place / "rendered"
    assert main(["dataset", "build", "--recorded", str(place / "drives.yaml"), "--out", str(rendered)]) == 0
    target = cv2.imread(str(rendered / "train" / sample.meta.name / "target.png"))
    np.testing.assert_array_equal(cv2.imread(str(sample.folder / "original.png")), target)
    (place / "drives.yaml").write_text(text + "target: photo\n")
    cv2.imwrite(str(place / "photos" / "eye" / f"{ns(0.2)}.png"), photo[:-1])
    assert main(["dataset", "build", "--recorded", str(place / "drives.yaml"), "--out", str(place / "out")]) == 1
    assert f"{ns(0.2)}.png: expected the camera's 65x49 pixels, got 65x48" in capsys.readouterr().err


def test_what_of_a_bag_is_not_read_is_said_and_in_the_status(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bag(place / "short", [*drive(SECONDS), *oncoming(SECONDS)], storage=StoragePlugin.SQLITE3)
    path = place / "short" / "metadata.yaml"
    metadata = yaml.safe_load(path.read_text())
    metadata["rosbag2_bagfile_information"]["relative_file_paths"].append("short_1.db3")
    path.write_text(yaml.safe_dump(metadata))
    (place / "drives.yaml").write_text(SETTINGS.replace("bag: bag", "bag: short"))
    for _ in ("made", "continued"):
        assert status_of_build(place) == 3
        assert "not read: town: short_1.db3: is named in metadata.yaml and is not there" in capsys.readouterr().out
    assert open_dataset(place / "out").samples, "everything else is used"


def two_passes() -> list[Entry]:
    """The drive twice in one bag, the second time slower: message time goes back between them."""
    first = [*drive(LONGER), *oncoming(LONGER)]
    second = [replace(e, log_ns=e.log_ns + ns(10) - ns(0)) for e in [*drive(LONGER, speed=6.0), *oncoming(LONGER)]]
    return [entry for part in (first, second) for entry in sorted(part, key=lambda entry: entry.log_ns)]


def test_each_pass_of_time_is_a_sequence_of_its_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bag(place / "twice", two_passes())
    (place / "drives.yaml").write_text(SETTINGS.replace("bag: bag", "bag: twice"))
    samples = build(place)
    said = capsys.readouterr().out
    assert f"{len(samples)} samples" in said and "input: town: actors: time went back" in said
    assert {sample.meta.sequence for sample in samples} == {"town+1", "town+2"}
    of_stamp: dict[int | None, list[Sample]] = {}
    for sample in samples:
        of_stamp.setdefault(sample.meta.stamp_ns, []).append(sample)
    first, second = of_stamp[ns(0.5)]
    assert first.meta.name == f"town+1_{ns(0.5)}_eye" and second.meta.name == f"town+2_{ns(0.5)}_eye"
    assert first.meta.camera.T_camera_world != second.meta.camera.T_camera_world, "the vehicle was elsewhere"
    assert check_dataset(place / "out") == (len(samples), [])


def test_a_photo_of_one_of_two_passes_is_no_target(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Photos are found by stamp, and nothing says of which pass one is."""
    write_bag(place / "twice", two_passes())
    (place / "photos" / "eye").mkdir(parents=True)
    cv2.imwrite(str(place / "photos" / "eye" / f"{ns(0.1)}.png"), np.full((49, 65, 3), 77, np.uint8))
    text = SETTINGS.replace("bag: bag", "bag: twice, photos: photos")
    (place / "drives.yaml").write_text(text + "target: photo\n")
    assert build(place) == []
    assert f"not used: {2 * len(LONGER)} (time went back" in capsys.readouterr().out


def _another_asset(place: Path) -> None:
    write_inria_ply(place / "generated" / "green.ply", blobs([(0.0, 0.0, 0.7)], [(0.0, 0.0, 1.0)], 0.5))


def _another_camera(place: Path) -> None:
    path = place / "sim" / "two.yaml"
    path.write_text(path.read_text().replace("fov_x_deg: 60", "fov_x_deg: 90"))


def _another_configuration(place: Path) -> None:
    path = place / "sim" / "sim.yaml"
    path.write_text(path.read_text().replace("backend: cpu", "backend: cpu, near_plane_m: 0.5"))


def _another_bag(place: Path) -> None:
    shutil.rmtree(place / "bag")
    write_bag(place / "bag", [*drive(SECONDS, speed=6.0), *oncoming(SECONDS)])


def test_pairs_are_of_pinholes_whatever_the_lens(place: Path) -> None:
    path = place / "sim" / "two.yaml"
    path.write_text(path.read_text().replace("fov_x_deg: 60", "K: [56, 56, 32, 24]"))
    before = {sample.name: sample.load().input for sample in build(place)}
    shutil.rmtree(place / "out")
    path.write_text(path.read_text().replace("K: [56, 56, 32, 24]", "K: [56, 56, 32, 24], D: [-0.2, 0.02, 0, 0, 0]"))
    after = {sample.name: sample.load().input for sample in build(place)}
    assert "D: [" in path.read_text() and before.keys() == after.keys()
    for name, pixels in before.items():
        np.testing.assert_array_equal(after[name], pixels)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (_another_asset, "assets"),
        (_another_camera, "town: scene, rig or library"),
        (_another_configuration, "town: config"),
        (_another_bag, "town: bag"),
    ],
)
def test_a_dataset_is_not_continued_with_other_files(
    place: Path, change: Callable[[Path], None], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(build(place)[-1].folder)
    before = sorted((place / "out").rglob("*"))
    change(place)
    assert status_of_build(place) == 1
    assert f"got another one: files ({part}) differ" in capsys.readouterr().err
    assert sorted((place / "out").rglob("*")) == before


def test_a_dataset_is_continued_in_another_place(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    lost = build(place)[-1].folder
    shutil.rmtree(lost)
    moved = tmp_path_factory.mktemp("elsewhere") / "moved"
    place.rename(moved)
    assert lost.name in {sample.folder.name for sample in build(moved)}


def test_two_builds_do_not_write_into_one_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = build(place)[-1].folder
    shutil.rmtree(lost)
    (lost.parent / ".making-x").mkdir()
    held = lock(place / "out")
    try:
        assert status_of_build(place) == 1
    finally:
        os.close(held)
    assert "expected a folder that no other run is writing, got one that a dataset build" in capsys.readouterr().err
    assert (lost.parent / ".making-x").exists() and not lost.exists()
    assert lost in [sample.folder for sample in build(place)]


def test_the_actors_of_one_drive_at_a_time_are_in_memory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries: list[weakref.ref[AssetLibrary]] = []

    def loaded(config: SimConfig, say: Callable[[str], None]) -> AssetLibrary:
        gc.collect()
        assert not [library for library in libraries if library() is not None]
        library = load_config_library(config, say)
        libraries.append(weakref.ref(library))
        return library

    monkeypatch.setattr(recorded_inputs, "load_config_library", loaded)
    (place / "drives.yaml").write_text(SECOND)
    assert {sample.meta.sequence for sample in build(place)} == {"town", "village"}
    assert len(libraries) == 4, "each is checked before anything is made, and loaded for its drive"


def test_paths_may_begin_with_the_home_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    text = SETTINGS.replace("assets: generated", "assets: ~/generated").replace("bag: bag", "bag: ~/bag")
    (place / "photos" / "eye").mkdir(parents=True)
    cv2.imwrite(str(place / "photos" / "eye" / f"{ns(0.1)}.png"), np.full((49, 65, 3), 77, np.uint8))
    text = text.replace("config: sim/", "photos: ~/photos, config: ~/sim/")
    (place / "drives.yaml").write_text(text + "target: photo\n")
    assert [sample.meta.stamp_ns for sample in build(place)] == [ns(0.1)]


def test_pictures_in_which_too_little_is_seen_are_left_out(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "drives.yaml").write_text(SETTINGS.replace("min_pixels: 3", "min_pixels: 3000"))
    assert build(place) == []
    assert "(too few actors seen)" in capsys.readouterr().out


def test_a_small_actor_does_not_count_and_is_in_the_mask_all_the_same(place: Path) -> None:
    """Input and target differ in it: what measures the outside of the mask would take it for a fault."""
    two = [recorded("/actors", s, actor_array(s, near=(12, 2.0, 0, 0), far=(27, -3.0, 0, 0))) for s in SECONDS]
    write_bag(place / "two", [*drive(SECONDS), *two])
    for least, samples in ((40, True), (4000, False)):
        settings = SETTINGS.replace("bag: bag", "bag: two").replace("min_pixels: 3", f"min_pixels: {least}")
        (place / "drives.yaml").write_text(settings)
        out = place / f"out{least}"
        assert main(["dataset", "build", "--recorded", str(place / "drives.yaml"), "--out", str(out)]) == 0
        made = open_dataset(out).samples
        assert bool(made) == samples
        for sample in made:
            pair = sample.load()
            near, far = sorted(sample.meta.actors, key=lambda actor: actor.T_world_actor[0][3])
            assert (near.id, far.id) == ("near", "far")
            left, top, right, bottom = far.box_px
            assert 0 < pair.mask[top:bottom, left:right].sum() < least, "the far one alone would not count"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("generated/assets.yaml", "generated/aset.yaml"),
        ("val, bag: bag", "val, bag: typo.mcap"),
        ("val, bag: bag", "val, bag: bag, actors: /cars"),
    ],
)
def test_a_folder_is_not_marked_by_settings_with_a_fault(
    place: Path, right: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "drives.yaml").write_text(SECOND.replace(right, wrong))
    command = ["dataset", "build", "--recorded", str(place / "drives.yaml"), "--out", str(place / "out")]
    assert main(command) == 1 and wrong.split()[-1] in capsys.readouterr().err
    assert not (place / "out").exists()
    (place / "drives.yaml").write_text(SECOND)
    assert build(place)


@pytest.mark.parametrize("file", ["generated/green.ply", "sim/car.ply"])
def test_a_folder_is_not_marked_where_an_asset_is_damaged(
    place: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / file).write_bytes(b"ply\n")
    assert status_of_build(place) == 1 and Path(file).name in capsys.readouterr().err
    assert not (place / "out").exists()


@pytest.mark.parametrize("option", [("--suns", "2"), ("--per-street", "8"), ("--size", "64x64"), ("--workers", "2")])
def test_options_of_procedural_pairs_are_refused(
    place: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["dataset", "build", "--recorded", str(place / "drives.yaml"), "--out", str(place / "out"), *option]
    assert main(command) == 1
    assert f"{option[0]}: expected only with --procedural" in capsys.readouterr().err


def test_faults_of_the_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "drives.yaml"
    path.write_text(
        "assets: a\ntarget: photo\nselect: {min_actors: 0}\n"
        "drives: [{name: a/b, split: training, bag: b, config: c}]\nsed: 3\n"
    )
    with pytest.raises(InputErrors) as caught:
        load_settings(path)
    text = str(caught.value)
    for part in ("select.min_actors", "drives.0.name", "drives.0.split", "sed"):
        assert part in text
    path.write_text("assets: a\ntarget: photo\ndrives: [{name: a, split: val, bag: b, config: c}]\n")
    with pytest.raises(InputErrors, match=r"drives\.0\.photos: expected a folder"):
        load_settings(path)


def library(**sizes: tuple[str, tuple[float, float, float]]) -> AssetLibrary:
    one = blobs([(0.0, 0.0, 0.5)], [(1.0, 1.0, 1.0)], 0.1)
    return AssetLibrary({name: Asset(name, one, size, category=kind) for name, (kind, size) in sizes.items()})


def test_replacements_fit_by_id_then_by_category_and_size() -> None:
    recorded = library(car=("car", (4.5, 1.8, 1.5)), walker=("pedestrian", (0.5, 0.5, 1.8)))
    joint = joint_library(
        recorded, library(small=("car", (3.6, 1.6, 1.5)), large=("car", (5.2, 2.0, 1.9)), obj_7=("bus", (11, 2.5, 3)))
    )
    replacer = Replacer(joint, fit_box=True, seed=0)

    def actor(name: str, asset: str, size_m: tuple[float, float, float] | None = None) -> ActorState:
        return ActorState(name, asset, Rigid.identity(), size_m, 1)

    assert replacer.replaced(actor("obj_7", "car")).asset == f"{PREFIX}obj_7", "made from this very actor"
    assert replacer.replaced(actor("a", "car", (5.0, 2.0, 1.8))).asset == f"{PREFIX}large"
    assert replacer.replaced(actor("b", "car", (3.5, 1.6, 1.5))).asset == f"{PREFIX}small"
    assert replacer.replaced(actor("c", "walker")) is None, "no pedestrian was generated"
    assert replacer.replaced(actor("d", "car")).size_m == (4.5, 1.8, 1.5)
    own = Replacer(joint, fit_box=False, seed=0).replaced(actor("d", "car"))
    assert own is not None and own.size_m is None
