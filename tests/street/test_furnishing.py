"""What stands along the footways keeps its distance, and leaves doors, shops and the sense of signs alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from r3d2_ros.street import furniture, greenery
from r3d2_ros.street.facades import add_facade
from r3d2_ros.street.furnishing import furnish, places
from r3d2_ros.street.houses import doorsteps
from r3d2_ros.street.layout import CLEAR_M
from r3d2_ros.street.lots import Lot, place_lots
from r3d2_ros.street.meshes import Patches, cut
from r3d2_ros.street.road_paint import plan_road
from r3d2_ros.street.route import make_route
from r3d2_ros.street.styles import DOOR, Style, choose_style
from r3d2_ros.street.surfels import Surfels, surfels

SEEDS = range(4)


@dataclass
class Planted:
    """A straight street without its buildings: what stands on the footways, and where hedges and trees are."""

    lots: list[Lot]
    styles: list[Style]
    things: np.ndarray
    names: list[str]
    trees: np.ndarray
    hedges: list[tuple[np.ndarray, np.ndarray]]


def planted(seed: int, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """As `build_lit_street` plants it, with hedges and trees noted down instead of grown."""
    names: dict[int, str] = {}
    kept: list[Surfels] = []
    trees: list[np.ndarray] = []
    hedges: list[tuple[np.ndarray, np.ndarray]] = []
    nothing = surfels(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)))

    def named(name: str, make: Callable[..., Surfels]) -> Callable[..., Surfels]:
        def made(*args: object, **keys: object) -> Surfels:
            kept.append(make(*args, **keys))
            names[id(kept[-1])] = name
            return kept[-1]

        return made

    def noted(_rng: object, start: np.ndarray, end: np.ndarray, *, height_m: float, width_m: float) -> Surfels:
        if height_m == 1.0:  # those of gardens
            hedges.append((start, end))
        return nothing

    with monkeypatch.context() as patch:
        for name in ("lamp_post", "litter_bin", "bench", "bollard", "crossing_sign"):
            patch.setattr(furniture, name, named(name, getattr(furniture, name)))
        patch.setattr(greenery, "hedge", noted)
        patch.setattr(greenery, "tree", lambda _rng, base, **_keys: (trees.append(base), nothing)[1])
        route = make_route(np.array([(0.0, 0, 0), (240.0, 0, 0)]))
        houses, plants, road = (np.random.default_rng([seed, k]) for k in range(3))
        plan, lots = plan_road(route, road, seed), place_lots(route, houses)
        styles = [choose_style(houses, lot.width_m) for lot in lots]
        pieces = furnish(route, plan, doorsteps(lots, styles))
        greenery.greenery_surfels(route, plan, lots, styles, places(pieces), plants)
    shown = [names.get(id(piece.thing), "sign") for piece in pieces]
    return Planted(lots, styles, places(pieces), shown, np.array(trees)[:, :2], hedges)


@pytest.fixture(scope="module")
def streets() -> list[Planted]:
    with pytest.MonkeyPatch.context() as patch:
        return [planted(seed, patch) for seed in SEEDS]


def test_nothing_on_a_footway_stands_in_another_thing(streets: list[Planted]) -> None:
    for street in streets:
        everything = np.concatenate([street.things, street.trees])
        distance = np.linalg.norm(everything[:, None] - everything, axis=2)
        np.fill_diagonal(distance, np.inf)
        assert distance[: len(street.things)].min() >= CLEAR_M


def test_the_more_important_thing_stays(streets: list[Planted]) -> None:
    """On the straight street: both crossing signs, every lamp post, and most of the sixteen bollards."""
    for street in streets:
        assert street.names.count("crossing_sign") == 2 and street.names.count("sign") == 4
        assert street.names.count("lamp_post") == 13
        assert 12 <= street.names.count("bollard") < 16 and street.names.count("litter_bin") >= 10


def doors_drawn(lot: Lot, style: Style) -> np.ndarray:
    """The middle of what is painted as a door in the facade [3], in the frame of the route."""
    patches = Patches()
    add_facade(patches, style, lot.width_m)
    cells = cut(patches, coarser=1.0)
    return lot.origin + cells.position[cells.kind == DOOR].mean(axis=0) @ lot.rotation.T


def test_hedges_are_open_at_doors_and_there_are_none_before_shops(streets: list[Planted]) -> None:
    """Over all streets: 60 cm on either side of every door that is drawn are free."""
    seen = shops = 0
    for street in streets:
        for lot, style in zip(street.lots, street.styles, strict=True):
            if lot.setback_m < 1.5:
                continue
            door = (doors_drawn(lot, style) - lot.origin) @ lot.rotation[:, 0]
            ends = np.array(street.hedges) - lot.origin
            along, across = ends @ lot.rotation[:, 0], ends @ lot.rotation[:, 1]
            mine = (np.abs(across[:, 0]) < 4) & (along.max(axis=1) > 0.1) & (along.min(axis=1) < lot.width_m - 0.1)
            seen, shops = seen + 1, shops + style.shop
            if style.shop:
                assert not mine.any()
            else:
                blocked = mine & (along.min(axis=1) < door + 0.6) & (along.max(axis=1) > door - 0.6)
                assert mine.any() and not blocked.any()
    assert seen > 15 and shops >= 2


def test_every_house_has_its_doorstep_where_the_door_is(streets: list[Planted]) -> None:
    for lot, style in zip(streets[0].lots, streets[0].styles, strict=True):
        step = doorsteps([lot], [style])[0]
        np.testing.assert_allclose((doors_drawn(lot, style)[:2] - step) @ lot.rotation[:2, 0], 0.0, atol=0.01)


def test_no_bench_stands_before_a_door(streets: list[Planted]) -> None:
    for street in streets:
        benches = street.things[np.array(street.names) == "bench"]
        steps = doorsteps(street.lots, street.styles)
        assert len(benches) >= 2
        assert np.linalg.norm(benches[:, None] - steps, axis=2).min() > 1.2


def test_no_sign_forbids_a_lane_that_is_driven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traffic drives both ways: no sign of the whole street is red with a white bar."""
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    make = furniture.round_sign
    monkeypatch.setattr(furniture, "round_sign", lambda *args, **keys: (seen.append(args[:2]), make(*args, **keys))[1])
    route = make_route(np.array([(0.0, 0, 0), (240.0, 0, 0)]))
    pieces = furnish(route, plan_road(route, np.random.default_rng(0), 0), np.zeros((0, 2)))
    assert len(seen) >= 2 and len(pieces) > 20
    for face, _ in seen:
        assert not (face[0] > 0.3 and face[1:].max() < 0.1)
