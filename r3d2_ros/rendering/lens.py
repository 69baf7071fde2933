"""Pictures of cameras with lens distortion, made of renders without it: pinholes that cover what the lens sees.

Renderer and harmonizer see pinholes alone, as R3D2 was trained on. A lens that sees far to the sides has several of
them, its faces, each turned towards its part of what is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import Camera
from r3d2_ros.errors import InputError
from r3d2_ros.geometry import Array, Rigid
from r3d2_ros.rendering.frames import HostImage

WIDEST_FACE_DEG = 70.0
"""Rays of a face are as near to its axis as this: farther out a pinhole spends its pixels where the lens has few. Five
faces of a cube always are, for rays within `lenses.WIDEST_DEG`."""

ONE_FACE_DEG = 50.0
"""No lens that sees no farther to the sides needs more than one."""

SEVERAL_COST = 2.0
"""Several faces must save more than half of one's pixels: the scene is sorted for each, and their renders differ."""

SEAM_DEG = 4.0
"""Faces whose axes are nearly as near to a ray as the nearest one share its pixel, up to this difference."""

FINE_SHARE = 0.9
"""For this part of its pixels a face is as fine as the lens, or finer."""

SAMPLE_PX = 4
"""The faces' directions and focal lengths follow from every so many rows and columns."""

BORDER_PX = 1
"""Pixels of a face around what is looked up in it."""

SIDE_STEP_PX = 16
"""Sides of faces are multiples of this."""

MOST_TIMES = 8.0
"""Faces with more than so many times the pixels of their camera and SMALL_PX are refused: K and D do not fit it."""

SMALL_PX = 10_000

LARGEST_SIDE_PX = 32_766
"""OpenCV's maps end there."""


