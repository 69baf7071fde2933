"""The shipped weights in the simulator, on renders of the embedded street: what stays untouched, and what repeats."""

from __future__ import annotations

import faulthandler
import hashlib
import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from r3d2_ros.assembly import assemble
from r3d2_ros.bench.harmonizer.drive import world_states
from r3d2_ros.bench.harmonizer.setting import RigSize, rig_config, street_drive
from r3d2_ros.harmonizer.backends import load_network
from r3d2_ros.harmonizer.base import ImageNetwork, Shape
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig, RuntimeConfig, TemporalConfig
from r3d2_ros.simulator import CameraFrame, History, Simulator

FRAMES = 3
SIZE = (180, 320)
"""Rows that are no multiple of the latent grid, whole or halved."""

NANO = HarmonizerConfig(backend="r3d2", checkpoint="nano", device="cpu")
CROPS = RoiConfig(enabled=True, sizes="64x64, 96x128, 128x160", margin_px=16)


def street(folder: Path, *, cameras: int, harmonizer: HarmonizerConfig) -> Simulator:
    """The embedded street with small cameras, the first to the front, the second to the back."""
    config = rig_config(folder, RigSize(cameras, SIZE), harmonizer=harmonizer, splats=None, backend="cpu")
    return assemble(config).simulator


def drive(simulator: Simulator) -> Iterator[tuple[CameraFrame, ...]]:
    """The pictures of some frames of a drive in which everything moves."""
    history = History()
    for state in world_states(street_drive(ticks=FRAMES, rate_hz=10.0, actors=5)):
        frame_set, history = simulator.step(state, history)
        assert not frame_set.failures
        yield frame_set.frames


class Watched:
    """A network, and the shapes that it was given."""

    def __init__(self, network: ImageNetwork) -> None:
        self._network, self.shapes = network, set[Shape]()
        self.device, self.latent_px = network.device, network.latent_px

    def __call__(self, images: Tensor) -> Tensor:
        self.shapes.add((len(images), images.shape[2], images.shape[3]))
        return self._network(images)

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        self._network.warm_up(shapes)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Simulator:
    """Without a harmonizer."""
    return street(tmp_path_factory.mktemp("rig"), cameras=2, harmonizer=HarmonizerConfig())


@pytest.fixture(scope="module")
def network() -> ImageNetwork:
    return load_network(NANO)


@pytest.fixture(scope="module")
def renders(bare: Simulator) -> list[tuple[CameraFrame, ...]]:
    return list(drive(bare))


@pytest.fixture
def simulator(bare: Simulator) -> Simulator:
    return Simulator(scene=bare.scene, library=bare.library, rig=bare.rig, renderer=bare.renderer)


@pytest.mark.parametrize(
    ("roi", "resolution", "temporal"), list(itertools.product([False, True], ["full", "half"], [False, True]))
)
def test_outside_the_region_every_byte_is_the_renders(
    roi: bool,
    resolution: str,
    temporal: bool,
    simulator: Simulator,
    network: ImageNetwork,
    renders: list[tuple[CameraFrame, ...]],
) -> None:
    config = replace(
        NANO,
        resolution=resolution,
        roi=replace(CROPS, enabled=roi),
        temporal=TemporalConfig(enabled=temporal),
    )
    watched = Watched(network)
    simulator.harmonizer = Harmonizer(config, watched)
    masks: dict[str, list[np.ndarray]] = {}
    changed_px = 0
    for frames, rendered in zip(drive(simulator), renders, strict=True):
        for frame, render in zip(frames, rendered, strict=True):
            assert np.array_equal(frame.rendered, render.rgb)
            assert frame.mask is not None, "an actor is in view"
            outside = frame.mask == 0
            assert 0.2 < outside.mean() < 0.999
            assert np.array_equal(frame.rgb[outside], render.rgb[outside])
            changed_px += np.count_nonzero((frame.rgb != render.rgb).any(axis=-1))
            masks.setdefault(frame.camera.name, []).append(outside)
    assert len(masks) == 2 and changed_px > 1000, "nano changes something"
    assert all(not np.array_equal(a, b) for seen in masks.values() for a, b in itertools.pairwise(seen)), "they move"
    whole = SIZE if resolution == "full" else (SIZE[0] // 2, SIZE[1] // 2)
    seen = {shape[1:] for shape in watched.shapes}
    assert seen != {whole} if roi else seen == {whole}


def test_the_temporal_mode_was_at_work(simulator: Simulator, network: ImageNetwork) -> None:
    """From the second frame on; the first has nothing to carry."""
    pictures = []
    for temporal in (False, True):
        config = replace(NANO, temporal=TemporalConfig(enabled=temporal, cross_camera=False))
        simulator.harmonizer = Harmonizer(config, network)
        pictures.append([[frame.content_hash for frame in frames] for frames in drive(simulator)])
    alone, carried = pictures
    assert alone[0] == carried[0]
    assert all(a != c for a, c in zip(alone[1:], carried[1:], strict=True))


def digest(folder: Path, runtime: RuntimeConfig) -> str:
    """SHA-256 of all pictures of the drive, by one camera."""
    simulator = street(folder, cameras=1, harmonizer=replace(NANO, runtime=runtime))
    total = hashlib.sha256()
    for frames in drive(simulator):
        assert all((frame.rgb != frame.rendered).any() for frame in frames)
        total.update(b"".join(frame.rgb.tobytes() for frame in frames))
    return total.hexdigest()


def digest_of_another_process(folder: Path, runtime: RuntimeConfig) -> str:
    program = f"from tests.harmonizer.test_nano_on_street import *\nprint(digest(Path({str(folder)!r}), {runtime!r}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=1800)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()[-1]


@pytest.mark.slow
def test_two_processes_give_the_same_pictures(tmp_path: Path) -> None:
    """Both started alike: sums on a CPU depend on how many threads a library was told to take, as in this process."""
    pinned = RuntimeConfig(deterministic=True)
    assert digest_of_another_process(tmp_path, pinned) == digest_of_another_process(tmp_path, pinned)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_compiled_with_a_cold_and_a_warm_cache_gives_the_same_pictures(tmp_path: Path) -> None:
    # The run's guard against native code that spins would take a slow C++ compiler for it.
    faulthandler.cancel_dump_traceback_later()
    cache = tmp_path / "cache"
    runtime = RuntimeConfig(kind="torch-compile", deterministic=True, max_batch=1, cache=str(cache))
    cold = digest_of_another_process(tmp_path, runtime)
    compiled = set(cache.rglob("*.so"))
    assert compiled
    assert digest_of_another_process(tmp_path, runtime) == cold
    assert set(cache.rglob("*.so")) == compiled, "the second process compiled something"
