"""What makes the pictures of a row: the dataset, a folder of pictures, or a network run as the simulator runs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xxhash
from torch import Tensor

from r3d2_ros.dataset.samples import ORIGINAL, Sample, read_pixels
from r3d2_ros.errors import InputError
from r3d2_ros.evaluation.editing import load_editing
from r3d2_ros.evaluation.inserts import Picture
from r3d2_ros.evaluation.rows import EditingRow, EvalConfig, HarmonizerRow, ImagesRow, Row, StoredRow
from r3d2_ros.evaluation.subjects import Subject
from r3d2_ros.harmonizer.backends import load_network
from r3d2_ros.harmonizer.base import ImageNetwork
from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.model.checkpoints import WEIGHTS_FILE, load_config
from r3d2_ros.harmonizer.model.random_weights import is_random
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.moment import Failed, Moment
from r3d2_ros.harmonizer.pipelines.calls import resized
from r3d2_ros.rendering.frames import HostImage, RenderedFrame
from r3d2_ros.rendering.rgb8 import to_rgb8
from r3d2_ros.resources import user_path


@dataclass(frozen=True, eq=False)
class Made:
    """A row's picture of a sample [H, W, 3] uint8; `raw` is the model's whole output, before its composite."""

    picture: Picture
    raw: Picture | None = None


class Source(Protocol):
    """Makes pictures; `made` says how, in plain values."""

    made: dict[str, Any]

    def picture(self, subject: Subject) -> Made:
        """InputError when it cannot be made."""
        ...


def open_source(row: Row, config: EvalConfig, *, name: str) -> Source:
    """Ready to make pictures. InputError(s), MissingPackageError: what the row needs is missing or cannot be used."""
    if isinstance(row, StoredRow):
        return StoredSource(row)
    if isinstance(row, ImagesRow):
        return ImagesSource(row, name)
    if not row.checkpoint:
        expected = "the folder of its weights"
        raise InputError(f"row '{name}'", expected, "none", f"Give it by --row {name}=FOLDER or in --config")
    if isinstance(row, EditingRow):
        return ModelSource(row, config, load_editing(row, device=config.device, name=name))
    folder = model_folder(row.checkpoint, f"row '{name}'")
    pipeline = is_pipeline_folder(folder)
    settings = replace(
        config.harmonizer(row), checkpoint=str(folder), backend="pipeline" if pipeline else "r3d2"
    )
    return ModelSource(row, config, load_network(settings), checkpoint=None if pipeline else folder)


class StoredSource:
    """Pictures that lie in the dataset."""

    def __init__(self, row: StoredRow) -> None:
        self.row = row
        self.made: dict[str, Any] = {"kind": row.kind}

    def picture(self, subject: Subject) -> Made:
        if self.row.kind == "input":
            return Made(subject.input)
        if self.row.kind == "target":
            return Made(subject.target)
        return Made(_rgb(subject.sample.folder / ORIGINAL, subject))


class ImagesSource:
    """Pictures that something else made."""

    def __init__(self, row: ImagesRow, name: str) -> None:
        """InputError when there is no such folder."""
        self.folder = user_path(row.folder, f"row '{name}'")
        if not self.folder.is_dir():
            got = "a file" if self.folder.exists() else "no such folder"
            raise InputError(f"row '{name}'", "a folder of pictures", f"'{row.folder}': {got}")
        self.made: dict[str, Any] = {"kind": "images", "folder": row.folder}

    def picture(self, subject: Subject) -> Made:
        return Made(_rgb(picture_path(self.folder, subject.sample), subject))


def picture_path(folder: Path, sample: Sample) -> Path:
    """Where the picture of a sample lies in a folder of pictures. InputError when it is nowhere."""
    places = [folder / sample.split / f"{sample.folder.name}.png", folder / f"{sample.folder.name}.png"]
    for place in places:
        if place.is_file():
            return place
    rows = sorted(path.parent.name for path in folder.glob(f"*/{sample.split}") if path.is_dir())
    hint = f"It holds rows that --save wrote: images:{folder / rows[0]} is one of them" if rows else ""
    raise InputError(str(folder), f"{sample.split}/{sample.folder.name}.png, or without the split", "neither", hint)


class ModelSource:
    """A network in the simulator's harmonizer, given whole frames one by one."""

    def __init__(
        self,
        row: HarmonizerRow | EditingRow,
        config: EvalConfig,
        network: ImageNetwork,
        *,
        checkpoint: Path | None = None,
    ) -> None:
        """`network` runs at the row's size; `checkpoint` is the folder of its numbers where they are in our format."""
        self._network = _Remembering(network if row.size_px is None else _Resizing(network, row.size_px))
        self._harmonizer = Harmonizer(config.harmonizer(), self._network)
        self.made: dict[str, Any] = {
            "kind": row.kind,
            "checkpoint": row.checkpoint,
            "size_px": row.size_px,
            "composite": config.composite,
            "device": str(network.device),
            "dtype": row.dtype,
        }
        if checkpoint is not None:
            self.made |= checkpoint_facts(checkpoint)
        if isinstance(row, EditingRow):
            names = ("prompt", "steps", "strength", "guidance", "image_guidance", "seed")
            self.made |= {key: getattr(row, key) for key in names}

    def picture(self, subject: Subject) -> Made:
        outcome = self._harmonizer.apply(_moment(subject))[0][0]
        if isinstance(outcome, Failed):
            raise InputError(subject.sample.name, "a picture", outcome.reason)
        assert self._network.last is not None
        return Made(outcome.rgb, to_rgb8(self._network.last[0].nan_to_num().permute(1, 2, 0).cpu().numpy()))


