"""The licence that a downloaded model folder states about itself."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.diffusers_layout import places_of
from r3d2_ros.harmonizer.model.config import Licence
from r3d2_ros.schema import parse_yaml, validate

COMMERCIAL = {"mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense"}
"""Identifiers whose terms allow commercial use to anyone. Whatever is not among them does not count as allowing it."""

MAX_README_BYTES = 2**20

CHAIN_KEY = "r3d2_ros_licences"
"""In the front matter of folders that this program wrote: each link of the licence chain, with its source."""


def licences_of(folder: Path) -> tuple[Licence, ...]:
    """The chain of a folder that this program wrote, or the one licence that another states, as in `licence_of`.

    InputError(s) for a chain that cannot be read.
    """
    path = folder / "README.md"
    chain = _front_matter(path).get(CHAIN_KEY)
    if chain is None:
        return (licence_of(folder),)
    if not isinstance(chain, list) or not chain:
        got = "an empty list" if chain == [] else type(chain).__name__
        raise InputError(f"{path}: {CHAIN_KEY}", "a list of at least one licence", got)
    return tuple(validate(Licence, link, f"{path}: {CHAIN_KEY}.{number}") for number, link in enumerate(chain))


def write_readme(folder: Path, licences: Sequence[Licence], *, text: str) -> None:
    """A README.md from which `licences_of` reads `licences`. The hub's own key only says what it can say."""
    free = len(licences) == 1 and licences[0].commercial and licences[0].name.lower() in COMMERCIAL
    front = {"license": licences[0].name.lower() if free else "other", CHAIN_KEY: [asdict(one) for one in licences]}
    matter = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    (folder / "README.md").write_text(f"---\n{matter}---\n\n{text}\n", encoding="utf-8")


def licence_of(folder: Path) -> Licence:
    """The licence in the front matter of README.md; "not stated" where there is none.

    It is looked for in `folder`, and above it where `folder` is a part of a pipeline: a folder of unrelated models may
    have a README too.
    """
    for place in places_of(folder):
        stated = _front_matter(place / "README.md")
        name = stated.get("license_name") if stated.get("license") == "other" else stated.get("license")
        if isinstance(name, str):
            return Licence(name=name, source=_name_of(folder), commercial=name.lower() in COMMERCIAL)
    return Licence(name="not stated", source=_name_of(folder), commercial=False)


def _name_of(folder: Path) -> str:
    """The hub's `owner/name` of what lies in its cache (`models--OWNER--NAME/snapshots/COMMIT`), else the folder's."""
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - `..` is to go, links are to stay
    for part, after in itertools.pairwise(path.parts):
        if part.startswith("models--") and after == "snapshots":
            return part.removeprefix("models--").replace("--", "/", 1)
    return path.name


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
