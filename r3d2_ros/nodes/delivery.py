"""From a frame set in the making to its messages: waits for the pictures, keeps the deadline, publishes, counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rclpy.impl.rcutils_logger import RcutilsLogger

from r3d2_ros.config import SimConfig
from r3d2_ros.harmonize_thread import Harmonizing
from r3d2_ros.nodes.outputs import Outputs
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.simulator import FrameSet, Rendered, Simulator
from r3d2_ros.state_buffer import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from r3d2_ros.sync import Tick


@dataclass(frozen=True, eq=False)
class Making:
    """A frame set in the making.

    begun        monotonic time at which the tick was taken; submitted: at which it was given to the harmonizer
    rendered     None when rendering failed, for `reason`, or when there was no state to render
    harmonizing  what the harmonizer will have made of it
    """

    tick: Tick
    begun: float
    submitted: float = 0.0
    rendered: Rendered | None = None
    harmonizing: Harmonizing | None = None
    reason: str = ""


class LateError(Exception):
    """The harmonizer is not done in time; the text says with what."""


class Delivery:
    """Publishes frame sets one after the other; called from one thread."""

    def __init__(
        self,
        *,
        simulator: Simulator,
        outputs: Outputs,
        statistics: Statistics,
        config: Callable[[], SimConfig],
        logger: RcutilsLogger,
    ) -> None:
        self._simulator, self._outputs, self._statistics = simulator, outputs, statistics
        self._config, self._logger = config, logger
        self.last: FrameSet | None = None

    def deliver(self, making: Making) -> None:
        """Wait for the pictures and publish them, or publish that there are none and why."""
        frame_set, reason = self._pictures(making)
        if frame_set is None:
            self._publish_failure(making.tick, reason)
            return
        message = self._outputs.publish(frame_set, jpeg_quality=self._config().output.jpeg_quality)
        for status in message.cameras:
            if status.published:
                for stage in ("render", "harmonize", "encode", "publish"):
                    self._statistics.time(stage, getattr(status, f"{stage}_ms"))
        self._statistics.time("frame set", (time.monotonic() - making.begun) * 1e3)
        self._statistics.frame_set()
        self._report_harmonizer(frame_set)
        self._report_bounds(frame_set)
        self.last = frame_set

    def _pictures(self, making: Making) -> tuple[FrameSet | None, str]:
        """The frame set, or why there is none."""
        if making.rendered is None or making.harmonizing is None:
            return None, making.reason
        harmonizer, pictures = self._config().harmonizer, making.harmonizing.pictures
        try:
            if harmonizer.backend == "none" or harmonizer.on_deadline == "wait":
                return pictures.result(), ""
            return in_time(making.harmonizing, making.submitted, harmonizer.deadline_ms / 1e3), ""
        except LateError as late:
            pictures.cancel()
            reason = str(late)
            self._statistics.count("frame sets past the deadline")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        if harmonizer.on_deadline == "raw":
            return self._simulator.unharmonized(making.rendered, reason), ""
        return None, reason

    def _publish_failure(self, tick: Tick, reason: str) -> None:
        self._outputs.publish_failure(tick.stamp_ns, tick.due, reason)
        self._statistics.frame_set()
        self._statistics.count("frame sets without pictures")
        self._logger.error(
            f"the frame set at {seconds(tick.stamp_ns)} has no pictures: {reason}", throttle_duration_sec=1.0
        )

    def _report_harmonizer(self, frame_set: FrameSet) -> None:
        """Count and log cameras without a picture, and renders that stand in for one."""
        raw = [f"'{frame.camera.name}' shows its raw render: {frame.raw}" for frame in frame_set.frames if frame.raw]
        missing = [f"'{failure.camera.name}' has no picture: {failure.reason}" for failure in frame_set.failures]
        self._statistics.count("raw pictures", len(raw))
        self._statistics.count("missing pictures", len(missing))
        if raw or missing:
            what = "; ".join([*missing, *raw])
            self._logger.error(f"at {seconds(frame_set.stamp_ns)} {what}", throttle_duration_sec=1.0)

    def _report_bounds(self, frame_set: FrameSet) -> None:
        """Say once when the ego leaves the scene's bounds, and how far it is out."""
        outside_m = frame_set.out_of_bounds_m
        if outside_m > 0 and not (self.last is not None and self.last.out_of_bounds_m > 0):
            text = f"the ego is {outside_m:.2f} m outside the scene's bounds"
            self._logger.warning(f"{text} at {seconds(frame_set.stamp_ns)}")


def in_time(harmonizing: Harmonizing, submitted: float, deadline_s: float) -> FrameSet:
    """What is made within `deadline_s` of its begin. LateError when it is not, or was not even begun within that time.

    Its turn may come while the one before is still at work, past its own deadline or within it. That time is not its
    own: else a harmonizer that meets every deadline would show nothing as soon as ticks come faster than it works.
    """

    def left_s(since: float) -> float:
        return max(0.0, since + deadline_s - time.monotonic())

    try:
        begun = harmonizing.begun.result(left_s(submitted))
    except TimeoutError:
        text = f"the harmonizer was busy with earlier frame sets for {deadline_s * 1e3:g} ms"
        raise LateError(text) from None
    try:
        return harmonizing.pictures.result(left_s(begun))
    except TimeoutError:
        raise LateError(f"the harmonizer was not done within {deadline_s * 1e3:g} ms") from None
