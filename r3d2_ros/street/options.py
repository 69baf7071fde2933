"""What a street is made from: options and the sun."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array

MIN_LENGTH_M, MAX_LENGTH_M = 40.0, 2000.0


@dataclass(frozen=True)
class Sun:
    """A directional sun with a blue sky around it, in linear light.

    azimuth_deg    direction towards the sun, counter-clockwise from the x axis of the frame it is used in
    elevation_deg  above the horizon
    power, sky     irradiance of the sun and of the whole sky on a surface that faces them, in units in which a
                   white surface of radiance 1 is displayed almost white
    """

    azimuth_deg: float = 128.0
    elevation_deg: float = 46.0
    power: tuple[float, float, float] = (1.18, 1.04, 0.86)
    sky: tuple[float, float, float] = (0.36, 0.43, 0.54)

    @property
    def direction(self) -> Array:
        """Unit vector [3] towards the sun."""
        azimuth, elevation = np.deg2rad([self.azimuth_deg, self.elevation_deg])
        return np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])


def check_detail(where: str, detail: float) -> None:
    """InputError for a sampling density that no street can have."""
    if not 0.3 <= detail <= 2.0:
        raise InputError(where, "0.3 to 2", f"{detail:g}")


@dataclass(frozen=True)
class StreetOptions:
    """Everything a street is a function of.

    seed               chooses houses, trees, colours
    length_m           length of the drive when `path` is None: along +x of map, from the origin
    path               positions of base_link in map (x, y, z in metres), any place in the world; the street is built
                       around it, `None` for a straight one
    sun_azimuth_deg    towards the sun, counter-clockwise from +x of map
    sun_elevation_deg  15 to 80
    sun_power, sky     irradiance of the sun and of the sky, see `Sun`
    detail             multiplies the sampling density per length: 1 gives about 850 000 splats for 240 m
    """

    seed: int = 7
    length_m: float = 240.0
    path: tuple[tuple[float, float, float], ...] | None = None
    sun_azimuth_deg: float = Sun.azimuth_deg
    sun_elevation_deg: float = Sun.elevation_deg
    sun_power: tuple[float, float, float] = Sun.power
    sky: tuple[float, float, float] = Sun.sky
    detail: float = 1.0

    def __post_init__(self) -> None:
        if not MIN_LENGTH_M <= self.length_m <= MAX_LENGTH_M:
            raise InputError("street: length_m", f"{MIN_LENGTH_M:g} to {MAX_LENGTH_M:g} metres", f"{self.length_m:g}")
        if not np.isfinite(self.sun_azimuth_deg):
            raise InputError("street: sun_azimuth_deg", "a finite number of degrees", f"{self.sun_azimuth_deg:g}")
        if not 15.0 <= self.sun_elevation_deg <= 80.0:
            raise InputError("street: sun_elevation_deg", "15 to 80 degrees", f"{self.sun_elevation_deg:g}")
        check_detail("street: detail", self.detail)
        if not all(0.0 <= value <= 10.0 for value in (*self.sun_power, *self.sky)):
            raise InputError("street: sun_power and sky", "0 to 10", f"{self.sun_power} and {self.sky}")
        if self.path is not None:
            self._check_path(np.asarray(self.path, np.float64))

    @staticmethod
    def _check_path(path: Array) -> None:
        if path.ndim != 2 or path.shape[1] != 3 or len(path) < 2:
            raise InputError("street: path", "at least two points (x, y, z)", f"an array of shape {path.shape}")
        if not np.all(np.isfinite(path)):
            raise InputError("street: path", "finite coordinates", "NaN or infinity")
        length = float(np.linalg.norm(np.diff(path[:, :2], axis=0), axis=1).sum())
        if not 1.0 <= length <= MAX_LENGTH_M:
            raise InputError("street: path", f"a drive of 1 to {MAX_LENGTH_M:g} metres", f"one of {length:.2f} m")

    @property
    def sun(self) -> Sun:
        return Sun(self.sun_azimuth_deg, self.sun_elevation_deg, self.sun_power, self.sky)
