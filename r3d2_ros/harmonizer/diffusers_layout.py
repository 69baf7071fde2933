"""What files are called in folders of diffusers' layout, pipelines and their parts. Nothing here imports torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

INDEX_FILE = "model_index.json"

WEIGHTS = "diffusion_pytorch_model"
"""Stem of the files with the weights of diffusers' own networks."""

_SAFETENSORS = re.compile(r"(.+?)(\.fp16)?(-\d+-of-(\d+))?(\.fp16)?\.safetensors")


@dataclass(frozen=True)
class WeightFile:
    """What the name of a safetensors file says: whose weights it has, in half precision, of how many shards it is one.

    `shards` is None where it is the only one.
    """

    network: str
    half: bool
    shards: int | None


def is_pipeline_folder(path: Path) -> bool:
    """Whether `path` has the index of a diffusers pipeline."""
    return (path / INDEX_FILE).is_file()


def places_of(folder: Path) -> tuple[Path, ...]:
    """Where to look for what is stated once for a whole folder: in it, then in the pipeline that it is a part of."""
    above = folder.absolute().parent
    return (folder, above) if is_pipeline_folder(above) else (folder,)


def weight_file(name: str) -> WeightFile | None:
    """None for a name of another kind."""
    found = _SAFETENSORS.fullmatch(name)
    if found is None:
        return None
    network, half, _, shards, half_too = found.groups()
    return WeightFile(network, bool(half or half_too), int(shards) if shards else None)


def in_one_precision(names: Iterable[str], *, half: bool = False) -> list[str]:
    """Names of files, sorted, without the copies that some networks have in another precision, whole or in shards.

    Where a network has both, its files in full precision stay, or with `half` those in half. Other files all stay.
    """
    files = {name: weight_file(name) for name in sorted(names)}
    precisions: dict[str, set[bool]] = {}
    for file in files.values():
        if file is not None:
            precisions.setdefault(file.network, set()).add(file.half)

    def stays(file: WeightFile | None) -> bool:
        return file is None or file.half == half or len(precisions[file.network]) == 1

    return [name for name, file in files.items() if stays(file)]
