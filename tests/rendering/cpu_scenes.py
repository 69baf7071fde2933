"""Random scenes and views for the renderer tests, and how images are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r3d2_ros.cameras import CameraView
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Affine, Rigid, rotation_from_rpy
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene
from r3d2_ros.sky import Sky

IDENTITY = Affine(np.eye(3), np.zeros(3))
NO_GAUSSIANS = Gaussians(*(np.zeros(shape, np.float32) for shape in ((0, 3), (0, 4), (0, 3), (0,), (0, 1, 3))))


def psnr_db(image: np.ndarray, expected: np.ndarray) -> float:
    """Peak signal to noise ratio for values in 0..1; 200 dB for equal images."""
    return float(10 * np.log10(1 / max(np.mean((image.astype(np.float64) - expected) ** 2), 1e-20)))


def cloud(
    count: int,
    *,
    seed: int = 0,
    centre: tuple[float, float, float] = (0, 0, 6),
    spread: float = 1.5,
    sh_degree: int = 1,
) -> Gaussians:
    """Gaussians of about 8 cm with all opacities and orientations, and colours that depend on the direction."""
    rng = np.random.default_rng(seed)
    return Gaussians(
        means=(rng.normal(size=(count, 3)) * spread + centre).astype(np.float32),
        quats=rng.normal(size=(count, 4)).astype(np.float32),
        scales=np.exp(rng.normal(-2.5, 0.6, (count, 3))).astype(np.float32),
        opacities=(1 / (1 + np.exp(-2 * rng.normal(size=count)))).astype(np.float32),
        sh=(0.4 * rng.normal(size=(count, (sh_degree + 1) ** 2, 3))).astype(np.float32),
    )


def one_gaussian(
    position: tuple[float, float, float], *, scale: float = 0.1, opacity: float = 0.99, grey: float = 1.0
) -> Gaussians:
    """A round Gaussian of one grey value."""
    sh = np.full((1, 1, 3), (grey - 0.5) / 0.28209479177387814, np.float32)
    return Gaussians(
        means=np.array([position], np.float32),
        quats=np.array([[1, 0, 0, 0]], np.float32),
        scales=np.full((1, 3), scale, np.float32),
        opacities=np.array([opacity], np.float32),
        sh=sh,
    )


def scene_of(
    background: Gaussians, actors: tuple[PlacedGaussians, ...] = (), *, sky: Sky | None = None, T: Affine = IDENTITY
) -> PlacedScene:
    """A background placed by T, actors, and a sky that is black unless given."""
    return PlacedScene(PlacedGaussians(background, T, np.eye(3)), actors, sky or Sky())


def placed(
    gaussians: Gaussians, T_world_actor: Rigid, *, instance: int, stretch: float | np.ndarray = 1.0
) -> PlacedGaussians:
    """An actor at a pose, its size multiplied by `stretch` (per axis when [3])."""
    linear = T_world_actor.rotation * np.broadcast_to(stretch, 3)
    return PlacedGaussians(gaussians, Affine(linear, T_world_actor.translation), T_world_actor.rotation, instance)


def view_of(
    *, width: int = 160, height: int = 121, focal: float = 140.0, T_camera_world: Rigid | None = None,
    principal: tuple[float, float] = (0.47, 0.55),
) -> CameraView:  # fmt: skip
    """A view whose principal point lies at a fraction of the image size."""
    K = np.array([[focal, 0, principal[0] * width], [0, 0.97 * focal, principal[1] * height], [0, 0, 1]])
    return CameraView(K, width, height, T_camera_world or Rigid.identity())


def busy_scene(*, sh_degree: int = 1, sky: Sky | None = None) -> PlacedScene:
    """A background of 1200 Gaussians with three overlapping actors in it, turned and stretched."""
    actors = tuple(
        placed(
            cloud(200, seed=10 + k, centre=(0, 0, 0), spread=0.3, sh_degree=sh_degree),
            Rigid(rotation_from_rpy(0.1 * k, 0.2, 1.0 + k), np.array([0.6 * k - 0.6, 0.2 * k, 3.5 + 0.4 * k])),
            instance=(7, 300, 65535)[k],
            stretch=np.array([1.0, 1.5, 0.7]),
        )
        for k in range(3)
    )
    return scene_of(cloud(1200, seed=1, sh_degree=sh_degree), actors, sky=sky)


def moved(view: CameraView, shift: np.ndarray) -> CameraView:
    """The view with its camera moved by `shift` [3] in the world."""
    camera = view.T_camera_world.inverse()
    return replace(view, T_camera_world=Rigid(camera.rotation, camera.translation + shift).inverse())
