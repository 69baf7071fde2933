"""What can be configured of the harmonizer. Imports neither torch nor numba: every configuration holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from r3d2_ros.schema import STRICT


@dataclass(frozen=True)
class RegionConfig:
    """How far around an actor the harmonizer's output is kept."""

    __pydantic_config__ = STRICT
    side: Annotated[
        float, Field(ge=0, le=10, description="margin left and right of an actor, in projected box heights")
    ] = 0.8
    below: Annotated[float, Field(ge=0, le=10, description="margin below an actor, in projected box heights")] = 0.45
    above: Annotated[float, Field(ge=0, le=10, description="margin above an actor, in projected box heights")] = 0.1
    shadow_length: Annotated[
        float,
        Field(
            ge=0,
            le=20,
            description="length of a shadow on the ground, in box heights; 1.5 is a sun 34 degrees high",
        ),
    ] = 1.5
    ground_margin_m: Annotated[float, Field(ge=0, le=20, description="added to the length of the shadow, metres")] = 0.3
    depth_test: Annotated[
        bool, Field(description="by depth, leave out surfaces that the shadow cannot reach, and the sky")
    ] = True
    feather_px: Annotated[
        int, Field(ge=0, le=64, description="width of the soft edge; it lies inside the region, pixels")
    ] = 4
    min_weight: Annotated[
        float, Field(gt=0, le=1, description="an actor is seen in a pixel where it has at least this weight")
    ] = 0.02


@dataclass(frozen=True)
class RoiConfig:
    """Crops around inserted actors instead of whole frames."""

    __pydantic_config__ = STRICT
    enabled: Annotated[bool, Field(description="run the network on crops around inserted actors only")] = False
    sizes: Annotated[
        str,
        Field(description="sizes a crop can have besides the whole frame: ROWSxCOLUMNS, multiples of 8, by commas"),
    ] = "256x256, 256x512, 384x384, 384x768, 512x512, 512x960, 512x1920, 768x1280"
    margin_px: Annotated[
        int,
        Field(ge=0, le=256, description="a crop reaches this far beyond the region; its effect fades out there"),
    ] = 32


@dataclass(frozen=True)
class HarmonizerConfig:
    """Which harmonizer runs over each frame, and where its output is kept."""

    __pydantic_config__ = STRICT
    backend: Annotated[
        Literal["none", "r3d2"],
        Field(description="none: the render is published as it is. r3d2: a checkpoint in this project's format"),
    ] = "none"
    checkpoint: Annotated[str, Field(description="folder of the checkpoint (config.json and safetensors)")] = ""
    device: Annotated[str, Field(description="cpu, or a CUDA device such as cuda:0")] = "cpu"
    dtype: Annotated[
        Literal["checkpoint", "float32", "float16", "bfloat16"],
        Field(description="in which the network computes; checkpoint: as its numbers are stored"),
    ] = "checkpoint"
    composite: Annotated[
        Literal["region", "full"],
        Field(
            description="region: the output is kept only where inserted actors and their shadows can be, every other "
            "pixel stays bit-identical, and a camera that sees no actor skips the network. full: the whole output"
        ),
    ] = "region"
    resolution: Annotated[
        Literal["full", "half", "720p"],
        Field(description="half, 720p: harmonize a smaller image and add what changed to the full-resolution render"),
    ] = "full"
    require_commercial: Annotated[
        bool, Field(description="refuse checkpoints whose licences do not all allow commercial use")
    ] = False
    region: RegionConfig = field(default_factory=RegionConfig)
    roi: RoiConfig = field(default_factory=RoiConfig)

    def __post_init__(self) -> None:
        if self.backend != "none" and not self.checkpoint:
            raise ValueError(f"the folder of a checkpoint in 'checkpoint', because backend is {self.backend}")
        if self.roi.enabled and self.composite == "full":
            raise ValueError("composite: region where roi.enabled is true: crops exist only around a region")
