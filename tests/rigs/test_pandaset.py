"""PandaSet's calibration file: LiDAR -> camera transforms, a LiDAR whose x points left and y back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from r3d2_ros.errors import InputErrors
from r3d2_ros.rigs import load_rig
from tests.data import shared_data
from tests.rigs.projection import elevation_deg, heading_deg, height_m, pixel, sees


@pytest.fixture
def calibration() -> Path:
    return shared_data("rig-pandaset/static_extrinsic_calibration.yaml")


def test_cameras_are_where_the_vehicle_has_them(calibration: Path):
    rig = load_rig(calibration)
    headings = {camera.name: heading_deg(camera) for camera in rig.cameras}
    expected = {
        "front_camera": 0,
        "front_left_camera": 56,
        "left_camera": 90,
        "back_camera": 180,
        "right_camera": -90,
        "front_right_camera": -60,
    }
    assert set(headings) == set(expected)
    for name, heading in expected.items():
        assert (headings[name] - heading + 180) % 360 - 180 == pytest.approx(0, abs=2.0), name
    for camera in rig.cameras:
        assert elevation_deg(camera) == pytest.approx(0, abs=1.5)
        assert 1.6 < height_m(camera) < 2.0, camera.name
        assert camera.T_ego_camera.rotation[2, 1] < -0.99  # the image's down is the world's down
        assert (camera.width_px, camera.height_px) == (1920, 1080)
    sides = {camera.name: camera.T_ego_camera.translation[1] for camera in rig.cameras}
    assert sides["left_camera"] > 0.5 and sides["right_camera"] < -0.5
    assert sides["front_left_camera"] > 0.5 and sides["front_right_camera"] < -0.5


def test_a_point_is_seen_where_it_is(calibration: Path):
    rig = load_rig(calibration)
    ahead_left = [30.0, 5.0, 1.0]
    assert sees(rig["front_camera"], ahead_left) and not sees(rig["back_camera"], ahead_left)
    assert not sees(rig["front_right_camera"], ahead_left)
    u, v = pixel(rig["front_camera"], ahead_left)
    assert 300 < u < 800 and v > 483  # left of the middle, below the horizon
    assert sees(rig["left_camera"], [1.0, 12.0, 1.0]) and sees(rig["right_camera"], [1.0, -12.0, 1.0])


def test_intrinsics_and_distortion_are_the_files(calibration: Path):
    front = load_rig(calibration)["front_camera"]
    np.testing.assert_array_equal(front.K, [[1970.0131, 0, 970.0002], [0, 1970.0091, 483.2988], [0, 0, 1]])
    assert front.D == (-0.5894, 0.66, 0.0011, -0.001, -1.0088) and front.is_distorted


def test_assumptions_are_stated(calibration: Path):
    text = " ".join(load_rig(calibration).notes)
    assert "LiDAR" in text and "0.84" in text and "2.0" in text and "1920x1080" in text


def minimal(**changes: object) -> dict[str, object]:
    entry = {
        "extrinsic": {
            "transform": {
                "rotation": {"w": 1.0, "x": 0.0, "y": 0.0, "z": 0.0},
                "translation": {"x": 0.0, "y": 0.0, "z": 0.0},
            }
        },
        "intrinsic": {"K": [100, 0, 50, 0, 100, 40, 0, 0, 1], "D": [0, 0, 0, 0, 0]},
    }
    return {"front_camera": {**entry, **changes}}


def test_identity_extrinsics_look_up_with_the_image_right_to_the_left(tmp_path: Path):
    """With no rotation the camera has the LiDAR's axes: x to the vehicle's left, y to its back, z up."""
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(minimal()))
    pose = load_rig(path)["front_camera"].T_ego_camera
    np.testing.assert_allclose(pose.rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(pose.translation, [0.84, 0.0, 2.0])


@pytest.mark.parametrize(
    "intrinsic, where",
    [
        ({"K": [100, 0, 50, 0, 100, 40, 0, 0]}, "front_camera.intrinsic.K.8"),
        ({"K": [0, 0, 50, 0, 100, 40, 0, 0, 1]}, "front_camera.intrinsic.K"),
        ({"K": [100, 3, 50, 0, 100, 40, 0, 0, 1]}, "front_camera.intrinsic.K"),
        ({"K": [100, 0, float("nan"), 0, 100, 40, 0, 0, 1]}, "front_camera.intrinsic.K.2"),
        ({"K": [100, 0, 50, 0, 100, 40, 0, 0, 1], "D": [0, 0, 0, 0]}, "front_camera.intrinsic.D.4"),
    ],
)
def test_broken_intrinsics(tmp_path: Path, intrinsic: dict[str, object], where: str):
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(minimal(intrinsic=intrinsic)))
    with pytest.raises(InputErrors) as caught:
        load_rig(path)
    assert [fault.where for fault in caught.value.faults] == [f"{path}: {where}"]


def test_broken_rotation(tmp_path: Path):
    transform = {
        "rotation": {"w": 0.0, "x": 0.0, "y": 0.0, "z": 0.0},
        "translation": {"x": 0.0, "y": 0.0, "z": 0.0},
    }
    path = tmp_path / "rig.yaml"
    path.write_text(yaml.safe_dump(minimal(extrinsic={"transform": transform})))
    with pytest.raises(
        InputErrors, match=r"front_camera\.extrinsic\.transform\.rotation: expected a quaternion of length 1"
    ):
        load_rig(path)
