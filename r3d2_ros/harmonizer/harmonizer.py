"""From renders to harmonized pictures: region, crops or reduced image, network, composite."""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.base import ImageNetwork
from r3d2_ros.harmonizer.compositing.areas import Area, AreaFinder, whole_window
from r3d2_ros.harmonizer.compositing.composite import bad_pixels, composited
from r3d2_ros.harmonizer.compositing.crops import run_on_crops
from r3d2_ros.harmonizer.compositing.reduced import reduced_size, run_reduced, scale_of
from r3d2_ros.harmonizer.compositing.roi import Size, crop_sizes, grid_of, parse_sizes
from r3d2_ros.harmonizer.grey_moments import grey_moment
from r3d2_ros.harmonizer.moment import Failed, Harmonized, Moment
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.harmonizer.temporal.blend import TemporalHistory, blend
from r3d2_ros.harmonizer.temporal.patch import CameraResidual
from r3d2_ros.harmonizer.windows import Window
from r3d2_ros.rendering.cuda_copies import CopyAside, to_device, to_host
from r3d2_ros.rendering.frames import RenderedFrame
from r3d2_ros.triton_cache import keep_triton_kernels

log = logging.getLogger(__name__)

MOST_THREADS = 8


@dataclass(frozen=True, eq=False)
class _Input:
    """What the network sees of camera `number`.

    window  that is composited: the whole picture where its bytes are on the device, else the area's, so that no more
            than that has to come back
    image   [3, H, W] float32 in [0, 1], the render on the device
    rgb8    [h, w, 3] uint8, the render in the window, as it came to the host, on the device
    weight  [h, w] float32, the mask in the window on the device; None where the whole output is shown
    mask    [H, W] float32 on its way to the host; None where it is 1 everywhere
    """

    number: int
    area: Area
    window: Window
    image: Tensor
    rgb8: Tensor
    weight: Tensor | None
    mask: CopyAside | None

    def shown(self, picture: Tensor) -> Tensor:
        """The part [3, h, w] of a picture [3, H, W] that may be shown."""
        return picture[:, *self.window.slices]

    def device_mask(self) -> Tensor | None:
        """The mask [H, W] on the device."""
        if self.weight is None:
            return None
        mask = torch.zeros_like(self.image[0])
        mask[self.window.slices] = self.weight
        return mask


@dataclass(frozen=True, eq=False)
class _Output:
    """What the network made of what it saw: [3, H, W] float32 on the device."""

    seen: _Input
    picture: Tensor

    def bad_pixels(self) -> Tensor:
        """How many pixels are no numbers where they would be shown: an int64 scalar on the device."""
        return bad_pixels(self.seen.shown(self.picture), self.seen.weight)

    def composited(self) -> tuple[Tensor, Tensor]:
        """Bytes [h, w, 3] of the window, and how many pixels are no numbers, on the device."""
        return composited(self.seen.rgb8, self.seen.shown(self.picture), self.seen.weight)


