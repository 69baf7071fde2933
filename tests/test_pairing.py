"""Pairing: timelines go together however an input begins, and one stray stamp shows itself alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r3d2_ros.sync import Synchronizer, Tick
from tests.feeding import (
    MS,
    Message,
    actors,
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

WALL = 99_000
"""A stamp of the wall time, before the simulated time was there."""

STARTS: dict[str, list[Message]] = {
    "no stray": [*actors(9000), *ego(9100)],
    "actors zero, then the first ego": [*actors(9000, 0), *ego(9100)],
    "ego zero, then the first actors": [*ego(9000, 0), *actors(9100)],
    "actors zero first": [*actors(0), *ego(9100)],
    "ego zero first": [*ego(0), *actors(9100)],
    "ego ahead first": [*ego(WALL), *actors(9100)],
    "actors ahead first": [*actors(WALL), *ego(9100)],
    "actors ahead first, alone for long": [*actors(WALL, 9000), *ego(9100)],
    "ego ahead first, alone for long": [*ego(WALL, 9000, 9100), *actors(9100)],
    "ego a little ahead first": [*actors(9000), *ego(14_000)],
    "actors a little ahead first": [*ego(9000), *actors(14_000)],
    "ego ahead second": [*ego(9000, WALL), *actors(9100)],
    "both ahead first": [*ego(WALL), *actors(WALL)],
    "both ahead first, one after the other": [*ego(WALL, 9000), *actors(WALL, 9000)],
    "ego ahead for some messages": [*ego(WALL, WALL + 50, WALL + 100), *actors(9100)],
    "actors ahead for some messages": [*actors(WALL, WALL + 50, WALL + 100), *ego(9100)],
}


@pytest.mark.parametrize("tick", ["ego", "rate", "trigger"])
@pytest.mark.parametrize("start", STARTS)
def test_a_run_goes_on_however_it_starts(start: str, tick: str) -> None:
    """3 s of both inputs at 10 Hz behind the start, and a queue that overflows when they wait for one another."""
    sync = make_sync(tick=tick, queue_limit=20)
    ticks = run(STARTS[start], sync)
    for stamp in range(9200, 12_200, 100):
        ticks += run([*actors(stamp), *ego(stamp), *(triggers(stamp) if tick == "trigger" else [])], sync)
    usual = [t for t in ticks if 9400 * MS <= t.stamp_ns <= 12_100 * MS]
    assert len(usual) >= 28
    if not start.endswith("some messages") or tick != "trigger":
        assert all(made(usual))
    assert made(usual)[-15:] == [True] * 15
    assert len({t.timeline for t in usual[-15:]}) == 1


@pytest.mark.parametrize("name", ["ego", "actors"])
def test_a_first_message_that_is_set_aside_is_reported(name: str) -> None:
    sync = make_sync()
    first, other = (ego, actors) if name == "ego" else (actors, ego)
    run([*first(WALL), *other(9100), *first(9200)], sync)
    assert {r.cause: r.count for r in sync.reports.all() if "tick_failed" not in r.cause} == {f"{name}.stray_stamp": 1}
    assert "99.000000000 s" in sync.reports.all()[0].text
    run([*first(9300, 0, 100), *other(9300, 0, 100)], sync)
    assert sync.reports.count("time_jump") == 1, "time that goes back later is told"


def test_a_first_message_that_ended_a_pass_is_shown_with_the_actors_of_that_pass() -> None:
    sync = make_sync()
    ticks = run([*actors(8900, ids=("old",)), *ego(9000, 0)], sync)
    ticks += run([*actors(9000, ids=("old",)), *actors(0, ids=("new",)), *ego(100), *actors(100)], sync)
    assert (stamps_ms(ticks), [t.timeline for t in ticks]) == ([9000, 0, 100], [0, 1, 1])
    assert [[a.id for a in t.state.actors] for t in ticks if t.state] == [["old"], ["new"], ["a"]]


@pytest.mark.parametrize("begun", [ego(0), ego(0, 100, 200), []])
def test_actors_that_join_around_a_jump_go_with_the_pass_that_they_are_in(begun: list[Message]) -> None:
    """The ego has gone back (or not yet) when the first actors arrive, which are of the old pass."""
    sync = make_sync()
    ticks = run([*ego(9000, 9100, 9200), *begun, *actors(9150, 9250, ids=("old",)), *actors(0, ids=("new",))], sync)
    ticks += run([*ego(300), *actors(300)] if begun else [*ego(0, 300), *actors(300)], sync)
    shown_ids = {t.stamp_ns // MS: [a.id for a in t.state.actors] for t in ticks if t.state}
    assert (shown_ids[9200], shown_ids[0], shown_ids[300]) == (["old"], ["new"], ["a"])
    assert {t.timeline for t in ticks if t.stamp_ns < 9000 * MS} == {1}


@pytest.mark.parametrize("alone", ["ego", "actors"])
@pytest.mark.parametrize("joins_first", [True, False])
def test_an_input_that_joins_a_moment_before_the_other_goes_back_is_told_once(alone: str, joins_first: bool) -> None:
    first, second = (ego, actors) if alone == "ego" else (actors, ego)
    sync = make_sync()
    run(first(*range(0, 11_000, 100)), sync)
    for _ in range(3):
        for stamp in range(0, 5000, 100):
            run([*second(stamp), *first(stamp)] if joins_first else [*first(stamp), *second(stamp)], sync)
    texts = [r.text for r in sync.reports.all() if r.cause == "pairing_in_doubt"]
    assert (len(texts), sync.reports.count("pairing_in_doubt")) == ((1, 1) if joins_first else (0, 0))
    assert not texts or f"began at 0.000000000 s while '{alone}' was at 10.900000000 s" in texts[0]


def test_an_input_that_joins_in_a_later_pass_goes_with_that_pass() -> None:
    for first, second in ((ego, actors), (actors, ego)):
        sync = make_sync()
        run([*first(9000, 9100), *first(0, 100, 200)], sync)
        ticks = run([*second(150, 200, 300), *first(300)], sync)
        assert made(ticks)[-2:] == [True, True]
        assert stamps_ms(ticks)[-2:] == [200, 300]


def test_what_is_open_waits_for_one_message_at_most() -> None:
    """Actors that stand alone after a jump when the ego joins may be stray: only what they can still show is made."""
    sync = make_sync()
    assert run([*actors(9000, 9100, 100), *ego(50)], sync) == []
    assert sync.waiting() is not None
    (tick,) = run(actors(200), sync)
    assert (tick.state, tick.cause) == (None, "actors.before_history")


# One stray stamp in any order of arrival


steps = st.lists(st.sampled_from([50, 100, 100, 200, 700]), min_size=3, max_size=7)
some_ids = st.lists(st.sampled_from(["a", "b", "c", "longer"]), unique=True, min_size=1, max_size=3).map(tuple)


@st.composite
def stretches(draw: st.DrawFn, topic: str) -> list[Message]:
    """The messages of one topic from about 50 s on."""
    stamp, found = 50_000 + 10 * draw(st.integers(-50, 50)), []
    for step in draw(steps):
        found.append((topic, stamp, draw(some_ids) if topic == "actors" else ()))
        stamp += step
    return found


def with_stray(draw: st.DrawFn, messages: Sequence[Message]) -> tuple[list[Message], int]:
    """The messages with a stray one at any place, and its stamp in ms, which is no multiple of 10."""
    place = draw(st.integers(0, len(messages)))
    before = messages[max(place - 1, 0)][1]
    if draw(st.booleans()):
        stamp = before + draw(st.sampled_from([12_003, 60_003, 10**9 + 3]))
    else:
        nearest = [] if place == len(messages) else [1107]
        stamp = before - draw(st.sampled_from([*nearest, 20_007, before - 3]))
    ids = draw(some_ids) if messages[0][0] == "actors" else ()
    return [*messages[:place], (messages[0][0], stamp, ids), *messages[place:]], stamp


def ended(messages: Sequence[Message], sync: Synchronizer, *, fetched_every: int) -> list[Tick]:
    """All ticks, those that are left at the end too."""
    ticks = []
    for i, message in enumerate(messages):
        feed(sync, message)
        if i % fetched_every == 0:
            ticks += drain(sync)
    return [*ticks, *drain(sync), *sync.finish()]


@pytest.mark.parametrize("tick", ["ego", "rate", "trigger"])
@pytest.mark.parametrize("stray_topic", ["ego", "actors"])
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_one_stray_stamp_changes_no_other_tick_in_any_order_of_arrival(
    stray_topic: str, tick: str, data: st.DataObject
) -> None:
    queues = {topic: data.draw(stretches(topic)) for topic in ("ego", "actors", "trigger")}
    if tick != "trigger":
        del queues["trigger"]
    sync = partial(make_sync, tick=tick, queue_limit=10_000)
    without = {t.stamp_ns: t for t in ended(interleave(data.draw, [*queues.values()]), sync(), fetched_every=1)}
    queues[stray_topic], stray_ms = with_stray(data.draw, queues[stray_topic])

    def usual(messages: Sequence[Message], fetched_every: int) -> list[Tick]:
        ticks = ended(messages, sync(), fetched_every=fetched_every)
        return [t for t in ticks if t.stamp_ns in without and t.stamp_ns != stray_ms * MS]

    ticks = usual([m for queue in queues.values() for m in queue], 1)
    expected = [shown(t) for t in ticks]
    assert [t.stamp_ns for t in ticks] == [*without]
    assert made(ticks) == made([*without.values()])
    assert [shown(t) for t in usual([m for queue in [*queues.values()][::-1] for m in queue], 1)] == expected
    if tick != "trigger":
        alone = ended(queues["ego"], make_sync(tick=tick, actors="static"), fetched_every=1)
        both = ended(interleave(data.draw, [*queues.values()]), sync(), fetched_every=1)
        which = [(t.stamp_ns, t.timeline) for t in alone]
        assert [(t.stamp_ns, t.timeline) for t in both] == which, "which ticks there are follows from the ego alone"
    for fetched_every in (1, 4, 1000):
        assert [shown(t) for t in usual(interleave(data.draw, [*queues.values()]), fetched_every)] == expected
