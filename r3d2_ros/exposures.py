"""When cameras expose: phase + k / rate on the grid of message time, in whole nanoseconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from r3d2_ros.cameras import Camera, Rig


@dataclass(frozen=True)
class ExposureGrid:
    """Exposure k is at phase_ns + round(k / rate): each is computed from k exactly, so nothing drifts.

    rate_hz is a fraction, so that 29.97 means 2997/100 and not the nearest binary number.
    """

    rate_hz: Fraction
    phase_ns: int

    @classmethod
    def of(cls, camera: Camera) -> ExposureGrid:
        return cls(Fraction(repr(float(camera.rate_hz))), round(Fraction(repr(float(camera.phase_s))) * 10**9))

    def stamp_ns(self, k: int) -> int:
        """The time of exposure k, rounded to the nearest nanosecond (half up)."""
        numerator, denominator = k * 10**9 * self.rate_hz.denominator, self.rate_hz.numerator
        return self.phase_ns + (2 * numerator + denominator) // (2 * denominator)

    def first_from(self, stamp_ns: int) -> int:
        """The smallest k whose exposure is at or after `stamp_ns`."""
        k = (stamp_ns - self.phase_ns) * self.rate_hz // 10**9
        while self.stamp_ns(k - 1) >= stamp_ns:
            k -= 1
        while self.stamp_ns(k) < stamp_ns:
            k += 1
        return k

    def between(self, first_ns: int, last_ns: int) -> Iterator[int]:
        """Exposure times t with first_ns <= t <= last_ns."""
        k = self.first_from(first_ns)
        while (stamp_ns := self.stamp_ns(k)) <= last_ns:
            yield stamp_ns
            k += 1


def exposures(rig: Rig, *, first_ns: int, last_ns: int) -> list[tuple[int, tuple[Camera, ...]]]:
    """Exposures of a rig with first_ns <= stamp <= last_ns in time order; equal stamps form one set, in rig
    order."""
    due: dict[int, list[Camera]] = {}
    for camera in rig.cameras:
        for stamp_ns in ExposureGrid.of(camera).between(first_ns, last_ns):
            due.setdefault(stamp_ns, []).append(camera)
    return [(stamp_ns, tuple(due[stamp_ns])) for stamp_ns in sorted(due)]
