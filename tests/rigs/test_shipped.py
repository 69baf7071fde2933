"""The rigs that come with the package, judged by where their cameras are and look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.rigs import load_rig
from tests.data import shared_data
from tests.rigs.projection import elevation_deg, heading_deg, height_m, pixel, sees

RIGS = Path(__file__).resolve().parents[2] / "config" / "rigs"

HEADINGS_DEG = {
    "front": 0,
    "front_left": 55,
    "front_right": -55,
    "back_left": 110,
    "back_right": -110,
    "back": 180,
}


@pytest.mark.parametrize("rig_name, count, size", [("demo3", 3, (960, 540)), ("surround6", 6, (1600, 900))])
def test_size_and_placement(rig_name: str, count: int, size: tuple[int, int]):
    rig = load_rig(RIGS / f"{rig_name}.yaml")
    assert (rig.name, len(rig.cameras)) == (rig_name, count)
    for camera in rig.cameras:
        assert (camera.width_px, camera.height_px) == size
        assert camera.rate_hz == 10.0 and camera.phase_s == 0.0 and not camera.is_distorted
        turn = heading_deg(camera) - HEADINGS_DEG[camera.name]
        assert (turn + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
        assert elevation_deg(camera) == pytest.approx(0, abs=1e-6)
        assert 1.4 < height_m(camera) < 1.7
        assert camera.frame_id == f"{camera.name}_optical_frame"
        assert camera.topic == camera.name


def test_front_camera_of_demo3_by_hand():
    """70 degrees over 960 px: f = 480 / tan(35 deg) = 685.51. A point 10 m ahead of the lens, 2 m left, 1 m
    lower is at u = 479.5 - 685.51 * 2 / 10 = 342.40 and v = 269.5 + 685.51 * 1 / 10 = 338.05."""
    front = load_rig(RIGS / "demo3.yaml")["front"]
    np.testing.assert_allclose(pixel(front, [11.75, 2.0, 0.55]), [342.398, 338.051], atol=1e-3)


@pytest.mark.parametrize("azimuth_deg", range(-180, 180, 5))
def test_surround6_sees_all_around(azimuth_deg: int):
    azimuth = np.radians(azimuth_deg)
    point = [60.0 * np.cos(azimuth), 60.0 * np.sin(azimuth), 1.5]
    assert any(sees(camera, point) for camera in load_rig(RIGS / "surround6.yaml").cameras)


def test_a_shipped_rig_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("r3d2_ros.rigs.config_dir", lambda: RIGS.parent)
    assert load_rig("surround6").name == "surround6"
    with pytest.raises(InputError, match="demo3, surround6"):
        load_rig("surround7")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(path.stem for path in RIGS.glob("*.yaml")),
        "rig-pandaset/static_extrinsic_calibration.yaml",
        *(f"rig-hugsim/{name}_camera.yaml" for name in ("waymo", "nuscenes", "kitti360", "pandaset")),
        "rig-autoware/sensor_kit_calibration.yaml",
        "rig-autoware/sensors_calibration.yaml",
    ],
)
def test_nothing_is_asked_about_rigs_that_are_right(name: str) -> None:
    path = RIGS / f"{name}.yaml" if "/" not in name else shared_data(name)
    rig = load_rig(path, fov_deg=60 if "autoware" in name else None)
    assert [note for note in rig.notes if note.endswith("?") or "rolled" in note or "looks" in note] == []
