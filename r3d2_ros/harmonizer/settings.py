"""What can be configured of the harmonizer. Imports neither torch nor numba: every configuration holds it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from r3d2_ros.errors import InputError
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


ROI_SIZES = "harmonizer.roi.sizes"
RESOLUTION = "harmonizer.resolution"
RESOLUTIONS = "full, half, or rows from 100p to 9999p, such as 720p"


def is_resolution(text: str) -> bool:
    """Whether `HarmonizerConfig.resolution` can be this."""
    return text in ("full", "half") or re.fullmatch("[1-9][0-9]{2,3}p", text) is not None


def _checked_resolution(text: str) -> str:
    if not is_resolution(text):
        raise InputError(RESOLUTION, RESOLUTIONS, f"'{text}'")
    return text


def listed_sizes(text: str) -> list[tuple[int, int]]:
    """Rows and columns of each size of `RoiConfig.sizes`, as it lists them. InputError for what is no such list."""
    sizes = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", part)
        rows, columns = (int(match[1]), int(match[2])) if match else (0, 0)
        if not rows or not columns or rows % 8 or columns % 8:
            expected = "ROWSxCOLUMNS, multiples of 8, such as 512x960"
            raise InputError(ROI_SIZES, expected, f"'{part}'", "Separate sizes by commas.")
        sizes.append((rows, columns))
    return sizes


def _checked_sizes(text: str) -> str:
    listed_sizes(text)
    return text


@dataclass(frozen=True)
class RoiConfig:
    """Crops around inserted actors instead of whole frames."""

    __pydantic_config__ = STRICT
    enabled: Annotated[bool, Field(description="run the network on crops around inserted actors only")] = False
    sizes: Annotated[
        str,
        Field(description="sizes a crop can have besides the whole frame: ROWSxCOLUMNS, multiples of 8, by commas"),
        AfterValidator(_checked_sizes),
    ] = "256x256, 256x512, 384x384, 384x768, 512x512, 512x960, 512x1920, 768x1280, 768x1920"
    margin_px: Annotated[
        int,
        Field(ge=0, le=256, description="a crop reaches this far beyond the region; its effect fades out there"),
    ] = 32

    def __post_init__(self) -> None:
        if self.enabled and not listed_sizes(self.sizes):
            raise InputError(ROI_SIZES, "at least one size where harmonizer.roi.enabled is true", repr(self.sizes))


@dataclass(frozen=True)
class TemporalConfig:
    """What the harmonizer changed in the last frame, carried along with what moves and blended with the new change."""

    __pydantic_config__ = STRICT
    enabled: Annotated[
        bool, Field(description="less flicker: blend with the last frames' change, and one change for all cameras")
    ] = False
    blend: Annotated[
        float, Field(ge=0, lt=1, description="share of what is carried over from the last frame, where that is valid")
    ] = 0.8
    tolerance: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="differences between the carried and the new change up to this, of a full scale of 1, are "
            "flicker; from twice this on the new one alone counts",
        ),
    ] = 0.05
    depth_tolerance: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="two depths are the same surface, and two sizes the same actor, when they differ by no more "
            "than this share",
        ),
    ] = 0.1
    max_gap_s: Annotated[
        float, Field(gt=0, le=10, description="nothing is carried over a longer time between two frames, seconds")
    ] = 0.5
    max_speed_mps: Annotated[
        float, Field(gt=0, le=1000, description="an actor that moved faster has jumped; nothing of it is carried")
    ] = 80.0
    cross_camera: Annotated[
        bool, Field(description="where the views of cameras overlap, bring their changes of a surface together")
    ] = True
    taper: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="a camera's say in that fades out towards the edges of its image, over this share of its rows",
        ),
    ] = 0.15


@dataclass(frozen=True)
class RuntimeConfig:
    """How the network is executed. All kinds give the same pictures to within rounding."""

    __pydantic_config__ = STRICT
    kind: Annotated[
        Literal["eager", "torch-compile", "stable-fast"],
        Field(description="eager: PyTorch as it is. One that is named and not installed is an error"),
    ] = "eager"
    cuda_graph: Annotated[bool, Field(description="record a CUDA graph per shape of images; CUDA devices only")] = True
    channels_last: Annotated[bool, Field(description="keep activations and weights in NHWC order")] = True
    attention: Annotated[
        Literal["auto", "cudnn", "flash", "efficient", "math", "flash3", "flash4"],
        Field(
            description="kernel of the UNet's self-attention; auto: on CUDA the fastest by measurement, "
            "FlashAttention 3 and 4 among them where they are installed"
        ),
    ] = "auto"
    max_batch: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="images in one call of the network at most; compiled, and on a CPU, what is left over goes in "
            "calls of half as many, and so on",
        ),
    ] = 3
    deterministic: Annotated[
        bool, Field(description="pin the choice of kernels, so that two processes give the same bytes")
    ] = False
    cache: Annotated[
        str, Field(description="folder of compiled code and measured choices; empty: in the user's cache folder")
    ] = ""


@dataclass(frozen=True)
class RewritesConfig:
    """Rewrites of the network that compute the same function; rounding alone differs."""

    __pydantic_config__ = STRICT
    constant_prompt: Annotated[
        bool, Field(description="cross-attention's keys and values of the prompt are computed once")
    ] = True
    constant_timestep: Annotated[
        bool, Field(description="the timestep's embedding becomes part of the biases of the UNet's residual blocks")
    ] = True
    fold_upsample: Annotated[
        bool, Field(description="nearest upsampling and the convolution after it become four 2x2 convolutions")
    ] = True
    merge_skips: Annotated[
        bool, Field(description="skip convolutions become part of the convolution beside them")
    ] = True
    fuse_relu: Annotated[bool, Field(description="convolution, sum and ReLU of the tiny autoencoder as one")] = True
    chunked_attention: Annotated[
        bool, Field(description="the 512-wide attention of AutoencoderKL as matrix products over parts of the queries")
    ] = True
    fuse_attention: Annotated[
        bool, Field(description="the same by kernels that never round scores; on Hopper and data centres' Blackwell")
    ] = True
    join_projections: Annotated[
        bool, Field(description="queries, keys and values of the UNet's self-attention as one matrix product")
    ] = True
    fuse_geglu: Annotated[
        bool,
        Field(
            description="the feed-forward's first product and its gated GELU in one kernel; on Hopper and data "
            "centres' Blackwell"
        ),
    ] = True
    fuse_norm: Annotated[
        bool, Field(description="group norm and SiLU as one, channels last; on CUDA, where PyTorch's reorders tensors")
    ] = True
    fuse_picture: Annotated[
        bool, Field(description="the encoder's first and the decoder's last convolution by kernels of our own; on CUDA")
    ] = True
    merge_residuals: Annotated[
        bool, Field(description="sums in the UNet's transformers become part of the matrix products before them")
    ] = True


@dataclass(frozen=True)
class Float8Config:
    """What `dtype: float8` computes in 8 bit."""

    __pydantic_config__ = STRICT
    products: Annotated[
        bool, Field(description="linear layers of the UNet's transformers that have many outputs for each input")
    ] = True
    convolutions: Annotated[
        bool,
        Field(description="3x3 convolutions of residual blocks, in UNet and AutoencoderKL, with the norms before them"),
    ] = True
    attention: Annotated[
        bool, Field(description="both products of the attention in the middle of AutoencoderKL; not measured on a GPU")
    ] = False


@dataclass(frozen=True)
class HarmonizerConfig:
    """Which harmonizer runs over each frame, and where its output is kept."""

    __pydantic_config__ = STRICT
    backend: Annotated[
        Literal["none", "r3d2", "pipeline"],
        Field(
            description="none: the render is published as it is. r3d2: a checkpoint in this project's format. "
            "pipeline: a diffusers folder that is called with an image alone, such as the released R3D2"
        ),
    ] = "none"
    checkpoint: Annotated[
        str, Field(description="folder of the checkpoint or of the pipeline, or the name of a shipped checkpoint: nano")
    ] = ""
    allow_remote_code: Annotated[
        bool,
        Field(strict=True, description="backend pipeline: run Python code that lies in the folder. It can do anything"),
    ] = False
    device: Annotated[
        str, Field(description="auto (cuda:0 where CUDA works, else cpu), cpu, or a CUDA device such as cuda:0")
    ] = "auto"
    dtype: Annotated[
        Literal["checkpoint", "float32", "float16", "bfloat16", "float8"],
        Field(
            description="in which the network computes; checkpoint: as its numbers are stored. float8: float16 with "
            "8-bit matrix products and convolutions, on GPUs that have them; a CPU computes the same, slowly"
        ),
    ] = "checkpoint"
    float8: Float8Config = field(default_factory=Float8Config)
    composite: Annotated[
        Literal["region", "full"],
        Field(
            description="region: the output is kept only where inserted actors and their shadows can be, every other "
            "pixel stays bit-identical, and a camera that sees no actor skips the network. full: the whole output"
        ),
    ] = "region"
    resolution: Annotated[
        str,
        Field(
            description="full, half, or rows such as 720p: harmonize a smaller image and add what changed to the "
            "full-resolution render; more rows than the image has are its own, else it is the nearest fraction of them "
            "with a denominator up to 27, where that is within 2 %"
        ),
        AfterValidator(_checked_resolution),
    ] = "full"
    require_commercial: Annotated[
        bool, Field(strict=True, description="refuse checkpoints whose licences do not all allow commercial use")
    ] = False
    on_deadline: Annotated[
        Literal["wait", "drop", "raw"],
        Field(
            description="when harmonizing takes longer than deadline_ms, or fails: wait: the frame set is late, and "
            "one that failed has no pictures and says why; drop: it has no pictures and says why; raw: the renders "
            "are published, marked as such. lockstep accepts wait alone"
        ),
    ] = "wait"
    deadline_ms: Annotated[
        float,
        Field(
            gt=0,
            le=60_000,
            description="for drop and raw: time for harmonizing a frame set from its begin, and for its turn to come",
        ),
    ] = 100.0
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    rewrites: RewritesConfig = field(default_factory=RewritesConfig)
    region: RegionConfig = field(default_factory=RegionConfig)
    roi: RoiConfig = field(default_factory=RoiConfig)
    temporal: TemporalConfig = field(default_factory=TemporalConfig)

    def __post_init__(self) -> None:
        if self.backend != "none" and not self.checkpoint:
            raise ValueError(f"the folder of a checkpoint in 'checkpoint', because backend is {self.backend}")
        if self.dtype == "float8" and not any(asdict(self.float8).values()):
            parts = "products, convolutions or attention"
            raise ValueError(f"{parts} of float8 true, because dtype is float8; else float16")
        if self.dtype == "float8" and self.runtime.kind == "stable-fast":
            expected = "eager or torch-compile, because harmonizer.dtype is float8"
            raise InputError("harmonizer.runtime.kind", expected, self.runtime.kind)
        if self.roi.enabled and self.composite == "full":
            expected = "region where harmonizer.roi.enabled is true: crops exist only around a region"
            raise InputError("harmonizer.composite", expected, self.composite)
