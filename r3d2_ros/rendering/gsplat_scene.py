"""A placed scene on a device: one buffer with the static background in front and the actors behind it.

The background is uploaded once and stays where it is; each frame moves the actors within the rest of the
buffer. All positions are relative to a local origin that depends on the scene alone, so that float32 is enough
far from the origin of the world.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from r3d2_ros.gaussians import SH_C0, Gaussians
from r3d2_ros.geometry import Array
from r3d2_ros.rendering.base import PlacedGaussians, PlacedScene
from r3d2_ros.rendering.cuda_copies import to_device

SphericalHarmonics = Callable[[int, Tensor, Tensor], Tensor]
"""gsplat.spherical_harmonics: degree, directions [n, 3], coefficients [n, K, 3] -> [n, 3]."""
SPARE = 1.5
"""Room for actors is made this many times as large as needed, so that it is seldom enlarged."""


def local_origin(scene: PlacedScene) -> Array:
    """Where the buffer has its zero, [3] float64 in the world: where the background has its own.

    Without a background, where the first actor is.
    """
    filled = [node for node in scene.nodes if len(node.gaussians)]
    node = filled[0] if filled else scene.background
    return node.T_world_node.apply(node.gaussians.origin)


def rotated(matrices: Tensor, vectors: Tensor) -> Tensor:
    """matrices [..., 3, 3] times vectors [n, 3].

    Not a matmul: that would lose 13 bits of a coordinate where a process has allowed TF32, as harmonizers do.
    """
    return (matrices * vectors[:, None, :]).sum(-1)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a [..., 3, 3] times b [..., 3, 3], in float32 whatever matmul may do (see `rotated`)."""
    terms = [a[..., :, k, None] * b[..., None, k, :] for k in range(3)]
    return terms[0] + terms[1] + terms[2]


def covariances(roots: Tensor) -> Tensor:
    """Covariances [n, 3, 3] of their square roots [n, 3, 3]: root @ root^T."""
    return product(roots, roots.transpose(-1, -2))


