"""What a training begins with: the samples of its datasets, a model, and what that is to say of both."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import torch
import xxhash

from r3d2_ros.dataset.samples import MAX_META_BYTES, META, Dataset, Sample, open_dataset
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import load_checkpoint, load_config
from r3d2_ros.harmonizer.model.config import PROCEDURAL, Licence, ModelConfig
from r3d2_ros.harmonizer.model.licences import parse_licence
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.model.variants import variant
from r3d2_ros.input_files import read_input
from r3d2_ros.resources import user_path
from r3d2_ros.training.config import TrainConfig
from r3d2_ros.training.stages import begin_with_the_input
from r3d2_ros.training.states import SampleList

PROCEDURAL_LICENCE = Licence(name="Apache-2.0", source="r3d2_ros, procedural streets", commercial=True)
"""Of pairs that this program drew by itself."""


def open_datasets(config: TrainConfig) -> list[Dataset]:
    """In the configuration's order.

    InputError(s): `open_dataset`'s, a folder that is given twice, one without a training sample, and a sequence that is
    in one split of one dataset and in another split of another.
    """
    folders = [user_path(folder, "data.folders") for folder in config.data.folders]
    _check_given_once(folders)
    datasets = [open_dataset(folder) for folder in folders]
    for dataset in datasets:
        if not dataset.split("train"):
            raise InputError(f"{dataset.folder}: train", "at least one sample", "none")
    _check_sequences(datasets)
    return datasets


def _check_given_once(folders: Sequence[Path]) -> None:
    """InputError for a folder under two names, too: its samples would count double."""
    first_of: dict[Path, Path] = {}
    for folder in folders:
        first = first_of.setdefault(folder.resolve(), folder)
        if first is not folder:
            raise InputError("data.folders", "each dataset once", f"'{first}' and again '{folder}'")


def _check_sequences(datasets: Sequence[Dataset]) -> None:
    """What `open_dataset` checks, over all of them: else the looks at val samples show what was trained on."""
    split_of: dict[str, Sample] = {}
    for sample in (sample for dataset in datasets for sample in dataset.samples):
        first = split_of.setdefault(sample.meta.sequence, sample)
        if first.split != sample.split:
            expected = f"sequence '{sample.meta.sequence}' in one split of all datasets"
            got = f"it in {first.split} ({first.folder}) and in {sample.split}"
            hint = "Build one of the datasets anew, with the sequence in the same split or under another name"
            raise InputError(str(sample.folder / META), expected, got, hint)


def split_of(datasets: Sequence[Dataset], name: str) -> list[Sample]:
    """One split of all of them, dataset by dataset."""
    return [sample for dataset in datasets for sample in dataset.split(name)]


def check_suns(config: TrainConfig, samples: Sequence[Sample]) -> None:
    """InputError when the loss asks for the sun's direction and not one sample knows it."""
    if config.loss.sun and not any(sample.meta.sun and sample.meta.sun.camera for sample in samples):
        got = f"none of {len(samples)} training samples with sun.camera in its meta.json"
        raise InputError("loss.sun", "0, or data with known suns", got, "`r3d2 dataset build --procedural` makes such")


def listed(datasets: Sequence[Dataset]) -> SampleList:
    """The training samples by number of the dataset, name and meta.json. The images, gigabytes, are not read.

    A sample that is added, removed or renamed gives every later step other samples. Names alone would not tell streets
    that were made again, by the same seed with other options, from the first ones.
    """
    hashed, samples = xxhash.xxh3_128(), 0
    for number, dataset in enumerate(datasets):
        for sample in dataset.split("train"):
            facts = read_input(sample.folder / META, expected="the facts of a sample", most_bytes=MAX_META_BYTES)
            hashed.update(f"{number} {sample.name} {len(facts)}\n".encode() + facts)
            samples += 1
    return SampleList(count=samples, hash=hashed.hexdigest())


