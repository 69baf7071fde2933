"""A node with a renderer whose pixels tell which pose they show, and a client that talks to it over DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rclpy
from nav_msgs.msg import Odometry
from r3d2_ros.msg import Actor, ActorArray, FrameSet
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from r3d2_ros.assembly import Assembled
from r3d2_ros.cameras import R_BODY_OPTICAL, Camera, CameraView, Rig
from r3d2_ros.config import SimConfig
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.base import ImageNetwork
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.executor import LastingExecutor, LastingSingleThreadedExecutor, spin_until_shutdown
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.nodes.sim_node import SimNode
from r3d2_ros.rendering.base import PlacedScene, RenderedImage
from r3d2_ros.scene import Asset, AssetLibrary, Scene
from r3d2_ros.simulator import Simulator

MS = 1_000_000
WIDTH, HEIGHT = 64, 48


class PoseRenderer:
    """Red = x of the camera in metres, green = number of actors, blue = x of the first actor, as 8-bit values."""

    name = "pose"

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        time.sleep(self.delay_s)
        return [self._image(scene, view, instances) for view in views]

    def _image(self, scene: PlacedScene, view: CameraView, instances: bool) -> RenderedImage:
        shape = (view.height_px, view.width_px)
        rgb = np.empty((*shape, 3), np.float32)
        x_actor = scene.actors[0].T_world_node.translation[0] if scene.actors else 0.0
        rgb[:] = np.array([view.T_camera_world.inverse().translation[0], len(scene.actors), x_actor]) / 255.0
        flat = np.ones(shape, np.float32)
        instance = np.full(shape, scene.actors[0].instance if scene.actors else 0, np.uint16) if instances else None
        return RenderedImage(rgb=rgb, depth=flat * 7.5, alpha=flat, actor_weight=flat * 0, instance=instance)


def gaussians() -> Gaussians:
    return Gaussians(
        means=np.zeros((1, 3)),
        quats=[[1, 0, 0, 0]],
        scales=np.ones((1, 3)),
        opacities=[0.9],
        sh=np.zeros((1, 1, 3)),
    )


def small_rig(names: Sequence[str] = ("front", "left"), **arguments: Any) -> Rig:
    K = np.array([[50.0, 0, 31.5], [0, 50.0, 23.5], [0, 0, 1]])
    T = Rigid(R_BODY_OPTICAL, np.array([0.0, 0.0, 1.5]))
    return Rig("test", tuple(Camera(n, WIDTH, HEIGHT, K, T, **arguments) for n in names))


def assembler(
    rig: Rig | None = None, delay_s: float = 0.0, *, network: ImageNetwork | None = None
) -> Callable[..., Assembled]:
    """An `assemble` that needs no files: two cameras, one asset called 'car', 4 x 2 x 1.5 m; `network` harmonizes."""

    def assemble(config: SimConfig, say: Callable[[str], None]) -> Assembled:
        harmonizer = Harmonizer(config.harmonizer, network) if network is not None else None
        library = AssetLibrary({"car": Asset("car", gaussians(), (4.0, 2.0, 1.5))})
        simulator = Simulator(
            scene=Scene("empty", gaussians()),
            library=library,
            rig=rig or small_rig(),
            renderer=PoseRenderer(delay_s),
            harmonizer=harmonizer,
            instances=config.output.instance,
        )
        return Assembled(simulator, ())

    return assemble


class Running:
    """A SimNode spinning in threads of its own."""

    def __init__(
        self, parameters: dict[str, Any] | None = None, *, assemble: Callable[..., Assembled] | None = None
    ) -> None:
        overrides = [Parameter(name, value=value) for name, value in (parameters or {}).items()]
        self.node = SimNode(assemble=assemble or assembler(), parameter_overrides=overrides)
        self._executor = LastingExecutor(num_threads=4)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def __enter__(self) -> SimNode:
        return self.node

    def __exit__(self, *error: object) -> None:
        self.node.stop()
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(5.0)
        self.node.destroy_node()


class Client:
    """Publishes ego poses and actors, collects what comes back."""

    def __init__(self, cameras: Sequence[str] = ("front", "left"), *, depth: int = 50) -> None:
        self.node = rclpy.create_node("client")
        self.frame_sets: list[FrameSet] = []
        self.images: dict[str, list[Image]] = {name: [] for name in cameras}
        self.infos: dict[str, list[CameraInfo]] = {name: [] for name in cameras}
        self.odometry = self.node.create_publisher(Odometry, "/sim_node/input/odometry", reliable(1000))
        self.actors = self.node.create_publisher(ActorArray, "/sim_node/input/actors", reliable(1000))
        sets = self.node.create_subscription(FrameSet, "/sim_node/frame_set", self.frame_sets.append, reliable(1000))
        self._sets = sets
        for name in cameras:
            base = f"/camera/{name}"
            self.node.create_subscription(Image, f"{base}/image_raw", self.images[name].append, reliable(depth))
            self.node.create_subscription(CameraInfo, f"{base}/camera_info", self.infos[name].append, reliable(depth))
        self._executor = LastingSingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin_until_shutdown, args=(self._executor,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(timeout_sec=2.0)
        self._thread.join(5.0)
        self.node.destroy_node()

    def matched(self) -> bool:
        """Whether node and client have found each other; what another process publishes may still come too early."""
        inputs = self.odometry.get_subscription_count() > 0 and self.actors.get_subscription_count() > 0
        return inputs and self._sets.get_publisher_count() > 0

    def publish_ego(self, stamp_ns: int, x_m: float, **changes: Any) -> None:
        message = Odometry()
        message.header.frame_id, message.child_frame_id = "map", "base_link"
        message.header.stamp = ns_to_stamp(stamp_ns)
        message.pose.pose.position.x = float(x_m)  # raw: broken numbers must reach the wire
        message.pose.pose.orientation.w = 1.0
        for name, value in changes.items():
            setattr(message.header if hasattr(message.header, name) else message, name, value)
        self.odometry.publish(message)

    def publish_actors(self, stamp_ns: int, **x_of_actor: float) -> None:
        message = ActorArray()
        message.header.frame_id, message.header.stamp = "map", ns_to_stamp(stamp_ns)
        for name, x_m in x_of_actor.items():
            actor = Actor(id=name, asset="car")
            actor.pose.position.x, actor.pose.orientation.w = x_m, 1.0
            message.actors.append(actor)
        self.actors.publish(message)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 40.0) -> None:
    """Wait until `condition` holds; AssertionError naming `what` otherwise."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited {timeout_s} s for {what}"
        time.sleep(0.01)


def pixel(image: Image) -> tuple[int, ...]:
    """The first pixel of an rgb8 image."""
    return tuple(image.data[:3])
