"""The time master: order of actions, phases, and what happens when a stack does not do its part.

The road is straight, the ego starts at x = 0 with 10 m/s, the warm-up is 0.5 s.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from r3d2_ros.closed_loop.actions import Frame, Gate, Outcome, Snapshot, Tick, Wait
from r3d2_ros.closed_loop.demands import Demand, TwistDemand
from r3d2_ros.closed_loop.loop import START_NS
from r3d2_ros.closed_loop.scores.data import SceneFacts, run_data
from r3d2_ros.closed_loop.scores.driving import progress
from r3d2_ros.closed_loop.scores.summary import summarise
from r3d2_ros.closed_loop.vehicle import Actuation
from tests.closed_loop.drivers import Run, answering
from tests.closed_loop.small_world import LANE_MAP, parked

MS = 1_000_000
BRAKE = Actuation(-4.0, 0.0)


def run(tmp_path: Path, **keys: Any) -> Run:
    return Run(tmp_path / "run.jsonl", **keys)


def control(**keys: Any) -> dict[str, Any]:
    return {"max_misses": 0, **keys}


def test_ten_ticks_for_each_frame_set_and_time_never_skips(tmp_path: Path) -> None:
    made = run(tmp_path, on_frame=answering(), end={"duration_s": 1.0})
    assert made.go() == Outcome("duration", "t = 1.00 s")
    kinds = [type(action) for action in made.actions]
    # The first frame set is the start-up's; then t = 0.0 ... 0.9.
    assert kinds[:22] == [Gate, Tick, Frame, *[Gate, Tick] * 9, Gate]
    assert kinds.count(Frame) == 11 and kinds.count(Wait) == 0  # the answers are there already
    stamps = [snapshot.stamp_ns for snapshot in made.ticks()]
    assert stamps[0] == START_NS
    assert {b - a for a, b in pairwise(stamps)} == {10 * MS}


def test_phases(tmp_path: Path) -> None:
    made = run(tmp_path, on_frame=answering(BRAKE), end={"duration_s": 1.5})
    made.go()
    first = {snapshot.phase: snapshot for snapshot in reversed(made.ticks())}
    assert list(reversed(first)) == ["startup", "warmup", "engage", "drive"]
    assert [first[phase].t_s for phase in reversed(first)] == pytest.approx([0.0, 0.0, 0.5, 0.51])
    # In the start-up the ego stands; then it is moved along the reference, whatever is commanded; then it brakes.
    assert first["startup"].ego.speed_mps == 0.0
    assert (first["engage"].ego.x_m, first["engage"].ego.speed_mps) == (pytest.approx(5.0), 10.0)
    last = made.ticks()[-1].ego
    assert last.speed_mps == pytest.approx(10.0 - 4.0)
    assert last.x_m == pytest.approx(5.0 + 10.0 - 2.0)
    assert [record["phase"] for record in made.read().of("phase")] == ["startup", "warmup", "engage", "drive"]


def test_the_start_up_waits_for_the_stack(tmp_path: Path) -> None:
    """The stack answers from the fourth frame set on; the world has stood still until then, and time went on."""

    def late(snapshot: Snapshot, made: Run) -> None:
        if snapshot.stamp_ns >= START_NS + 300 * MS:
            made.send(snapshot)

    made = run(tmp_path, on_frame=late, phases={"warmup_s": 0.1}, end={"duration_s": 0.3})
    assert made.go() == Outcome("duration", "t = 0.30 s")
    startup = [s for s in made.ticks() if s.phase == "startup"]
    assert len(startup) == 40
    assert {s.ego.x_m for s in startup} == {0.0}
    assert made.read().of("tick")[0]["stamp_ns"] == START_NS + 400 * MS


def test_a_stack_that_never_comes(tmp_path: Path) -> None:
    made = run(tmp_path, phases={"startup_timeout_s": 5.0})
    outcome = made.go()
    assert outcome is not None and (outcome.reason, outcome.infrastructure) == ("no_command", True)
    assert 5.0 < made.wall_s < 7.0
    end = made.read().end
    assert end is not None and "no command that can be used for 5 s" in end["detail"]


def test_a_stack_that_sends_nan_is_named_as_the_reason(tmp_path: Path) -> None:
    nan = Actuation(float("nan"), 0.0)
    outcome = run(tmp_path, on_frame=answering(nan), phases={"startup_timeout_s": 3.0}).go()
    assert outcome is not None and outcome.detail.endswith("for 3 s (refused: 3 invalid)")


def test_collision_ends_the_run(tmp_path: Path) -> None:
    """The rear of a car at x = 40.05 is at 38.05; the ego's front, 3.5 m ahead, is there after 3.455 s.

    Then it goes on for 0.3 s, so that smaller boxes touch as well.
    """
    made = run(tmp_path, on_frame=answering(), actors=[parked(40.05)])
    assert made.go() == Outcome("collision", "with target at t = 3.46 s", with_actors=("target",))
    last = made.read().of("tick")[-1]
    assert last["t_s"] == pytest.approx(3.76) and last["ego"][0] == pytest.approx(37.6)
    assert last["actors"]["target"] == [40.05, 0.0, 0.0, 0.0, 0.0]


def test_a_run_may_go_on_after_a_collision(tmp_path: Path) -> None:
    end = {"duration_s": 5.0, "on_collision": False}
    outcome = run(tmp_path, on_frame=answering(), actors=[parked(40.0)], end=end).go()
    assert outcome is not None and outcome.reason == "duration"


def test_goal(tmp_path: Path) -> None:
    ego = {"reference": {"lane": "ego", "to_m": 30.0}, "speed_mps": 10.0}
    outcome = run(tmp_path, on_frame=answering(), ego=ego).go()
    assert outcome == Outcome("goal", "the end of the reference path at t = 3.00 s")


LAP = [[0, 0], [20, 0], [60, -4], [60, 30], [-50, 30], [-50, 0], [-20, 0]]
"""It comes back to 20 m before its start; whoever goes straight on beyond its end drives over the first 20 m."""


def test_the_goal_of_a_lap_is_not_at_its_start(tmp_path: Path) -> None:
    """Of its 264.2 m the stack drives 40 m, straight on where it bends to the right: over the line beyond the end."""
    ego = {"reference": {"points": LAP}, "speed_mps": 10.0}
    made = run(tmp_path, on_frame=answering(), ego=ego, end={"duration_s": 4.0})
    assert made.go() == Outcome("duration", "t = 4.00 s")
    assert progress(run_data(made.read())) == pytest.approx(40.0 / 264.2, abs=0.001)


def test_the_goal_of_a_lap_is_at_its_end(tmp_path: Path) -> None:
    """In the warm-up the ego is moved along nearly all of it: 20 + 40.2 + 34 + 110 + 30 + 30 m with 10 m/s."""
    ego = {"reference": {"points": LAP}, "speed_mps": 10.0}
    made = run(tmp_path, on_frame=answering(), ego=ego, phases={"warmup_s": 26.0}, end={"duration_s": 30.0})
    assert made.go() == Outcome("goal", "the end of the reference path at t = 26.42 s")
    assert progress(run_data(made.read())) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("keys", "what", "hint"),
    [
        (
            {"ego": {"reference": {"lane": "ego", "to_m": 8.0}, "speed_mps": 10.0}, "phases": {"warmup_s": 1.0}},
            "goal, the end of the reference path at t = 0.80 s",
            "Lengthen ego.reference, or shorten phases.warmup_s",
        ),
        (
            {"actors": [parked(1.0)], "end": {"duration_s": 2.0, "on_collision": False}},
            "collision, with target at t = 0.01 s",
            "Move the actor or the start of ego.reference, or shorten phases.warmup_s",
        ),
        # It is touched in the warm-up and driven before the run would end: the stack could not help it.
        (
            {"actors": [parked(8.0)], "phases": {"warmup_s": 0.5}},
            "collision, with target at t = 0.25 s",
            "Move the actor or the start of ego.reference, or shorten phases.warmup_s",
        ),
    ],
)
def test_a_run_in_which_the_stack_never_drove(tmp_path: Path, keys: dict[str, Any], what: str, hint: str) -> None:
    detail = f"{what}, in the warm-up. {hint}"
    made = run(tmp_path, on_frame=answering(), **keys)
    assert made.go() == Outcome("never_drove", detail, infrastructure=True)
    summary = summarise(made.read(), SceneFacts(LANE_MAP))
    assert (summary["verdict"], summary["reasons"]) == ("error", [f"never_drove: {detail}"])


def test_a_stack_that_has_not_taken_over_when_the_run_is_over(tmp_path: Path) -> None:
    """It answers the start-up's frame set and no other."""

    def once(snapshot: Snapshot, made: Run) -> None:
        if snapshot.phase == "startup":
            made.send(snapshot)

    outcome = run(tmp_path, on_frame=once, control=control(), end={"duration_s": 1.0}).go()
    detail = "duration, t = 1.00 s, before a command took over (refused: 1 stale). Lengthen end.duration_s"
    assert outcome == Outcome("never_drove", detail, infrastructure=True)


