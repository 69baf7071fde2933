"""Every fault of a harmonizer that its start would find, as far as no network is made and no machine is asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.model.checkpoints import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_commercial,
    inspect_checkpoint,
    load_config,
)
from r3d2_ros.harmonizer.model.licences import licence_of
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.model.tensor_files import check_finite
from r3d2_ros.harmonizer.pipelines.folders import check_code, check_parts, read_pipeline_folder
from r3d2_ros.harmonizer.runtime.device import find_device
from r3d2_ros.harmonizer.settings import HarmonizerConfig


def harmonizer_faults(config: HarmonizerConfig) -> list[InputError]:
    """Of the files that it names, and of settings that do not go with them; nothing of a pipeline's code is run.

    The numbers of a checkpoint are read once, a tensor at a time. A CUDA device may be another machine's: whether it
    works is not asked. MissingPackageError for a library that a part of a pipeline needs.
    """
    faults = []
    if not re.fullmatch(r"cuda(:\d+)?", config.device):
        faults += _faults(lambda: find_device(config.device))
    try:
        folder = model_folder(config.checkpoint, "harmonizer.checkpoint")
    except InputError as error:
        return [*faults, error]
    return faults + (_of_pipeline(config, folder) if config.backend == "pipeline" else _of_checkpoint(config, folder))


def _of_checkpoint(config: HarmonizerConfig, folder: Path) -> list[InputError]:
    if faults := _faults(lambda: load_config(folder)):
        return faults
    if config.require_commercial:
        licences = load_config(folder).licences
        faults = _faults(lambda: check_commercial(licences, where=str(folder / CONFIG_FILE)))
    damage = _faults(lambda: inspect_checkpoint(folder))
    return faults + (damage or _faults(lambda: check_finite(folder / WEIGHTS_FILE)))


def _of_pipeline(config: HarmonizerConfig, path: Path) -> list[InputError]:
    from r3d2_ros.harmonizer.pipelines.network import check_settings  # imports diffusers' pipelines: seconds
    from r3d2_ros.harmonizer.pipelines.weights import check_weights

    faults = _faults(lambda: check_settings(config))
    try:
        folder = read_pipeline_folder(path)
    except InputError as error:
        return [*faults, error]
    if config.require_commercial:
        faults += _faults(lambda: check_commercial((licence_of(path),), where=str(path)))
    faults += _faults(lambda: check_code(folder, allow_remote_code=config.allow_remote_code))
    return faults + (_faults(lambda: check_parts(folder)) or _faults(lambda: check_weights(folder)))


def _faults(check: Callable[[], object]) -> list[InputError]:
    try:
        check()
    except InputErrors as errors:
        return list(errors.faults)
    except InputError as error:
        return [error]
    return []
