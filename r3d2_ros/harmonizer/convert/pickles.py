"""Pickled checkpoints (.pth, .pkl) read as tensors and plain values only: torch refuses everything that would run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from r3d2_ros.errors import InputError


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote. InputError: missing, truncated, no dictionary, or more than tensors."""
    if not path.is_file():
        raise InputError(str(path), "a file written by torch.save", "a folder" if path.is_dir() else "no such file")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        hint = "A file that holds code objects is not read; nothing of it was executed"
        raise InputError(str(path), "tensors and plain values", first_sentence(error), hint) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        hint = "It is truncated or of another kind: get it again"
        raise InputError(str(path), "a complete file written by torch.save", first_sentence(error), hint) from error
    if not isinstance(data, dict):
        raise InputError(str(path), "a dictionary", type(data).__name__)
    return data


def tensor_dict(data: Any, where: str) -> dict[str, torch.Tensor]:
    """`data` as a dictionary of tensors. InputError when it is anything else."""
    if not isinstance(data, dict) or not data:
        raise InputError(where, "a dictionary of tensors", type(data).__name__ if data else "nothing")
    for key, value in data.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise InputError(f"{where}: {key}", "a tensor under a text key", type(value).__name__)
    return data


def first_sentence(error: Exception) -> str:
    """The beginning of an error's text; torch's go on about how to switch the protection off."""
    text = " ".join(str(error).split()) or type(error).__name__
    return f"'{text.split('. ')[0][:200]}'"
