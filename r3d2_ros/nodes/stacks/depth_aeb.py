"""An emergency brake on the depth images of one camera; where that camera is, it learns from /tf_static."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from r3d2_ros.closed_loop.stacks.depth_aeb import DepthAeb, DepthView
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.geometry import Rigid, quat_to_matrix
from r3d2_ros.lenses import PINHOLE, LensModel
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.nodes.stacks.base import FrameStack, run_stack


class DepthAebStack(FrameStack):
    """Parameter `camera`: the topic above `depth` and `camera_info` of a camera that looks ahead.

    The simulator has to publish depth: `output.depth: true`.
    """

    def __init__(self) -> None:
        super().__init__("depth_aeb")
        camera = str(self.declare_parameter("camera", "/camera/front").value).rstrip("/")
        self._T_ego: dict[str, Rigid] = {}
        self._lens = PINHOLE
        self.create_subscription(TFMessage, "/tf_static", self._on_tf, reliable(10, transient_local=True))
        self.listen(Image, f"{camera}/depth", "depth")
        self.listen(CameraInfo, f"{camera}/camera_info", "camera_info")

    def begin(self) -> None:
        self._stack = DepthAeb(front_m=self.vehicle.front_m, width_m=self.vehicle.width_m)

    def ready(self, parts: dict[str, Any]) -> bool:
        frame = parts["depth"].header.frame_id
        if frame not in self._T_ego:  # at the start it may come a moment later than the first picture
            text = f"no command: /tf_static does not say where the frame '{frame}' of the depth images is"
            self.get_logger().warning(text, skip_first=True, throttle_duration_sec=5.0)
        return frame in self._T_ego

    def answer(self, parts: dict[str, Any]) -> Actuation:
        image, speed_mps = parts["depth"], parts["odometry"].twist.twist.linear.x
        depth = np.frombuffer(image.data, np.float32).reshape(image.height, image.width)
        info = parts["camera_info"]
        K = np.array(info.k, np.float64).reshape(3, 3)
        lens = LensModel(info.distortion_model, tuple(info.d)) if info.distortion_model else PINHOLE
        if lens != self._lens:  # one that is kept keeps what it has computed
            lens.check(f"{image.header.frame_id}: camera_info")
            self._lens = lens
        view = DepthView(depth, K, self._T_ego[image.header.frame_id], self._lens)
        return self._stack.actuation([view], speed_mps)

    def _on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            t, q = transform.transform.translation, transform.transform.rotation
            rotation = quat_to_matrix((q.w, q.x, q.y, q.z))
            self._T_ego[transform.child_frame_id] = Rigid(rotation, np.array([t.x, t.y, t.z]))


def main(args: list[str] | None = None) -> int:
    return run_stack(DepthAebStack, args)


if __name__ == "__main__":
    sys.exit(main())
