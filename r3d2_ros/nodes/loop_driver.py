"""Performs a run's actions over ROS: ticks at the pace of the clock, frame sets, and the wait for commands."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from r3d2_ros.closed_loop.actions import Action, Done, Frame, FrameFacts, Gate, Outcome, Snapshot, Tick
from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.inbox import Inbox
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.pace import Pace
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_control import POLL_S, ResetAsked, RunControl, Stopped
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.errors import InputError
from r3d2_ros.nodes.outputs import Outputs
from r3d2_ros.nodes.statistics import Statistics
from r3d2_ros.nodes.world_outputs import WorldOutputs
from r3d2_ros.simulator import FrameSet, History, Simulator

SETTLE_S = 0.5
"""A reader that has just been matched still has to match the writer; what is published before is lost to it."""

OnFrame = Callable[[FrameSet, Snapshot], None]


class StackEnded(Exception):
    """The stack's process is gone; the text says how."""


class LoopDriver:
    """Drives one plan, as often as it is reset. Publishes in the order clock, tf, camera_info, images, frame_set.

    stack_fault  says that the stack's process has ended, or nothing
    """

    def __init__(
        self,
        plan: RunPlan,
        simulator: Simulator,
        *,
        world: WorldOutputs,
        outputs: Outputs,
        control: RunControl,
        desk: EntityDesk,
        statistics: Statistics,
        stack_fault: Callable[[], str] = lambda: "",
        on_frame: OnFrame = lambda frame_set, snapshot: None,
    ) -> None:
        self._plan, self._simulator = plan, simulator
        self._world, self._outputs, self._control, self._desk = world, outputs, control, desk
        self._statistics, self._stack_fault, self._on_frame = statistics, stack_fault, on_frame
        clock = plan.spec.scenario.clock
        tick_s = clock.tick_ns * 1e-9 / clock.rtf_max if clock.rtf_max > 0 else 0.0
        self._pace = Pace(tick_s, most_late_s=tick_s * clock.ticks_per_frame, now_s=time.monotonic)
        self._readers = 0
        self._history = History()
        self.loop: Loop | None = None
        self.last: FrameSet | None = None

    def run(self, inbox: Inbox, log: LogWriter) -> Outcome:
        """Run to the end and return how it ended. Whatever happens, the log gets its last record.

        ResetAsked and Stopped are for the caller.
        """
        self._history = History()
        self.loop = loop = Loop(self._plan, inbox, log, edits=self._desk)
        try:
            self._outputs.begin_run()
            self._desk.begin_run()
            self._world.publish_reference(loop.snapshot.stamp_ns)
            self._control.begin()
            self._pace.begin()
            return self._drive(loop, inbox)
        except StackEnded as error:
            outcome = Outcome("stack_ended", str(error), infrastructure=True)
            loop.end(outcome)
            return outcome
        except BaseException as error:
            with contextlib.suppress(InputError):  # a full disk takes no last record either
                loop.end(_ended_by(error))
            raise

    def _drive(self, loop: Loop, inbox: Inbox) -> Outcome:
        actions = loop.run()
        action = next(actions)
        while True:
            facts = self._perform(action, inbox)
            try:
                action = actions.send(Done(self._control.now_s(), facts))
            except StopIteration as stop:
                return stop.value

    def _perform(self, action: Action, inbox: Inbox) -> FrameFacts | None:
        self._check()
        if isinstance(action, Gate):
            begun = time.monotonic()
            self._control.gate()
            self._pace.held(time.monotonic() - begun)  # longer than nothing when the run was paused
            return None
        if isinstance(action, Tick):
            self._until_due()
            self._world.publish(action.snapshot)
            return None
        if isinstance(action, Frame):
            return self._frame(action.snapshot)
        self._wait(inbox, action.stamp_ns, action.timeout_s)
        return None

    def _check(self) -> None:
        self._control.check()
        if fault := self._stack_fault():
            raise StackEnded(fault)

    def _until_due(self) -> None:
        while (left := self._pace.left_s()) > 0:
            time.sleep(min(left, POLL_S))
            self._control.check()
        self._pace.ticked()

    def _frame(self, snapshot: Snapshot) -> FrameFacts:
        begun = time.monotonic()
        self._readers = self._count_readers()
        frame_set, history = self._simulator.step(snapshot.world_state(), self._history)
        # However many frame sets the stack needs to start, the scenario begins without a past.
        self._history = History() if snapshot.phase == "startup" else history
        message = self._outputs.publish(frame_set, jpeg_quality=self._plan.spec.sim.output.jpeg_quality)
        for status in message.cameras:
            if status.published:
                for stage in ("render", "harmonize", "encode", "publish"):
                    self._statistics.time(stage, getattr(status, f"{stage}_ms"))
        self._statistics.time("frame set", (time.monotonic() - begun) * 1e3)
        self._statistics.frame_set()
        self.last = frame_set
        self._control.frame_made()
        self._on_frame(frame_set, snapshot)
        return FrameFacts.of(frame_set)

    def _wait(self, inbox: Inbox, stamp_ns: int, timeout_s: float) -> None:
        """Until there is a command for the frame set. A stack that joins during the start-up has not got it: then no
        longer than that takes, and it gets the next one.
        """
        end = self._control.now_s() + timeout_s
        starting = self.loop is not None and self.loop.phase == "startup"
        while not inbox.fresh(stamp_ns):
            self._check()
            now_s = self._control.now_s()
            if starting and (readers := self._count_readers()) > self._readers:
                self._readers, end = readers, now_s + SETTLE_S
            if now_s >= end:
                return
            inbox.wait(lambda: inbox.fresh(stamp_ns), min(end - now_s, POLL_S))

    def _count_readers(self) -> int:
        return self._world.readers() + self._outputs.readers()


def _ended_by(error: BaseException) -> Outcome:
    if isinstance(error, ResetAsked):
        return Outcome("reset", "", infrastructure=True)
    if isinstance(error, Stopped | KeyboardInterrupt):
        return Outcome("interrupted", str(error), infrastructure=True)
    return Outcome("error", f"{type(error).__name__}: {error}", infrastructure=True)
