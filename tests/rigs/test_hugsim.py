"""HUGSIM's rigs: vehicle -> camera transforms from intrinsic XYZ angles, and cam_rect on the right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from r3d2_ros.errors import InputErrors
from r3d2_ros.rigs import load_rig
from r3d2_ros.rigs.hugsim import rotation_from_euler_xyz
from tests.data import shared_data
from tests.rigs.projection import elevation_deg, heading_deg, height_m, pixel, sees


def test_euler_angles_are_scipys_intrinsic_xyz():
    angles = (12.0, -34.0, 56.0)
    expected = Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
    np.testing.assert_allclose(rotation_from_euler_xyz(angles), expected, atol=1e-12)


@pytest.mark.parametrize(
    "name, front_height_m, front_elevation_deg",
    [("nuscenes", 1.195, 0.5), ("waymo", 1.195, 0.5), ("kitti360", 1.495, 5.5), ("pandaset", 0.795, 0.5)],
)
def test_cameras_look_where_their_names_say(name: str, front_height_m: float, front_elevation_deg: float):
    rig = load_rig(shared_data(f"rig-hugsim/{name}_camera.yaml"))
    expected = {
        "CAM_FRONT": 0,
        "CAM_FRONT_LEFT": 55,
        "CAM_FRONT_RIGHT": -57,
        "CAM_BACK_LEFT": 109,
        "CAM_BACK_RIGHT": -112,
        "CAM_BACK": 180,
    }
    assert {camera.name for camera in rig.cameras} == set(expected)
    for camera in rig.cameras:
        turn = heading_deg(camera) - expected[camera.name]
        assert (turn + 180) % 360 - 180 == pytest.approx(0, abs=2.0), camera.name
    assert height_m(rig["CAM_FRONT"]) == pytest.approx(front_height_m, abs=0.01)
    assert elevation_deg(rig["CAM_FRONT"]) == pytest.approx(front_elevation_deg, abs=0.1)
    assert rig["CAM_FRONT"].T_ego_camera.translation[0] == pytest.approx(1.72, abs=0.02)
    assert sees(rig["CAM_FRONT_LEFT"], [10, 10, 1]) and not sees(rig["CAM_FRONT_RIGHT"], [10, 10, 1])


def test_a_rig_near_the_ground_says_so():
    rig = load_rig(shared_data("rig-hugsim/pandaset_camera.yaml"))
    assert "0.79 m above base_link" in rig.notes[0]
    assert load_rig(shared_data("rig-hugsim/nuscenes_camera.yaml")).notes == ()


def forward_camera(**rect: object) -> dict[str, object]:
    """A camera 1.5 m above and 2 m ahead of the axle that looks forward: p_camera = (-y, 1.5 - z, x - 2)."""
    camera = {
        "extrinsics": {"v2c_rot": [90.0, 0.0, 90.0], "v2c_trans": [0.0, 1.5, -2.0]},
        "intrinsics": {"W": 800, "H": 400, "cx": 400.0, "cy": 200.0, "fovx": 90.0, "fovy": 90.0},
    }
    return {"cams": {"CAM": camera}, **({"cam_rect": rect} if rect else {})}


def load(tmp_path: Path, data: object):
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_rig(path)


def test_a_forward_camera_by_hand(tmp_path: Path):
    """fovx 90 deg over 800 px: fx = 400; fovy 90 deg over 400 px: fy = 200. gsplat's (400, 200) is
    CameraInfo's (399.5, 199.5). A point 10 m ahead of the camera, 1 m left and 1 m up: (399.5 - 40, 199.5 -
    20)."""
    camera = load(tmp_path, forward_camera())["CAM"]
    np.testing.assert_allclose(camera.T_ego_camera.translation, [2.0, 0.0, 1.5], atol=1e-9)
    np.testing.assert_allclose(pixel(camera, [12.0, 1.0, 2.5]), [359.5, 179.5], atol=1e-6)


def test_cam_rect_moves_the_camera_in_its_own_optical_frame(tmp_path: Path):
    """0.3 m along the camera's y is 0.3 m down; +5 degrees about its x (to the right) lifts the view."""
    camera = load(tmp_path, forward_camera(rot=[5.0, 0.0, 0.0], trans=[0.0, 0.3, 0.0]))["CAM"]
    np.testing.assert_allclose(camera.T_ego_camera.translation, [2.0, 0.0, 1.2], atol=1e-9)
    assert elevation_deg(camera) == pytest.approx(5.0)


def test_all_faults_at_once(tmp_path: Path):
    data = forward_camera()
    camera = data["cams"]["CAM"]  # type: ignore[index]
    camera["intrinsics"].update(W=0, fovx=float("nan"))
    camera["extrinsics"].pop("v2c_trans")
    with pytest.raises(InputErrors) as caught:
        load(tmp_path, data)
    assert {fault.where.split(": ")[-1] for fault in caught.value.faults} == {
        "cams.CAM.intrinsics.W",
        "cams.CAM.intrinsics.fovx",
        "cams.CAM.extrinsics.v2c_trans",
    }
