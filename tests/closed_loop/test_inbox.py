"""What arrives from a stack: accepted, or refused with a cause and counted."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest

from r3d2_ros.closed_loop.demands import (
    Command,
    Demand,
    Trajectory,
    TwistDemand,
    demand_of,
    demand_record,
    path_stamps,
)
from r3d2_ros.closed_loop.inbox import LOGGED_REFUSALS, MAX_WAITING_PLANS, Inbox, Plan
from r3d2_ros.closed_loop.vehicle import Actuation

MS = 1_000_000
GO = Actuation(1.0, 0.0)


def inbox(now_ms: int = 1000, max_age_ms: int = 100) -> Inbox:
    box = Inbox(max_age_ms * MS)
    box.set_time(now_ms * MS)
    return box


def offered(box: Inbox, stamp_ms: int, demand: Demand = GO) -> str:
    refusal = box.offer(Command(stamp_ms * MS, demand), 0.0)
    return refusal.cause if refusal else "accepted"


def test_a_command_for_now_is_accepted_and_taken_once() -> None:
    box = inbox()
    assert not box.started() and not box.fresh(1000 * MS)
    assert offered(box, 1000) == "accepted"
    assert box.started() and box.fresh(1000 * MS)
    taken = box.take(1000 * MS)
    assert taken is not None and taken.command.demand == GO
    assert box.take(1000 * MS) is None
    assert box.fresh(1100 * MS) and not box.fresh(1101 * MS)


@pytest.mark.parametrize(
    ("stamps", "causes"),
    [
        ([1000, 1000], ["accepted", "duplicate"]),
        ([1000, 990], ["accepted", "out_of_order"]),
        ([899], ["stale"]),
        ([900], ["accepted"]),
        ([1001], ["future"]),
        ([0], ["stale"]),
    ],
)
def test_stamps(stamps: list[int], causes: list[str]) -> None:
    box = inbox()
    assert [offered(box, stamp) for stamp in stamps] == causes
    refusals, _ = box.drain()
    assert [refusal.cause for refusal in refusals] == [cause for cause in causes if cause != "accepted"]


@pytest.mark.parametrize(
    ("second", "contradictions"),
    [
        (Actuation(1.0, 0.0), 0),
        (Actuation(1.0, 0.1), 1),
        (TwistDemand(1.0, 0.0), 1),
        (Trajectory((0, 1_000_000), np.zeros((2, 2))), 1),
    ],
)
def test_two_answers_that_say_different_things(second: Demand, contradictions: int) -> None:
    box = inbox()
    assert [offered(box, 1000), offered(box, 1000, second)] == ["accepted", "duplicate"]
    assert box.contradictions() == contradictions
    assert ("with another demand" in box.drain()[0][0].text) == bool(contradictions)


@pytest.mark.parametrize(
    "demand",
    [
        Actuation(float("nan"), 0.0),
        Actuation(0.0, float("inf")),
        Actuation(1e300, 0.0),
        TwistDemand(float("nan"), 0.0),
        Trajectory((0, 1), np.array([[0.0, 0.0], [np.nan, 1.0]])),
        Trajectory((0,), np.array([[0.0, 0.0]])),
        Trajectory((5, 5), np.zeros((2, 2))),
        Trajectory((0, 1), np.zeros((3, 2))),
    ],
)
def test_demands_that_no_vehicle_can_follow(demand: Demand) -> None:
    box = inbox()
    assert offered(box, 1000, demand) == "invalid"
    assert not box.started()
    assert box.drain()[0][0].text.startswith("expected")


def line(*stamps_ns: int) -> Trajectory:
    return Trajectory(stamps_ns, np.stack([np.arange(len(stamps_ns)), np.zeros(len(stamps_ns))], axis=1))


@pytest.mark.parametrize(
    ("demand", "got"),
    [
        (line(0, 10_000 * MS, 1_700_000_000_000 * MS), "of the simulation's, got one 1699999999.000 s away"),
        (line(1_700_000_000_000 * MS, 1_700_000_001_000 * MS), "got one 1700000000.000 s away"),
        (line(-599_001 * MS, 1000 * MS), "got one 600.001 s away"),
        (line(*range(1000 * MS, 1000 * MS + 10)), "by at least 0.5 ms from point to point, got 1e-06 ms"),
        (line(1000 * MS, 999 * MS), "got -1 ms"),
    ],
)
def test_stamps_of_no_trajectory(demand: Trajectory, got: str) -> None:
    """Sampled every 50 ms, the first one would take 250 GiB; the last but one asks for 1e9 m/s."""
    box = inbox()
    assert offered(box, 1000, demand) == "invalid"
    assert got in box.drain()[0][0].text


def test_long_and_dense_trajectories_are_accepted() -> None:
    """Ten minutes from now on, and 1 kHz with stamps that are cut to a whole number of microseconds."""
    assert offered(inbox(), 1000, line(1000 * MS, 601_000 * MS)) == "accepted"
    assert offered(inbox(), 1000, line(*(1000 * MS + k * MS - k % 2 * 1000 for k in range(5000)))) == "accepted"


def test_the_newest_command_wins() -> None:
    box = inbox()
    assert [offered(box, 950, Actuation(a, 0.0)) for a in (1.0,)] == ["accepted"]
    offered(box, 980, Actuation(2.0, 0.0))
    taken = box.take(1000 * MS)
    assert taken is not None and taken.command.demand == Actuation(2.0, 0.0)


def test_a_command_that_grew_old_while_it_waited_is_not_taken() -> None:
    """With max_age 0 a command for a moment between two frame sets answers neither of them."""
    box = inbox(max_age_ms=0)
    assert offered(box, 1000) == "accepted"
    assert box.take(1100 * MS) is None
    assert [refusal.cause for refusal in box.drain()[0]] == ["stale"]


def test_a_flood_is_counted_and_not_kept() -> None:
    box = inbox()
    for _ in range(5000):
        offered(box, 0)
    box.offer_plan(Plan(0, np.zeros((1, 2)), np.zeros(1)))
    for _ in range(5000):
        box.offer_plan(Plan(1, np.zeros((1, 2)), np.zeros(1)))
    refusals, plans = box.drain()
    assert (len(refusals), box.counts["stale"], len(plans)) == (LOGGED_REFUSALS, 5000, MAX_WAITING_PLANS)


def test_waiting_ends_with_an_arrival() -> None:
    box = inbox()
    timer = threading.Timer(0.05, lambda: offered(box, 1000))
    timer.start()
    assert box.wait(lambda: box.fresh(1000 * MS), 10.0)
    timer.join()
    assert not inbox().wait(lambda: False, 0.01)


@pytest.mark.parametrize(
    "demand",
    [Actuation(0.1 + 0.2, -1e-17), TwistDemand(5.0, 0.3), Trajectory((10, 20), np.array([[0.1, 1 / 3], [2.0, 5.0]]))],
)
def test_demands_go_through_the_log_unchanged(demand: Demand) -> None:
    again = demand_of(demand_record(demand))
    if isinstance(demand, Trajectory):
        assert isinstance(again, Trajectory) and again.stamps_ns == demand.stamps_ns
        np.testing.assert_array_equal(again.xy, demand.xy)
    else:
        assert again == demand


def test_stamps_of_a_path() -> None:
    """Its own; where they are all the same, a point every 0.5 s from the message's stamp on."""
    assert path_stamps([5, 7, 9], 100, 0.5) == [5, 7, 9]
    for own in ([0, 0, 0], [7, 7, 7], [7]):
        made = path_stamps(own, 100, 0.5)
        assert made[0] == 100 and all(b - a == 500_000_000 for a, b in pairwise(made))


@pytest.mark.parametrize("own", [(1000, 1100, 1100, 1200), (1000, 1200, 1100, 1300), (1000, 0, 0, 0)])
def test_a_path_of_which_some_stamps_do_not_increase_is_refused(own: tuple[int, ...]) -> None:
    """One stamp that is there twice does not make a plan of 0.3 s one of 1.5 s."""
    box = inbox()
    assert offered(box, 1000, line(*path_stamps([stamp * MS for stamp in own], 1000 * MS, 0.5))) == "invalid"
    assert "expected times that increase" in box.drain()[0][0].text
