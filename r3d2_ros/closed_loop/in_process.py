"""A run in one process, without ROS and as fast as it goes: a controller answers each frame set at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from r3d2_ros.closed_loop.actions import Done, Frame, FrameFacts, Outcome
from r3d2_ros.closed_loop.controllers import Controller, Observation
from r3d2_ros.closed_loop.entities import Edits
from r3d2_ros.closed_loop.inbox import Commands, Inbox
from r3d2_ros.closed_loop.interrupts import Interrupts
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.errors import InputError
from r3d2_ros.simulator import FrameSet, History, Simulator


def run_in_process(
    plan: RunPlan,
    simulator: Simulator,
    controller: Controller | None,
    log: LogWriter,
    *,
    commands: Commands | None = None,
    edits: Edits | None = None,
    interrupts: Interrupts | None = None,
    on_frame: Callable[[FrameSet, Observation], None] = lambda frame_set, observation: None,
) -> Outcome:
    """Run to the end and return how it ended. The log already has its header. `on_frame` sees each frame set.

    commands    where commands come from when nobody drives (controller None): the log of an earlier run
    edits       where changes of the actors come from: the log of an earlier run
    interrupts  the first signal ends the run before its next action, the second one at once
    A run that is interrupted or fails gets its last record all the same, then the exception goes on.
    """
    inbox = Inbox(round(plan.spec.scenario.control.max_age_s * 1e9))
    loop = Loop(plan, inbox if commands is None else commands, log, edits=edits)

    def answer(observation: Observation) -> None:
        on_frame(observation.frame_set, observation)
        if controller is None:
            return
        command = controller.step(observation)
        if (intended := controller.plan(observation)) is not None:
            inbox.offer_plan(intended)
        if command is not None:
            inbox.offer(command, time.monotonic())

    asked: list[str] = []
    try:
        with (interrupts or Interrupts()).ready(asked.append):
            return _drive(loop, simulator, answer, asked)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        reason, detail = ("interrupted", str(error)) if interrupted else ("error", f"{type(error).__name__}: {error}")
        with contextlib.suppress(InputError):  # a full disk takes no last record either
            loop.end(Outcome(reason, detail, infrastructure=True))
        raise


def _drive(loop: Loop, simulator: Simulator, answer: Callable[[Observation], None], asked: list[str]) -> Outcome:
    """asked: names of signals that want the run to end."""
    actions, history = loop.run(), History()
    action = next(actions)
    while True:
        if asked:
            raise KeyboardInterrupt(asked[0])
        done = Done(time.monotonic())
        # For Gate and Wait there is nothing to do: the controller has answered already, or does not answer at all.
        if isinstance(action, Frame):
            frame_set, history = simulator.step(action.snapshot.world_state(), history)
            if action.snapshot.phase == "startup":
                history = History()  # however long a stack takes to start, the scenario begins without a past
            done = Done(time.monotonic(), FrameFacts.of(frame_set))
            if not frame_set.failures:  # the loop ends the run
                answer(Observation(action.snapshot, frame_set))
        try:
            action = actions.send(done)
        except StopIteration as stop:
            return stop.value
