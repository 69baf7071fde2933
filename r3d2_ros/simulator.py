"""Simulator.step: the only way a picture is made. A frame set is a pure function of a world state."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import Camera, CameraView, Rig
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.compositing.region import actor_boxes
from r3d2_ros.harmonizer.moment import Failed, Harmonized, Moment
from r3d2_ros.rendering.base import Renderer
from r3d2_ros.rendering.frames import DeviceRenderer, HostImage, RenderedFrame, render_frames
from r3d2_ros.rendering.lens import Lens, LensDepth, LensPicture
from r3d2_ros.rendering.rgb8 import content_hash
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.world import EgoState, WorldState

if TYPE_CHECKING:
    from r3d2_ros.harmonizer.harmonizer import Harmonizer
    from r3d2_ros.harmonizer.temporal.blend import TemporalHistory

FINISHING_THREADS = 4


@dataclass(frozen=True, eq=False)
class CameraFrame:
    """One camera's picture.

    rgb           [H, W, 3] uint8, after harmonizing
    rendered_image, mask_image, depth_image  what `rendered`, `mask` and `depth` are made of when they are asked for
    instance      [H, W] uint16 actor numbers, or None when not asked for
    content_hash  xxh3_128 of the row-major rgb pixels, 32 hexadecimal digits
    render_ms, harmonize_ms  wall time; a call for several cameras is shared equally among them. What it takes to look a
                  picture up through its lens is in render_ms
    raw           why the render is shown although a harmonizer was asked for; empty where it is not so
    """

    camera: Camera
    rgb: NDArray[np.uint8]
    rendered_image: NDArray[np.uint8] | LensPicture
    mask_image: NDArray[np.float32] | LensPicture | None
    depth_image: HostImage | LensDepth
    instance: NDArray[np.uint16] | None
    content_hash: str
    render_ms: float
    harmonize_ms: float
    raw: str = ""

    @property
    def rendered(self) -> NDArray[np.uint8]:
        """[H, W, 3] before harmonizing; the same array as `rgb` where no harmonizer changed it."""
        return _looked_up(self.rendered_image)

    @property
    def mask(self) -> NDArray[np.float32] | None:
        """[H, W] in [0, 1]: how much of the harmonizer's output each pixel has; None: nothing of it."""
        return None if self.mask_image is None else _looked_up(self.mask_image)

    @property
    def depth(self) -> NDArray[np.float32]:
        """[H, W] float32 z-depth in metres, NaN where nothing solid is seen."""
        return self.depth_image.array


def mask_bytes(frame: CameraFrame) -> NDArray[np.uint8]:
    """[H, W] uint8: how much of the harmonizer's output each pixel has, 255 for all of it."""
    mask = frame.mask
    if mask is None:
        return np.zeros(frame.rgb.shape[:2], np.uint8)
    return np.rint(mask * 255).astype(np.uint8)


def _looked_up(image: NDArray | LensPicture) -> NDArray:
    return image.array if isinstance(image, LensPicture) else image


@dataclass(frozen=True)
class CameraFailure:
    """A camera that was due and has no picture, and why."""

    camera: Camera
    reason: str


@dataclass(frozen=True, eq=False)
class FrameSet:
    """The pictures of one moment, in the rig's order, and how far the ego is from what was captured.

    failures                  cameras that were due and have no picture
    off_path_m, off_path_deg  deviation from the capture trajectory; NaN when the scene has none
    out_of_bounds_m           distance outside the scene's bounds; 0 inside, NaN when it states none
    """

    stamp_ns: int
    frames: tuple[CameraFrame, ...]
    instance_ids: tuple[str, ...]
    off_path_m: float
    off_path_deg: float
    out_of_bounds_m: float
    failures: tuple[CameraFailure, ...] = ()


@dataclass(frozen=True, eq=False)
class History:
    """What a temporal harmonizer carries from one step to the next. Empty: no step depends on an earlier one."""

    temporal: TemporalHistory | None = None


@dataclass(frozen=True, eq=False)
class Rendered:
    """A moment that is rendered and not yet harmonized: the first half of `Simulator.step`.

    lenses         of the cameras
    views, frames  of the lenses' faces, one lens after the other; a camera without distortion is its own face
    """

    state: WorldState
    cameras: tuple[Camera, ...]
    lenses: tuple[Lens, ...]
    views: tuple[CameraView, ...]
    frames: tuple[RenderedFrame, ...]
    render_ms: float

    @property
    def faces(self) -> list[slice]:
        """Of each camera, where its lens' faces are in `views` and `frames`."""
        ends = [*itertools.accumulate((len(lens.faces) for lens in self.lenses), initial=0)]
        return [slice(begin, end) for begin, end in itertools.pairwise(ends)]


