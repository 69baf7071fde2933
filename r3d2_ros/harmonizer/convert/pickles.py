"""Pickled checkpoints (.pth, .pkl) read as tensors and plain values only: torch refuses everything that would run."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import torch

from r3d2_ros.errors import InputError

MAX_PICKLE_BYTES = 8 * 2**20
"""Of what describes the tensors, in memory some hundred times as much. SD-Turbo with its optimizer has half a MB."""

OLD_PICKLES = 5
"""So many pickles come before the numbers in files of PyTorch before 1.6."""

ZIP_START = b"PK\x03\x04"


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote. InputError: missing, truncated, no dictionary, more than tensors, or
    more in memory than the file is long.
    """
    check_is_file(path)
    try:
        zipped = _check_size(path)
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (InputError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        hint = "A file that holds code objects is not read; nothing of it was executed"
        raise InputError(str(path), "tensors and plain values", first_sentence(error), hint) from error
    except Exception as error:  # struct.error, AssertionError, ...: what torch raises depends on the damaged byte
        hint = "It is truncated or of another kind: get it again"
        raise InputError(str(path), "a complete file written by torch.save", first_sentence(error), hint) from error
    if not isinstance(data, dict):
        raise InputError(str(path), "a dictionary", type(data).__name__)
    return data


def check_is_file(path: Path) -> None:
    """InputError for a folder or nothing at `path`."""
    if not path.is_file():
        raise InputError(str(path), "a file written by torch.save", "a folder" if path.is_dir() else "no such file")


def _check_size(path: Path) -> bool:
    """Whether the file is a zip, as torch tells it. InputError when reading it takes far more memory than it is long.

    torch.save compresses nothing. A compressed entry can be a thousand times as long as the file, and torch unpacks it
    whole.
    """
    with path.open("rb") as file:
        if file.read(len(ZIP_START)) != ZIP_START:
            _check_old_pickles(path)
            return False
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    packed = [entry.filename for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        got = f"compressed: {packed[0]}" if packed else "entries that share their bytes"
        raise InputError(str(path), "entries as torch.save writes them, not compressed", got[:200])
    for entry in entries:
        if entry.filename.endswith(".pkl") and entry.file_size > MAX_PICKLE_BYTES:
            raise _too_long(path, f"{entry.file_size} in {entry.filename[:100]}")
    return True


def _check_old_pickles(path: Path) -> None:
    """InputError when what describes the tensors is too long, in a file without a zip around it."""
    with path.open("rb") as file:
        for _ in range(OLD_PICKLES):
            for _ in pickletools.genops(file):
                if file.tell() > MAX_PICKLE_BYTES:
                    raise _too_long(path, "more")


def _too_long(path: Path, got: str) -> InputError:
    return InputError(str(path), f"at most {MAX_PICKLE_BYTES} bytes that describe the tensors", got)


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
