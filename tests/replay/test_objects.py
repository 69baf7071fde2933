"""Objects of perception messages become actors: place, size, and which asset stands for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.errors import InputErrors
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.input_checks import ActorInput, ActorRules, actor_state
from r3d2_ros.replay.classes import AssetChooser, ClassTable, load_class_table
from r3d2_ros.replay.objects import SeenObject, autoware_objects, derived_objects, vision_detections
from r3d2_ros.scene import Asset, AssetLibrary
from r3d2_ros.world import ActorState
from tests.replay import bags

UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def dot() -> Gaussians:
    return Gaussians(np.zeros((1, 3)), [[1, 0, 0, 0]], np.ones((1, 3)), [0.9], np.zeros((1, 1, 3)))


def asset(name: str, size: tuple[float, float, float], category: str) -> Asset:
    return Asset(name, dot(), size, category)


LIBRARY = AssetLibrary(
    {
        "hatchback": asset("hatchback", (4.0, 1.8, 1.5), "car"),
        "saloon": asset("saloon", (4.1, 1.8, 1.5), "car"),
        "van": asset("van", (5.5, 2.1, 2.4), "van"),
        "walker": asset("walker", (0.6, 0.6, 1.8), "pedestrian"),
    }
)


def chooser(fit: str = "asset", config: SimConfig | None = None) -> AssetChooser:
    table = ClassTable(fit=fit, classes=load_class_table(SimConfig()).classes)  # type: ignore[arg-type]
    return AssetChooser(table, LIBRARY, config or SimConfig())


def seen(name: str = "a", label: str = "car", size: tuple[float, float, float] | None = (4.05, 1.8, 1.5),
         centre: bool = True, z: float = 2.0) -> SeenObject:  # fmt: skip
    return SeenObject(name, label, (10.0, 1.0, z), UPRIGHT, size, centre)


def placed(actor: ActorInput, actor_pose: str = "ground_center") -> ActorState:
    rules = ActorRules(LIBRARY.__contains__, lambda name: LIBRARY[name].size_m[2], actor_pose)  # type: ignore[arg-type]
    state = actor_state(actor, rules)
    assert isinstance(state, ActorState)
    return state


def test_autoware_objects() -> None:
    message = bags.autoware_objects(0.0, [bags.autoware_object(7, 1, bags.pose(3, 4, 5, 0.2), (4.0, 2.0, 1.5))])
    (found,) = autoware_objects(message)
    assert found.id == "07" * 16 and found.label == "car" and found.is_centre
    assert found.position_m == (3.0, 4.0, 5.0) and found.size_m == (4.0, 2.0, 1.5)
    assert found.quat_wxyz == pytest.approx((np.cos(0.1), 0, 0, np.sin(0.1)))
    predicted = bags.autoware_objects(
        0.0, [bags.autoware_object(7, 7, bags.pose(3), (0.6, 0.6, 1.7), predicted=True)], predicted=True
    )
    assert autoware_objects(predicted)[0].label == "pedestrian"


def test_a_polygon_has_the_size_of_its_footprint() -> None:
    entry = bags.autoware_object(1, 1, bags.pose(0), (0.0, 0.0, 1.6))
    point = bags.T["geometry_msgs/msg/Point32"]
    entry.shape.type = 2
    entry.shape.footprint.points = [point(-2.0, -1.0, 0.0), point(2.5, -1.0, 0.0), point(0.0, 1.0, 0.0)]
    assert autoware_objects(bags.autoware_objects(0.0, [entry]))[0].size_m == (4.5, 2.0, 1.6)


def test_derived_objects_and_detections() -> None:
    message = bags.derived_objects(0.0, [bags.derived_object(12, 7, bags.pose(1), (8.0, 2.5, 3.0))])
    (found,) = derived_objects(message)
    assert (found.id, found.label, found.size_m, found.is_centre) == ("12", "truck", (8.0, 2.5, 3.0), False)
    (found,) = vision_detections(bags.detections(0.0, [bags.detection("", "Car", bags.pose(1), (4.0, 2.0, 1.5))]))
    assert (found.id, found.label, found.is_centre) == ("", "car", True)


def test_the_box_stands_on_the_ground_where_the_asset_does() -> None:
    """Centre at 2 m, 1.5 m high: the ground is at 1.25 m, also under an asset of another height."""
    actors, faults = chooser().actors([seen()])
    assert faults == []
    for actor_pose in ("ground_center", "box_center"):
        state = placed(actors[0], actor_pose)
        assert state.T_world_actor.translation.tolist() == [10.0, 1.0, 1.25]
        assert state.size_m is None


def test_a_tilted_box_stands_below_its_centre_along_its_own_axis() -> None:
    """On its right side, so that its z axis is along -y: the ground of a box of 1.5 m is 0.75 m towards +y."""
    lying = replace(seen(), quat_wxyz=(1.0, 1.0, 0.0, 0.0))
    (actor,), _ = chooser().actors([lying])
    assert placed(actor).T_world_actor.translation == pytest.approx([10.0, 1.75, 2.0])


def test_a_pose_without_a_convention_means_what_the_configuration_says() -> None:
    ground, _ = chooser().actors([seen(centre=False)])
    assert placed(ground[0]).T_world_actor.translation[2] == 2.0
    config = load_config(None, {"assets.actor_pose": "box_center"})
    centre, _ = chooser(config=config).actors([seen(centre=False)])
    assert placed(centre[0], "box_center").T_world_actor.translation[2] == pytest.approx(2.0 - 1.5 / 2)


def test_the_nearest_size_decides_and_equals_are_shared_by_id() -> None:
    actors, _ = chooser().actors([seen(f"{i}") for i in range(40)])
    assert {actor.asset for actor in actors} == {"hatchback", "saloon"}
    large, _ = chooser().actors([seen(size=(5.4, 2.0, 2.3))])
    assert large[0].asset == "van"
    unknown_size, _ = chooser().actors([seen(f"{i}", size=None) for i in range(40)])
    assert {actor.asset for actor in unknown_size} == {"hatchback", "saloon", "van"}


def test_a_track_keeps_its_asset_while_its_box_grows() -> None:
    one = chooser()
    first, _ = one.actors([seen(size=(4.0, 1.8, 1.5))])
    later, _ = one.actors([seen(size=(5.5, 2.1, 2.4))])
    assert first[0].asset == later[0].asset != "van"
    as_other_class, _ = one.actors([seen(label="van", size=(5.5, 2.1, 2.4))])
    assert as_other_class[0].asset == "van"


def test_stretched_to_the_box_of_the_first_sight() -> None:
    one = chooser("box")
    first, _ = one.actors([seen(size=(4.4, 1.9, 1.6))])
    later, _ = one.actors([seen(size=(3.0, 1.9, 1.6))])
    assert first[0].size_m == later[0].size_m == (4.4, 1.9, 1.6)


def test_objects_without_an_id_are_never_taken_for_each_other() -> None:
    one = chooser()
    first, _ = one.actors([seen(""), seen("")])
    second, _ = one.actors([seen(""), seen("")])
    third, _ = one.actors([seen(""), seen("")])
    names = [{actor.id for actor in actors} for actors in (first, second, third)]
    assert len(names[0]) == 2 and not names[0] & names[1]
    assert names[0] == names[2], "else the numbers of a long run would run out"


def test_classes_without_an_asset_are_reported_and_not_drawn() -> None:
    actors, faults = chooser().actors([seen(label="animal"), seen("b")])
    assert [actor.id for actor in actors] == ["b"]
    assert "class 'animal' are not drawn" in faults[0].text


def test_broken_numbers_are_left_to_the_checks() -> None:
    nan = float("nan")
    actors, _ = chooser().actors([SeenObject("a", "car", (nan, 0, 0), UPRIGHT, (4.0, 2.0, 1.5), True)])
    rules = ActorRules(LIBRARY.__contains__, lambda name: 1.5)
    assert "expected a position" in actor_state(actors[0], rules).text  # type: ignore[union-attr]


def test_a_table_of_ones_own(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "my_classes.yaml"
    path.write_text("fit: box\nclasses: {deer: [walker], car: []}\n")
    table = load_class_table(load_config(None, {"assets.classes": str(path)}))
    actors, faults = AssetChooser(table, LIBRARY, SimConfig()).actors([seen(label="deer"), seen("b")])
    assert [actor.asset for actor in actors] == ["walker"] and len(faults) == 1
    path.write_text("fits: box\nclasses: {deer: walker}\n")
    with pytest.raises(InputErrors) as caught:
        load_class_table(load_config(None, {"assets.classes": str(path)}))
    assert len(caught.value.faults) == 2
