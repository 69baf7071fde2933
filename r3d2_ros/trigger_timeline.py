"""Which pass of message time a trigger belongs to: told before the inputs are there, taken back where they go on."""

from __future__ import annotations

from r3d2_ros.state_buffer import StateBuffer


class TriggerTimeline:
    """Which timeline a trigger means. Triggers may be sparse, so besides their own stamps the ego's progress
    counts."""

    def __init__(self, *, jump_ns: int, leap_ns: int) -> None:
        self._jump_ns, self._leap_ns = jump_ns, leap_ns
        self._last: tuple[int, int] | None = None
        self._since_leap_ns = 0
        """The first stamp behind the last leap ahead."""
        self._floor_ns = 0
        self._ahead_ns: int | None = None
        """The stamp from which on those before the trigger that went back were stray, if not that one is."""
        self._stray_from: tuple[int, int | None] | None = None
        """(timeline, stamp) of the ego from which on a trigger that went back was stray; None: not known before the
        ego's first message."""

    def assign(self, stamp_ns: int, buffer: StateBuffer) -> int:
        """The timeline of a trigger."""
        ego = buffer.ego
        if self._last is None:
            alone = ego.current is not None and ego.current.received == 1
            timeline = ego.timeline - (alone and ego.ended_nearer(stamp_ns))
            self._last, self._since_leap_ns = (timeline, stamp_ns), stamp_ns
            return timeline
        timeline, newest_ns = self._last
        if stamp_ns > newest_ns + self._leap_ns:
            self._since_leap_ns = stamp_ns
        if stamp_ns < newest_ns - self._jump_ns:
            timeline += 1
            if timeline == ego.timeline + 1:
                self._floor_ns = newest_ns - self._jump_ns
                leapt = self._since_leap_ns > stamp_ns + self._leap_ns
                self._ahead_ns = self._since_leap_ns if leapt else None
                self._stray_from = (ego.timeline, None if ego.newest_ns is None else ego.newest_ns + self._jump_ns)
            self._since_leap_ns = stamp_ns
        current = ego.current
        if timeline < ego.timeline and current and current.stamps[-1] - current.start_ns > self._jump_ns:
            timeline = ego.timeline
        self._last = (timeline, stamp_ns if timeline > self._last[0] else max(newest_ns, stamp_ns))
        return timeline

    def is_stray(self, ego_timeline: int, ego_stamp_ns: int) -> bool:
        """Whether the ego has gone on although a trigger went back."""
        if self._stray_from is None:
            return False
        timeline, limit_ns = self._stray_from
        if ego_timeline > timeline:
            self._stray_from = None
            return False
        if limit_ns is None:
            self._stray_from = (timeline, ego_stamp_ns + self._jump_ns)
            return False
        return ego_stamp_ns > limit_ns

    def move(self, timeline: int, to: int) -> None:
        """`timeline` was that of a stray message: triggers of it, and those that follow them, belong to another."""
        if self._last is not None and self._last[0] == timeline:
            self._last = (to, self._last[1])

    def return_to(self, timeline: int) -> tuple[int, int | None]:
        """Back to the ego's timeline; returns the stamp before which triggers were stray, or else (not None) the one
        from which on they were."""
        self._stray_from = None
        newest_ns = self._last[1] if self._last else 0
        if self._ahead_ns is None:
            newest_ns = max(self._floor_ns + self._jump_ns, newest_ns)
        self._last = (timeline, newest_ns)
        return self._floor_ns, self._ahead_ns
