"""Renderer for CPUs: gsplat 1.5.3's image formation in numba kernels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numba
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.cameras import CameraView
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.rendering.base import PlacedScene, RenderedImage, RenderSettings
from r3d2_ros.rendering.cpu_nodes import NodeArrays, NodeBatch, camera_columns
from r3d2_ros.rendering.kernels_image import add_sky_colour, add_sky_image
from r3d2_ros.rendering.kernels_instances import write_instances
from r3d2_ros.rendering.kernels_layout import CHUNK, ROW_COLUMNS, TILE
from r3d2_ros.rendering.kernels_project import project_node
from r3d2_ros.rendering.kernels_raster import composite
from r3d2_ros.rendering.kernels_tiles import depth_order, fill_tile_lists, tile_offsets
from r3d2_ros.rendering.numba_cache import kernel_lock
from r3d2_ros.sky import Sky

LARGEST_SIDE_PX = 32_767 * TILE
LIST_ENTRIES = 1 << 26
"""Tile list entries (4 bytes each) held at once; an image that needs more is composited in several parts."""


@dataclass(frozen=True)
class ViewStats:
    """What one view cost: Gaussians on screen, tile list entries, and the time of each stage."""

    visible: int
    entries: int
    project_ms: float
    sort_ms: float
    composite_ms: float
    sky_ms: float


@dataclass(frozen=True, eq=False)
class _Projected:
    """The visible Gaussians of one view: rows as projected, and row numbers and tile rectangles in depth order."""

    rows: NDArray[np.float32]
    order: NDArray[np.uint32]
    rects: NDArray[np.int16]


class CpuRenderer:
    """Renders with numba kernels on `threads` threads (0: all). The images do not depend on their number.

    Renderers of one process take turns. `stats` describes the views of the last `render`.
    """

    name = "cpu"

    def __init__(self, settings: RenderSettings, threads: int = 0) -> None:
        if threads < 0:
            raise ValueError(f"threads: expected 0 (all) or a positive number, got {threads}")
        most = numba.config.NUMBA_NUM_THREADS
        self.settings = settings
        self.threads = min(threads or most, most)
        self.stats: tuple[ViewStats, ...] = ()
        self._work = _WorkSpace()
        self._arrays: WeakKeyDictionary[Gaussians, NodeArrays] = WeakKeyDictionary()

    def render(
        self, scene: PlacedScene, views: Sequence[CameraView], *, instances: bool = False
    ) -> list[RenderedImage]:
        """See `Renderer.render`. ValueError for a side above LARGEST_SIDE_PX or an actor's instance above 65535."""
        for view in views:
            if max(view.width_px, view.height_px) > LARGEST_SIDE_PX:
                raise ValueError(f"expected at most {LARGEST_SIDE_PX} px, got {view.width_px}x{view.height_px}")
        with kernel_lock:
            before = numba.get_num_threads()
            numba.set_num_threads(self.threads)
            try:
                nodes = NodeBatch.of(scene, [self._arrays_of(node.gaussians) for node in scene.nodes])
                results = [self._render_view(nodes, scene.sky, view, instances) for view in views]
            finally:
                numba.set_num_threads(before)
            self.stats = tuple(stats for _, stats in results)
        return [image for image, _ in results]

    def _arrays_of(self, gaussians: Gaussians) -> NodeArrays:
        if gaussians not in self._arrays:
            self._arrays[gaussians] = NodeArrays.of(gaussians)
        return self._arrays[gaussians]

    def _render_view(
        self, nodes: NodeBatch, sky: Sky, view: CameraView, instances: bool
    ) -> tuple[RenderedImage, ViewStats]:
        start = time.perf_counter()
        chunk_counts = self._project(nodes, view)
        projected_at = time.perf_counter()
        projected = self._sort(chunk_counts)
        sorted_at = time.perf_counter()
        image, entries = self._composite(projected, view, nodes.numbers if instances else None)
        composited_at = time.perf_counter()
        _add_sky(image, sky, view)
        end = time.perf_counter()
        stats = ViewStats(
            visible=len(projected.order),
            entries=entries,
            project_ms=(projected_at - start) * 1e3,
            sort_ms=(sorted_at - projected_at) * 1e3,
            composite_ms=(composited_at - sorted_at) * 1e3,
            sky_ms=(end - composited_at) * 1e3,
        )
        return image, stats

    def _project(self, nodes: NodeBatch, view: CameraView) -> NDArray[np.int64]:
        """Fill the work space's rows and rects; returns how many are visible of each CHUNK of them."""
        columns, visible = nodes.in_camera(view, self.settings)
        camera = camera_columns(view, self.settings)
        drawn = [(arrays, columns[i]) for i, arrays in enumerate(nodes.arrays) if visible[i]]
        chunk_ends = np.cumsum([0] + [-(-len(arrays.arguments[0]) // CHUNK) for arrays, _ in drawn])
        rows, rects, chunk_counts = self._work.projection(int(chunk_ends[-1]))
        for (arrays, node), begin, end in zip(drawn, chunk_ends[:-1], chunk_ends[1:], strict=True):
            project_node(
                *arrays.arguments, node, camera, self.settings.antialiased, self.threads,
                rows[begin * CHUNK :], rects[begin * CHUNK :], chunk_counts[begin:end],
            )  # fmt: skip
        return chunk_counts

    def _sort(self, chunk_counts: NDArray[np.int64]) -> _Projected:
        work = self._work
        n = int(chunk_counts.sum())
        keys, order, sorted_rects = work.sorting(n)
        depth_order(work.rows, chunk_counts, keys, order, work.rects.view(np.int64)[:, 0], sorted_rects)
        return _Projected(work.rows, order[1, :n], sorted_rects[:n, None].view(np.int16))

    def _composite(
        self, projected: _Projected, view: CameraView, numbers: NDArray[np.uint16] | None
    ) -> tuple[RenderedImage, int]:
        """The image without sky, and the number of tile list entries. `numbers` asks for the instance image."""
        height, width = view.height_px, view.width_px
        columns, tile_rows = -(-width // TILE), -(-height // TILE)
        image = RenderedImage(
            rgb=np.empty((height, width, 3), np.float32),
            depth=np.empty((height, width), np.float32),
            alpha=np.empty((height, width), np.float32),
            actor_weight=np.empty((height, width), np.float32),
            instance=None if numbers is None else np.zeros((height, width), np.uint16),
        )
        has_actor = np.zeros(columns * tile_rows, np.uint8)
        offsets = tile_offsets(projected.rects, columns, tile_rows)
        for first, last in _parts(offsets, LIST_ENTRIES):
            lists = self._work.lists(int(offsets[last] - offsets[first]))
            shares = np.linspace(offsets[first], offsets[last], self.threads + 1)
            bounds = np.clip(np.searchsorted(offsets, shares), first, last)
            bounds[0], bounds[-1] = first, last
            fill_tile_lists(projected.rects, projected.order, offsets, columns, bounds, lists)
            tiles = (projected.rows, offsets, lists, columns, first, last, self.threads)
            composite(*tiles, image.rgb, image.depth, image.alpha, image.actor_weight, has_actor)
            if image.instance is not None:
                write_instances(*tiles, has_actor, image.actor_weight, numbers, image.instance)
        return image, int(offsets[-1])


class _WorkSpace:
    """Arrays that the kernels write, kept from frame to frame and enlarged when a frame needs more."""

    def __init__(self) -> None:
        self.rows = np.empty((0, ROW_COLUMNS), np.float32)
        self.rects = np.empty((0, 4), np.int16)
        self._chunk_counts = np.empty(0, np.int64)
        self._keys = np.empty((2, 0), np.uint32)
        self._order = np.empty((2, 0), np.uint32)
        self._sorted_rects = np.empty(0, np.int64)
        self._lists = np.empty(0, np.uint32)

    def projection(self, chunks: int) -> tuple[NDArray[np.float32], NDArray[np.int16], NDArray[np.int64]]:
        """rows [>= chunks * CHUNK, ROW_COLUMNS], rects [>= chunks * CHUNK, 4], chunk_counts [chunks]."""
        if len(self._chunk_counts) < chunks:
            self.rows = np.empty((chunks * CHUNK, ROW_COLUMNS), np.float32)
            self.rects = np.empty((chunks * CHUNK, 4), np.int16)
            self._chunk_counts = np.empty(chunks, np.int64)
        return self.rows, self.rects, self._chunk_counts[:chunks]

    def sorting(self, n: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64]]:
        """keys [2, >= n], order [2, >= n], sorted_rects [>= n]."""
        if len(self._sorted_rects) < n:
            size = n + n // 4
            self._keys, self._order = np.empty((2, size), np.uint32), np.empty((2, size), np.uint32)
            self._sorted_rects = np.empty(size, np.int64)
        return self._keys, self._order, self._sorted_rects

    def lists(self, entries: int) -> NDArray[np.uint32]:
        """[>= entries]."""
        if len(self._lists) < entries:
            self._lists = np.empty(entries + entries // 4, np.uint32)
        return self._lists


def _parts(offsets: NDArray[np.int64], most_entries: int) -> Iterator[tuple[int, int]]:
    """Runs of tiles (first, last + 1) whose lists hold `most_entries` together, or one tile that holds more."""
    first, tiles = 0, len(offsets) - 1
    while first < tiles:
        last = int(np.searchsorted(offsets, offsets[first] + most_entries, side="right")) - 1
        last = min(max(last, first + 1), tiles)
        yield first, last
        first = last


def _add_sky(image: RenderedImage, sky: Sky, view: CameraView) -> None:
    """Composite the sky behind the image, in place."""
    if sky.image is None:
        colour = np.asarray(sky.colour, np.float32)
        if np.any(colour != 0):
            add_sky_colour(image.rgb, image.alpha, colour)
        return
    R_sky_camera = sky.R_sky_world @ view.T_camera_world.rotation.T
    ray_map = (R_sky_camera @ np.linalg.inv(view.K)).astype(np.float32)
    pixels = np.require(sky.image, np.float32, ["C", "A"]).view()
    pixels.setflags(write=False)
    add_sky_image(image.rgb, image.alpha, pixels, ray_map)
