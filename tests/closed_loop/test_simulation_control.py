"""States, steps and resets as simulation_interfaces defines them, against a run that only counts its frame sets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from r3d2_ros.closed_loop.entity_desk import EntityDesk, SpawnRequest
from r3d2_ros.closed_loop.run_control import MAX_WAITING, ResetAsked, RunControl, Stopped
from r3d2_ros.closed_loop.simulation_codes import Result, Scope, State, TransitionCode
from r3d2_ros.closed_loop.simulation_control import SimulationControl
from r3d2_ros.config import FramesConfig
from tests.closed_loop.small_world import LIBRARY, parked, plan


class CountingRun:
    """Does what the driver does with the control: ten ticks, then a frame set, as fast as it goes."""

    def __init__(self) -> None:
        self.control = RunControl()
        planned = plan(actors=[parked(80.0)])
        self.desk = EntityDesk(planned, LIBRARY, FramesConfig())
        self.simulation = SimulationControl(self.control, self.desk, timeout_s=10.0)
        self.begun = self.frames = self.ticks = 0
        self.stuck = threading.Event()
        """While it is set no frame set is made: a stack that does not answer."""

        self.end = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while not self.end.is_set():
                try:
                    self._once()
                except ResetAsked:
                    continue
        except Stopped:
            pass
        self.control.end()
        self.desk.end_run()

    def _once(self) -> None:
        self.desk.begin_run()
        self.frames = self.ticks = 0
        self.begun += 1
        self.control.begin()
        while not self.end.is_set():
            for _ in range(10):
                self.control.gate()
                self.ticks += 1
            while self.stuck.is_set():
                self.control.check()
                time.sleep(0.001)
            self.frames += 1
            self.control.frame_made()
            time.sleep(0.001)


@pytest.fixture
def run() -> Iterator[CountingRun]:
    made = CountingRun()
    made.control.pause(True)
    made.thread.start()
    yield made
    made.stuck.clear()
    made.end.set()
    made.control.stop("the test's end")
    made.thread.join(10.0)
    assert not made.thread.is_alive()


def names(run: CountingRun) -> list[str]:
    return [entity.name for entity in run.desk.entities()]


# States


def test_states(run: CountingRun) -> None:
    simulation = run.simulation
    assert simulation.state == State.PAUSED
    assert simulation.set_state(State.PAUSED).code == TransitionCode.ALREADY_IN_TARGET_STATE
    assert simulation.set_state(State.PLAYING).ok and simulation.state == State.PLAYING
    assert simulation.set_state(State.PLAYING).code == TransitionCode.ALREADY_IN_TARGET_STATE
    assert simulation.set_state(State.PAUSED).ok and simulation.state == State.PAUSED
    assert simulation.set_state(State.STOPPED).ok and simulation.state == State.STOPPED
    assert simulation.set_state(State.STOPPED).code == TransitionCode.ALREADY_IN_TARGET_STATE
    assert simulation.set_state(State.PAUSED).ok and simulation.state == State.PAUSED


@pytest.mark.parametrize("target", [State.NO_WORLD, State.LOADING_WORLD, 6, 255, -1])
def test_states_that_a_run_has_not(run: CountingRun, target: int) -> None:
    answer = run.simulation.set_state(target)
    assert answer.code == Result.FEATURE_UNSUPPORTED and "PLAYING 1" in answer.text
    assert run.simulation.state == State.PAUSED


def test_stopped_is_before_the_first_tick_and_can_be_stepped_and_played(run: CountingRun) -> None:
    assert run.simulation.step(3).ok
    begun = run.begun
    assert run.simulation.set_state(State.STOPPED).ok
    assert (run.begun, run.ticks, run.frames) == (begun + 1, 0, 0)
    assert run.simulation.step(2).ok
    assert (run.ticks, run.frames, run.simulation.state) == (20, 2, State.PAUSED)
    assert run.simulation.set_state(State.STOPPED).ok
    assert run.simulation.set_state(State.PLAYING).ok
    assert run.simulation.state == State.PLAYING


def test_quitting_ends_the_run(run: CountingRun) -> None:
    assert run.simulation.set_state(State.QUITTING).ok
    run.thread.join(10.0)
    assert run.simulation.state == State.QUITTING
    assert run.simulation.set_state(State.QUITTING).code == TransitionCode.ALREADY_IN_TARGET_STATE
    assert run.simulation.set_state(State.PLAYING).code == TransitionCode.STATE_TRANSITION_ERROR
    assert run.simulation.step(1).code == Result.OPERATION_FAILED
    assert run.simulation.reset(Scope.ALL).code == Result.OPERATION_FAILED
    assert run.simulation.reset(Scope.SPAWNED).code == Result.INCORRECT_STATE
    assert run.control.step(1, 60.0) == "the run has ended"


# Steps


def test_steps_of_a_paused_run(run: CountingRun) -> None:
    made: list[int] = []
    assert run.simulation.step(5, made=made.append).ok
    assert (run.frames, run.ticks, made) == (5, 50, [1, 2, 3, 4, 5])
    assert run.simulation.state == State.PAUSED


@pytest.mark.parametrize("steps", [0, -1, -(2**63)])
def test_no_steps_are_refused(run: CountingRun, steps: int) -> None:
    answer = run.simulation.step(steps)
    assert (answer.code, answer.text) == (Result.OPERATION_FAILED, f"expected at least 1 step, got {steps}")
    assert run.frames == 0


def test_a_step_of_before_the_first_run_is_made_in_it() -> None:
    made = CountingRun()
    made.control.pause(True)
    answers: list[str] = []
    stepping = threading.Thread(target=lambda: answers.append(made.control.step(2, 30.0)), daemon=True)
    stepping.start()
    time.sleep(0.1)
    made.thread.start()
    stepping.join(10.0)
    made.control.stop("the test's end")
    made.thread.join(10.0)
    assert (answers, made.frames) == ([""], 2)


def test_a_run_that_plays_is_not_stepped(run: CountingRun) -> None:
    run.simulation.set_state(State.PLAYING)
    answer = run.simulation.step(1)
    assert (answer.code, answer.text) == (Result.OPERATION_FAILED, "the run is not paused")


def test_steps_can_be_cancelled_while_the_stack_does_not_answer(run: CountingRun) -> None:
    run.stuck.set()
    began = time.monotonic()
    answer = run.simulation.step(10**18, wanted=lambda: time.monotonic() < began + 0.2)
    assert answer.code == Result.OPERATION_FAILED
    assert answer.text == f"no more steps are wanted; 0 of {10**18} steps were made"
    # What was cancelled is not made up for.
    run.stuck.clear()
    time.sleep(0.1)
    frames = run.frames
    time.sleep(0.1)
    assert run.frames == frames <= 1


def test_a_step_that_is_not_done_in_time_says_so(run: CountingRun) -> None:
    run.stuck.set()
    assert run.control.step(1, 0.1) == "the step was not done within 0.1 s"


@pytest.mark.parametrize("target", [State.PLAYING, State.PAUSED, State.STOPPED, State.QUITTING])
def test_other_requests_end_steps_in_progress(run: CountingRun, target: State) -> None:
    """Within a fraction of the time that a step may take."""
    run.stuck.set()
    answers: list[str] = []
    stepping = threading.Thread(target=lambda: answers.append(run.control.step(3, 30.0)), daemon=True)
    stepping.start()
    while run.control.now_s() == run.control.now_s():
        time.sleep(0.001)  # the step has not begun: time stands still
    if target == State.PAUSED:
        run.control.pause(True)
    else:
        assert run.simulation.set_state(target).ok
    stepping.join(10.0)
    assert not stepping.is_alive()
    assert answers == ["the run went on, began anew or ended before the step was done; 0 of 3 steps were made"]


def test_more_waiting_requests_than_threads_are_refused_at_once(run: CountingRun) -> None:
    run.stuck.set()
    answers: list[str] = []
    waiting = [
        threading.Thread(target=lambda: answers.append(run.control.step(1, 30.0)), daemon=True)
        for _ in range(MAX_WAITING + 1)
    ]
    for thread in waiting:
        thread.start()
    while not answers:
        time.sleep(0.001)
    assert answers == [f"{MAX_WAITING} requests wait for the run already; ask again when one of them is answered"]
    assert run.simulation.set_state(State.STOPPED).code == TransitionCode.STATE_TRANSITION_ERROR
    assert run.simulation.reset(Scope.ALL).code == Result.OPERATION_FAILED
    run.stuck.clear()
    for thread in waiting:
        thread.join(10.0)
    assert answers[1:] == [""] * MAX_WAITING
    assert run.simulation.step(1).ok


# Resets


@pytest.mark.parametrize(
    ("scope", "begins", "left"),
    [
        (Scope.DEFAULT, 1, []),
        (Scope.ALL, 1, []),
        (Scope.TIME | Scope.STATE | Scope.SPAWNED, 1, []),
        (Scope.TIME | Scope.STATE, 1, ["box"]),
        (Scope.SPAWNED, 0, []),
    ],
)
def test_resets(run: CountingRun, scope: int, begins: int, left: list[str]) -> None:
    run.simulation.step(1)
    run.desk.spawn(SpawnRequest("box", uri="car"))
    begun = run.begun
    assert run.simulation.reset(scope).ok
    assert run.begun == begun + begins
    assert names(run) == ["ego", "target", *left]
    assert run.simulation.state == State.PAUSED
    assert run.simulation.reset(Scope.ALL).ok
    assert names(run) == ["ego", "target"]


@pytest.mark.parametrize("scope", [1, 2, 5, 6, 8, 12, 254, 256, -1])
def test_resets_that_a_run_has_not(run: CountingRun, scope: int) -> None:
    run.desk.spawn(SpawnRequest("box", uri="car"))
    begun = run.begun
    answer = run.simulation.reset(scope)
    assert answer.code == Result.FEATURE_UNSUPPORTED and str(scope) in answer.text
    assert (run.begun, names(run)) == (begun, ["ego", "target", "box"])


def test_stopping_takes_spawned_entities_away(run: CountingRun) -> None:
    run.desk.spawn(SpawnRequest("box", uri="car"))
    assert run.simulation.set_state(State.STOPPED).ok
    assert names(run) == ["ego", "target"]