def covariance_roots(quats: Tensor, scales: Tensor) -> Tensor:
    """R S [n, 3, 3] of quaternions [n, 4] (wxyz) and standard deviations [n, 3]."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    rotation = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    return rotation * scales[:, None, :]


@dataclass(frozen=True, eq=False)
class DeviceGaussians:
    """One asset on the device: means [n, 3], covariance roots [n, 3, 3], opacities [n], sh [n, K, 3]."""

    means: Tensor
    roots: Tensor
    opacities: Tensor
    sh: Tensor

    @classmethod
    def upload(cls, gaussians: Gaussians, device: torch.device) -> DeviceGaussians:
        quats, scales = on_device(gaussians.quats, device), on_device(gaussians.scales, device)
        return cls(
            means=on_device(gaussians.means, device),
            roots=covariance_roots(quats, scales),
            opacities=on_device(gaussians.opacities, device),
            sh=on_device(gaussians.sh, device),
        )


@dataclass(eq=False)
class _Section:
    """A run of the buffer that is coloured in one go.

    to_node  [3, 3] or [n, 3, 3]: turns world directions into the frame of the spherical harmonics
    written  whether the parts of the colours that no camera changes stand in the buffer
    """

    begin: int
    sh: Tensor
    to_node: Tensor
    actor: bool
    written: bool = False

    @property
    def rows(self) -> slice:
        return slice(self.begin, self.begin + len(self.sh))

    @property
    def degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1


@dataclass(frozen=True, eq=False)
class _Actors:
    """What a set of actors needs of the device as long as only their poses change.

    node  [n] int64: which actor a row belongs to
    """

    assets: tuple[Gaussians, ...]
    means: Tensor
    roots: Tensor
    node: Tensor


class DeviceScene:
    """The buffers, and what stands in them. `place` a scene, then ask for the `colours` of a group of cameras."""

    def __init__(self, device: torch.device, spherical_harmonics: SphericalHarmonics) -> None:
        self._device = device
        self._spherical_harmonics = spherical_harmonics
        self._uploaded: WeakKeyDictionary[Gaussians, DeviceGaussians] = WeakKeyDictionary()
        self._means = torch.empty((0, 3), device=device)
        self._covars = torch.empty((0, 3, 3), device=device)
        self._opacities = torch.empty(0, device=device)
        self._colours = torch.empty((0, 0, 4), device=device)
        self._background: PlacedGaussians | None = None
        self._sections: list[_Section] = []
        self._actors: _Actors | None = None
        self.origin = np.zeros(3)
        self.background_count = 0
        self.count = 0

    @property
    def means(self) -> Tensor:
        """[N, 3] metres, relative to `origin`."""
        return self._means[: self.count]

    @property
    def covars(self) -> Tensor:
        """[N, 3, 3] square metres."""
        return self._covars[: self.count]

    @property
    def opacities(self) -> Tensor:
        """[N]."""
        return self._opacities[: self.count]

    @property
    def actor_nodes(self) -> Tensor:
        """[N - background_count] int64: which of `scene.actors` a Gaussian behind the background's belongs to."""
        if self._actors is None:
            return torch.empty(0, dtype=torch.int64, device=self._device)
        return self._actors.node

    def place(self, scene: PlacedScene) -> None:
        """Upload what the device does not hold yet, and put the actors where they are now."""
        assets = tuple(actor.gaussians for actor in scene.actors)
        origin = local_origin(scene)
        background_count = len(scene.background.gaussians)
        needed = background_count + sum(len(asset) for asset in assets)
        if not self._holds_background(scene.background):
            self._reserve(needed, background_count, kept=0)
            self._load_background(scene.background)
        elif needed > len(self._means):
            self._reserve(needed, background_count, kept=background_count)
        if self._actors is None or not _same_objects(self._actors.assets, assets):
            self._load_actors(assets)
        self.origin, self.count = origin, needed
        if needed > background_count:
            self._move_actors(scene.actors)

    def colours(self, camera_positions: Array) -> Tensor:
        """[C, N, 4]: red, green, blue seen from world positions [C, 3], and 1 for actors, 0 for the background.

        The tensor is overwritten by the next call.
        """
        cameras = to_device((camera_positions - self.origin).astype(np.float32), self._device)
        if len(cameras) > len(self._colours):
            self._colours = torch.empty((len(cameras), len(self._means), 4), device=self._device)
            for section in self._sections:
                section.written = False
        for section in self._sections:
            self._write_colours(section, cameras)
        return self._colours[: len(cameras), : self.count]

    def _holds_background(self, node: PlacedGaussians) -> bool:
        held = self._background
        return (
            held is not None
            and held.gaussians is node.gaussians
            and np.array_equal(held.T_world_node.linear, node.T_world_node.linear)
            and np.array_equal(held.T_world_node.translation, node.T_world_node.translation)
            and np.array_equal(held.R_world_node, node.R_world_node)
        )

    def _reserve(self, needed: int, background_count: int, *, kept: int) -> None:
        """Buffers for `needed` rows and some spare ones; the first `kept` rows stay."""
        rows = background_count + int(SPARE * (needed - background_count))
        for name in ("_means", "_covars", "_opacities"):
            old = getattr(self, name)
            new = torch.empty((rows, *old.shape[1:]), device=self._device)
            new[:kept] = old[:kept]
            setattr(self, name, new)
        self._colours = torch.empty((len(self._colours), rows, 4), device=self._device)
        for section in self._sections:
            section.written = False
        self._actors = None

    def _load_background(self, node: PlacedGaussians) -> None:
        g, linear = node.gaussians, node.T_world_node.linear
        self._background, self.background_count = node, len(g)
        uploaded = DeviceGaussians.upload(g, self._device)
        world_linear = on_device(linear.astype(np.float32), self._device)
        rows = slice(0, len(g))
        self._means[rows] = on_device((g.means @ linear.T).astype(np.float32), self._device)
        self._covars[rows] = covariances(product(world_linear, uploaded.roots))
        self._opacities[rows] = uploaded.opacities
        to_node = on_device(node.R_world_node.T.astype(np.float32), self._device)
        self._sections = [_Section(0, uploaded.sh, to_node, actor=False)]

    def _load_actors(self, assets: tuple[Gaussians, ...]) -> None:
        """Everything of the actors that does not depend on where they are."""
        del self._sections[1:]
        parts = [self._uploaded_asset(asset) for asset in assets]
        counts = torch.tensor([len(part.means) for part in parts], dtype=torch.int64, device=self._device)
        node = torch.repeat_interleave(torch.arange(len(parts), device=self._device), counts)
        begin, end = self.background_count, self.background_count + len(node)
        if end == begin:
            empty = torch.empty(0, device=self._device)
            self._actors = _Actors(assets, empty, empty, node)
            return
        means, roots = torch.cat([part.means for part in parts]), torch.cat([part.roots for part in parts])
        self._actors = _Actors(assets, means, roots, node)
        self._opacities[begin:end] = torch.cat([p.opacities for p in parts])
        most = max(part.sh.shape[1] for part in parts)
        sh = torch.cat([torch.nn.functional.pad(p.sh, (0, 0, 0, most - p.sh.shape[1])) for p in parts])
        self._sections.append(_Section(begin, sh, torch.eye(3, device=self._device), actor=True))

    def _uploaded_asset(self, asset: Gaussians) -> DeviceGaussians:
        if asset not in self._uploaded:
            self._uploaded[asset] = DeviceGaussians.upload(asset, self._device)
        return self._uploaded[asset]

    def _move_actors(self, actors: Sequence[PlacedGaussians]) -> None:
        held = self._actors
        assert held is not None
        poses = to_device(pose_table(actors, self.origin), self._device)[held.node]
        linear, translation, to_node = poses[:, :9], poses[:, 9:12], poses[:, 12:]
        linear, to_node = linear.unflatten(1, (3, 3)), to_node.unflatten(1, (3, 3))
        rows = slice(self.background_count, self.count)
        self._means[rows] = rotated(linear, held.means) + translation
        self._covars[rows] = covariances(product(linear, held.roots))
        self._sections[-1].to_node = to_node

    def _write_colours(self, section: _Section, cameras: Tensor) -> None:
        rows = section.rows
        if not section.written:
            self._colours[:, rows, 3] = float(section.actor)
            if section.degree == 0:
                self._colours[:, rows, :3] = (SH_C0 * section.sh[:, 0] + 0.5).clamp_min_(0.0)
            section.written = True
        if section.degree == 0:
            return
        for camera, colours in zip(cameras, self._colours, strict=False):
            directions = rotated(section.to_node, self._means[rows] - camera)
            colour = self._spherical_harmonics(section.degree, directions, section.sh)
            colours[rows, :3] = (colour + 0.5).clamp_min_(0.0)


def pose_table(actors: Sequence[PlacedGaussians], origin: Array) -> NDArray[np.float32]:
    """[M, 21] float32, formed in float64: linear part and translation to the world, rotation from the world.

    The translation is relative to `origin` and that of the Gaussians' own origin.
    """
    table = np.empty((len(actors), 21))
    for row, actor in zip(table, actors, strict=True):
        row[:9] = actor.T_world_node.linear.ravel()
        row[9:12] = actor.T_world_node.apply(actor.gaussians.origin) - origin
        row[12:] = actor.R_world_node.T.ravel()
    return table.astype(np.float32)


def on_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """A tensor of the array on the device, never sharing the array's memory."""
    return torch.tensor(array, device=device)


def _same_objects(a: tuple[Gaussians, ...], b: tuple[Gaussians, ...]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))
