"""Which timeline of the actors goes with which of the ego's: the n-th with the n-th, counted from where both are there.

Each input counts its own timelines, so one number pairs them. It changes only while an input has just begun:

- An input that joins goes with the current timeline of the other. If that has just begun, the input may still be in
  the one before: it goes with the one whose newest stamp is nearer. If it is a single message, which may be stray, and
  is taken out, what went with it goes with the one before.
- A first message after which time goes back was the end of a pass or stray, such as a wall time before the first
  `/clock`. As long as time of the other input has not gone back too, its newest stamp decides: the first message is
  set aside as stray when that lies nearer to what came after. Several first messages are, when no message of the
  other input lies near them.

What a single message leaves open waits, so the pairing does not depend on the order of arrival, with these exceptions:

- Of an input's first two messages one is stray, and the other input has only come to within `near_ns` of the stray
  one, and not to within it of the right one.
- The last message of an input is stray, lies back, and lies nearer to all that the other input has, which joined after
  it, than the messages before it do.
- An input joins with the first message of a pass that the other has not begun: it goes with the other's pass before,
  and so do its later passes, to the end of the run. `Doubt` says so once the other has begun that pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from r3d2_ros.timeline import Arrival, Track


@dataclass(frozen=True)
class Doubt:
    """Input `name` began at first_ns while `other` was at other_ns, far from that, and then went back to back_ns, near
    to `name`, which may belong there."""

    name: str
    other: str
    first_ns: int
    other_ns: int
    back_ns: int


class Pairing:
    """Asked by the StateBuffer. near_ns: stamps no further apart than this belong to one pass of time."""

    def __init__(self, *, ego: Track[Any], actors: Track[Any], near_ns: int) -> None:
        self._tracks = {"ego": ego, "actors": actors}
        self._near_ns = near_ns
        self._lead = {"ego": 0, "actors": 0}
        """By input: the number of the other's timeline that goes with one of its own, less the number of that."""
        self._joined = self._ended = False
        self._joined_far: tuple[str, int, int] | None = None
        """The input that joined far from the newest message of the other: its name, its stamp and that message's."""
        self.doubt: Doubt | None = None
        self.set_aside: str | None = None
        """The input whose first message is stray: its second timeline goes with what the first seemed to go with."""

    def timeline(self, name: str, ego_timeline: int) -> int:
        """The timeline of input `name` that goes with one of the ego's."""
        return ego_timeline if name == "ego" else ego_timeline + self._lead["ego"]

    def ego_timeline(self, name: str, timeline: int) -> int:
        """The ego's timeline that goes with one of input `name`."""
        return timeline if name == "ego" else timeline + self._lead["actors"]

    def open_for(self) -> str | None:
        """The input whose start may still change the pairing, None when there is none."""
        if self._ended or not self._joined:
            return None
        return next((name for name in self._tracks if self._first_is_open(name) or self._newest_is_open(name)), None)

    def update(self, name: str, arrival: Arrival) -> bool:
        """A message of input `name` has been added. True: the pairing has changed."""
        if self._other(name).current is None:
            return False
        before = dict(self._lead), self.set_aside
        if not self._joined:
            self._joined = True
            self._join(name)
        elif arrival.stray is not None and arrival.stray[0] > arrival.timeline:
            self._move_back(name, arrival.stray[0])
        for first in self._tracks:
            if self._began_apart(first) and self._first_is_stray(first):
                self._set_aside(first)
        self._look_for_doubt(name)
        return before != (self._lead, self.set_aside)

    def end(self) -> None:
        """No message follows: what is open is decided by all that there is."""
        for name, track in self._tracks.items():
            if self._newest_is_open(name) and self._lies_before(name, self._newest_ns(self._name_of_other(name))):
                self._pair(name, track.timeline - 1, 0)
            elif self._first_is_open(name) and track.current and track.current.received > 1:
                self._set_aside(name)
        self._ended = True

    def _join(self, name: str) -> None:
        early = self._name_of_other(name)
        track, stamp_ns, newest_ns = self._tracks[early], self._newest_ns(name), self._newest_ns(early)
        timeline = track.timeline
        if track.current and track.ended_nearer(stamp_ns):
            has_begun_ns = newest_ns - track.current.start_ns
            if track.current.received == 1 or has_begun_ns <= self._near_ns < abs(stamp_ns - newest_ns):
                timeline -= 1
        self._pair(early, timeline, 0)
        if timeline == track.timeline and abs(stamp_ns - newest_ns) > self._near_ns:
            self._joined_far = name, stamp_ns, newest_ns
        if timeline == 1 and track.first_alone_ns is not None:
            self.set_aside = early

    def _look_for_doubt(self, other: str) -> None:
        """`other` has gone back, by two messages, to where the input is that had joined before that."""
        current = self._tracks[other].current
        if self._joined_far is None or self._joined_far[0] == other or current is None:
            return
        name, first_ns, other_ns = self._joined_far
        ahead = current.timeline - self._tracks[name].timeline - self._lead[name]
        if ahead < 1 or current.received < 2:
            return
        self._joined_far = None
        if ahead == 1 and abs(current.stamps[-1] - self._newest_ns(name)) <= self._near_ns:
            self.doubt = Doubt(name, other, first_ns, other_ns, current.start_ns)

    def _move_back(self, name: str, taken_out: int) -> None:
        """The timeline `taken_out` of input `name` is gone: what went with it only for now goes with the one before."""
        partner = taken_out + self._lead[name]
        if partner == 0 or (taken_out == 1 and self.set_aside == name):
            self._pair(name, taken_out - 1, partner)
            self.set_aside = None

    def _set_aside(self, name: str) -> None:
        self._pair(name, 1, self._other(name).timeline)
        self.set_aside = name

    def _began_apart(self, name: str) -> bool:
        """Time of input `name` has gone back once, and that of the other input not yet."""
        is_second = self._tracks[name].timeline == 1 and self.set_aside is None
        return is_second and self._lead[name] == self._other(name).timeline

    def _first_is_open(self, name: str) -> bool:
        """Time went back right after the first message."""
        return self._began_apart(name) and self._tracks[name].first_alone_ns is not None

    def _first_is_stray(self, name: str) -> bool:
        first, second, other = self._tracks[name].segment(0), self._tracks[name].current, self._other(name).current
        if first is None or second is None or other is None:
            return False
        to_newest = abs(other.stamps[-1] - second.stamps[-1])
        if first.received > 1:
            apart = max(first.start_ns - other.stamps[-1], other.start_ns - first.stamps[-1])
            return second.received > 1 and max(to_newest, self._near_ns) < apart
        to_first = abs(other.stamps[-1] - first.stamps[-1])
        if second.received > 1:
            return to_newest < to_first
        # The newest may be the stray one.
        return to_newest <= self._near_ns < to_first

    def _newest_is_open(self, name: str) -> bool:
        """The other input joined on a timeline of input `name` that is a single message yet."""
        track = self._tracks[name]
        alone = track.timeline > 0 and track.current is not None and track.current.received == 1
        joined_on_it = self._other(name).timeline == 0 and self._lead[name] == -track.timeline
        return alone and joined_on_it and self.set_aside is None

    def _lies_before(self, name: str, stamp_ns: int) -> bool:
        """Whether a stamp lies nearer to the timeline before the current one of input `name` than to its newest
        message."""
        before = self._tracks[name].segment(self._tracks[name].timeline - 1)
        if before is None:
            return False
        outside_ns = max(before.start_ns - stamp_ns, stamp_ns - before.stamps[-1], 0)
        return outside_ns < abs(stamp_ns - self._newest_ns(name))

    def _pair(self, name: str, timeline: int, partner: int) -> None:
        self._joined_far = None
        self._lead[name] = partner - timeline
        self._lead[self._name_of_other(name)] = timeline - partner

    def _name_of_other(self, name: str) -> str:
        return "actors" if name == "ego" else "ego"

    def _other(self, name: str) -> Track[Any]:
        return self._tracks[self._name_of_other(name)]

    def _newest_ns(self, name: str) -> int:
        newest_ns = self._tracks[name].newest_ns
        if newest_ns is None:
            raise AssertionError(f"a message of '{name}' has been added")
        return newest_ns
