"""The second half of `Simulator.step` in a thread of its own, so that the next moment is rendered meanwhile."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from r3d2_ros.simulator import FrameSet, History, Rendered, Simulator
from r3d2_ros.state_buffer import seconds
from r3d2_ros.sync import Tick


@dataclass(frozen=True, eq=False)
class Harmonizing:
    """What was handed over. begun: the monotonic time at which it was its turn; pictures: what is made of it."""

    begun: Future[float]
    pictures: Future[FrameSet]


class HarmonizeThread:
    """Harmonizes in the order of `submit`, and keeps what temporal harmonizing remembers."""

    def __init__(
        self, simulator: Simulator, trouble: Callable[[str], None], say: Callable[[str], None] = lambda text: None
    ) -> None:
        """Warms the harmonizer up in the new thread, and waits for that. Whatever fails in it is raised.

        trouble  is called with what failed later, its traceback included; the future raises it besides
        say      gets a line when the harmonizer is warm
        """
        self._simulator, self._trouble = simulator, trouble
        self._history, self._timeline = History(), 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="harmonize")
        start = time.perf_counter()
        try:
            self._thread.submit(simulator.warm_up_harmonizer).result()
        except BaseException:
            self._thread.shutdown(wait=False)
            raise
        if simulator.harmonizer is not None:
            say(f"harmonizer ready ({time.perf_counter() - start:.1f} s)")

    def submit(self, tick: Tick, rendered: Rendered, *, raw_where_it_fails: bool = False) -> Harmonizing:
        """The frame set that `Simulator.harmonize` makes of `rendered`, when those before it are made."""
        begun: Future[float] = Future()
        return Harmonizing(begun, self._thread.submit(self._harmonize, begun, tick, rendered, raw_where_it_fails))

    def forget(self) -> None:
        """Wait for what was submitted, and forget it: what comes next is another run's."""
        self._thread.submit(self._begin, 0).result()

    def close(self) -> None:
        """Wait for what was submitted, then end the thread."""
        self._thread.shutdown()

    def _harmonize(
        self, begun: Future[float], tick: Tick, rendered: Rendered, raw_where_it_fails: bool
    ) -> FrameSet:
        begun.set_result(time.monotonic())
        if tick.timeline != self._timeline:  # time went back: what came before says nothing about what comes now
            self._begin(tick.timeline)
        try:
            frame_set, self._history = self._simulator.harmonize(
                rendered, self._history, raw_where_it_fails=raw_where_it_fails
            )
        except Exception:
            self._trouble(f"{seconds(tick.stamp_ns)}: harmonizing failed\n{traceback.format_exc()}")
            raise
        return frame_set

    def _begin(self, timeline: int) -> None:
        self._history, self._timeline = History(), timeline
