"""Streets on disk: round trip through the scene formats, the cache, and the command."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros import resources
from r3d2_ros.cli import street as command
from r3d2_ros.errors import InputError
from r3d2_ros.formats.libraries import load_library
from r3d2_ros.formats.scenes import find_scene, load_scene
from r3d2_ros.lane_map import (
    BUILDING,
    POLE,
    ROAD,
    SIDEWALK,
    TERRAIN,
    VEGETATION,
    load_labels,
    load_lane_map,
)
from r3d2_ros.street import StreetOptions, build, cached_street, load_lanes, store, write_street
from r3d2_ros.street.build import Street, build_street
from tests.replay.bags import drive, write_bag

OPTIONS = StreetOptions(path=((100.0, 50.0, 7.0), (140.0, 50.0, 7.0)), detail=0.3)


@pytest.fixture(scope="module")
def street() -> Street:
    return build_street(OPTIONS)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, street: Street) -> list[int]:
    """An empty cache, and a list that grows each time a street is made."""
    monkeypatch.setenv("R3D2_CACHE_DIR", str(tmp_path / "cache"))
    resources.cache_dir.cache_clear()
    made: list[int] = []
    monkeypatch.setattr(build, "build_street", lambda _options: (made.append(1), street)[1])
    yield made
    resources.cache_dir.cache_clear()


def test_written_street_is_read_back(tmp_path: Path, street: Street) -> None:
    write_street(tmp_path / "town", street)
    scene = load_scene(tmp_path / "town")
    np.testing.assert_array_equal(scene.background.means, street.scene.background.means)
    np.testing.assert_allclose(scene.background.sh, street.scene.background.sh, atol=1e-6)
    np.testing.assert_allclose(scene.background.opacities, street.scene.background.opacities, atol=1e-5)
    np.testing.assert_array_equal(scene.T_map_scene.translation, [100.0, 50.0, 7.0])
    np.testing.assert_allclose(scene.bounds, street.scene.bounds)
    np.testing.assert_allclose(scene.sky.image, street.scene.sky.image, atol=1e-6)
    assert len(scene.trajectory) == len(street.scene.trajectory) == 41
    assert scene.licence.startswith("Apache-2.0") and scene.procedural
    assert not scene.notes
    library = load_library(find_scene(tmp_path / "town").library)
    assert set(library.assets) == set(street.library.assets) and library.notes == ()
    np.testing.assert_allclose(library["bus"].size_m, street.library["bus"].size_m)
    lanes = load_lanes(tmp_path / "town")
    np.testing.assert_allclose(lanes.ego, street.lanes.ego, atol=6e-4)
    np.testing.assert_allclose(lanes.crossing, street.lanes.crossing, atol=6e-4)


def test_written_street_brings_its_map_and_labels(tmp_path: Path, street: Street) -> None:
    """The drive is at y = 50 along +x: the road's middle at 51.75, its kerbs 3.75 m to either side."""
    write_street(tmp_path / "town", street)
    files = find_scene(tmp_path / "town")
    assert files.lane_map is not None and files.labels is not None
    lane_map = load_lane_map(files.lane_map)
    ego, oncoming = lane_map.lanes
    np.testing.assert_allclose(ego.centre[[0, -1]], [[100, 50, 7], [140, 50, 7]], atol=1e-3)
    np.testing.assert_allclose(ego.left[:, 1], 51.75, atol=1e-3)
    np.testing.assert_allclose(ego.right[:, 1], 48.0, atol=1e-3)
    np.testing.assert_allclose(oncoming.left[:, 1], 51.75, atol=1e-3)
    np.testing.assert_allclose(oncoming.right[:, 1], 55.5, atol=1e-3)
    assert oncoming.centre[0, 0] > oncoming.centre[-1, 0] and oncoming.left[0, 0] > oncoming.left[-1, 0]
    assert ego.left[0, 0] == pytest.approx(40.0, abs=1.0) and ego.left[-1, 0] == pytest.approx(200.0, abs=1.0)
    scene = load_scene(tmp_path / "town")
    labels = load_labels(files.labels, len(scene.background))
    x, y, z = scene.T_map_scene.apply(scene.background.means).T
    along = (x > 105) & (x < 135)
    road, sidewalk = along & (labels == ROAD), along & (labels == SIDEWALK)
    assert road.sum() > 1000 and sidewalk.sum() > 1000
    assert np.all(np.abs(y[road] - 51.75) <= 3.75 + 1e-3) and np.all(np.abs(z[road] - 7.0) < 0.1)
    assert np.all(np.abs(y[sidewalk] - 51.75) >= 3.75 - 1e-3) and np.all(np.abs(y[sidewalk] - 51.75) <= 6.75)
    assert z[labels == BUILDING].max() > 12.0
    free = along & (np.abs(y - 51.75) < 3.5) & (z > 7.1) & (z < 9.0)
    assert not free.any()  # nothing stands on the carriageway
    assert {ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, TERRAIN} == set(labels.tolist())


