"""`r3d2 check`: the kind of a file follows from its content, and every fault is printed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.cli.check import CHECKS
from r3d2_ros.cli.main import main
from tests.cli.small import write_inputs
from tests.data import shared_data
from tests.formats.plys import gaussian_columns, write_ply

ROOT = Path(__file__).resolve().parents[2]


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    status = main(["check", str(path), "--json"])
    return status, json.loads(capsys.readouterr().out)


def faults(result: dict) -> list[str]:
    return [f"{fault['where']}: expected {fault['expected']}, got {fault['got']}" for fault in result["faults"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


GOOD = {
    "configuration": "rig: {source: rig.yaml}\nscene: {source: wall.ply}\nsync: {mode: latest}\n",
    "rig": None,
    "scene": "gaussians: wall.ply\nname: wall\n",
    "assets": "assets:\n  car: {file: car.ply}\n",
    "actors": "- {id: a, asset: car.ply, x: 0, y: 0, z: 0, yaw_deg: 0}\n",
    "scenario": (
        "sim: {scene: {source: wall.ply}, assets: {library: assets.yaml}}\n"
        "ego: {reference: {points: [[0, 0], [20, 0]]}, speed_mps: 5}\n"
        "actors: [{id: a, asset: car, place: {x: 9, y: 0}}]\nend: {duration_s: 5}\nvary: {seed: [0, 1]}\n"
    ),
    "vehicle": (
        "{wheelbase_m: 3, front_overhang_m: 1, rear_overhang_m: 1, width_m: 2, height_m: 2, max_steer_deg: 30, "
        "max_steer_rate_dps: 40, max_speed_mps: 30, max_acceleration_mps2: 2, max_braking_mps2: 6, max_jerk_mps3: 20}"
    ),
    "lane map": "lanes: [{id: a, centre: [[0, 0, 0], [9, 0, 0]], left: [[0, 2, 0], [9, 2, 0]], "
    "right: [[0, -2, 0], [9, -2, 0]]}]\n",
}


@pytest.mark.parametrize("kind", GOOD)
def test_good_files_have_no_faults(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD[kind]
    path = folder / "rig.yaml" if text is None else folder / "file.yaml"
    (folder / "assets.yaml").write_text(GOOD["assets"] or "")
    if text is not None:
        path.write_text(text)
    status, result = check(path, capsys)
    assert (status, result["kind"], result["faults"]) == (0, kind, [])
    assert result["valid"] is True


def test_the_rig_of_a_scenario_is_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "assets.yaml").write_text(GOOD["assets"] or "")
    path = folder / "file.yaml"
    path.write_text((GOOD["scenario"] or "").replace("sim: {", "sim: {rig: {source: nope.yaml}, "))
    status, result = check(path, capsys)
    assert status == 1
    (fault,) = result["faults"]
    assert fault["where"].startswith(str(path)) and "nope.yaml" in fault["got"], fault


BAD = {
    "configuration": (
        "sync: {mode: lockstepp}\nrig: {source: nope}\noutputs: {raw: true}\nscene: {source: nope.ply}\n",
        [
            "sync.mode: expected 'lockstep' or 'latest', got 'lockstepp'",
            "outputs: expected one of the keys scene",
            "rig.source: expected an existing file or one of demo3, surround6, got 'nope'",
            "scene.source: expected an existing file or folder, got 'nope.ply'",
        ],
    ),
    "rig": (
        "cameras:\n  f: {width_px: 0, height_px: 9, fov_x_deg: 60, pose: {xyz_m: [0, 0, 0], rpy_deg: [0, 0, 0]}}\n"
        "  g: {width_px: 9, height_px: 9, fov_x_deg: 360, pose: {xyz_m: [0, 0, 0], rpy_deg: [0, 0, 0]}}\n",
        ["cameras.f.width_px: expected", "cameras.g.fov_x_deg: expected"],
    ),
    "scene": (
        "gaussians: none.ply\nnam: x\nantialiased: soon\n",
        ["nam: expected one of the keys", "antialiased: "],
    ),
    "assets": (
        "assets:\n  a: {file: none.ply}\n  b: {fil: car.ply}\n",
        ["assets.a.file: expected", "assets.b: file: "],
    ),
    "actors": ("- {id: a, asset: none.ply, x: 0, y: 0, z: 0, yaw_deg: 0}\n", ["actor 1 ('a'): asset: expected"]),
    "scenario": (
        "ego: {reference: {points: [[0, 0], [20, 0]]}, speed: 5}\nactors: [{id: a, asset: car}]\nend: {}\n",
        ["ego.speed: expected one of the keys", "actors.0: expected a place", "end.duration_s: expected a value"],
    ),
    "vehicle": ("wheelbase_m: -3\nwidth_m: 2\n", ["wheelbase_m: expected greater than 0", "height_m: expected"]),
    "lane map": ("lanes: [{id: a}]\n", ["lanes.0.centre: expected"]),
}


@pytest.mark.parametrize("kind", BAD)
def test_every_fault_names_file_and_key(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = BAD[kind]
    path = folder / "file.yaml"
    path.write_text(text)
    status, result = check(path, capsys)
    assert (status, result["kind"], result["valid"]) == (1, kind, False)
    for part in expected:
        assert any(part in fault and str(path) in fault for fault in faults(result)), (part, faults(result))


def test_files_that_a_configuration_names_are_checked_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.ply").write_bytes(b"ply\nformat ascii 1.0\n")
    (folder / "file.yaml").write_text("scene: {source: broken.ply}\nassets: {library: assets.yaml}\n")
    (folder / "assets.yaml").write_text("assets:\n  broken: {file: broken.ply}\n")
    status, result = check(folder / "file.yaml", capsys)
    assert status == 1
    assert len(result["faults"]) == 2
    assert all("broken.ply" in fault for fault in faults(result))


def test_a_scene_folder_stands_for_its_sidecar(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "scene.yaml").write_text("gaussians: wall.ply\n")
    assert check(folder, capsys)[0] == 0


def test_a_folder_without_a_sidecar_is_told_what_a_scene_folder_holds(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, result = check(folder, capsys)
    assert status == 1 and faults(result) == [f"{folder / 'scene.yaml'}: expected a scene.yaml, got no such file"]
    assert result["faults"][0]["hint"].startswith("A scene folder holds it beside the Gaussian file")


def test_a_scenes_lane_map_and_labels_are_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "scene.yaml").write_text("gaussians: wall.ply\nlane_map: map.yaml\nlabels: labels.npy\n")
    (folder / "map.yaml").write_text("lanes: [{id: a}]\n")
    np.save(folder / "labels.npy", np.zeros(7, np.uint8))
    status, result = check(folder, capsys)
    assert status == 1
    assert any("map.yaml: lanes.0.centre: expected a value" in fault for fault in faults(result))
    assert any("one for each Gaussian of the scene, got uint8 (7,)" in fault for fault in faults(result))


MISSING = {
    "sky.png": "expected a PNG or JPEG image, got no such file",
    "path.csv": "expected a CSV file with a trajectory, got no such file",
    "labels.npy": "one for each Gaussian of the scene, got no such file",
    "map.yaml": "expected a YAML file, got no such file",
    "assets.yaml": "expected a YAML file, got no such file",
}
NAMES_MISSING = (
    "sky: {image: sky.png}\ntrajectory_file: path.csv\nlabels: labels.npy\nlane_map: map.yaml\nassets: assets.yaml\n"
)


@pytest.mark.parametrize("configured", [False, True])
def test_every_fault_of_a_scene_is_listed(folder: Path, configured: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Also behind a key with a fault: the other keys of its section are kept."""
    path = folder / "scene.yaml"
    path.write_text(
        f"gaussians: wall.ply\nbounds: {{min: [0, 0, 0], max: [0, 1, 1]}}\nT_map_scene: {{scale: 0}}\n{NAMES_MISSING}"
    )
    (folder / "sim.yaml").write_text("scene: {source: scene.yaml}\nsync: {mode: latest}\n")
    found = faults(check(folder / "sim.yaml" if configured else path, capsys)[1])
    for name, fault in MISSING.items():
        assert sum(line.startswith(f"{folder / name}: ") and line.endswith(fault) for line in found) == 1, (name, found)
    assert any("scene.yaml: bounds: expected 'min' and 'max' with min < max" in line for line in found)
    assert any("scene.yaml: T_map_scene.scale: expected" in line for line in found)
    assert len(found) == 7