class Lens:
    """The pinholes that are to be rendered for a camera, its `faces`, and the camera's pictures of those renders.

    A camera without distortion is its own face, and the renders are its pictures. Of the others' pictures, pixels that
    no ray reaches are black, of no actor and without depth. InputError where no ray reaches any, and where the faces
    would be too large.
    """

    def __init__(self, camera: Camera) -> None:
        self._size = (camera.height_px, camera.width_px)
        self._parts: tuple[_Part, ...] = ()
        self.faces: tuple[Camera, ...] = (camera,)
        if camera.is_distorted:
            aims, _ = _aims(camera)
            rays = camera.rays()
            plans = _plans(rays, aims)
            sizes = _sizes(plans)
            _check_sizes(camera, sizes)
            seam = np.sum([plan.share > 0 for plan in plans], axis=0) > 1
            self._seam = np.nonzero(seam)
            order = np.where(seam, np.cumsum(seam).reshape(self._size) - 1, -1)
            self._parts = tuple(_part(plan, rays, order) for plan in plans)
            names = [camera.name] if len(plans) == 1 else [f"{camera.name}[{i}]" for i in range(len(plans))]
            self.faces = tuple(_face(camera, *face) for face in zip(plans, sizes, names, strict=True))

    @property
    def is_identity(self) -> bool:
        """Whether the renders are the pictures."""
        return not self._parts

    def picture(self, renders: Sequence[NDArray]) -> NDArray:
        """[H, W] or [H, W, 3] of the faces' images, uint8 or float32, interpolated; a mix of both where two meet."""
        if self.is_identity:
            return renders[0]
        out = np.zeros((*self._size, *renders[0].shape[2:]), renders[0].dtype)
        mixed = np.zeros((len(self._seam[0]), *renders[0].shape[2:]), np.float32)
        for part, render in zip(self._parts, renders, strict=True):
            values = cv2.remap(render, *part.linear, cv2.INTER_LINEAR)
            cv2.copyTo(values, part.alone, out[part.rows, part.columns])
            share = part.share.reshape(-1, *[1] * (mixed.ndim - 1))
            mixed[part.in_seam] += share * values[part.shared]
        out[self._seam] = mixed if out.dtype == np.float32 else np.rint(mixed)
        return out

    def numbers(self, renders: Sequence[NDArray[np.uint16]]) -> NDArray[np.uint16]:
        """[H, W], of the face whose axis is nearest, and there of the nearest pixel."""
        if self.is_identity:
            return renders[0]
        out = np.zeros(self._size, np.uint16)
        for part, render in zip(self._parts, renders, strict=True):
            cv2.copyTo(part.nearest_of(render), part.mine, out[part.rows, part.columns])
        return out

    def depth(self, renders: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """[H, W] z-depth in the camera's frame of z-depths in the faces', as `numbers`; NaN where z is not above 0."""
        if self.is_identity:
            return renders[0]
        out = np.full(self._size, np.nan, np.float32)
        for part, render in zip(self._parts, renders, strict=True):
            cv2.copyTo(part.nearest_of(render) * part.forward, part.mine, out[part.rows, part.columns])
        return out


def check_lens(camera: Camera) -> None:
    """InputError as `Lens`, in a moment: from few of the pixels."""
    if camera.is_distorted:
        aims, rays = _aims(camera)
        _check_sizes(camera, _sizes(_plans(rays, aims)))


@dataclass(frozen=True, eq=False)
class LensPicture:
    """`Lens.picture` of images that may never be asked for."""

    lens: Lens
    renders: tuple[NDArray, ...]

    @cached_property
    def array(self) -> NDArray:
        """[H, W] or [H, W, 3], looked up when it is first asked for."""
        return self.lens.picture(self.renders)


@dataclass(frozen=True, eq=False)
class LensDepth:
    """`Lens.depth` of images that may still be on a GPU."""

    lens: Lens
    renders: tuple[HostImage, ...]

    @cached_property
    def array(self) -> NDArray[np.float32]:
        """[H, W], brought here and looked up when it is first asked for."""
        return self.lens.depth([render.array for render in self.renders])


@dataclass(frozen=True, eq=False)
class _Part:
    """What the picture takes of one face.

    rows, columns   of the picture that hold all of its pixels; [h, w] below are those
    linear          OpenCV's maps into the face, [h, w, 2] int16 and [h, w] uint16: whole pixels, and 1/32 pixel
    nearest         [h, w, 2] int16, of whole pixels
    mine            [h, w] uint8, not 0: the pixels to which its axis is nearest
    alone           [h, w] uint8, not 0: the pixels that no other face shares
    shared          indices of those that it shares, `in_seam` their numbers in the lens' list of such, and its `share`
    forward         [h, w] float32: z in the camera's frame for a z of 1 in the face's; NaN where that is not above 0
    """

    rows: slice
    columns: slice
    linear: tuple[NDArray[np.int16], NDArray[np.uint16]]
    nearest: NDArray[np.int16]
    mine: NDArray[np.uint8]
    alone: NDArray[np.uint8]
    shared: tuple[NDArray[np.intp], ...]
    in_seam: NDArray[np.intp]
    share: NDArray[np.float32]
    forward: NDArray[np.float32]

    def nearest_of(self, render: NDArray) -> NDArray:
        return cv2.remap(render, self.nearest, None, cv2.INTER_NEAREST)


@dataclass(frozen=True, eq=False)
class _Aim:
    """Where a face looks, R_camera_face [3, 3], and how fine it is, fx and fy [2]."""

    R_camera_face: Array
    focal_px: Array


@dataclass(frozen=True, eq=False)
class _Plan:
    """A face before its maps are made.

    number       in its layout, `mirrored` that of the face that looks to the other side
    mine         [H, W] bool: the pixels to which its axis is nearest
    share        [H, W] float32: how much of each pixel is of this face
    first, last  [2], corners of what its pixels see, as (x/z, y/z)
    widest_deg   largest angle of a ray from the face's axis
    """

    aim: _Aim
    number: int
    mirrored: int
    mine: NDArray[np.bool_]
    share: NDArray[np.float32]
    first: Array
    last: Array
    widest_deg: float

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        needed = np.ceil((self.last - self.first) * self.aim.focal_px) + 1 + 2 * BORDER_PX
        columns, rows = (int(side) for side in np.ceil(needed / SIDE_STEP_PX) * SIDE_STEP_PX)
        return columns, rows

    @property
    def K(self) -> Array:
        (fx, fy), (cx, cy) = self.aim.focal_px, BORDER_PX - self.first * self.aim.focal_px
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _aims(camera: Camera) -> tuple[list[_Aim], Array]:
    """Of the layout of faces that costs the least, and rays [h, w, 3] of some of the picture, from which it follows."""
    for step_px in (max(1, min(SAMPLE_PX, min(camera.height_px, camera.width_px) // 8)), 1):
        rays = camera.rays(step_px=step_px)
        seen = np.isfinite(rays[..., 0])
        if seen.any():
            lens_px = camera.K[[0, 1], [0, 1]]
            layouts = (_aimed(rays, turns, lens_px, step_px) for turns in _layouts(rays[seen]))
            return min(layouts, key=lambda aims: _cost(_plans(rays, aims))), rays
    raise InputError(f"camera '{camera.name}': D", "a lens that some pixel sees through", str(list(camera.D)))


def _layouts(rays: Array) -> Iterator[list[Array]]:
    """Rotations [3, 3] from faces to the camera: of one face, two or three beside each other, five of a cube.

    The first and the last mirror each other, and so do those that follow them.

    rays [n, 3]: the unit directions that are seen
    """
    yield [np.eye(3)]
    if rays[:, 2].min() < np.cos(np.deg2rad(ONE_FACE_DEG)):
        aside = np.abs(np.arctan2(rays[:, 0], rays[:, 2])).max()
        yield [_turned(yaw=yaw) for yaw in (-aside / 2, aside / 2)]
        yield [_turned(yaw=yaw) for yaw in (-aside * 2 / 3, 0, aside * 2 / 3)]
        quarter = np.pi / 2
        up, down = _turned(pitch=quarter), _turned(pitch=-quarter)
        yield [_turned(yaw=-quarter), up, np.eye(3), down, _turned(yaw=quarter)]


def _turned(*, pitch: float = 0.0, yaw: float = 0.0) -> Array:
    """Rotation [3, 3] about the optical frame's x axis, or its y axis."""
    return cv2.Rodrigues(np.array([pitch, yaw, 0.0]))[0]


def _aimed(rays: Array, turns: Sequence[Array], lens_px: Array, step_px: int) -> list[_Aim]:
    """Faces as fine as the lens, whose own fx, fy are `lens_px`. rays [h, w, 3] of each `step_px`-th row and column."""
    shares, _ = _shares(rays, turns)
    focal_px = (_focal_px(rays @ turn, share > 0) for turn, share in zip(turns, shares, strict=True))
    return [
        _Aim(turn, lens_px if focal is None else focal * step_px)
        for turn, focal in zip(turns, focal_px, strict=True)
    ]


def _focal_px(local: Array, used: NDArray[np.bool_]) -> Array | None:
    """fx, fy of a pinhole that is as fine as the picture whose rays [H, W, 3] in its frame are given.

    The picture's pixels for a unit of x/z, and of y/z, follow from how far neighbours are apart in these. None where no
    used pixel has neighbours.
    """
    if min(used.shape) < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = local[..., 0] / local[..., 2], local[..., 1] / local[..., 2]
        (x_down, x_across), (y_down, y_across) = np.gradient(x), np.gradient(y)
        area = np.abs(x_across * y_down - x_down * y_across)
        needed = np.stack([np.hypot(y_across, y_down), np.hypot(x_across, x_down)], axis=-1) / area[..., None]
    known = needed[used & np.isfinite(needed).all(axis=-1)]
    return np.quantile(known, FINE_SHARE, axis=0) if len(known) else None


def _shares(rays: Array, turns: Sequence[Array]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """How much of each pixel is of each face, [faces, H, W], and whose axis is nearest, [H, W]. Rays [H, W, 3]."""
    if len(turns) == 1:
        return np.isfinite(rays[None, ..., 0]).astype(np.float32), np.zeros(rays.shape[:2], np.intp)
    away = np.stack([_angle_deg(rays @ turn[:, 2]) for turn in turns])
    shares = np.clip(1.0 - (away - away.min(axis=0)) / SEAM_DEG, 0.0, 1.0)
    shares /= shares.sum(axis=0)
    return np.nan_to_num(shares, copy=False, nan=0.0), away.argmin(axis=0)


def _angle_deg(cosine: Array) -> NDArray[np.float32]:
    return np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))).astype(np.float32)


def _plans(rays: Array, aims: Sequence[_Aim]) -> list[_Plan]:
    """Each of the rays [H, W, 3] goes to the faces whose axes are nearest; a face that gets none is left out."""
    shares, nearest = _shares(rays, [aim.R_camera_face for aim in aims])
    plans = []
    for number, (aim, share) in enumerate(zip(aims, shares, strict=True)):
        used = share > 0
        if used.any():
            local = rays[used] @ aim.R_camera_face
            widest_deg = float(_angle_deg(local[:, 2].min()))
            with np.errstate(divide="ignore", invalid="ignore"):  # a layout that _cost will refuse
                flat = local[:, :2] / local[:, 2:]
            mine = used & (nearest == number)
            mirrored, first, last = len(aims) - 1 - number, flat.min(axis=0), flat.max(axis=0)
            plans.append(_Plan(aim, number, mirrored, mine, share, first, last, widest_deg))
    return plans


def _cost(plans: Sequence[_Plan]) -> float:
    """In pixels; infinite where a ray is too far from its face's axis."""
    if max(plan.widest_deg for plan in plans) > WIDEST_FACE_DEG:
        return np.inf
    return sum(plan.size[0] * plan.size[1] for plan in plans) * (1.0 if len(plans) == 1 else SEVERAL_COST)


def _sizes(plans: Sequence[_Plan]) -> list[tuple[int, int]]:
    """Columns and rows of the faces. Two that mirror each other have one size: a GPU renders them in one call."""
    needed = {plan.number: plan.size for plan in plans}
    pairs = ((needed[plan.number], needed.get(plan.mirrored, (0, 0))) for plan in plans)
    return [(max(a[0], b[0]), max(a[1], b[1])) for a, b in pairs]


def _check_sizes(camera: Camera, sizes: Sequence[tuple[int, int]]) -> None:
    times = sum(columns * rows for columns, rows in sizes) / (camera.width_px * camera.height_px + SMALL_PX)
    if times > MOST_TIMES or max(max(size) for size in sizes) > LARGEST_SIDE_PX:
        raise InputError(
            f"camera '{camera.name}': D",
            f"a lens that pinholes of up to {MOST_TIMES:g} times its pixels cover, {LARGEST_SIDE_PX} a side",
            ", ".join(f"{columns}x{rows}" for columns, rows in sizes),
            "Are K and D those of this image size? Without distortion: rig.lens: rectified.",
        )


def _face(camera: Camera, plan: _Plan, size: tuple[int, int], name: str) -> Camera:
    width_px, height_px = size
    T_ego_face = camera.T_ego_camera @ Rigid(plan.aim.R_camera_face, np.zeros(3))
    return replace(
        camera, name=name, width_px=width_px, height_px=height_px, K=plan.K, D=(), distortion_model="plumb_bob",
        T_ego_camera=T_ego_face,
    )  # fmt: skip


def _part(plan: _Plan, rays: Array, seam_order: NDArray[np.intp]) -> _Part:
    """seam_order [H, W]: number of each pixel in the lens' list of those that faces share, -1 for the others"""
    used = plan.share > 0
    window = rows, columns = _span(np.any(used, axis=1)), _span(np.any(used, axis=0))
    used, share, in_seam = used[window], plan.share[window], seam_order[window]
    local = rays[window] @ plan.aim.R_camera_face
    with np.errstate(divide="ignore", invalid="ignore"):
        at = (local / local[..., 2:]) @ plan.K.T
        forward = rays[window][..., 2] / local[..., 2]
    at = np.where(used[..., None], at[..., :2], 0.0).astype(np.float32)
    shared = np.nonzero(used & (in_seam >= 0))
    return _Part(
        rows=rows,
        columns=columns,
        linear=cv2.convertMaps(at, None, cv2.CV_16SC2),
        nearest=cv2.convertMaps(at, None, cv2.CV_16SC2, nninterpolation=True)[0],
        mine=plan.mine[window].astype(np.uint8),
        alone=(used & (in_seam < 0)).astype(np.uint8),
        shared=shared,
        in_seam=in_seam[shared],
        share=share[shared],
        forward=np.where(forward > 0, forward, np.nan).astype(np.float32),
    )


def _span(held: NDArray[np.bool_]) -> slice:
    """From the first to the last that is."""
    numbers = np.nonzero(held)[0]
    return slice(int(numbers[0]), int(numbers[-1]) + 1)
