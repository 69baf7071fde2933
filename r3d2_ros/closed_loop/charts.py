"""Small charts as SVG text, for a page that needs nothing else. Colours are CSS classes of the page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from r3d2_ros.geometry import Array

WIDTH, HEIGHT = 520, 190
"""Units of a chart; the page shows them as pixels, or larger."""
LETTER = 6.5
"""About the width of a letter of a note."""
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 20, 30
MAX_POINTS = 400


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a chart. kind: its CSS class; points [N, 2]; dots instead of a line."""

    name: str
    kind: str
    points: Array
    dots: bool = False


@dataclass(frozen=True)
class Band:
    """A stretch of the x axis with a name, such as a phase."""

    name: str
    start: float
    end: float


def chart(title: str, series: Sequence[Series], *, x_label: str, y_label: str, bands: Sequence[Band] = ()) -> str:
    """Lines over a common x axis, with a legend below the title."""
    shown = [s for s in series if len(s.points)]
    if not shown:
        empty = '<p class="none">nothing to show</p>'
        return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{empty}</figure>'
    points = np.concatenate([s.points for s in shown])
    x0, x1 = _range(points[:, 0], from_zero=False)
    y0, y1 = _range(points[:, 1], from_zero=True)
    view = _View(x0, x1, y0, y1)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts += _bands(bands, view)
    parts += _axes(view, x_label, y_label)
    parts += [_drawn(s, view) for s in shown]
    parts.append("</svg>")
    legend = " ".join(f'<span class="key {s.kind}">{escape(s.name)}</span>' for s in shown)
    return f'<figure class="chart"><figcaption>{escape(title)} {legend}</figcaption>{"".join(parts)}</figure>'


def _bands(bands: Sequence[Band], view: _View) -> list[str]:
    """Those that are wide enough to be seen, every other one tinted, with their names above and clear of each other."""
    parts: list[str] = []
    free = 0.0
    places = [(view.x(max(band.start, view.x0)), view.x(min(band.end, view.x1)), band.name) for band in bands]
    for number, (left, right, name) in enumerate(place for place in places if place[1] - place[0] > 1):
        parts.append(f'<rect class="band{number % 2}" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" '
                     f'height="{HEIGHT - TOP - BOTTOM}"/>')  # fmt: skip
        x = max(left + 3, free)
        parts.append(f'<text class="note" x="{x:.1f}" y="{TOP - 6}">{escape(name)}</text>')
        free = x + LETTER * (len(name) + 1)
    return parts


@dataclass(frozen=True)
class _View:
    """From values to places in the picture."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def _range(values: Array, *, from_zero: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-9:
        high = low + 1.0
    room = 0.05 * (high - low)
    return (low - room if low < 0 or not from_zero else low), high + room


def _axes(view: _View, x_label: str, y_label: str) -> list[str]:
    parts = []
    for value in ticks(view.y0, view.y1, 5):
        y = view.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(view.x0, view.x1, 8):
        x = view.x(value)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 13}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="label" transform="translate(11 {middle:.0f}) rotate(-90)" '
                 f'text-anchor="middle">{escape(y_label)}</text>')  # fmt: skip
    return parts


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values between two numbers, about so many: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw - 1e-12)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _drawn(series: Series, view: _View) -> str:
    points = thinned(series.points)
    if series.dots:
        return "".join(
            f'<circle class="{series.kind}" cx="{view.x(x):.1f}" cy="{view.y(y):.1f}" r="1.7"/>' for x, y in points
        )
    path = " ".join(f"{view.x(x):.1f},{view.y(y):.1f}" for x, y in points)
    return f'<polyline class="{series.kind}" points="{path}"/>'


def thinned(points: Array) -> Array:
    """At most MAX_POINTS rows, evenly chosen, the last one kept."""
    if len(points) <= MAX_POINTS:
        return points
    return points[np.unique(np.linspace(0, len(points) - 1, MAX_POINTS).round().astype(int))]


@dataclass(frozen=True, eq=False)
class Shape:
    """Something on the map view: a line [N, 2] with a label at its end, or an outline, when closed, with one beside."""

    kind: str
    points: Array
    closed: bool = False
    label: str = ""


def map_view(
    title: str, shapes: Sequence[Shape], *, along: tuple[Array, Array], legend: Sequence[tuple[str, str]]
) -> str:
    """A bird's eye view, as wide as the run is long. along: (origin [2], direction [2]) of what points to the right."""
    origin, direction = along
    turn = np.array([[direction[0], direction[1]], [direction[1], -direction[0]]])  # y of pictures goes down
    placed = [(shape, (shape.points - origin) @ turn.T) for shape in shapes if len(shape.points)]
    framed = np.concatenate([points for shape, points in placed if not shape.kind.startswith("road")])
    low, high = framed.min(axis=0) - 4.0, framed.max(axis=0) + 4.0
    width = max(float(high[0] - low[0]), 20.0)
    height = max(float(high[1] - low[1]), width * 0.12)
    middle = (low[1] + high[1]) / 2
    box = f"{low[0]:.2f} {middle - height / 2:.2f} {width:.2f} {height:.2f}"
    size = width / 90
    parts = [
        f'<svg class="map" viewBox="{box}" role="img" aria-label="{escape(title)}" style="--pen:{width / 700:.3f}">'
    ]
    for shape, points in placed:
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in thinned(points))
        parts.append(f'<{"polygon" if shape.closed else "polyline"} class="{shape.kind}" points="{path}"/>')
    parts += _labels([(shape.label, points if shape.closed else points[-1:]) for shape, points in placed], size)
    bar = next(m for m in (50, 20, 10, 5, 2, 1) if m <= width / 4)
    x, y = low[0] + 0.02 * width, middle + height / 2 - 0.05 * height
    parts.append(f'<line class="scale" x1="{x:.2f}" x2="{x + bar:.2f}" y1="{y:.2f}" y2="{y:.2f}"/>'
                 f'<text class="note" x="{x + bar + size / 2:.2f}" y="{y + size / 3:.2f}" '
                 f'font-size="{size:.2f}">{bar} m</text></svg>')  # fmt: skip
    keys = " ".join(f'<span class="key {kind}">{escape(name)}</span>' for name, kind in legend)
    return f'<figure class="wide"><figcaption>{escape(title)} {keys}</figcaption>{"".join(parts)}</figure>'


def _labels(labels: Sequence[tuple[str, Array]], size: float) -> list[str]:
    """Names above what they name [N, 2], below it where another name stands, or above that; on top of everything."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []

    def is_free(x: float, y: float, half: float) -> bool:
        return all(abs(x - other_x) > half + other or abs(y - other_y) > size for other_x, other_y, other in taken)

    for name, points in labels:
        if not name:
            continue
        x, half = float(points[:, 0].mean()), 0.3 * size * (len(name) + 1)
        above, below = float(points[:, 1].min()) - 0.5 * size, float(points[:, 1].max()) + 1.2 * size
        places = itertools.chain((above, below), (above - k * 0.5 * size for k in itertools.count(1)))
        y = next(place for place in places if is_free(x, place, half))
        taken.append((x, y, half))
        parts.append(f'<text class="note name" x="{x:.2f}" y="{y:.2f}" font-size="{size:.2f}" '
                     f'text-anchor="middle">{escape(name)}</text>')  # fmt: skip
    return parts