class Simulator:
    """Scene, assets, rig, renderer and harmonizer, put together once; `step` has no state of its own.

    Its halves `render` and `harmonize` may run in two threads, each of them in one thread at a time, so that a frame
    set is rendered while the one before it is harmonized. Each half is warmed up in its own thread.
    """

    def __init__(
        self,
        *,
        scene: Scene,
        library: AssetLibrary,
        rig: Rig,
        renderer: Renderer,
        harmonizer: Harmonizer | None = None,
        instances: bool = False,
    ) -> None:
        self.scene, self.library, self.rig, self.renderer = scene, library, rig, renderer
        self.harmonizer, self.instances = harmonizer, instances
        # OpenCV and xxhash work without the GIL, and so does some of what makes a lens.
        self._pool = ThreadPoolExecutor(FINISHING_THREADS, thread_name_prefix="finish")
        with ThreadPoolExecutor(FINISHING_THREADS) as pool:
            self._lenses = dict(zip(rig.cameras, pool.map(Lens, rig.cameras), strict=True))

    def step(
        self, state: WorldState, history: History, *, cameras: Sequence[Camera] | None = None
    ) -> tuple[FrameSet, History]:
        """Pictures of `state` for `cameras` (default: the whole rig)."""
        return self.harmonize(self.render(state, cameras=cameras), history)

    def render(self, state: WorldState, *, cameras: Sequence[Camera] | None = None) -> Rendered:
        """Scene and actors, before the harmonizer. The lenses of cameras that are not the rig's are made, and kept."""
        cameras = self.rig.cameras if cameras is None else tuple(cameras)
        lenses = tuple(map(self.lens, cameras))
        views = tuple(face.view(state.ego.T_world_ego) for lens in lenses for face in lens.faces)
        start = time.perf_counter()
        placed = self.scene.compose(state.actors, self.library)
        instances = self.instances or (self.harmonizer is not None and self.harmonizer.needs_instances)
        frames = render_frames(self.renderer, placed, views, instances=instances)
        return Rendered(state, cameras, lenses, views, tuple(frames), _share_ms(start, cameras))

    def harmonize(
        self, rendered: Rendered, history: History, *, raw_where_it_fails: bool = False
    ) -> tuple[FrameSet, History]:
        """The harmonizer over what was rendered; without one the renders are the pictures.

        A camera that the network fails for has no picture, or, with `raw_where_it_fails`, its render, marked as such.
        """
        start = time.perf_counter()
        if self.harmonizer is None:
            outcomes: Sequence[Harmonized | Failed] = self._renders(rendered)
        else:
            outcomes, temporal = self.harmonizer.apply(self._moment(rendered), history.temporal)
            history = History(temporal)
        harmonize_ms = _share_ms(start, rendered.cameras) if self.harmonizer else 0.0
        shown: dict[int, tuple[Sequence[Harmonized], str]] = {}
        failures = []
        for number, faces in enumerate(rendered.faces):
            reason = next((one.reason for one in outcomes[faces] if isinstance(one, Failed)), "")
            if not reason:
                shown[number] = [one for one in outcomes[faces] if isinstance(one, Harmonized)], ""
            elif raw_where_it_fails:
                shown[number] = [Harmonized.of(frame.rgb8) for frame in rendered.frames[faces]], reason
            else:
                failures.append(CameraFailure(rendered.cameras[number], reason))
        return self._frame_set(rendered, shown, failures, harmonize_ms=harmonize_ms), history

    def _moment(self, rendered: Rendered) -> Moment:
        return Moment(
            stamp_ns=rendered.state.stamp_ns,
            names=tuple(face.name for lens in rendered.lenses for face in lens.faces),
            views=rendered.views,
            frames=rendered.frames,
            actors=actor_boxes(rendered.state.actors, self.library),
        )

    def unharmonized(self, rendered: Rendered, reason: str) -> FrameSet:
        """The renders as pictures, marked with the reason why no harmonizer has changed them."""
        renders = self._renders(rendered)
        shown = {number: (renders[faces], reason) for number, faces in enumerate(rendered.faces)}
        return self._frame_set(rendered, shown, [], harmonize_ms=0.0)

    def _renders(self, rendered: Rendered) -> list[Harmonized]:
        return list(self._pool.map(Harmonized.of, (frame.rgb8 for frame in rendered.frames)))

    def _frame_set(
        self,
        rendered: Rendered,
        shown: Mapping[int, tuple[Sequence[Harmonized], str]],
        failures: Sequence[CameraFailure],
        *,
        harmonize_ms: float,
    ) -> FrameSet:
        """`shown`: number of a camera -> what its faces show, and why that is the renders although not asked for."""
        state, path = rendered.state, self.scene.path

        def frame(number: int) -> CameraFrame:
            after, raw = shown[number]
            return _frame(rendered, number, after, harmonize_ms=harmonize_ms, raw=raw, instances=self.instances)

        frames = self._pool.map(frame, shown)
        T_world_ego = state.ego.T_world_ego
        off_path_m, off_path_deg = path.deviation(T_world_ego) if path else (math.nan, math.nan)
        return FrameSet(
            stamp_ns=state.stamp_ns,
            frames=tuple(frames),
            instance_ids=state.instance_ids,
            off_path_m=off_path_m,
            off_path_deg=off_path_deg,
            out_of_bounds_m=self.scene.distance_outside_bounds_m(T_world_ego.translation),
            failures=tuple(failures),
        )

    def warm_up(self) -> None:
        """Compile, and upload what stays, so that the first step in this thread is as fast as the others."""
        self.warm_up_renderer()
        self.warm_up_harmonizer()

    def warm_up_renderer(self) -> None:
        """The part of `render`."""
        state = self._first_state()
        if isinstance(self.renderer, DeviceRenderer):
            placed = self.scene.compose(state.actors, self.library)
            self.renderer.warm_up(placed, [face.view(state.ego.T_world_ego) for face in self._faces()])
        self.render(state)

    def warm_up_harmonizer(self) -> None:
        """The part of `harmonize`, in the thread that will call it: cuDNN keeps what it has chosen for each thread."""
        if self.harmonizer is not None:
            self.harmonizer.warm_up([(face.height_px, face.width_px) for face in self._faces()])
            self.step(self._first_state(), History())

    def lens(self, camera: Camera) -> Lens:
        """What is rendered for a camera."""
        if camera not in self._lenses:  # one that is not the rig's
            self._lenses[camera] = Lens(camera)
        return self._lenses[camera]

    def _faces(self) -> list[Camera]:
        """The pinholes that are rendered of the rig."""
        return [face for camera in self.rig.cameras for face in self.lens(camera).faces]

    def _first_state(self) -> WorldState:
        """Where the scene was captured from first, without actors."""
        pose = self.scene.path.poses[0] if self.scene.path else Rigid.identity()
        return WorldState(0, EgoState(0, pose))