def test_off_the_reference(tmp_path: Path) -> None:
    """Wheels at 0.2 rad from x = 5 m on: a circle of 2.5 / tan 0.2 = 12.3 m leaves 3 m beside it behind soon."""
    end = {"duration_s": 6.0, "off_reference_m": 3.0}
    made = run(tmp_path, on_frame=answering(Actuation(0.0, 0.2)), end=end)
    outcome = made.go()
    assert outcome is not None and outcome.reason == "off_reference"
    assert 3.0 < made.ticks()[-1].ego.y_m < 3.1


def test_standstill(tmp_path: Path) -> None:
    """From 10 m/s with 8 m/s2 it stands 1.25 s after the warm-up; one more second ends the run."""
    end = {"duration_s": 9.0, "standstill_s": 1.0}
    outcome = run(tmp_path, on_frame=answering(Actuation(-8.0, 0.0)), end=end).go()
    assert outcome is not None and outcome.reason == "standstill"
    assert outcome.detail == "stood for 1 s at t = 2.75 s"


# What stacks do wrong


def dies_after(seconds: float) -> Any:
    def stack(snapshot: Snapshot, made: Run) -> None:
        if snapshot.t_s <= seconds:
            made.send(snapshot, Actuation(1.0, 0.0))

    return stack


@pytest.mark.parametrize(
    ("on_miss", "speed"),
    [("hold", 10.0 + 1.5), ("stop", 10.0 + 0.6 - 8.0 * 0.9)],
)
def test_a_dead_stack(tmp_path: Path, on_miss: str, speed: float) -> None:
    """It accelerates with 1 m/s2 from 0.5 s on and dies after t = 1.0 s; at 1.1 s it is missed for the first time.

    hold: the last command holds until the end at 2.0 s. stop: from 1.1 s on it brakes with 8 m/s2.
    """
    made = run(tmp_path, on_frame=dies_after(1.0), control=control(on_miss=on_miss), end={"duration_s": 2.0})
    assert made.go() == Outcome("duration", "t = 2.00 s")
    assert made.ticks()[-1].ego.speed_mps == pytest.approx(speed)
    end, misses = made.read().end, made.read().of("miss")
    assert end is not None and end["misses"] == len(misses) == 9 and end["deterministic"] is False
    assert [miss["t_s"] for miss in misses] == pytest.approx([1.1 + 0.1 * k for k in range(9)])
    assert misses[0]["waited_ms"] == pytest.approx(1000.0)


