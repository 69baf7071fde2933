"""A dataset on disk, read and written: one folder a sample, splits by sequence.

    DIR/dataset.json                         format, and how the dataset was made
    DIR/<train|val|test>/<sample>/input.png  what the harmonizer gets
                                  target.png what it should give
                                  mask.png   255 where an insert is seen, else 0
                                  meta.json  `SampleMeta`
                                  shadow.png only where it is known: share of the sunlight that the inserts take away
                                  original.png only where the target is a photo: the reconstruction as it was, from
                                             which the input was made. It bounds what a render can reach

All images of a sample have the size of its camera, 8 bits a channel.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.dataset.meta import SampleMeta
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, make_folder, write_problem
from r3d2_ros.harmonizer.compositing.region import actor_region
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.input_files import read_input
from r3d2_ros.locks import lock
from r3d2_ros.schema import validate

FORMAT = 1
SPLITS = ("train", "val", "test")
DATASET, META = "dataset.json", "meta.json"
INPUT, TARGET, MASK, SHADOW, ORIGINAL = "input.png", "target.png", "mask.png", "shadow.png", "original.png"
MAX_IMAGE_BYTES = 256 * 2**20
MAX_META_BYTES = 2**20
UNFINISHED = ".making-"
"""Prefix of the folder in which a sample is written before it gets its name."""

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One pair: its folder and what is known of it."""

    folder: Path
    split: str
    meta: SampleMeta

    @property
    def name(self) -> str:
        return f"{self.split}/{self.folder.name}"

    @property
    def has_shadow(self) -> bool:
        return (self.folder / SHADOW).is_file()

    def load(self) -> Pair:
        """The images. InputError for a file that is missing, damaged, or not of the camera's size."""
        size = (self.meta.camera.height_px, self.meta.camera.width_px)
        return Pair(
            input=_rgb(self.folder / INPUT, size),
            target=_rgb(self.folder / TARGET, size),
            mask=_grey(self.folder / MASK, size) >= 128,
            shadow=_grey(self.folder / SHADOW, size) / np.float32(255) if self.has_shadow else None,
        )

    def region(self, mask: NDArray[np.bool_], config: RegionConfig) -> F32:
        """The composite region [H, W] in [0, 1] that a harmonizer may change, from mask.png and the actors' boxes.

        It is that of `harmonizer.region` without its test by depth, which a dataset does not hold.
        """
        height, width = mask.shape
        found = actor_region(
            actor_weight=mask.astype(np.float32),
            depth=np.ones((height, width), np.float32),
            view=self.meta.camera.view,
            boxes=[actor.box for actor in self.meta.actors],
            config=_without_depth(config),
        )
        return np.zeros((height, width), np.float32) if found is None else found


@dataclass(frozen=True, eq=False)
class Pair:
    """Images of a sample: input, target [H, W, 3] float32 RGB in [0, 1], mask [H, W] bool.

    shadow    [H, W] float32, the share of the sunlight that the inserts take away, or None where that is not known
    original  [H, W, 3], the reconstruction as it was, to be written beside a photo as the target; `load` leaves it out
    """

    input: F32
    target: F32
    mask: NDArray[np.bool_]
    shadow: F32 | None = None
    original: F32 | None = None


@dataclass(frozen=True)
class Dataset:
    """All samples of a folder, in order of split and name; `made` is what dataset.json says of its making."""

    folder: Path
    made: Mapping[str, Any]
    samples: tuple[Sample, ...] = field(repr=False)

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of train, val or test."""
        if name not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {name!r}")
        return tuple(sample for sample in self.samples if sample.split == name)


def open_dataset(folder: str | Path) -> Dataset:
    """The dataset in `folder`; images are not opened yet.

    InputError for what is no dataset, a meta.json that cannot be used, and a sequence in two splits: then training
    and test would share what they show.
    """
    folder = Path(folder)
    made = read_made(folder)
    samples = tuple(Sample(path, split, read_meta(path)) for split in SPLITS for path in sample_folders(folder / split))
    split_of: dict[str, Sample] = {}
    for sample in samples:
        first = split_of.setdefault(sample.meta.sequence, sample)
        if first.split != sample.split:
            raise InputError(
                str(sample.folder / META),
                f"sequence '{sample.meta.sequence}' in one split",
                f"it in {first.split} ({first.folder.name}) and in {sample.split}",
            )
    return Dataset(folder, made, samples)


def read_made(folder: Path) -> dict[str, Any]:
    """dataset.json. InputError when it is missing or of another format."""
    path = folder / DATASET
    made = _json(path, "a dataset: a folder with dataset.json")
    if not isinstance(made, dict) or made.get("format") != FORMAT:
        got = repr(made.get("format")) if isinstance(made, dict) else "no JSON object"
        raise InputError(f"{path}: format", str(FORMAT), got, "It was written by another version")
    return made


def sample_folders(split: Path) -> list[Path]:
    """Folders of the samples of a split, by name. What a killed run left unfinished is none."""
    if not split.is_dir():
        return []
    return sorted(path for path in split.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_meta(folder: Path) -> SampleMeta:
    """meta.json of a sample. InputError(s): missing, no JSON, wrong keys or values, or another sample's name."""
    path = folder / META
    meta = validate(SampleMeta, _json(path, "the facts of a sample"), str(path))
    if meta.name != folder.name:
        raise InputError(f"{path}: name", f"the folder's, '{folder.name}'", f"'{meta.name}'")
    return meta