def test_cached_street_is_made_once(cache: list[int]) -> None:
    lines: list[str] = []
    first = cached_street(OPTIONS, say=lines.append)
    assert cached_street(OPTIONS, say=lines.append) == first
    assert len(cache) == 1 and len(lines) == 1
    assert (first / "scene.yaml").is_file() and (first / "lanes.yaml").is_file()
    assert [entry.name for entry in first.parent.iterdir()] == [first.name]  # no half-made folder is left


def test_other_options_have_another_folder(cache: list[int]) -> None:
    other = StreetOptions(path=OPTIONS.path, detail=0.3, seed=99)
    assert cached_street(OPTIONS) != cached_street(other)
    assert len(cache) == 2


def test_a_street_that_is_there_is_found_without_what_makes_one(cache: list[int]) -> None:
    """Which takes a second to import, at every start."""
    folder = cached_street()
    code = (
        "import sys, r3d2_ros.cli.street; from r3d2_ros.street import cached_street; print(cached_street()); "
        "print([name for name in sys.modules if name in ('r3d2_ros.street.build', 'scipy.spatial')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == [str(folder), "[]"]


def test_two_processes_may_make_the_same_street(cache: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """While this process makes the street another one finishes it: its folder is kept and used."""
    make = store.write_street

    def slow_write(folder: Path, street: Street) -> Path:
        result = make(folder, street)
        monkeypatch.setattr(store, "write_street", make)
        if len(cache) == 1:
            (cached_street(OPTIONS) / "from_the_other").touch()
        return result

    monkeypatch.setattr(store, "write_street", slow_write)
    folder = cached_street(OPTIONS)
    assert (folder / "from_the_other").exists()
    assert len(list(folder.parent.iterdir())) == 1


def test_folder_of_an_interrupted_run_is_not_taken_for_a_street(cache: list[int]) -> None:
    folder = cached_street(OPTIONS)
    (folder / "scene.yaml").unlink()
    with pytest.raises(InputError, match="remove"):
        cached_street(OPTIONS)


def test_lanes_file_with_a_fault_is_refused(tmp_path: Path, street: Street) -> None:
    (tmp_path / "lanes.yaml").write_text("ego: [[0, 0, 0], [1, 0, 0]]\noncoming: 3\n")
    with pytest.raises(InputError, match="oncoming"):
        load_lanes(tmp_path)
    (tmp_path / "lanes.yaml").write_text("ego: [[0, 0, 0], [0, 0, 5]]\n")
    with pytest.raises(InputError, match="lanes.yaml: ego: expected at least two different points, seen from above"):
        load_lanes(tmp_path)


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["street", *argv])


def test_command_writes_a_street_along_a_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, street: Street
) -> None:
    seen: list[StreetOptions] = []
    monkeypatch.setattr(build, "build_street", lambda options, _progress: (seen.append(options), street)[1])
    (tmp_path / "path.csv").write_text("x,y,z\n10,20,1\n30,20,1\n30,45,1\n")
    out = tmp_path / "town"
    status = command.run(parse("--along", str(tmp_path / "path.csv"), "--seed", "3", "--out", str(out), "--json"))
    facts = json.loads(capsys.readouterr().out)
    assert status == 0 and Path(facts["scene"]).is_file() and Path(facts["lanes"]).is_file()
    assert seen[0].seed == 3 and seen[0].path == ((10.0, 20.0, 1.0), (30.0, 20.0, 1.0), (30.0, 45.0, 1.0))


@pytest.mark.parametrize("name", ["scene.yaml", "scene.ply", "labels.npy", "assets/car.ply"])
def test_files_of_another_scene_are_replaced_by_force_only(tmp_path: Path, street: Street, name: str) -> None:
    town = tmp_path / "town"
    (town / name).parent.mkdir(parents=True)
    (town / name).write_text("gaussians: mine.ply\nprocedural: true\nlicence: CC-BY-4.0\n")
    named = name if "/" not in name else "assets/*.ply"
    expected = f"a folder without a scene, or one of `r3d2 street`, got {named}. Choose another folder, or replace"
    with pytest.raises(InputError) as caught:
        write_street(town, street)
    assert expected in str(caught.value)
    assert [path.name for path in town.iterdir()] == [name.split("/")[0]] and "mine" in (town / name).read_text()
    write_street(town, street, force=True)
    assert load_scene(town).procedural


