"""Procedural pairs: streets of the splits are different ones, and pairs are what they say."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.garage import _VEHICLES, SHARES, _painted, make_thing
from r3d2_ros.dataset.light import CameraGrade, ForeignLight, Insert, blocked_by, foreign_light, own_light
from r3d2_ros.dataset.meta import SampleActor, SampleMeta
from r3d2_ros.dataset.pairs import Stage, make_pair, naive_render
from r3d2_ros.dataset.placement import window_of
from r3d2_ros.dataset.procedural import (
    SEEDS_PER_SPLIT,
    ProceduralOptions,
    make_group,
    make_stage,
    plan_sequences,
    street_options,
)
from r3d2_ros.dataset.samples import SPLITS
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rigs import load_rig
from r3d2_ros.street.build import LitStreet, build_lit_street
from r3d2_ros.street.lighting import display, radiance
from r3d2_ros.street.options import StreetOptions, Sun

OPTIONS = ProceduralOptions(seed=3, counts=(2, 1, 1), size=(128, 160), detail=0.3)
NO_GRADE = CameraGrade((1.0, 1.0, 1.0))


def test_streets_of_the_splits_never_meet() -> None:
    """Whatever the seeds of two datasets: what one trains with, no other tests with."""
    seen: dict[str, set[int]] = {split: set() for split in SPLITS}
    for seed in (0, 1, 2, 2**32 - 1):
        for sequence in plan_sequences(ProceduralOptions(seed=seed, counts=(2000, 300, 300))):
            seen[sequence.split].add(sequence.street_seed)
    train, val, test = (seen[split] for split in SPLITS)
    assert not train & val and not train & test and not val & test
    assert min(train | val | test) >= SEEDS_PER_SPLIT > StreetOptions().seed, "the demo's street is in none"
    assert len(train) == 4 * 50, "and different datasets have different streets"


def test_plan_gives_as_many_samples_as_asked_for() -> None:
    plan = plan_sequences(ProceduralOptions(seed=1, counts=(101, 5, 3), per_street=40))
    counts = {split: [s.count for s in plan if s.split == split] for split in SPLITS}
    assert [sum(counts[split]) for split in SPLITS] == [101, 5, 3]
    assert len(counts["train"]) == 3 and max(counts["train"]) <= 40
    assert len(counts["val"]) == 4 and len(counts["test"]) == 3
    assert len({s.name for s in plan}) == len(plan)


def test_suns_of_a_street_mirror_each_other_by_pairs() -> None:
    plan = plan_sequences(ProceduralOptions(seed=1, counts=(24, 0, 0), per_street=8, suns=4))
    for sequence in plan:
        first, second, third, fourth = (street_options(sequence, sun=sun) for sun in range(4))
        assert min(abs(option.sun.direction[1]) for option in (first, third)) > 0.04, "well to the side of the drive"
        for one, other in ((first, second), (third, fourth)):
            mirrored = one.sun.direction * [1, -1, 1]
            np.testing.assert_allclose(other.sun.direction, mirrored, atol=1e-9)
            assert replace(other, sun_azimuth_deg=one.sun_azimuth_deg) == one, "and nothing else differs"
        assert third.path == first.path and third.sun_elevation_deg != first.sun_elevation_deg


@pytest.mark.slow
def test_samples_of_mirrored_suns_show_the_same_inserts_in_another_light() -> None:
    options = replace(OPTIONS, counts=(4, 0, 0), per_street=4, suns=2)
    (sequence,) = plan_sequences(options)
    rig, renderer = load_rig("demo3"), CpuRenderer(RenderSettings(), 1)
    stages = [make_stage(sequence, options.detail, renderer, sun=sun) for sun in range(2)]
    for group in sequence.groups():
        (left, a), (right, b) = make_group(stages, sequence, group, options, rig)
        assert left.name != right.name and left.sequence == right.sequence
        np.testing.assert_allclose(np.array(left.sun.world) * [1, -1, 1], right.sun.world, atol=1e-9)
        assert left.camera == right.camera
        assert [actor.T_world_actor for actor in left.actors] == [actor.T_world_actor for actor in right.actors]
        # The road's splats are finer where shadows end, so that a pixel of an outline may differ.
        assert np.count_nonzero(a.mask != b.mask) <= 0.01 * np.count_nonzero(a.mask)
        assert not np.array_equal(a.input[~a.mask], b.input[~a.mask])


def test_all_suns_of_an_insert_are_there_but_for_the_last_one() -> None:
    plan = plan_sequences(ProceduralOptions(seed=1, counts=(51, 6, 4), per_street=7, suns=2))
    assert {split: sum(s.count for s in plan if s.split == split) for split in ("train", "val", "test")} == {
        "train": 51, "val": 6, "test": 4,
    }  # fmt: skip
    odd = [sequence for sequence in plan if sequence.count % 2]
    assert len(odd) == 1 and odd[0].count <= 7 and [len(group) for group in odd[0].groups()][-1] == 1
    assert [s.count for s in plan if s.split == "test"] == [2, 2]


def test_suns_of_the_streets_differ() -> None:
    plan = plan_sequences(ProceduralOptions(seed=1, counts=(40, 0, 0), per_street=1))
    suns = [street_options(sequence).sun for sequence in plan]
    assert np.ptp([sun.elevation_deg for sun in suns]) > 25
    assert np.ptp([sun.azimuth_deg for sun in suns]) > 250
    assert len({sun.power for sun in suns}) == len(suns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (600, 960)}, r"--size: expected at most the size of the camera's image, 540x960, got 600x960"),
        ({"counts": (-1, 1, 1)}, "--count"),
        ({"counts": (0, 0, 0)}, "--count"),
        ({"seed": -1}, "--seed"),
        ({"per_street": 0}, "--per-street"),
        ({"per_street": 3, "suns": 4}, "--suns: expected 1 to 3"),
        ({"size": (16, 256)}, "at least 64 pixels"),
        ({"covering": 1.5}, "--covering: expected 0 to 1, got 1.5"),
        ({"covering": float("nan")}, "--covering: expected 0 to 1, got nan"),
        ({"detail": 5.0}, "--detail: expected 0.3 to 2, got 5"),
    ],
)
def test_options_that_make_no_sense_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(OPTIONS, **change)


@pytest.mark.parametrize("kind", SHARES)
def test_things_stand_on_the_ground_in_the_middle_of_their_box(kind: str) -> None:
    thing = make_thing(kind, np.random.default_rng(4))
    low, high = thing.surfels.position.min(axis=0), thing.surfels.position.max(axis=0)
    assert low[2] == pytest.approx(0.0, abs=1e-4)
    np.testing.assert_allclose(high - low, thing.size_m, atol=0.02)
    np.testing.assert_allclose((low + high)[:2], 0, atol=0.02)
    assert 0.0 <= thing.surfels.albedo.min() <= thing.surfels.albedo.max() <= 1.0


@pytest.mark.parametrize("kind", ["hatchback", "truck"])
def test_a_painted_vehicle_is_what_its_maker_makes(kind: str) -> None:
    make, paints = _VEHICLES[kind]
    colours = [np.array([0.5, 0.2, 0.1]), np.array([0.1, 0.3, 0.7])][:paints]
    made, painted = make(*colours), _painted(kind).painted(colours)
    np.testing.assert_array_equal(made.position, painted.position)
    np.testing.assert_allclose(made.albedo, painted.albedo, atol=1e-6)


def test_radiance_is_the_inverse_of_display() -> None:
    light = np.array([0.0, 0.001, 0.05, 0.4, 1.5])
    np.testing.assert_allclose(radiance(display(light)), light, atol=1e-9)
    assert np.isfinite(radiance(np.array([1.0, 2.0]))).all()


@pytest.fixture(scope="module")
def stage() -> Stage:
    """A coarse street of 60 m under a sun at 40 degrees ahead and a little to the left."""
    options = StreetOptions(seed=11, length_m=60.0, sun_azimuth_deg=15.0, sun_elevation_deg=40.0, detail=0.3)
    lit = build_lit_street(options, with_assets=False)
    return Stage.of(lit, lit.street.scene.sky, CpuRenderer(RenderSettings(), 1))


def car_at(x: float, *, yaw_deg: float = 0.0) -> Insert:
    thing = make_thing("saloon", np.random.default_rng(1))
    return Insert(thing, Rigid.from_xyz_yaw(x, 0, 0, np.radians(yaw_deg)), "car", 1)


def twelve_metres_behind(car: Insert) -> CameraView:
    """The middle of what the demo's front camera sees from there."""
    x = float(car.T_scene_thing.translation[0])
    return window_of(load_rig("demo3")["front"].view(Rigid.from_xyz_yaw(x - 12, 0, 0, 0)), 200, 80, (256, 800))


