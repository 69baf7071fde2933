"""The pace of ticks, on a clock that only goes on when somebody works or waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from r3d2_ros.closed_loop.actions import Snapshot
from r3d2_ros.closed_loop.demands import Command
from r3d2_ros.closed_loop.entity_desk import EntityDesk
from r3d2_ros.closed_loop.inbox import Inbox
from r3d2_ros.closed_loop.pace import Pace
from r3d2_ros.closed_loop.run_control import RunControl
from r3d2_ros.closed_loop.run_log import LogWriter
from r3d2_ros.closed_loop.vehicle import Actuation
from r3d2_ros.config import FramesConfig
from tests.closed_loop.small_world import LIBRARY, plan

TICK_S = 0.01


class Clock:
    """A run of ten ticks a frame set on it; `made` are the times of its ticks."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.made: list[float] = []
        self.pace = Pace(TICK_S, most_late_s=10 * TICK_S, now_s=lambda: self.now_s)

    def frames(self, count: int, frame_s: Callable[[int], float]) -> None:
        """Frame sets take `frame_s`(number), ticks nothing."""
        for k in range(count):
            for tick in range(10):
                self.now_s += max(0.0, self.pace.left_s())
                self.pace.ticked()
                self.made.append(self.now_s)
                self.now_s += frame_s(k) if tick == 0 else 0.0

    @property
    def real_time_factor(self) -> float:
        return TICK_S * (len(self.made) - 1) / (self.made[-1] - self.made[0])


def test_frame_sets_do_not_slow_a_run_that_could_keep_up() -> None:
    """60 ms of every 100 ms are for a frame set: the ticks that it held up follow at once, the others on time."""
    clock = Clock()
    clock.frames(20, lambda k: 0.06)
    assert clock.real_time_factor == pytest.approx(1.0)
    since = [round(t - clock.made[0], 6) for t in clock.made[10:21]]
    assert since == [0.1, *[0.16] * 6, 0.17, 0.18, 0.19, 0.2]


def test_what_cannot_keep_up_goes_as_fast_as_it_can() -> None:
    clock = Clock()
    clock.frames(20, lambda k: 0.125)
    assert clock.real_time_factor == pytest.approx(0.1 / 0.125, rel=0.02)


def test_after_a_long_wait_no_more_than_a_frame_period_is_made_up_for() -> None:
    """In any stretch of time there are the ticks that are due in it and at most ten, one for its beginning, more."""
    clock = Clock()
    clock.frames(20, lambda k: 5.0 if k == 4 else 0.03)
    made = clock.made
    for a in range(len(made)):
        for b in range(a + 1, len(made)):
            assert b - a <= (made[b] - made[a]) / TICK_S + 10 + 1e-6
    assert made[60] - made[41] == pytest.approx(0.19 - 0.1)  # 41 comes after the wait


def test_a_pause_is_not_made_up_for() -> None:
    clock = Clock()
    clock.frames(1, lambda k: 0.0)
    clock.now_s += 30.0
    clock.pace.held(30.0)
    clock.frames(1, lambda k: 0.0)
    assert clock.made[10] - clock.made[9] == pytest.approx(30.0 + TICK_S)
    assert clock.made[11] - clock.made[10] == pytest.approx(TICK_S)


def test_as_fast_as_it_goes() -> None:
    now = 5.0
    pace = Pace(0.0, most_late_s=0.0, now_s=lambda: now)
    for _ in range(3):
        assert pace.left_s() <= 0.0
        pace.ticked()


def test_what_comes_before_the_beginning_does_not_count() -> None:
    clock = Clock()
    clock.now_s += 60.0
    clock.pace.begin()
    clock.frames(2, lambda k: 0.0)
    assert clock.made[-1] - clock.made[0] == pytest.approx(0.19)


def test_a_run_over_ros_keeps_up_while_frame_sets_take_60_ms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 s of scenario time after one frame set of start-up, and a pause of 7 s in between."""
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from r3d2_ros.nodes import loop_driver

    now_s, made, gates = 0.0, [], 0
    inbox, control = Inbox(0), RunControl()
    frame_set = SimpleNamespace(frames=(), failures=(), off_path_m=0.0, off_path_deg=0.0, out_of_bounds_m=0.0)

    def spend(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    def step(*state: object) -> tuple[object, object]:
        spend(0.06)
        return frame_set, None

    def gate() -> None:
        nonlocal gates
        gates += 1
        spend(7.0 if gates == 50 else 0.0)

    def on_frame(frame_set: object, snapshot: Snapshot) -> None:
        inbox.offer(Command(snapshot.stamp_ns, Actuation(0.0, 0.0)), 0.0)

    monkeypatch.setattr(loop_driver, "time", SimpleNamespace(monotonic=lambda: now_s, sleep=spend))
    monkeypatch.setattr(control, "gate", gate)
    planned = plan(end={"duration_s": 2.0})
    world, outputs, simulator = MagicMock(), MagicMock(), MagicMock()
    world.readers.return_value = outputs.readers.return_value = 0
    world.publish.side_effect = lambda snapshot: made.append(now_s)
    simulator.step.side_effect = step
    driver = loop_driver.LoopDriver(
        planned,
        simulator,
        world=world,
        outputs=outputs,
        control=control,
        desk=EntityDesk(planned, LIBRARY, FramesConfig()),
        statistics=MagicMock(),
        on_frame=on_frame,
    )
    with LogWriter(tmp_path / "log") as log:
        assert driver.run(inbox, log).reason == "duration"
    assert len(made) == 10 + 201
    assert made[-1] - made[0] == pytest.approx(2.1 + 7.0, abs=1e-6)
