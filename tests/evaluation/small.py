"""Datasets of a few small pictures whose measures can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.meta import SampleActor, SampleCamera, SampleMeta, rows
from r3d2_ros.dataset.samples import ORIGINAL, DatasetWriter, Pair
from r3d2_ros.geometry import Rigid

HEIGHT, WIDTH = 64, 96
GREY, INSERT, SHADED = 120, 200, 60
TARGET_INSERT = 150
"""Grey levels: of the ground, of the insert in the input, of the ground in the shadow, of the insert in the target."""

BOX = (36, 24, 60, 40)
"""left, top, right, bottom of the insert: 24 x 16 pixels"""
SHADOW = np.s_[40:46, 36:60]
"""Rows and columns of the true shadow, right below the insert: 24 x 6 pixels"""


def view() -> CameraView:
    """1 m above the ground, looking along +x, f = 80 px: the row of a ground point at distance d is 32 + 80 / d."""
    looking_along_x = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    return CameraView(
        K=np.array([[80.0, 0, WIDTH / 2], [0, 80, HEIGHT / 2], [0, 0, 1]]),
        width_px=WIDTH,
        height_px=HEIGHT,
        T_camera_world=Rigid(looking_along_x, looking_along_x @ [0.0, 0, -1]),
    )


def meta(name: str = "s0", sequence: str = "street_1", stamp_ns: int | None = None) -> SampleMeta:
    """A short box, 1.5 x 3 x 2 m, whose ground centre is 10 m ahead: its contact is in row 32 + 80 / 10 = 40."""
    actor = SampleActor("insert", "car", BOX, (1.5, 3.0, 2.0), rows(Rigid.from_xyz_yaw(10, 0, 0, 0).matrix()))
    return SampleMeta(
        name=name,
        sequence=sequence,
        camera=SampleCamera.of(view(), "front"),
        actors=(actor,),
        stamp_ns=stamp_ns,
    )


def picture(ground: int = GREY, insert: int = INSERT, shadow: int | None = None) -> NDArray[np.uint8]:
    """[H, W, 3]: an insert on grey ground; `shadow` is the grey level below the insert."""
    image = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    if shadow is not None:
        image[SHADOW] = shadow
    image[BOX[1] : BOX[3], BOX[0] : BOX[2]] = insert
    return image


def pair(*, with_shadow: bool = True) -> Pair:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    shadow = np.zeros((HEIGHT, WIDTH), np.float32)
    shadow[SHADOW] = 1.0
    before, after = picture(), picture(insert=TARGET_INSERT, shadow=SHADED)
    return Pair(before / np.float32(255), after / np.float32(255), mask, shadow if with_shadow else None)


def write_dataset(folder: Path, *, names: tuple[str, ...] = ("s0",), film: bool = False, shadow: bool = True) -> Path:
    """A dataset whose test split has these samples, of one sequence; of a film they are 0.1 s apart."""
    writer = DatasetWriter(folder, {"how": "by hand"})
    for k, name in enumerate(names):
        writer.write("test", meta(name, stamp_ns=k * 100_000_000 if film else None), pair(with_shadow=shadow))
    return folder


def write_original(folder: Path, name: str, image: NDArray[np.uint8]) -> None:
    """The reconstruction as it was, beside a sample's other pictures."""
    write_png(folder / "test" / name / ORIGINAL, image)


def write_png(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


def shifted(box: SampleMeta, x_m: float, z_m: float) -> SampleMeta:
    """The same with the insert's ground centre at another distance and height."""
    actor = replace(box.actors[0], T_world_actor=rows(Rigid.from_xyz_yaw(x_m, 0, z_m, 0).matrix()))
    return replace(box, actors=(actor,))
