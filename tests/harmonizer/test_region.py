"""The region: hand-computed rectangles and footprints, a ray-by-ray reference, and real renders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, CameraView
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.harmonizer.compositing import region
from r3d2_ros.harmonizer.compositing.region import ActorBox, actor_boxes, actor_region, find_region
from r3d2_ros.harmonizer.compositing.region_cpu import fill_spans, polygon_spans, project_polygon
from r3d2_ros.harmonizer.settings import RegionConfig
from r3d2_ros.schema import validate
from tests.test_simulator import simulator, state

HEIGHT, WIDTH = 100, 200
K = np.array([[100.0, 0, 99.5], [0, 100.0, 49.5], [0, 0, 1]])
FORWARD = Camera("forward", WIDTH, HEIGHT, K, Rigid(R_BODY_OPTICAL, np.zeros(3)))
# 10 m above the ground, looking down, the top of the image towards +x: 1 m of ground is 10 pixels.
DOWN = Camera("down", WIDTH, HEIGHT, K, Rigid(np.array([[0, -1, 0], [-1, 0, 0], [0, 0, -1.0]]), np.array([0, 0, 10.0])))

RECTANGLE_ONLY = RegionConfig(shadow_length=0.0, ground_margin_m=0.0, depth_test=False)
GROUND_ONLY = RegionConfig(
    side=0, below=0, above=0, shadow_length=1.0, ground_margin_m=0.5, feather_px=0, depth_test=True
)

SHADOW_ONLY = replace(GROUND_ONLY, ground_margin_m=0.0, depth_test=False)


def images(depth_m: float = 10.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return np.zeros((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), depth_m, np.float32)


def ahead(x_m: float = 10.0, y_m: float = 0.0, yaw_rad: float = 0.0) -> ActorBox:
    """A screen 2 m wide and 2 m high, its middle at the height of the camera: 20 by 20 pixels at 10 m."""
    return ActorBox(Rigid.from_xyz_yaw(x_m, y_m, -1.0, yaw_rad), (0.001, 2.0, 2.0))


def make(
    weight: NDArray[np.float32], depth: NDArray[np.float32], *boxes: ActorBox, config: RegionConfig, camera: Camera
) -> NDArray[np.float32] | None:
    view = camera.view(Rigid.identity())
    return actor_region(actor_weight=weight, depth=depth, view=view, boxes=boxes, config=config)


def test_the_margins_are_box_heights_and_the_feather_lies_around_them_inside_the_region() -> None:
    weight, depth = images()
    weight[40:60, 90:110] = 0.9
    mask = make(weight, depth, ahead(), config=RECTANGLE_ONLY, camera=FORWARD)
    assert mask is not None and mask.dtype == np.float32 and mask.shape == (HEIGHT, WIDTH)
    # 20 px high: 2 above, 9 below, 16 left and right have 1; the feather of 4 px goes down in fifths around that.
    expected = np.zeros((HEIGHT, WIDTH), np.float32)
    for k in range(5):
        expected[34 + k : 73 - k, 70 + k : 130 - k] = (k + 1) / 5
    np.testing.assert_allclose(mask, expected, atol=1e-7)
    assert (mask[38:69, 74:126] == 1).all() and np.count_nonzero(mask) == 39 * 60


def test_margins_are_taken_from_what_is_seen_of_the_actor() -> None:
    weight, depth = images()
    weight[50:60, 100:110] = 0.9
    mask = make(weight, depth, ahead(), config=replace(RECTANGLE_ONLY, feather_px=0), camera=FORWARD)
    assert mask is not None
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (48, 69, 84, 126)


def test_the_edge_of_the_image_is_no_edge_of_the_region() -> None:
    weight, depth = images()
    weight[:] = 1.0
    mask = make(weight, depth, ahead(1.0), config=RegionConfig(), camera=FORWARD)
    assert mask is not None and (mask == 1).all()


def test_the_footprint_on_the_ground_grows_by_the_shadow() -> None:
    weight, depth = images()
    weight[45:55, 90:110] = 1.0
    depth[45:55, 90:110] = 9.0
    box = ActorBox(Rigid.from_xyz_yaw(0.0, 0.0, 0.0, 0.0), (4.0, 2.0, 1.0))
    mask = make(weight, depth, box, config=GROUND_ONLY, camera=DOWN)
    assert mask is not None and set(np.unique(mask)) == {0, 1}
    # 4 x 2 m grown by 1 x 1 m + 0.5 m on every side: 7 m in image rows (x is up), 5 m in columns (y is left).
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (15, 85, 75, 125)
    assert mask[15, 100] == 1 and mask[50, 75] == 1
    assert mask[15, 75] == 0 and mask[84, 124] == 0, "corners are round"
    # A polygon with a corner every 30 degrees has 3 r^2 of a circle's pi r^2.
    assert mask.sum() == pytest.approx(100 * (7 * 5 - (4 - 3) * 1.5**2), rel=0.01)


def test_surfaces_that_the_shadow_cannot_reach_are_left_out() -> None:
    weight, depth = images()
    weight[45:55, 90:110] = 1.0
    depth[45:55, 90:110] = 9.0
    depth[20:30] = 8.0  # 2 m above the ground, the roof is at 1 m.
    depth[30:35] = np.nan  # sky
    depth[65:75] = 9.9  # a kerb
    depth[75:80] = 12.0  # a pit
    box = ActorBox(Rigid.from_xyz_yaw(0.0, 0.0, 0.0, 0.0), (4.0, 2.0, 1.0))
    mask = make(weight, depth, box, config=GROUND_ONLY, camera=DOWN)
    assert mask is not None
    assert (mask[[18, 40, 60, 70, 82], 100] == 1).all() and (mask[20:35] == 0).all() and (mask[75:80] == 0).all()
    everything = make(weight, depth, box, config=replace(GROUND_ONLY, depth_test=False), camera=DOWN)
    assert everything is not None and (everything[15:85, 100] == 1).all()


def test_a_facade_beside_the_rectangle_is_left_out_and_one_within_reach_is_not() -> None:
    weight, depth = images(30.0)
    weight[40:60, 90:110] = 0.9
    depth[40:60, 90:110] = 10.0
    depth[:, :80] = 11.0
    config = RegionConfig(shadow_length=1.5, ground_margin_m=0.0, feather_px=0)
    mask = make(weight, depth, ahead(), config=config, camera=FORWARD)
    assert mask is not None
    assert mask[55, 76] == 1, "1 m behind the actor and 1.6 m beside it; at 0.4 m its shadow is 2.4 m long"
    assert mask[50, 115] == 0, "20 m behind it"
    # A pixel of the facade is 11 cm. The middle of row 49 is 1.055 m above ground, 0.945 m below the actor's top: the
    # shadow ends 1.4175 m beside it, between the pixels whose middles are 1.475 and 1.365 m beside it.
    assert (mask[49, 77:79] == [0, 1]).all()
    assert (mask[49:52, 77] == [0, 1, 1]).all() and (mask[38:49, 79] == 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_surfaces_within_reach_are_those_below_the_slope_of_the_shadow(seed: int) -> None:
    """Pixel by pixel in the actor's frame, for surfaces at random depths."""
    random = np.random.default_rng(seed)
    box = ActorBox(Rigid.from_rpy((0.05, 0.03, random.uniform(0, 6)), (9.0, 0.5, -1.6)), (3.0, 1.8, 1.5))
    weight, _ = images()
    weight[45:60, 85:100] = 1.0
    depth = random.uniform(4, 14, (HEIGHT, WIDTH)).astype(np.float32)
    config = RegionConfig(shadow_length=1.2, ground_margin_m=0.4, feather_px=0)
    mask = make(weight, depth, box, config=config, camera=FORWARD)
    outline = make(weight, depth, box, config=replace(config, depth_test=False), camera=FORWARD)
    assert mask is not None and outline is not None
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    view = FORWARD.view(Rigid.identity())
    points = depth[..., None] * (np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view.K).T)
    T = view.T_camera_world @ box.T_world_actor
    points = (points - T.translation) @ T.rotation
    length, width, height = box.size_m
    left_m = 0.4 + 1.2 * (height - np.maximum(points[..., 2], 0))
    beyond = np.maximum(np.abs(points[..., 0]) - length / 2, np.abs(points[..., 1]) - width / 2) - left_m
    beyond = np.maximum(beyond, np.maximum(points[..., 2] - height, -points[..., 2]) - region.VERTICAL_SLACK_M)
    sure = np.abs(beyond) > 1e-4  # float32
    assert np.array_equal(mask[sure] > 0, ((weight > 0) | ((outline > 0) & (beyond <= 0)))[sure])
    assert 0.01 < (mask > 0).mean() < 0.6 * (outline > 0).mean()


