"""`r3d2 render`: the files, and that they show what was asked for."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.cli.main import main
from r3d2_ros.rendering import RENDERERS
from tests.cli.small import CENTRE, HEIGHT, WIDTH, write_inputs
from tests.formats.plys import gaussian_columns, write_ply


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


def render(folder: Path, *extra: str, actors: str = "", ego: str = "0 0 0 0") -> int:
    words = ["render", "--scene", str(folder / "wall.ply"), "--rig", str(folder / "rig.yaml"), "--backend", "cpu"]
    words += ["--ego", *ego.split(), "--out", str(folder / "out")]
    if actors:
        (folder / "actors.yaml").write_text(actors)
        words += ["--actors", str(folder / "actors.yaml")]
    return main([*words, *extra])


def image(folder: Path) -> NDArray[np.uint8]:
    """[H, W, 3] red, green, blue."""
    return cv2.imread(str(folder / "out" / "eye.png"))[:, :, ::-1]


def instance(folder: Path) -> NDArray[np.uint16]:
    return cv2.imread(str(folder / "out" / "eye.instance.png"), cv2.IMREAD_UNCHANGED)


def test_three_files_per_camera_of_the_rigs_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(folder, "--json") == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    camera = facts["cameras"]["eye"]
    assert (camera["width"], camera["height"]) == (WIDTH, HEIGHT)
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(
        [camera["image"], camera["depth"], camera["instance"]]
    )
    assert image(folder).shape == (HEIGHT, WIDTH, 3)
    assert instance(folder).dtype == np.uint16
    assert not instance(folder).any()
    assert facts["renderer"] == "cpu"
    assert any("taken as the map frame" in note for note in facts["notes"])
    assert captured.err.count("taken as the map frame") == 1


def test_depth_is_metres_along_the_view(folder: Path) -> None:
    assert render(folder, ego="-5 0 0 0") == 0
    depth = np.load(folder / "out" / "eye.depth.npy", allow_pickle=False)
    assert depth.dtype == np.float32
    assert depth[CENTRE] == pytest.approx(35.0, abs=0.05)


def test_where_nothing_is_there_is_no_depth(folder: Path) -> None:
    assert render(folder, ego="0 0 0 180") == 0
    assert np.isnan(np.load(folder / "out" / "eye.depth.npy")).all()


def test_a_place_from_which_nothing_is_seen_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The wall stands at x = 30 m: from 5 km behind it no camera sees a thing; from 5 m before it all is well."""
    assert render(folder, ego="5030 0 0 0") == 0
    said = capsys.readouterr().err
    note = "m outside the scene (the box that holds 98 % of it), and no camera sees anything of it"
    assert "the vehicle is 5000.00 " + note in said
    assert render(folder, ego="25 0 0 0") == 0
    assert "outside the scene" not in capsys.readouterr().err


def test_an_actor_is_where_the_file_puts_it(folder: Path) -> None:
    actors = """
- {id: left, asset: car.ply, x: 10, y: 3, z: 0, yaw_deg: 0}
- {id: ahead, asset: car.ply, x: 10, y: 0, z: 0, yaw_deg: 0}
"""
    assert render(folder, actors=actors) == 0
    found = instance(folder)
    assert found[CENTRE] == 2
    # 3 m to the left at 9 m distance: 56.3 px focal length (60 degrees over 65 px) * 3 / 9 = 19 px.
    assert found[CENTRE[0], CENTRE[1] - 19] == 1
    assert set(np.unique(found)) == {0, 1, 2}
    assert np.load(folder / "out" / "eye.depth.npy")[CENTRE] == pytest.approx(9.0, abs=0.1)


@pytest.mark.parametrize(("yaw_deg", "strong"), [(0, 2), (180, 0)])
def test_a_turned_actor_shows_its_other_end(folder: Path, yaw_deg: int, strong: int) -> None:
    """Seen from behind the blue back; turned by 180 degrees, the red front."""
    assert render(folder, actors=f"- {{id: a, asset: car.ply, x: 10, y: 0, z: 0, yaw_deg: {yaw_deg}}}\n") == 0
    pixel = image(folder)[CENTRE].astype(int)
    assert pixel[strong] > 200
    assert pixel[2 - strong] < 40


def test_what_is_known_of_an_assets_file_is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    car = write_ply(folder / "car.ply", gaussian_columns(4, rest=72))
    assert render(folder, "--json", actors="[{id: a, asset: car.ply, x: 9, y: 0, z: 0, yaw_deg: 0}]") == 0
    captured = capsys.readouterr()
    note = f"{car}: spherical harmonics of degree 4 cut to degree 3"
    assert note in json.loads(captured.out)["notes"] and f"note: {note}" in captured.err


def test_a_size_stretches_the_actor(folder: Path) -> None:
    assert render(folder, actors="- {id: a, asset: car.ply, x: 10, y: 0, z: 0, yaw_deg: 0}\n") == 0
    own = (instance(folder) == 1).sum(axis=1).max()
    actors = "- {id: a, asset: car.ply, x: 10, y: 0, z: 0, yaw_deg: 0, size: [2, 3, 1]}\n"
    assert render(folder, actors=actors) == 0
    assert (instance(folder) == 1).sum(axis=1).max() == pytest.approx(3 * own, abs=2)


