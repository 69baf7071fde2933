"""Messages of one input in stamp order, cut into timelines where its time goes back (a bag that loops).

An input's timelines follow from its own sequence of stamps alone. Inputs are joined timeline by timeline (see
`pairing`), so it does not matter in which order messages of different inputs arrive, not even around a jump.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Kind(Enum):
    """What a message is to its input."""

    NEXT = "next"
    DUPLICATE = "duplicate"
    """Its stamp equals one that is known: ignored."""
    LATE = "late"
    """Older than the newest, but by no more than the threshold of a jump: ignored."""
    JUMP = "jump"
    """Older than the newest by more than the threshold: a new timeline begins with it."""
    RESUMED = "resumed"
    """The message before it stood alone with a stray stamp and has been taken out; the timeline goes on."""


@dataclass(frozen=True)
class Arrival:
    """Where a message went.

    previous_ns   the newest stamp of the timeline before it, None when it begins the timeline
    stray         (timeline, stamp) of the message that was taken out, for RESUMED
    """

    kind: Kind
    timeline: int
    previous_ns: int | None
    stray: tuple[int, int] | None = None

    @property
    def accepted(self) -> bool:
        return self.kind not in (Kind.DUPLICATE, Kind.LATE)


@dataclass
class Segment(Generic[T]):
    """The messages of one timeline that are kept, by rising stamp; `received` counts all that it ever had."""

    timeline: int
    start_ns: int
    received: int = 0
    stamps: list[int] = field(default_factory=list)
    values: dict[int, T] = field(default_factory=dict)

    def put(self, stamp_ns: int, value: T) -> None:
        if stamp_ns not in self.values:
            insort(self.stamps, stamp_ns)
        self.values[stamp_ns] = value
        self.received += 1

    def newest_up_to(self, stamp_ns: int) -> int | None:
        """The newest stamp <= `stamp_ns`."""
        i = bisect_right(self.stamps, stamp_ns)
        return self.stamps[i - 1] if i else None

    def oldest_from(self, stamp_ns: int) -> int | None:
        """The oldest stamp >= `stamp_ns`."""
        i = bisect_left(self.stamps, stamp_ns)
        return self.stamps[i] if i < len(self.stamps) else None

    def forget_first(self, count: int) -> None:
        for stamp_ns in self.stamps[:count]:
            del self.values[stamp_ns]
        del self.stamps[:count]


@dataclass(frozen=True)
class TrackLimits:
    """jump_ns: a stamp that lies further than this before the newest begins a new timeline.

    return_ns     a stamp alone, further than jump_ns from those before it, is a stray one if the next message comes
                  back to within this time after them
    max_messages  the oldest messages of an input beyond this number are forgotten, unless they are needed
    """

    jump_ns: int
    return_ns: int
    max_messages: int


class Track(Generic[T]):
    """One input. With `ordered` a late or repeated stamp is ignored, else it is put in its place, the last of
    equals wins, and no stamp is taken for a stray one.
    """

    def __init__(self, limits: TrackLimits, *, ordered: bool = True) -> None:
        self._limits, self._ordered = limits, ordered
        self._segments: list[Segment[T]] = []
        self.timeline = 0
        """Which timeline the newest message belongs to, from 0."""
        self.needed_from: tuple[int, int] | None = None
        """(timeline, stamp) of the oldest question that is still to be answered; what it needs is not forgotten."""

    @property
    def current(self) -> Segment[T] | None:
        """The segment that receives messages; None before the first message."""
        return self._segments[-1] if self._segments else None

    @property
    def kept(self) -> int:
        """Number of messages that are kept, of all timelines."""
        return sum(len(segment.stamps) for segment in self._segments)

    @property
    def newest_ns(self) -> int | None:
        """Newest stamp of the current timeline."""
        return self.current.stamps[-1] if self.current else None

    @property
    def newest_may_be_stray(self) -> bool:
        """Whether the newest message alone has a stamp far from those before it, or is the first: the one that follows
        decides."""
        segment = self.current
        if segment is None or not self._ordered:
            return False
        if segment.received == 1:
            return True
        return len(segment.stamps) >= 2 and segment.stamps[-1] - segment.stamps[-2] > self._limits.jump_ns

    @property
    def newest_certain(self) -> tuple[int, int] | None:
        """(timeline, stamp) of the newest message that is no stray one, whatever follows."""
        if not self.newest_may_be_stray:
            return None if self.newest_ns is None else (self.timeline, self.newest_ns)
        kept = [(segment.timeline, stamp) for segment in self._segments[-2:] for stamp in segment.stamps[-2:]]
        return kept[-2] if len(kept) > 1 else None

    @property
    def first_alone_ns(self) -> int | None:
        """The stamp of the first message, if time went back right after it."""
        first = self.segment(0)
        return first.stamps[-1] if first and first.received == 1 and self.timeline > 0 else None

    def ended_nearer(self, stamp_ns: int) -> bool:
        """Whether the timeline before the current one ended nearer to a stamp than the newest message."""
        before = self.segment(self.timeline - 1)
        if before is None or self.newest_ns is None:
            return False
        return abs(stamp_ns - before.stamps[-1]) < abs(stamp_ns - self.newest_ns)

    def segment(self, timeline: int) -> Segment[T] | None:
        """What is kept of `timeline`."""
        return next((s for s in self._segments if s.timeline == timeline), None)

    def last_segment(self, timeline: int) -> Segment[T] | None:
        """What is kept of `timeline`, or of the last one before it that has messages."""
        return next((s for s in reversed(self._segments) if s.timeline <= timeline), None)

    def held(self, stamp_ns: int, timeline: int) -> T | None:
        """The message with the newest stamp <= `stamp_ns`, for an input that nothing waits for.

        It belongs to the last timeline up to `timeline` that has messages, or to a later one that this input
        has begun before the others; of equal stamps the later one holds.
        """
        base = self.last_segment(timeline)
        best: tuple[int, int] | None = None
        for i, segment in enumerate(self._segments):
            newest = segment.newest_up_to(stamp_ns)
            if newest is not None and (base is None or segment.timeline >= base.timeline):
                best = max(best, (newest, i)) if best else (newest, i)
        return self._segments[best[1]].values[best[0]] if best else None

    def add(self, stamp_ns: int, value: T) -> Arrival:
        """Put a message into its timeline."""
        arrival = self._put(stamp_ns, value)
        excess = self.kept - self._limits.max_messages
        if excess > 0:
            self._forget_oldest(excess)
        return arrival

    def _put(self, stamp_ns: int, value: T) -> Arrival:
        segment = self.current
        if segment is None:
            return self._begin(Kind.NEXT, self.timeline, stamp_ns, value)
        if self._after_stray(segment, stamp_ns):
            return self._resume(segment, stamp_ns, value)
        newest = segment.stamps[-1]
        if stamp_ns < newest - self._limits.jump_ns:
            return self._begin(Kind.JUMP, self.timeline + 1, stamp_ns, value)
        if self._ordered and stamp_ns <= newest:
            kind = Kind.DUPLICATE if stamp_ns in segment.values else Kind.LATE
            return Arrival(kind, self.timeline, newest)
        segment.put(stamp_ns, value)
        return Arrival(Kind.NEXT, self.timeline, newest)

    def forget(self, *, timeline: int, before_ns: int) -> None:
        """Drop what no question from (`timeline`, `before_ns`) on can need.

        The timeline before a message that may be a stray one is kept: it goes on if that is taken out.
        """
        first = self.last_segment(timeline)
        if first is None:
            return
        begins_timeline = first is self.current and first.received == 1 and self.newest_may_be_stray
        oldest = first.timeline - 1 if begins_timeline else first.timeline
        self._segments = [s for s in self._segments if s.timeline >= oldest]
        if first.timeline == timeline:
            first.forget_first(max(0, bisect_right(first.stamps, before_ns) - 1))

    def _forget_oldest(self, count: int) -> None:
        """Forget up to `count` messages that are not needed. The newest of a timeline stays while that may go on."""
        for segment in list(self._segments):
            may_go_on = segment.timeline >= self.timeline - 1
            dropped = min(count, self._not_needed(segment), len(segment.stamps) - may_go_on)
            segment.forget_first(dropped)
            count -= dropped
            if not segment.stamps:
                self._segments.remove(segment)

    def _not_needed(self, segment: Segment[T]) -> int:
        """How many of the oldest messages no question from `needed_from` on can need."""
        if self.needed_from is None or self.needed_from[0] > segment.timeline:
            return len(segment.stamps)
        timeline, stamp_ns = self.needed_from
        return 0 if timeline < segment.timeline else max(0, bisect_right(segment.stamps, stamp_ns) - 1)

    def _begin(self, kind: Kind, timeline: int, stamp_ns: int, value: T) -> Arrival:
        segment: Segment[T] = Segment(timeline, stamp_ns)
        segment.put(stamp_ns, value)
        self._segments.append(segment)
        self.timeline = timeline
        return Arrival(kind, timeline, None)

    def _after_stray(self, segment: Segment[T], stamp_ns: int) -> bool:
        """Whether the newest message alone has a stamp far from those before it and from `stamp_ns`."""
        if not self.newest_may_be_stray:
            return False
        if segment.received == 1:
            before = self.segment(segment.timeline - 1)
            if before is None or stamp_ns <= segment.stamps[-1] + self._limits.jump_ns:
                return False
            before_ns = before.stamps[-1]
        else:
            before_ns = segment.stamps[-2]
            if stamp_ns >= segment.stamps[-1] - self._limits.jump_ns:
                return False
        return before_ns < stamp_ns <= before_ns + self._limits.return_ns

    def _resume(self, segment: Segment[T], stamp_ns: int, value: T) -> Arrival:
        """Take the stray message out and go on where its input was before."""
        stray = (segment.timeline, segment.stamps[-1])
        if segment.received == 1:  # it had begun a timeline of its own
            self._segments.pop()
        else:
            del segment.values[segment.stamps.pop()]
        resumed = self._segments[-1]
        self.timeline = resumed.timeline
        previous = resumed.stamps[-1]
        resumed.put(stamp_ns, value)
        return Arrival(Kind.RESUMED, self.timeline, previous, stray)
