"""Commands and changes of actors from the log of an earlier run, in place of a stack and services: the same run again,
picture for picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np

from r3d2_ros.closed_loop.demands import Command, Trajectory, demand_of
from r3d2_ros.closed_loop.entities import Edit, Spawn, World, edit_of
from r3d2_ros.closed_loop.inbox import Plan, Received, Refusal
from r3d2_ros.closed_loop.run_log import RunLog
from r3d2_ros.closed_loop.runs import RunSpec, run_from
from r3d2_ros.errors import InputError
from r3d2_ros.scene import AssetLibrary


def spec_of(log: RunLog) -> RunSpec:
    """The run that a log is of. InputError(s) for a header that a run does not write."""
    return run_from(log.header, f"{log.path}: header")


def _logged_epoch_ns(log: RunLog) -> int:
    warmup = next((r for r in log.of("phase") if r["phase"] == "warmup"), None)
    if warmup is None:
        raise InputError(str(log.path), "a run that got beyond its start-up", "one that did not")
    return int(warmup["stamp_ns"])


class LoggedCommands:
    """`inbox.Commands` from a log: each command is taken at the tick at which it was, each miss is missed again, and
    plans, which scores are made from, come at the frame sets at which they did.
    """

    def __init__(self, log: RunLog) -> None:
        self._logged_epoch_ns = _logged_epoch_ns(log)
        self._epoch_ns = self._logged_epoch_ns
        self._began = False
        self._commands = {r["stamp_ns"] - self._logged_epoch_ns: self._command(r, log) for r in log.of("command")}
        self._misses = {r["stamp_ns"] - self._logged_epoch_ns for r in log.of("miss")}
        self._now_ns = self._logged_epoch_ns
        plans = ((int(r["stamp_ns"]) - self._logged_epoch_ns, r) for r in log.of("plan"))
        # Those of the start-up are answers to frame sets that this run does not have.
        self._plans = deque((since_ns, self._plan(r, log)) for since_ns, r in plans if since_ns >= 0)
        end = log.end or {}
        self._refused = dict(end.get("refused", Counter(r["cause"] for r in log.of("refused"))))
        self._contradictions = int(end.get("contradictions", 0))

    def _command(self, record: dict[str, Any], log: RunLog) -> Command:
        try:
            entry = record["command"]
            return Command(int(entry["stamp_ns"]), demand_of(entry["demand"]), str(entry["source"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{log.path}: command", "a command as the log has it", repr(error)) from error

    def _plan(self, record: dict[str, Any], log: RunLog) -> Plan:
        try:
            points = np.array(record["points"], np.float64).reshape(-1, 3)
            return Plan(int(record["of_stamp_ns"]), points[:, :2], points[:, 2])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{log.path}: plan", "a plan as the log has it", repr(error)) from error

    def set_time(self, now_ns: int) -> None:
        self._now_ns = now_ns

    def begin(self, epoch_ns: int) -> None:
        self._epoch_ns = epoch_ns
        self._began = True

    def started(self) -> bool:
        return True

    def fresh(self, now_ns: int) -> bool:
        return now_ns - self._epoch_ns not in self._misses

    def take(self, now_ns: int) -> Received | None:
        command = self._commands.get(now_ns - self._epoch_ns)
        return None if command is None else Received(self._shifted(command), 0.0)

    def drain(self) -> tuple[list[Refusal], list[Plan]]:
        plans = []
        while self._began and self._plans and self._plans[0][0] <= self._now_ns - self._epoch_ns:
            plan = self._plans.popleft()[1]
            plans.append(Plan(plan.stamp_ns + self._epoch_ns - self._logged_epoch_ns, plan.xy, plan.yaw_rad))
        return [], plans

    def refused(self) -> dict[str, int]:
        """What the log has of them: nothing is refused here."""
        return self._refused

    def contradictions(self) -> int:
        return self._contradictions

    def _shifted(self, command: Command) -> Command:
        """The command with its stamps in this run's time."""
        shift = self._epoch_ns - self._logged_epoch_ns
        demand = command.demand
        if isinstance(demand, Trajectory):
            demand = Trajectory(tuple(stamp + shift for stamp in demand.stamps_ns), demand.xy)
        return Command(command.stamp_ns + shift, demand, command.source)


class LoggedEdits:
    """`entities.Edits` from a log: each change is made before the tick before which it was.

    InputError for a record that a run does not write, and for an asset that `library` lacks.
    """

    def __init__(self, log: RunLog, library: AssetLibrary) -> None:
        epoch_ns = _logged_epoch_ns(log)
        self._epoch_ns: int | None = None
        # The world stands still in the start-up, so it does not matter when in it a change was made.
        self._in_startup: list[Edit] = []
        self._at: defaultdict[int, list[Edit]] = defaultdict(list)
        for record in log.of("entity"):
            edit, since_ns = self._edit(record, log, library), int(record["stamp_ns"]) - epoch_ns
            (self._in_startup if since_ns < 0 else self._at[since_ns]).append(edit)

    def _edit(self, record: dict[str, Any], log: RunLog, library: AssetLibrary) -> Edit:
        where = f"{log.path}: entity"
        try:
            edit = edit_of(record)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(where, "a change of the actors as the log has it", repr(error)) from error
        if isinstance(edit, Spawn) and edit.asset not in library:
            known = ", ".join(sorted(library.assets)) or "no assets"
            raise InputError(where, f"an asset of the library ({known})", f"'{edit.asset}'")
        return edit

    def begin(self, epoch_ns: int) -> None:
        self._epoch_ns = epoch_ns

    def take(self, now_ns: int) -> tuple[Edit, ...]:
        if self._epoch_ns is None:
            taken, self._in_startup = self._in_startup, []
            return tuple(taken)
        return tuple(self._at.pop(now_ns - self._epoch_ns, ()))

    def show(self, world: World) -> None:
        """Nothing to do: nobody asks."""