def start_keys(config: TrainConfig) -> dict[str, Any]:
    """Dotted key -> value of what the checkpoint that training begins with says of itself; empty for random weights.

    On resuming, its numbers come from the training's own checkpoint, but timestep, skips and licences from here.
    """
    if not config.model.checkpoint:
        return {}
    start = load_config(model_folder(config.model.checkpoint, "model.checkpoint"))
    return {f"model.checkpoint.{key}": value for key, value in asdict(start).items()}


def initial_model(config: TrainConfig) -> R3D2:
    """The model that training begins with, in float32. InputError(s): `load_checkpoint`'s, or other sizes than said."""
    source = config.model
    if source.checkpoint:
        model = load_checkpoint(model_folder(source.checkpoint, "model.checkpoint"), dtype=torch.float32)
        if source.variant and model.config.variant != source.variant:
            raise InputError("model.checkpoint", f"a checkpoint of {source.variant}", model.config.variant)
        model.config = _with_reduction(model.config, source.reduction)
        return model
    sizes = variant(source.variant)
    timestep = sizes.timestep if source.timestep < 0 else source.timestep
    torch.manual_seed(config.seed)
    skips = replace(sizes.skips, image=source.image_skip)
    model = R3D2(_with_reduction(replace(sizes, timestep=timestep, skips=skips), source.reduction))
    torch.nn.init.normal_(model.prompt_embedding)
    # The first prediction is 0, so that training begins with the picture that the autoencoder gives and not with noise.
    torch.nn.init.zeros_(model.unet.conv_out.weight)
    torch.nn.init.zeros_(model.unet.conv_out.bias)
    if source.image_skip and not config.autoencoder.steps:
        begin_with_the_input(model.decoder)
    return model


def _with_reduction(model: ModelConfig, reduction: Literal[0, 1, 2]) -> ModelConfig:
    """`model` with another reduction, which no weight depends on; 0: as it is. InputError where it cannot have it."""
    try:
        return replace(model, skips=replace(model.skips, reduction=reduction or model.skips.reduction))
    except ValueError as error:
        raise InputError("model.reduction", str(error), str(reduction)) from error


def with_origin(model: ModelConfig, config: TrainConfig, datasets: Sequence[Dataset]) -> ModelConfig:
    """`model` with the datasets' kinds and licences behind its own, each once. InputError: a licence not of its form.

    A licence in the configuration goes with the dataset whose folder it names. One that is not procedural and that no
    licence names is recorded as "not stated", which does not count as allowing commercial use. InputError, too, for a
    licence that names two of them or none.
    """
    kinds, licences = [], [parse_licence(text, "licences") for text in config.licences]
    # Recipes of earlier versions name the procedural streets.
    named = {one.source.partition(",")[0].strip() for one in licences if one != PROCEDURAL_LICENCE}
    folders = sorted({dataset.folder.absolute().name for dataset in datasets})
    if unknown := sorted(named.difference(folders)):
        close = difflib.get_close_matches(unknown[0], folders, n=1)
        hint = f"Did you mean '{close[0]}'?" if close else ""
        expected = f"sources that begin with the name of a dataset's folder, one of {', '.join(folders)}"
        raise InputError("licences", expected, ", ".join(f"'{name}'" for name in unknown), hint)
    covered: dict[str, Dataset] = {}
    for dataset in datasets:
        kind, name = str(dataset.made.get("kind") or "not stated"), dataset.folder.absolute().name
        kinds.append(kind)
        if kind == PROCEDURAL:
            licences.append(PROCEDURAL_LICENCE)
        elif name not in named:
            licences.append(Licence(name="not stated", source=f"dataset {name}", commercial=False))
        elif (first := covered.setdefault(name, dataset)) is not dataset:
            got = f"{first.folder} and {dataset.folder}"
            hint = "Rename one of the folders, so that each has a licence of its own"
            raise InputError("licences", f"one dataset in a folder '{name}', which a licence names", got, hint)
    return replace(
        model,
        licences=tuple(dict.fromkeys([*model.licences, *licences])),
        trained_on=tuple(dict.fromkeys([*model.trained_on, *kinds])),
    )
