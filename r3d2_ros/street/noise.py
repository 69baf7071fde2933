"""Seeded procedural noise on the plane: lattice hashes, value noise, fractal sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def hash01(a: ArrayLike, b: ArrayLike = 0, seed: int = 0) -> NDArray[np.float64]:
    """A repeatable number in [0, 1) for every pair of integers (broadcast): multiply, xor-shift, multiply."""
    with np.errstate(over="ignore"):
        x = np.asarray(a).astype(np.int64).astype(np.uint32) * np.uint32(0x9E3779B1)
        y = np.asarray(b).astype(np.int64).astype(np.uint32) * np.uint32(0x85EBCA77)
        h = (x ^ (y + np.uint32((seed * 0xC2B2AE3D) & 0xFFFFFFFF))) * np.uint32(0x27D4EB2F)
        h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(0x297A2D39)
        h = h ^ (h >> np.uint32(16))
    return h.astype(np.float64) / 2.0**32


def value_noise(x: ArrayLike, y: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """Smooth noise in [0, 1] with one lattice cell per unit."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    ix, iy = np.floor(x), np.floor(y)
    fx, fy = x - ix, y - iy
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    low = hash01(ix, iy, seed) * (1 - fx) + hash01(ix + 1, iy, seed) * fx
    high = hash01(ix, iy + 1, seed) * (1 - fx) + hash01(ix + 1, iy + 1, seed) * fx
    return low * (1 - fy) + high * fy


def fractal(x: ArrayLike, y: ArrayLike, *, octaves: int = 4, seed: int = 0, gain: float = 0.5) -> NDArray[np.float64]:
    """Sum of `octaves` value noises, each twice as fine and `gain` times as strong; in [0, 1]."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    total, weight = np.zeros(np.broadcast(x, y).shape), 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        total += amplitude * value_noise(x * 2**octave + 17.3 * octave, y * 2**octave - 9.1 * octave, seed + octave)
        weight += amplitude
    return total / weight


def smoothstep(low: float, high: float, value: ArrayLike) -> NDArray[np.float64]:
    """0 below `low`, 1 above `high`, smooth between (high < low reverses)."""
    f = np.clip((np.asarray(value, np.float64) - low) / (high - low), 0.0, 1.0)
    return f * f * (3 - 2 * f)
