"""What the example stacks have in common: topics, putting messages of one stamp together, starting and stopping."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from rclpy.event_handler import QoSSubscriptionMatchedInfo, SubscriptionEventCallbacks
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from r3d2_ros.closed_loop.vehicle import Actuation, Vehicle, load_vehicle
from r3d2_ros.message_fields import stamp_to_ns
from r3d2_ros.msg import FrameSet, VehicleCommand
from r3d2_ros.nodes.conversions import ns_to_stamp
from r3d2_ros.nodes.qos import explained, reliable
from r3d2_ros.nodes.start_errors import START_ERRORS, tell

DEPTH = 100
ODOMETRY = "odometry"
POLL_S = 0.2
KEPT_STAMPS = 200
"""Of messages whose counterparts never come, the oldest are forgotten."""


class Stack(Node):
    """Parameters: `simulator` (its node name), `vehicle` (a shipped name or a file).

    A stack may outlive a run: `begin` is called when it starts, and again for each run that follows.
    """

    def __init__(self, name: str, *, use_sim_time: bool = False) -> None:
        super().__init__(name, parameter_overrides=[Parameter("use_sim_time", value=True)] if use_sim_time else [])
        self.simulator = str(self.declare_parameter("simulator", "/closed_loop_node").value).rstrip("/")
        self.vehicle: Vehicle = load_vehicle(str(self.declare_parameter("vehicle", "car").value))
        command = f"{self.simulator}/input/command"
        with explained(command):
            self._commands = self.create_publisher(VehicleCommand, command, reliable(DEPTH))
        self._now_ns = 0
        self.begin()

    def begin(self) -> None:
        """A run begins, or its simulator has gone: make anew what must not be left of the one before."""

    def forget_after(self, stamp_ns: int) -> None:
        """Time has gone back to this: what is of a later one is of the run before."""

    def listen_to_odometry(self, take: Callable[[Odometry], None], *, depth: int) -> None:
        """Subscribe to the odometry, which comes at every tick; the newest `depth` are kept.

        A run begins where it goes back in time, and where its publisher is another one: a stack that finds the next
        simulator late may hear of later times only.
        """

        def see(message: Odometry) -> None:
            before_ns, self._now_ns = self._now_ns, stamp_to_ns(message.header.stamp)
            if self._now_ns < before_ns:
                self.forget_after(self._now_ns)
                self.begin()
            take(message)

        topic = f"{self.simulator}/{ODOMETRY}"
        events = SubscriptionEventCallbacks(matched=self._on_matched)
        with explained(topic):
            self.create_subscription(Odometry, topic, see, reliable(depth), event_callbacks=events)

    def _on_matched(self, info: QoSSubscriptionMatchedInfo) -> None:
        if info.total_count_change > 0 or info.current_count == 0:
            self.begin()

    def send(self, stamp_ns: int, wanted: Actuation) -> None:
        message = VehicleCommand(acceleration=wanted.acceleration_mps2, steering_angle=wanted.steer_rad)
        message.header.stamp = ns_to_stamp(stamp_ns)
        self._commands.publish(message)


class FrameStack(Stack):
    """A stack that answers each frame set, once everything with its stamp has arrived, with a command of that stamp.

    Messages of different topics overtake each other, so they are put together by their stamps and never by the order
    of their arrival: the same run then gets the same commands.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._parts: dict[int, dict[str, Any]] = {}
        self._needed: set[str] = {ODOMETRY}
        self.listen_to_odometry(partial(self._take, ODOMETRY), depth=DEPTH)
        self.listen(FrameSet, f"{self.simulator}/frame_set", "frame_set")

    def forget_after(self, stamp_ns: int) -> None:
        # What is not of a later time may be of the run that begins: it has overtaken the odometry.
        self._parts = {known_ns: parts for known_ns, parts in self._parts.items() if known_ns <= stamp_ns}

    def listen(self, kind: type, topic: str, part: str) -> None:
        """Subscribe; `part` is the name under which `answer` finds the message."""
        self._needed.add(part)
        with explained(topic):
            self.create_subscription(kind, topic, partial(self._take, part), reliable(DEPTH))

    def ready(self, parts: dict[str, Any]) -> bool:
        """Whether the stack knows what it needs beside the `parts` of a frame set, which it does not answer else."""
        return True

    def answer(self, parts: dict[str, Any]) -> Actuation:
        """The command for one frame set; `parts` holds its messages."""
        raise NotImplementedError

    def _take(self, part: str, message: Any) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        parts = self._parts.setdefault(stamp_ns, {})
        parts[part] = message
        if self._needed <= parts.keys() and self.ready(parts):
            del self._parts[stamp_ns]
            self.send(stamp_ns, self.answer(parts))
        while len(self._parts) > KEPT_STAMPS:
            del self._parts[next(iter(self._parts))]


def run_stack(make: Callable[[], Stack], args: list[str] | None = None) -> int:
    """Run a stack until a signal ends it. Exit status 1 for arguments that cannot be used."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, _interrupted)
    try:
        try:
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
            stack = make()
        except START_ERRORS as error:
            tell(error, program="stack")
            return 1
        executor = SingleThreadedExecutor()
        executor.add_node(stack)
        stack.get_logger().info("ready")
        while True:  # a wait without end would not let Python see a signal
            executor.spin_once(timeout_sec=POLL_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt
