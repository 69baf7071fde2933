"""The ego's pose from transforms: the chain from the map to base_link, at every stamp of its last moving link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Rigid
from r3d2_ros.input_checks import ego_state
from r3d2_ros.message_fields import frame_name, stamp_to_ns
from r3d2_ros.message_inputs import EgoMessage
from r3d2_ros.timeline import Segment, Track, TrackLimits


@dataclass(frozen=True)
class TransformRecord:
    """One transform as it was recorded; `is_static` when it came on /tf_static."""

    log_ns: int
    parent: str
    child: str
    stamp_ns: int
    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]
    is_static: bool = False


def transform_records(message: Any, *, log_ns: int, is_static: bool) -> list[TransformRecord]:
    """The transforms of a tf2_msgs/TFMessage. Frames by their names in tf2."""
    records = []
    for entry in message.transforms:
        t, q = entry.transform.translation, entry.transform.rotation
        records.append(
            TransformRecord(
                log_ns=log_ns,
                parent=frame_name(entry.header.frame_id),
                child=frame_name(entry.child_frame_id),
                stamp_ns=stamp_to_ns(entry.header.stamp),
                position_m=(t.x, t.y, t.z),
                quat_wxyz=(q.w, q.x, q.y, q.z),
                is_static=is_static,
            )
        )
    return records


Span = tuple[int, int]
"""From when until when something was recorded."""


@dataclass(frozen=True, eq=False)
class _Pass:
    """The transforms of a link between two jumps back of its time: when each was recorded, and its pose."""

    segment: Segment[tuple[int, Rigid]]

    @property
    def span_ns(self) -> Span:
        stamps, values = self.segment.stamps, self.segment.values
        return values[stamps[0]][0], values[stamps[-1]][0]

    def at(self, stamp_ns: int) -> Rigid | None:
        """Interpolated between the transforms around `stamp_ns`; after the last one it holds, before the first none is
        known."""
        before, after = self.segment.newest_up_to(stamp_ns), self.segment.oldest_from(stamp_ns)
        if before is None:
            return None
        _, pose = self.segment.values[before]
        if after is None or after == before:
            return pose
        return pose.interpolate(self.segment.values[after][1], (stamp_ns - before) / (after - before))


@dataclass(eq=False)
class Link:
    """What was recorded of one child frame, whose parent never changes.

    Where its stamps go back, as in a recorded loop, a new pass begins. Transforms of different passes never mix.
    """

    parent: str
    is_static: bool
    records: list[TransformRecord] = field(default_factory=list)
    _newest: Rigid | None = None
    _passes: list[_Pass] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _chosen: dict[Span, _Pass | None] = field(default_factory=dict)

    def settle(self, limits: TrackLimits) -> None:
        """Put the usable transforms into their passes; of equal stamps the first stays."""
        track: Track[tuple[int, Rigid]] = Track(limits)
        newest_ns = None
        for record in self.records:
            pose = _rigid(record)
            if pose is not None:
                track.add(record.stamp_ns, (record.log_ns, pose))
                if newest_ns is None or record.stamp_ns > newest_ns:
                    newest_ns, self._newest = record.stamp_ns, pose
            self._numbers.append(track.timeline)
        segments = (track.segment(number) for number in range(track.timeline + 1))
        self._passes = [_Pass(segment) for segment in segments if segment is not None]

    def spans_ns(self) -> list[Span]:
        """When the pass of each record was recorded."""
        spans = {one.segment.timeline: one.span_ns for one in self._passes}
        alone = ((record.log_ns, record.log_ns) for record in self.records)  # a stray one
        return [spans.get(number, own) for number, own in zip(self._numbers, alone, strict=True)]

    def at(self, stamp_ns: int, span_ns: Span) -> Rigid | None:
        """Of a static link the newest transform, else that at `stamp_ns` in the pass that goes with a span of
        recording."""
        if self.is_static:
            return self._newest
        if span_ns not in self._chosen:
            self._chosen[span_ns] = self._during(span_ns)
        chosen = self._chosen[span_ns]
        return None if chosen is None else chosen.at(stamp_ns)

    def _during(self, span_ns: Span) -> _Pass | None:
        """The pass of which most was recorded in a span: around a jump the links go back in any order. Where nothing
        was, the last one before: a link that is told once holds."""
        begin_ns, end_ns = span_ns

        def fit(one: _Pass) -> tuple[int, int]:
            first_ns, last_ns = one.span_ns
            return max(0, min(last_ns, end_ns) - max(first_ns, begin_ns)), first_ns

        return max((one for one in self._passes if one.span_ns[0] <= end_ns), key=fit, default=None)


def _rigid(record: TransformRecord) -> Rigid | None:
    state = ego_state(stamp_ns=0, position_m=record.position_m, quat_wxyz=record.quat_wxyz)
    return getattr(state, "T_world_ego", None)


@dataclass(frozen=True, eq=False)
class Chain:
    """The links from `map_frame` (first) to `base_link` (last)."""

    map_frame: str
    base_link: str
    frames: tuple[str, ...]
    links: tuple[Link, ...]

    def __str__(self) -> str:
        return " -> ".join((self.map_frame, *self.frames))


def find_chain(
    records: Iterable[TransformRecord], *, map_frame: str, base_link: str, limits: TrackLimits, where: str
) -> Chain:
    """The chain of parents from `base_link` up to `map_frame`. InputError that says how far it goes.

    limits  say where the stamps of a link go back
    """
    map_frame, base_link = frame_name(map_frame), frame_name(base_link)
    links: dict[str, Link] = {}
    for record in records:
        link = links.setdefault(record.child, Link(record.parent, record.is_static))
        if link.parent == record.parent:
            link.records.append(record)
    path: list[str] = []
    frame = base_link
    while frame != map_frame:
        if frame not in links or frame in path:
            known = sorted({*links, *(link.parent for link in links.values())})
            got = f"a chain that ends at '{frame}'" if path else f"the frames {', '.join(known[:20]) or 'none'}"
            raise InputError(
                where, f"transforms from '{map_frame}' to '{base_link}'", got, "Set frames.map and frames.base_link"
            )
        path.append(frame)
        frame = links[frame].parent
    path.reverse()
    chain = Chain(map_frame, base_link, tuple(path), tuple(links[frame] for frame in path))
    if all(link.is_static for link in chain.links):
        raise InputError(where, f"a transform that moves between '{map_frame}' and '{base_link}'", "static ones only")
    for link in chain.links:
        link.settle(limits)
    return chain


def ego_messages(chain: Chain) -> tuple[list[tuple[int, EgoMessage]], int]:
    """(time of recording, pose of base_link) for each transform of the last link that moves, in recorded order.

    The other links are interpolated at its stamp, in the pass that goes with its own. Where one of them is not known
    yet there is no pose; the second value counts those.
    """
    last = max(i for i, link in enumerate(chain.links) if not link.is_static)
    messages = []
    unknown = 0
    for record, span_ns in zip(chain.links[last].records, chain.links[last].spans_ns(), strict=True):
        own = _rigid(record)
        others = [own if i == last else link.at(record.stamp_ns, span_ns) for i, link in enumerate(chain.links)]
        if own is None:
            position, quat = record.position_m, record.quat_wxyz  # left to the checks, which report it
        else:
            if any(T is None for T in others):
                unknown += 1
                continue
            T = _product([T for T in others if T is not None])
            x, y, z = T.translation.tolist()
            w, qx, qy, qz = T.quat_wxyz.tolist()
            position, quat = (x, y, z), (w, qx, qy, qz)
        messages.append((record.log_ns, EgoMessage(record.stamp_ns, chain.map_frame, chain.base_link, position, quat)))
    return messages, unknown


def _product(transforms: list[Rigid]) -> Rigid:
    T = transforms[0]
    for other in transforms[1:]:
        T = T @ other
    return T


def static_frames(records: Iterable[TransformRecord], base_link: str) -> dict[str, Rigid]:
    """Frame -> T_base_frame for base_link and every frame below it; of several transforms of a frame the last."""
    children: dict[str, dict[str, Rigid]] = {}
    for record in records:
        pose = _rigid(record)
        if pose is not None:
            children.setdefault(record.parent, {})[record.child] = pose
    base_link = frame_name(base_link)
    placed = {base_link: Rigid.identity()}
    pending = [base_link]
    while pending:
        parent = pending.pop()
        for child, T in children.get(parent, {}).items():
            if child not in placed:
                placed[child] = placed[parent] @ T
                pending.append(child)
    return placed
