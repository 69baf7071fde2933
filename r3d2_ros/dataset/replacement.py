"""Which asset takes the place of a recorded actor."""

from __future__ import annotations

import math
from dataclasses import replace

import xxhash

from r3d2_ros.scene import AssetLibrary
from r3d2_ros.world import ActorState

PREFIX = "replacement/"
"""Of the names of replacements in the joint library: both libraries may use the same names."""
SAME_SIZE = 0.1
"""Assets whose sizes fit nearly as well as the best (sum of the logarithms of the ratios) are drawn from."""


def joint_library(recorded: AssetLibrary, replacements: AssetLibrary) -> AssetLibrary:
    """Both libraries in one."""
    named = {f"{PREFIX}{name}": replacements[name] for name in replacements.assets}
    return AssetLibrary({**{name: recorded[name] for name in recorded.assets}, **named})


class Replacer:
    """Chooses a replacement for each actor, once for its id.

    An asset named like the actor's id stands for it: that is what image-to-3D of the very actor gives. Else it is one
    of the same category, of those that fit its size best one by seed and id.
    """

    def __init__(self, library: AssetLibrary, *, fit_box: bool, seed: int) -> None:
        self._library, self._fit_box, self._seed = library, fit_box, seed
        self._names = [name for name in library.assets if name.startswith(PREFIX)]
        self._chosen: dict[tuple[str, str], str | None] = {}

    def replaced(self, actor: ActorState) -> ActorState | None:
        """The actor with another asset; None where no asset fits."""
        key = (actor.id, actor.asset)
        if key not in self._chosen:
            self._chosen[key] = self._choose(actor)
        name = self._chosen[key]
        if name is None:
            return None
        size_m = self._library[actor.asset].size_m if actor.size_m is None else actor.size_m
        return replace(actor, asset=name, size_m=size_m if self._fit_box else None)

    def _choose(self, actor: ActorState) -> str | None:
        if f"{PREFIX}{actor.id}" in self._names:
            return f"{PREFIX}{actor.id}"
        recorded = self._library[actor.asset]
        alike = [name for name in self._names if self._library[name].category == recorded.category]
        if not recorded.category or not alike:
            return None
        wanted = recorded.size_m if actor.size_m is None else actor.size_m
        misfit = {name: _misfit(self._library[name].size_m, wanted) for name in alike}
        best = [name for name in alike if misfit[name] <= min(misfit.values()) + SAME_SIZE]
        return best[xxhash.xxh3_64_intdigest(f"{self._seed} {actor.id}".encode()) % len(best)]


def _misfit(size_m: tuple[float, float, float], wanted_m: tuple[float, float, float]) -> float:
    return sum(abs(math.log(a / b)) for a, b in zip(size_m, wanted_m, strict=True))
