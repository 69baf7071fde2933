"""Lane maps: where the lanes and the edges of the road are, in the map frame. The file lane_map.yaml."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from r3d2_ros.errors import InputError, printable
from r3d2_ros.formats.sidecar import Metres, Triple, write_yaml
from r3d2_ros.geometry import Array
from r3d2_ros.input_files import open_input
from r3d2_ros.lines import distinct
from r3d2_ros.schema import STRICT, load_yaml, validate

LANE_MAP = "lane_map.yaml"
LABELS = "labels.npy"

ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, TERRAIN, SKY = 0, 1, 2, 5, 8, 9, 10
"""Semantic classes by their Cityscapes train ids, those that are named here."""
TRAIN_IDS, UNLABELLED = 19, 255
"""All train ids are below 19, but for the one of what has no class."""

Point = tuple[Metres, Metres, Metres]


def _leading_somewhere(points: list[Point]) -> list[Point]:
    distinct(points)
    return points


Polyline = Annotated[list[Point], Field(min_length=2), AfterValidator(_leading_somewhere)]
"""Centre lines and borders are followed by distance, so each leads somewhere: height alone does not count."""

NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True, eq=False)
class MapLane:
    """One lane, metres: centre line and borders [M, 3], each in its direction of travel."""

    id: str
    centre: Array
    left: Array
    right: Array

    @property
    def outline(self) -> Array:
        """The polygon between the borders [M, 2]."""
        return np.concatenate([self.left[:, :2], self.right[::-1, :2]])


@dataclass(frozen=True, eq=False)
class LaneMap:
    """lines: other polylines [M, 3] with a name, such as footways. road_edges: where the carriageway ends [M, 3]."""

    lanes: tuple[MapLane, ...]
    road_edges: tuple[Array, ...] = ()
    lines: dict[str, Array] = field(default_factory=dict)

    def line(self, name: str, where: str) -> Array:
        """Centre line of a lane, or another line, by name. InputError, naming `where`, when there is none."""
        known = {lane.id: lane.centre for lane in self.lanes} | self.lines
        if name not in known:
            raise InputError(where, f"one of {', '.join(known) or 'no lanes'}", f"'{name}'")
        return known[name]


@dataclass(frozen=True)
class LaneKeys:
    """One lane of the file; see `MapLane`."""

    __pydantic_config__ = STRICT
    id: Annotated[str, Field(min_length=1)]
    centre: Polyline
    left: Polyline
    right: Polyline


@dataclass(frozen=True)
class LaneMapKeys:
    """lane_map.yaml; see `LaneMap`."""

    __pydantic_config__ = STRICT
    lanes: list[LaneKeys]
    road_edges: list[Polyline] = field(default_factory=list)
    lines: dict[str, Polyline] = field(default_factory=dict)


def write_lane_map(path: Path, lane_map: LaneMap) -> None:
    """Write a lane map, millimetres precise. InputError when it cannot be written."""

    def rows(line: Array) -> list[Any]:
        return np.round(line, 3).tolist()

    data: dict[str, Any] = {
        "lanes": [
            {"id": lane.id, "centre": rows(lane.centre), "left": rows(lane.left), "right": rows(lane.right)}
            for lane in lane_map.lanes
        ],
        "road_edges": [rows(edge) for edge in lane_map.road_edges],
        "lines": {name: rows(line) for name, line in lane_map.lines.items()},
    }
    write_yaml(path, data)


def load_lane_map(path: Path) -> LaneMap:
    """The lane map of a file. InputError(s) with file and key."""
    keys = validate(LaneMapKeys, load_yaml(path), str(path))
    counts = Counter([*(lane.id for lane in keys.lanes), *keys.lines])
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise InputError(str(path), "names of lanes and lines once each", f"{', '.join(twice)} again")
    return LaneMap(
        lanes=tuple(MapLane(k.id, _line(k.centre), _line(k.left), _line(k.right)) for k in keys.lanes),
        road_edges=tuple(_line(edge) for edge in keys.road_edges),
        lines={name: _line(line) for name, line in keys.lines.items()},
    )


def _line(points: list[Triple]) -> Array:
    return np.array(points, np.float64)


def load_labels(path: Path, count: int) -> NDArray[np.uint8]:
    """Semantic class [count] of every Gaussian of a scene (.npy, uint8: Cityscapes train ids, or 255).

    InputError for anything else.
    """
    expected = f"a .npy file of {count} uint8 values, one for each Gaussian of the scene"
    with open_input(path, expected=expected) as file:
        # Checked before anything of that size is read: a file of a few bytes may claim any number of values.
        if (got := _npy_kind(file)) != f"uint8 ({count},)":
            raise InputError(str(path), expected, got)
        labels = np.frombuffer(file.read(count), np.uint8).copy()
    if len(labels) != count:
        raise InputError(str(path), expected, f"{len(labels)} of them, then the end of the file")
    others = np.flatnonzero((labels >= TRAIN_IDS) & (labels != UNLABELLED))
    if len(others):
        ids = f"Cityscapes train ids: 0 to {TRAIN_IDS - 1}, or {UNLABELLED} for no class"
        raise InputError(str(path), ids, f"{labels[others[0]]} for row {others[0]}, counted from 0")
    return labels


def _npy_kind(file: BinaryIO) -> str:
    """Type and shape by the header of an open .npy file, or what is there instead; reads up to the values."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in NPY_HEADERS:
            return f"a .npy file of version {version[0]}.{version[1]}"
        shape, _, dtype = NPY_HEADERS[version](file)
    except OSError:
        raise  # `open_input` has words for it
    except Exception as error:  # a header is Python source, which parsers refuse in many ways
        return f"no .npy header ({printable(' '.join(str(error).split()) or type(error).__name__)})"
    return printable(f"{dtype} {shape}")
