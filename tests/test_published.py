"""Pictures that are published of a camera."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.cameras import Camera
from r3d2_ros.geometry import Rigid
from r3d2_ros.published import IMAGE_TOPICS, pixels
from r3d2_ros.rendering.frames import HostImage
from r3d2_ros.simulator import CameraFrame


class CountedImage(HostImage):
    """Stands for an image on a GPU: how often it was asked for on the host."""

    asked = 0

    @property
    def array(self) -> np.ndarray:
        self.asked += 1
        return super().array


@pytest.mark.parametrize("name", IMAGE_TOPICS)
def test_the_depth_stays_where_it_is_until_it_is_published(name: str) -> None:
    camera = Camera("front", 4, 3, np.array([[4.0, 0, 1.5], [0, 4.0, 1], [0, 0, 1]]), Rigid.identity())
    depth_image = CountedImage(np.full((3, 4), 7.0, np.float32))
    frame = CameraFrame(
        camera=camera,
        rgb=np.full((3, 4, 3), 1, np.uint8),
        rendered_image=np.full((3, 4, 3), 2, np.uint8),
        mask_image=np.ones((3, 4), np.float32),
        depth_image=depth_image,
        instance=np.full((3, 4), 3, np.uint16),
        content_hash="",
        render_ms=0.0,
        harmonize_ms=0.0,
    )
    shown = {"raw": 1, "image_rendered": 2, "depth": 7, "instance": 3, "harmonizer_mask": 255}
    assert (pixels(frame, name) == shown[name]).all()
    assert depth_image.asked == (name == "depth")
