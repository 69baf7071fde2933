"""Lens models of sensor_msgs/CameraInfo: from rays to image coordinates and back.

Image coordinates are a pixel's without K: ((u - cx) / fx, (v - cy) / fy). The formulas are those of OpenCV's calib3d
and fisheye modules, as `sensor_msgs/distortion_models.hpp` names them:

    plumb_bob            D = k1 k2 p1 p2 k3
    rational_polynomial  D = k1 k2 p1 p2 k3 k4 k5 k6
    equidistant          D = k1 k2 k3 k4

A model bends points of a plane: (x/z, y/z) of a ray, for equidistant the ray's angle from the optical axis in the
direction of (x, y). Its polynomial turns back at some radius. What lies beyond is no image of this lens: image
coordinates that no ray within reaches have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.polynomial import Polynomial

from r3d2_ros.geometry import Array

DISTORTION_COUNTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4}
"""Names of the models, with the number of coefficients of each."""

WIDEST_DEG = {"plumb_bob": 89.0, "rational_polynomial": 89.0, "equidistant": 140.0}
"""How far from the axis rays are looked for: the first two models divide by z, and no fisheye sees farther."""

TABLE_ROWS = 4096
NEWTON_STEPS = 12
FOUND_WITHIN = 1e-9
"""A ray is right when its image is as near to the point as this: some millionths of a pixel."""

BLOCK = 1 << 15
"""Points that are solved for at once, so that their arrays stay in a core's cache."""


