"""Rig files as YAML documents: read with the checks that PyYAML leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.schema import load_yaml

MAX_BYTES = 2**20
MAX_NODES = 200_000


def load_document(path: Path) -> Any:
    """The parsed file.

    InputError when it is missing, too large or not YAML; InputErrors for aliases that grow without bound,
    and for keys given twice, of which PyYAML would silently keep the last.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(
            str(path), f"a rig file of at most {MAX_BYTES} bytes", f"{path.stat().st_size} bytes"
        )
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        faults = _faults(root, path) if root is not None else []
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError):
        faults = []  # load_yaml meets the same fault and says it well
    if faults:
        raise InputErrors(faults)
    return load_yaml(path)


def _faults(root: yaml.Node, path: Path) -> list[InputError]:
    """Found before anything is built, because merging (`<<`) nested aliases takes time without bound."""
    if _expanded_size(root, {}) > MAX_NODES:
        return [
            InputError(
                str(path), f"at most {MAX_NODES} values with aliases resolved", "more, or an endless loop"
            )
        ]
    return [
        InputError(f"{path}: {key}", "each key once", f"it again in line {line}")
        for key, line in _repeated(root, "")
    ]


def _expanded_size(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values below `node` with every alias written out; one inside its own anchor is endless."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1
        known[id(node)] = 1 + sum(_expanded_size(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _repeated(node: yaml.Node, key: str) -> list[tuple[str, int]]:
    """Dotted key and line of each mapping key that its mapping already has."""
    found: list[tuple[str, int]] = []
    seen: set[str] = set()
    for name, child in node.value if isinstance(node, yaml.MappingNode) else ():
        if not isinstance(name, yaml.ScalarNode):
            continue
        inner = f"{key}.{name.value}" if key else name.value
        if name.value in seen:
            found.append((inner, name.start_mark.line + 1))
        seen.add(name.value)
        found += _repeated(child, inner)
    return found