def sunny_x(lit: LitStreet) -> float:
    """A place in the ego's lane that the sun reaches."""
    x = np.arange(20.0, 45.0, 0.5)
    shares = [
        lit.shadows.lit(np.array([[v + dx, 0, 0.3] for dx in (-4, -2, 0, 2)]), np.tile([0, 0, 1.0], (4, 1))).min()
        for v in x
    ]
    assert max(shares) > 0.9, "the street of these tests has a sunny place"
    return float(x[int(np.argmax(shares))])


def test_a_car_is_bright_on_the_side_of_the_sun_however_it_stands(stage: Stage) -> None:
    """Its own light turns with the car; a foreign light sticks to it."""
    here = sunny_x(stage.lit)
    toward = stage.lit.sun.direction
    for yaw_deg in (0.0, 120.0, 240.0):
        car = car_at(here, yaw_deg=yaw_deg)
        colours = own_light(car, [car], stage.lit, sun_radius_rad=0.005).mean(axis=1)
        paint = car.thing.surfels.gloss == np.float32(0.065)
        facing = car.placed().normal @ toward
        assert colours[paint & (facing > 0.5)].mean() > 1.25 * colours[paint & (facing < -0.2)].mean()


def test_pairs_differ_in_the_insert_and_where_it_takes_light_and_nowhere_else(stage: Stage) -> None:
    car = car_at(sunny_x(stage.lit))
    view = twelve_metres_behind(car)
    light = ForeignLight("other", Sun(azimuth_deg=200.0, elevation_deg=30.0), self_shadow=False)
    naive = naive_render(stage, [car], [light], view)
    pair = make_pair(stage, [car], naive, view, sun_radius_rad=0.005, grade=NO_GRADE)
    empty = stage.render(stage.sunny, [], [], view)
    away = naive.actor_weight == 0
    # Nothing of the insert's light is in the input beside it, and far from it the target has the same bits.
    np.testing.assert_array_equal(naive.rgb[away], empty.rgb[away])
    changed = (pair.input != pair.target).any(axis=-1)
    assert 0.03 < changed.mean() < 0.4
    rows, columns = np.nonzero(changed)
    assert rows.min() > 60 and columns.min() > 0 and columns.max() < 799, "all of it lies inside the image"
    assert np.count_nonzero(pair.mask & ~changed) < 0.02 * pair.mask.sum()
    # In the full shadow, away from the contact shade, what is left is the street without its sun.
    full = (pair.shadow > 0.999) & away
    assert full.sum() > 100
    no_sun = stage.render(stage.shaded, [], [], view).rgb
    assert np.all(pair.target[full] <= no_sun[full] + 2e-3)
    assert (pair.target[away] - pair.input[away]).max() < 0.5 / 255, "inserts only take light away"
    assert radiance(pair.target[full]).mean() < 0.6 * radiance(pair.input[full]).mean()


