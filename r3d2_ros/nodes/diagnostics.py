"""/diagnostics: what runs, how fast, what was refused, and how far the ego is from what was captured."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from r3d2_ros.nodes.inputs import Inputs
from r3d2_ros.nodes.qos import overridable, reliable
from r3d2_ros.nodes.render_loop import RenderLoop
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.simulator import FrameSet

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
OFF_PATH_WARN_M = 2.0


def run_values(statistics: Statistics) -> dict[str, object]:
    """Counts, frame sets per second and percentiles, for people."""
    values: dict[str, object] = dict(statistics.counts())
    values["frame sets per second"] = f"{statistics.rate_hz():.2f}"
    for name, (p50, p95) in statistics.percentiles().items():
        values[f"{name} ms p50"], values[f"{name} ms p95"] = f"{p50:.2f}", f"{p95:.2f}"
    return values


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

    def run_status(
        self, state: str, fault: str, *, loop: RenderLoop | None, inputs: Inputs | None, statistics: Statistics
    ) -> DiagnosticStatus:
        """What the node does, or what keeps it from doing it; `state` is the lifecycle state, `fault` the last one."""
        values = run_values(statistics)
        if inputs is not None:
            values["oldest waiting tick s"] = f"{inputs.oldest_s():.2f}"
        if fault:
            return self.status("run", ERROR, fault, values)
        if loop is None or inputs is None:
            return self.status("run", OK, state, values)
        if loop.waiting_for_subscribers:
            text = f"waiting for subscribers of {', '.join(loop.waiting_for_subscribers)}"
            return self.status("run", WARN, text, values)
        if missing_ego := inputs.missing_ego():
            return self.status("run", WARN, missing_ego, values)
        if inputs.stall is not None:
            return self.status("run", WARN, str(inputs.stall.waiting), values)
        if inputs.backlog is not None:
            return self.status("run", WARN, str(inputs.backlog), values)
        return self.status("run", OK, "rendering", values)

    def harmonizer_status(self, frame_set: FrameSet) -> DiagnosticStatus:
        """Whether the newest frame set shows what the harmonizer made."""
        missing = {failure.camera.name: failure.reason for failure in frame_set.failures}
        raw = {frame.camera.name: frame.raw for frame in frame_set.frames if frame.raw}
        values = {f"{name}: no picture": reason for name, reason in missing.items()}
        values |= {f"{name}: raw render": reason for name, reason in raw.items()}
        if missing:
            return self.status("harmonizer", ERROR, f"{len(missing)} cameras have no picture", values)
        if raw:
            return self.status("harmonizer", WARN, f"{len(raw)} cameras show their raw render", values)
        return self.status("harmonizer", OK, "ok")

    def scene_status(self, frame_set: FrameSet) -> DiagnosticStatus:
        """How far the ego is from what was captured: picture quality falls with it."""
        text = "ok"
        if frame_set.out_of_bounds_m > 0:
            text = "outside the scene's bounds"
        elif frame_set.off_path_m > OFF_PATH_WARN_M:
            text = "far from the capture trajectory"
        names = ("off_path_m", "off_path_deg", "out_of_bounds_m")
        values = {name: f"{getattr(frame_set, name):.3f}" for name in names}
        return self.status("scene", OK if text == "ok" else WARN, text, values)