def test_the_ego_turns_counter_clockwise(folder: Path) -> None:
    """Looking 20 degrees to the left, an actor straight ahead of the map's x axis moves to the right."""
    actors = "- {id: a, asset: car.ply, x: 10, y: 0, z: 0, yaw_deg: 0}\n"
    assert render(folder, actors=actors, ego="0 0 0 20") == 0
    columns = np.flatnonzero((instance(folder) == 1).any(axis=0))
    # 56.3 px focal length * tan(20 degrees) = 20.5 px right of the centre.
    assert columns.mean() == pytest.approx(CENTRE[1] + 20.5, abs=2.0)


def test_every_backend_that_is_offered_is_accepted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the configuration too: the rig is looked for after it. The reference renderer is for tests alone."""
    offered = []
    for name in ("auto", *RENDERERS):
        with suppress(SystemExit):
            render(folder, "--backend", name, "--rig", "nope")
            assert "expected a rig file or one of demo3" in capsys.readouterr().err
            offered.append(name)
    assert offered == ["auto", "cpu", "gsplat"]


FAULTS = [
    (["--rig", "nope"], "expected a rig file or one of demo3, surround6, got 'nope'"),
    (["--scene", "nope.ply"], "got 'nope.ply': no such file"),
    (["--fov", "200"], "--fov: expected more than 0 and less than 180 degrees, got 200"),
    (["--scene", "~nobody-has-this/a.ply"], "scene.source: expected a path, got '~nobody-has-this/a.ply', and"),
    (["--rig", "~nobody-has-this/a.yaml"], "rig: expected a path, got '~nobody-has-this/a.yaml', and there is no home"),
    (["--rig", "/dev/zero"], "'/dev/zero': a character device, not a regular file"),
    (["--assets", "nope"], "nope: expected a YAML file, got no such file"),
    (["--actors", "nope.yaml"], "nope.yaml: expected a YAML file, got no such file"),
]


@pytest.mark.parametrize(("extra", "text"), FAULTS)
def test_what_cannot_be_used_is_named(
    folder: Path, extra: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(folder, *extra) == 1
    assert text in capsys.readouterr().err


def test_an_output_that_is_a_file_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "out").write_text("mine")
    assert render(folder) == 1
    assert f"{folder / 'out'}: expected a folder that can be written, got a file\n" in capsys.readouterr().err
    assert (folder / "out").read_text() == "mine"


def test_infinite_poses_are_wrong_arguments(folder: Path) -> None:
    with pytest.raises(SystemExit) as left:
        render(folder, ego="0 -inf 0 0")
    assert left.value.code == 2


def test_a_rig_without_intrinsics_needs_a_field_of_view(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rig.yaml").write_text(
        "base_link:\n  sensor_kit_base_link: {x: 0, y: 0, z: 1, roll: 0, pitch: 0, yaw: 0}\n"
        "sensor_kit_base_link:\n  camera0/camera_link: {x: 0, y: 0, z: 0, roll: 0, pitch: 0, yaw: 0}\n"
    )
    assert render(folder) == 1
    assert "fov" in capsys.readouterr().err


CAR = "- {id: mine, asset: car.ply, x: 12, y: 0, z: 0, yaw_deg: 0}\n"


@pytest.fixture
def checkpoint(folder: Path) -> Path:
    """A harmonizer with random weights, which changes whatever it may."""
    assert main(["model", "init", str(folder / "nano"), "--variant", "nano", "--random", "0"]) == 0
    return folder / "nano"


def test_a_harmonizer_changes_the_picture_inside_its_mask_alone(folder: Path, checkpoint: Path) -> None:
    assert render(folder, actors=CAR) == 0
    before = image(folder)
    assert render(folder, "--harmonizer", str(checkpoint), actors=CAR) == 0
    rendered = cv2.imread(str(folder / "out" / "eye.rendered.png"))[:, :, ::-1]
    mask = cv2.imread(str(folder / "out" / "eye.mask.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(rendered, before)
    assert mask.shape == (HEIGHT, WIDTH) and mask[CENTRE] == 255 and mask[0, 0] == 0
    np.testing.assert_array_equal(image(folder)[mask == 0], before[mask == 0])
    assert (image(folder)[mask == 255] != before[mask == 255]).any(axis=-1).mean() > 0.9


def test_a_configuration_file_says_what_the_arguments_do_not(folder: Path, checkpoint: Path) -> None:
    (folder / "sim.yaml").write_text(
        "scene: {source: wall.ply}\nrig: {source: rig.yaml}\nrendering: {backend: cpu}\n"
        "harmonizer: {backend: r3d2, checkpoint: nano, composite: full}\n"
    )
    words = ["render", "--config", str(folder / "sim.yaml"), "--ego", "0", "0", "0", "0"]
    assert main([*words, "--out", str(folder / "out")]) == 0
    assert (cv2.imread(str(folder / "out" / "eye.mask.png"), cv2.IMREAD_UNCHANGED) == 255).all()