def test_the_shadow_lies_opposite_the_sun_and_touches_the_wheels(stage: Stage) -> None:
    """The sun stands ahead to the left: the ground behind the car, to its right, is in shadow, and at its tyres."""
    car = car_at(sunny_x(stage.lit))
    length, width, height = car.thing.size_m
    sun, place = stage.lit.sun.direction, car.T_scene_thing.translation
    reach = height / sun[2]
    points = {
        "behind": (-length / 2 - 0.3 * reach * sun[0], -0.3 * reach * sun[1]),
        "ahead": (length / 2 + 0.5, 0.2),
        "left": (0.0, width / 2 + 0.5),
        "tyre": (-1.27, -width / 2 + 0.1),
        "beneath": (0.0, 0.0),
    }
    ground = np.array([[x, y, 0.0] for x, y in points.values()]) + place
    hidden = dict(zip(points, blocked_by([car], ground, sun[None], start_m=0.02), strict=True))
    assert hidden == {"behind": 1, "ahead": 0, "left": 0, "tyre": 1, "beneath": 1}


def test_in_the_shade_of_a_house_there_is_no_second_shadow(stage: Stage) -> None:
    """The same pair in a street whose sun is covered: contact shade, no cast shadow, no sun on the car."""
    lit = stage.lit
    covered = replace(lit.shadows, height=np.full_like(lit.shadows.height, 1e9))
    dark = Stage.of(
        replace(
            lit,
            shadows=covered,
            street=replace(lit.street, scene=replace(lit.street.scene, background=stage.shaded)),
        ),
        stage.sky,
        stage.renderer,
    )
    car = car_at(sunny_x(lit))
    view = twelve_metres_behind(car)
    naive = naive_render(dark, [car], [ForeignLight("other", Sun(), self_shadow=False)], view)
    pair = make_pair(dark, [car], naive, view, sun_radius_rad=0.005, grade=NO_GRADE)
    assert pair.shadow is not None and not pair.shadow.any()
    sunny = make_pair(stage, [car], naive, view, sun_radius_rad=0.005, grade=NO_GRADE)
    gained = sunny.target[pair.mask] - pair.target[pair.mask]
    assert gained.min() > -1e-6 and gained.max() > 0.2, "the sun only adds light to the car"
    beneath = (pair.input != pair.target).any(axis=-1) & ~pair.mask
    assert beneath.sum() > 50, "contact shade is left"


