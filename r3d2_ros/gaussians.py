"""Gaussians: activated 3D Gaussian parameters in one frame, with a float64 local origin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

SH_C0 = 0.28209479177387814
"""Value of the degree-0 real spherical harmonic: colour = SH_C0 * sh[0] + 0.5."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Activated Gaussian parameters (INRIA conventions after activation).

    means      [N, 3] float32, relative to `origin`: the frame's position is `origin + means`
    quats      [N, 4] float32 unit, wxyz
    scales     [N, 3] float32 standard deviations > 0, in the frame's unit
    opacities  [N]    float32 in (0, 1)
    sh         [N, K, 3] float32, K = 1, 4, 9 or 16; colour = max(0, SH(direction) + 0.5) where the
               direction goes from the camera to the mean, in this frame
    origin     [3]    float64. Zero unless the frame's coordinates are too large for exact pictures in float32
               (UTM, MGRS, or a kilometre from the frame's zero); it depends on the file alone.
    """

    means: NDArray[np.float32]
    quats: NDArray[np.float32]
    scales: NDArray[np.float32]
    opacities: NDArray[np.float32]
    sh: NDArray[np.float32]
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        n = len(self.means)
        expected = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)}
        for name, shape in expected.items():
            self._coerce(name, shape)
        k = self.sh.shape[1] if self.sh.ndim == 3 else -1
        if k not in (1, 4, 9, 16):
            raise ValueError(f"sh: expected [N, 1|4|9|16, 3], got {self.sh.shape}")
        self._coerce("sh", (n, k, 3))
        object.__setattr__(self, "origin", np.asarray(self.origin, np.float64).reshape(3))

    def _coerce(self, name: str, shape: tuple[int, ...]) -> None:
        array = np.ascontiguousarray(getattr(self, name), np.float32)
        if array.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self.means, self.quats, self.scales, self.opacities, self.sh))

    def select(self, index: NDArray) -> Gaussians:
        """The rows of a boolean mask [N] or an index array, same origin."""
        return replace(
            self,
            means=self.means[index],
            quats=self.quats[index],
            scales=self.scales[index],
            opacities=self.opacities[index],
            sh=self.sh[index],
        )


def concatenate(parts: list[Gaussians]) -> Gaussians:
    """One Gaussians of several in the same frame; SH is zero-padded to the highest degree.

    All parts must share one origin (ValueError otherwise): this is for building scenes, not for
    composing frames.
    """
    if not parts:
        raise ValueError("expected at least one part")
    if any(not np.array_equal(p.origin, parts[0].origin) for p in parts):
        raise ValueError("expected parts with one common origin")
    k = max(p.sh.shape[1] for p in parts)
    sh = [np.pad(p.sh, ((0, 0), (0, k - p.sh.shape[1]), (0, 0))) for p in parts]
    return Gaussians(
        means=np.concatenate([p.means for p in parts]),
        quats=np.concatenate([p.quats for p in parts]),
        scales=np.concatenate([p.scales for p in parts]),
        opacities=np.concatenate([p.opacities for p in parts]),
        sh=np.concatenate(sh),
        origin=parts[0].origin,
    )


def rgb_to_sh(rgb: NDArray) -> NDArray[np.float32]:
    """Degree-0 coefficients [N, 1, 3] whose colour is `rgb` [N, 3] in [0, 1]."""
    return ((np.asarray(rgb, np.float64) - 0.5) / SH_C0).astype(np.float32)[:, None, :]