def checkpoint_facts(folder: Path) -> dict[str, Any]:
    """Which numbers a checkpoint holds: its size's name, whether they are random, and a fingerprint of the file."""
    config = load_config(folder)
    hashed = xxhash.xxh3_128()
    with (folder / WEIGHTS_FILE).open("rb") as file:
        while block := file.read(2**20):
            hashed.update(block)
    return {"variant": config.variant, "random_weights": is_random(config), "weights_xxh3": hashed.hexdigest()}


def _moment(subject: Subject) -> Moment:
    """The sample as a moment of one camera. Its depth says nothing, and the region is found without it."""
    height, width = subject.mask.shape
    frame = RenderedFrame(
        rgb8=subject.input,
        rgb=subject.input.astype(np.float32) / np.float32(255),
        depth_image=HostImage(np.ones((height, width), np.float32)),
        weight_image=HostImage(subject.mask.astype(np.float32)),
        instance=None,
    )
    boxes = tuple(actor.box for actor in subject.sample.meta.actors)
    name = subject.sample.meta.camera.name or "camera"
    return Moment(subject.sample.meta.stamp_ns or 0, (name,), (subject.view,), (frame,), boxes)


class _Remembering:
    """A network whose last output [B, 3, H, W] can be looked at."""

    def __init__(self, network: ImageNetwork) -> None:
        self._network, self.device, self.latent_px = network, network.device, network.latent_px
        self.last: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        self.last = self._network(images)
        return self.last

    def warm_up(self, shapes: Iterable[tuple[int, int, int]]) -> None:
        self._network.warm_up(shapes)


class _Resizing:
    """A network that works at `size` (rows, columns): images are resized there and back, bicubic with antialiasing."""

    def __init__(self, network: ImageNetwork, size: tuple[int, int]) -> None:
        self._network, self._size = network, size
        self.device, self.latent_px = network.device, network.latent_px

    def __call__(self, images: Tensor) -> Tensor:
        small = torch.stack([resized(image, *self._size) for image in images]).clamp(0, 1)
        return torch.stack([resized(out, *images.shape[-2:]) for out in self._network(small)]).clamp(0, 1)

    def warm_up(self, shapes: Iterable[tuple[int, int, int]]) -> None:
        self._network.warm_up([(batch, *self._size) for batch in sorted({shape[0] for shape in shapes})])


def _rgb(path: Path, subject: Subject) -> Picture:
    return np.ascontiguousarray(read_pixels(path, subject.mask.shape, channels=3)[..., ::-1])
