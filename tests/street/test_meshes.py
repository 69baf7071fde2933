"""Patches: cells cover them, and are narrow where an outline is wanted crisp."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.street.meshes import Patches, cut


@pytest.mark.parametrize("sides", ["", "u", "U", "uU", "vV", "uUvV"])
def test_cells_of_an_edged_patch_cover_it_once(sides: str) -> None:
    """A wall of 2 m x 1 m at z = 3."""
    patches = Patches()
    wall = {"cell": (0.3, 0.25), "albedo": (0.5, 0.5, 0.5)}
    patches.add_edged((0, 0, 3), (2, 0, 0), (0, 1, 0), rim_m=0.04, sides=sides, **wall)
    cells = cut(patches)
    assert cells.size.prod(axis=1).sum() == pytest.approx(2.0)
    np.testing.assert_allclose(cells.position[:, 2], 3.0)
    assert cells.position[:, :2].min() > 0.0 and np.all(cells.position[:, :2].max(axis=0) < [2.0, 1.0])


def test_only_the_named_sides_have_narrow_cells() -> None:
    patches = Patches()
    patches.add_edged((0, 0, 0), (2, 0, 0), (0, 0, 1), rim_m=0.04, sides="U", cell=(0.3, 0.25), albedo=(1, 1, 1))
    cells = cut(patches)
    x, width = cells.position[:, 0], cells.size[:, 0]
    np.testing.assert_allclose(width[x > 1.96], 0.04)
    np.testing.assert_allclose(width[(x > 1.88) & (x < 1.96)], 0.08)
    assert width[x < 1.8].min() > 0.2


def test_a_patch_too_small_for_rims_stays_whole() -> None:
    patches = Patches()
    patches.add_edged((0, 0, 0), (0.1, 0, 0), (0, 0, 1), rim_m=0.04, sides="uU", cell=(0.3, 0.25), albedo=(1, 1, 1))
    np.testing.assert_allclose(cut(patches).size[:, 0], 0.1)
