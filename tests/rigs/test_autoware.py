"""Autoware sensor kits: a chain of frames from base_link to each camera, and no intrinsics."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.rigs import load_rig
from tests.data import shared_data
from tests.rigs.projection import elevation_deg, heading_deg, height_m, sees

BASE = (
    "base_link:\n  sensor_kit_base_link: {x: 1.0, y: 0.0, z: 2.0, roll: 0, pitch: 0, yaw: 1.5707963267949}\n"
)
KIT = (
    "sensor_kit_base_link:\n  cam/camera_link: {x: 0.5, y: 0.0, z: -0.25, roll: 0.0, pitch: 0.0, yaw: 0.0}\n"
)


@pytest.fixture
def kit() -> Path:
    return shared_data("rig-autoware/sensor_kit_calibration.yaml")


def write(tmp_path: Path, kit: str = KIT, base: str | None = BASE) -> Path:
    path = tmp_path / "sensor_kit_calibration.yaml"
    path.write_text(kit)
    if base is not None:
        (tmp_path / "sensors_calibration.yaml").write_text(base)
    return path


def test_the_sample_kit_looks_around_the_car(kit: Path):
    rig = load_rig(kit, fov_deg=90.0)
    expected = {
        "camera4": (0, 1),
        "camera5": (180, 1),
        "camera0": (55, -18),
        "camera2": (-60, -19),
        "camera3": (120, -18),
        "camera1": (-122, -18),
        "traffic_light_left_camera": (0, -1),
        "traffic_light_right_camera": (0, -1),
    }
    assert {camera.name for camera in rig.cameras} == set(expected)
    for camera in rig.cameras:
        heading, elevation = expected[camera.name]
        assert (heading_deg(camera) - heading + 180) % 360 - 180 == pytest.approx(0, abs=4.0), camera.name
        assert elevation_deg(camera) == pytest.approx(elevation, abs=1.5), camera.name
        assert 1.6 < height_m(camera) < 2.0, camera.name
        assert (camera.width_px, camera.height_px, camera.K[0, 0]) == (1920, 1080, pytest.approx(960.0))
    assert sees(rig["camera0"], [10, 14, 0]) and not sees(rig["camera2"], [10, 14, 0])
    assert "no intrinsics" in rig.notes[0] and "90 degrees" in rig.notes[0]


def test_a_chain_by_hand(tmp_path: Path):
    """The kit is turned 90 degrees to the left: 0.5 m ahead on the kit is 0.5 m to the left on the car."""
    camera = load_rig(write(tmp_path), fov_deg=60.0, width_px=640, height_px=480)["cam"]
    np.testing.assert_allclose(camera.T_ego_camera.translation, [1.0, 0.5, 1.75], atol=1e-12)
    assert heading_deg(camera) == pytest.approx(90.0)
    assert camera.K[0, 0] == pytest.approx(320 / np.tan(np.radians(30)))
    assert (camera.K[0, 2], camera.K[1, 2]) == (319.5, 239.5)


def test_without_a_field_of_view_the_error_says_what_to_give(kit: Path):
    with pytest.raises(InputError, match=r"expected a field of view, got none.*fov_deg, --fov"):
        load_rig(kit)


def test_without_the_base_file_the_error_names_it(kit: Path, tmp_path: Path):
    shutil.copy(kit, tmp_path)
    with pytest.raises(
        InputError, match=r"'sensor_kit_base_link' in sensors_calibration\.yaml in the same folder"
    ):
        load_rig(tmp_path / kit.name, fov_deg=90.0)


def test_the_base_file_leads_to_the_kit_beside_it(tmp_path: Path):
    write(tmp_path)
    rig = load_rig(tmp_path / "sensors_calibration.yaml", fov_deg=60.0)
    assert [camera.name for camera in rig.cameras] == ["cam"]


def test_a_loop_of_frames_is_refused(tmp_path: Path):
    base = BASE.replace("base_link:\n", "other:\n", 1) + BASE.replace(
        "base_link:", "sensor_kit_base_link:", 1
    ).replace("  sensor_kit_base_link", "  other")
    with pytest.raises(InputError, match="a loop through"):
        load_rig(write(tmp_path, base=base), fov_deg=60.0)


def test_a_kit_without_cameras(tmp_path: Path):
    with pytest.raises(InputError, match="ends with 'camera_link', got lidar"):
        load_rig(write(tmp_path, kit=KIT.replace("cam/camera_link", "lidar"), base=None), fov_deg=60.0)


def test_all_faults_at_once(tmp_path: Path):
    kit = KIT.replace("x: 0.5", "x: far").replace("yaw: 0.0", "yaw: .nan")
    with pytest.raises(InputErrors) as caught:
        load_rig(write(tmp_path, kit=kit), fov_deg=60.0)
    keys = {fault.where.split(": ")[-1] for fault in caught.value.faults}
    assert keys == {"sensor_kit_base_link.cam/camera_link.x", "sensor_kit_base_link.cam/camera_link.yaw"}


def test_a_field_of_view_in_radians_is_noted(tmp_path: Path):
    assert "--fov: 1.57 degrees: is this in radians?" in load_rig(write(tmp_path), fov_deg=1.57).notes[-1]
    assert len(load_rig(write(tmp_path), fov_deg=90.0).notes) == 1
