"""Renderers: placed Gaussians and camera views in, RGB, depth, alpha and instances out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.rendering.base import Renderer, RenderSettings
from r3d2_ros.rendering.cuda import CudaUnavailableError, driver_fault

log = logging.getLogger(__name__)

Maker = Callable[[RenderSettings, str, int], Renderer]
"""Settings, CUDA device, CPU threads -> renderer."""


def _cpu(settings: RenderSettings, device: str, threads: int) -> Renderer:
    from r3d2_ros.rendering.cpu import CpuRenderer

    return CpuRenderer(settings, threads)


def _gsplat(settings: RenderSettings, device: str, threads: int) -> Renderer:
    from r3d2_ros.rendering.gsplat import GsplatRenderer

    return GsplatRenderer(settings, device)


def _reference(settings: RenderSettings, device: str, threads: int) -> Renderer:
    from r3d2_ros.rendering.reference import ReferenceRenderer

    return ReferenceRenderer(settings)


RENDERERS: dict[str, Maker] = {"cpu": _cpu, "gsplat": _gsplat, "reference": _reference}


def make_renderer(backend: str, settings: RenderSettings, *, device: str = "cuda:0", threads: int = 0) -> Renderer:
    """The renderer of a name in RENDERERS, or of 'auto': gsplat where CUDA works, else cpu (the log says why).

    device   CUDA device of gsplat
    threads  of cpu; 0: all cores

    A renderer that is named but cannot work is an error: MissingPackageError, CudaUnavailableError, or
    InputError for an unknown name or device. Without an NVIDIA driver 'auto' does not import torch.
    """
    if backend == "auto":
        return _automatic(settings, device, threads)
    if backend not in RENDERERS:
        raise InputError("rendering.backend", f"one of auto, {', '.join(RENDERERS)}", f"'{backend}'")
    return RENDERERS[backend](settings, device, threads)


def _automatic(settings: RenderSettings, device: str, threads: int) -> Renderer:
    reason = driver_fault()
    if reason:
        log.info("rendering on the CPU: %s", reason)
        return _cpu(settings, device, threads)
    try:
        return _gsplat(settings, device, threads)
    except (MissingPackageError, CudaUnavailableError) as fault:
        log.warning("rendering on the CPU although there is an NVIDIA driver: %s", fault)
        return _cpu(settings, device, threads)
