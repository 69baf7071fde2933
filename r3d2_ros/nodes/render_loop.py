"""From ticks to published frame sets: three threads, so that one frame set is rendered while others are harmonized,
copied and published.

The thread `render` takes ticks and renders, `harmonize` runs the network, `publish` copies, encodes and publishes, each
in the order of the ticks. On a GPU the two former work on streams of their own. How many frame sets are in the making
is bounded: a newer tick is taken when an older one is out.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from queue import SimpleQueue

from rclpy.impl.rcutils_logger import RcutilsLogger

from r3d2_ros.config import SimConfig
from r3d2_ros.harmonize_thread import HarmonizeThread
from r3d2_ros.nodes.delivery import Delivery, Making
from r3d2_ros.nodes.inputs import Inputs
from r3d2_ros.nodes.outputs import Outputs
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.simulator import FrameSet, Simulator
from r3d2_ros.state_buffer import seconds
from r3d2_ros.sync import Tick

POLL_S = 0.1
IN_THE_MAKING = {"lockstep": 3, "latest": 2}
"""Frame sets that are begun and not yet published. `latest` shows newer states the fewer they are."""


class RenderLoop:
    """Fetches ticks from the inputs, renders, harmonizes, publishes."""

    def __init__(
        self,
        *,
        simulator: Simulator,
        harmonizing: HarmonizeThread,
        inputs: Inputs,
        outputs: Outputs,
        statistics: Statistics,
        config: Callable[[], SimConfig],
        logger: RcutilsLogger,
        stop_run: Callable[[str], None],
    ) -> None:
        self._stop_run = stop_run
        self._simulator, self._harmonizing = simulator, harmonizing
        self._inputs, self._outputs = inputs, outputs
        self._config, self._logger = config, logger
        self._changed = inputs.changed
        self._stopping = False
        self._moment_due = False
        mode = config().sync.mode
        self._lockstep = mode == "lockstep"
        self._free = threading.Semaphore(IN_THE_MAKING[mode])
        self._made: SimpleQueue[Making | None] = SimpleQueue()
        self._delivery = Delivery(
            simulator=simulator, outputs=outputs, statistics=statistics, config=config, logger=logger
        )
        self.waiting_for_subscribers: list[str] = []
        self._rendering = threading.Thread(target=self._guarded(self._render), name="render", daemon=True)
        self._publishing = threading.Thread(target=self._guarded(self._publish), name="publish", daemon=True)

    @property
    def last(self) -> FrameSet | None:
        """The newest frame set that was published with pictures."""
        return self._delivery.last

    def start(self) -> None:
        self._rendering.start()
        self._publishing.start()

    def stop(self) -> None:
        """Finish the frame sets that are in the making, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in (self._rendering, self._publishing):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()
        self._harmonizing.forget()

    def render_newest(self) -> None:
        """`latest` mode: a moment to render has come."""
        with self._changed:
            self._moment_due = True
            self._changed.notify_all()

    def _guarded(self, work: Callable[[], None]) -> Callable[[], None]:
        """A thread's work; one that ends with an exception ends the run."""

        def run() -> None:
            try:
                work()
            except Exception as error:
                name = threading.current_thread().name
                self._logger.fatal(f"the {name} thread ended\n{traceback.format_exc()}")
                self._stop_run(f"the {name} thread ended: {type(error).__name__}: {error}")

        return run

    def _render(self) -> None:
        try:
            self._wait_for_subscribers()
            while (tick := self._wait_for_tick()) is not None:
                self._made.put(self._begin(tick))
        finally:
            self._made.put(None)

    def _publish(self) -> None:
        try:
            while (making := self._made.get()) is not None:
                self._delivery.deliver(making)
                self._free.release()
        finally:
            # The render thread must not wait for a place that nobody will free.
            with self._changed:
                self._stopping = True
            self._free.release()

    def _wait_for_tick(self) -> Tick | None:
        """The next tick, once there is room for it; None when the loop has to end."""
        self._free.acquire()
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

    def _begin(self, tick: Tick) -> Making:
        """Render, and hand over to the harmonizer."""
        begun = time.monotonic()
        if tick.state is None:
            return Making(tick, begun, reason=tick.reason)
        try:
            rendered = self._simulator.render(tick.state, cameras=tick.due)
        except Exception as error:
            self._logger.error(f"{seconds(tick.stamp_ns)}: rendering failed\n{traceback.format_exc()}")
            return Making(tick, begun, reason=f"{type(error).__name__}: {error}")
        submitted = time.monotonic()
        raw = self._config().harmonizer.on_deadline == "raw"
        harmonizing = self._harmonizing.submit(tick, rendered, raw_where_it_fails=raw)
        return Making(tick, begun, submitted, rendered, harmonizing)
