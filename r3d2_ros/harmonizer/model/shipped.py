"""The checkpoints that come with the program, by name. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from r3d2_ros.errors import InputError
from r3d2_ros.resources import config_dir, user_path

DEFAULT = "nano"
"""What the demo and the evaluation run unless they are told otherwise."""


def shipped_models() -> list[str]:
    """Names of the checkpoints in `config/models/`."""
    return sorted(path.parent.name for path in (config_dir() / "models").glob("*/config.json"))


def shipped_model(name: str) -> Path:
    """Its folder, whatever lies in the working directory. InputError when no checkpoint of that name is shipped."""
    names = shipped_models()
    if name not in names:
        raise InputError("shipped checkpoint", f"one of {', '.join(names) or 'none'}", repr(name))
    return config_dir() / "models" / name


def model_folder(source: str | Path, where: str) -> Path:
    """The folder that `source` means: NAME of the shipped `config/models/NAME`, or a path.

    A name alone is the shipped checkpoint, whatever lies in the working directory; ./NAME is a folder there, which a
    Path does not tell apart. InputError, naming `where`, for what is neither. What lies in the folder is not looked at.
    """
    if source in shipped_models():
        return shipped_model(str(source))
    path = user_path(source, where)
    if path.is_dir():
        return path.absolute()  # no name any more, also where it is looked for once more
    got = "a file" if path.exists() else "no such folder"
    expected = f"the folder of a checkpoint or of a pipeline, or one of {', '.join(shipped_models()) or 'none'}"
    raise InputError(where, expected, f"'{source}': {got}")
