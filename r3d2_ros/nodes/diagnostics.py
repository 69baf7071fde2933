"""/diagnostics: what runs, how fast, what was refused, and how far the ego is from what was captured."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from r3d2_ros.nodes.qos import overridable, reliable

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
OFF_PATH_WARN_M = 2.0


class Diagnostics:
    """Publishes statuses named `<node>: <part>`; works in every lifecycle state."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", reliable(10), qos_overriding_options=overridable()
        )

    def publish(self, *statuses: DiagnosticStatus) -> None:
        message = DiagnosticArray(status=list(statuses))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def status(
        self, part: str, level: bytes, text: str, values: Mapping[str, object] | None = None
    ) -> DiagnosticStatus:
        name = self._node.get_fully_qualified_name().lstrip("/")
        pairs = [KeyValue(key=key, value=str(value)) for key, value in (values or {}).items()]
        return DiagnosticStatus(name=f"{name}: {part}", hardware_id=name, level=level, message=text, values=pairs)
