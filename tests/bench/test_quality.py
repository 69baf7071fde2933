"""What approximate modes cost in quality, with networks whose output is known."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

from r3d2_ros.bench.harmonizer import quality
from r3d2_ros.config import SimConfig
from r3d2_ros.demo.drive import Drive
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.rendering.base import PlacedScene, RenderedImage
from tests.harmonizer.test_harmonizer import Network, harmonizing, state_at
from tests.test_simulator import state


def network_of(config: SimConfig) -> Network:
    """Takes a tenth of the light, and at half of the resolution a fifth; there is none in 8 bit."""
    if config.harmonizer.dtype == "float8":
        raise InputError("harmonizer.dtype", "a GPU of compute capability 8.9", "8.0")
    return Network(lambda images: images * (0.8 if config.harmonizer.resolution == "half" else 0.9))


def test_a_moment_is_rendered_once_for_all_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The street and its checkpoint are left out; warm-ups render no actor."""
    simulator = harmonizing(network_of(SimConfig()))
    render, actors = simulator.renderer.render, []

    def counted(scene: PlacedScene, *arguments: Any, **options: Any) -> list[RenderedImage]:
        actors.append(len(scene.actors))
        return render(scene, *arguments, **options)

    def load(config: SimConfig, say: Callable[[str], None]) -> Harmonizer:
        return Harmonizer(config.harmonizer, network_of(config))

    monkeypatch.setattr(simulator.renderer, "render", counted)
    monkeypatch.setattr(quality, "assemble", lambda config, say: SimpleNamespace(simulator=simulator))
    monkeypatch.setattr(quality, "load_harmonizer", load)
    monkeypatch.setattr(quality, "world_states", lambda drive: [state(), state_at(100_000_000)])
    roi, half, float8 = quality.measure_quality(SimConfig(), Drive("two moments", ()), ("roi", "half", "fp8"))
    assert actors.count(1) == 2
    assert roi["identical"] is True and half["identical"] is False
    assert roi["cameras"]["front"]["frames_with_region"] == half["cameras"]["front"]["frames_with_region"] == 2
    assert "compute capability" in float8["not_measured"]
