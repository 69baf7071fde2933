"""State buffer: interpolation by hand, limits, what is refused at the door, and time that goes back."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import (
    ActorInput,
    ActorRules,
    Fault,
    Report,
    Reports,
    actor_state,
    actor_states,
    ego_state,
)
from r3d2_ros.state_buffer import BufferConfig, NotYet, StateBuffer, Unavailable, seconds
from r3d2_ros.world import ActorState, EgoState, WorldState

MS = 1_000_000
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
YAW_90 = (math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5))
RULES = ActorRules(known_asset={"car", "van"}.__contains__, asset_height_m={"car": 1.5, "van": 2.0}.__getitem__)
BOX_CENTER = ActorRules(RULES.known_asset, RULES.asset_height_m, "box_center")


def ego(stamp_ms: int, x_m: float = 0.0, yaw_deg: float = 0.0) -> EgoState:
    return EgoState(stamp_ms * MS, Rigid.from_xyz_yaw(x_m, 0.0, 0.0, math.radians(yaw_deg)))


def actor(id_: str, x_m: float = 0.0, yaw_deg: float = 0.0, asset: str = "car") -> ActorState:
    return ActorState(id_, asset, Rigid.from_xyz_yaw(x_m, 0.0, 0.0, math.radians(yaw_deg)))


def make_buffer(*, static_actors: bool = False, **limits: float) -> StateBuffer:
    return StateBuffer(BufferConfig(**limits), reports=Reports(), static_actors=static_actors)  # type: ignore[arg-type]


def state_at(buffer: StateBuffer, stamp_ms: float, **how: bool) -> WorldState:
    state = buffer.at(round(stamp_ms * MS), **how)  # type: ignore[arg-type]
    assert isinstance(state, WorldState), state
    return state


def reported(reports: Reports) -> dict[str, int]:
    return {report.cause: report.count for report in reports.all()}


def test_ego_half_way_between_two_messages() -> None:
    buffer = make_buffer(static_actors=True)
    buffer.add_ego(ego(0, x_m=0.0, yaw_deg=0.0))
    buffer.add_ego(ego(100, x_m=10.0, yaw_deg=90.0))
    pose = state_at(buffer, 50).ego.T_world_ego
    np.testing.assert_allclose(pose.translation, (5.0, 0.0, 0.0), atol=1e-12)
    assert math.degrees(pose.yaw_rad) == pytest.approx(45.0, abs=1e-9)
    quarter = state_at(buffer, 25).ego
    assert quarter.stamp_ns == 25 * MS
    assert math.degrees(quarter.T_world_ego.yaw_rad) == pytest.approx(22.5, abs=1e-9)


def test_turn_across_180_degrees_takes_the_short_way() -> None:
    buffer = make_buffer(static_actors=True)
    buffer.add_ego(ego(0, yaw_deg=170.0))
    buffer.add_ego(ego(100, yaw_deg=-170.0))
    assert abs(math.degrees(state_at(buffer, 50).ego.T_world_ego.yaw_rad)) == pytest.approx(180.0, abs=1e-9)


def test_position_far_from_the_origin_keeps_its_digits() -> None:
    """4.6e6 m, as in UTM: a double has 1e-9 m there, a float32 half a metre."""
    buffer = make_buffer(static_actors=True)
    buffer.add_ego(EgoState(0, Rigid(np.eye(3), np.array([5e5, 4.6e6, 0.0]))))
    buffer.add_ego(EgoState(100 * MS, Rigid(np.eye(3), np.array([5e5 + 0.1, 4.6e6 + 0.2, 0.0]))))
    translation = state_at(buffer, 50).ego.T_world_ego.translation
    np.testing.assert_allclose(translation, (5e5 + 0.05, 4.6e6 + 0.1, 0.0), rtol=0, atol=2e-9)


def test_a_message_at_the_stamp_is_used_as_it_is() -> None:
    buffer = make_buffer()
    first, second = ego(0, 1.0), ego(100, 2.0, 33.0)
    car = actor("a", 3.0, 77.0)
    buffer.add_ego(first)
    buffer.add_ego(second)
    buffer.add_actors(0, (actor("b"),))
    buffer.add_actors(100 * MS, (car,))
    state = state_at(buffer, 100)
    assert state.ego.T_world_ego is second.T_world_ego
    assert state.actors == (car,)


def test_actors_exist_from_the_message_that_lists_them_to_the_next() -> None:
    buffer = make_buffer()
    for stamp_ms in (0, 100, 200):
        buffer.add_ego(ego(stamp_ms))
    buffer.add_actors(0, (actor("leaves", 5.0), actor("stays", 0.0, asset="car")))
    buffer.add_actors(100 * MS, (actor("comes", 9.0), actor("stays", 10.0, 90.0, asset="van")))
    buffer.add_actors(200 * MS, ())
    at_30 = state_at(buffer, 30).actors
    assert [a.id for a in at_30] == ["leaves", "stays"]
    assert at_30[0].T_world_actor.translation[0] == 5.0
    assert at_30[1].T_world_actor.translation[0] == pytest.approx(3.0)
    assert math.degrees(at_30[1].T_world_actor.yaw_rad) == pytest.approx(27.0)
    assert at_30[1].asset == "car"
    at_100 = state_at(buffer, 100).actors
    assert [(a.id, a.asset) for a in at_100] == [("comes", "car"), ("stays", "van")]
    assert [a.id for a in state_at(buffer, 150).actors] == ["comes", "stays"]
    assert state_at(buffer, 200).actors == ()


def test_a_state_waits_for_both_inputs() -> None:
    buffer = make_buffer()
    assert buffer.at(100 * MS) == NotYet(("ego", "actors"))
    buffer.add_ego(ego(100))
    assert buffer.at(100 * MS) == NotYet(("actors",))
    buffer.add_actors(50 * MS, ())
    assert buffer.at(100 * MS) == NotYet(("actors",))
    buffer.add_actors(150 * MS, ())
    assert state_at(buffer, 100).actors == ()
    assert buffer.at(101 * MS) == NotYet(("ego",))


def test_a_gap_above_the_limit_is_not_bridged() -> None:
    buffer = make_buffer(static_actors=True, max_interpolation_gap_s=0.2)
    for stamp_ms in (0, 200, 401):
        buffer.add_ego(ego(stamp_ms, stamp_ms))
    assert state_at(buffer, 100).ego.T_world_ego.translation[0] == pytest.approx(100.0)
    outcome = buffer.at(300 * MS)
    assert isinstance(outcome, Unavailable)
    assert outcome.cause == "ego.gap"
    assert outcome.reason == (
        "ego: the messages around 0.300000000 s lie 0.201000000 s apart, max_interpolation_gap_s is 0.2 s"
    )
    assert state_at(buffer, 401).ego.T_world_ego.translation[0] == 401.0


def test_before_the_first_message_there_is_no_state() -> None:
    buffer = make_buffer()
    buffer.add_ego(ego(0))
    buffer.add_ego(ego(100))
    buffer.add_actors(50 * MS, ())
    outcome = buffer.at(0)
    assert isinstance(outcome, Unavailable)
    assert (outcome.cause, "0.050000000 s" in outcome.reason) == ("actors.before_history", True)


def test_hold_ends_at_its_limit() -> None:
    buffer = make_buffer(max_hold_s=0.5)
    buffer.add_ego(ego(0))
    buffer.add_actors(0, (actor("a", 7.0),))
    assert state_at(buffer, 500, hold=True).actors[0].T_world_actor.translation[0] == 7.0
    buffer.add_ego(ego(600))
    outcome = buffer.at(501 * MS, hold=True)
    assert isinstance(outcome, Unavailable) and outcome.cause == "actors.held_too_long"


def test_held_states_do_without_actors_before_the_first_and_say_so_once() -> None:
    buffer = make_buffer()
    buffer.add_ego(ego(0))
    assert state_at(buffer, 0, hold=True).actors == ()
    assert state_at(buffer, 10, hold=True).actors == ()
    assert [(r.cause, r.level) for r in buffer.reports.take_new()] == [("actors.none_yet", "info")]


def test_static_actors_hold_from_their_stamp_without_limit() -> None:
    buffer = make_buffer(static_actors=True)
    buffer.add_actors(1000 * MS, (actor("a"),))
    buffer.add_actors(500 * MS, (actor("b"),))
    for stamp_ms in (0, 499, 500, 999, 1000, 3_600_000):
        buffer.add_ego(ego(stamp_ms))
    ids = [tuple(a.id for a in state_at(buffer, t).actors) for t in (0, 499, 500, 999, 1000, 3_600_000)]
    assert ids == [(), (), ("b",), ("b",), ("a",), ("a",)]


@pytest.mark.parametrize("static", [True, False])
def test_actors_of_another_clock_are_reported(static: bool) -> None:
    buffer = make_buffer(static_actors=static)
    buffer.add_actors(1_700_000_000_000 * MS, (actor("parked"),))
    for stamp_ms in (100_000, 100_100):
        buffer.add_ego(ego(stamp_ms))
        assert state_at(buffer, stamp_ms, hold=not static).actors == ()
    (report,) = buffer.reports.all()
    assert (report.cause, report.level) == ("actors.begin_later", "warning")
    assert "1700000000.000000000 s" in report.text and "100.000000000 s" in report.text


def test_actors_that_have_not_gone_back_yet_are_not_of_another_clock() -> None:
    buffer = make_buffer()
    for stamp_ms in (9000, 9100):
        buffer.add_ego(ego(stamp_ms))
        buffer.add_actors(stamp_ms * MS, (actor("a"),))
    buffer.add_ego(ego(0))
    assert state_at(buffer, 0, hold=True).actors == ()
    assert reported(buffer.reports) == {"time_jump": 1}


def test_static_actors_outlive_a_jump_of_the_ego() -> None:
    buffer = make_buffer(static_actors=True)
    buffer.add_actors(0, (actor("parked"),))
    buffer.add_ego(ego(9000))
    buffer.add_ego(ego(10))
    assert [a.id for a in state_at(buffer, 10).actors] == ["parked"]


def test_a_static_array_that_lies_far_back_holds_too() -> None:
    buffer = make_buffer(static_actors=True)
    buffer.add_actors(10_000 * MS, (actor("a"),))
    buffer.add_actors(2_000 * MS, (actor("b"),))
    buffer.add_ego(ego(5_000))
    assert [a.id for a in state_at(buffer, 5_000).actors] == ["b"]
    buffer.add_ego(ego(11_000))
    assert [a.id for a in state_at(buffer, 11_000).actors] == ["a"]


def test_time_that_goes_back_begins_anew_and_is_reported_once() -> None:
    buffer = make_buffer()
    for stamp_ms in (10_000, 10_100):
        buffer.add_ego(ego(stamp_ms, 1.0))
        buffer.add_actors(stamp_ms * MS, (actor("old"),))
    buffer.add_ego(ego(0, 2.0))
    assert buffer.at(0) == NotYet(("actors",)), "actors of the old pass must not be used"
    assert isinstance(buffer.at(10_100 * MS, timeline=0), WorldState)
    buffer.add_actors(0, (actor("new"),))
    assert [a.id for a in state_at(buffer, 0).actors] == ["new"]
    assert reported(buffer.reports) == {"time_jump": 1}
    assert buffer.reports.all()[0].text == "ego: time went back from 10.100000000 s to 0.000000000 s"


@pytest.mark.parametrize("stray_ms", [0, 8_000, 12_000, 90_000])
def test_one_message_with_a_stray_stamp_does_not_change_the_timeline(stray_ms: int) -> None:
    buffer = make_buffer(static_actors=True)
    for stamp_ms in (10_000, 10_100, stray_ms, 10_200, 10_300):
        buffer.add_ego(ego(stamp_ms, stamp_ms))
    assert buffer.ego.timeline == 0
    assert state_at(buffer, 10_150).ego.T_world_ego.translation[0] == pytest.approx(10_150.0)
    assert isinstance(buffer.at(50_000 * MS), NotYet)
    assert buffer.reports.count("ego.stray_stamp") == 1


@pytest.mark.parametrize("stray_ms", [0, 90_000])
def test_an_input_may_go_on_from_a_stray_stamp_after_a_pause(stray_ms: int) -> None:
    """As one does that was started anew and whose first message has no stamp; 5 s later, leap_s is 10 s."""
    buffer = make_buffer(static_actors=True)
    for stamp_ms in (10_000, stray_ms, 15_000, 15_100):
        buffer.add_ego(ego(stamp_ms, stamp_ms))
    assert buffer.ego.timeline == 0
    assert state_at(buffer, 15_050).ego.T_world_ego.translation[0] == pytest.approx(15_050.0)


def test_a_stamp_far_ahead_says_nothing_about_the_time_before_it_until_the_next() -> None:
    buffer = make_buffer()
    buffer.add_ego(ego(450))
    for stamp_ms in (320, 420, 60_420):
        buffer.add_actors(stamp_ms * MS, (actor("a", stamp_ms),))
    assert buffer.at(450 * MS) == NotYet(("actors",))
    buffer.add_actors(520 * MS, (actor("a", 520),))
    assert state_at(buffer, 450).actors[0].T_world_actor.translation[0] == pytest.approx(450.0)


def test_a_pause_longer_than_a_leap_fails_with_the_next_message_or_the_end() -> None:
    for confirm in (lambda b: b.add_actors(60_520 * MS, ()), lambda b: b.end()):
        buffer = make_buffer()
        buffer.add_ego(ego(450))
        for stamp_ms in (420, 60_420):
            buffer.add_actors(stamp_ms * MS, ())
        assert buffer.at(450 * MS) == NotYet(("actors",))
        confirm(buffer)
        outcome = buffer.at(450 * MS)
        assert isinstance(outcome, Unavailable) and outcome.cause == "actors.gap"


def test_only_a_state_that_would_fail_waits_for_the_message_after_a_leap() -> None:
    buffer = make_buffer()
    for stamp_ms in (420, 60_420):
        buffer.add_ego(ego(stamp_ms))
        buffer.add_actors(stamp_ms * MS, (actor("a", stamp_ms),))
    assert state_at(buffer, 60_420).actors[0].T_world_actor.translation[0] == 60_420.0
    wide = make_buffer(max_interpolation_gap_s=20.0, static_actors=True)
    for stamp_ms in (0, 15_000):
        wide.add_ego(ego(stamp_ms, stamp_ms))
    assert state_at(wide, 3000).ego.T_world_ego.translation[0] == pytest.approx(3000.0)


def test_a_first_message_far_ahead_leaves_the_time_before_it_open_until_the_next() -> None:
    for next_ms, cause in ((9150, ""), (99_100, "actors.before_history")):
        buffer = make_buffer()
        buffer.add_ego(ego(9200))
        buffer.add_actors(99_000 * MS, ())
        assert buffer.at(9200 * MS) == NotYet(("actors",))
        for stamp_ms in (next_ms, next_ms + 100):
            buffer.add_actors(stamp_ms * MS, ())
        outcome = buffer.at(9200 * MS)
        assert (outcome.cause if isinstance(outcome, Unavailable) else "") == cause


def test_repeated_and_late_stamps_are_ignored_and_counted() -> None:
    buffer = make_buffer(static_actors=True)
    for stamp_ms, x_m in ((0, 0.0), (100, 1.0), (100, 50.0), (60, 70.0), (100, 80.0)):
        buffer.add_ego(ego(stamp_ms, x_m))
    assert state_at(buffer, 100).ego.T_world_ego.translation[0] == 1.0
    assert state_at(buffer, 60).ego.T_world_ego.translation[0] == pytest.approx(0.6)
    assert reported(buffer.reports) == {"ego.duplicate_stamp": 2, "ego.out_of_order": 1}


def test_history_is_bounded_by_number_and_by_what_is_needed() -> None:
    buffer = make_buffer(static_actors=True, max_messages=16)
    for i in range(100):
        buffer.add_ego(ego(100 * i, float(i)))
    assert len(buffer.ego.current.stamps) == 16  # type: ignore[union-attr]
    assert isinstance(buffer.at(8_300 * MS), Unavailable)
    assert state_at(buffer, 8_400).ego.T_world_ego.translation[0] == 84.0
    buffer.forget(timeline=0, before_ns=9_250 * MS)
    assert state_at(buffer, 9_250).ego.T_world_ego.translation[0] == pytest.approx(92.5)
    assert isinstance(buffer.at(9_100 * MS), Unavailable)


def test_messages_of_all_passes_count_towards_the_limit() -> None:
    buffer = make_buffer(max_messages=16)
    for _ in range(10):
        for i in range(10):
            buffer.add_actors(i * 200 * MS, ())
    assert (buffer.actors.kept, buffer.actors.timeline) == (16, 9)
    buffer.need((8, 0))
    for i in range(30):
        buffer.add_actors(i * 200 * MS, ())
    kept = buffer.actors.segment(8)
    assert kept is not None and len(kept.stamps) == 6, "a tick that waits needs what is left of its pass"


def world(*ids: str) -> WorldState:
    return WorldState(0, ego(0), tuple(actor(i) for i in ids))


def test_instance_numbers_are_stable_and_in_order_of_appearance() -> None:
    buffer = make_buffer(static_actors=True)
    assert [a.instance for a in buffer.numbered(world("x", "y")).actors] == [1, 2]
    assert [a.instance for a in buffer.numbered(world("z", "y")).actors] == [3, 2]
    state = buffer.numbered(world("x"))
    assert [a.instance for a in state.actors] == [1]


def test_instance_ids_name_the_actors_of_the_state_alone_by_their_numbers() -> None:
    buffer = make_buffer(static_actors=True)
    assert buffer.numbered(world("x", "y", "z")).instance_ids == ("x", "y", "z")
    assert buffer.numbered(world("y")).instance_ids == ("", "y")
    assert buffer.numbered(world()).instance_ids == ()


def test_the_number_of_the_actor_that_is_gone_for_longest_is_given_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r3d2_ros.state_buffer.KEPT_NUMBERS", 3)
    buffer = make_buffer(static_actors=True)
    buffer.numbered(world("a", "b", "c"))
    assert buffer.numbered(world("a")).instance_ids == ("a",)
    assert buffer.numbered(world("d", "c")).instance_ids == ("", "d", "c"), "b is gone for longest"
    assert buffer.numbered(world("b", "c", "d")).instance_ids == ("b", "d", "c"), "then a is"
    assert buffer.numbered(world("b", "c", "d", "e")).instance_ids == ("b", "d", "c", "e"), "all are there"
    for i in range(1000):  # a tracker that names its objects anew
        state = buffer.numbered(world(f"t{i}", "c"))
        assert len(state.instance_ids) <= 4 and state.instance_ids[2] == "c"


def test_actors_beyond_16_bit_are_left_out() -> None:
    buffer = make_buffer(static_actors=True)
    pose = Rigid.identity()
    crowd = tuple(ActorState(str(i), "car", pose) for i in range(65537))
    state = buffer.numbered(WorldState(0, ego(0), crowd))
    assert (len(state.actors), state.actors[-1].instance) == (65535, 65535)
    assert buffer.reports.count("actors.too_many_instances") == 2


@pytest.mark.parametrize("position", [(math.nan, 0.0, 0.0), (0.0, math.inf, 0.0), (0.0, 0.0, 2e9), (1.0, 2.0)])
def test_bad_positions_are_refused(position: tuple[float, ...]) -> None:
    assert isinstance(ego_state(stamp_ns=0, position_m=position, quat_wxyz=UPRIGHT), Fault)
    assert isinstance(actor_state(ActorInput("a", "car", position, UPRIGHT), RULES), Fault)


@pytest.mark.parametrize("quat", [(0.0, 0.0, 0.0, 0.0), (math.nan, 0.0, 0.0, 1.0), (math.inf, 0.0, 0.0, 1.0)])
def test_bad_quaternions_are_refused(quat: tuple[float, ...]) -> None:
    fault = ego_state(stamp_ns=0, position_m=(0, 0, 0), quat_wxyz=quat)
    assert isinstance(fault, Fault)
    assert fault.cause == "ego.quaternion"
    assert str(list(quat)) in fault.text


def test_a_quaternion_of_another_length_means_the_same_rotation() -> None:
    state = ego_state(stamp_ns=5, position_m=(1, 2, 3), quat_wxyz=[1e200 * q for q in YAW_90])
    assert isinstance(state, EgoState)
    assert math.degrees(state.T_world_ego.yaw_rad) == pytest.approx(90.0)
    assert state.T_world_ego.translation.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "size", [(4.0, 2.0, 0.0), (4.0, -2.0, 1.5), (math.nan, 2.0, 1.5), (math.inf, 1.0, 1.0), (1e5, 1.0, 1.0)]
)
def test_sizes_that_are_partly_zero_or_absurd_are_refused(size: tuple[float, float, float]) -> None:
    fault = actor_state(ActorInput("a", "car", (0, 0, 0), UPRIGHT, size), RULES)
    assert isinstance(fault, Fault) and fault.cause == "actors.size"


def test_size_zero_stands_for_the_assets_own() -> None:
    own = actor_state(ActorInput("a", "car", (0, 0, 0), UPRIGHT, (0, 0, 0)), RULES)
    other = actor_state(ActorInput("a", "car", (0, 0, 0), UPRIGHT, (5, 2, 1.8)), RULES)
    assert isinstance(own, ActorState) and own.size_m is None
    assert isinstance(other, ActorState) and other.size_m == (5.0, 2.0, 1.8)


def test_a_pose_at_the_box_centre_moves_down_along_the_actors_own_z() -> None:
    """A car of 1.5 m height: 0.75 m down; rolled by 90 degrees its z axis is -y, so 0.75 m along +y."""
    upright = actor_state(ActorInput("a", "car", (10, 20, 5), UPRIGHT), BOX_CENTER)
    rolled = actor_state(ActorInput("a", "car", (10, 20, 5), (math.sqrt(0.5), math.sqrt(0.5), 0, 0)), BOX_CENTER)
    tall = actor_state(ActorInput("a", "car", (10, 20, 5), UPRIGHT, (4, 2, 3)), BOX_CENTER)
    positions = [s.T_world_actor.translation for s in (upright, rolled, tall) if isinstance(s, ActorState)]
    np.testing.assert_allclose(positions, [(10, 20, 4.25), (10, 20.75, 5), (10, 20, 3.5)], atol=1e-12)


def test_an_array_keeps_what_is_right_and_names_what_is_wrong() -> None:
    good = ActorInput("good", "car", (1, 2, 3), UPRIGHT)
    nan = ActorInput("bad", "car", (math.nan, 2, 3), UPRIGHT)
    unknown = ActorInput("what", "spaceship", (1, 2, 3), UPRIGHT)
    states, faults = actor_states([nan, good, unknown], RULES)
    assert [s.id for s in states] == ["good"]
    assert [f.cause for f in faults] == ["actors.position", "actors.unknown_asset.spaceship"]
    assert "actor 'bad'" in faults[0].text
    assert "'spaceship'" in faults[1].text


def test_an_id_that_occurs_twice_draws_neither_even_if_one_is_broken() -> None:
    twin, nan_twin = (
        ActorInput("t", "car", (1, 2, 3), UPRIGHT),
        ActorInput("t", "car", (math.nan, 2, 3), UPRIGHT),
    )
    states, faults = actor_states([twin, ActorInput("x", "car", (0, 0, 0), UPRIGHT), nan_twin], RULES)
    assert [s.id for s in states] == ["x"]
    assert [(f.cause, f.text[:9]) for f in faults] == [("actors.duplicate_id", "actor 't'")]


def test_the_buffer_refuses_repeated_ids_too() -> None:
    buffer = make_buffer()
    buffer.add_ego(ego(0))
    buffer.add_actors(0, (actor("t"), actor("x"), actor("t", 5.0)))
    assert [a.id for a in state_at(buffer, 0).actors] == ["x"]
    assert reported(buffer.reports) == {"actors.duplicate_id": 1}


def test_an_empty_array_is_valid_and_mentioned_as_information() -> None:
    states, faults = actor_states([], RULES)
    assert states == ()
    assert [(f.cause, f.level) for f in faults] == [("actors.empty", "info")]


def test_each_cause_is_told_once_and_counted() -> None:
    reports = Reports()
    for _ in range(50):
        reports.add(Fault("a", "first words"))
    reports.add(Fault("b", "other", "error"))
    assert reports.take_new() == (Report("a", "first words", "warning", 50), Report("b", "other", "error", 1))
    reports.add(Fault("a", "later words"))
    assert reports.take_new() == ()
    assert reports.all()[0] == Report("a", "first words", "warning", 51)


def test_causes_that_strangers_name_cannot_grow_without_bound() -> None:
    reports = Reports()
    for i in range(10_000):
        reports.add(Fault(f"actors.unknown_asset.{i}", f"asset {i}"))
    assert len(reports.take_new()) == Reports.MAX_NAMES + 1
    assert reports.count("actors.unknown_asset.further") == 10_000 - Reports.MAX_NAMES
    reports.add(Fault("time_jump", "time went back"))
    reports.add(Fault("tick_failed.ego.gap", "too far apart"))
    assert [report.cause for report in reports.take_new()] == ["time_jump", "tick_failed.ego.gap"]


def test_what_is_wrong_with_many_actors_is_told_once_for_each_kind_of_fault() -> None:
    flat, twin = (ActorInput("", "car", (0, 0, 0), UPRIGHT, size) for size in ((4, 2, 0), (4, 2, 1)))
    causes = set()
    for i in range(300):
        ids = f"flat{i}", f"twin{i}", f"twin{i}"
        _, faults = actor_states([replace(a, id=id_) for a, id_ in zip((flat, twin, twin), ids, strict=True)], RULES)
        causes |= {fault.cause for fault in faults}
    assert causes == {"actors.size", "actors.duplicate_id"}


@pytest.mark.parametrize(
    ("stamp_ns", "text"),
    [(0, "0.000000000 s"), (-1, "-0.000000001 s"), (1_700_000_000_123_456_789, "1700000000.123456789 s")],
)
def test_stamps_are_written_with_all_digits(stamp_ns: int, text: str) -> None:
    assert seconds(stamp_ns) == text
