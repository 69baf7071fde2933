"""Which entities a query means: by name, category, tags and place (simulation_interfaces/EntityFilters)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex

from r3d2_ros.closed_loop.entity_view import Entity
from r3d2_ros.closed_loop.simulation_codes import OK, Answer, BoundsType, Result
from r3d2_ros.geometry import Array

MAX_PATTERN = 1000
SEARCH_S = 0.2
"""For all names together: a pattern that takes for ever is answered, not endured."""

SAME_DIRECTION = 1e-9


@dataclass(frozen=True)
class Filters:
    """name: a regular expression (POSIX extended), searched for anywhere in a name. Empty ones let everything pass.

    tags        any of them, or with `all_tags` all of them
    bounds      (type, points [K, 3] in the map): what overlaps
    """

    name: str = ""
    categories: tuple[int, ...] = ()
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    bounds: tuple[int, tuple[tuple[float, float, float], ...]] = (BoundsType.EMPTY, ())


def filtered(entities: Sequence[Entity], filters: Filters) -> tuple[Answer, tuple[Entity, ...]]:
    """The entities that pass all filters, in their order; none of them, and why, for a filter that cannot be used."""
    fault = _bounds_fault(filters.bounds)
    if fault is not None:
        return fault, ()
    found = list(entities)
    if filters.name:
        fault, names = _matching([entity.name for entity in found], filters.name)
        if fault is not None:
            return fault, ()
        found = [entity for entity in found if entity.name in names]
    if filters.categories:
        found = [entity for entity in found if entity.category in filters.categories]
    if filters.tags:
        asked = all if filters.all_tags else any
        found = [entity for entity in found if asked(tag in entity.tags for tag in filters.tags)]
    if filters.bounds[0] != BoundsType.EMPTY:
        found = [entity for entity in found if _overlaps(entity, filters.bounds)]
    return OK, tuple(found)


def _matching(names: Sequence[str], pattern: str) -> tuple[Answer | None, frozenset[str]]:
    if len(pattern) > MAX_PATTERN:
        return _refused(f"filter: expected at most {MAX_PATTERN} characters, got {len(pattern)}"), frozenset()
    try:
        compiled = regex.compile(pattern)
        return None, frozenset(name for name in names if compiled.search(name, timeout=SEARCH_S / len(names)))
    except regex.error as error:
        return _refused(f"filter: expected a regular expression, got {pattern!r}: {error}"), frozenset()
    except (TimeoutError, RecursionError, MemoryError, OverflowError):
        return _refused(f"filter: {pattern[:80]!r} takes too long to search for"), frozenset()


def _refused(text: str) -> Answer:
    return Answer(Result.OPERATION_FAILED, text)


# Places


def _bounds_fault(bounds: tuple[int, tuple[tuple[float, float, float], ...]]) -> Answer | None:
    kind, points = bounds
    if kind == BoundsType.EMPTY:
        return None
    if kind not in (BoundsType.BOX, BoundsType.SPHERE):
        text = "filters by box and by sphere are supported"
        return Answer(Result.FEATURE_UNSUPPORTED, f"bounds: {text}, got the type {kind}")
    if len(points) != 2 or not np.all(np.isfinite(points)):
        return _refused(f"bounds: expected two points of finite numbers, got {list(points)}")
    if kind == BoundsType.SPHERE and points[1][0] < 0.0:
        return _refused(f"bounds: expected a radius of at least 0, got {points[1][0]:g}")
    return None


def _overlaps(entity: Entity, bounds: tuple[int, tuple[tuple[float, float, float], ...]]) -> bool:
    kind, points = bounds
    low, high = entity.box_m
    if kind == BoundsType.SPHERE:
        centre = entity.T_world_entity.inverse().apply(points[0])
        return bool(np.linalg.norm(centre - np.clip(centre, low, high)) <= points[1][0])
    a, b = np.asarray(points, np.float64)
    box = _corners(np.minimum(a, b), np.maximum(a, b))
    own = entity.T_world_entity.apply(_corners(low, high))
    return not any(_apart(direction, box, own) for direction in _directions(entity.T_world_entity.rotation))


def _corners(low: Array, high: Array) -> Array:
    return np.array(list(itertools.product(*zip(low, high, strict=True))))


def _directions(rotation: Array) -> list[Array]:
    """All that can separate two boxes, one along the map's axes: their face normals, and those across two edges."""
    axes, own = list(np.eye(3)), list(rotation.T)
    across = [np.cross(a, b) for a in axes for b in own]
    return [*axes, *own, *(d for d in across if np.linalg.norm(d) > SAME_DIRECTION)]


def _apart(direction: Array, a: Array, b: Array) -> bool:
    p, q = a @ direction, b @ direction
    return bool(p.max() < q.min() or q.max() < p.min())
