"""States, steps and resets of a run as simulation_interfaces defines them, on top of its control."""

from __future__ import annotations

from collections.abc import Callable

from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.run_control import RunControl
from r3d2_ros.closed_loop.simulation_codes import OK, Answer, Result, Scope, State, TransitionCode

STATES = {"stopped": State.STOPPED, "playing": State.PLAYING, "paused": State.PAUSED, "ended": State.QUITTING}
BITS = Scope.TIME | Scope.STATE | Scope.SPAWNED


class SimulationControl:
    """A step is one frame set: the clock ticks up to it, and it is published.

    timeout_s  wall time in which a step or a new beginning is done, or reported as not done
    """

    def __init__(self, control: RunControl, desk: EntityDesk, timeout_s: float) -> None:
        self._control, self._desk, self._timeout_s = control, desk, timeout_s

    @property
    def state(self) -> State:
        return STATES[self._control.state]

    def set_state(self, target: int) -> Answer:
        """To playing, paused, stopped (paused at the beginning) or quitting (as Ctrl-C)."""
        known = (State.STOPPED, State.PLAYING, State.PAUSED, State.QUITTING)
        if target not in known:
            names = ", ".join(f"{state.name} {state:d}" for state in known)
            return Answer(Result.FEATURE_UNSUPPORTED, f"expected one of {names}, got {target}")
        now = self.state
        if target == now:
            return Answer(TransitionCode.ALREADY_IN_TARGET_STATE, f"the simulation is {now.name} already")
        if now == State.QUITTING:
            return Answer(TransitionCode.STATE_TRANSITION_ERROR, "the run has ended")
        if target == State.QUITTING:
            self._control.stop("a request to quit")
        elif target == State.STOPPED:
            self._desk.keep_spawned(False)
            if fault := self._control.reset(self._timeout_s, halt=True):
                return Answer(TransitionCode.STATE_TRANSITION_ERROR, fault)
        else:
            self._control.pause(target == State.PAUSED)
        return OK

    def step(
        self,
        steps: int,
        *,
        made: Callable[[int], None] = lambda steps: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Answer:
        """That many frame sets of a paused or stopped run; then it is paused. `made`, `wanted`: see `RunControl`."""
        if steps < 1:
            return Answer(Result.OPERATION_FAILED, f"expected at least 1 step, got {steps}")
        fault = self._control.step(steps, self._timeout_s, made=made, wanted=wanted)
        return Answer(Result.OPERATION_FAILED, fault) if fault else OK

    def reset(self, scope: int) -> Answer:
        """SPAWNED: despawn. TIME and STATE together: begin anew and keep what was spawned. All: begin anew."""
        if scope not in (Scope.DEFAULT, Scope.ALL) and (scope < 0 or scope & ~BITS):
            return Answer(Result.FEATURE_UNSUPPORTED, f"expected a scope of the bits 1, 2 and 4, 0 or 255, got {scope}")
        bits = BITS if scope in (Scope.DEFAULT, Scope.ALL) else scope
        if bits == Scope.SPAWNED:
            return self._desk.delete_spawned()
        if bits & (Scope.TIME | Scope.STATE) != Scope.TIME | Scope.STATE:
            text = "time and state are reset together, for actors are where time has them: scope 3, 4, 7 or 255"
            return Answer(Result.FEATURE_UNSUPPORTED, f"{text}; got {scope}")
        self._desk.keep_spawned(not bits & Scope.SPAWNED)
        if fault := self._control.reset(self._timeout_s):
            self._desk.keep_spawned(False)
            return Answer(Result.OPERATION_FAILED, fault)
        return OK
