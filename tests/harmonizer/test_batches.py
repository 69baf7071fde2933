"""How many images go to the network at once."""

from __future__ import annotations

import pytest

from r3d2_ros.harmonizer.batches import batch_sizes, batches_of


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [2, 1]), (3, [3, 1]), (4, [4, 2, 1]), (6, [6, 3, 1]), (8, [8, 4, 2, 1])]
)
def test_sizes_are_halves(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


@pytest.mark.parametrize(
    ("images", "most", "batches"),
    [(0, 4, []), (1, 4, [1]), (3, 4, [2, 1]), (5, 4, [4, 1]), (6, 4, [4, 2]), (11, 4, [4, 4, 2, 1]), (5, 6, [3, 1, 1])],
)
def test_the_largest_that_fits_comes_first(images: int, most: int, batches: list[int]) -> None:
    assert batches_of(images, most) == batches