def test_a_dead_stack_aborts_where_that_is_wanted(tmp_path: Path) -> None:
    outcome = run(tmp_path, on_frame=dies_after(1.0), control=control(on_miss="abort")).go()
    assert outcome == Outcome("control_lost", "no command for the frame set at t = 1.10 s", infrastructure=True)


def test_too_many_misses_in_a_row(tmp_path: Path) -> None:
    outcome = run(tmp_path, on_frame=dies_after(1.0), control=control(max_misses=5)).go()
    assert outcome is not None and outcome.infrastructure
    assert outcome.detail == "5 frame sets without a command up to t = 1.50 s"


def test_a_stack_that_comes_back_is_obeyed_again(tmp_path: Path) -> None:
    def stack(snapshot: Snapshot, made: Run) -> None:
        if not 1.05 < snapshot.t_s < 1.45:
            made.send(snapshot, Actuation(0.0, 0.0))

    made = run(tmp_path, on_frame=stack, control=control(on_miss="stop"), end={"duration_s": 3.0})
    made.go()
    assert made.misses == 4
    # Braked from 1.1 s to 1.5 s, then on at that speed.
    assert made.ticks()[-1].ego.speed_mps == pytest.approx(10.0 - 8.0 * 0.4)


def test_an_answer_that_comes_late_is_refused_and_missed(tmp_path: Path) -> None:
    """A frame set's command that arrives during the next period is older than max_age 0."""
    pending: list[int] = []

    def on_frame(snapshot: Snapshot, made: Run) -> None:
        if 0.95 < snapshot.t_s < 1.05:
            pending.append(snapshot.stamp_ns)
        else:
            made.send(snapshot)

    def on_tick(snapshot: Snapshot, made: Run) -> None:
        if pending and snapshot.stamp_ns > pending[0]:
            made.send(snapshot, stamp_ns=pending.pop())

    made = run(tmp_path, on_frame=on_frame, on_tick=on_tick, control=control(), end={"duration_s": 2.0})
    made.go()
    assert made.refused == ["stale"] and made.misses == 1
    assert [record["cause"] for record in made.read().of("refused")] == ["stale"]


