"""One validated configuration for everything that makes pictures: `config/sim.yaml` documents every key.

Every leaf is a scalar; the node declares each as a ROS parameter of the same dotted name.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.message_fields import frame_name
from r3d2_ros.schema import STRICT, load_yaml, validate
from r3d2_ros.state_buffer import BufferConfig
from r3d2_ros.sync import SyncConfig

Scalar = bool | int | float | str
Backend = Literal["auto", "cpu", "gsplat"]
"""What pictures may be made with. `rendering.RENDERERS` has the reference renderer besides, which is far too slow."""

NAMESPACE_PATTERN = r"/?([A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*/?)?"
"""ROS 2 names tokens so; '~' and substitutions are left out, which a bag would keep as they are."""
FRAME_PATTERN = r"/?[^\s/]\S*"
"""A '/' in front, which tf2 drops, is in the messages of some drives; frames are compared without it."""
PREFIX_PATTERN = r"([^\s/]\S*)?"
FRAME_NAME = "the name of a tf frame, without blanks"


def _doc(description: str, **bounds: Any) -> Any:
    return Field(description=description, **bounds)


def _matching(pattern: str, key: str, expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise InputError(key, expected, repr(text)[:120])
        return text

    return AfterValidator(check)


@dataclass(frozen=True)
class SceneConfig:
    __pydantic_config__ = STRICT
    source: Annotated[str, _doc("'street' (the embedded procedural street), a Gaussian file, or a scene folder")] = (
        "street"
    )
    sidecar: Annotated[str, _doc("scene.yaml to use instead of the one beside the source; empty: that one")] = ""


@dataclass(frozen=True)
class AssetsConfig:
    __pydantic_config__ = STRICT
    library: Annotated[
        str,
        _doc("assets.yaml; empty: the library that the scene names, else the embedded one; 'street': the embedded one"),
    ] = ""
    actor_pose: Annotated[
        Literal["ground_center", "box_center"],
        _doc("what an incoming actor pose means: ground centre or box centre"),
    ] = "ground_center"
    classes: Annotated[
        str, _doc("table of assets that stand for the object classes of perception messages; empty: the shipped one")
    ] = ""


@dataclass(frozen=True)
class RigConfig:
    __pydantic_config__ = STRICT
    source: Annotated[str, _doc("a shipped rig by name (demo3, surround6) or a rig file")] = "demo3"
    kind: Annotated[
        Literal["auto", "r3d2", "pandaset", "hugsim", "autoware"],
        _doc("format of the rig file; auto: by its content"),
    ] = "auto"
    fov_deg: Annotated[
        float, _doc("horizontal field of view for a rig file without intrinsics; 0: not given", ge=0, lt=180)
    ] = 0.0
    lens: Annotated[
        Literal["distorted", "rectified"],
        _doc("distorted: pictures with each camera's lens distortion; rectified: pinholes with the cameras' K"),
    ] = "distorted"


@dataclass(frozen=True)
class RenderingConfig:
    __pydantic_config__ = STRICT
    backend: Annotated[
        Backend,
        _doc("auto: gsplat where CUDA works, else cpu. A named one that fails is an error"),
    ] = "auto"
    device: Annotated[str, _doc("CUDA device of the gsplat backend")] = "cuda:0"
    threads: Annotated[int, _doc("CPU threads of the cpu backend; 0: all cores", ge=0, le=1024)] = 0
    mode: Annotated[
        Literal["scene", "classic", "antialiased"],
        _doc("gsplat's rasterize_mode; scene: what the scene was trained with"),
    ] = "scene"
    near_plane_m: Annotated[float, _doc("Gaussians nearer than this z-depth are not drawn", gt=0)] = 0.1
    far_plane_m: Annotated[float, _doc("Gaussians farther than this z-depth are not drawn", gt=0)] = 10_000.0
    eps2d: Annotated[float, _doc("screen-space blur added to every 2D covariance, pixels^2", ge=0, le=10)] = 0.3

    def __post_init__(self) -> None:
        if self.near_plane_m >= self.far_plane_m:
            raise ValueError(f"near_plane_m below far_plane_m, which is {self.far_plane_m:g}")


@dataclass(frozen=True)
class OutputConfig:
    __pydantic_config__ = STRICT
    namespace: Annotated[
        str,
        _doc("prefix of the camera topics, relative to the node's namespace"),
        _matching(
            NAMESPACE_PATTERN,
            "output.namespace",
            "a ROS name such as camera or /car/camera: letters, digits and _, no digit first, '/' between",
        ),
    ] = "camera"
    raw: Annotated[bool, _doc("publish <camera>/image_raw (rgb8)")] = True
    compressed: Annotated[bool, _doc("publish <camera>/image_raw/compressed (JPEG)")] = False
    jpeg_quality: Annotated[int, _doc("JPEG quality of compressed images", ge=1, le=100)] = 90
    depth: Annotated[bool, _doc("publish <camera>/depth (32FC1, metres, NaN where nothing solid is seen)")] = False
    instance: Annotated[bool, _doc("publish <camera>/instance (16UC1, 0 = background)")] = False
    image_rendered: Annotated[
        bool, _doc("publish <camera>/image_rendered: the picture before the harmonizer (rgb8)")
    ] = False
    harmonizer_mask: Annotated[
        bool, _doc("publish <camera>/harmonizer_mask (mono8): how much of the harmonizer's output each pixel has")
    ] = False
    publish_tf: Annotated[bool, _doc("publish base_link -> camera frames on /tf_static")] = True
    min_subscribers: Annotated[
        int, _doc("the first frame set waits until each camera has this many matched readers", ge=0, le=1000)
    ] = 0


@dataclass(frozen=True)
class FramesConfig:
    __pydantic_config__ = STRICT
    map: Annotated[
        str,
        _doc("frame of incoming poses; messages in another frame are refused"),
        _matching(FRAME_PATTERN, "frames.map", FRAME_NAME),
    ] = "map"
    base_link: Annotated[
        str,
        _doc("frame of the vehicle, parent of the camera frames"),
        _matching(FRAME_PATTERN, "frames.base_link", FRAME_NAME),
    ] = "base_link"
    prefix: Annotated[
        str,
        _doc("put in front of base_link and of the camera frames in everything that is published, such as car_a/"),
        _matching(PREFIX_PATTERN, "frames.prefix", "the beginning of a tf frame, without blanks, no '/' in front"),
    ] = ""

    def __post_init__(self) -> None:
        names = {"frames.base_link": self.base_link, "frames.prefix": self.vehicle}
        for key, name in names.items():
            if frame_name(self.map) == frame_name(name):
                raise InputError(key, "another frame than frames.map", repr(name)[:120])

    @property
    def vehicle(self) -> str:
        """The vehicle's frame in what is published."""
        return prefixed(self.prefix, self.base_link)

    def is_vehicle(self, frame_id: str) -> bool:
        """Whether a message means the vehicle's frame: by its name with the prefix or without it."""
        return frame_name(frame_id) in (frame_name(self.base_link), frame_name(self.vehicle))


