"""A model folder on this machine, or a repository of the Hugging Face hub brought here."""

from __future__ import annotations

import os
import re
from pathlib import Path

from r3d2_ros.errors import InputError

FILES = ["*.json", "*.safetensors", "*.txt", "README.md"]
"""No code and no pickles are fetched."""


def local_folder(text: str) -> Path:
    """`text` as an existing folder, or as `owner/name` from the hub or its cache. InputError when neither works."""
    if os.path.isdir(text):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        return Path(text)
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text):
        raise InputError(text[:200], "a folder, or a hub repository as owner/name", "no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(text, allow_patterns=FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        got = " ".join(str(error).split())[:200]
        raise InputError(text[:200], "a folder, or a hub repository that can be reached", got) from error
