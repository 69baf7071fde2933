"""Simulator.step: the same state gives the same bytes, here and in another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
import xxhash

from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, CameraView, Rig
from r3d2_ros.gaussians import Gaussians, rgb_to_sh
from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering.base import PlacedScene, RenderedImage, RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from r3d2_ros.rendering.frames import RenderedFrame, frame_of
from r3d2_ros.scene import Asset, AssetLibrary, Scene
from r3d2_ros.simulator import FrameSet, History, Simulator
from r3d2_ros.world import ActorState, EgoState, WorldState


def cloud(n: int, seed: int, spread: tuple[float, float, float]) -> Gaussians:
    random = np.random.default_rng(seed)
    return Gaussians(
        means=random.normal(size=(n, 3)) * spread,
        quats=random.normal(size=(n, 4)) / 2,
        scales=np.exp(random.normal(-2.0, 0.4, (n, 3))),
        opacities=random.uniform(0.3, 0.99, n),
        sh=rgb_to_sh(random.uniform(size=(n, 3))),
    )


def simulator(threads: int = 0) -> Simulator:
    K = np.array([[80.0, 0, 79.5], [0, 80.0, 59.5], [0, 0, 1]])
    left = Rigid.from_xyz_yaw(0, 0, 0, np.pi / 2).rotation @ R_BODY_OPTICAL
    cameras = (
        Camera("front", 160, 120, K, Rigid(R_BODY_OPTICAL, np.array([1.0, 0, 1.5]))),
        Camera("left", 160, 120, K, Rigid(left, np.array([0.0, 0.5, 1.5]))),
    )
    library = AssetLibrary({"box": Asset("box", cloud(300, 2, (1.0, 0.5, 0.5)), (4.0, 2.0, 2.0))})
    return Simulator(
        scene=Scene("cloud", cloud(3000, 1, (20.0, 20.0, 3.0))),
        library=library,
        rig=Rig("two", cameras),
        renderer=CpuRenderer(RenderSettings(), threads),
        instances=True,
    )


def state(x_m: float = 0.0) -> WorldState:
    actor = ActorState("a", "box", Rigid.from_xyz_yaw(8.0, 0.0, 0.5, 0.3), instance=1)
    return WorldState(7, EgoState(7, Rigid.from_xyz_yaw(x_m, 0.0, 0.0, 0.1)), (actor,), ("a",))


def hashes(frame_set: FrameSet) -> list[str]:
    return [frame.content_hash for frame in frame_set.frames]


def test_the_hash_is_that_of_the_row_major_pixels() -> None:
    frame = simulator().step(state(), History())[0].frames[0]
    assert frame.rgb.shape == (120, 160, 3) and frame.rgb.dtype == np.uint8
    assert frame.content_hash == xxhash.xxh3_128_hexdigest(frame.rgb.tobytes())


def test_same_state_same_bytes_whatever_was_rendered_before() -> None:
    sim = simulator()
    first = sim.step(state(), History())[0]
    sim.step(state(5.0), History())
    again = sim.step(state(), History())[0]
    assert hashes(first) == hashes(again)
    assert hashes(first) != hashes(sim.step(state(5.0), History())[0])


def test_what_rectifies_pictures_makes_those_of_the_pinhole() -> None:
    """As `image_proc` does it for a subscriber, with the K and D of camera_info."""
    plain = simulator()
    camera = plain.rig.cameras[0]
    barrel = replace(camera, name="barrel", D=(-0.25, 0.06, 0.001, -0.0005, -0.004))
    fisheye = replace(camera, name="fisheye", D=(0.02, -0.01, 0.003, -0.0005), distortion_model="equidistant")
    first, second, pinhole = plain.step(state(), History(), cameras=[barrel, fisheye, camera])[0].frames
    K = camera.K
    rectified = {
        "barrel": cv2.undistort(first.rgb, K, np.array(barrel.D)),
        "fisheye": cv2.fisheye.undistortImage(second.rgb, K, np.array(fisheye.D), Knew=K),
    }
    beside = psnr(np.roll(pinhole.rgb, 1, axis=1), pinhole.rgb)
    for name, picture in rectified.items():
        assert psnr(picture, pinhole.rgb) > beside + 5, f"{name}: 6 dB are half a pixel"


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of what lies 8 pixels from the edges, beyond which distorted pictures have nothing."""
    difference = (a.astype(float) - b)[8:-8, 8:-8]
    return float(10 * np.log10(255**2 / np.mean(difference**2)))


class Counting(CpuRenderer):
    """Writes down the number of views of each call."""

    def __init__(self) -> None:
        super().__init__(RenderSettings())
        self.calls: list[int] = []

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        self.calls.append(len(views))
        return super().render(scene, views, instances=instances)


class CountingDevice(Counting):
    """As a renderer on a GPU does."""

    def render_frames(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedFrame]:
        return [frame_of(image) for image in self.render(scene, views, instances=instances)]

    def warm_up(self, scene: PlacedScene, views: Sequence[CameraView]) -> None:
        self.calls.append(-len(views))


@pytest.mark.parametrize("renderer, calls", [(Counting, [2]), (CountingDevice, [-2, 2])])
def test_a_warm_up_renders_the_rig_once_and_more_only_where_a_gpu_does(
    renderer: type[Counting], calls: list[int]
) -> None:
    sim = simulator()
    sim.renderer = counting = renderer()
    sim.warm_up()
    assert counting.calls == calls


def test_another_process_and_another_number_of_threads_give_the_same_bytes() -> None:
    program = (
        "from tests.test_simulator import *\n"
        "print(*hashes(simulator(threads=1).step(state(), History())[0]))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True)
    assert run.stdout.split() == hashes(simulator().step(state(), History())[0])


def test_only_the_cameras_that_are_due_are_rendered_and_look_the_same() -> None:
    sim = simulator()
    both = sim.step(state(), History())[0]
    left = sim.step(state(), History(), cameras=[sim.rig["left"]])[0]
    assert [frame.camera.name for frame in left.frames] == ["left"]
    assert hashes(left) == hashes(both)[1:]


def test_the_actor_is_marked_where_it_stands() -> None:
    frame_set = simulator().step(state(), History())[0]
    front = frame_set.frames[0]
    assert front.instance is not None and set(np.unique(front.instance)) == {0, 1}
    assert frame_set.instance_ids == ("a",)
    rows, columns = np.nonzero(front.instance)
    # 8 m ahead seen from x = 1 m, heading 0.1 rad: tan(-0.1) * 80 px left-right offset, about 11 px to the right.
    assert abs(columns.mean() - (79.5 + 80 * np.tan(0.11))) < 6
    assert 50 < rows.mean() < 85