def _json(path: Path, expected: str) -> Any:
    data = read_input(path, expected=expected, most_bytes=MAX_META_BYTES)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), "JSON", str(error)) from error


def _rgb(path: Path, size: tuple[int, int]) -> F32:
    image = read_pixels(path, size, channels=3)
    return image[..., ::-1].astype(np.float32) / np.float32(255)


def _grey(path: Path, size: tuple[int, int]) -> F32:
    return read_pixels(path, size, channels=1).astype(np.float32)


def read_pixels(path: Path, size: tuple[int, int] | None, *, channels: int) -> NDArray[np.uint8]:
    """8-bit pixels [H, W] or [H, W, 3] (BGR) of a PNG. InputError: missing, damaged, other depth, channels or size."""
    expected = f"a PNG of 8 bits with {channels} channel{'s' if channels > 1 else ''}"
    data = read_input(path, expected=expected, most_bytes=MAX_IMAGE_BYTES)
    image = None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise InputError(str(path), expected, f"a damaged file: {error.err}") from error
    if image is None:
        raise InputError(str(path), expected, "another or a damaged file")
    found = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype != np.uint8 or found != channels:
        raise InputError(str(path), expected, f"{image.dtype} with {found} channels")
    if size is not None and image.shape[:2] != size:
        wanted, got = (f"{w}x{h}" for h, w in (size, image.shape[:2]))
        raise InputError(str(path), f"the camera's {wanted} pixels", got)
    return image


def _without_depth(config: RegionConfig) -> RegionConfig:
    return RegionConfig(**{**asdict(config), "depth_test": False})


class DatasetWriter:
    """Writes samples, each whole or not at all. `made` says how the dataset is made and goes into dataset.json.

    A folder that holds the same dataset is continued (`has`); one with another or with other files is an InputError.
    Two are the same when `made` agrees in everything but the keys `ignored`. Several processes may write into one.
    """

    def __init__(self, folder: str | Path, made: Mapping[str, Any], *, ignored: Sequence[str] = ()) -> None:
        self.folder = Path(folder)
        make_folder(self.folder)
        told = json.loads(json.dumps({"format": FORMAT, **made}))
        path = self.folder / DATASET
        if path.exists():
            earlier = read_made(self.folder)
            if different := [key for key in _differences(told, earlier) if key not in ignored]:
                got = f"another one: {', '.join(_with_parts(key, told, earlier) for key in different)} differ"
                raise InputError(str(path), "the same dataset, to continue it", got, "Choose another folder")
        elif inside := sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")):
            raise InputError(str(self.folder), "an empty folder, or a dataset", f"a folder with {inside[0]}")
        else:
            with atomic_output(path) as file:
                file.write(json.dumps(told, indent=1).encode())
        for split in SPLITS:
            make_folder(self.folder / split)

    def has(self, split: str, name: str) -> bool:
        """Whether this sample is complete."""
        return (self.folder / split / name / META).is_file()

    def write(self, split: str, meta: SampleMeta, pair: Pair) -> Path:
        """Write a sample and return its folder; one of that name is replaced.

        InputError when the disk is full; ValueError for images that do not belong together.
        """
        size = (meta.camera.height_px, meta.camera.width_px)
        images = {INPUT: pair.input, TARGET: pair.target, MASK: pair.mask.astype(np.float32)}
        if pair.shadow is not None:
            images[SHADOW] = pair.shadow
        if pair.original is not None:
            images[ORIGINAL] = pair.original
        if split not in SPLITS or any(image.shape[:2] != size for image in images.values()):
            raise ValueError(f"expected images {size} for a split, got {[i.shape for i in images.values()]}, {split}")
        place = self.folder / split / meta.name
        try:
            making = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=place.parent))
            making.chmod(0o755)
            try:
                for name, image in images.items():
                    (making / name).write_bytes(_png(image))
                (making / META).write_text(json.dumps(asdict(meta), indent=1))
                if place.exists():
                    shutil.rmtree(place)
                making.rename(place)
            finally:
                shutil.rmtree(making, ignore_errors=True)
        except OSError as error:
            raise InputError(str(place), "a folder that can be written", write_problem(place, error)) from error
        return place

    def tidy(self) -> None:
        """Remove what killed runs left unfinished; not while another process writes, see `only_build`."""
        for split in SPLITS:
            for path in (self.folder / split).glob(f"{UNFINISHED}*"):
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def only_build(folder: str | Path) -> Iterator[None]:
    """Keep other builds out of `folder`, which is created; processes of this one may write there.

    InputError when another build has it: either would remove what the other has not finished.
    """
    folder = Path(folder)
    make_folder(folder)
    held = lock(folder, by="a dataset build")
    try:
        yield
    finally:
        os.close(held)


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in {*a, *b} if a.get(key) != b.get(key))


def _with_parts(key: str, told: Mapping[str, Any], earlier: Mapping[str, Any]) -> str:
    """A key that differs, with those of its parts that do."""
    a, b = told.get(key), earlier.get(key)
    return f"{key} ({', '.join(_differences(a, b))})" if isinstance(a, dict) and isinstance(b, dict) else key


def _png(image: NDArray) -> bytes:
    """8-bit PNG of [H, W] or RGB [H, W, 3] in [0, 1], rounded half to even."""
    pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    ok, data = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    if not ok:
        raise RuntimeError("the PNG encoder failed")
    return data.tobytes()
