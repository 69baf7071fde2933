"""Compiled code and measured choices, kept on disk between runs.

    <harmonizer.runtime.cache>/     default: `harmonizer` in the user's cache folder
      inductor/                     of torch.compile; stays where TORCHINDUCTOR_CACHE_DIR says if that is set
      triton/                       kernels of Triton, ours too (triton_cache.py); where TRITON_CACHE_DIR says if set
      attention.json                which attention kernel was fastest, see attention.py

What lies in `inductor` and `triton` is code that the next run executes, so the folder must not be one that everybody
can write.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from r3d2_ros.resources import cache_dir, code_folder, user_path

log = logging.getLogger(__name__)

INDUCTOR = "TORCHINDUCTOR_CACHE_DIR"


def cache_folder(configured: str) -> Path:
    """The folder, created. InputError for one that cannot be written, or in which others could put code."""
    key = "harmonizer.runtime.cache"
    return code_folder(user_path(configured, key).absolute() if configured else cache_dir() / "harmonizer", key)


@contextlib.contextmanager
def compiling_into(folder: Path) -> Iterator[None]:
    """torch.compile keeps its results below `folder`, unless the user has named another."""
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    before = os.environ.get(INDUCTOR)
    if before in (None, default_cache_dir()):  # torch sets the variable itself, to its own default
        os.environ[INDUCTOR] = str(folder / "inductor")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(INDUCTOR, None)
        else:
            os.environ[INDUCTOR] = before


def read_choices(path: Path) -> dict[str, str]:
    """Choices that an earlier run left. A file that cannot be used is named in the log and replaced later."""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s cannot be read (%s): measuring again", path, error)
        return {}
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        log.warning("%s is not a mapping of names: measuring again", path)
        return {}
    return content


def write_choices(path: Path, choices: dict[str, str]) -> None:
    """Adds `choices` to the file, which is whole at every moment. Where it cannot be written the log says so."""
    content = json.dumps({**read_choices(path), **choices}, indent=1, sort_keys=True) + "\n"
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        log.warning("%s cannot be written (%s): the next run measures again", path, error)
