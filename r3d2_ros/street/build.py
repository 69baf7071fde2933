"""From options to a lit street."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Array, Rigid, Similarity, rotation_from_rpy
from r3d2_ros.lane_map import BUILDING, POLE, ROAD, SIDEWALK, TERRAIN, VEGETATION, LaneMap, MapLane
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.street.assets import make_library
from r3d2_ros.street.furnishing import furnish, furniture_surfels, places
from r3d2_ros.street.greenery import greenery_surfels
from r3d2_ros.street.ground import grit_surfels, ground_height, road_surfels
from r3d2_ros.street.houses import doorsteps, house_surfels
from r3d2_ros.street.land import land_surfels, underlay_surfels
from r3d2_ros.street.lanes import Lanes
from r3d2_ros.street.layout import HALF_ROAD_M, KERB_HEIGHT_M, PAVEMENT_EDGE_M, WALK_M
from r3d2_ros.street.lighting import ShadowMap, SkyView, shade
from r3d2_ros.street.lots import place_lots
from r3d2_ros.street.options import LICENCE, StreetOptions, Sun
from r3d2_ros.street.road_paint import RoadPlan, plan_road
from r3d2_ros.street.route import LANE_OFFSET_M, Route, make_route
from r3d2_ros.street.sky import make_sky
from r3d2_ros.street.styles import choose_style
from r3d2_ros.street.surfels import Surfels, join, to_gaussians

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Street:
    """A street, the assets that fit its light, the lines that a drive can follow, and what scores want to know.

    labels  [N] uint8, semantic class of every Gaussian of the scene's background (`lane_map.ROAD` and others)
    """

    scene: Scene
    library: AssetLibrary
    lanes: Lanes
    lane_map: LaneMap
    labels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class LitStreet:
    """A street, and what lights it: enough to light other things that are put there, or to take light away.

    Positions are in the scene's frame: the map without its `offset` [3].
    surfels, sunlit, sky_view  of every Gaussian of the background; sunlit [N] is the share of the sun that reaches it
    """

    street: Street
    sun: Sun
    route: Route
    offset: Array
    shadows: ShadowMap
    sky: SkyView
    surfels: Surfels
    sunlit: Array
    sky_view: Array

    def ground_height(self, xy: Array) -> Array:
        """Height [N] of the carriageway or footway at xy [N, 2]; NaN beyond them."""
        s, t, z = self.route.locate(xy)
        on_it = (np.abs(t) < PAVEMENT_EDGE_M) & (s > self.route.start_m) & (s < self.route.end_m)
        return np.where(on_it, z + ground_height(t), np.nan)

    def without_sun(self) -> Gaussians:
        """The background where no sun reaches it directly: the light of the sky and of what the sun shines on."""
        shown = shade(self.surfels, self.sun, sunlit=0.0, sky_view=self.sky_view)
        return replace(self.street.scene.background, sh=rgb_to_sh(shown))


def build_street(options: StreetOptions | None = None, progress: Progress | None = None) -> Street:
    """Make the street of `options`: the same options give the same bytes.

    `progress` is called with the name of a stage and the share of the work done before it.
    """
    return build_lit_street(options, progress).street


def build_lit_street(
    options: StreetOptions | None = None, progress: Progress | None = None, *, with_assets: bool = True
) -> LitStreet:
    """As `build_street`, with what lights the street. Without its assets the library is empty."""
    options = options or StreetOptions()
    tell = progress or (lambda _stage, _done: None)
    path = np.array(options.path if options.path is not None else [(0.0, 0.0, 0.0), (options.length_m, 0.0, 0.0)])
    offset = np.array([*np.round(path[0, :2]), path[0, 2]]) if options.path is not None else np.zeros(3)
    route = make_route(path - offset)
    tell("layout", 0.0)
    houses_rng, plants_rng, road_rng = (np.random.default_rng([options.seed, k]) for k in range(3))
    plan = plan_road(route, road_rng, options.seed)
    lots = place_lots(route, houses_rng)
    tell("houses", 0.05)
    passed = np.array([-22.0 < lot.s < route.drive_length_m + 24.0 for lot in lots])
    styles = [choose_style(houses_rng, lot.width_m) for lot in lots]
    houses = house_surfels(lots, styles, coarser=np.where(passed, 1.0, 2.3) / options.detail)
    tell("trees", 0.3)
    pieces = furnish(route, plan, doorsteps(lots, styles))
    things = furniture_surfels(route, pieces)
    greenery = greenery_surfels(route, plan, lots, styles, places(pieces), plants_rng)
    tell("shadows", 0.4)
    standing = join([houses, greenery, things])
    shadows = ShadowMap.of(standing, options.sun)
    tell("road", 0.5)
    footprints = np.array([lot.corners for lot in lots]).reshape(-1, 4, 2)
    ground = join(
        [
            road_surfels(route, plan, shadows, detail=options.detail),
            grit_surfels(route, plan, road_rng, detail=options.detail),
            land_surfels(route, seed=options.seed, keep_out=footprints),
        ]
    )
    tell("light", 0.65)
    underlay = underlay_surfels(route)
    everything = join([ground, standing, underlay])
    sky = SkyView.of(houses)
    sunlit, sky_view = _lit(everything, underlay, shadows, sky)
    background = to_gaussians(everything, shade(everything, options.sun, sunlit=sunlit, sky_view=sky_view))
    labels = np.concatenate(
        [
            _ground_labels(route, ground),
            np.full(len(houses), BUILDING),
            np.full(len(greenery), VEGETATION),
            np.full(len(things), POLE),
            np.full(len(underlay), TERRAIN),
        ]
    ).astype(np.uint8)
    tell("assets", 0.85)
    library = make_library(options.sun) if with_assets else AssetLibrary()
    tell("sky", 0.95)
    street = _street(options, route, plan, offset, background, library, labels)
    return LitStreet(street, options.sun, route, offset, shadows, sky, everything, sunlit, sky_view)


def _lit(everything: Surfels, underlay: Surfels, shadows: ShadowMap, sky: SkyView) -> tuple[Array, Array]:
    """Share [N] of the sun and of the sky that reaches each surfel; the last are those of the underlay."""
    normal = everything.normal
    sunlit = shadows.lit(everything.position, normal)
    hidden = len(everything) - len(underlay)
    # Leaves shade one another softly; the underlay must look like the road above it.
    sunlit = np.where(everything.leafy > 0, 0.25 + 0.75 * sunlit, sunlit)
    sunlit[hidden:] = shadows.lit(underlay.position + [0, 0, 0.75], normal[hidden:])
    return sunlit, sky.openness(everything.position, normal)


def _ground_labels(route: Route, ground: Surfels) -> NDArray[np.int64]:
    """Carriageway between the kerbs, footway up to the plots, land beyond."""
    s, t, _ = route.locate(ground.position[:, :2])
    beside = np.where((s > route.start_m) & (s < route.end_m), np.abs(t), np.inf)
    return np.select([beside < HALF_ROAD_M, beside < PAVEMENT_EDGE_M], [ROAD, SIDEWALK], TERRAIN)


def _street(
    options: StreetOptions,
    route: Route,
    plan: RoadPlan,
    offset: Array,
    background: Gaussians,
    library: AssetLibrary,
    labels: NDArray[np.uint8],
) -> Street:
    lines = {t: route.beside_drive(t) + offset for t in (LANE_OFFSET_M, -WALK_M, WALK_M)}
    for t in (-WALK_M, WALK_M):
        lines[t][:, 2] += KERB_HEIGHT_M - 0.03
    edge = PAVEMENT_EDGE_M - 1.0
    crossing = route.at(np.full(2, plan.zebra_s), np.array([-edge, edge])) + offset
    low = np.append(route.points[:, :2].min(axis=0) - 3.0, route.points[:, 2].min() - 5.0)
    high = np.append(route.points[:, :2].max(axis=0) + 3.0, route.points[:, 2].max() + 30.0)
    scene = Scene(
        name="street",
        background=background,
        T_map_scene=Similarity(np.eye(3), offset, 1.0),
        sky=make_sky(options.sun, options.seed),
        trajectory=_poses(route.drive),
        bounds=np.stack([low, high]),
        procedural=True,
        licence=LICENCE,
    )
    oncoming = lines[LANE_OFFSET_M][::-1].copy()
    lanes = Lanes(route.drive + offset, oncoming, crossing, (lines[-WALK_M], lines[WALK_M]))
    return Street(scene, library, lanes, _lane_map(route, offset, lanes), labels)


def _lane_map(route: Route, offset: Array, lanes: Lanes) -> LaneMap:
    """Two lanes between the kerbs, with borders as long as the road; their centre lines are those that are driven."""
    s = np.arange(route.start_m, route.end_m + 1e-9, 1.0)
    middle, right, left = (route.at(s, np.full(len(s), t)) + offset for t in (0.0, -HALF_ROAD_M, HALF_ROAD_M))
    return LaneMap(
        lanes=(
            MapLane("ego", lanes.ego, middle, right),
            MapLane("oncoming", lanes.oncoming, middle[::-1], left[::-1]),
        ),
        road_edges=(right, left),
        lines={
            "pavement_right": lanes.pavements[0],
            "pavement_left": lanes.pavements[1],
            "crossing": lanes.crossing,
        },
    )


def _poses(line: Array) -> tuple[Rigid, ...]:
    """Poses every metre along a line, looking along it."""
    direction = np.gradient(line[:, :2], axis=0)
    yaw = np.arctan2(direction[:, 1], direction[:, 0])
    return tuple(Rigid(rotation_from_rpy(0, 0, yaw[i]), line[i]) for i in range(0, len(line), 2))
