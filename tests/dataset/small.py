"""A sample of a few pixels: a grey wall with a red insert that is darker in the target."""

from __future__ import annotations

import numpy as np

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.meta import SampleActor, SampleCamera, SampleMeta, SampleSun, rows
from r3d2_ros.dataset.samples import Pair
from r3d2_ros.geometry import Rigid

HEIGHT, WIDTH = 24, 32
BOX = (10, 8, 22, 16)
"""left, top, right, bottom"""


def meta(name: str = "street_1_0000", sequence: str = "street_1") -> SampleMeta:
    """A box of 3 x 2 x 2 m, its near side 8.5 m before a camera at 1 m height that looks along +x."""
    looking_along_x = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    view = CameraView(
        K=np.array([[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]),
        width_px=WIDTH,
        height_px=HEIGHT,
        T_camera_world=Rigid(looking_along_x, looking_along_x @ [0.0, 0, -1]),
    )
    actor = SampleActor("insert", "car", BOX, (3.0, 2.0, 2.0), rows(Rigid.from_xyz_yaw(10, 0, 0, 0).matrix()))
    return SampleMeta(
        name=name,
        sequence=sequence,
        camera=SampleCamera.of(view, "front"),
        actors=(actor,),
        sun=SampleSun.of(np.array([0.0, 0.6, 0.8]), view),
        origin="street 1, 12 m",
        seed=7,
    )


def pair() -> Pair:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    before = np.tile(np.linspace(0.2, 0.8, WIDTH, dtype=np.float32)[None, :, None], (HEIGHT, 1, 3))
    before[mask] = [0.8, 0.2, 0.1]
    after = before.copy()
    after[mask] *= 0.5
    shadow = np.zeros((HEIGHT, WIDTH), np.float32)
    shadow[16:20, 10:22] = 1.0
    return Pair(before, after, mask, shadow)
