"""The keys of scene.yaml and assets.yaml, and what their values mean."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import AfterValidator, Field

from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.geometry import QUAT_TOLERANCE, Similarity, matrix_to_quat, quat_to_matrix
from r3d2_ros.input_checks import MAX_COORDINATE_M, SIZE_RANGE_M
from r3d2_ros.resources import user_path
from r3d2_ros.schema import STRICT, Number

Unit = Annotated[Number, Field(ge=0, le=1)]
Triple = tuple[Number, Number, Number]
Metres = Annotated[Number, Field(ge=-MAX_COORDINATE_M, le=MAX_COORDINATE_M)]
Side = Annotated[Number, Field(ge=SIZE_RANGE_M[0], le=SIZE_RANGE_M[1])]
MIN_SCALE, MAX_SCALE = 1e-6, 1e6
"""Metres per unit: beyond micrometres and thousands of kilometres, float32 pictures show nothing of the scene."""


Quat = tuple[Number, Number, Number, Number]


def _of_length_1(quat_wxyz: Quat) -> Quat:
    length = math.hypot(*quat_wxyz)
    if not abs(length - 1) <= QUAT_TOLERANCE:
        raise ValueError(f"a quaternion w, x, y, z of length 1, not {length:.6g}")
    return quat_wxyz


@dataclass(frozen=True)
class TransformKeys:
    """A similarity: p_dst = scale * R p_src + translation."""

    __pydantic_config__ = STRICT
    rotation_wxyz: Annotated[
        Quat, AfterValidator(_of_length_1), Field(description="unit quaternion")
    ] = (1.0, 0.0, 0.0, 0.0)
    translation_m: Annotated[tuple[Metres, Metres, Metres], Field(description="metres")] = (0.0, 0.0, 0.0)
    scale: Annotated[
        Number, Field(ge=MIN_SCALE, le=MAX_SCALE, description="metres per unit of the source frame")
    ] = 1.0

    @property
    def similarity(self) -> Similarity:
        """In float64."""
        return Similarity(quat_to_matrix(self.rotation_wxyz), np.array(self.translation_m), self.scale)


@dataclass(frozen=True)
class SkyKeys:
    """Either a colour or an image; black without both."""

    __pydantic_config__ = STRICT
    colour: Annotated[tuple[Unit, Unit, Unit] | None, Field(description="r, g, b from 0 to 1")] = None
    image: Annotated[
        str, Field(description="equirectangular PNG or JPEG, up at the top, x axis in the middle")
    ] = ""


@dataclass(frozen=True)
class BoundsKeys:
    """Corners of the box in the scene frame in which the reconstruction is usable."""

    __pydantic_config__ = STRICT
    min: Triple | None = None
    max: Triple | None = None


@dataclass(frozen=True)
class SceneKeys:
    """scene.yaml. Paths are relative to the file and stay inside its folder, or are absolute, also from `~`."""

    __pydantic_config__ = STRICT
    gaussians: Annotated[
        str, Field(description="the Gaussian file; empty only in the <stem>.yaml beside one")
    ] = ""
    name: Annotated[str, Field(description="shown to people; empty: the name of the Gaussian file")] = ""
    T_map_scene: Annotated[TransformKeys, Field(description="where the scene lies in the map")] = field(
        default_factory=TransformKeys
    )
    time_offset_s: Annotated[Number, Field(description="has no effect; earlier versions wrote it")] = 0.0
    sky: SkyKeys = field(default_factory=SkyKeys)
    trajectory: Annotated[
        list[list[Number]],
        Field(description="base_link during the capture: [x, y, z] or [x, y, z, qw, qx, qy, qz]"),
    ] = field(default_factory=list)
    trajectory_file: Annotated[str, Field(description="CSV with the same columns")] = ""
    bounds: BoundsKeys = field(default_factory=BoundsKeys)
    antialiased: Annotated[
        bool, Field(description="trained with antialiased rasterisation (Mip-Splatting)")
    ] = False
    procedural: Annotated[
        bool, Field(description="made by a program, like the embedded street, and not reconstructed from pictures")
    ] = False
    licence: str = ""
    assets: Annotated[str, Field(description="assets.yaml of the library that belongs to the scene")] = ""
    lane_map: Annotated[str, Field(description="lane_map.yaml: lanes and road edges, for scenarios and scores")] = ""
    labels: Annotated[
        str, Field(description=".npy, uint8: Cityscapes train id (0 to 18, or 255) of every Gaussian in the file")
    ] = ""


@dataclass(frozen=True)
class AssetKeys:
    """One entry of assets.yaml."""

    __pydantic_config__ = STRICT
    file: Annotated[
        str, Field(min_length=1, description="Gaussian file; relative paths stay inside the folder")
    ]
    size_m: Annotated[
        tuple[Side, Side, Side] | None, Field(description="length, width, height in metres; absent: measured")
    ] = None
    category: str = ""
    licence: str = ""
    T_asset_file: Annotated[
        TransformKeys, Field(description="from the file's frame to the vehicle frame")
    ] = field(default_factory=TransformKeys)


def transform_keys(T: Similarity) -> dict[str, Any]:
    """The YAML mapping that `TransformKeys` reads back."""
    return {
        "rotation_wxyz": matrix_to_quat(T.rotation).tolist(),
        "translation_m": T.translation.tolist(),
        "scale": T.scale,
    }


def resolve_path(sidecar: Path, key: str, value: str) -> Path:
    """The path that a value of `sidecar` means, `~` expanded. InputError when a relative one leaves its folder."""
    path = user_path(value, f"{sidecar}: {key}")
    if path.is_absolute():
        return path
    if Path(os.path.normpath(value)).parts[:1] == ("..",) or "\0" in value:
        expected = "a path inside the folder of this file, or an absolute path"
        raise InputError(f"{sidecar}: {key}", expected, repr(value))
    return sidecar.parent / path


def write_yaml(path: Path, data: dict[str, Any]) -> None:
    """Write a mapping as YAML in the order of its keys; floats come back exactly."""
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    with atomic_output(path) as file:
        file.write(text.encode("utf-8"))
