"""Renderer for NVIDIA GPUs: gsplat 1.5.3, all cameras of one size in one call."""

from __future__ import annotations

import contextlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.errors import MissingPackageError
from r3d2_ros.geometry import Array
from r3d2_ros.rendering.base import PlacedScene, RenderedImage, RenderSettings
from r3d2_ros.rendering.cuda import CudaUnavailableError, cuda_device

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise MissingPackageError("torch", "the gsplat renderer", "pip install torch") from error

from r3d2_ros.rendering.cuda_copies import to_device, to_host
from r3d2_ros.rendering.frames import DeviceSurfaces, HostImage, RenderedFrame
from r3d2_ros.rendering.gsplat_images import (
    DeviceSky,
    ImageTensors,
    InstanceSlots,
    image_tensors,
    instance_images,
)
from r3d2_ros.rendering.gsplat_scene import DeviceScene
from r3d2_ros.triton_cache import keep_triton_kernels


@dataclass(frozen=True)
class Kernels:
    """The functions of gsplat that are used, under gsplat's names."""

    rasterization: Callable[..., Any]
    rasterize_to_pixels: Callable[..., Any]
    spherical_harmonics: Callable[[int, Tensor, Tensor], Tensor]


class GsplatRenderer:
    """Renders on a CUDA device. Its first use on a machine compiles gsplat's kernels, which takes minutes.

    `kernels` replaces gsplat's functions, and then the device may be any; tests use it to run without a GPU.
    MissingPackageError, CudaUnavailableError or InputError (see `cuda_device`) where it cannot work.
    """

    name = "gsplat"

    def __init__(self, settings: RenderSettings, device: str = "cuda:0", *, kernels: Kernels | None = None) -> None:
        self.settings = settings
        self.device = cuda_device(device) if kernels is None else torch.device(device)
        self._kernels = load_kernels(self.device) if kernels is None else kernels
        if self.device.type == "cuda":
            keep_triton_kernels()
        self._scene = DeviceScene(self.device, self._kernels.spherical_harmonics)
        self._sky = DeviceSky(self.device)

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        """See `Renderer.render`. ValueError for an actor's instance outside 0..65535 where `instances` are wanted."""
        images: dict[int, RenderedImage] = {}
        for numbers, tensors in self._render_groups(scene, views, instances):
            parts = to_host([tensors.rgb, tensors.depth, tensors.alpha, tensors.actor_weight])
            images.update(zip(numbers, map(RenderedImage, *parts, _numbers(tensors)), strict=True))
        return [images[i] for i in range(len(views))]

    def render_frames(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedFrame]:
        """See `DeviceRenderer`: colours come to the host as bytes, numbers of actors where they are asked for."""
        frames: dict[int, RenderedFrame] = {}
        for numbers, tensors in self._render_groups(scene, views, instances):
            (rgb8,) = to_host([tensors.rgb8])
            for k, (i, instance) in enumerate(zip(numbers, _numbers(tensors), strict=True)):
                frames[i] = _frame(tensors[k], rgb8[k], instance)
        return [frames[i] for i in range(len(views))]

    def warm_up(self, scene: PlacedScene, views: Sequence[CameraView]) -> None:
        """See `DeviceRenderer`."""
        self.render(scene, views, instances=True)

    @torch.no_grad()
    def _render_groups(
        self, scene: PlacedScene, views: Sequence[CameraView], instances: bool
    ) -> list[tuple[list[int], ImageTensors]]:
        """Views of equal size together: their numbers in `views`, and their images [C, ...]."""
        if not views:
            return []
        self._scene.place(scene)
        slots = None
        if instances:
            numbers = [actor.instance for actor in scene.actors]
            slots = InstanceSlots.of(numbers, self._scene.actor_nodes, self._scene.background_count)
        groups: dict[tuple[int, int], list[int]] = {}
        for i, view in enumerate(views):
            groups.setdefault((view.width_px, view.height_px), []).append(i)
        return [(g, self._render_group(scene, [views[i] for i in g], slots)) for g in groups.values()]

    def _render_group(
        self, scene: PlacedScene, views: Sequence[CameraView], slots: InstanceSlots | None
    ) -> ImageTensors:
        sky = self._sky.behind(scene.sky, views)
        size = (len(views), views[0].height_px, views[0].width_px)
        if self._scene.count == 0:
            # gsplat divides by the number of Gaussians.
            render = torch.zeros((*size, 5), device=self.device)
            alphas = torch.zeros((*size, 1), device=self.device)
            instance = None if slots is None else torch.zeros(size, dtype=torch.int32, device=self.device)
            return image_tensors(render, alphas, sky, instance)
        render, alphas, meta = self._rasterize(views)
        instance = None
        if slots is not None:
            instance = instance_images(self._kernels.rasterize_to_pixels, meta, slots)
        return image_tensors(render, alphas, sky, instance)

    def _rasterize(self, views: Sequence[CameraView]) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """[C, H, W, 5] colour, actor weight, depth, summed by weight; [C, H, W, 1] alpha; what gsplat made of it."""
        viewmats = np.stack([view_matrix(view, self._scene.origin) for view in views])
        positions = np.stack([view.T_camera_world.inverse().translation for view in views])
        return self._kernels.rasterization(
            means=self._scene.means,
            quats=None,
            scales=None,
            covars=self._scene.covars,
            opacities=self._scene.opacities,
            colors=self._scene.colours(positions),
            viewmats=to_device(viewmats.astype(np.float32), self.device),
            Ks=to_device(np.stack([view.K for view in views]).astype(np.float32), self.device),
            width=views[0].width_px,
            height=views[0].height_px,
            near_plane=self.settings.near_plane_m,
            far_plane=self.settings.far_plane_m,
            radius_clip=0.0,
            eps2d=self.settings.eps2d,
            packed=True,
            render_mode="RGB+D",
            rasterize_mode="antialiased" if self.settings.antialiased else "classic",
        )