def test_a_street_replaces_an_earlier_one_and_leaves_other_files(tmp_path: Path, street: Street) -> None:
    (tmp_path / "rig.yaml").write_text("mine")
    for _ in range(2):
        write_street(tmp_path, street)
    assert load_scene(tmp_path).procedural and (tmp_path / "rig.yaml").read_text() == "mine"


def test_what_an_interrupted_run_left_is_replaced(
    tmp_path: Path, street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **_keys: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_scene", interrupt)
        write_street(tmp_path, street)
    assert (tmp_path / "labels.npy").is_file() and not (tmp_path / "scene.yaml").exists()
    write_street(tmp_path, street)
    assert load_scene(tmp_path).procedural
    (tmp_path / "scene.yaml").write_text("gaussians: mine.ply\n")
    with pytest.raises(InputError, match="--force"):
        write_street(tmp_path, street)


def test_command_looks_at_the_folder_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, street: Street
) -> None:
    made: list[int] = []
    monkeypatch.setattr(build, "build_street", lambda _options, _progress: (made.append(1), street)[1])
    (tmp_path / "scene.yaml").write_text("gaussians: mine.ply\n")
    with pytest.raises(InputError, match="--force"):
        command.run(parse("--out", str(tmp_path)))
    assert not made
    (tmp_path / "town").write_text("a file")
    with pytest.raises(InputError, match="town: expected a folder that can be read and written, got Not a directory"):
        command.run(parse("--out", str(tmp_path / "town")))
    assert not made
    assert command.run(parse("--out", str(tmp_path), "--force")) == 0
    assert load_scene(tmp_path).procedural


def test_a_scene_file_that_cannot_be_removed_is_named(tmp_path: Path, street: Street) -> None:
    (tmp_path / "scene.yaml").mkdir()
    with pytest.raises(InputError, match="scene.yaml: expected a file that can be replaced, got"):
        write_street(tmp_path, street, force=True)


def test_a_street_of_another_user_is_used_as_it_is(cache: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cached_street(OPTIONS)

    def refuse(_path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert cached_street(OPTIONS) == folder and len(cache) == 1


def test_the_unfinished_street_of_another_user_is_left_alone(
    cache: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else may look into it."""
    theirs = cached_street(OPTIONS).parent / ".making-theirs"
    theirs.mkdir()
    stat = Path.stat

    def refuse_inside(path: Path, **keys: bool) -> os.stat_result:
        if path.parent == theirs:
            raise PermissionError(13, "Permission denied")
        return stat(path, **keys)

    monkeypatch.setattr(Path, "stat", refuse_inside)
    monkeypatch.setattr(store, "KEPT", 1)
    cached_street(replace(OPTIONS, seed=5))
    assert theirs.is_dir() and len(cache) == 2


def test_command_takes_the_topic_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[StreetOptions] = []
    monkeypatch.setattr(command, "cached_street", lambda options, say: (seen.append(options), tmp_path)[1])
    bag = write_bag(tmp_path / "bag", [*drive([0.0, 1.0], topic="/a"), *drive([0.0, 2.0], topic="/b")])
    with pytest.raises(InputError, match="--topic"):
        command.run(parse("--along", str(bag)))
    assert command.run(parse("--along", str(bag), "--topic", "/b")) == 0
    assert seen[0].path == ((0.0, 0.0, 0.0), (20.0, 0.0, 0.0))
    for useless in ([], ["--along", "path.csv"]):
        with pytest.raises(InputError, match="--topic: expected --along with a bag"):
            command.run(parse("--topic", "/b", *useless))


def test_what_is_wrong_with_the_path_names_the_bag(tmp_path: Path) -> None:
    """A drive of 250 s at 10 m/s, and one of 3 m there and back, which leaves no room for a street."""
    far = write_bag(tmp_path / "far", drive([0.0, 250.0]))
    with pytest.raises(InputError) as caught:
        command.run(parse("--along", str(far)))
    assert str(caught.value) == f"{far}: expected a drive of 1 to 2000 metres, got one of 2500.00 m"
    turn = tmp_path / "turn.csv"
    turn.write_text("0,0\n3,0\n0,0\n")
    with pytest.raises(InputError) as caught:
        command.run(parse("--along", str(turn)))
    assert caught.value.where == str(turn) and caught.value.got.endswith("that turns by 180 degrees")


def test_command_refuses_a_length_with_a_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--length"):
        command.run(parse("--along", "x.csv", "--length", "100"))


def test_only_the_streets_used_last_are_kept(cache: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT", 2)
    first, second = (cached_street(replace(OPTIONS, seed=seed)) for seed in (1, 2))
    os.utime(second, (0, 0))
    third = cached_street(replace(OPTIONS, seed=3))
    assert [folder.is_dir() for folder in (first, second, third)] == [True, False, True]
