"""How long the gsplat renderer takes and how much memory, on seeded scenes like those of `make bench`."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from r3d2_ros.cameras import CameraView
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderSettings
from r3d2_ros.rendering.gsplat import GsplatRenderer
from tests.gpu import scenes
from tests.gpu.report import Part
from tests.gpu.setting import Setting

WARM_UP, REPEATS = 5, 20
MakeRenderer = Callable[[RenderSettings], GsplatRenderer]


@dataclass(frozen=True)
class Case:
    """A scene and the cameras that look at it; `frames` are the actors of successive frames."""

    name: str
    scene: PlacedScene
    views: Sequence[CameraView]
    instances: bool = False
    antialiased: bool = False


@dataclass(frozen=True)
class Measurement:
    """Times in milliseconds: the median and the slowest of REPEATS frames.

    device_ms  as the simulator renders: bytes on the host, all else left on the device, synchronised
    host_ms    the whole `render`, images as numpy arrays
    """

    case: str
    gaussians: int
    actors: int
    cameras: int
    size: str
    first_ms: float
    device_ms: float
    device_max_ms: float
    host_ms: float
    host_max_ms: float
    peak_memory_mib: float
    alpha_mean: float


@contextlib.contextmanager
def make_renderer(setting: Setting) -> Iterator[MakeRenderer]:
    """Makes gsplat renderers; in a rehearsal gsplat's kernels are stood in for on the CPU."""
    if not setting.rehearsal:
        make: MakeRenderer = lambda settings: GsplatRenderer(settings, str(setting.device))  # noqa: E731
        make(RenderSettings())
        yield make
        return
    import pytest

    from tests.rendering_gsplat.emulation import emulated

    with pytest.MonkeyPatch.context() as patch:
        kernels = emulated(patch)
        yield lambda settings: GsplatRenderer(settings, "cpu", kernels=kernels)


def measure_cases(setting: Setting, part: Part) -> None:
    """A row per case."""
    with make_renderer(setting) as make:
        for case in cases(setting):
            if not part.has(case.name):
                part.put(case.name, asdict(measure(case, make, setting)))


def cases(setting: Setting) -> Iterator[Case]:
    """Made one after another, so that only one scene is held. A rehearsal has a few Gaussians."""
    few = setting.scaled(1, 2000)

    def camera(height: int, width: int, **arguments: Any) -> CameraView:
        height, width = setting.size(height, width)
        return scenes.camera(width, height, **arguments)

    def still(name: str, gaussians: Any, **arguments: Any) -> Case:
        return Case(name, PlacedScene(scenes.static(gaussians), (), scenes.sky_image()), **arguments)

    full_hd, half_hd = camera(1080, 1920, fov_deg=84.3), camera(540, 960, fov_deg=84.3)
    surround = [camera(900, 1600, yaw_deg=60.0 * i, fov_deg=70.0) for i in range(6)]

    visible = scenes.frustum(200_000 // few, seed=0)
    yield still("200k visible, 960x540", visible, views=[half_hd])
    yield still("200k visible, 1920x1080", visible, views=[full_hd])
    yield still("200k visible, 1920x1080, antialiased", visible, views=[full_hd], antialiased=True)
    yield still("1M ring, 1920x1080", scenes.ring(1_000_000 // few, seed=0), views=[full_hd])
    shiny = scenes.ring(1_000_000 // few, seed=0, sh_degree=3)
    yield still("1M ring, SH degree 3, 1920x1080", shiny, views=[full_hd])

    street = PlacedScene(scenes.static(scenes.ring(600_000 // few, seed=0, sh_degree=1)), (), scenes.sky_image())
    asset = scenes.box(10_000 // few, seed=1, sh_degree=1)
    for count in (0, 10, 100):
        busy = replace(street, actors=scenes.traffic(count, seed=3, asset=asset))
        yield Case(f"600k, 6 cameras 1600x900, {count} actors of 10k", busy, surround)
    yield Case("600k, 6 cameras 1600x900, 100 actors of 10k, instances", busy, surround, instances=True)

    six = [camera(1080, 1920, yaw_deg=60.0 * i, fov_deg=70.0) for i in range(6)]
    large = PlacedScene(scenes.static(scenes.ring(3_000_000 // few, seed=0)), (), scenes.sky_image())
    yield Case(
        "3M, 6 cameras 1920x1080, 20 actors of 10k",
        replace(large, actors=scenes.traffic(20, seed=3, asset=asset)),
        six,
    )


def measure(case: Case, make: MakeRenderer, setting: Setting) -> Measurement:
    """Actors are moved in every frame, as in a drive."""
    renderer = make(RenderSettings(antialiased=case.antialiased))
    on_gpu = setting.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    image = renderer.render(case.scene, case.views, instances=case.instances)[0]
    first_ms = (time.perf_counter() - start) * 1e3

    def on_device(scene: PlacedScene) -> None:
        renderer.render_frames(scene, case.views, instances=case.instances)
        setting.synchronize()

    def on_host(scene: PlacedScene) -> None:
        renderer.render(scene, case.views, instances=case.instances)

    device_ms = _times(on_device, case.scene, setting)
    host_ms = _times(on_host, case.scene, setting)
    return Measurement(
        case=case.name,
        gaussians=sum(len(node.gaussians) for node in case.scene.nodes),
        actors=len(case.scene.actors),
        cameras=len(case.views),
        size=f"{case.views[0].width_px}x{case.views[0].height_px}",
        first_ms=first_ms,
        device_ms=statistics.median(device_ms),
        device_max_ms=max(device_ms),
        host_ms=statistics.median(host_ms),
        host_max_ms=max(host_ms),
        peak_memory_mib=torch.cuda.max_memory_allocated() / 2**20 if on_gpu else 0.0,
        alpha_mean=float(image.alpha.mean()),
    )


def _times(render: Callable[[PlacedScene], None], scene: PlacedScene, setting: Setting) -> list[float]:
    times = []
    warm_up = setting.scaled(WARM_UP, 0)
    for frame in range(warm_up + setting.scaled(REPEATS, 1)):
        moved = replace(scene, actors=tuple(_advanced(actor, 0.05 * frame) for actor in scene.actors))
        setting.synchronize()
        start = time.perf_counter()
        render(moved)
        times.append((time.perf_counter() - start) * 1e3)
    return times[warm_up:]


def _advanced(actor: PlacedGaussians, metres: float) -> PlacedGaussians:
    """The actor `metres` further along its own x axis."""
    T = actor.T_world_node
    forward = T.translation + metres * actor.R_world_node[:, 0]
    return replace(actor, T_world_node=replace(T, translation=forward))
