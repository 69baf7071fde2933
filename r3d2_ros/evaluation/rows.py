"""Rows of an evaluation: what makes the pictures of each. Nothing here imports torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RegionConfig
from r3d2_ros.resources import config_dir
from r3d2_ros.schema import STRICT, load_yaml, validate

SHIPPED = "eval.yaml"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
"""Of a row: pictures are written into a folder of that name."""
IMAGES = "images:"
"""`--row NAME=images:DIR`"""

Size = tuple[Annotated[int, Field(ge=16, le=16384)], Annotated[int, Field(ge=16, le=16384)]]
"""Rows, columns."""


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """A picture of the sample itself: the naive insertion, the reconstruction as it was, or what is right."""

    __pydantic_config__ = STRICT
    kind: Literal["input", "original", "target"]


@dataclass(frozen=True, kw_only=True)
class ImagesRow:
    """Pictures that something else made: FOLDER/<split>/<sample>.png, or FOLDER/<sample>.png. They stay as they are."""

    __pydantic_config__ = STRICT
    kind: Literal["images"]
    folder: str


@dataclass(frozen=True, kw_only=True)
class HarmonizerRow:
    """A checkpoint or a pipeline that is called with an image alone, run as the simulator runs it.

    checkpoint  its folder, or the name of a shipped checkpoint
    size_px     (rows, columns) in which the network works; the picture is resized there and back. None: as it is
    """

    __pydantic_config__ = STRICT
    kind: Literal["harmonizer"]
    checkpoint: str = ""
    size_px: Size | None = None
    dtype: Literal["checkpoint", "float32", "float16", "bfloat16"] = "checkpoint"
    allow_remote_code: bool = False


@dataclass(frozen=True, kw_only=True)
class EditingRow:
    """A text-driven editing model of diffusers, whose output goes where a harmonizer's would.

    checkpoint      folder in diffusers' layout
    strength        sdedit: how much of the noise is added and taken away again
    guidance        weight of the prompt
    image_guidance  instruct-pix2pix, cosxl-edit: weight of the input
    """

    __pydantic_config__ = STRICT
    kind: Literal["sdedit", "instruct-pix2pix", "cosxl-edit"]
    checkpoint: str = ""
    prompt: str = ""
    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    strength: Annotated[float, Field(gt=0, le=1)] = 0.3
    guidance: Annotated[float, Field(ge=0, le=100)] = 7.5
    image_guidance: Annotated[float, Field(ge=0, le=100)] = 1.5
    seed: Annotated[int, Field(ge=0)] = 0
    size_px: Size | None = None
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"


Row = StoredRow | ImagesRow | HarmonizerRow | EditingRow

STORED: dict[str, Row] = {
    "original": StoredRow(kind="original"),
    "naive": StoredRow(kind="input"),
    "target": StoredRow(kind="target"),
}
"""Rows that every dataset has or has not, without any configuration."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What can be configured of an evaluation. composite and region are those of the harmonizer; they hold for every
    row of a model, and region says for every row where it is measured."""

    __pydantic_config__ = STRICT
    device: str = "auto"
    composite: Literal["region", "full"] = "region"
    region: RegionConfig = field(default_factory=RegionConfig)
    rows: dict[str, Annotated[ImagesRow | HarmonizerRow | EditingRow, Field(discriminator="kind")]] = field(
        default_factory=dict
    )

    def harmonizer(self, row: HarmonizerRow | None = None) -> HarmonizerConfig:
        """How a row's network is run: whole frames in full size; a sample has no depth to test surfaces with."""
        return HarmonizerConfig(
            checkpoint=row.checkpoint if row else "",
            allow_remote_code=bool(row and row.allow_remote_code),
            device=self.device,
            dtype=row.dtype if row else "checkpoint",
            composite=self.composite,
            region=replace(self.region, depth_test=False),
        )


def load_eval_config(path: Path | None) -> EvalConfig:
    """The shipped configuration, and over it that of `path`; rows add up by name. InputError(s): wrong keys, values."""
    shipped_path = config_dir() / SHIPPED
    shipped = validate(EvalConfig, load_yaml(shipped_path), str(shipped_path))
    if path is None:
        return shipped
    given = validate(EvalConfig, load_yaml(path), str(path))
    for name in given.rows:
        if name in STORED:
            raise InputError(f"{path}: rows.{name}", "another name", f"'{name}', which the dataset holds")
        if not NAME.fullmatch(name):
            raise InputError(f"{path}: rows", "names of letters, digits and _ . + -", f"'{name}'")
    return replace(given, rows={**shipped.rows, **given.rows})


def chosen_rows(config: EvalConfig, names: Sequence[str], extra: Mapping[str, str]) -> dict[str, Row]:
    """The rows to evaluate by name, in order: `names`, then those of `extra` that are not among them.

    extra  name -> `images:DIR`, or a folder with a checkpoint or a pipeline, in the place of what a row has
    InputError for a name that is nowhere.
    """
    known = {**STORED, **config.rows}
    found: dict[str, Row] = {}
    for name in [*dict.fromkeys(names), *(name for name in extra if name not in names)]:
        if name in extra:
            found[name] = _with_source(known.get(name), extra[name], name)
        elif name in known:
            found[name] = known[name]
        else:
            expected = f"one of {', '.join(known)}"
            raise InputError("--rows", expected, f"'{name}'", f"--row {name}=FOLDER makes a row of that name")
    return found


def _with_source(row: Row | None, source: str, name: str) -> Row:
    if isinstance(row, StoredRow):
        raise InputError(f"--row {name}", "the name of a model, or a new one", f"'{name}', which the dataset holds")
    if source.startswith(IMAGES):
        return ImagesRow(kind="images", folder=source.removeprefix(IMAGES))
    if isinstance(row, HarmonizerRow | EditingRow):
        return replace(row, checkpoint=source)
    return HarmonizerRow(kind="harmonizer", checkpoint=source)
