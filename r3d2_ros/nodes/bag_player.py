"""Plays a bag over ROS 2: its topics, /clock, and the simulator's inputs made from it.

    ros2 run r3d2_ros bag_player --ros-args -p bag:=drive.db3 -p rate:=0.5 -p loop:=true

The simulator's inputs are what `r3d2 replay` reads from the same bag: pose and actors, whatever types they are recorded
in. So a live simulator in lock-step shows what a replay shows.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from r3d2_ros.assembly import open_config_library
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.msg import FrameSet
from r3d2_ros.nodes.executor import LastingSingleThreadedExecutor, spin_until_shutdown
from r3d2_ros.nodes.parameters import ConfigParameters
from r3d2_ros.nodes.play_loop import PlayLoop, Timing
from r3d2_ros.nodes.play_topics import Clock, Passed, SimulatorInputs
from r3d2_ros.nodes.qos import explained, reliable
from r3d2_ros.nodes.start_errors import START_ERRORS, USER_ERRORS, tell
from r3d2_ros.replay.bag import Bag, open_bag
from r3d2_ros.replay.recording import Recording, open_recording
from r3d2_ros.replay.sources import EgoSource, find_ego

DEPTH = 1000
SETTLE_S = 0.5
"""The other side matches a moment after this one: what is published before would be lost to it."""

POLL_S = 0.05
REMIND_S = 5.0
GIVE_UP_S, GIVE_UP_AT_END_S = 30.0, 5.0
"""A simulator that says nothing for so long is not waited for any more, while the bag is played and at its end."""

PARAMETERS: dict[str, tuple[Any, str]] = {
    "bag": ("", "folder, .db3 or .mcap file of a rosbag2"),
    "ego": ("", "topic with the pose of the vehicle, or /tf; empty: found"),
    "actors": ("", "topic with the actors, or none; empty: found"),
    "simulator": ("/sim_node", "node whose inputs are fed from the bag; empty: none, only the bag's topics"),
    "topics": ("all", "topics of the bag to publish, by commas; all, or none"),
    "rate": (1.0, "seconds of the bag per second"),
    "loop": (False, "begin again at the end; time goes back then"),
    "start_s": (0.0, "seconds after the beginning of the bag"),
    "clock_hz": (100.0, "of /clock, in time of the bag; 0: no /clock"),
    "delay_s": (1.0, "wait after the subscribers are there, or, without a simulator, altogether"),
    "max_lag_s": (0.0, "message time that the simulator may be behind before the bag is held; 0: any"),
}


LIMITS = {
    "rate": (1e-3, 1e3), "start_s": (0, 1e9), "clock_hz": (0, 1e4), "delay_s": (0, 3600), "max_lag_s": (0, 3600)
}  # fmt: skip


@dataclass(frozen=True)
class PlayOptions:
    """The parameters of the node."""

    bag: str
    ego: str
    actors: str
    simulator: str
    topics: str
    rate: float
    loop: bool
    start_s: float
    clock_hz: float
    delay_s: float
    max_lag_s: float

    def __post_init__(self) -> None:
        if not self.bag:
            raise InputError("parameter bag", "a bag to play", "none", "-p bag:=PATH")
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"parameter {name}", f"a number from {low:g} to {high:g}", f"{value:g}")


class BagPlayer(Node):
    """Opens the bag when it is made; `play` publishes it, in the calling thread.

    Besides its own it has the parameters of the simulator's configuration, which say how the bag is read: frames, and
    the assets and classes of the actors.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("bag_player", **node_arguments)
        config = ConfigParameters(self, others=tuple(PARAMETERS)).config
        values = {
            name: self.declare_parameter(name, default, ParameterDescriptor(description=text)).value
            for name, (default, text) in PARAMETERS.items()
        }
        self.options = PlayOptions(**values)
        self._stop = threading.Event()
        self._answered_ns: int | None = None
        self._given_up = False
        options = self.options
        self._inputs: SimulatorInputs | None = None
        self._recording: Recording | None = None
        self._bag: Bag
        self._ego: EgoSource | None
        if options.simulator:
            self._feed_simulator(config)
        else:
            self._bag = open_bag(options.bag)
            self._ego = self._ego_if_any(config)
        self._clock = Clock(self) if options.clock_hz > 0 else None
        self._passed: Passed | None = None

    def _feed_simulator(self, config: SimConfig) -> None:
        options, say = self.options, self.get_logger().info
        library = open_config_library(config, say)
        recording = self._recording = open_recording(
            options.bag, config=config, library=library, ego=options.ego or None, actors=options.actors or None
        )
        self._bag, self._ego = recording.bag, recording.ego
        self._inputs = SimulatorInputs(
            self, options.simulator, config=config, library=library, has_actors=recording.actors is not None
        )
        topic = f"{options.simulator}/frame_set"
        with explained(topic):
            self.create_subscription(FrameSet, topic, self._on_frame_set, reliable(DEPTH))
        say(f"ego: {recording.ego.title}; actors: {recording.actors or 'none'}")

    def _ego_if_any(self, config: SimConfig) -> EgoSource | None:
        """Where no simulator is fed the ego only tells whether stamps and times of recording are of one clock."""
        try:
            return find_ego(self._bag, config, wanted=self.options.ego or None)
        except InputError:
            return None

    def stop(self) -> None:
        """End `play` soon; from any thread."""
        self._stop.set()

    def close(self) -> None:
        self._bag.__exit__()

    def play(self) -> None:
        """Wait for the simulator, publish the bag, once or again and again, and return when it is over."""
        if not self._wait_for_simulator():
            return
        self._passed = Passed(self, self._bag, wanted=self.options.topics, own=self._own_topics())
        for text in self._passed.notes:
            self.get_logger().warning(text)
        if self._sleep(self.options.delay_s if not self._inputs else max(self.options.delay_s, SETTLE_S)):
            return
        loop = PlayLoop(
            self._bag,
            ego=self._ego,
            recording=self._recording,
            inputs=self._inputs,
            passed=self._passed,
            clock=self._clock,
            timing=Timing(self.options.rate, start_s=self.options.start_s, clock_hz=self.options.clock_hz),
            hold=self._hold if self.options.max_lag_s > 0 else None,
            stopping=self._stop.is_set,
        )
        rounds = 0
        while not self._stop.is_set():
            self._answered_ns, self._given_up = None, False
            try:
                loop.run()
            finally:
                for text in self._bag.damage:
                    self.get_logger().warning(f"not read: {text}")
            rounds += 1
            if not self.options.loop or self._stop.is_set():
                break
            self.get_logger().info(f"round {rounds} is over; time goes back")
        if not self._stop.is_set():
            self._passed.flush()
            if self._inputs:
                self._inputs.flush()
            self.get_logger().info("the bag is over")

    def _own_topics(self) -> set[str]:
        """Topics that this node publishes itself."""
        own = set(self._inputs.topics) if self._inputs else set()
        return own | ({self._clock.topic} if self._clock else set())

    def _wait_for_simulator(self) -> bool:
        """Until the simulator listens. False when the node is to stop."""
        inputs, waited = self._inputs, 0.0
        while inputs is not None and not inputs.matched and not self._stop.is_set():
            if waited == 0.0 or waited >= REMIND_S:
                waited = 0.0
                self.get_logger().info(f"waiting for {self.options.simulator} to listen")
            self._sleep(POLL_S)
            waited += POLL_S
        return not self._stop.is_set()

    def _sleep(self, duration_s: float) -> bool:
        """Wait; True when the node is to stop."""
        return self._stop.wait(duration_s)

    def _on_frame_set(self, message: FrameSet) -> None:
        self._answered_ns, self._given_up = stamp_to_ns(message.header.stamp), False

    def _hold(self, lag_s: Callable[[int | None], float], limit_s: float | None) -> None:
        """Wait until the simulator is no further behind than `limit_s` (None: as configured, while the bag is played).
        `lag_s` tells how far it is, given the stamp of its newest frame set. A simulator that was waited for in vain is
        waited for again from its next frame set on."""
        if self._given_up:
            return
        at_end = limit_s is not None
        give_up_s = GIVE_UP_AT_END_S if at_end else GIVE_UP_S
        limit_s = self.options.max_lag_s if limit_s is None else limit_s
        answered, since, said = self._answered_ns, time.monotonic(), 0.0
        while lag_s(self._answered_ns) > limit_s and not self._stop.is_set():
            self._sleep(POLL_S / 10)
            if self._answered_ns != answered:
                answered, since = self._answered_ns, time.monotonic()
            silent_s = time.monotonic() - since
            if silent_s > give_up_s:
                if not at_end:
                    self._given_up = True
                    self.get_logger().warning(
                        f"no frame set for {give_up_s:g} s: played without waiting until one comes; /diagnostics of "
                        f"{self.options.simulator} says what it waits for"
                    )
                return
            if silent_s - said > REMIND_S:
                said = silent_s
                self.get_logger().info(f"the bag is held: no frame set for {silent_s:.0f} s")


def main(args: list[str] | None = None) -> int:
    """Play until the bag is over or a signal ends the process. Exit code 1 when something cannot be used."""
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        player = BagPlayer()
    except START_ERRORS as error:
        tell(error, program="bag_player")
        rclpy.try_shutdown()
        return 1
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda number, frame: player.stop())
    executor = LastingSingleThreadedExecutor()
    executor.add_node(player)
    serving = threading.Thread(target=spin_until_shutdown, args=(executor,), name="executor", daemon=True)
    serving.start()
    try:
        player.play()
    except USER_ERRORS as error:
        print(f"bag_player: {error}", file=sys.stderr)
        return 1
    finally:
        executor.shutdown(timeout_sec=1.0)
        serving.join(1.0)
        player.close()
        player.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