def test_a_scene_without_gaussians_has_the_rest_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "scene.yaml"
    for keys, fault in {
        "gaussians: none.ply\n": f"{folder / 'none.ply'}: expected a Gaussian file",
        "gaussians: ../none.ply\n": f"{path}: gaussians: expected a path inside the folder",
        "name: town\n": f"{path}: gaussians: expected the name of a Gaussian file, got nothing",
    }.items():
        path.write_text(keys + NAMES_MISSING)
        found = faults(check(path, capsys)[1])
        assert len(found) == 6 and any(line.startswith(fault) for line in found), found


def test_labels_of_another_type_do_not_hide_what_else_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(folder / "labels.npy", np.zeros(651, np.int64))
    keys = "bounds: {min: [0, 0, 0], max: [0, 1, 1]}\ntrajectory_file: no.csv\nlabels: labels.npy\n"
    (folder / "scene.yaml").write_text(f"gaussians: wall.ply\n{keys}")
    found = faults(check(folder, capsys)[1])
    assert len(found) == 3 and any("651 uint8 values" in line and "got int64 (651,)" in line for line in found), found


def test_assets_are_read_beside_entries_with_faults(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.ply").write_bytes(b"ply\nformat ascii 1.0\n")
    (folder / "assets.yaml").write_text(
        "assets:\n  neg: {file: car.ply, size_m: [1, 1, -1]}\n  none: {file: none.ply}\n  broken: {file: broken.ply}\n"
    )
    result = check(folder / "assets.yaml", capsys)[1]
    assert ["neg" in result["faults"][0]["where"], "none" in result["faults"][1]["where"]] == [True, True]
    assert len(result["faults"]) == 3 and "the asset 'broken'" in result["faults"][2]["hint"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rigs/demo3.yaml", "rig"),
        ("rigs/surround6.yaml", "rig"),
        ("sim.yaml", "configuration"),
        ("scenarios/reference.yaml", "scenario"),
        ("vehicles/car.yaml", "vehicle"),
    ],
)
def test_shipped_files_have_no_faults(name: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = check(ROOT / "config" / name, capsys)
    assert (status, result["kind"], result["faults"]) == (0, kind, [])


@pytest.mark.parametrize(
    "name",
    [
        "rig-pandaset/static_extrinsic_calibration.yaml",
        "rig-hugsim/nuscenes_camera.yaml",
        "rig-autoware/sensor_kit_calibration.yaml",
    ],
)
def test_rigs_of_others_are_recognised(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = check(shared_data(name), capsys)
    assert (status, result["kind"], result["faults"]) == (0, "rig", [])


@pytest.mark.parametrize(("text", "got"), [("colour: red\n", "the keys colour"), ("7\n", "int"), ("", "NoneType")])
def test_what_is_nothing_known_is_a_fault(
    folder: Path, text: str, got: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file.yaml").write_text(text)
    status, result = check(folder / "file.yaml", capsys)
    assert status == 1
    assert result["kind"] is None
    assert got in result["faults"][0]["got"]
    assert "--kind" in result["faults"][0]["hint"]


def test_text_ends_with_a_verdict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file.yaml").write_text("sync: {mode: x}\n")
    assert main(["check", str(folder / "file.yaml")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"{folder / 'file.yaml'} (configuration): 1 fault"
    assert main(["check", str(folder / "absent.yaml")]) == 1
    assert "Gaussian file, got no such file" in capsys.readouterr().out


def test_a_gaussian_file_is_read_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, result = check(folder / "car.ply", capsys)
    assert (status, result["kind"]) == (0, "gaussians")
    assert result["notes"] == [f"{folder / 'car.ply'}: 18 Gaussians of SH degree 0 (inria-ply)"]
    (folder / "car.ply").write_bytes((folder / "car.ply").read_bytes()[:-4])
    status, result = check(folder / "car.ply", capsys)
    assert status == 1 and "truncated" in result["faults"][0]["hint"]


def test_what_is_neither_yaml_nor_gaussians_is_told_what_can_be_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "noise.bin").write_bytes(bytes(range(256)))
    status, result = check(folder / "noise.bin", capsys)
    assert status == 1 and "list of actors or Gaussian file" in result["faults"][0]["hint"]


def test_what_cannot_be_read_is_one_document(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *args: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    status, result = check(folder / "rig.yaml", capsys)
    assert status == 1 and result["faults"][0]["got"] == "no permission to read it"
    monkeypatch.setattr(Path, "is_dir", refuse)  # a folder above it may not be searched
    status, result = check(folder / "rig.yaml", capsys)
    assert status == 1 and result["faults"][0]["got"] == "Permission denied"


@pytest.mark.parametrize("kind", [None, *CHECKS])
def test_a_named_pipe_is_named_and_not_waited_for(
    folder: Path, kind: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(folder / "pipe.yaml")
    assert main(["check", str(folder / "pipe.yaml"), "--json", *(["--kind", kind] if kind else [])]) == 1
    assert "a named pipe, not a regular file" in json.loads(capsys.readouterr().out)["faults"][0]["got"]


def test_unknown_home_folders_in_a_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "scene: {source: ~nobody-has-this/a.ply}\nassets: {library: ~nobody-has-this/b}\n"
    (folder / "file.yaml").write_text(text)
    status, result = check(folder / "file.yaml", capsys)
    assert status == 1
    assert [fault["where"].split(": ")[-1] for fault in result["faults"]] == ["scene.source", "assets.library"]


def test_the_class_table_of_a_configuration_is_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file.yaml").write_text("assets: {classes: mine.yaml}\nscene: {source: wall.ply}\n")
    assert faults(check(folder / "file.yaml", capsys)[1])[0].startswith(
        f"{folder / 'file.yaml'}: assets.classes: expected an existing file"
    )
    (folder / "mine.yaml").write_text("clazzes: {car: [car]}\n")
    assert faults(check(folder / "file.yaml", capsys)[1])[0].startswith(f"{folder / 'mine.yaml'}: clazzes: expected")


def test_the_sidecar_that_stands_in_for_the_streets_is_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "file.yaml"
    path.write_text("scene: {sidecar: mine.yaml}\n")
    assert "scene.sidecar: expected an existing file" in faults(check(path, capsys)[1])[0]
    (folder / "mine.yaml").write_text("gaussians: none.ply\n")
    assert "none.ply: expected" in faults(check(path, capsys)[1])[0]
    (folder / "mine.yaml").write_text("gaussians: wall.ply\n")
    assert check(path, capsys)[0] == 0


def test_a_checkpoint_without_a_backend_is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "file.yaml"
    path.write_text("scene: {source: wall.ply}\nharmonizer: {checkpoint: nano}\n")
    status, result = check(path, capsys)
    note = f"{path}: harmonizer.checkpoint has no effect: harmonizer.backend is none"
    assert status == 0 and note in result["notes"]
    path.write_text("scene: {source: wall.ply}\nharmonizer: {checkpoint: nano, backend: r3d}\n")
    assert note not in check(path, capsys)[1]["notes"]


def test_a_cache_that_everybody_can_write_is_a_fault(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.packages.find_spec", lambda name: None)
    path = folder / "file.yaml"
    path.write_text("scene: {source: wall.ply}\nharmonizer: {backend: r3d2, checkpoint: c, runtime: {cache: cache}}\n")
    assert check(path, capsys)[0] == 0 and not (folder / "cache").exists()
    (folder / "cache").mkdir()
    (folder / "cache").chmod(0o777)
    assert "harmonizer.runtime.cache: expected a folder of this user" in faults(check(path, capsys)[1])[0]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"PK\x03\x04\xff\xfe" + bytes(64), "got a zip archive (.sog, .pt, .npz or a packed file)"),
        ("scene: {}\n".encode("utf-16"), "got text in UTF-16, which has to be saved as UTF-8"),
        (b"\xfcmlaut: 1\n", "got bytes that are no UTF-8"),
        (b"/**: {ros__parameters: {rig.source: demo3}}", "got a ROS parameter file (ros__parameters)"),
        (b"image_width: 9\ncamera_matrix: {rows: 3}\n", "it has intrinsics only"),
        (b"nam: x\nversion: 2\njobs: 3\n", "got the keys nam, version, jobs"),
        (b'[{"token": "a", "translation": [1, 0, 1]}]', "got list"),
        (b"k: [5]\np: [5]\nwidth: 9\n---\nk: [5]\n---\n", "with --- between them; keep one"),
        (b"SQLite format 3\0" + bytes(2**24), "got an SQLite database (.db3)"),
        (b"\x89MCAP0\r\n" + bytes(64), "got an MCAP file"),
        (b"#ROSBAG V2.0\n", "got a bag of ROS 1"),
        (b"version https://git-lfs.github.com/spec/v1\n", "got a Git LFS pointer, not the file itself"),
        (b"%YAML:1.0\n---\nimage_width: 9\n", "got a file of OpenCV's FileStorage (%YAML:1.0)"),
        (b'{"frames": [{"transform_matrix": []}]}', "and the poses of pictures, none on a vehicle"),
        (b"actors:\n- {id: a, asset: car, x: 9, y: 0, z: 0, yaw_deg: 0}\n", "expected a list of actors, got a dict"),
    ],
    ids=[
        "zip", "utf-16", "latin-1", "ros", "calibrator", "near misses", "list", "echo",
        "db3", "mcap", "ros 1 bag", "lfs", "opencv", "nerfstudio", "actors",
    ],
)
def test_what_looks_like_something_else_is_told_what_it_is(
    folder: Path, content: bytes, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file.npz").write_bytes(content)
    status, result = check(folder / "file.npz", capsys)
    assert status == 1 and len(result["faults"]) == 1 and faults(result)[0].endswith(fault)


def test_the_same_fault_in_every_entry_is_not_printed_without_end(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file.yaml").write_text("".join(f"- {{id: {i}, asset: car}}\n" for i in range(40)))
    assert main(["check", str(folder / "file.yaml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 102 and lines[-2] == "... and 60 more like these; --json has all"
    assert len(check(folder / "file.yaml", capsys)[1]["faults"]) == 160


@pytest.mark.parametrize("kind", ["configuration", "scene", "assets", "actors"])
def test_what_is_known_of_assets_is_noted_once(folder: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    car = write_ply(folder / "car.ply", gaussian_columns(4, rest=72) | {"z": np.arange(4.0)})
    (folder / "assets.yaml").write_text("assets:\n  car: {file: car.ply}\n  again: {file: car.ply}\n")
    text = {"assets": (folder / "assets.yaml").read_text(), "actors": GOOD["actors"]}
    text["configuration"] = f"{GOOD['configuration']}assets: {{library: assets.yaml}}\n"
    text["scene"] = "gaussians: wall.ply\nassets: assets.yaml\n"
    (folder / "file.yaml").write_text(text[kind] or "")
    notes = check(folder / "file.yaml", capsys)[1]["notes"]
    assert [note for note in notes if str(car) in note] == [f"{car}: spherical harmonics of degree 4 cut to degree 3"]


def test_an_asset_that_is_1000_times_too_large_is_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """2 m long, 1 m wide, from 0.5 m to 1.5 m high by its means."""
    path = folder / "assets.yaml"
    path.write_text("assets:\n  car: {file: car.ply, size_m: [2, 1, 1], T_asset_file: {scale: 1000}}\n")
    status, result = check(path, capsys)
    assert (status, result["faults"]) == (0, [])
    assert result["notes"] == [
        f"{path}: assets.car: measures 2000 x 1000 x 1000 m, size_m says 2 x 1 x 1: 1000 times too large? "
        "T_asset_file: {scale: 1}"
    ]


def test_lenses_of_a_configurations_rig_are_noted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (folder / "rig.yaml").read_text()
    (folder / "rig.yaml").write_text(text.replace("fov_x_deg: 60", "fov_x_deg: 60\n    D: [0.1, 0, 0, 0, 0]"))
    (folder / "file.yaml").write_text((GOOD["configuration"] or "").replace("rig: {", "rig: {lens: rectified, "))
    notes = check(folder / "file.yaml", capsys)[1]["notes"]
    assert notes[0].startswith(f"{folder / 'rig.yaml'}: the lens distortion of eye is left out, as rig.lens asks")