class Harmonizer:
    """Runs a network over renders as the configuration says. No call changes what the next one gives."""

    def __init__(self, config: HarmonizerConfig, network: ImageNetwork) -> None:
        self.config = config
        self._network = network
        self._last_logged: Failed | None = None
        # Its threads work beside each other: NumPy, OpenCV and numba release the GIL.
        self._pool = ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1), thread_name_prefix="harmonizer")
        self._finder = AreaFinder(config, device=network.device, latent_px=network.latent_px, pool=self._pool)
        on_gpu = network.device.type == "cuda"
        if on_gpu:
            keep_triton_kernels()
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
        """Each camera's picture, by position, and what the next moment's temporal harmonizing is to be given.

        What fails for some cameras alone is their `Failed`: the upload of a picture, the network, the composite. What
        fails for all of them is raised, whatever it is, out of memory among it: the search for actors, and with
        `temporal` what is done with all residuals together. `history` can be given again then.
        """
        failures: dict[int, Failed] = {}
        with self._own_stream():
            outputs: Iterable[_Output] = self._outputs(moment, failures)
            if self.config.temporal.enabled:
                outputs, history = self._steadied(moment, self._finite(list(outputs), failures), history)
            return self._show(moment, outputs, failures), history

    def warm_up(self, sizes: Sequence[Size]) -> None:
        """Prepare for frames of each size (rows, columns): the network, for crops too where those are used.

        InputError where it fails for a grey frame, as it would for every other one.
        """
        batches, shapes = range(1, self.config.runtime.max_batch + 1), set()
        counts = Counter(sizes)
        for frame, cameras in counts.items():
            scale = scale_of(self.config.resolution, frame[0])
            # A frame set can need as many crops of one size as it likes, but not more whole frames than cameras.
            needed = {frame: batches[:cameras], **dict.fromkeys(self._crop_sizes_in(frame, scale), batches)}
            shapes |= {(batch, *reduced_size(*size, scale)) for size in needed for batch in needed[size]}
        with self._own_stream():
            self._network.warm_up(shapes)
        renderers = {torch.device("cpu"), self._network.device}
        for (size, cameras), renderer in itertools.product(sorted(counts.items()), renderers):
            # A GPU's memory is tried with all of them. On a CPU two meet every path, and each more would take seconds.
            self._try_grey_frames(size, renderer, cameras if self._stream is not None else min(cameras, 2))

    def _try_grey_frames(self, size: Size, renderer: torch.device, cameras: int) -> None:
        """As `warm_up`, for some cameras of one size."""
        temporal = self.config.temporal
        moments, history = [grey_moment(size, renderer, cameras=cameras)], None
        if temporal.enabled or self.config.roi.enabled:
            gap_ns = int(min(0.1, temporal.max_gap_s) * 1e9)
            moments.append(grey_moment(size, renderer, cameras=cameras, seen=1, stamp_ns=gap_ns, moved_m=0.01))
        for moment in moments:
            outcomes, history = self.apply(moment, history)
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    expected = "a network that works for a grey frame of {} x {}".format(*size)
                    hint = "For NaN try harmonizer.dtype float32, for memory a smaller harmonizer.runtime.max_batch"
                    raise InputError("harmonizer.checkpoint", expected, outcome.reason, hint)

    def _crop_sizes_in(self, frame: Size, scale: float) -> list[Size]:
        if not self.config.roi.enabled:
            return []
        grid_px = grid_of(scale, self._network.latent_px)
        sizes = crop_sizes(parse_sizes(self.config.roi.sizes), frame, grid_px=grid_px)
        if not sizes:
            text = "harmonizer.roi: no size fits into frames of %d x %d in steps of %d pixels, which are run whole"
            log.warning(text, *frame, grid_px)
        return sizes

    def _outputs(self, moment: Moment, failures: dict[int, Failed]) -> Iterator[_Output]:
        """What the network makes of the cameras that have to see it; those that it fails for are added to `failures`.

        Each comes as soon as it is queued on a GPU, so that what is done with it is queued before the next one.
        """
        for group in self._groups(self._inputs(moment, failures)):
            left = dict(enumerate(group))
            try:
                for number, picture in self._run(group):
                    yield _Output(left.pop(number), picture)
            except Exception as error:  # PyTorch's, out of memory among them, or of a pipeline's own code
                failed = self._failed("the harmonizer's network", error)
                failures.update({one.number: failed for one in left.values()})

    def _failed(self, what: str, error: Exception) -> Failed:
        failed = Failed(f"{what} failed: {type(error).__name__}: {_first_line(error)}")
        if failed != self._last_logged:  # not once a frame
            log.warning(failed.reason, exc_info=error)
            self._last_logged = failed
        return failed

    def _groups(self, inputs: Iterable[_Input]) -> Iterator[list[_Input]]:
        """Those that the network gets together: of one size, or each by itself where it computes them one by one."""
        if self.config.runtime.max_batch == 1:
            yield from ([one] for one in inputs)
            return
        every = list(inputs)
        for size in sorted({one.image.shape for one in every}):
            yield [one for one in every if one.image.shape == size]

    def _inputs(self, moment: Moment, failures: dict[int, Failed]) -> Iterator[_Input]:
        """Of each camera that the network has to see, what it sees; uploaded while other areas are still looked for.

        Those for which this fails are added to `failures`.
        """
        for number, area in self._finder.areas(moment):
            try:
                seen = self._input(moment, number, area)
            except Exception as error:  # PyTorch's, out of memory among them
                failures[number] = self._failed("the harmonizer's upload", error)
                continue
            yield seen

    def _input(self, moment: Moment, number: int, area: Area) -> _Input:
        frame = moment.frames[number]
        image = self._on_device(frame.rgb).clamp(0, 1).movedim(-1, 0).contiguous()
        if frame.surfaces is not None and frame.surfaces.rgb8.device == self._network.device:
            window, render = whole_window(moment.views[number]), frame.surfaces.rgb8
        else:
            window, render = area.window, self._on_device(frame.rgb8[area.window.slices])
        if area.mask is None:
            return _Input(number, area, window, image, render, weight=None, mask=None)
        weight = self._on_device(area.mask[window.slices])
        return _Input(number, area, window, image, render, weight, CopyAside(area.mask))

    def _run(self, inputs: Sequence[_Input]) -> Iterable[tuple[int, Tensor]]:
        """The network's output for each of some images [3, H, W] of one size, with its number among them."""
        images = [one.image for one in inputs]
        scale = scale_of(self.config.resolution, images[0].shape[-2])

        def network(batch: Tensor) -> Tensor:
            return run_reduced(batch, self._network, scale)

        if not self.config.roi.enabled:
            return enumerate(network(torch.stack(images)))
        return run_on_crops(images, [one.area.crops for one in inputs], network, margin_px=self.config.roi.margin_px)

    def _finite(self, outputs: list[_Output], failures: dict[int, Failed]) -> list[_Output]:
        """The outputs without those that have NaN where they would be shown, which are added to `failures`."""
        if not outputs:
            return []
        (counts,) = to_host([torch.stack([out.bad_pixels() for out in outputs])])
        good = []
        for out, count in zip(outputs, counts.tolist(), strict=True):
            if count:
                failures[out.seen.number] = _not_finite(count)
            else:
                good.append(out)
        return good

    def _steadied(
        self, moment: Moment, outputs: list[_Output], history: TemporalHistory | None
    ) -> tuple[list[_Output], TemporalHistory]:
        """The outputs with residuals that are blended with what is carried over from `history`."""
        ran = {out.seen.number: out for out in outputs}
        cameras = []
        for number, (name, view, frame) in enumerate(zip(moment.names, moment.views, moment.frames, strict=True)):
            out = ran.get(number)
            if out is None:
                cameras.append(CameraResidual(name, view, residual=None, mask=None, depth=None, instance=None))
                continue
            depth, instance = self._depth_and_instance(frame)
            cameras.append(
                CameraResidual(
                    name=name,
                    view=view,
                    residual=out.picture - out.seen.image,
                    mask=out.seen.device_mask(),
                    window=out.seen.area.window,
                    depth=depth,
                    instance=instance,
                )
            )
        residuals, after = blend(
            cameras, actors=moment.actors, stamp_ns=moment.stamp_ns, history=history, config=self.config
        )
        steady = []
        for out in outputs:
            residual = residuals[out.seen.number]
            assert residual is not None
            steady.append(replace(out, picture=(out.seen.image + residual).clamp(0, 1)))
        return steady, after

    def _depth_and_instance(self, frame: RenderedFrame) -> tuple[Tensor, Tensor]:
        """[H, W] on the device, where a GPU that rendered them still has them."""
        seen = frame.surfaces
        if seen is not None and seen.instance is not None:
            return self._on_device(seen.depth), self._on_device(seen.instance)
        assert frame.instance is not None
        return self._on_device(frame.depth), self._on_device(frame.instance.astype(np.int32))

    def _show(
        self, moment: Moment, outputs: Iterable[_Output], failures: dict[int, Failed]
    ) -> list[Harmonized | Failed]:
        """The outputs in the pictures, or what is wrong with them, by threads that wait for the GPU.

        Cameras for which the composite fails are added to `failures`.
        """
        made: dict[int, Future[Harmonized | Failed]] = {}
        for out in outputs:
            try:
                picture, bad = (CopyAside(one) for one in out.composited())
            except Exception as error:  # PyTorch's, out of memory among them
                failures[out.seen.number] = self._failed("the harmonizer's composite", error)
                continue
            render = moment.frames[out.seen.number].rgb8
            made[out.seen.number] = self._pool.submit(_pasted, out.seen, render, bad, picture)
        for number, frame in enumerate(moment.frames):
            if number not in made and number not in failures:
                made[number] = self._pool.submit(Harmonized.of, frame.rgb8)
        return [failures[k] if k in failures else made[k].result() for k in range(len(moment.frames))]

    def _on_device(self, array: NDArray | Tensor) -> Tensor:
        if isinstance(array, np.ndarray):
            return to_device(array, self._network.device)
        return array.to(self._network.device)

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """On a GPU, work on the harmonizer's stream; what was rendered is complete, because its bytes were copied.

        Nothing is at work when it ends, by an error either: the renderer may then have the memory of its pictures back.
        """
        if self._stream is None:
            yield
            return
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:
                self._stream.synchronize()


def _pasted(seen: _Input, render: NDArray[np.uint8], bad: CopyAside, part: CopyAside) -> Harmonized | Failed:
    """The render [H, W, 3] with `part` in its window, unless there are `bad` pixels."""
    below = render.copy() if seen.window.shape != render.shape[:2] else None  # while the GPU is at work
    count = int(bad.array())
    if count:
        return _not_finite(count)
    rgb = part.array()
    if below is not None:
        below[seen.window.slices] = rgb
        rgb = below
    return Harmonized.of(rgb, np.ones(rgb.shape[:2], np.float32) if seen.mask is None else seen.mask.array())


def _not_finite(pixels: int) -> Failed:
    return Failed(f"the harmonizer's output has NaN or infinite values in {pixels} pixels")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
