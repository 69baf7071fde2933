"""Camera conventions, pinned by points whose pixels are worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, Rig, pixel_centre_K, pixel_corner_K
from r3d2_ros.geometry import Array, Rigid

K_640 = np.array([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]])
FORWARD = Rigid(R_BODY_OPTICAL, np.array([1.5, 0.0, 1.2]))


def camera(**changes: object) -> Camera:
    keys = {"name": "front", "width_px": 640, "height_px": 480, "K": K_640, "T_ego_camera": FORWARD}
    return Camera(**{**keys, **changes})  # type: ignore[arg-type]


def project(K: Array, point: Array) -> Array:
    u, v, w = K @ point
    return np.array([u / w, v / w])


def test_a_known_point_lands_on_its_pixel():
    """The vehicle stands at (100, 50) and faces north (+y). A point 20 m ahead of the camera, 2 m to its
    right and 1 m above it projects to u = 319.5 + 500 * 2 / 20 = 369.5 and v = 239.5 - 500 * 1 / 20 = 214.5
    in CameraInfo's pixels, where whole numbers are pixel centres; in the renderer's, half a pixel more."""
    T_world_ego = Rigid.from_xyz_yaw(100.0, 50.0, 0.0, np.pi / 2)
    view = camera().view(T_world_ego)
    point = view.T_camera_world.apply([100.0 + 2.0, 50.0 + 1.5 + 20.0, 1.2 + 1.0])
    np.testing.assert_allclose(point, [2.0, -1.0, 20.0], atol=1e-9)
    np.testing.assert_allclose(project(camera().K, point), [369.5, 214.5], atol=1e-9)
    np.testing.assert_allclose(project(view.K, point), [370.0, 215.0], atol=1e-9)


def test_the_centre_of_the_first_pixel_is_zero_in_camera_info_and_half_for_the_renderer():
    np.testing.assert_array_equal(pixel_corner_K(K_640) - K_640, [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    np.testing.assert_array_equal(pixel_centre_K(pixel_corner_K(K_640)), K_640)


def test_a_centred_camera_sees_its_axis_in_the_middle_of_the_image():
    """The middle of 640 x 480 pixels is the corner between pixels 319 and 320: 319.5 as CameraInfo, 320 as
    gsplat."""
    view = camera().view(Rigid.identity())
    np.testing.assert_allclose(project(view.K, np.array([0.0, 0.0, 7.0])), [320.0, 240.0])


def test_optical_axes_in_body_axes():
    """REP-103: optical z is the body's x, optical x the body's -y (right), optical y the body's -z (down)."""
    np.testing.assert_array_equal(R_BODY_OPTICAL @ [0, 0, 1], [1, 0, 0])
    np.testing.assert_array_equal(R_BODY_OPTICAL @ [1, 0, 0], [0, -1, 0])
    np.testing.assert_array_equal(R_BODY_OPTICAL @ [0, 1, 0], [0, 0, -1])


@given(width_px=st.integers(1, 4000), height_px=st.integers(1, 4000))
def test_resizing_keeps_every_corner_of_the_field_of_view(width_px: int, height_px: int):
    """The rays through the outer corners of the image stay the same; corners are at -0.5 and size - 0.5."""
    before = camera(K=K_640 + [[0, 0, 17], [0, 0, -9], [0, 0, 0]])
    after = before.resized(width_px, height_px)
    assert (after.width_px, after.height_px) == (width_px, height_px)
    for x, y in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        rays = [np.linalg.solve(c.K, [x * c.width_px - 0.5, y * c.height_px - 0.5, 1.0]) for c in (before, after)]
        np.testing.assert_allclose(rays[0], rays[1], atol=1e-9)


def test_half_the_size_by_hand():
    """cx = (319.5 + 0.5) / 2 - 0.5 = 159.5: not 319.5 / 2."""
    np.testing.assert_allclose(camera().resized(320, 240).K, [[250, 0, 159.5], [0, 250, 119.5], [0, 0, 1]], atol=1e-12)


def test_names_follow_from_the_camera():
    assert camera().frame_id == "front_optical_frame" and camera().topic == "front"
    assert camera(frame_id="f", topic="a/b").frame_id == "f"
    assert camera(frame_id="f", topic="a/b").topic == "a/b"


def test_distortion_is_known_by_its_coefficients():
    assert not camera().is_distorted and not camera(D=(0.0,) * 5).is_distorted
    assert camera(D=(0.0, 0.0, 1e-6, 0.0, 0.0)).is_distorted


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"K": np.eye(2)}, "3x3"),
        ({"K": K_640 * np.nan}, "finite"),
        ({"K": np.diag([-1.0, 1.0, 1.0])}, "fx, fy > 0"),
        ({"K": K_640 + [[0, 2, 0], [0, 0, 0], [0, 0, 0]]}, "no skew"),
        ({"K": K_640 * 2}, "last row"),
        ({"width_px": 0}, "positive size"),
        ({"rate_hz": 0.0}, "rate_hz"),
        ({"rate_hz": float("nan")}, "rate_hz"),
    ],
)
def test_impossible_cameras_are_refused_by_name(changes: dict[str, object], text: str):
    with pytest.raises(ValueError, match=f"camera 'front'.*{text}"):
        camera(**changes)


def test_K_cannot_be_changed_from_outside():
    K = K_640.copy()
    one = camera(K=K)
    K[0, 0] = 1.0
    assert one.K[0, 0] == 500.0
    with pytest.raises(ValueError, match="read-only"):
        one.K[0, 0] = 1.0


def test_a_rig_finds_cameras_by_name_and_refuses_doubles():
    rig = Rig("pair", (camera(), camera(name="back")))
    assert rig["back"].name == "back"
    with pytest.raises(KeyError, match="no camera 'left', only"):
        rig["left"]
    with pytest.raises(ValueError, match="must be unique"):
        Rig("pair", (camera(), camera()))
    with pytest.raises(ValueError, match="at least one camera"):
        Rig("none", ())
