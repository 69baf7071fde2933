"""From renders to harmonized pictures: region, crops or reduced image, network, composite."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.cameras import CameraView
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.base import ImageNetwork
from r3d2_ros.harmonizer.composite import bad_pixels, composite_full, composite_region
from r3d2_ros.harmonizer.crops import run_on_crops
from r3d2_ros.harmonizer.moment import Moment
from r3d2_ros.harmonizer.outcome import Failed, Harmonized
from r3d2_ros.harmonizer.region import ActorBox, actor_region
from r3d2_ros.harmonizer.residual import reduced_size, run_reduced, scale_of
from r3d2_ros.harmonizer.roi import Size, choose_crops, crop_sizes, grid_of, parse_sizes
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.temporal.blend import CameraResidual, TemporalHistory, blend
from r3d2_ros.harmonizer.temporal.patch import Window
from r3d2_ros.rendering.cuda_copies import to_host
from r3d2_ros.rendering.frames import RenderedFrame

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Output:
    """What the network made of a camera: the number of the camera, its render and the output [3, H, W] on the device.

    mask    [H, W] on the host, None where the whole output is shown; device_mask: the same on the device
    window  of the frame, outside of which the mask is 0
    """

    number: int
    image: Tensor
    output: Tensor
    mask: NDArray[np.float32] | None
    device_mask: Tensor | None
    window: Window


class Harmonizer:
    """Runs a network over renders as the configuration says. Holds no state between calls: the history is a value."""

    def __init__(self, config: HarmonizerConfig, network: ImageNetwork) -> None:
        self.config = config
        self._network = network
        self._crop_sizes = parse_sizes(config.roi.sizes)
        on_gpu = network.device.type == "cuda"
        # Before the renderer's work for the next frame set, which another thread may have begun on its own stream.
        self._stream = torch.cuda.Stream(network.device, priority=-1) if on_gpu else None

    @property
    def needs_instances(self) -> bool:
        """Whether renders must come with the numbers of actors."""
        return self.config.temporal.enabled

    @torch.inference_mode()
    def apply(
        self, moment: Moment, history: TemporalHistory | None = None
    ) -> tuple[list[Harmonized | Failed], TemporalHistory | None]:
        """Each camera's picture, and what the next moment's temporal harmonizing is to be given."""
        outcomes: list[Harmonized | Failed] = [Harmonized(frame.rgb8, None) for frame in moment.frames]
        with self._own_stream():
            outputs = self._outputs(moment, outcomes)
            if self.config.temporal.enabled:
                outputs, history = self._steadied(moment, self._finite(outputs, outcomes), history)
            for out in outputs:
                outcomes[out.number] = self._shown(out, moment.frames[out.number].rgb8)
        return outcomes, history

    def warm_up(self, sizes: Sequence[Size]) -> None:
        """Prepare for frames of each size (rows, columns): the network, for crops too where those are used."""
        most, shapes = self.config.runtime.max_batch, set()
        for frame, cameras in Counter(sizes).items():
            scale = scale_of(self.config.resolution, frame[0])
            # A frame set can need as many crops of one size as it likes, but not more whole frames than cameras.
            batches = {frame: {1, most} if most <= cameras else {1}}
            batches |= {size: {1, most} for size in self._crop_sizes_in(frame, scale)}
            shapes |= {(batch, *reduced_size(*size, scale)) for size in batches for batch in batches[size]}
        with self._own_stream():
            self._network.warm_up(sorted(shapes, key=lambda shape: (shape[1:], shape[0])))
        for size in sorted(set(sizes)):
            _, history = self.apply(_one_actor(size, stamp_ns=0))
            self.apply(_one_actor(size, stamp_ns=1), history)

    def _crop_sizes_in(self, frame: Size, scale: float) -> list[Size]:
        if not self.config.roi.enabled:
            return []
        grid_px = grid_of(scale, self._network.latent_px)
        sizes = crop_sizes(self._crop_sizes, frame, grid_px=grid_px)
        if not sizes:
            text = "harmonizer.roi: no size fits into frames of %d x %d in steps of %d pixels, which are run whole"
            log.warning(text, *frame, grid_px)
        return sizes

    def _outputs(self, moment: Moment, outcomes: list[Harmonized | Failed]) -> list[_Output]:
        """What the network makes of the cameras that have to see it; where it fails, the outcome says so."""
        outputs: list[_Output] = []
        inputs = list(self._inputs(moment))
        for size in sorted({one.image.shape for one in inputs}):
            group = [one for one in inputs if one.image.shape == size]
            try:
                ran = self._run([one.image for one in group], [one.mask for one in group])
                outputs += [replace(one, output=output) for one, output in zip(group, ran, strict=True)]
            except Exception as error:  # PyTorch's, out of memory among them, or of a pipeline's own code
                failed = Failed(f"the harmonizer's network failed: {type(error).__name__}: {_first_line(error)}")
                for one in group:
                    outcomes[one.number] = failed
        return outputs

    def _inputs(self, moment: Moment) -> Iterator[_Output]:
        """Of each camera that the network has to see, what it has to see; the output is still the render."""
        config = self.config
        for number, (frame, view) in enumerate(zip(moment.frames, moment.views, strict=True)):
            mask, window = None, Window(0, 0, view.height_px, view.width_px)
            if config.composite == "region":
                mask = actor_region(
                    actor_weight=frame.actor_weight,
                    depth=frame.depth,
                    view=view,
                    boxes=moment.actors,
                    config=config.region,
                )
                if mask is None:
                    continue
                window = _window(mask)
            image = self._on_device(frame.rgb).clamp(0, 1).movedim(-1, 0).contiguous()
            device_mask = None if mask is None else self._on_device(mask)
            yield _Output(number, image, image, mask, device_mask, window)

    def _run(self, images: Sequence[Tensor], masks: Sequence[NDArray[np.float32] | None]) -> Sequence[Tensor]:
        """The network's outputs for images [3, H, W] of one size."""
        scale = scale_of(self.config.resolution, images[0].shape[-2])

        def network(batch: Tensor) -> Tensor:
            return run_reduced(batch, self._network, scale)

        if not self.config.roi.enabled:
            return list(network(torch.stack(list(images))))
        margin_px, grid_px = self.config.roi.margin_px, grid_of(scale, self._network.latent_px)
        crops = [choose_crops(mask, sizes=self._crop_sizes, margin_px=margin_px, grid_px=grid_px) for mask in masks]
        return run_on_crops(images, crops, network, margin_px=margin_px)

    def _finite(self, outputs: list[_Output], outcomes: list[Harmonized | Failed]) -> list[_Output]:
        """The outputs without those that have NaN where they would be shown, of which the outcome says so."""
        good = []
        for out in outputs:
            failed = _fault(int(bad_pixels(out.output, out.device_mask)))
            if failed is None:
                good.append(out)
            else:
                outcomes[out.number] = failed
        return good

    def _steadied(
        self, moment: Moment, outputs: list[_Output], history: TemporalHistory | None
    ) -> tuple[list[_Output], TemporalHistory]:
        """The outputs with residuals that are blended with what is carried over from `history`."""
        ran = {out.number: out for out in outputs}
        cameras = []
        for number, (name, view, frame) in enumerate(zip(moment.names, moment.views, moment.frames, strict=True)):
            out = ran.get(number)
            if out is None:
                cameras.append(CameraResidual(name, view, residual=None, mask=None, depth=None, instance=None))
                continue
            assert frame.instance is not None
            cameras.append(
                CameraResidual(
                    name=name,
                    view=view,
                    residual=out.output - out.image,
                    mask=out.device_mask,
                    window=out.window,
                    depth=self._on_device(frame.depth),
                    instance=self._on_device(frame.instance.astype(np.int32)),
                )
            )
        residuals, after = blend(
            cameras, actors=moment.actors, stamp_ns=moment.stamp_ns, history=history, config=self.config
        )
        steady = []
        for out in outputs:
            residual = residuals[out.number]
            assert residual is not None
            steady.append(replace(out, output=(out.image + residual).clamp(0, 1)))
        return steady, after

    def _shown(self, out: _Output, rendered: NDArray[np.uint8]) -> Harmonized | Failed:
        """The output in the picture, or what is wrong with it."""
        part = out.window.slices
        shown, mask = out.output[:, *part], out.device_mask
        if mask is None:
            pixels = composite_full(shown)
        else:
            mask = mask[part]
            pixels = composite_region(self._on_device(rendered[part]), shown, mask)
        bad, picture = to_host([bad_pixels(shown, mask), pixels])
        failed = _fault(int(bad))
        if failed is not None:
            return failed
        rgb = rendered.copy()
        rgb[part] = picture
        return Harmonized(rgb, np.ones(rgb.shape[:2], np.float32) if out.mask is None else out.mask)

    def _on_device(self, array: NDArray | Tensor) -> Tensor:
        tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        return tensor.to(self._network.device)

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """On a GPU, work on the harmonizer's stream; what was rendered is complete, because its bytes were copied."""
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            yield
            self._stream.synchronize()


