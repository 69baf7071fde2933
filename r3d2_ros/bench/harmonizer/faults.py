"""What makes a measurement worthless. A report carries it in place of numbers."""

from __future__ import annotations


class MeasurementError(RuntimeError):
    """Something that was to be measured did not work."""


class BrokenPathError(MeasurementError):
    """A path did not write its whole output, or wrote NaN or infinity. Its speed means nothing."""


class RigRunError(MeasurementError):
    """The node or the subscriber ended before the drive did, or a camera had no picture to compare."""
