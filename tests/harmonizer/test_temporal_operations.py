"""How much work the temporal mode gives a GPU to start: each operation costs the CPU 5 to 8 microseconds there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.compositing.region import ActorBox
from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.harmonizer.temporal import cameras as cross_camera
from r3d2_ros.harmonizer.temporal.blend import blend
from r3d2_ros.harmonizer.temporal.patch import CameraResidual
from r3d2_ros.harmonizer.temporal.reprojection import bounds_in_image
from r3d2_ros.harmonizer.windows import Window

HEIGHT, WIDTH, CAMERAS, ACTORS = 96, 160, 6, 6


class Operations(TorchDispatchMode):
    """Counts operations on tensors, views apart."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def ring(k: int) -> Camera:
    """One of six cameras around a vehicle, 75 degrees wide and 60 degrees apart."""
    T = Rigid.from_xyz_yaw(0, 0, 0, math.radians(60 * k))
    K = np.array([[0.65 * WIDTH, 0, WIDTH / 2], [0, 0.65 * WIDTH, HEIGHT / 2], [0, 0, 1.0]])
    return Camera(f"camera {k}", WIDTH, HEIGHT, K, Rigid(T.rotation @ R_BODY_OPTICAL, T.apply([0.8, 0.0, 1.6])))


def actors(tick: int, count: int) -> list[ActorBox]:
    """Around the vehicle at 10 m, driving; every other one where the pictures of two cameras overlap."""
    angles = [math.radians(360 / count * k + 25 * (k % 2)) for k in range(count)]
    places = [(10 * math.cos(a) + 0.3 * tick, 10 * math.sin(a), 0.0, a) for a in angles]
    return [
        ActorBox(Rigid.from_xyz_yaw(*place), (4.5, 1.9, 1.6), f"actor {k}", k + 1) for k, place in enumerate(places)
    ]


def picture(camera: Camera, boxes: list[ActorBox]) -> CameraResidual:
    """Everything 10 m away, with the actors as the rectangles around them."""
    view = camera.view(Rigid.identity())
    instance = torch.zeros(HEIGHT, WIDTH, dtype=torch.int32)
    for box in boxes:
        corners = (view.T_camera_world @ box.T_world_actor).apply(box.corners)
        if (corners[:, 2] > 0).all():
            instance[bounds_in_image(corners, view).slices] = box.instance
    residual = torch.full((3, HEIGHT, WIDTH), 0.1)
    whole = Window(0, 0, HEIGHT, WIDTH)
    return CameraResidual(
        camera.name, view, residual, torch.ones(HEIGHT, WIDTH), torch.full((HEIGHT, WIDTH), 10.0), instance, whole
    )


def operations(config: TemporalConfig, *, count: int = ACTORS) -> int:
    """Of the third moment of six cameras."""
    history, mode = None, Operations()
    for tick in range(3):
        boxes, mode = actors(tick, count), Operations()
        pictures = [picture(ring(k), boxes) for k in range(CAMERAS)]
        with mode:
            _, history = blend(
                pictures,
                actors=boxes,
                stamp_ns=tick * 100_000_000,
                history=history,
                config=HarmonizerConfig(temporal=config),
            )
    return mode.count


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds are not looked for in pictures."""
    whole: Callable[[torch.Tensor], Window] = lambda mask: Window(0, 0, *mask.shape)  # noqa: E731
    monkeypatch.setattr(cross_camera, "bounds_of", whole)


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize(("cross_camera", "most"), [(False, 1144), (True, 2416)])
def test_operations_of_six_cameras_with_six_moving_actors(cross_camera: bool, most: int) -> None:
    assert operations(TemporalConfig(enabled=True, cross_camera=cross_camera)) <= most


@pytest.mark.usefixtures("like_a_gpu")
def test_an_actor_more_costs_a_few_operations_in_each_camera_that_sees_it() -> None:
    config = TemporalConfig(enabled=True, cross_camera=False)
    # Each of the six more, or its shadow, is in three or four pictures.
    assert operations(config, count=12) - operations(config, count=6) <= 308
