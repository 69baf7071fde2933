"""How many images go to the network at once."""

from __future__ import annotations

import pytest

from r3d2_ros.harmonizer.runtime.batches import batches_of


@pytest.mark.parametrize(
    ("images", "most", "batches"),
    [
        (0, 4, []), (1, 4, [1]), (3, 4, [2, 1]), (5, 4, [4, 1]), (6, 4, [4, 2]), (11, 4, [4, 4, 2, 1]),
        (5, 6, [3, 1, 1]), (2, 1, [1, 1]), (3, 3, [3]), (2, 3, [1, 1]),
    ],
)  # fmt: skip
def test_halves_of_the_largest(images: int, most: int, batches: list[int]) -> None:
    assert batches_of(images, most, any_number=False) == batches


@pytest.mark.parametrize(
    ("images", "most", "batches"),
    [(0, 4, []), (1, 4, [1]), (3, 4, [3]), (5, 4, [3, 2]), (8, 4, [4, 4]), (11, 4, [4, 4, 3]), (3, 1, [1, 1, 1])],
)
def test_any_number_in_as_few_calls_as_it_takes(images: int, most: int, batches: list[int]) -> None:
    assert batches_of(images, most, any_number=True) == batches
