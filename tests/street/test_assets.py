"""Assets: sizes, frames, outward normals, plausible counts."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.gaussians import SH_C0
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.street import Sun
from r3d2_ros.street.assets import asset_surfels, make_library
from r3d2_ros.street.bodies import body_cells
from r3d2_ros.street.shapes import VAN
from r3d2_ros.street.trims import SEAM, body_labels

SIZES = {
    "car": (3.6, 5.0, 1.7, 2.2, 1.35, 1.75),
    "van": (5.0, 6.5, 1.9, 2.5, 2.1, 2.7),
    "truck": (6.5, 9.0, 2.3, 2.8, 3.0, 3.8),
    "bus": (11.0, 12.5, 2.5, 3.0, 2.9, 3.4),
    "pedestrian": (0.4, 1.0, 0.4, 0.8, 1.6, 1.9),
    "cyclist": (1.6, 2.0, 0.4, 0.8, 1.5, 1.9),
}
"""Least and most length, width and height of each category, metres."""


@pytest.fixture(scope="module")
def library() -> AssetLibrary:
    return make_library(Sun())


def on_doors(car: Asset) -> np.ndarray:
    x, y, z = car.gaussians.means.T
    return (np.abs(y) > 0.78) & (np.abs(x) < 0.8) & (z > 0.5) & (z < 0.75)


def test_every_kind_is_there_and_cars_come_in_several_colours(library: AssetLibrary) -> None:
    categories = [asset.category for asset in library.assets.values()]
    assert set(categories) == set(SIZES)
    assert categories.count("car") >= 4
    cars = [a for a in library.assets.values() if a.category == "car"]
    colours = np.array([np.median((a.gaussians.sh[:, 0] * SH_C0 + 0.5)[on_doors(a)], axis=0) for a in cars])
    assert np.ptp(colours, axis=0).min() > 0.4


def test_box_is_as_large_as_the_asset_and_stands_on_the_ground(library: AssetLibrary) -> None:
    for asset in library.assets.values():
        low, high = asset.gaussians.means.min(axis=0), asset.gaussians.means.max(axis=0)
        np.testing.assert_allclose(high - low, asset.size_m, atol=2e-3, err_msg=asset.name)
        np.testing.assert_allclose((low + high)[:2], 0.0, atol=2e-3, err_msg=asset.name)
        assert low[2] == pytest.approx(0.0, abs=1e-3)


def test_sizes_are_those_of_real_ones(library: AssetLibrary) -> None:
    for asset in library.assets.values():
        limits = np.array(SIZES[asset.category]).reshape(3, 2)
        assert np.all(asset.size_m >= limits[:, 0]) and np.all(asset.size_m <= limits[:, 1]), (asset.name, asset.size_m)


def test_counts(library: AssetLibrary) -> None:
    for asset in library.assets.values():
        assert 4_000 <= len(asset.gaussians) <= 60_000, asset.name
        assert asset.licence


@pytest.mark.parametrize("name", ["car", "car_white", "car_black", "van", "truck", "bus", "pedestrian"])
def test_normals_point_outward(name: str) -> None:
    """Seen from above, from the sides and from the ends, the outermost surfel of each column faces the viewer."""
    _, samples = asset_surfels()[name]
    normal, position = samples.normal, samples.position
    wrong, seen = 0, 0
    for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1), (2, 1)):
        others = [k for k in range(3) if k != axis]
        column = np.floor(position[:, others] / 0.1).astype(int)
        key = column[:, 0] * 1000 + column[:, 1]
        order = np.lexsort((sign * position[:, axis], key))
        last = order[np.r_[key[order][1:] != key[order][:-1], True]]
        seen += len(last)
        wrong += int(np.sum(sign * normal[last, axis] < -0.3))
    assert wrong < 0.02 * seen


def test_a_car_is_dark_below_and_glassy_above(library: AssetLibrary) -> None:
    """White saloon: its windows and tyres are much darker than its doors."""
    car = library["car_white"].gaussians
    colour = (car.sh[:, 0] * SH_C0 + 0.5).mean(axis=1)
    x, y, z = car.means.T
    windows = (np.abs(y) > 0.6) & (np.abs(x) < 0.5) & (z > 1.05) & (z < 1.25)
    tyres = z < 0.12
    assert np.median(colour[on_doors(library["car_white"])]) > 0.6
    assert np.median(colour[windows]) < 0.45 and np.median(colour[tyres]) < 0.3


def test_a_car_has_red_lamps_behind_and_bright_ones_in_front(library: AssetLibrary) -> None:
    """Blue saloon, lower corners of both ends: red is far above blue behind, light grey is there only in front."""
    car = library["car_blue"].gaussians
    colour = car.sh[:, 0] * SH_C0 + 0.5
    x, y, z = car.means.T
    corner = (np.abs(y) > 0.45) & (z > 0.55) & (z < 1.0)
    red = (colour[:, 0] > 0.5) & (colour[:, 1:].max(axis=1) < 0.35)
    bright = colour.min(axis=1) > 0.6
    behind, before = corner & (x < -2.05), corner & (x > 2.0)
    assert red[behind].sum() > 100 and not red[before].any()
    assert bright[before].sum() > 100


def test_the_side_towards_the_sun_is_brighter() -> None:
    """Sun from the left (+y): the left flank of the van is brighter than the right one."""
    van = make_library(Sun(azimuth_deg=90.0, elevation_deg=35.0))["van"].gaussians
    colour = (van.sh[:, 0] * SH_C0 + 0.5).mean(axis=1)
    flank = (np.abs(van.means[:, 0]) < 0.5) & (van.means[:, 2] > 0.7) & (van.means[:, 2] < 2.0)
    left, right = (np.median(colour[flank & (side * van.means[:, 1] > 0.85)]) for side in (1, -1))
    assert left > 1.1 * right


@pytest.mark.parametrize("wide", [0.0, 0.785])
def test_door_gaps_at_the_back_of_a_van_are_lines(wide: float) -> None:
    """Between its two doors, and beside them at 0.785 m: dark cells all the way up, none missing."""
    cells, labels = body_cells(VAN, body_labels)
    x, y, z = cells.centre.T
    here = (labels == SEAM) & (x < -2.7) & (np.abs(np.abs(y) - wide) < 0.012)
    up = np.sort(z[here & (z > 1.36) & (z < 2.0)])  # from above the lamps
    assert np.diff([1.36, *up, 2.0]).max() < 0.035
