"""From renders to harmonized pictures: region, crops or reduced image, network, composite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.composite import bad_pixels, composite_full, composite_region
from r3d2_ros.harmonizer.crops import run_on_crops
from r3d2_ros.harmonizer.outcome import Failed, Harmonized
from r3d2_ros.harmonizer.region import ActorBox, actor_region
from r3d2_ros.harmonizer.residual import reduced_size, run_reduced, scale_of
from r3d2_ros.harmonizer.roi import Size, choose_crops, parse_sizes
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.rendering.cuda_copies import to_host
from r3d2_ros.rendering.frames import RenderedFrame

Shape = tuple[int, int, int]
"""Images in a call, rows, columns."""


class ImageNetwork(Protocol):
    """Images [B, 3, H, W] float32 in [0, 1] on `device` to images of the same shape there."""

    device: torch.device

    def __call__(self, images: Tensor) -> Tensor: ...

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        """Do what is done once for each shape, so that no frame waits for it."""
        ...


@dataclass(frozen=True, eq=False)
class _Job:
    """A camera that the network has to see: its number, its image [3, H, W] on the device, and where the output goes.

    window  of the frame, outside of which the mask is 0; mask is None where the whole output is shown
    """

    number: int
    image: Tensor
    window: tuple[slice, slice]
    mask: NDArray[np.float32] | None


class Harmonizer:
    """Runs a network over renders as the configuration says. Holds no state between calls."""

    def __init__(self, config: HarmonizerConfig, network: ImageNetwork) -> None:
        self.config = config
        self._network = network
        self._crop_sizes = parse_sizes(config.roi.sizes)
        on_gpu = network.device.type == "cuda"
        # Before the renderer's work for the next frame set, which another thread may have begun on its own stream.
        self._stream = torch.cuda.Stream(network.device, priority=-1) if on_gpu else None

    @torch.inference_mode()
    def apply(
        self, frames: Sequence[RenderedFrame], views: Sequence[CameraView], boxes: Sequence[ActorBox]
    ) -> list[Harmonized | Failed]:
        """Harmonize each camera's render; `boxes` are those of the inserted actors."""
        outcomes: list[Harmonized | Failed] = [Harmonized(frame.rgb8, None) for frame in frames]
        with self._own_stream():
            jobs = list(self._jobs(frames, views, boxes))
            for size in sorted({job.image.shape for job in jobs}):
                group = [job for job in jobs if job.image.shape == size]
                try:
                    for job, output in zip(group, self._run(group), strict=True):
                        outcomes[job.number] = self._show(job, frames[job.number].rgb8, output)
                except RuntimeError as error:  # PyTorch's, out of memory among them
                    failed = Failed(f"the harmonizer's network failed: {type(error).__name__}: {_first_line(error)}")
                    for job in group:
                        outcomes[job.number] = failed
        return outcomes

    def warm_up(self, sizes: Sequence[Size]) -> None:
        """Prepare for frames of each size (rows, columns): the network, for crops too where those are used."""
        cameras, sizes = len(sizes), sorted(set(sizes))
        shapes: set[Size] = set()
        for rows, columns in sizes:
            crops = self._crop_sizes if self.config.roi.enabled else ()
            fitting = [crop for crop in crops if crop[0] <= rows and crop[1] <= columns]
            scale = scale_of(self.config.resolution, rows)
            shapes |= {reduced_size(*size, scale) for size in [*fitting, (rows, columns)]}
        # A frame set can need as many crops of one size as it likes, but not more whole frames than there are cameras.
        most = self.config.runtime.max_batch if self.config.roi.enabled else min(self.config.runtime.max_batch, cameras)
        with self._own_stream():
            self._network.warm_up([(batch, *size) for size in sorted(shapes) for batch in range(1, most + 1)])
        for size in sizes:
            self.apply(*_one_actor(size))

    def _jobs(
        self, frames: Sequence[RenderedFrame], views: Sequence[CameraView], boxes: Sequence[ActorBox]
    ) -> Iterator[_Job]:
        for number, (frame, view) in enumerate(zip(frames, views, strict=True)):
            mask, window = None, np.s_[:, :]
            if self.config.composite == "region":
                region = self.config.region
                mask = actor_region(
                    actor_weight=frame.actor_weight, depth=frame.depth, view=view, boxes=boxes, config=region
                )
                if mask is None:
                    continue
                window = _window(mask)
            yield _Job(number, self._on_device(frame), window, mask)

    def _on_device(self, frame: RenderedFrame) -> Tensor:
        """The render [3, H, W], clamped to [0, 1], where the network is."""
        rgb = torch.from_numpy(frame.rgb) if isinstance(frame.rgb, np.ndarray) else frame.rgb
        return rgb.to(self._network.device).clamp(0, 1).movedim(-1, 0).contiguous()

    def _run(self, jobs: Sequence[_Job]) -> Sequence[Tensor]:
        """The network's outputs [3, H, W] for jobs of one size."""
        images = [job.image for job in jobs]
        scale = scale_of(self.config.resolution, images[0].shape[-2])

        def network(batch: Tensor) -> Tensor:
            return run_reduced(batch, self._network, scale)

        if not self.config.roi.enabled:
            return list(network(torch.stack(images)))
        margin_px = self.config.roi.margin_px
        crops = [choose_crops(job.mask, sizes=self._crop_sizes, margin_px=margin_px) for job in jobs]
        return run_on_crops(images, crops, network, margin_px=margin_px)

    def _show(self, job: _Job, rendered: NDArray[np.uint8], output: Tensor) -> Harmonized | Failed:
        """The output in the picture, or what is wrong with it."""
        device, window = self._network.device, job.window
        shown, mask = output[:, *window], None
        if job.mask is None:
            pixels = composite_full(shown)
        else:
            mask = torch.from_numpy(job.mask[window]).to(device)
            pixels = composite_region(torch.from_numpy(rendered[window]).to(device), shown, mask)
        bad, picture = to_host([bad_pixels(shown, mask), pixels])
        if bad:
            return Failed(f"the harmonizer's output has NaN or infinite values in {int(bad)} pixels")
        rgb = rendered.copy()
        rgb[window] = picture
        return Harmonized(rgb, np.ones(rgb.shape[:2], np.float32) if job.mask is None else job.mask)

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """On a GPU, work on the harmonizer's stream; what was rendered is complete, because its bytes were copied."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()


def _window(mask: NDArray[np.float32]) -> tuple[slice, slice]:
    """Rows and columns outside of which `mask` [H, W] is 0."""
    left, top, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def _one_actor(size: Size) -> tuple[list[RenderedFrame], list[CameraView], list[ActorBox]]:
    """A grey frame in whose middle an actor of one metre is seen at a distance of 10 m."""
    rows, columns = size
    grey, weight = np.full((*size, 3), 0.5, np.float32), np.zeros(size, np.float32)
    weight[rows // 2 : rows // 2 + 8, columns // 2 : columns // 2 + 8] = 1
    depth = np.full(size, 10.0, np.float32)
    frame = RenderedFrame(np.full((*size, 3), 128, np.uint8), grey, depth, weight, None)
    K = np.array([[columns, 0, columns / 2], [0, columns, rows / 2], [0, 0, 1]], np.float64)
    view = CameraView(K, width_px=columns, height_px=rows, T_camera_world=Rigid.identity())
    return [frame], [view], [ActorBox(Rigid(np.eye(3), np.array([0.0, 0.0, 10.0])), (1.0, 1.0, 1.0))]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
