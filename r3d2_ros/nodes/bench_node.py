"""sim_node with prepared pictures instead of a renderer, to measure the way from the node to a subscriber alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np

from r3d2_ros.assembly import Assembled, load_config_rig
from r3d2_ros.cameras import CameraView
from r3d2_ros.config import SimConfig
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.nodes.sim_node import SimNode, spin
from r3d2_ros.nodes.transport import prepare_transport
from r3d2_ros.rendering.base import PlacedScene, RenderedImage
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.simulator import Simulator


class PreparedPictures:
    """A renderer that returns the same gradient again and again."""

    name = "prepared"

    def __init__(self) -> None:
        self._images: dict[tuple[int, int], RenderedImage] = {}

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        return [self._image(view.height_px, view.width_px) for view in views]

    def _image(self, height: int, width: int) -> RenderedImage:
        if (height, width) not in self._images:
            ramp = np.linspace(0, 1, width, dtype=np.float32)
            plane = np.ones((height, width), np.float32)
            rgb = np.repeat((plane * ramp)[:, :, None], 3, axis=2)
            self._images[height, width] = RenderedImage(rgb=rgb, depth=plane, alpha=plane, actor_weight=plane)
        return self._images[height, width]


def assemble_prepared(config: SimConfig, say: Callable[[str], None]) -> Assembled:
    """The configured rig, an empty scene, prepared pictures."""
    nothing = Gaussians(
        means=np.zeros((0, 3), np.float32),
        quats=np.zeros((0, 4), np.float32),
        scales=np.zeros((0, 3), np.float32),
        opacities=np.zeros(0, np.float32),
        sh=np.zeros((0, 1, 3), np.float32),
    )
    simulator = Simulator(
        scene=Scene("empty", nothing), library=AssetLibrary(), rig=load_config_rig(config), renderer=PreparedPictures()
    )
    return Assembled(simulator, ())


def main() -> int:
    transport = prepare_transport()
    return spin(lambda: SimNode(transport=transport, assemble=assemble_prepared))


if __name__ == "__main__":
    sys.exit(main())
