"""What the CPU kernels are given of a placed scene: float32 maps from each node to a camera, formed in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Array
from r3d2_ros.rendering.base import PlacedScene, RenderSettings
from r3d2_ros.rendering.kernels_layout import (
    NODE_ACTOR,
    NODE_COLUMNS,
    NODE_LINEAR,
    NODE_SH_ROTATION,
    NODE_SLOT,
    NODE_STRETCH,
    NODE_TRANSLATION,
    SIGMAS_MAX,
)

SLACK = 1.001
"""Factor on the bounds of a node that covers the rounding of the kernel's float32."""


@dataclass(frozen=True, eq=False)
class NodeArrays:
    """The arrays of one Gaussians as the kernels take them, not copied, and a sphere around the means.

    All are read-only views, so that a kernel is compiled for one type, whether a file was mapped or read. The sphere
    is infinite where a value is not finite: the kernel leaves out such Gaussians one by one.
    """

    arguments: tuple[NDArray[np.float32], ...]
    centre: Array
    radius: float
    widest: float

    @classmethod
    def of(cls, gaussians: Gaussians) -> NodeArrays:
        g = gaussians
        arguments = tuple(_read_only(a) for a in (g.means, g.quats, g.scales, g.opacities, g.sh))
        if len(g) == 0:
            return cls(arguments, np.zeros(3), 0.0, 0.0)
        lower, upper = g.means.min(axis=0).astype(np.float64), g.means.max(axis=0).astype(np.float64)
        widest = float(g.scales.max())
        if not np.all(np.isfinite([*lower, *upper, widest])):
            return cls(arguments, np.zeros(3), np.inf, np.inf)
        return cls(arguments, (lower + upper) / 2, float(np.linalg.norm(upper - lower)) / 2, widest)


@dataclass(frozen=True, eq=False)
class NodeBatch:
    """The nodes of a placed scene, background first, stacked so that a camera needs a few array operations.

    linear        [n, 3, 3] of T_world_node
    origin_world  [n, 3] where the node's Gaussians have their zero
    sh_rotation   [n, 3, 3] R_world_node
    stretch       [n] largest factor by which `linear` lengthens a vector
    slots         [n] index into `numbers` of the node's instance
    numbers       [slots] uint16 instance numbers, numbers[0] = 0
    """

    arrays: Sequence[NodeArrays]
    linear: Array
    origin_world: Array
    sh_rotation: Array
    stretch: Array
    centre: Array
    radius: Array
    widest: Array
    slots: NDArray[np.int64]
    numbers: NDArray[np.uint16]

    @classmethod
    def of(cls, scene: PlacedScene, arrays: Sequence[NodeArrays]) -> NodeBatch:
        """`arrays` are those of scene.nodes. ValueError for an instance outside 0..65535."""
        linear = np.stack([node.T_world_node.linear for node in scene.nodes])
        instances = np.array([0, *(actor.instance for actor in scene.actors)], np.int64)
        if instances.min() < 0 or instances.max() > np.iinfo(np.uint16).max:
            raise ValueError(f"actor instances: expected 0..65535, got {instances.min()}..{instances.max()}")
        numbers, slots = np.unique(instances, return_inverse=True)
        return cls(
            arrays=arrays,
            linear=linear,
            origin_world=np.stack([node.T_world_node.apply(node.gaussians.origin) for node in scene.nodes]),
            sh_rotation=np.stack([node.R_world_node for node in scene.nodes]),
            stretch=np.linalg.norm(linear, ord=2, axis=(1, 2)),
            centre=np.stack([a.centre for a in arrays]),
            radius=np.array([a.radius for a in arrays]),
            widest=np.array([a.widest for a in arrays]),
            slots=slots,
            numbers=numbers.astype(np.uint16),
        )

    def in_camera(self, view: CameraView, settings: RenderSettings) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Each node as one camera sees it, columns [n, NODE_COLUMNS], and which nodes may be visible, [n]."""
        T = view.T_camera_world
        linear = T.rotation @ self.linear
        translation = T.apply(self.origin_world)
        sh_rotation = self.sh_rotation.transpose(0, 2, 1) @ T.rotation.T
        n = len(linear)
        columns = np.empty((n, NODE_COLUMNS), np.float32)
        columns[:, NODE_LINEAR : NODE_LINEAR + 9] = linear.reshape(n, 9)
        columns[:, NODE_TRANSLATION : NODE_TRANSLATION + 3] = translation
        columns[:, NODE_SH_ROTATION : NODE_SH_ROTATION + 9] = sh_rotation.reshape(n, 9)
        columns[:, NODE_STRETCH] = self.stretch * SLACK
        columns[:, NODE_ACTOR] = np.arange(n) > 0
        columns[:, NODE_SLOT] = self.slots
        centre = np.einsum("nij,nj->ni", linear, self.centre) + translation
        return columns, self._may_be_visible(centre, view, settings)

    def _may_be_visible(self, centre: Array, view: CameraView, settings: RenderSettings) -> NDArray[np.bool_]:
        """False where no Gaussian of the node can touch the image; `centre` [n, 3] is in the camera frame."""
        x, y, z = centre.T
        radius = self.radius * self.stretch * SLACK
        visible = (z + radius >= settings.near_plane_m) & (z - radius <= settings.far_plane_m)
        K = view.K
        horizontal, vertical = (x, K[0, 0], K[0, 2], view.width_px), (y, K[1, 1], K[1, 2], view.height_px)
        for along, focal, principal, size in (horizontal, vertical):
            low, high = principal / focal, (size - principal) / focal
            steepest = max(abs(low), abs(high)) + 0.15 * size / focal
            # Half extent on screen, times depth: the widest Gaussian under the steepest Jacobian, and the blur.
            reach = SIGMAS_MAX * self.widest * self.stretch * SLACK * np.hypot(1.0, steepest)
            reach = reach + (SIGMAS_MAX * np.sqrt(settings.eps2d) + 1.0) * np.maximum(z + radius, 0.0) / focal
            visible &= along - high * z - radius * np.hypot(1.0, high) <= reach
            visible &= -along - low * z - radius * np.hypot(1.0, low) <= reach
        return visible


def camera_columns(view: CameraView, settings: RenderSettings) -> NDArray[np.float32]:
    """The camera as the projection kernel takes it: FX, FY, CX, CY, WIDTH, HEIGHT, NEAR, FAR, EPS2D."""
    K = view.K
    image = (K[0, 0], K[1, 1], K[0, 2], K[1, 2], view.width_px, view.height_px)
    return np.array([*image, settings.near_plane_m, settings.far_plane_m, settings.eps2d], np.float32)


def _read_only(array: NDArray[np.float32]) -> NDArray[np.float32]:
    view = np.require(array, np.float32, ["C", "A"]).view()
    view.setflags(write=False)
    return view
