"""Flicker that a harmonizer adds to a film: what changes from frame to frame beside what changes in its input."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from r3d2_ros.evaluation.inserts import Picture, luminance
from r3d2_ros.evaluation.subjects import Subject

MAX_GAP_NS = 500_000_000
"""Frames that are further apart are no neighbours."""

Film = tuple[str, str]
"""Sequence and camera."""


@dataclass
class Flicker:
    """Adds up the frames of one row, film by film, each in the order of its stamps; only the last frame is kept."""

    _last: tuple[Film, Subject, Picture] | None = None
    _surroundings: list[float] = field(default_factory=list)
    _insert_means: dict[tuple[Film, str], list[list[float]]] = field(default_factory=dict)

    def add(self, subject: Subject, picture: Picture) -> None:
        """Samples without a stamp are no frames of a film and are passed over."""
        meta = subject.sample.meta
        if meta.stamp_ns is None:
            return
        film = meta.sequence, meta.camera.name
        before = None
        if self._last is not None and self._last[0] == film:
            _, last, shown = self._last
            before = (last, shown) if 0 < meta.stamp_ns - _stamp(last) <= MAX_GAP_NS else None
        if before is not None:
            change = surroundings_change(before, (subject, picture))
            if change is not None:
                self._surroundings.append(change)
        self._add_means(film, subject, picture, before[0] if before else None)
        self._last = film, subject, picture

    def _add_means(self, film: Film, subject: Subject, picture: Picture, before: Subject | None) -> None:
        luma = luminance(picture)
        seen_before = {insert.box.id for insert in before.inserts if insert.mask.any()} if before else set()
        for insert in subject.inserts:
            if insert.mask.any():
                runs = self._insert_means.setdefault((film, insert.box.id), [])
                if insert.box.id not in seen_before or not runs:
                    runs.append([])
                runs[-1].append(float(luma[insert.mask].mean()))

    @property
    def pairs(self) -> int:
        """Pairs of neighbouring frames."""
        return len(self._surroundings)

    def facts(self) -> dict[str, float | None]:
        """None where there are too few neighbouring frames.

        flicker_surroundings    `surroundings_change`, the mean of all pairs of frames, grey levels of 255
        flicker_insert_percent  standard deviation of the frame differences of an insert's mean luminance, in percent
                                of that luminance: the mean over inserts seen in three frames in a row or more
        """
        runs = [np.array(run) for found in self._insert_means.values() for run in found if len(run) >= 3]
        insert = [100 * float(np.diff(run).std() / run.mean()) for run in runs if run.mean() > 0]
        return {
            "flicker_surroundings": float(np.mean(self._surroundings)) if self._surroundings else None,
            "flicker_insert_percent": float(np.mean(insert)) if insert else None,
        }


def surroundings_change(before: tuple[Subject, Picture], after: tuple[Subject, Picture]) -> float | None:
    """Mean |change of the picture - change of the input| over what is beside the inserts in both regions, 0 to 255."""
    (first, old), (second, new) = before, after
    if old.shape != new.shape:
        return None
    part = first.beside & second.beside
    if not part.any():
        return None
    added = [p[part].astype(np.float64) - s.input[part] for s, p in (before, after)]
    return float(np.abs(added[1] - added[0]).mean())


def _stamp(subject: Subject) -> int:
    stamp_ns = subject.sample.meta.stamp_ns
    assert stamp_ns is not None
    return stamp_ns
