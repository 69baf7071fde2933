"""The sky over the street: gradient, sun glow, clouds, a hazy skyline, and ground below the horizon."""

from __future__ import annotations

import numpy as np

from r3d2_ros.geometry import Array
from r3d2_ros.sky import Sky
from r3d2_ros.street.noise import fractal, smoothstep
from r3d2_ros.street.options import Sun

WIDTH_PX, HEIGHT_PX = 2048, 1024


def make_sky(sun: Sun, seed: int) -> Sky:
    """Equirectangular image in displayed colours (conventions of `Sky`), the sun at its place in the map frame."""
    rows = np.concatenate([_band(sun, seed, low, low + 128) for low in range(0, HEIGHT_PX, 128)])
    levels = np.round(np.clip(rows, 0, 1) * 255).astype(np.uint8)
    return Sky(image=(levels / np.float32(255)).astype(np.float32))


def _band(sun: Sun, seed: int, first: int, last: int) -> Array:
    elevation = np.pi / 2 - (np.arange(first, last) + 0.5) * np.pi / HEIGHT_PX
    azimuth = np.pi - (np.arange(WIDTH_PX) + 0.5) * 2 * np.pi / WIDTH_PX
    el, az = np.meshgrid(elevation, azimuth, indexing="ij")
    direction = np.stack([np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)], axis=-1)
    up = np.clip(direction[..., 2], 0, 1)
    zenith, middle, horizon = (
        np.array([0.27, 0.46, 0.73]),
        np.array([0.49, 0.66, 0.86]),
        np.array([0.80, 0.87, 0.92]),
    )
    a, b = smoothstep(0.0, 0.32, up)[..., None], smoothstep(0.22, 1.0, up)[..., None]
    colour = (horizon * (1 - a) + middle * a) * (1 - b) + zenith * b
    toward = np.clip(direction @ sun.direction, -1, 1)
    angle = np.arccos(toward)
    glow = 0.30 * np.exp(-angle / 0.30) + 0.16 * np.exp(-angle / 0.9)
    colour = colour + glow[..., None] * (np.array([1.0, 0.93, 0.80]) - 0.35 * colour)
    if elevation[0] > 0:
        colour = _clouds(colour, direction, toward, seed)
    disc = smoothstep(0.030, 0.012, angle)[..., None]
    colour = colour * (1 - disc) + disc * np.array([1.0, 0.99, 0.94])
    colour = _skyline(colour, el, azimuth, seed)
    below = smoothstep(0.002, -0.012, el)[..., None]
    ground = np.array([0.47, 0.48, 0.44]) * (1 - 0.35 * smoothstep(0.0, -0.5, el))[..., None]
    return colour * (1 - below) + ground * below


def _clouds(colour: Array, direction: Array, toward: Array, seed: int) -> Array:
    """Flat-bottomed clouds on a plane overhead: cover from fractal noise, lit from the sun's side."""
    height = np.maximum(direction[..., 2], 0.02) + 0.10
    x, y = direction[..., 0] / height * 1.5, direction[..., 1] / height * 1.5
    warp = 0.7 * (fractal(x * 0.9, y * 0.9, octaves=3, seed=seed + 90) - 0.5)
    density = fractal(x + warp, y - warp, octaves=6, seed=seed + 91, gain=0.52)
    cover = smoothstep(0.505, 0.68, density) * smoothstep(0.015, 0.14, direction[..., 2])
    thick = smoothstep(0.58, 0.80, density)
    white = np.array([0.975, 0.97, 0.96]) + 0.04 * np.clip(toward, 0, 1)[..., None] ** 4
    shaded = np.array([0.74, 0.78, 0.83])
    cloud = white * (1 - 0.7 * thick[..., None]) + shaded * 0.7 * thick[..., None]
    opacity = (0.88 * cover)[..., None]
    return colour * (1 - opacity) + cloud * opacity


def _skyline(colour: Array, el: Array, az: Array, seed: int) -> Array:
    """Distant hills, then nearer woods, both washed out by the air; `az` [W] are the columns' azimuths."""
    ring_x, ring_y = np.cos(az) * 4, np.sin(az) * 4
    hills = np.deg2rad(0.6 + 2.6 * fractal(ring_x * 0.8, ring_y * 0.8, octaves=5, seed=seed + 95) ** 1.5)
    woods = np.deg2rad(0.4 + 1.3 * fractal(ring_x * 5, ring_y * 5, octaves=5, seed=seed + 96, gain=0.62))
    for edge, tone in ((hills, [0.63, 0.71, 0.77]), (woods, [0.46, 0.53, 0.50])):
        cover = smoothstep(0.0008, -0.0012, el - edge)[..., None]
        colour = colour * (1 - cover) + np.array(tone) * cover
    return colour
