"""A run in one process, without ROS and as fast as it goes: a controller answers each frame set at once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from r3d2_ros.closed_loop.actions import Done, Frame, FrameFacts, Outcome
from r3d2_ros.closed_loop.controllers import Controller, Observation
from r3d2_ros.closed_loop.inbox import Inbox
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.errors import InputError
from r3d2_ros.simulator import FrameSet, History, Simulator


def run_in_process(
    plan: RunPlan,
    simulator: Simulator,
    controller: Controller,
    log: LogWriter,
    *,
    on_frame: Callable[[FrameSet, Observation], None] = lambda frame_set, observation: None,
) -> Outcome:
    """Run to the end and return how it ended. The log already has its header. `on_frame` sees each frame set.

    A run that is interrupted or fails gets its last record all the same, then the exception goes on.
    """
    inbox = Inbox(round(plan.spec.scenario.control.max_age_s * 1e9))
    loop = Loop(plan, inbox, log)
    try:
        return _drive(loop, inbox, simulator, controller, on_frame)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        reason, detail = ("interrupted", "") if interrupted else ("error", f"{type(error).__name__}: {error}")
        with contextlib.suppress(InputError):  # a full disk takes no last record either
            loop.end(Outcome(reason, detail, infrastructure=True))
        raise


def _drive(
    loop: Loop,
    inbox: Inbox,
    simulator: Simulator,
    controller: Controller,
    on_frame: Callable[[FrameSet, Observation], None],
) -> Outcome:
    actions, history = loop.run(), History()
    action = next(actions)
    while True:
        done = Done(time.monotonic())
        # For Wait there is nothing to do: the controller has answered already, or does not answer at all.
        if isinstance(action, Frame):
            frame_set, history = simulator.step(action.snapshot.world_state(), history)
            done = Done(time.monotonic(), FrameFacts.of(frame_set))
            _answer(controller, inbox, Observation(action.snapshot, frame_set), on_frame)
        try:
            action = actions.send(done)
        except StopIteration as stop:
            return stop.value


def _answer(
    controller: Controller,
    inbox: Inbox,
    observation: Observation,
    on_frame: Callable[[FrameSet, Observation], None],
) -> None:
    on_frame(observation.frame_set, observation)
    if (plan := controller.plan(observation)) is not None:
        inbox.offer_plan(plan)
    if (command := controller.step(observation)) is not None:
        inbox.offer(command, time.monotonic())