def _numbers(tensors: ImageTensors) -> Sequence[NDArray[np.uint16] | None]:
    """Actor numbers of each camera on the host, or as many times None."""
    if tensors.instance is None:
        return [None] * len(tensors.rgb)
    # torch computes with int32 but not with uint16; the lower half has the same bits.
    return list(to_host([tensors.instance.to(torch.int16)])[0].view(np.uint16))


def _frame(image: ImageTensors, rgb8: NDArray[np.uint8], instance: NDArray[np.uint16] | None) -> RenderedFrame:
    """Of one camera, which is complete."""
    depth, weight = HostImage(image.depth), HostImage(image.actor_weight)
    surfaces = DeviceSurfaces(image.rgb8, image.depth, image.actor_weight, image.instance)
    return RenderedFrame(rgb8, image.rgb, depth, weight, instance, surfaces)


def view_matrix(view: CameraView, origin: Array) -> Array:
    """World relative to `origin` -> camera, homogeneous [4, 4] float64 (gsplat's viewmat)."""
    matrix = view.T_camera_world.matrix()
    matrix[:3, 3] = view.T_camera_world.apply(origin)
    return matrix


def load_kernels(device: torch.device) -> Kernels:
    """gsplat's functions, after one Gaussian was drawn on the device with them.

    MissingPackageError without gsplat, CudaUnavailableError where its kernels cannot be compiled, loaded, run.
    """
    try:
        # gsplat writes its progress to stdout, which belongs to whoever runs a command with --json.
        with contextlib.redirect_stdout(sys.stderr), _own_scripts_on_path():
            import gsplat

            kernels = Kernels(gsplat.rasterization, gsplat.rasterize_to_pixels, gsplat.spherical_harmonics)
            _draw_one(kernels, device)
    except ModuleNotFoundError as error:
        package = error.name or "gsplat"
        raise MissingPackageError(package, "the gsplat renderer", "pip install gsplat==1.5.3") from error
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        # Without nvcc gsplat's module of kernels is None, hence AttributeError.
        raise CudaUnavailableError(
            f"{type(error).__name__}: {_telling_line(str(error))}",
            "gsplat compiles its kernels on first use: it needs nvcc of the CUDA release that PyTorch was built "
            f"with ({torch.version.cuda}), a C++ compiler and ninja on the PATH, or CUDA_HOME. To see all that "
            "the compiler says: VERBOSE=1 python -c 'import gsplat.cuda._backend'. Or choose the backend cpu.",
        ) from error
    return kernels


@contextlib.contextmanager
def _own_scripts_on_path() -> Iterator[None]:
    """Let the compilation find the `ninja` of this environment, also where nobody activated it."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


@torch.no_grad()
def _draw_one(kernels: Kernels, device: torch.device) -> None:
    one = torch.eye(3, device=device)[None]
    viewmats = torch.eye(4, device=device)[None]
    Ks = torch.tensor([[[8.0, 0.0, 8.0], [0.0, 8.0, 8.0], [0.0, 0.0, 1.0]]], device=device)
    means = torch.tensor([[0.0, 0.0, 4.0]], device=device)
    kernels.spherical_harmonics(1, means, torch.zeros((1, 4, 3), device=device))
    opacities, colours = torch.ones(1, device=device), torch.ones((1, 1, 4), device=device)
    _, alphas, _ = kernels.rasterization(
        means, None, None, opacities, colours, viewmats, Ks, 16, 16, covars=one, render_mode="RGB+ED"
    )
    # 2 px wide and blurred by 0.3 px^2, seen half a pixel beside its centre in x and y: exp(-0.25 / 4.3).
    alpha = float(alphas[0, 8, 8, 0])
    if not abs(alpha - 0.9435) < 1e-3:
        raise RuntimeError(f"gsplat drew a Gaussian with alpha {alpha:.4f} where 0.9435 is right")


def _telling_line(message: str) -> str:
    """The first line of a compiler's output that speaks of an error, else the last line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [line for line in lines[1:] if "error" in line.lower()]
    return (telling or lines[-1:] or ["no message"])[0]
