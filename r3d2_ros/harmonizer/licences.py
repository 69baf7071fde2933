"""The licence that a downloaded model folder states about itself."""

from __future__ import annotations

from pathlib import Path

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.model_config import Licence
from r3d2_ros.schema import parse_yaml

COMMERCIAL = {"mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense"}
"""Identifiers whose terms allow commercial use to anyone. Whatever is not among them does not count as allowing it."""

MAX_README_BYTES = 2**20


def licence_of(folder: Path) -> Licence:
    """The licence in the front matter of README.md; "not stated" where there is none.

    It is looked for in `folder`, and above it where `folder` is a part of a pipeline: a folder of unrelated models may
    have a README too.
    """
    part = (folder.absolute().parent / "model_index.json").is_file()
    for place in (folder, folder.absolute().parent) if part else (folder,):
        stated = _front_matter(place / "README.md")
        name = stated.get("license_name") if stated.get("license") == "other" else stated.get("license")
        if isinstance(name, str):
            return Licence(name=name, source=folder.absolute().name, commercial=name.lower() in COMMERCIAL)
    return Licence(name="not stated", source=folder.absolute().name, commercial=False)


def _front_matter(path: Path) -> dict[str, object]:
    """The YAML between the first two lines of dashes; empty where there is none that can be read."""
    if not path.is_file() or path.stat().st_size > MAX_README_BYTES:
        return {}
    before, dashes, rest = path.read_text(encoding="utf-8", errors="replace").partition("---\n")
    if before.strip() or not dashes:
        return {}
    try:
        data = parse_yaml(rest.partition("\n---")[0].encode(), str(path))
    except (InputError, InputErrors):
        return {}
    return data if isinstance(data, dict) else {}


def parse_licence(text: str, where: str = "--licence") -> Licence:
    """`NAME;SOURCE;commercial` or `NAME;SOURCE;non-commercial`. InputError for anything else."""
    name, source, use = ([word.strip() for word in text.split(";")] + ["", "", ""])[:3]
    if not name or not source or use not in ("commercial", "non-commercial") or text.count(";") != 2:
        raise InputError(where, "NAME;SOURCE;commercial or NAME;SOURCE;non-commercial", repr(text))
    return Licence(name=name, source=source, commercial=use == "commercial")