def prefixed(prefix: str, frame_id: str) -> str:
    """A frame's name behind `frames.prefix`; without one as it is."""
    return prefix + frame_name(frame_id) if prefix else frame_id


@dataclass(frozen=True)
class SimConfig:
    """The whole configuration; see `config/sim.yaml`."""

    __pydantic_config__ = STRICT
    scene: SceneConfig = field(default_factory=SceneConfig)
    assets: AssetsConfig = field(default_factory=AssetsConfig)
    rig: RigConfig = field(default_factory=RigConfig)
    rendering: RenderingConfig = field(default_factory=RenderingConfig)
    harmonizer: HarmonizerConfig = field(default_factory=HarmonizerConfig)
    sync: SyncConfig = field(default_factory=SyncConfig)
    state: BufferConfig = field(default_factory=BufferConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)

    def __post_init__(self) -> None:
        if self.sync.mode == "lockstep" and self.harmonizer.on_deadline != "wait":
            expected = "wait where sync.mode is lockstep, because wall time must not decide what a frame shows"
            raise InputError("harmonizer.on_deadline", expected, self.harmonizer.on_deadline)


PATH_KEYS = (
    "scene.source", "scene.sidecar", "assets.library", "assets.classes", "rig.source", "harmonizer.checkpoint"
)  # fmt: skip
"""Leaves that may name a file; relative ones in a configuration file are relative to that file."""
CACHE_KEY = "harmonizer.runtime.cache"
"""The same for a folder that need not be there yet."""


