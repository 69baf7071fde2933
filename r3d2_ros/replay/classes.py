"""From the class and the size of an object to an asset of the library, by a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import xxhash
from pydantic import Field

from r3d2_ros.config import SimConfig
from r3d2_ros.input_checks import SIZE_RANGE_M, ActorInput, Fault, above
from r3d2_ros.replay.objects import Numbers, SeenObject
from r3d2_ros.resources import config_dir, user_path
from r3d2_ros.scene import AssetLibrary
from r3d2_ros.schema import STRICT, load_yaml, validate

SAME_SIZE = 0.1
"""Assets whose sizes fit nearly equally well (sum of the logarithms of the ratios) stand for an object by its id."""


@dataclass(frozen=True)
class ClassTable:
    """The contents of a table of classes; see config/classes.yaml."""

    __pydantic_config__ = STRICT
    fit: Annotated[Literal["asset", "box"], Field(description="size of the asset: its own, or that of the box")] = (
        "asset"
    )
    classes: Annotated[dict[str, list[str]], Field(description="class -> names or categories of assets")] = field(
        default_factory=dict
    )


def load_class_table(config: SimConfig) -> ClassTable:
    """The table that the configuration names, else the shipped one. InputErrors names every fault with file and key."""
    named = config.assets.classes
    path: Path = user_path(named, "assets.classes") if named else config_dir() / "classes.yaml"
    return validate(ClassTable, load_yaml(path), str(path))


class AssetChooser:
    """Turns objects into actors. Which asset stands for an object is decided once for each id and class.

    So a box that grows while more of a vehicle is seen does not make another vehicle of it. Decided in the order of
    the messages, it is the same in every run.
    """

    def __init__(self, table: ClassTable, library: AssetLibrary, config: SimConfig) -> None:
        self._table, self._library, self._config = table, library, config
        self._candidates: dict[str, list[str]] = {}
        self._chosen: dict[tuple[str, str], tuple[str, Numbers | None]] = {}
        self._parity = 0

    def actors(self, objects: Sequence[SeenObject]) -> tuple[list[ActorInput], list[Fault]]:
        """The actors of one message, and what is wrong with the objects that are none."""
        self._parity ^= 1
        actors: list[ActorInput] = []
        faults: list[Fault] = []
        for number, seen in enumerate(objects):
            candidates = self._candidates_of(seen.label)
            if not candidates:
                faults.append(_no_asset(seen.label))
                continue
            # Without an id nothing says which objects of two messages are the same: their names are never equal.
            name = seen.id or f"untracked_{number}_{self._parity}"
            asset, size_m = self._choice(seen.id or str(number), seen, candidates)
            actors.append(self._actor(name, seen, asset, size_m))
        return actors, faults

    def _candidates_of(self, label: str) -> list[str]:
        """Names of the assets that may stand for a class, in the library's order."""
        if label not in self._candidates:
            wanted = set(self._table.classes.get(label, ()))
            names = [name for name in self._library.assets if wanted and self._is_one_of(name, wanted)]
            self._candidates[label] = names
        return self._candidates[label]

    def _is_one_of(self, name: str, wanted: set[str]) -> bool:
        return name in wanted or self._library[name].category in wanted

    def _choice(self, key: str, seen: SeenObject, candidates: list[str]) -> tuple[str, Numbers | None]:
        if not seen.id:
            return self._choose(key, seen, candidates)
        if (key, seen.label) not in self._chosen:
            self._chosen[key, seen.label] = self._choose(key, seen, candidates)
        return self._chosen[key, seen.label]

    def _choose(self, key: str, seen: SeenObject, candidates: list[str]) -> tuple[str, Numbers | None]:
        if seen.size_m is not None:
            misfits = {asset: _misfit(self._library[asset].size_m, seen.size_m) for asset in candidates}
            least = min(misfits.values())
            candidates = [asset for asset in candidates if misfits[asset] <= least + SAME_SIZE]
        asset = candidates[xxhash.xxh3_64_intdigest(key.encode()) % len(candidates)]
        low, high = SIZE_RANGE_M
        usable = seen.size_m is not None and all(low <= value <= high for value in seen.size_m)
        return asset, seen.size_m if self._table.fit == "box" and usable else None

    def _actor(self, name: str, seen: SeenObject, asset: str, size_m: Numbers | None) -> ActorInput:
        """The object's box stands on the ground where the asset will."""
        position_m, actor_pose = seen.position_m, self._config.assets.actor_pose
        if seen.is_centre:
            height_m = seen.size_m[2] if seen.size_m else (size_m or self._library[asset].size_m)[2]
            position_m, actor_pose = above(seen.position_m, seen.quat_wxyz, -height_m / 2), "ground_center"
        return ActorInput(
            id=name,
            asset=asset,
            position_m=position_m,
            quat_wxyz=seen.quat_wxyz,
            size_m=size_m or (0.0, 0.0, 0.0),
            actor_pose=actor_pose,
            tracked=bool(seen.id),
        )


def _misfit(size_m: Numbers, wanted_m: Numbers) -> float:
    return sum(abs(math.log(a / b)) for a, b in zip(size_m, wanted_m, strict=True))


def _no_asset(label: str) -> Fault:
    text = f"objects of class '{label[:80]}' are not drawn: the table of classes (assets.classes) has no asset for them"
    return Fault(f"actors.class.{label[:80]}", text)
