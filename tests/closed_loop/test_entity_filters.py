"""Queries of entities by name, category, tags and place."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from r3d2_ros.closed_loop.entity_filters import Filters, filtered
from r3d2_ros.closed_loop.entity_view import Entity
from r3d2_ros.closed_loop.simulation_codes import BoundsType, Category, Result
from r3d2_ros.geometry import Rigid

WORLD = (
    Entity("ego", Category.ROBOT, "", ("ego",), (4.0, 2.0, 1.5), Rigid.identity(), centre_m=1.5),
    Entity("car_1", Category.DYNAMIC_OBJECT, "", ("car", "red"), (4.0, 2.0, 1.5), Rigid.from_xyz_yaw(20, 0, 0, 0)),
    Entity("car_12", Category.DYNAMIC_OBJECT, "", ("car",), (4.0, 2.0, 1.5), Rigid.from_xyz_yaw(30, 0, 0, math.pi / 4)),
    Entity("Ann", Category.HUMAN, "", ("red",), (0.5, 0.5, 1.8), Rigid.from_xyz_yaw(0, 10, 0, 0)),
)


def found(**keys: Any) -> str:
    answer, entities = filtered(WORLD, Filters(**keys))
    assert answer.ok, answer
    return " ".join(entity.name for entity in entities)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("", "ego car_1 car_12 Ann"),
        ("car", "car_1 car_12"),
        ("^car_.$", "car_1"),
        ("1|ego", "ego car_1 car_12"),
        ("^[[:upper:]][[:alpha:]]+$", "Ann"),
        ("_[0-9]{2}", "car_12"),
        ("nobody", ""),
    ],
)
def test_names(name: str, names: str) -> None:
    assert found(name=name) == names


@pytest.mark.parametrize("name", ["(", "[", "*", "a{2,1}", "x" * 1001])
def test_what_is_no_expression_is_answered(name: str) -> None:
    answer, entities = filtered(WORLD, Filters(name=name))
    assert (answer.code, entities) == (Result.OPERATION_FAILED, ())
    assert answer.text.startswith("filter: expected")


def test_an_expression_that_takes_for_ever_is_answered() -> None:
    """Every way to make 40 letters of ones, twos and threes is tried before it fails."""
    slow = Entity("a" * 40 + "b", Category.OBJECT, "", (), (1.0, 1.0, 1.0), Rigid.identity())
    answer, entities = filtered([slow], Filters(name=r"^(a|aa|aaa)+\1?c?$"))
    assert (answer.code, entities) == (Result.OPERATION_FAILED, ())
    assert "takes too long" in answer.text


def test_categories_and_tags() -> None:
    assert found(categories=(Category.HUMAN, Category.ROBOT)) == "ego Ann"
    assert found(categories=(Category.STATIC_OBJECT,)) == ""
    assert found(categories=(200,)) == ""
    assert found(tags=("car", "red")) == "car_1 car_12 Ann"
    assert found(tags=("car", "red"), all_tags=True) == "car_1"
    assert found(tags=("red",), name="A", categories=(Category.HUMAN,)) == "Ann"


def sphere(x: float, y: float, z: float, radius: float) -> Any:
    return (BoundsType.SPHERE, ((x, y, z), (radius, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("bounds", "names"),
    [
        ((BoundsType.EMPTY, ()), "ego car_1 car_12 Ann"),
        # The front of the ego's box is 3.5 m ahead of its origin, the car's rear at x = 18.
        (sphere(10.0, 0.0, 0.5, 6.4), ""),
        (sphere(10.0, 0.0, 0.5, 6.5), "ego"),
        (sphere(10.0, 0.0, 0.5, 8.0), "ego car_1"),
        (sphere(20.0, 0.0, 3.5, 1.9), ""),
        (sphere(20.0, 0.0, 3.5, 2.1), "car_1"),
        ((BoundsType.BOX, ((19.0, 5.0, 5.0), (-1.0, -5.0, 0.0))), "ego car_1"),
        ((BoundsType.BOX, ((-1.0, -5.0, 0.0), (19.0, 5.0, 5.0))), "ego car_1"),
        ((BoundsType.BOX, ((40.0, 40.0, 1.0), (-40.0, 9.9, 0.0))), "Ann"),
        # Turned by 45 degrees, the corner of a 4 m x 2 m box reaches 2.12 m to each side, but the corner of the square
        # around it is empty.
        ((BoundsType.BOX, ((29.0, 5.0, 1.0), (27.0, 2.0, 0.0))), ""),
        ((BoundsType.BOX, ((32.0, 5.0, 1.0), (30.5, 2.0, 0.0))), "car_12"),
        ((BoundsType.BOX, ((29.0, 2.1, 1.0), (28.0, 1.4, 0.0))), ""),
    ],
)
def test_places(bounds: Any, names: str) -> None:
    assert found(bounds=bounds) == names


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        ((BoundsType.CONVEX_HULL, ((0.0, 0.0, 0.0),) * 4), Result.FEATURE_UNSUPPORTED),
        ((77, ()), Result.FEATURE_UNSUPPORTED),
        ((BoundsType.SPHERE, ()), Result.OPERATION_FAILED),
        ((BoundsType.BOX, ((0.0, 0.0, 0.0),)), Result.OPERATION_FAILED),
        (sphere(0.0, 0.0, 0.0, -1.0), Result.OPERATION_FAILED),
        (sphere(0.0, math.nan, 0.0, 1.0), Result.OPERATION_FAILED),
    ],
)
def test_places_that_cannot_be_used(bounds: Any, code: int) -> None:
    answer, entities = filtered(WORLD, Filters(bounds=bounds))
    assert (answer.code, entities) == (code, ())
    assert answer.text.startswith("bounds:")


def test_boxes_overlap_as_their_points_say() -> None:
    """Against points on a grid, for many turned boxes."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, 25)] * 3), axis=-1).reshape(-1, 3)
    hits = 0
    for _ in range(200):
        T = Rigid.from_rpy(random.uniform(-3, 3, 3), random.uniform(-3, 3, 3))
        entity = Entity("x", Category.OBJECT, "", (), (3.0, 1.0, 2.0), T)
        _, entities = filtered([entity], Filters(bounds=(BoundsType.BOX, ((-1.0,) * 3, (1.0,) * 3))))
        low, high = entity.box_m
        inside = T.inverse().apply(grid)
        touches = bool(np.any(np.all((inside >= low) & (inside <= high), axis=1)))
        assert entities or not touches
        grown = bool(np.any(np.all((inside >= low - 0.15) & (inside <= high + 0.15), axis=1)))
        assert grown or not entities
        hits += touches
    assert 20 < hits < 180