def load_config(path: str | Path | None, overrides: Mapping[str, Scalar] | None = None) -> SimConfig:
    """The configuration of a YAML file (None: the defaults) with `overrides` (dotted name -> value) on top.

    InputErrors names every fault with file, key and expected value.
    """
    if path is None:
        return config_from({}, where="configuration", overrides=overrides)
    return config_from(load_yaml(path), where=str(path), folder=Path(path).parent, overrides=overrides)


def config_from(
    data: Any, *, where: str, folder: Path | None = None, overrides: Mapping[str, Scalar] | None = None
) -> SimConfig:
    """The configuration of parsed YAML; relative paths in it are relative to `folder`, `where` names it in faults."""
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(where, "a mapping of sections such as 'scene' and 'rig'", type(data).__name__)
    refuse_ros_parameters(data, where)
    data = copy.deepcopy(data)
    if folder is not None:
        _resolve_paths(data, folder)
    for name, value in (overrides or {}).items():
        _put(data, name, value)
    return validate(SimConfig, data, where)


def refuse_ros_parameters(data: Any, where: str) -> None:
    """InputError for what is a ROS parameter file: its keys are the same, below the names of nodes."""
    nodes = list(data.values()) if isinstance(data, dict) else []
    nodes += [node for namespace in nodes if isinstance(namespace, dict) for node in namespace.values()]
    if any(isinstance(node, dict) and "ros__parameters" in node for node in nodes):
        expected, got = "sections such as 'scene' and 'rig' at the top", "a ROS parameter file (ros__parameters)"
        hint = "Give it to the node: --ros-args --params-file FILE, or params_file:=FILE to the launch file"
        raise InputError(where, expected, got, hint)


def _resolve_paths(data: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of a file relative to its folder; names of shipped things stay as they are."""
    for name in (*PATH_KEYS, CACHE_KEY):
        *sections, key = name.split(".")
        inner: Any = data
        for section in sections:
            inner = inner.get(section) if isinstance(inner, dict) else None
        value = inner.get(key) if isinstance(inner, dict) else None
        if not isinstance(value, str) or value in ("", "street") or value.startswith("~") or Path(value).is_absolute():
            continue
        if name == CACHE_KEY or (folder / value).exists():
            inner[key] = str((folder / value).resolve())


def _put(data: dict[str, Any], name: str, value: Scalar) -> None:
    *sections, key = name.split(".")
    for section in sections:
        child = data.get(section)
        data = data.setdefault(section, {}) if child is None else child
        if not isinstance(data, dict):
            raise InputError(f"configuration: {section}", "a mapping", repr(data))
    data[key] = value


@dataclass(frozen=True)
class Leaf:
    """One scalar of the configuration: its dotted name, type, default value, and what is allowed."""

    name: str
    type: type
    value: Scalar
    description: str
    choices: tuple[str, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


def leaves(config: Any, prefix: str = "") -> Iterator[Leaf]:
    """Every scalar of a configuration, with its present value, in the file's order."""
    hints = typing.get_type_hints(type(config), include_extras=True)
    for entry in dataclasses.fields(config):
        name, value, hint = prefix + entry.name, getattr(config, entry.name), hints[entry.name]
        if dataclasses.is_dataclass(value):
            yield from leaves(value, name + ".")
            continue
        base, info = hint, Field()
        if get_origin(hint) is Annotated:
            base, *extras = get_args(hint)
            info = next((e for e in extras if isinstance(e, FieldInfo)), info)
        choices = get_args(base) if get_origin(base) is Literal else ()
        bounds = {k: getattr(m, k) for m in info.metadata for k in ("ge", "gt", "le", "lt") if hasattr(m, k)}
        yield Leaf(name, str if choices else base, value, info.description or "", choices, **bounds)


def as_mapping(config: Any) -> dict[str, Any]:
    """The configuration as nested plain values, ready for YAML."""
    return dataclasses.asdict(config)
