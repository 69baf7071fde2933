"""The thread that turns ticks into published frame sets."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable

from rclpy.impl.rcutils_logger import RcutilsLogger

from r3d2_ros.config import SimConfig
from r3d2_ros.nodes.inputs import Inputs
from r3d2_ros.nodes.outputs import Outputs
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.simulator import FrameSet, History, Simulator
from r3d2_ros.state_buffer import seconds
from r3d2_ros.sync import Tick

POLL_S = 0.1


class RenderLoop:
    """Fetches ticks from the inputs, renders, publishes."""

    def __init__(
        self,
        *,
        simulator: Simulator,
        inputs: Inputs,
        outputs: Outputs,
        statistics: Statistics,
        config: Callable[[], SimConfig],
        logger: RcutilsLogger,
        stop_run: Callable[[str], None],
    ) -> None:
        self._stop_run = stop_run
        self._simulator, self._inputs, self._outputs = simulator, inputs, outputs
        self._statistics, self._config, self._logger = statistics, config, logger
        self._changed = inputs.changed
        self._history, self._timeline = History(), 0
        self._stopping = False
        self._moment_due = False
        self._lockstep = config().sync.mode == "lockstep"
        self.last: FrameSet | None = None
        self.waiting_for_subscribers: list[str] = []
        self._thread = threading.Thread(target=self._run, name="render", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the frame set that is being made, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def render_newest(self) -> None:
        """`latest` mode: a moment to render has come."""
        with self._changed:
            self._moment_due = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._wait_for_subscribers()
            while (tick := self._wait_for_tick()) is not None:
                self._make(tick)
        except Exception as error:
            self._logger.fatal(f"the render thread ended\n{traceback.format_exc()}")
            self._stop_run(f"the render thread ended: {type(error).__name__}: {error}")

    def _wait_for_tick(self) -> Tick | None:
        """The next tick; None when the loop has to end."""
        with self._changed:
            while not self._stopping:
                if self._lockstep or self._moment_due:
                    self._moment_due = False
                    tick = self._inputs.next_tick()
                    if tick is not None:
                        return tick
                self._changed.wait(POLL_S)
        return None

    def _wait_for_subscribers(self) -> None:
        """Before the first tick: pictures without a reader would be lost."""
        wanted = self._config().output.min_subscribers
        while not self._stopping:
            self.waiting_for_subscribers = self._outputs.missing_subscribers(wanted)
            if not self.waiting_for_subscribers:
                return
            time.sleep(POLL_S / 2)

    def _make(self, tick: Tick) -> None:
        start = time.perf_counter()
        if tick.timeline != self._timeline:
            # Time went back: what came before has nothing to say about what comes now.
            self._history, self._timeline = History(), tick.timeline
        if tick.state is None:
            self._fail(tick, tick.reason)
            return
        try:
            frame_set, self._history = self._simulator.step(tick.state, self._history, cameras=tick.due)
        except Exception as error:
            self._logger.error(f"{seconds(tick.stamp_ns)}: rendering failed\n{traceback.format_exc()}")
            self._fail(tick, f"{type(error).__name__}: {error}")
            return
        message = self._outputs.publish(frame_set, jpeg_quality=self._config().output.jpeg_quality)
        for status in message.cameras:
            for stage in ("render", "harmonize", "encode", "publish"):
                self._statistics.time(stage, getattr(status, f"{stage}_ms"))
        self._statistics.time("frame set", (time.perf_counter() - start) * 1e3)
        self._statistics.count("frame sets")
        self._report_bounds(frame_set)
        self.last = frame_set

    def _report_bounds(self, frame_set: FrameSet) -> None:
        """Say once when the ego leaves the scene's bounds, and how far it is out."""
        outside_m = frame_set.out_of_bounds_m
        if outside_m > 0 and not (self.last is not None and self.last.out_of_bounds_m > 0):
            text = f"the ego is {outside_m:.2f} m outside the scene's bounds"
            self._logger.warning(f"{text} at {seconds(frame_set.stamp_ns)}")

    def _fail(self, tick: Tick, reason: str) -> None:
        self._outputs.publish_failure(tick.stamp_ns, tick.due, reason)
        self._statistics.count("frame sets")
        self._statistics.count("frame sets without pictures")
        self._logger.error(
            f"the frame set at {seconds(tick.stamp_ns)} has no pictures: {reason}", throttle_duration_sec=1.0
        )
