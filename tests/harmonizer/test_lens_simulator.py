"""Harmonized pictures through lenses: the network sees pinholes, the user the camera."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from r3d2_ros.cameras import Rig
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig, TemporalConfig
from r3d2_ros.published import pixels
from r3d2_ros.rendering.lens import Lens
from r3d2_ros.rendering.rgb8 import content_hash
from r3d2_ros.simulator import History, Simulator
from tests.harmonizer.test_harmonizer import Network, darker, state_at
from tests.test_simulator import CountingDevice, hashes, simulator, state

BARREL = ("plumb_bob", (-0.25, 0.06, 0.001, -0.0005, -0.004))
FISHEYE = ("equidistant", (0.0, 0.0, 0.0, 0.0))


def through(lens: tuple[str, tuple[float, ...]], network: Network, **config: object) -> Simulator:
    """Two cameras of 160x120 pixels, the first of which sees an actor; a fisheye of these has two faces."""
    plain = simulator()
    cameras = (replace(camera, distortion_model=lens[0], D=lens[1]) for camera in plain.rig.cameras)
    return Simulator(
        scene=plain.scene,
        library=plain.library,
        rig=Rig("bent", tuple(cameras)),
        renderer=plain.renderer,
        harmonizer=Harmonizer(HarmonizerConfig(**config), network),  # type: ignore[arg-type]
        instances=True,
    )


@pytest.mark.parametrize("lens", [BARREL, FISHEYE], ids=["barrel", "fisheye"])
def test_outside_the_region_every_byte_is_the_render(lens: tuple[str, tuple[float, ...]]) -> None:
    front, left = through(lens, darker()).step(state(), History())[0].frames
    assert front.rgb.shape == (120, 160, 3) == left.rgb.shape and front.depth.shape == (120, 160)
    assert front.mask is not None and 0 < (front.mask > 0).mean() < 0.6
    np.testing.assert_array_equal(front.rgb[front.mask == 0], front.rendered[front.mask == 0])
    # 0.1 of 255, but for pixels beside some where the network's output ends at 0.
    full = (front.mask == 1) & (front.rendered.min(axis=-1) > 60)
    difference = front.rendered[full].astype(int) - front.rgb[full]
    assert np.median(difference) in (25, 26) and difference.min() >= 20 and difference.max() <= 27
    assert np.all(front.mask[front.instance == 1] > 0)
    assert front.content_hash == content_hash(front.rgb) != content_hash(front.rendered)
    assert left.mask is None and left.rgb is left.rendered


def test_only_what_is_asked_for_is_looked_up_through_a_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture always, 12 ms of a core at 1080p each; render and mask when somebody reads them, and once."""
    looked_up = []
    picture = Lens.picture
    monkeypatch.setattr(Lens, "picture", lambda lens, images: looked_up.append(lens) or picture(lens, images))
    front, left = through(FISHEYE, darker()).step(state(), History())[0].frames
    assert len(looked_up) == 2
    assert left.rendered is left.rgb and left.mask is None and len(looked_up) == 2, "nothing has changed it"
    for _ in range(2):
        assert pixels(front, "image_rendered").shape == (120, 160, 3) and len(looked_up) == 3
    assert pixels(front, "harmonizer_mask").max() == 255 and len(looked_up) == 4


def test_the_network_is_prepared_for_what_is_rendered() -> None:
    network = darker()
    sim = through(FISHEYE, network, composite="full")
    sim.renderer = renderer = CountingDevice()
    sim.warm_up()
    assert renderer.calls[0] == -4, "the renderer is warmed up with them too"
    rendered = sim.render(state())
    assert rendered.lenses == sim.render(state()).lenses, "made once"
    sizes = {(frame.rgb8.shape[0], frame.rgb8.shape[1]) for frame in rendered.frames}
    assert {shape[1:] for shape in network.prepared} == sizes
    assert len(rendered.frames) == 4 and [face.stop for face in rendered.faces] == [2, 4]


def test_a_camera_fails_as_a_whole_and_once() -> None:
    """The network fails for one of four pinholes, the second, which is the front camera's."""

    def fails_for_one(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return images * (torch.nan if len(calls) == 2 else 0.5)

    calls: list[int] = []
    sim = through(FISHEYE, Network(fails_for_one), composite="full", runtime=RuntimeConfig(max_batch=1))
    rendered = sim.render(state())
    frame_set, _ = sim.harmonize(rendered, History())
    assert [frame.camera.name for frame in frame_set.frames] == ["left"]
    assert [failure.camera.name for failure in frame_set.failures] == ["front"]
    calls.clear()
    front, left = sim.harmonize(rendered, History(), raw_where_it_fails=True)[0].frames
    assert front.raw == frame_set.failures[0].reason and not left.raw
    assert front.rgb is front.rendered and np.any(left.rgb != left.rendered)
    raw = sim.unharmonized(rendered, "late")
    assert [frame.raw for frame in raw.frames] == ["late"] * 2
    assert hashes(raw)[0] == front.content_hash


@pytest.mark.parametrize("lens", [BARREL, FISHEYE], ids=["barrel", "fisheye"])
def test_residuals_are_carried_over_in_each_pinhole(lens: tuple[str, tuple[float, ...]]) -> None:
    """The network's second answer to a scene that stands still is mixed with its first."""
    network = darker()
    sim = through(lens, network, temporal=TemporalConfig(enabled=True))
    first, history = sim.step(state_at(0), History())
    network.function = lambda images: images - 0.14
    second, _ = sim.step(state_at(100_000_000), history)
    fresh = through(lens, network).step(state_at(100_000_000), History())[0]
    inside = (first.frames[0].mask == 1) & (first.frames[0].rendered.min(axis=-1) > 90)
    means = [frames.frames[0].rgb[inside].mean() for frames in (first, second, fresh)]
    assert inside.any() and means[2] + 1 < means[1] < means[0] - 1


def test_the_same_state_gives_the_same_bytes_and_a_camera_of_another_rig_works() -> None:
    sim = through(BARREL, darker())
    first, again = (sim.step(state(), History())[0] for _ in range(2))
    assert hashes(first) == hashes(again)
    other = replace(sim.rig.cameras[0], name="other")
    (alone,) = sim.step(state(), History(), cameras=[other])[0].frames
    assert alone.content_hash == first.frames[0].content_hash
