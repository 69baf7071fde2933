"""Our own checkpoint: a folder with `config.json` and `model.safetensors`. Nothing in it can execute code."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from r3d2_ros.errors import InputError, InputErrors, printable
from r3d2_ros.harmonizer.model.config import Licence, ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import DTYPES, R3D2, dtype_name
from r3d2_ros.harmonizer.model.tensor_files import (
    appearing,
    check_floating,
    check_keys,
    listed,
    network_tensors,
    not_finite,
    read_shapes,
    read_tensors,
    save_tensors,
    shapes_of,
)
from r3d2_ros.locks import lock
from r3d2_ros.schema import validate

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MAX_JSON_BYTES = 2**20


def save_checkpoint(model: R3D2, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write `model` in its own dtype.

    Each file appears whole or not at all, the configuration last: an interrupted save is not a checkpoint, and one that
    fails leaves what was there.
    InputError when `folder` holds something already and `overwrite` is off, or when another process is writing to it;
    InputError(s) for a configuration that could not be read again. OSError or SafetensorError when the files cannot be
    written.
    """
    folder = Path(folder)
    check_output(folder, overwrite=overwrite)
    config = replace(model.config, dtype=dtype_name(model.dtype))
    text = check_config(config, where=str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    held = lock(folder, by="another process")
    try:
        with appearing(folder / CONFIG_FILE) as partial, appearing(folder / WEIGHTS_FILE) as weights:
            partial.write_text(text, encoding="utf-8")
            save_tensors(weights, model.state_dict())
            (folder / CONFIG_FILE).unlink(missing_ok=True)
    finally:
        os.close(held)


def check_config(config: ModelConfig, *, where: str) -> str:
    """The contents of a checkpoint's config.json. InputError(s) for a configuration that it could not hold."""
    validate(ModelConfig, asdict(config), where)
    text = json.dumps(asdict(config), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    if len(text.encode()) > MAX_JSON_BYTES:
        raise InputError(where, f"a configuration of at most {MAX_JSON_BYTES} bytes", f"{len(text.encode())} bytes")
    return text


def check_output(folder: Path, *, overwrite: bool) -> None:
    """InputError unless a checkpoint may be written to `folder`."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:  # safetensors reads no such file
        raise InputError(printable(str(folder)), "a name in UTF-8", "one that is not") from error
    if folder.exists() and not folder.is_dir():
        raise InputError(str(folder), "a folder to write", "a file")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(str(folder), "an empty or new folder", "one with files in it", "Overwrite it with --force")


def load_config(folder: str | Path) -> ModelConfig:
    """The configuration of a checkpoint. InputError(s): no checkpoint, not JSON, a newer version, or wrong keys."""
    folder = Path(folder)
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise InputError(str(folder), f"a checkpoint folder with {CONFIG_FILE}", got)
    path = folder / CONFIG_FILE
    data = read_json(path)
    default = ModelConfig.format
    if not isinstance(data, dict) or data.get("format") != default:
        got = repr(data.get("format")) if isinstance(data, dict) else type(data).__name__
        hint = "Other layouts are read by `r3d2 model init` and `r3d2 model convert`"
        raise InputError(f"{path}: format", repr(default), got, hint)
    version = data.get("version")
    if isinstance(version, bool) or version != ModelConfig.version:
        got = repr(version)
        raise InputError(f"{path}: version", str(ModelConfig.version), got, "Written by another release of r3d2_ros")
    return validate(ModelConfig, data, str(path))


def load_checkpoint(
    folder: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    require_commercial: bool = False,
) -> R3D2:
    """The model of a checkpoint, ready to infer, in its own dtype or `dtype`.

    Keys and shapes are compared before numbers are read, and each tensor is read once: the peak is one model
    beside the system's cache of the file.
    InputError(s) for whatever is wrong with the files, or for licences that `require_commercial` refuses.
    """
    folder = Path(folder)
    model = inspect_checkpoint(folder, require_commercial=require_commercial)
    dtype = dtype or DTYPES[model.config.dtype]
    return filled(model, read_tensors(folder / WEIGHTS_FILE, device=device, dtype=dtype))


def inspect_checkpoint(folder: str | Path, *, require_commercial: bool = False) -> R3D2:
    """The empty model of a checkpoint whose files fit together; reads no number. InputError(s): `load_checkpoint`'s."""
    folder = Path(folder)
    config = load_config(folder)
    if require_commercial:
        check_commercial(config.licences, where=str(folder / CONFIG_FILE))
    path = folder / WEIGHTS_FILE
    try:
        model = empty_model(config)
    except (InputError, InputErrors) as error:
        faults = error.faults if isinstance(error, InputErrors) else (error,)
        file = folder / CONFIG_FILE
        raise InputErrors([InputError(f"{file}: {f.where}", f.expected, f.got, f.hint) for f in faults]) from None
    check_keys(str(path), needed=shapes_of(model.state_dict().items()), present=read_shapes(path))
    check_floating(path)
    return model


def assemble(config: ModelConfig, tensors: Mapping[str, torch.Tensor], *, where: str) -> R3D2:
    """The model of `config` with `tensors` as its numbers. InputErrors when keys or shapes are not the model's."""
    model = empty_model(config)
    check_keys(where, needed=shapes_of(model.state_dict().items()), present=shapes_of(tensors.items()))
    return filled(model, dict(tensors))


def float32_model(config: ModelConfig, tensors: Mapping[str, torch.Tensor], *, where: str) -> R3D2:
    """The model of a stranger's tensors, in float32. InputError(s) as in `network_tensors`, or for a configuration
    that no checkpoint may have.
    """
    check_config(config, where=where)
    model = empty_model(config)
    needed = shapes_of(model.state_dict().items())
    return filled(model, network_tensors(where, tensors, needed=needed, dtype=torch.float32))


def in_dtype(model: R3D2, dtype: torch.dtype, *, where: str) -> R3D2:
    """`model` in another dtype. InputError when its numbers are beyond the range of that."""
    model = model.to(dtype)
    if keys := not_finite(model.state_dict()):
        hint = "bfloat16 and float32 hold larger ones"
        raise InputError(
            where, "a dtype that holds the weights", f"{dtype_name(dtype)}, too small for {listed(keys)}", hint
        )
    return model


def empty_model(config: ModelConfig) -> R3D2:
    """The model without numbers: parameters on the meta device."""
    with torch.device("meta"):
        return R3D2(config)


def filled(model: R3D2, tensors: dict[str, torch.Tensor]) -> R3D2:
    """An empty model with `tensors`, which become its parameters, for inference."""
    model.load_state_dict(tensors, strict=True, assign=True)
    model.timestep = model.timestep.to(model.prompt_embedding.device)
    return model.requires_grad_(False).eval()


def check_commercial(licences: tuple[Licence, ...], *, where: str) -> None:
    """InputError unless licences are recorded and each allows commercial use."""
    hint = "Use another checkpoint, or switch require_commercial off where its terms are met"
    if not licences:
        raise InputError(f"{where}: licences", "licences that allow commercial use", "none recorded", hint)
    refused = [printable(f"'{one.name}' of {one.source}") for one in licences if not one.commercial]
    if refused:
        raise InputError(f"{where}: licences", "licences that allow commercial use", "; ".join(refused), hint)


def read_json(path: Path, *, most_bytes: int = MAX_JSON_BYTES) -> Any:
    """A JSON file of at most 1 MiB or `most_bytes`. InputError when it is missing, larger, or not JSON."""
    if not path.is_file():
        raise InputError(str(path), "a JSON file", "no such file")
    if path.stat().st_size > most_bytes:
        raise InputError(str(path), f"at most {most_bytes} bytes of JSON", f"{path.stat().st_size} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(str(path), "valid JSON", " ".join(str(error).split())) from error