def _frame(
    rendered: Rendered, number: int, after: Sequence[Harmonized], *, harmonize_ms: float, raw: str, instances: bool
) -> CameraFrame:
    """Camera `number`'s, whose faces show `after`; with the numbers of actors where `instances` are asked for."""
    camera, lens, before = rendered.cameras[number], rendered.lenses[number], rendered.frames[rendered.faces[number]]
    if lens.is_identity:
        (shown,), (frame,) = after, before
        return CameraFrame(
            camera=camera,
            rgb=shown.rgb,
            rendered_image=frame.rgb8,
            mask_image=shown.mask,
            depth_image=frame.depth_image,
            instance=frame.instance,
            content_hash=shown.content_hash,
            render_ms=rendered.render_ms,
            harmonize_ms=harmonize_ms,
            raw=raw,
        )
    start = time.perf_counter()
    rgb = lens.picture([shown.rgb for shown in after])
    changed = any(shown.rgb is not frame.rgb8 for shown, frame in zip(after, before, strict=True))
    mask = instance = None
    if any(shown.mask is not None for shown in after):
        mask = LensPicture(lens, tuple(_whole_mask(shown) for shown in after))
    if instances:
        instance = lens.numbers([frame.instance for frame in before if frame.instance is not None])
    return CameraFrame(
        camera=camera,
        rgb=rgb,
        rendered_image=LensPicture(lens, tuple(frame.rgb8 for frame in before)) if changed else rgb,
        mask_image=mask,
        depth_image=LensDepth(lens, tuple(frame.depth_image for frame in before)),
        instance=instance,
        content_hash=content_hash(rgb),
        render_ms=rendered.render_ms + (time.perf_counter() - start) * 1e3,
        harmonize_ms=harmonize_ms,
        raw=raw,
    )


def _whole_mask(one: Harmonized) -> NDArray[np.float32]:
    return np.zeros(one.rgb.shape[:2], np.float32) if one.mask is None else one.mask


def _share_ms(start: float, cameras: Sequence[Camera]) -> float:
    """Milliseconds since `start`, for each camera."""
    return (time.perf_counter() - start) * 1e3 / max(len(cameras), 1)
