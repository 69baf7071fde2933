"""Rigid, similarity and affine transforms in float64. A transform `T_dst_src` maps src points to dst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

QUAT_TOLERANCE = 1e-3
"""How far from 1 the length of a quaternion in a file may be: enough for four decimals; angles are further off."""


def quat_normalize(quat_wxyz: ArrayLike) -> Array:
    """Unit quaternions [..., 4] (wxyz). ValueError for a zero or non-finite one."""
    quat = np.asarray(quat_wxyz, np.float64)
    norm = np.linalg.norm(quat, axis=-1, keepdims=True)
    if not np.all(np.isfinite(norm)) or np.any(norm < 1e-9):
        raise ValueError(f"expected a finite quaternion of non-zero length, got {quat.tolist()}")
    return quat / norm


def quat_to_matrix(quat_wxyz: ArrayLike) -> Array:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] (wxyz, normalised here)."""
    w, x, y, z = np.moveaxis(quat_normalize(quat_wxyz), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quat(rotation: ArrayLike) -> Array:
    """Quaternion [4] (wxyz, w >= 0) of a rotation matrix [3, 3] (Shepperd's method)."""
    m = np.asarray(rotation, np.float64)
    trace = np.trace(m)
    candidates = np.array([trace, m[0, 0], m[1, 1], m[2, 2]])
    i = int(np.argmax(candidates))
    if i == 0:
        quat = np.array([1 + trace, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    else:
        a, b, c = i - 1, i % 3, (i + 1) % 3
        quat = np.empty(4)
        quat[0] = m[c, b] - m[b, c]
        quat[1 + a] = 1 + m[a, a] - m[b, b] - m[c, c]
        quat[1 + b] = m[b, a] + m[a, b]
        quat[1 + c] = m[c, a] + m[a, c]
    quat = quat_normalize(quat)
    return -quat if quat[0] < 0 else quat


def quat_multiply(a_wxyz: ArrayLike, b_wxyz: ArrayLike) -> Array:
    """Hamilton product a*b of quaternions [..., 4] (wxyz)."""
    aw, ax, ay, az = np.moveaxis(np.asarray(a_wxyz, np.float64), -1, 0)
    bw, bx, by, bz = np.moveaxis(np.asarray(b_wxyz, np.float64), -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def slerp(a_wxyz: ArrayLike, b_wxyz: ArrayLike, fraction: float) -> Array:
    """Shortest-arc spherical interpolation between two unit quaternions [4] (wxyz), fraction in [0, 1]."""
    a, b = quat_normalize(a_wxyz), quat_normalize(b_wxyz)
    dot = float(a @ b)
    if dot < 0:
        b, dot = -b, -dot
    if dot > 1 - 1e-9:
        return quat_normalize(a + fraction * (b - a))
    angle = np.arccos(dot)
    return (np.sin((1 - fraction) * angle) * a + np.sin(fraction * angle) * b) / np.sin(angle)


def rotation_from_rpy(roll_rad: float, pitch_rad: float, yaw_rad: float) -> Array:
    """Rotation [3, 3] of fixed-axis roll, pitch, yaw: Rz(yaw) Ry(pitch) Rx(roll) (REP-103, URDF)."""
    cr, sr = np.cos(roll_rad), np.sin(roll_rad)
    cp, sp = np.cos(pitch_rad), np.sin(pitch_rad)
    cy, sy = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def _array(value: ArrayLike, shape: tuple[int, ...], name: str) -> Array:
    array = np.array(value, np.float64)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name}: expected finite numbers, got {array.tolist()}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Affine:
    """p_dst = linear @ p_src + translation. `linear` [3, 3] may scale and shear; float64, read-only."""

    linear: Array
    translation: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "linear", _array(self.linear, (3, 3), "linear"))
        object.__setattr__(self, "translation", _array(self.translation, (3,), "translation"))

    def __matmul__(self, other: Affine) -> Affine:
        return Affine(self.linear @ other.linear, self.apply(other.translation))

    def apply(self, points: ArrayLike) -> Array:
        """Transform points [..., 3]."""
        return np.asarray(points, np.float64) @ self.linear.T + self.translation

    def matrix(self) -> Array:
        """Homogeneous [4, 4]."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.linear, self.translation
        return out


@dataclass(frozen=True, eq=False)
class Rigid:
    """p_dst = rotation @ p_src + translation. float64, read-only; metres unless the frame says otherwise."""

    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        rotation = _array(self.rotation, (3, 3), "rotation")
        error = np.abs(rotation @ rotation.T - np.eye(3)).max()
        if error > 1e-4 or np.linalg.det(rotation) < 0:
            raise ValueError(f"expected a right-handed rotation matrix, got {rotation.tolist()}")
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", _array(self.translation, (3,), "translation"))

    @classmethod
    def identity(cls) -> Self:
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_quat(cls, quat_wxyz: ArrayLike, translation: ArrayLike = (0.0, 0.0, 0.0)) -> Self:
        """From a quaternion [4] (wxyz, normalised here) and a translation [3]."""
        return cls(quat_to_matrix(quat_wxyz), np.asarray(translation, np.float64))

    @classmethod
    def from_rpy(cls, rpy_rad: ArrayLike, translation: ArrayLike = (0.0, 0.0, 0.0)) -> Self:
        """From fixed-axis roll, pitch, yaw [3] in radians (URDF) and a translation [3]."""
        roll, pitch, yaw = np.asarray(rpy_rad, np.float64)
        return cls(rotation_from_rpy(roll, pitch, yaw), np.asarray(translation, np.float64))

    @classmethod
    def from_xyz_yaw(cls, x_m: float, y_m: float, z_m: float, yaw_rad: float) -> Self:
        """A pose on the ground plane: heading `yaw_rad` about z, counter-clockwise from x."""
        return cls(rotation_from_rpy(0.0, 0.0, yaw_rad), np.array([x_m, y_m, z_m]))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Self:
        """From a homogeneous matrix [4, 4] or [3, 4]."""
        m = np.asarray(matrix, np.float64)
        return cls(m[:3, :3], m[:3, 3])

    @property
    def quat_wxyz(self) -> Array:
        return matrix_to_quat(self.rotation)

    @property
    def yaw_rad(self) -> float:
        """Heading of the x axis in the xy plane."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))

    def __matmul__(self, other: Rigid) -> Rigid:
        return Rigid(self.rotation @ other.rotation, self.apply(other.translation))

    def inverse(self) -> Rigid:
        return Rigid(self.rotation.T, -self.rotation.T @ self.translation)

    def apply(self, points: ArrayLike) -> Array:
        """Transform points [..., 3]."""
        return np.asarray(points, np.float64) @ self.rotation.T + self.translation

    def matrix(self) -> Array:
        """Homogeneous [4, 4]."""
        out = np.eye(4)
        out[:3, :3], out[:3, 3] = self.rotation, self.translation
        return out

    def interpolate(self, other: Rigid, fraction: float) -> Rigid:
        """Linear in the translation, slerp in the rotation; fraction 0 gives self, 1 gives other."""
        if fraction == 0.0:
            return self
        if fraction == 1.0:
            return other
        translation = self.translation + fraction * (other.translation - self.translation)
        if np.array_equal(self.rotation, other.rotation):
            return Rigid(self.rotation, translation)
        return Rigid.from_quat(slerp(self.quat_wxyz, other.quat_wxyz, fraction), translation)


@dataclass(frozen=True, eq=False)
class Similarity:
    """p_dst = scale * rotation @ p_src + translation, scale > 0."""

    rotation: Array
    translation: Array
    scale: float = 1.0

    def __post_init__(self) -> None:
        rigid = Rigid(self.rotation, self.translation)
        object.__setattr__(self, "rotation", rigid.rotation)
        object.__setattr__(self, "translation", rigid.translation)
        object.__setattr__(self, "scale", float(self.scale))
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"expected a positive scale, got {self.scale}")

    @classmethod
    def identity(cls) -> Self:
        return cls(np.eye(3), np.zeros(3), 1.0)

    def affine(self) -> Affine:
        return Affine(self.scale * self.rotation, self.translation)

    def apply(self, points: ArrayLike) -> Array:
        """Transform points [..., 3]."""
        return self.scale * (np.asarray(points, np.float64) @ self.rotation.T) + self.translation

    def inverse(self) -> Similarity:
        rotation = self.rotation.T
        return Similarity(rotation, -rotation @ self.translation / self.scale, 1.0 / self.scale)