@pytest.mark.parametrize("second", [Actuation(0.0, 0.0), Actuation(-8.0, 0.5), TwistDemand(5.0, 0.0)], ids=str)
def test_a_second_answer_changes_nothing(tmp_path: Path, second: Demand) -> None:
    """But where it says something else, which of the two came first is a matter of the wall clock."""

    def twice(snapshot: Snapshot, made: Run) -> None:
        made.send(snapshot, Actuation(0.0, 0.0))
        made.send(snapshot, second)

    made = run(tmp_path, on_frame=twice, end={"duration_s": 2.0})
    made.go()
    assert set(made.refused) == {"duplicate"}
    assert made.ticks()[-1].ego.speed_mps == 10.0
    end = made.read().end
    assert end is not None and end["deterministic"] is (second == Actuation(0.0, 0.0))


def test_commands_from_the_past_and_the_future(tmp_path: Path) -> None:
    def stack(snapshot: Snapshot, made: Run) -> None:
        made.send(snapshot, BRAKE, stamp_ns=snapshot.stamp_ns - 10 * MS)
        made.send(snapshot, BRAKE, stamp_ns=snapshot.stamp_ns + 10 * MS)
        made.send(snapshot)

    made = run(tmp_path, on_frame=stack, end={"duration_s": 1.0})
    made.go()
    assert made.ticks()[-1].ego.speed_mps == 10.0
    assert {record["cause"] for record in made.read().of("refused")} == {"stale", "future"}


def test_nan_in_the_middle_is_a_miss(tmp_path: Path) -> None:
    def stack(snapshot: Snapshot, made: Run) -> None:
        bad = 0.95 < snapshot.t_s < 1.05
        made.send(snapshot, Actuation(float("nan") if bad else 0.0, 0.0))

    made = run(tmp_path, on_frame=stack, end={"duration_s": 2.0})
    made.go()
    assert made.misses == 1 and made.refused == ["invalid"]


# Stacks that act on timers


def timer(period_ms: int) -> Any:
    """Sends at every multiple of its period of simulation time, with that stamp, and never looks at frame sets."""

    def on_tick(snapshot: Snapshot, made: Run) -> None:
        if snapshot.stamp_ns % (period_ms * MS) == 0:
            made.send(snapshot)

    return on_tick


def test_a_timer_driven_stack_is_never_waited_for(tmp_path: Path) -> None:
    made = run(tmp_path, on_tick=timer(50), control=control(max_age_s=0.1), end={"duration_s": 2.0})
    assert made.go() == Outcome("duration", "t = 2.00 s")
    assert made.misses == 0
    assert not any(isinstance(action, Wait) for action in made.actions)
    assert made.read().end["deterministic"] is False  # when a command arrives is a matter of wall time