def _fault(bad_pixels: int) -> Failed | None:
    if not bad_pixels:
        return None
    return Failed(f"the harmonizer's output has NaN or infinite values in {bad_pixels} pixels")


def _window(mask: NDArray[np.float32]) -> Window:
    """Rows and columns outside of which `mask` [H, W] is 0."""
    left, top, width, height = cv2.boundingRect((mask > 0).view(np.uint8))
    return Window(top, left, top + height, left + width)


def _one_actor(size: Size, *, stamp_ns: int) -> Moment:
    """A grey frame in whose middle an actor of one metre is seen at a distance of 10 m."""
    rows, columns = size
    grey, weight = np.full((*size, 3), 0.5, np.float32), np.zeros(size, np.float32)
    middle = np.s_[rows // 2 : rows // 2 + 8, columns // 2 : columns // 2 + 8]
    weight[middle] = 1
    instance = np.zeros(size, np.uint16)
    instance[middle] = 1
    frame = RenderedFrame(np.full((*size, 3), 128, np.uint8), grey, np.full(size, 10.0, np.float32), weight, instance)
    K = np.array([[columns, 0, columns / 2], [0, columns, rows / 2], [0, 0, 1]], np.float64)
    view = CameraView(K, width_px=columns, height_px=rows, T_camera_world=Rigid.identity())
    actor = ActorBox(Rigid(np.eye(3), np.array([0.0, 0.0, 10.0])), (1.0, 1.0, 1.0), "warm-up", 1)
    return Moment(stamp_ns, ("warm-up",), (view,), (frame,), (actor,))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
