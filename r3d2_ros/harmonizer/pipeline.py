"""From renders to harmonized pictures: region, crops or reduced image, network, composite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.harmonizer.composite import composite_full, composite_region
from r3d2_ros.harmonizer.region import ActorBox, actor_region
from r3d2_ros.harmonizer.residual import Images, Network, run_reduced, scale_of
from r3d2_ros.harmonizer.roi import choose_crops, parse_sizes, run_on_crops
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from r3d2_ros.rendering.base import RenderedImage


@dataclass(frozen=True, eq=False)
class Harmonized:
    """One camera's picture after harmonizing.

    rgb   [H, W, 3] uint8; the very bytes of the render where `mask` is 0
    mask  [H, W] float32 in [0, 1]: how much of the harmonizer's output each pixel has; None when it has none at all
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.float32] | None


class Harmonizer:
    """Runs a network over renders as the configuration says. Holds no state between calls."""

    def __init__(self, config: HarmonizerConfig, network: Network) -> None:
        self.config = config
        self._network = network
        self._crop_sizes = parse_sizes(config.roi.sizes)

    def apply(
        self,
        images: Sequence[RenderedImage],
        rendered: Sequence[NDArray[np.uint8]],
        views: Sequence[CameraView],
        boxes: Sequence[ActorBox],
    ) -> list[Harmonized]:
        """Harmonize each camera's render.

        rendered  the renders as bytes [H, W, 3]
        boxes     of the inserted actors
        NonFiniteOutputError when the network gives NaN or infinity where it would be shown.
        """
        if self.config.composite == "full":
            outputs = self._run([_unit(image.rgb) for image in images])
            return [Harmonized(composite_full(out), np.ones(out.shape[:2], np.float32)) for out in outputs]
        masks = [
            actor_region(
                actor_weight=image.actor_weight, depth=image.depth, view=view, boxes=boxes, config=self.config.region
            )
            for image, view in zip(images, views, strict=True)
        ]
        seen = [k for k, mask in enumerate(masks) if mask is not None]
        inputs = [_unit(images[k].rgb) for k in seen]
        if self.config.roi.enabled:
            outputs = [self._run_on_crops(image, masks[k]) for k, image in zip(seen, inputs, strict=True)]
        else:
            outputs = self._run(inputs)
        harmonized = [Harmonized(rgb, None) for rgb in rendered]
        for k, output in zip(seen, outputs, strict=True):
            harmonized[k] = Harmonized(composite_region(rendered[k], output, masks[k]), masks[k])
        return harmonized

    def warm_up(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Run the network once for images of each size (height, width), so that the first frame does not wait."""
        for height, width in sorted(set(sizes)):
            self._run([np.full((height, width, 3), 0.5, np.float32)])

    def _run(self, images: Sequence[Images]) -> list[Images]:
        """The network on whole images [H, W, 3], those of one size as one batch."""
        outputs: dict[int, Images] = {}
        for size in sorted({image.shape for image in images}):
            group = [k for k, image in enumerate(images) if image.shape == size]
            batch = self._scaled(np.stack([images[k] for k in group]), size[0])
            outputs.update(zip(group, batch, strict=True))
        return [outputs[k] for k in range(len(images))]

    def _run_on_crops(self, image: Images, mask: NDArray[np.float32] | None) -> Images:
        assert mask is not None
        margin_px, height = self.config.roi.margin_px, image.shape[0]
        crops = choose_crops(mask, sizes=self._crop_sizes, margin_px=margin_px)
        return run_on_crops(image, crops, lambda batch: self._scaled(batch, height), margin_px=margin_px)

    def _scaled(self, batch: Images, frame_height_px: int) -> Images:
        return run_reduced(batch, self._network, scale_of(self.config.resolution, frame_height_px))


def _unit(rgb: NDArray[np.float32]) -> Images:
    return np.clip(rgb, 0.0, 1.0)
