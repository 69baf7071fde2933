"""Rectangles of an image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels; the last row and column are exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        return max(self.bottom - self.top, 0), max(self.right - self.left, 0)

    @property
    def is_empty(self) -> bool:
        return 0 in self.shape

    def cut(self, other: Window) -> Window:
        """What both have in common."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Window(top, left, min(self.bottom, other.bottom), min(self.right, other.right))

    def seen_from(self, outer: Window) -> Window:
        """The same rectangle, counted from the corner of `outer`."""
        return self.moved(-outer.top, -outer.left)

    def with_blocks_around(self, side_px: int, within: tuple[int, int]) -> Window:
        """All blocks of an image `within` that have a part in the window, and one more on each side.

        What is computed from blocks is the same then at every pixel of this window, whatever lies around it.
        """

        def span(first: int, last: int, size: int) -> tuple[int, int]:
            return max(first // side_px - 1, 0) * side_px, min((-(-last // side_px) + 1) * side_px, size)

        (top, bottom), (left, right) = span(self.top, self.bottom, within[0]), span(self.left, self.right, within[1])
        return Window(top, left, bottom, right)

    def moved(self, rows: int, columns: int) -> Window:
        """The same rectangle, further down and to the right."""
        return Window(self.top + rows, self.left + columns, self.bottom + rows, self.right + columns)
