"""Around loading a pipeline folder: its Python files get names that no other folder shares, and nothing is fetched.

diffusers copies them into one cache folder of the user under the names that they have, and runs them again inside the
modules it finds there: of two folders with a `pipeline.py`, the first one's functions would see the second one's.
"""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from unittest.mock import patch

import torch
from diffusers.utils import dynamic_modules_utils
from diffusers.utils import logging as diffusers_logging
from huggingface_hub import constants as hub

from r3d2_ros.errors import InputError, InputErrors, MissingPackageError

PASSED_ON = (InputError, InputErrors, MissingPackageError, MemoryError, torch.OutOfMemoryError)
"""What is said in words already, or is no matter of the code."""

_numbers = itertools.count()
_lock = threading.Lock()


class CodeError(InputError):
    """Code of a model folder, or diffusers when it reads one, raised something, of which `got` has type and text."""


@contextmanager
def reported(where: str, expected: str) -> Iterator[None]:
    """Whatever such code raises in this block is a CodeError, SystemExit included: it must not end the program."""
    try:
        yield
    except PASSED_ON:
        raise
    except ModuleNotFoundError as error:
        name = (error.name or str(error)).partition(".")[0]
        raise MissingPackageError(name, f"The code of {where}", f"pip install {name}") from error
    except (Exception, SystemExit) as error:
        raise CodeError(where, expected, f"{type(error).__name__}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())[:400]
    except Exception as second:  # its own __str__
        return f"({type(second).__name__} in its text)"


@contextmanager
def separate_modules() -> Iterator[None]:
    """What diffusers imports from folders inside this block is a package of its own, in a folder of this process."""
    with (
        _lock,
        patch.object(dynamic_modules_utils, "HF_MODULES_CACHE", _folder()),
        patch.object(dynamic_modules_utils, "DIFFUSERS_DYNAMIC_MODULE_NAME", f"r3d2_ros_pipeline_{next(_numbers)}"),
    ):
        yield


@contextmanager
def offline() -> Iterator[None]:
    """Nothing is fetched from the hub inside this block, whatever a part's configuration refers to."""
    with patch.object(hub, "HF_HUB_OFFLINE", True):
        yield


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """diffusers draws none inside this block."""
    shown = diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            diffusers_logging.enable_progress_bar()


@cache
def _folder() -> str:
    """It stays as long as the process: functions may import their neighbours when they are called."""
    folder = tempfile.mkdtemp(prefix="r3d2_ros_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
