"""Scenes on disk: what scene.yaml says is what the scene is, and every fault names file and key."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats import load_scene, write_scene
from r3d2_ros.formats.scenes import find_scene
from r3d2_ros.geometry import Rigid, Similarity, quat_to_matrix
from r3d2_ros.scene import Scene
from r3d2_ros.sky import Sky
from tests.data import shared_data
from tests.formats.plys import ROTATION_Z90, gaussian_columns, write_ply
from tests.formats.test_ply import random_gaussians


def scene_folder(folder: Path, **keys: object) -> Path:
    """A folder with scene.ply and a scene.yaml of these keys."""
    folder.mkdir(exist_ok=True)
    write_ply(folder / "scene.ply", gaussian_columns(4))
    (folder / "scene.yaml").write_text(yaml.safe_dump({"gaussians": "scene.ply", **keys}))
    return folder


def test_without_a_sidecar_the_scene_frame_is_the_map_and_says_so(tmp_path: Path) -> None:
    scene = load_scene(write_ply(tmp_path / "garden.ply", gaussian_columns(4)))
    assert scene.name == "garden" and len(scene.background) == 4
    assert scene.T_map_scene.apply([1.0, 2.0, 3.0]).tolist() == [1, 2, 3]
    assert scene.bounds is None and scene.trajectory == () and scene.sky.colour.tolist() == [0, 0, 0]
    assert len(scene.notes) == 1 and "taken as the map frame" in scene.notes[0]


def test_every_key(tmp_path: Path) -> None:
    scene = load_scene(
        scene_folder(
            tmp_path,
            name="town",
            T_map_scene={
                "rotation_wxyz": [0.7071, 0, 0, 0.7071],  # 90 degrees about z, as four decimals give it
                "translation_m": [500_000.25, 4_600_000.5, 7],
                "scale": 2,
            },
            sky={"colour": [0.25, 0.5, 1]},
            trajectory=[[1, 2, 3, 2, 0, 0, 0], [4, 5, 6, 1, 0, 0, 1]],
            bounds={"min": [-1, -2, -3], "max": [1, 2, 3]},
            antialiased=True,
            procedural=True,
            licence="CC0",
            time_offset_s=12.5,  # as earlier versions wrote it, without effect
        )
    )
    assert (scene.name, scene.antialiased, scene.licence) == ("town", True, "CC0")
    assert scene.procedural
    np.testing.assert_allclose(scene.T_map_scene.apply([1, 0, 0]), [500_000.25, 4_600_002.5, 7], atol=1e-9)
    assert scene.sky.colour.tolist() == [0.25, 0.5, 1.0]
    np.testing.assert_allclose(scene.sky.R_sky_world @ [0, 1, 0], [1, 0, 0], atol=1e-12)  # map y is scene x
    assert scene.bounds is not None and scene.bounds.tolist() == [[-1, -2, -3], [1, 2, 3]]
    np.testing.assert_allclose(scene.trajectory[0].matrix()[:3, 3], [1, 2, 3])
    np.testing.assert_allclose(np.degrees(scene.trajectory[1].yaw_rad), 90)
    assert scene.notes == ()


def test_positions_alone_get_the_heading_of_the_path(tmp_path: Path) -> None:
    square = [[0, 0, 0], [0, 0, 0], [10, 0, 0], [10, 10, 0], [10, 10, 0], [10, 10, 0]]
    scene = load_scene(scene_folder(tmp_path, trajectory=square))
    yaws = [round(float(np.degrees(pose.yaw_rad)), 6) for pose in scene.trajectory]
    assert yaws == [0, 0, 45, 90, 90, 90]  # central differences; standing still keeps the heading
    assert all(pose.rotation[2, 2] == 1 for pose in scene.trajectory)


def test_headings_are_level_in_the_map_even_when_the_scene_is_not_upright(tmp_path: Path) -> None:
    # A y-down reconstruction: its z axis is the map's x, its x axis the map's -y, its y axis the map's -z.
    to_map = [0.5, -0.5, 0.5, -0.5]
    scene = load_scene(
        scene_folder(
            tmp_path, T_map_scene={"rotation_wxyz": to_map}, trajectory=[[0, 0, 0], [0, 0, 5], [0, 0, 9]]
        )
    )
    assert scene.path is not None
    for pose in scene.path.poses:
        np.testing.assert_allclose(pose.rotation, np.eye(3), atol=1e-12)


def test_one_position_and_a_vertical_path_have_a_level_pose(tmp_path: Path) -> None:
    for rows in ([[1, 2, 3]], [[0, 0, 0], [0, 0, 1]]):
        for pose in load_scene(scene_folder(tmp_path, trajectory=rows)).trajectory:
            np.testing.assert_allclose(pose.rotation, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,0,0,0,1\n4,5,6,1,0,0,1\n",
        "x,y,z,qw,qx,qy,qz\n1,2,3,0,0,0,1\n\n4,5,6,1,0,0,1\n",
        "qw, qx, qy, qz, z, y, x\r\n0,0,0,1,3,2,1\r\n1,0,0,1,6,5,4\r\n",
        '"x", "y", "z", "qw", "qx", "qy", "qz"\n"1", "2", "3", 0, 0, 0, 1\n4, 5, 6, 1, 0, 0, 1\n',
    ],
)
def test_trajectory_files(tmp_path: Path, text: str) -> None:
    folder = scene_folder(tmp_path, trajectory_file="path.csv")
    (folder / "path.csv").write_text(text)
    first, second = load_scene(folder).trajectory
    assert first.translation.tolist() == [1, 2, 3] and second.translation.tolist() == [4, 5, 6]
    np.testing.assert_allclose(np.degrees([first.yaw_rad % (2 * np.pi), second.yaw_rad]), [180, 90])


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("x,y,z", "1,2,3,0,0,0,1", "expected 3 numbers, as the header says, got 7 numbers"),
        ("qw,qx,qy,qz,x,y,z", "1,2,3", "expected 7 numbers, as the header says, got 3 numbers"),
        ("", "1,2", "expected 3 or 7 numbers, got 2 numbers"),
        ("", "1,2,3,0,0,0,1", r"expected \[x, y, z\] or .* in every row, got 7 numbers"),
        ("x,y,z", "1,2,up", "expected numbers, got 1, 2, up"),
        ("x,y,z", "1,2,inf", "expected finite numbers, coordinates within 1e\\+09, got"),
        ("x,y,z,qw,qx,qy,qz", "1,2,3,0,0,0,0", "expected a quaternion of non-zero length, got"),
    ],
)
def test_rows_of_a_trajectory_file_that_do_not_fit(tmp_path: Path, header: str, row: str, message: str) -> None:
    """The row is told by its line in the file, whatever stands above."""
    folder = scene_folder(tmp_path, trajectory_file="path.csv")
    fitting = ",".join(["1"] * (header.count(",") + 1 if header else 3))
    (folder / "path.csv").write_text(f"{header}\n\n{fitting}\n , \n{row}\n")
    with pytest.raises(InputError, match=f"path.csv: line 5: {message}"):
        load_scene(folder)


def test_an_image_is_the_sky(tmp_path: Path) -> None:
    folder = scene_folder(tmp_path, sky={"image": "sky.png"})
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[0, 1] = [255, 51, 0]
    Image.fromarray(pixels).save(folder / "sky.png")
    scene = load_scene(folder)
    assert (
        scene.sky.image is not None
        and scene.sky.image.dtype == np.float32
        and scene.sky.image.shape == (2, 4, 3)
    )
    np.testing.assert_allclose(scene.sky.image[0, 1], [1, 0.2, 0], atol=1e-7)
    assert scene.notes == ()
    Image.fromarray(pixels[:1]).save(folder / "sky.png")
    assert "4x1 is not twice as wide" in load_scene(folder).notes[0]


@pytest.mark.parametrize(("width", "height", "got"), [(20_000, 10_000, "far more"), (16_384, 8_200, "16384x8200")])
def test_a_sky_of_too_many_pixels(tmp_path: Path, width: int, height: int, got: str) -> None:
    folder = scene_folder(tmp_path, sky={"image": "sky.png"})
    Image.new("RGB", (4, 2)).save(folder / "sky.png")
    data = bytearray((folder / "sky.png").read_bytes())
    data[16:24] = struct.pack(">2I", width, height)  # in its header, whose checksum follows
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (folder / "sky.png").write_bytes(data)
    with pytest.raises(InputError, match=rf"sky\.png: expected at most 134217728 pixels, got {got}"):
        load_scene(folder)


def test_which_sidecar_belongs_to_a_file(tmp_path: Path) -> None:
    folder = scene_folder(tmp_path, name="by folder")
    other = write_ply(folder / "other.ply", gaussian_columns(4))
    assert load_scene(folder).name == "by folder"
    assert load_scene(folder / "scene.yaml").name == "by folder"
    assert load_scene(folder / "scene.ply").name == "by folder"
    assert find_scene(other).sidecar is None  # scene.yaml is about scene.ply
    (folder / "other.yaml").write_text("name: by stem")
    assert load_scene(other).name == "by stem"
    (folder / "third.yaml").write_text("{name: by hand, gaussians: scene.ply}")
    assert load_scene(other, folder / "third.yaml").name == "by hand"
    assert find_scene(other, folder / "third.yaml").gaussians == other
    assert find_scene(folder, folder / "third.yaml").gaussians == folder / "scene.ply"


def test_paths_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = scene_folder(tmp_path / "town", gaussians="~/scans/street.ply", assets="~/cars/assets.yaml")
    files = find_scene(folder)
    assert files.gaussians == tmp_path / "home" / "scans" / "street.ply"
    assert files.library == tmp_path / "home" / "cars" / "assets.yaml"


BAD_KEYS = {
    "typo": ({"licens": "x"}, "licens", "Did you mean 'licence'?"),
    "nested typo": (
        {"T_map_scene": {"translation": [0, 0, 0]}},
        "T_map_scene.translation",
        "'translation_m'?",
    ),
    "short vector": (
        {"T_map_scene": {"translation_m": [0, 0]}},
        "T_map_scene.translation_m.2",
        "the key is missing",
    ),
    "zero quaternion": (
        {"T_map_scene": {"rotation_wxyz": [0, 0, 0, 0]}},
        "T_map_scene.rotation_wxyz",
        "a quaternion w, x, y, z of length 1, not 0, got [0, 0, 0, 0]",
    ),
    "degrees": (
        {"T_map_scene": {"rotation_wxyz": [0, 0, 90, 0]}},
        "T_map_scene.rotation_wxyz",
        "a quaternion w, x, y, z of length 1, not 90, got [0, 0, 90, 0]",
    ),
    "zero scale": ({"T_map_scene": {"scale": 0}}, "T_map_scene.scale", "greater than or equal to 0.000001"),
    "tiny scale": ({"T_map_scene": {"scale": 1e-12}}, "T_map_scene.scale", "greater than or equal to 0.000001"),
    "vast scale": ({"T_map_scene": {"scale": 1e7}}, "T_map_scene.scale", "less than or equal to 1000000"),
    "no place on Earth": (
        {"T_map_scene": {"translation_m": [0, -1e18, 0]}},
        "T_map_scene.translation_m.1",
        "greater than or equal to -1000000000",
    ),
    "absurd row": ({"trajectory": [[0, 1e300, 0]]}, "trajectory: row 1", "coordinates within 1e+09"),
    "yes as a number": ({"T_map_scene": {"translation_m": [0, True, 0]}}, "translation_m.1", "expected a number"),
    "true as a scale": ({"T_map_scene": {"scale": True}}, "T_map_scene.scale", "expected a number, got True"),
    "true as a colour": ({"sky": {"colour": [0, 0, True]}}, "sky.colour.2", "expected a number, got True"),
    "false in bounds": ({"bounds": {"min": [0, 0, False], "max": [1, 1, 1]}}, "bounds.min.2", "expected a number"),
    "true in a row": ({"trajectory": [[0, 0, True]]}, "trajectory.0.2", "expected a number, got True"),
    "infinite": ({"bounds": {"min": [0, 0, float("inf")]}}, "bounds.min.2", "finite"),
    "sky colour": ({"sky": {"colour": [0, 0, 2]}}, "sky.colour.2", "less than or equal to 1"),
    "two skies": ({"sky": {"colour": [0, 0, 0], "image": "a.png"}}, "sky", "both"),
    "no sky file": ({"sky": {"image": "a.png"}}, "a.png", "no such file"),
    "damaged sky": ({"sky": {"image": "scene.ply"}}, "scene.ply", "a PNG or JPEG image"),
    "bounds": ({"bounds": {"min": [0, 0, 0], "max": [1, 0, 1]}}, "bounds", "min < max on each axis"),
    "half the bounds": ({"bounds": {"min": [0, 0, 0]}}, "bounds", "max None"),
    "row length": ({"trajectory": [[0, 0, 0], [0, 0, 0, 1]]}, "trajectory: row 2", "4 numbers"),
    "zero quaternion row": ({"trajectory": [[0] * 7]}, "trajectory: row 1", "non-zero length"),
    "NaN row": ({"trajectory": [[0, 0, float("nan")]]}, "trajectory", "finite"),
    "two trajectories": ({"trajectory": [[0, 0, 0]], "trajectory_file": "a.csv"}, "trajectory", "both"),
    "no trajectory file": ({"trajectory_file": "a.csv"}, "a.csv", "no such file"),
    "trajectory is no CSV": ({"trajectory_file": "scene.ply"}, "scene.ply", "expected"),
    "outside": ({"gaussians": "../secret.ply"}, "gaussians", "a path inside the folder"),
    "outside, hidden": ({"gaussians": "a/../../secret.ply"}, "gaussians", "a path inside the folder"),
    "nobody's home": ({"gaussians": "~nobody-has-this/a.ply"}, "gaussians", "no home folder for '~nobody-has-this'"),
    "missing file": ({"gaussians": "b.ply"}, "b.ply", "no such file"),
    "empty": ({"gaussians": ""}, "gaussians", "the name of a Gaussian file"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_bad_keys(tmp_path: Path, case: str) -> None:
    keys, key, expected = BAD_KEYS[case]
    folder = scene_folder(tmp_path, **keys)
    with pytest.raises((InputError, InputErrors)) as caught:
        load_scene(folder)
    message = str(caught.value)
    assert str(tmp_path) in message and key in message and expected in message


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    folder = scene_folder(tmp_path, licens="x", antialiased="soon", sky={"color": [0, 0, 0]})
    with pytest.raises(InputErrors) as caught:
        load_scene(folder)
    assert len(caught.value.faults) == 3


def test_what_is_wrong_with_its_files_is_reported_together(tmp_path: Path) -> None:
    bounds = {"min": [0, 0, 0], "max": [0, 1, 1]}
    folder = scene_folder(tmp_path, gaussians="b.ply", sky={"image": "a.png"}, trajectory_file="a.csv", bounds=bounds)
    with pytest.raises(InputErrors) as caught:
        load_scene(folder)
    places = [fault.where.removeprefix(f"{tmp_path}/") for fault in caught.value.faults]
    assert places == ["b.ply", "a.png", "a.csv", "scene.yaml: bounds"]


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "\x00"])
def test_yaml_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / "scene.yaml").write_text(text)
    with pytest.raises(InputError, match=r"scene\.yaml"):
        load_scene(tmp_path)


def test_a_folder_without_a_scene(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give the Gaussian file itself"):
        load_scene(tmp_path)


def test_write_scene_round_trip(tmp_path: Path) -> None:
    T = Similarity(quat_to_matrix(ROTATION_Z90), np.array([5e5 + 0.1, 4.6e6 + 0.2, 3]), 0.5)
    scene = Scene(
        name="street",
        background=random_gaussians(50, degree=1),
        T_map_scene=T,
        sky=Sky(
            image=np.random.default_rng(0).integers(0, 256, (4, 8, 3)).astype(np.float32) / 255,
            R_sky_world=T.rotation.T,
        ),
        trajectory=tuple(Rigid.from_xyz_yaw(i / 3, i / 7, 0, i / 10) for i in range(5)),
        bounds=np.array([[-1.5, -2, -3], [1, 2, 3.25]]),
        antialiased=True,
        licence="Apache-2.0",
    )
    path = write_scene(tmp_path / "new" / "folder", scene, assets="assets.yaml", lane_map="map.yaml")
    again = load_scene(path.parent)
    assert path.name == "scene.yaml" and again.notes == () and not again.procedural
    assert find_scene(path).library == path.parent / "assets.yaml"
    assert (find_scene(path).lane_map, find_scene(path).labels) == (path.parent / "map.yaml", None)
    np.testing.assert_array_equal(again.background.sh, scene.background.sh)
    np.testing.assert_array_equal(again.T_map_scene.translation, T.translation)
    np.testing.assert_allclose(again.T_map_scene.rotation, T.rotation, atol=1e-15)
    assert again.T_map_scene.scale == 0.5 and again.antialiased
    assert again.sky.image is not None and again.bounds is not None
    np.testing.assert_allclose(again.sky.image, scene.sky.image, atol=1e-7)
    np.testing.assert_array_equal(again.bounds, scene.bounds)
    for a, b in zip(again.trajectory, scene.trajectory, strict=True):
        np.testing.assert_allclose(a.matrix(), b.matrix(), atol=1e-15)


def test_a_sky_turned_against_the_scene_cannot_be_written(tmp_path: Path) -> None:
    sky = Sky(R_sky_world=quat_to_matrix(ROTATION_Z90))
    with pytest.raises(ValueError, match="R_sky_world"):
        write_scene(tmp_path, Scene("a", random_gaussians(3), sky=sky))


def test_a_real_scan_is_a_scene() -> None:
    scene = load_scene(shared_data("playcanvas-splats/guitar.compressed.ply"))
    assert scene.name == "guitar.compressed" and len(scene.background) == 90_854


def test_a_sky_of_16_bits_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 8), 30_000, np.uint16)).save(tmp_path / "sky.png")
    with pytest.raises(InputError, match=r"sky\.png: expected 8 bits per channel, got 16\. Convert"):
        load_scene(scene_folder(tmp_path, sky={"image": "sky.png"}))


@pytest.mark.parametrize(("text", "got"), [("x,y,z\n", "a header only"), ("\n", "none")])
def test_a_trajectory_without_rows_is_refused(tmp_path: Path, text: str, got: str) -> None:
    (tmp_path / "path.csv").write_text(text)
    with pytest.raises(InputError, match=f"path.csv: expected at least one row of x, y, z, got {got}"):
        load_scene(scene_folder(tmp_path, trajectory_file="path.csv"))