@dataclass(frozen=True)
class LensModel:
    """`name` of DISTORTION_COUNTS, and as many coefficients, or none: those are then 0."""

    name: str
    D: tuple[float, ...] = ()

    def check(self, where: str) -> None:
        """ValueError for another name, another number of coefficients, or one that is not finite."""
        if self.name not in DISTORTION_COUNTS:
            raise ValueError(f"{where}: expected a model of {', '.join(DISTORTION_COUNTS)}, got '{self.name}'")
        count = DISTORTION_COUNTS[self.name]
        if len(self.D) not in (0, count) or not np.all(np.isfinite(self.D)):
            raise ValueError(f"{where}: expected {count} finite coefficients of {self.name}, or none, got {self.D}")

    @property
    def bends(self) -> bool:
        """Whether this is anything but a pinhole."""
        return self.name == "equidistant" or any(self.D)

    def points(self, rays: Array) -> Array:
        """Image coordinates [..., 2] of directions [..., 3] in the optical frame; NaN where the lens sees nothing."""
        x, y, z = np.moveaxis(np.asarray(rays, np.float64), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.name == "equidistant":
                across = np.hypot(x, y)
                factor = np.where(across > 0, np.arctan2(across, z) / across, 1.0)
                seen = (across > 0) | (z > 0)
            else:
                factor, seen = 1.0 / z, z > 0
            x, y = x * factor, y * factor
            bent_x, bent_y = self._bent(x, y)
            seen &= np.hypot(x, y) <= self.limit
        return np.where(seen[..., None], np.stack([bent_x, bent_y], axis=-1), np.nan)

    def rays(self, points: Array) -> Array:
        """Unit directions [..., 3] in the optical frame of image coordinates [..., 2]; NaN where there is none."""
        flat = np.asarray(points, np.float64).reshape(-1, 2)
        out = np.empty((len(flat), 3))
        for begin in range(0, len(flat), BLOCK):
            x, y = flat[begin : begin + BLOCK].T
            out[begin : begin + BLOCK] = self._directions(*(self._unbent(x, y) if self.bends else (x, y)))
        return out.reshape(*np.shape(points)[:-1], 3)

    @cached_property
    def limit(self) -> float:
        """Radius in the plane up to which the image grows with it, at most that of WIDEST_DEG."""
        up, down = self._radial
        squared = Polynomial([0.0, 1.0])
        # d(r up/down)/dr = 0, and down = 0, in r^2.
        turns = up * down + 2 * squared * (up.deriv() * down - up * down.deriv())
        roots = [root.real for root in (*turns.roots(), *down.roots()) if abs(root.imag) < 1e-9 and root.real > 0]
        widest = np.deg2rad(WIDEST_DEG[self.name])
        most = widest if self.name == "equidistant" else np.tan(widest)
        return float(min([most, *np.sqrt(roots)]))

    @cached_property
    def _radial(self) -> tuple[Polynomial, Polynomial]:
        """What a radius is multiplied with, and divided by, as polynomials of its square."""
        # The roots' search needs coefficients that are not lost beside the others.
        D = tuple(0.0 if abs(d) < 1e-18 else d for d in self.D)
        if self.name == "equidistant":
            return Polynomial([1.0, *D]), Polynomial([1.0])
        k1, k2, _, _, k3, *below = D or (0.0,) * 5
        return Polynomial([1.0, k1, k2, k3]), Polynomial([1.0, *below])

    @cached_property
    def _tangential(self) -> tuple[float, float]:
        return (0.0, 0.0) if self.name == "equidistant" or not self.D else (self.D[2], self.D[3])

    def _bent(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Image coordinates of points of the plane."""
        up, down = self._radial
        p1, p2 = self._tangential
        squared = x * x + y * y
        factor = up(squared) / down(squared)
        bent_x = x * factor + 2 * p1 * x * y + p2 * (squared + 2 * x * x)
        bent_y = y * factor + p1 * (squared + 2 * y * y) + 2 * p2 * x * y
        return bent_x, bent_y

    def _slopes(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Derivatives of `_bent`: of x by x, of x by y, which is that of y by x, and of y by y."""
        up, down = self._radial
        p1, p2 = self._tangential
        squared = x * x + y * y
        below = down(squared)
        factor = up(squared) / below
        grows = 2 * (up.deriv()(squared) - factor * down.deriv()(squared)) / below
        across = grows * x * y + 2 * (p1 * x + p2 * y)
        return (
            factor + grows * x * x + 2 * p1 * y + 6 * p2 * x,
            across,
            factor + grows * y * y + 6 * p1 * y + 2 * p2 * x,
        )

    @cached_property
    def _table(self) -> tuple[Array, Array]:
        """Radii in the image, growing, and in the plane, to begin the search with."""
        up, down = self._radial
        angle = self.limit if self.name == "equidistant" else np.arctan(self.limit)
        radii = np.linspace(0.0, angle, TABLE_ROWS)
        if self.name != "equidistant":
            radii = np.tan(radii)
        radii *= 1 - 1e-12  # not to the very end, which may be a pole
        return radii * up(radii**2) / down(radii**2), radii

    def _unbent(self, bent_x: Array, bent_y: Array) -> tuple[Array, Array]:
        """Points of the plane of image coordinates, by Newton's method from those without tangential terms."""
        bent = np.hypot(bent_x, bent_y)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            factor = np.where(bent > 0, np.interp(bent, *self._table) / bent, 1.0)
            x, y = bent_x * factor, bent_y * factor
            for _ in range(NEWTON_STEPS):
                there_x, there_y = self._bent(x, y)
                off_x, off_y = there_x - bent_x, there_y - bent_y
                found = np.hypot(off_x, off_y) < FOUND_WITHIN
                if found.all():
                    break
                xx, xy, yy = self._slopes(x, y)
                area = xx * yy - xy * xy
                x = np.where(found, x, x - (yy * off_x - xy * off_y) / area)
                y = np.where(found, y, y - (xx * off_y - xy * off_x) / area)
            found &= np.hypot(x, y) <= self.limit
        return np.where(found, x, np.nan), np.where(found, y, np.nan)

    def _directions(self, x: Array, y: Array) -> Array:
        """Unit directions [n, 3] of points of the plane."""
        if self.name != "equidistant":
            rays = np.stack([x, y, np.ones_like(x)], axis=-1)
            return rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        angle = np.hypot(x, y)
        factor = np.sinc(angle / np.pi)  # sin(angle) / angle
        return np.stack([x * factor, y * factor, np.cos(angle)], axis=-1)


PINHOLE = LensModel("plumb_bob")
