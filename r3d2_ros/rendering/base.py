"""The contract that every renderer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Affine, Array
from r3d2_ros.sky import Sky

MIN_DEPTH_ALPHA = 0.5
"""A pixel whose alpha is below this has no depth (NaN)."""


@dataclass(frozen=True, eq=False)
class PlacedGaussians:
    """Gaussians placed in the world.

    T_world_node  maps `gaussians.origin + gaussians.means` to the world; its linear part may scale, also per
                  axis, and covariances follow it
    R_world_node  [3, 3] rotation in which the SH directions are turned into the node's frame, so that colours
                  stay on the body panels when the node moves
    instance      0 for the background, else the actor's number in the instance image
    """

    gaussians: Gaussians
    T_world_node: Affine
    R_world_node: Array
    instance: int = 0


@dataclass(frozen=True, eq=False)
class PlacedScene:
    """One moment of the world: the static background, the actors, and the sky behind them."""

    background: PlacedGaussians
    actors: tuple[PlacedGaussians, ...]
    sky: Sky

    @property
    def nodes(self) -> tuple[PlacedGaussians, ...]:
        return (self.background, *self.actors)


@dataclass(frozen=True)
class RenderSettings:
    """Image formation, with gsplat 1.5.3's names and meanings. near/far in metres of z-depth."""

    near_plane_m: float = 0.1
    far_plane_m: float = 10_000.0
    eps2d: float = 0.3
    antialiased: bool = False


@dataclass(frozen=True, eq=False)
class RenderedImage:
    """One camera's render.

    rgb           [H, W, 3] float32, sky composited: C + (1 - alpha) * sky; may exceed 1 slightly, never < 0
    depth         [H, W] float32 z-depth in metres, alpha-weighted mean; NaN where alpha < MIN_DEPTH_ALPHA
    alpha         [H, W] float32 in [0, 1]
    actor_weight  [H, W] float32 in [0, 1]: sum of the compositing weights of inserted actors
    instance      [H, W] uint16, only when asked for: the actor whose accumulated weight is larger than that of
                  every other actor and of the background (static scene plus sky), else 0
    """

    rgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    alpha: NDArray[np.float32]
    actor_weight: NDArray[np.float32]
    instance: NDArray[np.uint16] | None = None


class Renderer(Protocol):
    """A renderer is made once and used for many frames; it may cache what belongs to `scene.background.gaussians`."""

    name: str

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        """Render each view. `instances=True` also makes the instance images.

        The first call also does what is done once: compile kernels, upload the background.
        """
        ...
