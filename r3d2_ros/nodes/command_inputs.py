"""The subscriptions of a closed-loop run: what a stack sends goes into the inbox, checked, counted, never fatal."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Path
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.inbox import Inbox, Refusal
from r3d2_ros.errors import MissingPackageError
from r3d2_ros.msg import VehicleCommand
from r3d2_ros.nodes.command_messages import (
    Unusable,
    from_autoware_control,
    from_path,
    from_twist,
    from_vehicle_command,
    plan_from,
)
from r3d2_ros.nodes.qos import explained, overridable, reliable

DEPTH = 100


class CommandInputs:
    """`~/input/command`, `twist`, `path` and, where asked for, `control` (Autoware) drive; `~/input/plan` is scored.

    `inbox` may be replaced: a run that begins anew has a new one.
    """

    def __init__(
        self,
        node: Node,
        *,
        inbox: Inbox,
        now_s: Callable[[], float],
        map_frame: str,
        path_spacing_s: float,
        autoware_control: bool = False,
    ) -> None:
        self._node, self._now_s = node, now_s
        self.inbox = inbox

        def path(message: Path) -> Command:
            return from_path(message, frame=map_frame, spacing_s=path_spacing_s)

        def plan(message: Path) -> None:
            self.inbox.offer_plan(plan_from(message, frame=map_frame))

        topics: list[tuple[type, str, Callable[[Any], Command | None]]] = [
            (VehicleCommand, "~/input/command", from_vehicle_command),
            (TwistStamped, "~/input/twist", from_twist),
            (Path, "~/input/path", path),
            (Path, "~/input/plan", plan),
        ]
        if autoware_control:
            topics.append((_autoware_control_type(), "~/input/control", from_autoware_control))
        group = MutuallyExclusiveCallbackGroup()
        for kind, topic, convert in topics:
            with explained(topic):
                node.create_subscription(
                    kind,
                    topic,
                    self._taking(topic, convert),
                    reliable(DEPTH),
                    callback_group=group,
                    qos_overriding_options=overridable(),
                )

    def _taking(self, topic: str, convert: Callable[[Any], Command | None]) -> Callable[[Any], None]:
        """A callback; whatever a message contains, the executor goes on."""

        def take(message: Any) -> None:
            try:
                command = convert(message)
                refusal = None if command is None else self.inbox.offer(command, self._now_s())
            except Unusable as error:
                refusal = Refusal("invalid", str(error), 0)
                self.inbox.refuse(refusal)
            except Exception as error:
                self._node.get_logger().error(f"{topic}: message not used\n{traceback.format_exc()}")
                refusal = Refusal("invalid", f"{type(error).__name__}: {error}", 0)
                self.inbox.refuse(refusal)
            if refusal is not None:
                text = f"{topic}: {refusal.cause} command not used: {refusal.text}"
                self._node.get_logger().warning(text, throttle_duration_sec=1.0)

        return take


def _autoware_control_type() -> type:
    try:
        from autoware_control_msgs.msg import Control
    except ImportError as error:
        install = "apt install ros-$ROS_DISTRO-autoware-control-msgs, or build autoware_msgs in the workspace"
        raise MissingPackageError("autoware_control_msgs", "autoware_control: true", install) from error
    return Control
