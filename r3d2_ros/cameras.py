"""Cameras and rigs: intrinsics in the CameraInfo convention, poses of the optical frame in base_link."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.lenses import LensModel

R_BODY_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""Rotation from optical axes (x right, y down, z forward) to body axes (x forward, y left, z up), REP-103."""


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera of a rig.

    K             [3, 3] float64, pixels; the centre of the first pixel is (0, 0), as in CameraInfo and OpenCV
    T_ego_camera  optical frame (x right, y down, z forward) in base_link
    D             distortion coefficients of `distortion_model`, a name of `lenses.DISTORTION_COUNTS`; none: zeros
    rate_hz       exposures per second of message time, phase_s the offset of the first one
    """

    name: str
    width_px: int
    height_px: int
    K: NDArray[np.float64]
    T_ego_camera: Rigid
    D: tuple[float, ...] = ()
    distortion_model: str = "plumb_bob"
    rate_hz: float = 10.0
    phase_s: float = 0.0
    frame_id: str = ""
    topic: str = ""

    def __post_init__(self) -> None:
        K = np.array(self.K, np.float64)
        where = f"camera '{self.name}'"
        if K.shape != (3, 3) or not np.all(np.isfinite(K)):
            raise ValueError(f"{where}: K: expected a finite 3x3 matrix, got {K.tolist()}")
        if K[0, 0] <= 0 or K[1, 1] <= 0 or abs(K[0, 1]) > 1e-9 or not np.allclose(K[2], (0, 0, 1)):
            raise ValueError(f"{where}: K: expected fx, fy > 0, no skew, last row 0 0 1, got {K.tolist()}")
        if self.width_px < 1 or self.height_px < 1:
            raise ValueError(f"{where}: expected a positive size, got {self.width_px}x{self.height_px}")
        if not self.rate_hz > 0:
            raise ValueError(f"{where}: rate_hz: expected > 0, got {self.rate_hz}")
        self.lens.check(f"{where}: D")
        K.setflags(write=False)
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "frame_id", self.frame_id or f"{self.name}_optical_frame")
        object.__setattr__(self, "topic", self.topic or self.name)

    @cached_property
    def lens(self) -> LensModel:
        return LensModel(self.distortion_model, self.D)

    @property
    def is_distorted(self) -> bool:
        """Whether pictures differ from those of a pinhole with this K."""
        return self.lens.bends

    def rectified(self) -> Camera:
        """The pinhole with the same K, whose pictures are those that a rectification of this camera's gives."""
        return replace(self, D=(), distortion_model="plumb_bob")

    def rays(self, *, step_px: int = 1) -> Array:
        """[H, W, 3] unit directions in the optical frame through the pixels' centres; NaN where the lens has none.

        step_px  those of every so many rows and columns alone
        """
        v, u = np.mgrid[: self.height_px : step_px, : self.width_px : step_px].astype(np.float64)
        return self.lens.rays((np.stack([u, v], axis=-1) - self.K[:2, 2]) / self.K[[0, 1], [0, 1]])

    def view(self, T_world_ego: Rigid) -> CameraView:
        """The camera in the world, ready for a renderer: of the pinhole with this K, whatever its lens."""
        return CameraView(
            K=pixel_corner_K(self.K),
            width_px=self.width_px,
            height_px=self.height_px,
            T_camera_world=(T_world_ego @ self.T_ego_camera).inverse(),
        )

    def resized(self, width_px: int, height_px: int) -> Camera:
        """The same field of view at another size (K scaled about the image corner, not the pixel centre)."""
        scale = np.diag([width_px / self.width_px, height_px / self.height_px, 1.0])
        K = pixel_centre_K(scale @ pixel_corner_K(self.K))
        return replace(self, K=K, width_px=width_px, height_px=height_px)


@dataclass(frozen=True, eq=False)
class CameraView:
    """What a renderer needs of a camera. K [3, 3] puts the corner of the first pixel at (0, 0), as gsplat does."""

    K: NDArray[np.float64]
    width_px: int
    height_px: int
    T_camera_world: Rigid


def pixel_corner_K(K: NDArray[np.float64]) -> NDArray[np.float64]:
    """CameraInfo's K (first pixel centre at 0) -> gsplat's K (first pixel centre at 0.5)."""
    return K + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def pixel_centre_K(K: NDArray[np.float64]) -> NDArray[np.float64]:
    """gsplat's K (first pixel centre at 0.5) -> CameraInfo's K (first pixel centre at 0)."""
    return K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@dataclass(frozen=True)
class Rig:
    """Named cameras on one vehicle, in publishing order."""

    name: str
    cameras: tuple[Camera, ...]
    notes: tuple[str, ...] = field(default=())
    """What a loader wants the user to know once (for example an intrinsic derived from a field of view)."""

    def __post_init__(self) -> None:
        names = [c.name for c in self.cameras]
        if not names:
            raise ValueError(f"rig '{self.name}': expected at least one camera")
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"rig '{self.name}': camera names must be unique, got {twice} more than once")

    def __getitem__(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"rig '{self.name}' has no camera '{name}', only {[c.name for c in self.cameras]}")