def footprint_by_rays(box: ActorBox, view: CameraView) -> Array:
    """[H, W] metres from where each pixel's ray meets the actor's ground plane to the footprint; inf for the sky."""
    v, u = np.mgrid[: view.height_px, : view.width_px] + 0.5
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view.K).T
    T = view.T_camera_world @ box.T_world_actor
    start, rays = T.inverse().translation, rays @ T.rotation
    with np.errstate(divide="ignore", invalid="ignore"):
        z = -start[2] / rays[..., 2]
    ground = start + z[..., None] * rays
    outside = np.maximum(np.abs(ground[..., :2]) - np.array(box.size_m[:2]) / 2, 0)
    return np.where(z >= region.NEAR_PLANE_M, np.hypot(outside[..., 0], outside[..., 1]), np.inf)


@pytest.mark.parametrize("seed", range(12))
def test_footprints_agree_with_rays_also_around_and_behind_the_camera(seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.uniform((-6, -5), (15, 5)) if seed else (0.0, 0.0)
    box = ActorBox(Rigid.from_rpy((0.05, 0.03, random.uniform(0, 6)), (x, y, -1.6)), (4.5, 1.8, 1.5))
    view = FORWARD.view(Rigid.identity())
    reach_m = 2.0
    ring = region._grown_footprints(np.array([box.size_m]), np.array([reach_m]))[0]
    ring = (view.T_camera_world @ box.T_world_actor).apply(ring)
    mask, nowhere = np.zeros((HEIGHT, WIDTH), np.uint8), np.tile([0, 0, 0, 0, -np.inf, np.inf], (3, 1))
    spans = np.empty((HEIGHT, 2), np.int32)
    polygon_spans(project_polygon(ring, view.K, region.NEAR_PLANE_M), WIDTH, spans)
    fill_spans(mask, images()[1], spans, nowhere, 0.0)
    distance = footprint_by_rays(box, view)
    # The rounded corners are polygons within the circle, at worst at cos(15 deg) of its radius.
    assert (mask[distance < reach_m * np.cos(np.pi / 12) - 1e-9] == 255).all()
    assert (mask[distance > reach_m + 1e-9] == 0).all()


def test_an_actor_that_is_not_seen_has_no_region() -> None:
    weight, depth = images()
    assert make(weight, depth, ahead(), config=RegionConfig(), camera=FORWARD) is None
    assert make(weight, depth, config=RegionConfig(), camera=FORWARD) is None
    weight[:, :20] = 0.9
    one = make(weight, depth, ahead(), config=RegionConfig(), camera=FORWARD)
    assert one is not None and (one[:, 24:] == 0).all(), "the pixels belong to something else than the box ahead"


def test_a_hidden_actor_adds_its_surroundings_as_if_it_were_seen() -> None:
    """Pixels say that an actor is seen, and not which: where none is in an actor's window, it adds nothing."""
    weight, depth = images()
    weight[40:60, 90:110] = 0.9  # all of them the nearer one's
    hidden, unseen = ahead(14.0), ahead(14.0, y_m=-5.0)  # 14 by 14 pixels: columns 93 to 107, and 129 to 143
    alone, with_hidden, with_unseen = (
        make(weight, depth, ahead(), *more, config=SHADOW_ONLY, camera=FORWARD) for more in ((), (hidden,), (unseen,))
    )
    assert alone is not None and with_hidden is not None
    np.testing.assert_array_equal(with_unseen, alone)
    # The shadows end 2 m from the actors. Of the ground a metre below the camera, row 57 shows what is 13.3 m away, and
    # 1 m + sqrt(2^2 - 0.7^2) m to the left and right of the hidden one's middle: 21.6 pixels.
    added = np.argwhere(with_hidden > alone)
    assert set(added[:, 0]) == {56, 57} and (with_hidden >= alone).all()
    columns = added[added[:, 0] == 57, 1]
    assert (columns.min(), columns.max()) == (79, 120)


@pytest.mark.parametrize("box", [ahead(-5.0), ahead(0.0, 0.0, 0.4), ahead(0.01), ahead(200.0), ahead(1e6)])
def test_actors_behind_around_and_far_from_the_camera(box: ActorBox) -> None:
    weight, depth = images()
    weight[49:51, 99:101] = 0.5
    mask = make(weight, depth, box, config=RegionConfig(), camera=FORWARD)
    assert mask is not None and np.isfinite(mask).all() and mask.min() >= 0 and mask.max() == 1
    assert (mask[49:51, 99:101] == 1).all()


def test_small_holes_in_the_depth_do_not_pierce_the_region() -> None:
    weight, depth = images()
    weight[40:60, 90:110] = 0.9
    config = RegionConfig(shadow_length=3.0)
    whole = make(weight, depth, ahead(), config=config, camera=FORWARD)
    depth[50, 80] = np.nan
    pierced = make(weight, depth, ahead(), config=config, camera=FORWARD)
    assert whole is not None and pierced is not None and whole[50, 80] == 1
    np.testing.assert_array_equal(pierced, whole)


def test_a_real_render_is_covered_where_the_actor_is_seen() -> None:
    sim, now = simulator(), state()
    boxes = actor_boxes(now.actors, sim.library)
    assert [box.size_m for box in boxes] == [(4.0, 2.0, 2.0)]
    views = [camera.view(now.ego.T_world_ego) for camera in sim.rig.cameras]
    front, left = sim.renderer.render(sim.scene.compose(now.actors, sim.library), views)
    config = RegionConfig()
    mask = actor_region(actor_weight=front.actor_weight, depth=front.depth, view=views[0], boxes=boxes, config=config)
    assert mask is not None and (mask[front.actor_weight >= config.min_weight] == 1).all()
    assert 0.1 < (mask == 0).mean() < 0.9
    found = find_region(actor_weight=front.actor_weight, depth=front.depth, view=views[0], boxes=boxes, config=config)
    assert found is not None
    rows, columns = np.nonzero(found.mask)
    assert found.bounds == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    assert left.actor_weight.max() == 0
    assert (
        actor_region(actor_weight=left.actor_weight, depth=left.depth, view=views[1], boxes=boxes, config=config)
        is None
    )


def test_the_configuration_is_checked_and_image_sizes_too() -> None:
    assert validate(RegionConfig, {"feather_px": 8}, "test").feather_px == 8
    with pytest.raises(ValueError, match=r"test: side: expected greater than or equal to 0, got -1"):
        validate(RegionConfig, {"side": -1}, "test")
    weight, depth = images()
    with pytest.raises(ValueError, match=r"expected images \(100, 200\), got \(50, 200\)"):
        make(weight[:50], depth, config=RegionConfig(), camera=FORWARD)
