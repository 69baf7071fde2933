"""One procedural pair: inserts in a foreign light without shadows, and the same ones as the street lights them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.light import CameraGrade, ForeignLight, Insert, foreign_light, own_light
from r3d2_ros.dataset.placement import window_of
from r3d2_ros.dataset.samples import Pair
from r3d2_ros.dataset.shadows import light_taken
from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Affine, Array
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderedImage, Renderer
from r3d2_ros.sky import Sky
from r3d2_ros.street.build import LitStreet
from r3d2_ros.street.lighting import display


@dataclass(frozen=True, eq=False)
class Stage:
    """A street as it is rendered: lit by the sun, and where no sun reaches it."""

    lit: LitStreet
    sunny: Gaussians
    shaded: Gaussians
    sky: Sky
    renderer: Renderer

    @classmethod
    def of(cls, lit: LitStreet, sky: Sky, renderer: Renderer) -> Stage:
        return cls(lit, lit.street.scene.background, lit.without_sun(), sky, renderer)

    def render(
        self,
        background: Gaussians,
        inserts: Sequence[Insert],
        colours: Sequence[Array],
        view: CameraView,
        *,
        instances: bool = False,
    ) -> RenderedImage:
        """Inserts in given colours [N, 3] on a background; in the scene's frame."""
        still = PlacedGaussians(background, Affine(np.eye(3), np.zeros(3)), np.eye(3))
        actors = tuple(_placed(insert, rgb) for insert, rgb in zip(inserts, colours, strict=True))
        return self.renderer.render(PlacedScene(still, actors, self.sky), [view], instances=instances)[0]


def _placed(insert: Insert, rgb: Array) -> PlacedGaussians:
    T = insert.T_scene_thing
    gaussians = replace(insert.gaussians, sh=rgb_to_sh(rgb))
    return PlacedGaussians(gaussians, Affine(T.rotation, T.translation), T.rotation, insert.instance)


def naive_render(
    stage: Stage, inserts: Sequence[Insert], lights: Sequence[ForeignLight], view: CameraView
) -> RenderedImage:
    """Inserts in their foreign lights in the street, which knows nothing of them: what a simulator renders."""
    colours = [foreign_light(insert, light) for insert, light in zip(inserts, lights, strict=True)]
    return stage.render(stage.sunny, inserts, colours, view, instances=True)


def make_pair(
    stage: Stage,
    inserts: Sequence[Insert],
    naive: RenderedImage,
    view: CameraView,
    *,
    sun_radius_rad: float,
    grade: CameraGrade,
) -> Pair:
    """The pair that belongs to a naive render. Where neither an insert is seen nor light taken, both are the same.

    A background pixel has two parts, in linear light: what it gets from the sun directly, which a cast shadow takes
    away, and the rest, of which contact shade takes a part. They are told apart by rendering the street with and
    without its sun, so that what lies in the shade of a house gets no second shadow.
    """
    assert naive.instance is not None
    taken = light_taken(
        inserts=inserts,
        depth=naive.depth,
        actor_weight=naive.actor_weight,
        view=view,
        lit=stage.lit,
        sun_radius_rad=sun_radius_rad,
    )
    light = grade.radiance(naive.rgb)
    before = display(light).astype(np.float32)
    changed = (naive.actor_weight > 0) | (taken.cast > 0) | (taken.sky > 0)
    window = _window(changed)
    after = before.copy()
    full, rest = _true_light(stage, inserts, view, window, sun_radius_rad=sun_radius_rad, grade=grade)
    weight = naive.actor_weight[window][..., None]
    # What lies at the edge of a part of an image is rendered a little differently: beside inserts, keep to the input.
    beside = weight == 0
    rest = np.where(beside, rest + light[window] - full, rest)
    full = np.where(beside, light[window], full)
    cast, sky = taken.cast[window][..., None], taken.sky[window][..., None]
    lit = (full - rest) * (1 - cast) + rest * (1 - sky * (1 - weight))
    after[window] = np.where(changed[window][..., None], display(lit), before[window])
    shadow = taken.sun * (1 - naive.actor_weight)
    return Pair(before, after, naive.instance > 0, shadow.astype(np.float32))


def _true_light(
    stage: Stage,
    inserts: Sequence[Insert],
    view: CameraView,
    window: tuple[slice, slice],
    *,
    sun_radius_rad: float,
    grade: CameraGrade,
) -> tuple[Array, Array]:
    """Radiance [h, w, 3] in the window of the image, inserts in the street's light, with and without its sun.

    Both have the inserts as they are in the sun: only what is behind them differs.
    """
    rows, columns = window
    part = window_of(view, rows.start, columns.start, (rows.stop - rows.start, columns.stop - columns.start))
    colours = [own_light(insert, inserts, stage.lit, sun_radius_rad=sun_radius_rad) for insert in inserts]
    full = grade.radiance(stage.render(stage.sunny, inserts, colours, part).rgb)
    return full, np.minimum(grade.radiance(stage.render(stage.shaded, inserts, colours, part).rgb), full)


def _window(changed: NDArray[np.bool_]) -> tuple[slice, slice]:
    left, top, width, height = cv2.boundingRect(changed.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)
