"""Sync: the same ticks from the same messages however the topics interleave, and nothing dropped silently."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r3d2_ros.exposures import ExposureGrid, exposures
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import Reports
from r3d2_ros.state_buffer import BufferConfig, StateBuffer
from r3d2_ros.sync import QueueOverflow, SyncConfig, Synchronizer, Waiting
from r3d2_ros.world import ActorState, EgoState
from tests.feeding import (
    MS,
    RIG,
    Message,
    actors,
    camera,
    drain,
    ego,
    feed,
    interleave,
    made,
    make_sync,
    run,
    shown,
    stamps_ms,
    triggers,
)

SECOND = 10**9


# Arrival order


stamps = st.lists(st.integers(0, 400), unique=True, max_size=8).map(lambda values: sorted(10 * v for v in values))
some_ids = st.lists(st.sampled_from(["a", "b", "c", "longer"]), unique=True, max_size=4).map(tuple)


@st.composite
def topics(draw: st.DrawFn) -> list[list[Message]]:
    """Messages of three topics, each in stamp order (triggers within the limits of one pass of time)."""
    return [
        ego(*draw(stamps)),
        [("actors", stamp, draw(some_ids)) for stamp in draw(stamps)],
        triggers(*draw(stamps)),
    ]


@pytest.mark.parametrize("tick", ["ego", "rate", "trigger"])
@settings(deadline=None, max_examples=120)
@given(data=st.data())
def test_ticks_do_not_depend_on_the_order_of_arrival(tick: str, data: st.DataObject) -> None:
    queues = data.draw(topics())
    if tick != "trigger":
        queues = queues[:2]
    one, other = interleave(data.draw, queues), interleave(data.draw, queues)
    expected = [shown(t) for t in run(one, make_sync(tick=tick))]
    assert [shown(t) for t in run(other, make_sync(tick=tick))] == expected
    late = make_sync(tick=tick)
    for message in other:
        feed(late, message)
    assert [shown(t) for t in drain(late)] == expected, "fetching all at the end gives the same"


@pytest.mark.parametrize("tick", ["ego", "rate"])
@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_a_loop_in_time_does_not_depend_on_the_order_of_arrival(tick: str, data: st.DataObject) -> None:
    """Two passes of the same stretch of time; each topic goes back when it does."""
    ego_passes = [sorted(data.draw(st.sets(st.integers(0, 40), min_size=1))) for _ in range(2)]
    actor_passes = [sorted(data.draw(st.sets(st.integers(0, 40), min_size=1))) for _ in range(2)]
    # Each pass ends at 5 s and begins at 0 s on both topics, so that both see time go back.
    queues = [
        [m for stamps in ego_passes for m in ego(0, *(100 * s + 1 for s in stamps), 5000)],
        [m for stamps in actor_passes for m in actors(0, *(100 * s + 1 for s in stamps), 5000)],
    ]
    first = [queue.pop(0) for queue in queues]
    one, other = interleave(data.draw, queues), interleave(data.draw, queues)
    a, b = make_sync(tick=tick), make_sync(tick=tick)
    ticks = run(first + one, a)
    assert [shown(t) for t in run(first[::-1] + other, b)] == [shown(t) for t in ticks]
    assert a.reports.count("time_jump") == b.reports.count("time_jump") == 1
    if tick == "ego":
        assert stamps_ms(ticks) == [m[1] for m in ego(0) + [m for m in queues[0] if m[0] == "ego"]]


# Tick: ego


def test_every_ego_message_is_one_tick_with_all_cameras() -> None:
    ticks = run([*actors(0), *ego(0, 33, 70), *actors(100)], make_sync())
    assert stamps_ms(ticks) == [0, 33, 70]
    assert made(ticks) == [True, True, True]
    assert [c.name for c in ticks[1].due] == ["front", "rear"]


def test_a_tick_waits_for_actors_at_or_after_it() -> None:
    sync = make_sync()
    assert run([*ego(0, 100), *actors(0)], sync)[0].stamp_ns == 0
    assert run(actors(99), sync) == []
    assert sync.waiting() == Waiting(("actors",), 100 * MS)
    assert stamps_ms(run(actors(100), sync)) == [100]


def test_equal_stamps_in_either_order_show_the_actors_of_that_stamp() -> None:
    for messages in ([*ego(0), *actors(0)], [*actors(0), *ego(0)]):
        (tick,) = run(messages, make_sync())
        assert tick.state is not None and [a.id for a in tick.state.actors] == ["a"]


def test_instance_numbers_follow_stamps_not_arrival() -> None:
    """Actors at 100 ms arrive before any tick is made; the numbers start with those seen at 0 ms."""
    messages = [*actors(0, ids=("z", "y")), *actors(100, ids=("a", "y")), *ego(0, 100)]
    first, second = run(messages, make_sync())
    assert first.state is not None and second.state is not None
    assert {a.id: a.instance for a in first.state.actors} == {"z": 1, "y": 2}
    assert first.state.instance_ids == ("z", "y")
    assert {a.id: a.instance for a in second.state.actors} == {"a": 3, "y": 2}
    assert second.state.instance_ids == ("", "y", "a"), "z is not there any more"


def test_repeated_and_late_ego_stamps_make_no_tick_and_are_reported() -> None:
    sync = make_sync(actors="static")
    assert stamps_ms(run(ego(0, 100, 100, 50, 200), sync)) == [0, 100, 200]
    assert sync.reports.count("ego.duplicate_stamp") == 1
    assert sync.reports.count("ego.out_of_order") == 1


def test_actors_too_far_apart_give_a_failed_tick_with_the_reason() -> None:
    ticks = run([*actors(0, 2000), *ego(0, 1000, 2000)], make_sync())
    assert made(ticks) == [True, False, True]
    assert "2.000000000 s apart, max_interpolation_gap_s is 0.6 s" in ticks[1].reason
    assert [c.name for c in ticks[1].due] == ["front", "rear"]


# Tick: rate


def test_exposure_times_by_rate_and_phase() -> None:
    """10 Hz from 0 and 25 Hz from 20 ms meet at 100, 300, 500 ms."""
    times = exposures(RIG, first_ns=0, last_ns=300 * MS)
    assert [(stamp / MS, "+".join(c.name for c in due)) for stamp, due in times] == [
        (0, "front"),
        (20, "rear"),
        (60, "rear"),
        (100, "front+rear"),
        (140, "rear"),
        (180, "rear"),
        (200, "front"),
        (220, "rear"),
        (260, "rear"),
        (300, "front+rear"),
    ]


def test_exposure_times_do_not_drift() -> None:
    grid = ExposureGrid.of(camera("c", 30.0, 0.005))
    assert [grid.stamp_ns(k) for k in (0, 1, 2, 3)] == [5_000_000, 38_333_333, 71_666_667, 105_000_000]
    assert grid.stamp_ns(1_000_000 * 3) == 5_000_000 + 100_000 * SECOND
    video = ExposureGrid.of(camera("v", 29.97))
    assert video.rate_hz == Fraction(2997, 100)
    assert video.stamp_ns(2997 * 1000) == 100_000 * SECOND


@given(rate=st.sampled_from([10.0, 25.0, 29.97, 30.0, 0.3, 1000.0]), k=st.integers(-(10**6), 10**9))
def test_every_exposure_is_found_from_its_time(rate: float, k: int) -> None:
    grid = ExposureGrid.of(camera("c", rate, 0.02))
    stamp = grid.stamp_ns(k)
    assert grid.first_from(stamp) == k
    assert grid.first_from(stamp + 1) == k + 1
    assert abs(stamp - grid.phase_ns - Fraction(k * SECOND) / grid.rate_hz) <= Fraction(1, 2)


def test_exposures_start_with_the_first_ego_and_are_made_once_both_sides_are_there() -> None:
    sync = make_sync(tick="rate")
    assert run([*ego(50), *actors(40)], sync) == []
    assert run(ego(130), sync) == []
    assert sync.waiting() == Waiting(("actors",), 60 * MS)
    ticks = run(actors(110), sync)
    assert stamps_ms(ticks) == [60, 100]
    assert [c.name for c in ticks[1].due] == ["front", "rear"]
    assert stamps_ms(run([*actors(180), *ego(180)], sync)) == [140, 180]


def test_poses_are_interpolated_at_the_exposure_time() -> None:
    """Within 100 ms: ego from 0 to 10 m and 0 to 90 degrees, actor from 20 to 30 m. Exposure at 60 ms."""
    sync = make_sync(tick="rate")
    for stamp_ms, x_m, yaw_deg in ((0, 0.0, 0.0), (100, 10.0, 90.0)):
        pose = Rigid.from_xyz_yaw(x_m, 0.0, 0.0, math.radians(yaw_deg))
        sync.on_ego(EgoState(stamp_ms * MS, pose))
        sync.on_actors(stamp_ms * MS, (ActorState("a", "car", Rigid.from_xyz_yaw(20 + x_m, 0, 0, 0)),))
    tick = next(t for t in drain(sync) if t.stamp_ns == 60 * MS)
    assert tick.state is not None
    np.testing.assert_allclose(tick.state.ego.T_world_ego.translation, (6, 0, 0), atol=1e-12)
    assert math.degrees(tick.state.ego.T_world_ego.yaw_rad) == pytest.approx(54.0, abs=1e-9)
    np.testing.assert_allclose(tick.state.actors[0].T_world_actor.translation, (26, 0, 0), atol=1e-12)


def test_exposures_inside_a_gap_of_the_ego_fail_with_the_reason() -> None:
    ticks = run(ego(0, 1000, 1100), make_sync(tick="rate", actors="static"))
    inside = [t for t in ticks if 0 < t.stamp_ns < 1000 * MS]
    assert len(inside) == 9 + 25 - 5, "10 Hz and 25 Hz, five of them together"
    assert all(t.state is None and "too far apart" in t.reason for t in inside)
    assert all(t.state for t in ticks if t.stamp_ns >= 1000 * MS or t.stamp_ns == 0)
    assert stamps_ms(ticks) == sorted(stamps_ms(ticks))


def test_a_leap_ahead_does_not_make_ticks_for_the_time_between() -> None:
    sync = make_sync(tick="rate", actors="static")
    ticks = run(ego(0, 1_700_000_000_000, 1_700_000_000_050), sync)
    assert stamps_ms(ticks) == [0, 1_700_000_000_000, 1_700_000_000_020]
    assert sync.reports.count("ego.leap") == 1


# Tick: trigger


def test_a_trigger_asks_for_all_cameras_at_its_stamp() -> None:
    sync = make_sync(tick="trigger")
    assert run([*triggers(50), *ego(0, 40), *actors(0, 100)], sync) == []
    assert sync.waiting() == Waiting(("ego",), 50 * MS)
    (tick,) = run(ego(80), sync)
    assert (tick.stamp_ns, len(tick.due)) == (50 * MS, 2)
    assert tick.state is not None
    assert tick.state.ego.T_world_ego.translation[0] == pytest.approx(50 / 7)


def test_a_trigger_for_the_same_stamp_is_answered_again() -> None:
    ticks = run([*ego(0), *actors(0), *triggers(0, 0)], make_sync(tick="trigger"))
    assert [shown(t) for t in ticks] == [shown(ticks[0])] * 2


def test_a_trigger_before_the_first_message_is_answered_as_failed() -> None:
    (tick,) = run([*ego(1000), *actors(1000), *triggers(500)], make_sync(tick="trigger"))
    assert tick.state is None
    assert tick.reason == (
        "ego: expected a message at or before 0.500000000 s, the oldest one kept is at 1.000000000 s"
    )


def test_a_trigger_a_little_behind_the_newest_one_is_made_from_history() -> None:
    sync = make_sync(tick="trigger")
    ticks = run([*ego(0, 500, 1000), *actors(0, 500, 1000), *triggers(900, 400)], sync)
    assert (stamps_ms(ticks), made(ticks)) == ([900, 400], [True, True])


@pytest.mark.parametrize(
    "order",
    [
        [*triggers(0), *ego(0), *actors(0)],
        [*actors(0), *ego(0), *triggers(0)],
        [*ego(0), *triggers(0), *actors(0)],
    ],
)
def test_a_trigger_after_a_restart_waits_for_the_new_pass_of_time(order: list[Message]) -> None:
    sync = make_sync(tick="trigger")
    run([*ego(9000), *actors(9000), *triggers(9000)], sync)
    (tick,) = run(order, sync)
    assert (tick.stamp_ns, tick.timeline, tick.state is not None) == (0, 1, True)


def test_a_trigger_far_back_fails_when_the_ego_goes_on() -> None:
    sync = make_sync(tick="trigger", actors="static")
    ticks = run([*ego(9000), *triggers(9000, 2000, 9200)], sync)
    assert stamps_ms(ticks) == [9000]
    ticks = run(ego(9200, 9600, 10_000, 10_400), sync)
    assert (stamps_ms(ticks), made(ticks)) == ([2000, 9200], [False, True])
    assert "the ego went on" in ticks[0].reason
    assert stamps_ms(run(triggers(10_300), sync)) == [10_300]


@pytest.mark.parametrize("before", [[], [0, 100]])
@pytest.mark.parametrize("ego_first", [True, False])
def test_a_trigger_far_ahead_fails_alone_when_the_ego_goes_on(before: list[int], ego_first: bool) -> None:
    """Its stamp is of the wall time; those before and after it are not."""
    sync = make_sync(tick="trigger", actors="static")
    asked = triggers(*before, 99_000, 200, 300)
    ticks = run([*ego(0), *asked] if ego_first else [*asked, *ego(0)], sync)
    ticks += run(ego(*range(50, 1151, 50)), sync)
    assert stamps_ms(ticks) == [*before, 99_000, 200, 300]
    assert [t.cause for t in ticks if t.state is None] == ["trigger.too_far_ahead"]
    assert stamps_ms(run(triggers(400, 1100), sync)) == [400, 1100]


def test_a_trigger_outside_its_mode_is_reported_and_makes_nothing() -> None:
    sync = make_sync(tick="ego", actors="static")
    assert run([*ego(0), *triggers(0)], sync)[1:] == []
    assert sync.reports.count("trigger.unused") == 1


# Static actors


def test_without_any_static_actors_nothing_waits() -> None:
    ticks = run(ego(0, 100), make_sync(actors="static"))
    assert [t.state.actors for t in ticks if t.state] == [(), ()]


def test_static_actors_that_come_too_late_are_reported_and_hold_from_then_on() -> None:
    sync = make_sync(actors="static")
    ticks = run([*ego(0, 100), *actors(50), *ego(200)], sync)
    assert [len(t.state.actors) for t in ticks if t.state] == [0, 0, 1]
    assert sync.reports.count("actors.static_late") == 1
    run([*actors(300), *ego(300)], sync)
    assert sync.reports.count("actors.static_late") == 1


# Time that goes back


def test_ticks_of_the_old_pass_are_made_or_fail_before_the_new_one_begins() -> None:
    sync = make_sync()
    messages = [*actors(9000, 9100), *ego(9000, 9050, 9200), *ego(0), *actors(0), *ego(100), *actors(100)]
    ticks = run(messages, sync)
    assert stamps_ms(ticks) == [9000, 9050, 9200, 0, 100]
    assert made(ticks) == [True, True, False, True, True]
    assert ticks[2].reason == "time went back before 'actors' reached 9.200000000 s"
    assert [t.timeline for t in ticks] == [0, 0, 0, 1, 1]
    assert sync.reports.count("tick_failed.time_jump") == 1
    assert sync.reports.count("time_jump") == 1


def test_actors_of_the_old_pass_that_arrive_late_do_not_show_in_the_new_one() -> None:
    sync = make_sync()
    ticks = run(
        [*actors(9000, ids=("old",)), *ego(9000, 0), *actors(9100, ids=("old",)), *actors(0, ids=("new",))],
        sync,
    )
    assert [[a.id for a in t.state.actors] for t in ticks if t.state] == [["old"], ["new"]]


def test_one_ego_message_without_a_stamp_costs_only_its_own_tick() -> None:
    ticks = run([*actors(9000), *ego(9000, 0, 9100), *actors(9100)], make_sync())
    assert (stamps_ms(ticks), made(ticks)) == ([9000, 0, 9100], [True, False, True])
    assert "stray stamp" in ticks[1].reason


def test_one_actor_array_without_a_stamp_costs_nothing() -> None:
    ticks = run([*actors(9000), *ego(9000, 9100), *actors(0, 9100)], make_sync())
    assert (stamps_ms(ticks), made(ticks)) == ([9000, 9100], [True, True])


@pytest.mark.parametrize("order", ["eeeeaaaaaaa", "aaaaaaaeeee", "aaaeeeeaaaa", "eaeaeaaaaae"])
def test_one_actor_array_far_ahead_costs_nothing_in_any_order(order: str) -> None:
    messages = {"e": iter(ego(350, 450, 550, 850)), "a": iter(actors(320, 420, 60_420, 620, 720, 820, 920))}
    ticks = run([next(messages[topic]) for topic in order], make_sync())
    assert (stamps_ms(ticks), made(ticks)) == ([350, 450, 550, 850], [True] * 4)


def test_ticks_before_an_actor_array_far_ahead_fail_when_the_inputs_end() -> None:
    sync = make_sync()
    assert made(run([*actors(320, 420, 60_420), *ego(350, 450, 550)], sync)) == [True]
    assert [tick.cause for tick in sync.finish()] == ["actors.gap", "actors.gap"]


@pytest.mark.parametrize("before", [[], [0, 100]])
def test_a_stray_pose_that_is_shown_takes_no_actors_from_those_after_it(before: list[int]) -> None:
    """20 s of actors are there first; frame sets 5 s behind the newest one are history."""
    sync = make_sync()
    ticks = run([*actors(*range(0, 20_001, 100)), *ego(*before, 15_000, *range(200, 20_000, 100))], sync)
    ticks += sync.finish()
    assert all(t.state for t in ticks if t.stamp_ns != 15_000 * MS)
    assert len(ticks) == len(before) + 1 + 198


def test_an_ego_stamp_in_a_pause_that_was_stray_has_its_exposures_made_anew() -> None:
    """5 s ahead: less than a leap, so the exposures of 10 and 25 Hz between are due, and fail at once as in a pause."""
    sync = make_sync(tick="rate", actors="static")
    assert all(made(run(ego(0, 100), sync)))
    in_pause = run(ego(5130), sync)
    assert {t.cause for t in in_pause} == {"ego.gap"}
    ticks = run(ego(200, 300), sync)
    assert (stamps_ms(ticks), all(made(ticks))) == ([140, 180, 200, 220, 260, 300], True)


@pytest.mark.parametrize("stray_ms", [5000, 90_000])
@pytest.mark.parametrize("tick", ["ego", "rate"])
@pytest.mark.parametrize("inputs", ["ego", "actors, ego"])
def test_a_stray_stamp_shows_itself_alone_whenever_ticks_are_fetched(inputs: str, tick: str, stray_ms: int) -> None:
    stamps = [9000, 9100, stray_ms, 9200, 9300]
    messages = [m for s in stamps for m in ((actors(s) if "actors" in inputs else []) + ego(s))]
    at_once, late = (make_sync(tick=tick, actors="required" if "actors" in inputs else "static") for _ in range(2))
    ticks = run(messages, at_once)
    for message in messages:
        feed(late, message)
    assert [shown(t) for t in drain(late)] == [shown(t) for t in ticks]
    assert all(made(ticks))
    assert [s for s in stamps_ms(ticks) if s % 100 == 0] == stamps
    strays = {t.timeline for t in ticks if t.stamp_ns == stray_ms * MS}
    assert strays == ({1} if stray_ms < 9000 else {0})
    assert {t.timeline for t in ticks if t.stamp_ns != stray_ms * MS} == {0}
    assert at_once.reports.count("ego.stray_stamp") == 1


def test_the_old_pass_is_forgotten_when_the_new_one_has_gone_on() -> None:
    sync = make_sync(actors="static")
    run(ego(9000, 9100, 0), sync)
    assert sync.buffer.ego.segment(0) is not None, "0 may be a stray stamp"
    assert [t.timeline for t in run(ego(100), sync)] == [1]
    assert sync.buffer.ego.segment(0) is None


def test_what_failed_ticks_needed_is_forgotten_too() -> None:
    sync = make_sync(mode="latest")
    run([*actors(0), *ego(9000, 9100)], sync)
    assert made(run(ego(0, 100, 1100), sync)) == [True, True, False]
    run(ego(*range(7000, 9001, 500)), sync)
    assert (sync.buffer.ego.segment(0), sync.buffer.ego.kept) == (None, 6), "5 s of history and the one before"


# Queue, stalls, latest


def test_more_waiting_ticks_than_the_limit_stop_the_run() -> None:
    sync = make_sync(queue_limit=3)
    run([*actors(0), *ego(0, 100, 200, 300)], sync)
    assert sync.queue_depth == 3
    with pytest.raises(QueueOverflow, match=r"queue_limit is 3: waiting for 'actors' at or after 0.100000000 s"):
        run(ego(400), sync)


def test_what_a_waiting_tick_needs_is_kept_whatever_the_limit_of_messages() -> None:
    """3 s of poses at 100 Hz and actors at 50 Hz: 30 front exposures and the first, fetched only at the end."""
    sync = make_sync(tick="rate", max_messages=16)
    for message in [*ego(*range(0, 3001, 10)), *actors(*range(0, 3001, 20))]:
        feed(sync, message)
    ticks = drain(sync)
    assert len([t for t in ticks if "front" in [c.name for c in t.due]]) == 31
    assert all(made(ticks))
    run([*actors(3020, 3040), *ego(*range(3010, 3041, 10))], sync)
    feed(sync, ("ego", 3050, ()))
    assert len(sync.buffer.ego.current.stamps) == 16  # type: ignore[union-attr]


def test_a_trigger_that_waits_for_ever_stops_the_run_before_memory_ends() -> None:
    sync = make_sync(tick="trigger", max_messages=16)
    run([*actors(0), *ego(0), *triggers(10)], sync)
    text = r"1 frame sets wait and need 1601 messages of 'ego', .* is 16: waiting for 'actors' at or after 0.01"
    with pytest.raises(QueueOverflow, match=text):
        run(ego(*range(10, 20_000, 10)), sync)


def test_overflow_without_a_stall_names_the_renderer() -> None:
    sync = make_sync(queue_limit=2, actors="static")
    with pytest.raises(QueueOverflow, match=r"faster than they are rendered; slow the input down, .* latest"):
        for message in ego(0, 100, 200):
            feed(sync, message)


def test_a_stall_is_reported_after_its_time_until_it_ends() -> None:
    sync = make_sync()
    run([*actors(0), *ego(0, 100)], sync)
    reports = [sync.stalled(now_s, report_s=2.0) for now_s in (50.0, 51.9, 52.1, 53.0, 54.2)]
    assert [r and round(r.waited_s, 1) for r in reports] == [None, None, 2.1, 3.0, 4.2]
    assert str(reports[2] and reports[2].waiting) == "waiting for 'actors' at or after 0.100000000 s"
    run(actors(100), sync)
    assert sync.waiting() == Waiting(("ego",), None)
    assert sync.stalled(54.3, report_s=2.0) is None, "another wait begins anew"


def test_an_ego_that_keeps_coming_is_no_stall_between_its_messages() -> None:
    sync = make_sync(actors="static")
    for second in range(5):
        run(ego(second * 500), sync)
        assert sync.waiting() == Waiting(("ego",), None)
        assert sync.stalled(50.0 + second, report_s=2.0) is None
    stall = sync.stalled(56.5, report_s=2.0)
    assert stall is not None and stall.waited_s == 2.5


def test_latest_gives_the_newest_state_and_counts_what_it_left_out() -> None:
    sync = make_sync(mode="latest")
    for message in [*actors(0), *ego(0, 100, 200)]:
        feed(sync, message)
    ticks = drain(sync)
    assert (stamps_ms(ticks), made(ticks), sync.skipped) == ([200], [True], 2)
    assert sync.next_tick() is None
    assert stamps_ms(run(ego(300), sync)) == [300]
    assert sync.skipped == 2


def test_latest_follows_time_that_goes_back() -> None:
    sync = make_sync(mode="latest")
    ticks = run([*actors(9000), *ego(9000), *ego(0), *actors(0), *ego(100)], sync)
    assert (stamps_ms(ticks), made(ticks)) == ([9000, 0, 100], [True, True, True])
    assert [len(t.state.actors) for t in ticks if t.state] == [1, 0, 1]


def test_latest_fails_visibly_when_actors_are_held_too_long() -> None:
    ticks = run([*actors(0), *ego(900, 1100)], make_sync(mode="latest"))
    assert made(ticks) == [True, False]
    assert "max_hold_s is 1 s" in ticks[1].reason


@pytest.mark.parametrize("actors_input", ["auto", "static"])
def test_a_buffer_that_does_not_fit_the_configuration_is_refused(actors_input: str) -> None:
    reports = Reports()
    config = SyncConfig(actors=actors_input)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="actors required or static"):
        Synchronizer(config, rig=RIG, buffer=StateBuffer(BufferConfig(), reports=reports), reports=reports)