def test_a_command_between_frame_sets_counts_from_the_next_tick(tmp_path: Path) -> None:
    """Braking with 4 m/s2 starts at t = 1.05 s, a tick after the command at 1.05 s was sent."""

    def on_tick(snapshot: Snapshot, made: Run) -> None:
        if snapshot.stamp_ns % (50 * MS) == 0:
            made.send(snapshot, BRAKE if snapshot.t_s > 1.04 else Actuation(0.0, 0.0))

    made = run(tmp_path, on_tick=on_tick, control=control(max_age_s=0.1), end={"duration_s": 2.05})
    made.go()
    assert made.ticks()[-1].ego.speed_mps == pytest.approx(10.0 - 4.0 * 1.0)


def test_a_timer_that_is_too_slow_is_missed_and_does_not_hang(tmp_path: Path) -> None:
    made = run(tmp_path, on_tick=timer(500), control=control(max_age_s=0.1), end={"duration_s": 3.0})
    assert made.go() == Outcome("duration", "t = 3.00 s")
    assert made.misses > 10


def test_without_waiting_the_newest_command_is_used(tmp_path: Path) -> None:
    made = run(tmp_path, on_tick=timer(500), control=control(max_age_s=0.6, wait=False), end={"duration_s": 3.0})
    made.go()
    assert made.wall_s == pytest.approx(made.frame_s * sum(isinstance(a, Frame) for a in made.actions))
    assert made.misses == 0


def test_a_stack_that_is_never_engaged(tmp_path: Path) -> None:
    """It stamps all its commands 150 ms back: in time for max_age, but never for the moment of the hand-over."""

    def stack(snapshot: Snapshot, made: Run) -> None:
        if snapshot.t_s < 0.45:
            made.send(snapshot)

    keys = {"control": control(), "phases": {"warmup_s": 0.5, "engage_timeout_s": 0.5}}
    outcome = run(tmp_path, on_frame=stack, **keys).go()
    assert outcome is not None and (outcome.reason, outcome.infrastructure) == ("not_engaged", True)


# Being stopped


@pytest.mark.parametrize("phase", ["startup", "warmup", "engage", "drive"])
def test_a_driver_that_gives_up_leaves_a_complete_log(tmp_path: Path, phase: str) -> None:
    """Interrupted in each phase: the last record says so, and everything before it is there."""

    def stack(snapshot: Snapshot, made: Run) -> None:
        if snapshot.phase != phase or phase in ("warmup", "drive"):
            made.send(snapshot)

    made = run(tmp_path, on_frame=stack, control=control())
    made.go(until=lambda action: isinstance(action, Tick) and action.snapshot.phase == phase)
    made.loop.end(Outcome("interrupted", infrastructure=True))
    log = made.read()
    assert log.end is not None and (log.end["reason"], log.end["phase"]) == ("interrupted", phase)
    assert log.cut == 0


def test_equal_runs_have_equal_digests(tmp_path: Path) -> None:
    """The start-up may take longer and the machine be slower: what follows is the same."""

    def stack(first_ms: int) -> Any:
        def on_frame(snapshot: Snapshot, made: Run) -> None:
            if snapshot.stamp_ns >= START_NS + first_ms * MS:
                made.send(snapshot, BRAKE if snapshot.t_s > 0.8 else Actuation(0.0, 0.0))

        return on_frame

    digests = []
    for name, first_ms, frame_s in (("a", 0, 0.01), ("b", 700, 0.5), ("c", 0, 0.01)):
        made = Run(tmp_path / name, on_frame=stack(first_ms), actors=[parked(90.0)], end={"duration_s": 2.0})
        made.frame_s = frame_s
        made.go()
        end = made.read().end
        assert end is not None
        digests.append(end["digest"])
    assert len(set(digests)) == 1
    other = Run(tmp_path / "d", on_frame=stack(0), actors=[parked(90.1)], end={"duration_s": 2.0})
    other.go()
    assert other.read().end["digest"] != digests[0]
