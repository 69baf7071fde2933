"""Core types <-> messages: quaternion order, stamps, CameraInfo, image bytes."""

from __future__ import annotations

import numpy as np
import pytest
import simplejpeg
from geometry_msgs.msg import Pose

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.geometry import Rigid
from r3d2_ros.jpeg import jpeg
from r3d2_ros.message_fields import quat_wxyz, stamp_to_ns
from r3d2_ros.nodes.conversions import camera_info_message, ns_to_stamp, transform_message, write_pose
from r3d2_ros.nodes.images import ImageWriter, JpegWriter, load_cv_bridge

STAMP = ns_to_stamp(12_345_678_901)


def test_stamp_round_trip() -> None:
    assert (STAMP.sec, STAMP.nanosec) == (12, 345_678_901)
    assert stamp_to_ns(STAMP) == 12_345_678_901


def test_quaternion_order_of_a_quarter_turn_left() -> None:
    pose = Pose()
    write_pose(pose, Rigid.from_xyz_yaw(1.0, 2.0, 3.0, np.pi / 2))
    half = np.sqrt(0.5)
    assert [pose.orientation.x, pose.orientation.y] == pytest.approx([0, 0])
    assert [pose.orientation.z, pose.orientation.w] == pytest.approx([half, half])
    assert quat_wxyz(pose) == pytest.approx((half, 0, 0, half))


def test_transform_message_puts_the_optical_axis_along_x_forward() -> None:
    message = transform_message(Rigid(R_BODY_OPTICAL, [1.5, 0, 1.2]), "base_link", "front_optical_frame", STAMP)
    q = message.transform.rotation
    rotation = Rigid.from_quat((q.w, q.x, q.y, q.z)).rotation
    np.testing.assert_allclose(rotation @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    assert (message.header.frame_id, message.child_frame_id) == ("base_link", "front_optical_frame")


def test_camera_info_projects_a_point_to_its_pixel() -> None:
    K = np.array([[1000.0, 0, 799.5], [0, 1000.0, 449.5], [0, 0, 1]])
    camera = Camera("front", 1600, 900, K, Rigid(R_BODY_OPTICAL, [0, 0, 0]))
    message = camera_info_message(camera)
    # 1 m right and 0.5 m down at 10 m depth: 100 px right of and 50 px below the principal point.
    u, v, w = np.array(message.p).reshape(3, 4) @ [1.0, 0.5, 10.0, 1.0]
    assert (u / w, v / w) == pytest.approx((899.5, 499.5))
    assert message.distortion_model == "plumb_bob" and list(message.d) == [0.0] * 5
    assert (message.width, message.height) == (1600, 900)


@pytest.mark.parametrize(
    "model, D, published",
    [
        ("plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.01), ("plumb_bob", [-0.3, 0.1, 0.0, 0.0, 0.01])),
        ("rational_polynomial", (0.1,) * 8, ("rational_polynomial", [0.1] * 8)),
        ("rational_polynomial", (0.0,) * 8, ("plumb_bob", [0.0] * 5)),
        ("equidistant", (), ("equidistant", [0.0] * 4)),
    ],
)
def test_camera_info_tells_the_lens_of_the_pixels(
    model: str, D: tuple[float, ...], published: tuple[str, list[float]]
) -> None:
    K = np.array([[1000.0, 0, 799.5], [0, 1000.0, 449.5], [0, 0, 1]])
    camera = Camera("front", 1600, 900, K, Rigid(R_BODY_OPTICAL, [0, 0, 0]), D=D, distortion_model=model)
    message = camera_info_message(camera)
    assert (message.distortion_model, list(message.d)) == published
    # What rectifies the picture keeps K.
    np.testing.assert_array_equal(np.array(message.p).reshape(3, 4)[:, :3], K)
    np.testing.assert_array_equal(np.array(message.r).reshape(3, 3), np.eye(3))


def test_image_bytes_of_each_encoding() -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    image = ImageWriter(frame_id="f", encoding="rgb8").fill(rgb, STAMP)
    assert (image.height, image.width, image.step, image.encoding) == (2, 3, 9, "rgb8")
    assert bytes(image.data) == rgb.tobytes()
    depth = np.array([[1.5, np.nan]], np.float32)
    image = ImageWriter(frame_id="f", encoding="32FC1").fill(depth, STAMP)
    assert image.step == 8 and bytes(image.data) == depth.tobytes()


def test_image_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(ValueError, match="expected uint16"):
        ImageWriter(frame_id="f", encoding="16UC1").fill(np.zeros((2, 2), np.uint8), STAMP)


def test_cv_bridge_and_numpy_give_the_same_message() -> None:
    bridge = load_cv_bridge()
    if bridge is None:
        pytest.skip("needs cv_bridge, which a ROS 2 installation brings and PyPI does not have")
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with_bridge = ImageWriter(frame_id="f", encoding="rgb8", bridge=bridge).fill(rgb, STAMP)
    without = ImageWriter(frame_id="f", encoding="rgb8").fill(rgb, STAMP)
    assert with_bridge == without


def test_jpeg_decodes_to_nearly_the_same_colours() -> None:
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    rgb = np.dstack([np.tile(ramp, (48, 1)), np.full((48, 64), 100, np.uint8), np.full((48, 64), 30, np.uint8)])
    message = JpegWriter(frame_id="f").fill(jpeg(rgb, 95), STAMP)
    assert message.format == "rgb8; jpeg compressed bgr8"
    decoded = simplejpeg.decode_jpeg(bytes(message.data), colorspace="RGB")
    assert np.abs(decoded.astype(int) - rgb).max() < 12
