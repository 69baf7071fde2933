"""A driver for the loop that renders nothing and keeps its own wall clock, so that tests decide what time it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from r3d2_ros.closed_loop.actions import Action, Done, Frame, FrameFacts, Gate, Outcome, Snapshot, Tick, Wait
from r3d2_ros.closed_loop.demands import Command, Demand
from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.inbox import Inbox
from r3d2_ros.closed_loop.loop import Loop
from r3d2_ros.closed_loop.run_log import LogWriter, RunLog, read_log
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.config import FramesConfig
from tests.closed_loop.small_world import LIBRARY, plan

Stack = Callable[[Snapshot, "Run"], None]
FACTS = FrameFacts({"front": "00" * 16}, 0.1, 0.2, 0.0)
CRUISE = Actuation(0.0, 0.0)
OPEN: list[LogWriter] = []
"""Logs that the test's end closes."""


class Run:
    """A run with a stack that is called after each frame set (`on_frame`) and after each tick (`on_tick`).

    `on_gate` is called with the newest moment before time goes on; `desk` takes changes of the actors.

    wall_s goes on by `frame_s` for each frame set and by what the loop waits in vain.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_frame: Stack | None = None,
        on_tick: Stack | None = None,
        on_gate: Stack | None = None,
        **keys: Any,
    ) -> None:
        self.plan = plan(**keys)
        self.log = LogWriter(path)
        self.log.write("header", **header(self.plan, controller="test", renderer="none"))
        OPEN.append(self.log)
        self.inbox = Inbox(round(self.plan.spec.scenario.control.max_age_s * 1e9))
        self.desk = EntityDesk(self.plan, LIBRARY, FramesConfig())
        self.loop = Loop(self.plan, self.inbox, self.log, edits=self.desk)
        self.on_frame, self.on_tick, self.on_gate = on_frame, on_tick, on_gate
        self.wall_s, self.frame_s = 0.0, 0.05
        self.actions: list[Action] = []
        self.refused: list[str] = []

    def send(self, snapshot: Snapshot, demand: Demand = CRUISE, *, stamp_ns: int | None = None) -> None:
        """A command that answers `snapshot`, or carries another stamp."""
        stamp = snapshot.stamp_ns if stamp_ns is None else stamp_ns
        refusal = self.inbox.offer(Command(stamp, demand), self.wall_s)
        if refusal is not None:
            self.refused.append(refusal.cause)

    def go(self, *, until: Callable[[Action], bool] = lambda action: False) -> Outcome | None:
        """Drive to the end; None when `until` stopped it before an action."""
        steps = self.loop.run()
        action = next(steps)
        while not until(action):
            self.actions.append(action)
            done = self._do(action)
            try:
                action = steps.send(done)
            except StopIteration as stop:
                return stop.value
        return None

    def _do(self, action: Action) -> Done:
        if isinstance(action, Frame):
            self.wall_s += self.frame_s
            done = Done(self.wall_s, FACTS)
            if self.on_frame is not None:
                self.on_frame(action.snapshot, self)
            return done
        if isinstance(action, Wait):
            if not self.inbox.fresh(action.stamp_ns):
                self.wall_s += action.timeout_s
        elif isinstance(action, Tick) and self.on_tick is not None:
            self.on_tick(action.snapshot, self)
        elif isinstance(action, Gate) and self.on_gate is not None:
            self.on_gate(self.loop.snapshot, self)
        return Done(self.wall_s)

    @property
    def misses(self) -> int:
        return self.loop.counts["misses"]

    def ticks(self) -> list[Snapshot]:
        return [action.snapshot for action in self.actions if isinstance(action, Tick)]

    def read(self) -> RunLog:
        return read_log(self.log.path)


def answering(demand: Demand = CRUISE) -> Stack:
    """A stack that answers every frame set."""
    return lambda snapshot, run: run.send(snapshot, demand)
