"""A model folder on this machine, or a repository of the Hugging Face hub brought here."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.convert.released import ELSEWHERE
from r3d2_ros.harmonizer.convert.schedules import SCHEDULER_FILE
from r3d2_ros.harmonizer.convert.taesd import DECODER_NAME, ENCODER_NAME
from r3d2_ros.harmonizer.diffusers_layout import INDEX_FILE, WEIGHTS, in_one_precision

Part = Literal["unet", "autoencoder", "text_encoder", "taesd", "released"]

ALWAYS = ("README.md", INDEX_FILE, SCHEDULER_FILE.as_posix())
_FOLDER = ("config.json", *(f"{WEIGHTS}{end}.safetensors" for end in ("", ".fp16", "-*-of-*", ".fp16-*-of-*")))
_TAESD = (f"{ENCODER_NAME}.safetensors", f"{DECODER_NAME}.safetensors")

FILES: dict[Part, tuple[str, ...]] = {
    "unet": (*_FOLDER, *(f"unet/{name}" for name in _FOLDER)),
    "autoencoder": (*_FOLDER, *(f"vae/{name}" for name in _FOLDER), *_TAESD),
    "text_encoder": (
        "tokenizer/*.json",
        "tokenizer/*.txt",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "text_encoder/model-*.safetensors",
        "text_encoder/model.safetensors.index.json",
    ),
    "taesd": _TAESD,
    "released": ("config.json", "*.safetensors"),
}
"""What is read of a repository for each purpose; a star stands for slashes too. No code and no pickles are fetched."""


def local_folder(text: str, *, reads: Iterable[Part]) -> Path:
    """`text` as an existing folder, or as `owner/name` from the hub or its cache. InputError when neither works.

    reads  of a repository of the hub, only what is read for these is fetched
    """
    if os.path.isdir(text):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        return Path(text)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text):
        raise InputError(text[:200], "a folder, or a hub repository as owner/name", "no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(text, allow_patterns=_patterns(text, tuple(reads))))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        got = " ".join(str(error).split())[:200]
        raise InputError(text[:200], "a folder, or a hub repository that can be reached", got) from error


def _patterns(repository: str, reads: tuple[Part, ...]) -> list[str]:
    """The names of its files that are read; where the hub does not say which it has, what they may be called."""
    from huggingface_hub import model_info

    try:
        # Not list_repo_files, which tries for half a minute where there is no network.
        names = [file.rfilename for file in model_info(repository).siblings or ()]
    except Exception:  # whatever it is, fetching meets it too: it takes what the cache has, or says what is wrong
        return sorted({*ALWAYS, *(pattern for part in reads for pattern in FILES[part])})
    return [glob.escape(name) for name in files_to_fetch(names, reads)]


def files_to_fetch(names: Iterable[str], reads: Iterable[Part]) -> list[str]:
    """Those of a repository's files that are read; of weights in half precision only what there is in no other."""
    parts = tuple(reads)
    return in_one_precision({name for name in names if name in ALWAYS or any(_is_read(name, part) for part in parts)})


def _is_read(name: str, part: Part) -> bool:
    if part == "released" and name.partition("/")[0] in ELSEWHERE:
        return False
    return any(fnmatchcase(name, pattern) for pattern in FILES[part])
