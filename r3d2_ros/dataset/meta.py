"""What is known of a sample: the contents of its meta.json."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from r3d2_ros.cameras import CameraView, pixel_corner_K
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.schema import STRICT

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
"""Of samples and sequences: they become names of folders."""

Triple = tuple[float, float, float]
Row = tuple[float, float, float, float]
Matrix3 = tuple[Triple, Triple, Triple]
Matrix4 = tuple[Row, Row, Row, Row]
UNIT_WITHIN = 1e-3
"""How far from 1 a unit vector's length may be: its numbers may have been written with three or four digits."""

Side = Annotated[float, Field(gt=0)]


def _pinhole(K: Matrix3) -> Matrix3:
    (fx, skew, _), (lower, fy, _), last = K
    if fx <= 0 or fy <= 0 or skew != 0 or lower != 0 or last != (0, 0, 1):
        raise ValueError("fx, fy > 0, no skew, last row 0 0 1")
    return K


def _rigid(matrix: Matrix4) -> Matrix4:
    if matrix[3] != (0, 0, 0, 1):
        raise ValueError("a rigid transform, last row 0 0 0 1")
    try:
        Rigid.from_matrix(matrix)
    except ValueError:
        raise ValueError("a rigid transform, the first three columns a right-handed rotation") from None
    return matrix


def _unit(direction: Triple) -> Triple:
    if abs(math.hypot(*direction) - 1) > UNIT_WITHIN:
        raise ValueError(f"a unit vector, of a length within {UNIT_WITHIN} of 1")
    return direction


Direction = Annotated[Triple, AfterValidator(_unit)]
Pose = Annotated[Matrix4, AfterValidator(_rigid)]


@dataclass(frozen=True)
class SampleCamera:
    """The camera of a sample, a pinhole without distortion and skew.

    K               pixels, the centre of the first pixel is (0, 0); of the sample's image, also where it is a crop
    T_camera_world  from the frame that the actors' poses are in to optical axes (x right, y down, z forward)
    """

    __pydantic_config__ = STRICT
    width_px: Annotated[int, Field(ge=1, le=16384)]
    height_px: Annotated[int, Field(ge=1, le=16384)]
    K: Annotated[Matrix3, AfterValidator(_pinhole)]
    T_camera_world: Pose
    name: str = ""

    @classmethod
    def of(cls, view: CameraView, name: str = "") -> SampleCamera:
        """Of a view, whose K puts the corner of the first pixel at (0, 0)."""
        K = view.K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
        return cls(view.width_px, view.height_px, rows(K), rows(view.T_camera_world.matrix()), name)

    @property
    def view(self) -> CameraView:
        return CameraView(
            K=pixel_corner_K(np.array(self.K)),
            width_px=self.width_px,
            height_px=self.height_px,
            T_camera_world=Rigid.from_matrix(self.T_camera_world),
        )


@dataclass(frozen=True)
class SampleActor:
    """An insert that is seen in the image.

    box_px         left, top, right, bottom of its pixels in mask.png, within the image; the last two exclusive
    T_world_actor  its origin is the ground centre of its box, x forward, z up
    size_m         length, width, height
    """

    __pydantic_config__ = STRICT
    id: str
    asset: str
    box_px: tuple[int, int, int, int]
    size_m: Annotated[tuple[Side, Side, Side], Field(description="metres")]
    T_world_actor: Pose
    instance: Annotated[int, Field(ge=1, le=65535)] = 1
    category: str = ""

    @property
    def box(self) -> ActorBox:
        return ActorBox(Rigid.from_matrix(self.T_world_actor), self.size_m, self.id, self.instance)


@dataclass(frozen=True)
class SampleSun:
    """Unit vectors towards the sun that lights the target.

    world   in the frame of the actors' poses; camera: in optical axes, None where the camera's pose is not known
    """

    __pydantic_config__ = STRICT
    world: Direction
    camera: Direction | None = None

    @classmethod
    def of(cls, direction_world: Array, view: CameraView) -> SampleSun:
        return cls(triple(direction_world), triple(view.T_camera_world.rotation @ direction_world))


@dataclass(frozen=True)
class SampleMeta:
    """Contents of meta.json.

    sequence  what was filmed in one go: all samples of a sequence are in one split
    origin    where the sample is from, for people: a street and a place in it, a scene and a stamp
    seed      from which the sample alone can be made again; 0 where nothing was random
    details   what else the maker knows: plain values, read by nobody
    stamp_ns  when it was filmed, of the sequence's clock; None where the sequence is no film. Samples of one camera and
              sequence whose stamps are near to each other are frames of a film, from which flicker is measured
    """

    __pydantic_config__ = STRICT
    name: Annotated[str, Field(pattern=NAME)]
    sequence: Annotated[str, Field(pattern=NAME)]
    camera: SampleCamera
    actors: tuple[SampleActor, ...]
    sun: SampleSun | None = None
    origin: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    details: dict[str, Any] = field(default_factory=dict)
    stamp_ns: Annotated[int, Field(ge=0)] | None = None

    def __post_init__(self) -> None:
        width, height = self.camera.width_px, self.camera.height_px
        for k, actor in enumerate(self.actors):
            left, top, right, bottom = actor.box_px
            if not (0 <= left < right <= width and 0 <= top < bottom <= height):
                expected = f"left, top, right, bottom within {width}x{height} pixels"
                raise InputError(f"actors.{k}.box_px", expected, str(list(actor.box_px)))


def rows(matrix: Array) -> Any:
    """A matrix as tuples of plain floats."""
    return tuple(tuple(float(v) for v in row) for row in np.asarray(matrix, np.float64))


def triple(vector: Array) -> Triple:
    x, y, z = (float(v) for v in vector)
    return x, y, z
