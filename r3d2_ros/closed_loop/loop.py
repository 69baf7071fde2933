"""The time master: what happens in a closed-loop run, in which order, without ROS and without a clock of its own.

`Loop.run` is a generator of actions. Its driver does each of them (publishes, renders, waits) and answers with `Done`;
the generator's return value is the outcome. A run is

    start-up   frame sets of the world at t = 0, until the stack has sent a command that can be used
    warm-up    from t = 0 for phases.warmup_s: the ego is moved along its reference, commands are only received
    engage     the same, until a command for this moment or a later one arrives
    drive      the commands drive the vehicle

One that ends before `drive` says nothing about the stack: `never_drove`. A frame period, from one frame set to the
next, is

    Tick (clock, transforms, odometry, actors) -> Frame -> Wait for a command, if there is none -> Tick, Tick, ...

with a Gate before every step of time. There a run is paused, and there the actors are changed from outside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator

from r3d2_ros.boxes import touch
from r3d2_ros.closed_loop.actions import Action, Done, Frame, Gate, Outcome, Phase, Snapshot, Tick, Wait
from r3d2_ros.closed_loop.control import Control, stopping
from r3d2_ros.closed_loop.demands import demand_record, plan_points
from r3d2_ros.closed_loop.entities import Edit, Edits, NoEdits, World, applied, edit_record
from r3d2_ros.closed_loop.inbox import Commands
from r3d2_ros.closed_loop.plan import RunPlan
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.closed_loop.vehicle import VehicleState, advance
from r3d2_ros.errors import InputError

START_NS = 10_000_000_000
"""Simulation time begins here: zero would mean `no stamp` to many ROS programs."""

SUBSTEPS = 4
ROUNDING = 1e-6
"""Seconds and metres that are no difference."""

NEVER_DROVE = {
    "collision": "Move the actor or the start of ego.reference",
    "off_reference": "Lengthen ego.reference",
    "goal": "Lengthen ego.reference",
    "duration": "Lengthen end.duration_s",
}
"""What to change in a scenario that ends, in one of these ways, before the stack drives."""

Steps = Generator[Action, Done, Outcome | None]


class Loop:
    """One run of a plan. `snapshot` is the newest moment, `misses` how often a frame had no command."""

    def __init__(
        self,
        plan: RunPlan,
        commands: Commands,
        log: LogWriter,
        *,
        edits: Edits | None = None,
        start_ns: int = START_NS,
    ) -> None:
        self._plan, self._commands, self._log = plan, commands, log
        self._edits: Edits = NoEdits() if edits is None else edits
        self._scenario = plan.spec.scenario
        clock = self._scenario.clock
        self._tick_ns, self._per_frame = clock.tick_ns, clock.ticks_per_frame
        self._max_age_ns = round(self._scenario.control.max_age_s * 1e9)
        self._control = Control(plan.vehicle)
        self._ego = plan.start
        self._s_m, self._left_m = plan.reference.s_at(0.0), 0.0
        self._traffic, self._traffic_state = plan.traffic, plan.traffic.start()
        self._phase: Phase = "startup"
        self._epoch_ns = self._now_ns = start_ns
        self._engage_from_ns = 0
        self._missing = False
        self._missed_in_a_row = 0
        self._standing_since_ns: int | None = None
        self._collision: tuple[float, Outcome] | None = None
        self._published_s = 0.0
        self._frames = self._ticks = 0
        self.counts: Counter[str] = Counter()
        self.snapshot = self._look(self._ego)
        self._before: Snapshot | None = None

    @property
    def phase(self) -> Phase:
        return self._phase

    def run(self) -> Generator[Action, Done, Outcome]:
        """The actions of the whole run."""
        yield from self._gate()
        outcome = yield from self._startup()
        if outcome is None:
            outcome = yield from self._scenario_time()
        self.end(outcome)
        return outcome

    def end(self, outcome: Outcome) -> None:
        """Write the last record. For a driver that gives up; a run that ends by itself has done it."""
        self._write_arrivals()
        self._log.write(
            "end",
            stamp_ns=self._now_ns,
            t_s=self.snapshot.t_s,
            phase=self._phase,
            reason=outcome.reason,
            detail=outcome.detail,
            infrastructure=outcome.infrastructure,
            actors=list(outcome.with_actors),
            frames=self._frames,
            ticks=self._ticks,
            misses=self.counts["misses"],
            edits=self.counts["edits"],
            refused=self._commands.refused(),
            contradictions=self._commands.contradictions(),
            deterministic=self.deterministic,
            digest=self._log.digest,
        )

    @property
    def deterministic(self) -> bool:
        """Whether nothing depended on how fast the stack answered, on which of two answers came first, or on when the
        actors were changed from outside.
        """
        control = self._scenario.control
        from_outside = self.counts["misses"] + self.counts["edits"] + self._commands.contradictions()
        return control.wait and control.max_age_s == 0.0 and from_outside == 0

    # Start-up

    def _startup(self) -> Steps:
        """Until a command arrives, at the end of that frame period. The world stands still at t = 0."""
        self._set_phase("startup")
        control, limit_s = self._scenario.control, self._scenario.phases.startup_timeout_s
        began_s: float | None = None
        while True:
            done = yield from self._show(self._ego_standing())
            if (outcome := _without_picture(done)) is not None:
                return outcome
            began_s = done.wall_s if began_s is None else began_s
            if control.wait and self._max_age_ns == 0 and not self._commands.started():
                done = yield Wait(self._now_ns, control.timeout_s)
            for _ in range(self._per_frame - 1):
                yield from self._gate()
                self._now_ns += self._tick_ns
                self._see(self._ego_standing())
                self._commands.set_time(self._now_ns)
                done = yield Tick(self.snapshot)
            yield from self._gate()
            self._now_ns += self._tick_ns
            self._write_arrivals()
            if self._commands.started():
                return None
            if done.wall_s - began_s > limit_s:
                text = f"the stack has sent no command that can be used for {limit_s:g} s{self._refused_text()}"
                return Outcome("no_command", text, infrastructure=True)

    def _ego_standing(self) -> VehicleState:
        start = self._plan.start
        return VehicleState(start.x_m, start.y_m, start.yaw_rad, 0.0, 0.0, start.steer_rad)

    # Scenario time

    def _scenario_time(self) -> Generator[Action, Done, Outcome]:
        self._epoch_ns = self._now_ns
        self._commands.begin(self._epoch_ns)
        self._edits.begin(self._epoch_ns)
        self._log.begin(self._epoch_ns)
        self._set_phase("warmup")
        self._see(self._ego)
        while True:
            self._change_phase()
            done = yield from self._show(self._ego)
            outcome = _without_picture(done)
            if outcome is None:
                outcome = yield from self._command_for_frame()
            if outcome is not None:
                return outcome
            for k in range(self._per_frame):
                yield from self._gate()
                self._advance()
                outcome = self._ended()
                if outcome is not None:
                    self._write_tick()
                    self._commands.set_time(self._now_ns)
                    yield Tick(self.snapshot)
                    return outcome
                if k < self._per_frame - 1:
                    self._write_tick()
                    self._commands.set_time(self._now_ns)
                    yield Tick(self.snapshot)
                    if self._max_age_ns > 0:
                        self._take()

    def _change_phase(self) -> None:
        if self._phase == "warmup" and self.snapshot.t_s >= self._scenario.phases.warmup_s - ROUNDING:
            self._engage_from_ns = self._now_ns
            self._set_phase("engage")
            self._see(self._ego)

    def _show(self, ego: VehicleState) -> Generator[Action, Done, Done]:
        """A tick with its frame set."""
        self._see(ego)
        self._commands.set_time(self._now_ns)
        if self._phase != "startup":
            self._write_tick()
        yield Tick(self.snapshot)
        done = yield Frame(self.snapshot)
        self._published_s = done.wall_s
        facts = done.frame
        if facts is None:
            raise TypeError("expected the facts of the frame set in the driver's answer, got none")
        self._log.write(
            "frame",
            stamp_ns=self._now_ns,
            t_s=self.snapshot.t_s,
            phase=self._phase,
            index=self._frames,
            hashes=dict(facts.hashes),
            off_path_m=facts.off_path_m,
            off_path_deg=facts.off_path_deg,
            out_of_bounds_m=facts.out_of_bounds_m,
            render_ms=round(facts.render_ms, 3),
            wall_s=done.wall_s,
        )
        self._frames += self._phase != "startup"
        return done

    # Commands

    def _command_for_frame(self) -> Steps:
        """Wait for the frame's command as configured, count a miss, and put what there is in force."""
        control = self._scenario.control
        if control.wait and not self._commands.fresh(self._now_ns):
            done = yield Wait(self._now_ns, control.timeout_s)
            waited_ms = (done.wall_s - self._published_s) * 1e3
        else:
            waited_ms = 0.0
        self._write_arrivals()
        self._missing = not self._commands.fresh(self._now_ns)
        self._take()
        if not self._missing:
            self._missed_in_a_row = 0
        else:
            self.counts["misses"] += 1
            self._missed_in_a_row += 1
            action = control.on_miss if self._phase == "drive" else "none"
            self._log.write(
                "miss", stamp_ns=self._now_ns, t_s=self.snapshot.t_s, action=action, waited_ms=round(waited_ms, 1)
            )
        return self._lost()

    def _lost(self) -> Outcome | None:
        """Whether the run cannot go on without commands."""
        control, t_s = self._scenario.control, self.snapshot.t_s
        if self._phase == "drive" and self._missing and control.on_miss == "abort":
            text = f"no command for the frame set at t = {t_s:.2f} s{self._refused_text()}"
            return Outcome("control_lost", text, infrastructure=True)
        if control.max_misses and self._missed_in_a_row >= control.max_misses:
            text = f"{self._missed_in_a_row} frame sets without a command up to t = {t_s:.2f} s{self._refused_text()}"
            return Outcome("control_lost", text, infrastructure=True)
        engaging_s = t_s - self._scenario.phases.warmup_s
        if self._phase == "engage" and engaging_s >= self._scenario.phases.engage_timeout_s - ROUNDING:
            text = f"no command that takes over within {engaging_s:g} s after the warm-up{self._refused_text()}"
            return Outcome("not_engaged", text, infrastructure=True)
        return None

    def _take(self) -> None:
        """Put a new command in force; in the phase `engage` the first one for this phase takes over."""
        received = self._commands.take(self._now_ns)
        if received is None:
            return
        command = received.command
        applied = self._phase == "drive" or (self._phase == "engage" and command.stamp_ns >= self._engage_from_ns)
        self._log.write(
            "command",
            stamp_ns=self._now_ns,
            t_s=self.snapshot.t_s,
            command={"stamp_ns": command.stamp_ns, "source": command.source, "demand": demand_record(command.demand)},
            applied=applied,
            latency_ms=round((received.wall_s - self._published_s) * 1e3, 3),
        )
        self.counts["commands"] += 1
        if applied:
            self._control.use(command)
            self._missing = False
            if self._phase == "engage":
                self._set_phase("drive")

    def _refused_text(self) -> str:
        causes = [f"{count} {cause}" for cause, count in self._commands.refused().items()]
        return f" (refused: {', '.join(causes)})" if causes else ""

    def _write_arrivals(self) -> None:
        """Refusals and plans since the last time."""
        refusals, plans = self._commands.drain()
        for refusal in refusals:
            self._log.write(
                "refused", stamp_ns=self._now_ns, cause=refusal.cause, text=refusal.text, of_stamp_ns=refusal.stamp_ns
            )
        for plan in plans:
            points = plan_points(plan.xy, plan.yaw_rad)
            self._log.write("plan", stamp_ns=self._now_ns, of_stamp_ns=plan.stamp_ns, points=points)

    # The world

    def _gate(self) -> Generator[Action, Done, None]:
        """Wait until time may go on, then change the actors as it was asked for meanwhile."""
        yield Gate()
        for edit in self._edits.take(self._now_ns):
            self._change(edit)
        self._show_world()

    def _change(self, edit: Edit) -> None:
        try:
            self._traffic, self._traffic_state = applied(edit, self._traffic, self._traffic_state)
        except KeyError as error:
            # The services check what they accept: only a log that was altered comes here.
            raise InputError("changes of actors", "such as fit the actors of the run", str(error.args[0])) from error
        self.counts["edits"] += 1
        t_s = self.snapshot.t_s
        self._log.write("entity", stamp_ns=self._now_ns, t_s=t_s, phase=self._phase, **edit_record(edit))

    def _see(self, ego: VehicleState) -> None:
        """Make it the newest moment."""
        if self.snapshot.stamp_ns != self._now_ns:
            self._before = self.snapshot
        self._s_m, self._left_m = self._plan.reference.locate(ego.x_m, ego.y_m, near_m=self._s_m)
        self.snapshot = self._look(ego)
        self._show_world()

    def _show_world(self) -> None:
        self._edits.show(World(self._traffic, self._traffic_state, self.snapshot, self._before))

    def _look(self, ego: VehicleState) -> Snapshot:
        return Snapshot(
            stamp_ns=self._now_ns,
            t_s=0.0 if self._phase == "startup" else (self._now_ns - self._epoch_ns) / 1e9,
            phase=self._phase,
            ego=ego,
            T_world_ego=self._plan.reference.pose(ego, near_m=self._s_m),
            actors=self._traffic.placed(self._traffic_state),
            ids=self._traffic.ids,
        )

    def _advance(self) -> None:
        """One tick of the world."""
        before = self.snapshot
        self._now_ns += self._tick_ns
        t_s = (self._now_ns - self._epoch_ns) / 1e9
        box = self._ego.box(self._plan.vehicle)
        self._traffic_state = self._traffic.advance(
            self._traffic_state, t_s, ego=(box, before.T_world_ego, self._ego.speed_mps)
        )
        if self._phase == "drive":
            stop = self._missing and self._scenario.control.on_miss == "stop"
            wanted = (
                stopping(self._ego, self._plan.vehicle)
                if stop
                else self._control.actuation(before.stamp_ns, self._ego)
            )
            self._ego = advance(
                self._plan.vehicle, self._ego, wanted, seconds=self._tick_ns * 1e-9, substeps=SUBSTEPS
            )
        else:
            self._ego = self._plan.reference.state_at(t_s, self._plan.vehicle)
        self._see(self._ego)

    def _ended(self) -> Outcome | None:
        """Whether the run is over at this tick."""
        outcome = self._end_of_scenario()
        return outcome if outcome is None or self._phase == "drive" else self._never_drove(outcome)

    def _never_drove(self, outcome: Outcome) -> Outcome:
        warming = self._phase == "warmup"
        when = "in the warm-up" if warming else f"before a command took over{self._refused_text()}"
        hint = f"{NEVER_DROVE[outcome.reason]}{', or shorten phases.warmup_s' if warming else ''}"
        return Outcome("never_drove", f"{outcome.reason}, {outcome.detail}, {when}. {hint}", infrastructure=True)

    def _end_of_scenario(self) -> Outcome | None:
        end, t_s = self._scenario.end, self.snapshot.t_s
        hit = self._hit() if self._collision is None else ()
        if hit and self._phase != "drive":  # at once: every figure would count it, whoever drives later
            return Outcome("collision", f"with {', '.join(hit)} at t = {t_s:.2f} s")
        if hit and end.on_collision:
            self._collision = t_s, Outcome("collision", f"with {', '.join(hit)} at t = {t_s:.2f} s", with_actors=hit)
        if self._collision is not None:
            began_s, outcome = self._collision
            return outcome if t_s >= began_s + end.after_collision_s - ROUNDING else None
        if abs(self._left_m) > end.off_reference_m:
            return Outcome("off_reference", f"{abs(self._left_m):.1f} m beside the reference path at t = {t_s:.2f} s")
        if end.at_goal and self._s_m >= self._plan.reference.length_m - ROUNDING:
            return Outcome("goal", f"the end of the reference path at t = {t_s:.2f} s")
        if self._stood_s() >= end.standstill_s - ROUNDING and end.standstill_s > 0.0:
            return Outcome("standstill", f"stood for {end.standstill_s:g} s at t = {t_s:.2f} s")
        if t_s >= end.duration_s - ROUNDING:
            return Outcome("duration", f"t = {t_s:.2f} s")
        return None

    def _stood_s(self) -> float:
        if self._phase != "drive" or self._ego.speed_mps > 0.0:
            self._standing_since_ns = None
            return 0.0
        if self._standing_since_ns is None:
            self._standing_since_ns = self._now_ns
        return (self._now_ns - self._standing_since_ns) * 1e-9

    def _hit(self) -> tuple[str, ...]:
        ego = self._ego.box(self._plan.vehicle)
        return tuple(actor.id for actor in self.snapshot.actors if touch(ego, actor.box()))

    # Records

    def _set_phase(self, phase: Phase) -> None:
        self._phase = phase
        self._log.write("phase", stamp_ns=self._now_ns, phase=phase)

    def _write_tick(self) -> None:
        now = self.snapshot
        ego = now.ego
        self._ticks += 1
        self._log.write(
            "tick",
            stamp_ns=now.stamp_ns,
            t_s=now.t_s,
            phase=self._phase,
            ego=[
                *(float(v) for v in now.T_world_ego.translation),
                ego.yaw_rad,
                ego.speed_mps,
                ego.acceleration_mps2,
                ego.steer_rad,
            ],
            actors={
                a.id: [*(float(v) for v in a.T_world_actor.translation), a.T_world_actor.yaw_rad, a.speed_mps]
                for a in now.actors
            },
        )


def _without_picture(done: Done) -> Outcome | None:
    """A stack that a camera shows nothing is not the stack that is tested."""
    if done.frame is None or not done.frame.failures:
        return None
    text = "; ".join(f"camera '{name}' has no picture: {reason}" for name, reason in done.frame.failures.items())
    return Outcome("no_picture", text, infrastructure=True)
