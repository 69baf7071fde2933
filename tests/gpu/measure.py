"""How long the gsplat renderer takes and how much memory, on seeded scenes like those of `make bench`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from r3d2_ros.cameras import CameraView
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene, RenderSettings
from r3d2_ros.rendering.gsplat import GsplatRenderer
from tests.gpu import scenes

WARM_UP, REPEATS = 5, 20


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

    device_ms  images left on the device, synchronised
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


def cases() -> Iterator[Case]:
    """Made one after another, so that only one scene is held."""
    full_hd, half_hd = scenes.camera(1920, 1080, fov_deg=84.3), scenes.camera(960, 540, fov_deg=84.3)
    surround = [scenes.camera(1600, 900, yaw_deg=60.0 * i, fov_deg=70.0) for i in range(6)]

    visible = PlacedScene(scenes.static(scenes.frustum(200_000, seed=0)), (), scenes.sky_image())
    yield Case("200k visible, 960x540", visible, [half_hd])
    yield Case("200k visible, 1920x1080", visible, [full_hd])
    yield Case("200k visible, 1920x1080, antialiased", visible, [full_hd], antialiased=True)

    million = PlacedScene(scenes.static(scenes.ring(1_000_000, seed=0)), (), scenes.sky_image())
    yield Case("1M ring, 1920x1080", million, [full_hd])
    million = PlacedScene(scenes.static(scenes.ring(1_000_000, seed=0, sh_degree=3)), (), scenes.sky_image())
    yield Case("1M ring, SH degree 3, 1920x1080", million, [full_hd])

    street = PlacedScene(scenes.static(scenes.ring(600_000, seed=0, sh_degree=1)), (), scenes.sky_image())
    asset = scenes.box(10_000, seed=1, sh_degree=1)
    for count in (0, 10, 100):
        busy = replace(street, actors=scenes.traffic(count, seed=3, asset=asset))
        yield Case(f"600k, 6 cameras 1600x900, {count} actors of 10k", busy, surround)
    yield Case("600k, 6 cameras 1600x900, 100 actors of 10k, instances", busy, surround, instances=True)


def measure(case: Case) -> Measurement:
    """Actors are moved in every frame, as in a drive."""
    renderer = GsplatRenderer(RenderSettings(antialiased=case.antialiased))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    image = renderer.render(case.scene, case.views, instances=case.instances)[0]
    first_ms = (time.perf_counter() - start) * 1e3

    def on_device(scene: PlacedScene) -> None:
        renderer.render_tensors(scene, case.views, instances=case.instances)
        torch.cuda.synchronize()

    def on_host(scene: PlacedScene) -> None:
        renderer.render(scene, case.views, instances=case.instances)

    device_ms, host_ms = _times(on_device, case.scene), _times(on_host, case.scene)
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
        peak_memory_mib=torch.cuda.max_memory_allocated() / 2**20,
        alpha_mean=float(image.alpha.mean()),
    )


def _times(render: Callable[[PlacedScene], None], scene: PlacedScene) -> list[float]:
    times = []
    for frame in range(WARM_UP + REPEATS):
        moved = replace(scene, actors=tuple(_advanced(actor, 0.05 * frame) for actor in scene.actors))
        torch.cuda.synchronize()
        start = time.perf_counter()
        render(moved)
        times.append((time.perf_counter() - start) * 1e3)
    return times[WARM_UP:]


def _advanced(actor: PlacedGaussians, metres: float) -> PlacedGaussians:
    """The actor `metres` further along its own x axis."""
    T = actor.T_world_node
    forward = T.translation + metres * actor.R_world_node[:, 0]
    return replace(actor, T_world_node=replace(T, translation=forward))


def table(measurements: Sequence[Measurement]) -> str:
    """For people: one line per case."""
    columns = ("scene", "Gaussians", "device ms", "with copy to numpy, ms", "first frame ms", "GPU memory MiB")
    rows = [
        (m.case, m.gaussians, f"{m.device_ms:.2f}", f"{m.host_ms:.2f}", f"{m.first_ms:.0f}", f"{m.peak_memory_mib:.0f}")
        for m in measurements
    ]
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (columns, ["---"] * len(columns), *rows)]
    return "\n".join(lines)


def as_json(measurements: Sequence[Measurement]) -> list[dict[str, object]]:
    return [asdict(m) for m in measurements]