def test_one_of_two_inserts_stands_before_the_other(stage: Stage) -> None:
    """In the whole image at least a fifth of the smaller rectangle is common to both, and much of each is seen."""
    options = replace(OPTIONS, counts=(3, 0, 0), size=(540, 960), covering=1.0)
    (sequence,) = plan_sequences(options)
    rig = load_rig("demo3")
    for group in sequence.groups():
        ((meta, _),) = make_group([stage], sequence, group, options, rig)
        near, far = sorted((_corners(actor, meta) for actor in meta.actors), key=lambda corners: corners[:, 2].min())
        assert near[:, 2].min() < far[:, 2].min() - 0.3
        one, other = (_in_image(corners, meta) for corners in (near, far))
        first = np.maximum(one.min(axis=0), other.min(axis=0))
        common = np.minimum(one.max(axis=0), other.max(axis=0)) - first
        smaller = min(np.prod(np.ptp(uv, axis=0)) for uv in (one, other))
        assert common.min() > 0 and np.prod(common) >= 0.2 * smaller
        areas = [(right - left) * (bottom - top) for left, top, right, bottom in (a.box_px for a in meta.actors)]
        assert min(areas) >= 160, "each is seen"


def test_foreign_light_does_not_turn_with_the_street() -> None:
    light = ForeignLight("other", Sun(azimuth_deg=40.0, elevation_deg=20.0), self_shadow=True)
    a, b = (foreign_light(car_at(20.0, yaw_deg=yaw), light) for yaw in (0.0, 90.0))
    np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_sample_depends_on_its_number_alone() -> None:
    """Sample 1 is the same whether sample 0 was made before it or not."""
    sequence = replace(plan_sequences(OPTIONS)[0], count=2)
    rig = load_rig("demo3", width_px=960, height_px=540)
    stage = make_stage(sequence, OPTIONS.detail, CpuRenderer(RenderSettings(), 1))
    group, following = sequence.groups()
    (first,) = make_group([stage], sequence, group, OPTIONS, rig)
    (second,) = make_group([stage], sequence, following, OPTIONS, rig)
    (again,) = make_group([stage], sequence, following, OPTIONS, rig)
    assert second[0] == again[0] and first[0] != second[0]
    np.testing.assert_array_equal(second[1].input, again[1].input)
    np.testing.assert_array_equal(second[1].target, again[1].target)
    for meta, pair in (first, second):
        assert pair.input.shape == (128, 160, 3) and pair.mask.any()
        for actor in meta.actors:
            left, top, right, bottom = actor.box_px
            assert pair.mask[top:bottom, left:right].any()
        u, v = _projected(meta.actors[0].T_world_actor, meta)
        left, top, right, bottom = meta.actors[0].box_px
        assert left - 60 < u < right + 60 and top - 30 < v < bottom + 60
        assert meta.sun is not None and np.linalg.norm(meta.sun.world) == pytest.approx(1)


def _corners(actor: SampleActor, meta: SampleMeta) -> np.ndarray:
    """[8, 3] of its box, in the camera's frame."""
    half_length, half_width, height = actor.size_m[0] / 2, actor.size_m[1] / 2, actor.size_m[2]
    box = itertools.product((-half_length, half_length), (-half_width, half_width), (0, height), (1,))
    in_world = np.array([*box]) @ np.array(actor.T_world_actor).T
    return meta.camera.view.T_camera_world.apply(in_world[:, :3])


def _in_image(corners: np.ndarray, meta: SampleMeta) -> np.ndarray:
    uv = corners @ meta.camera.view.K.T
    return np.clip(uv[:, :2] / uv[:, 2:], 0, [meta.camera.width_px, meta.camera.height_px])


def _projected(T_world_actor: tuple, meta: object) -> tuple[float, float]:
    view = meta.camera.view  # type: ignore[attr-defined]
    point = view.K @ view.T_camera_world.apply(np.array(T_world_actor)[:3, 3])
    return float(point[0] / point[2]), float(point[1] / point[2])
