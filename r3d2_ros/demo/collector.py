"""Puts the messages of a rig together again: a frame set is complete when everything it lists has arrived."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class CompleteSet:
    """All pictures of one stamp ([H, W, 3] uint8 by camera), and when the last message of it came.

    rendered  the pictures before the harmonizer; empty where there is none
    """

    stamp_ns: int
    images: dict[str, Image]
    received_ns: int
    rendered: dict[str, Image] = field(default_factory=dict)


@dataclass(eq=False)
class _Parts:
    images: dict[str, Image] = field(default_factory=dict)
    rendered: dict[str, Image] = field(default_factory=dict)
    infos: set[str] = field(default_factory=set)
    due: tuple[str, ...] | None = None


class Collector:
    """Takes images, camera infos and frame sets in any order; thread-safe.

    `on_complete` is called once for each complete set, in the thread that brought its last message.
    `rendered`: the pictures before the harmonizer belong to a set too.
    """

    def __init__(
        self, cameras: Sequence[str], on_complete: Callable[[CompleteSet], None], *, rendered: bool = False
    ) -> None:
        self.rendered = rendered
        self._cameras = tuple(cameras)
        self._on_complete = on_complete
        self._parts: dict[int, _Parts] = {}
        self._lock = threading.Lock()
        self.complete = 0
        self.announced = 0
        self.failures: list[str] = []
        self.received_ns: dict[int, int] = {}

    def add_image(self, camera: str, stamp_ns: int, image: Image, now_ns: int) -> None:
        with self._lock:
            self._of(stamp_ns).images[camera] = image
            self._finish(stamp_ns, now_ns)

    def add_rendered(self, camera: str, stamp_ns: int, image: Image, now_ns: int) -> None:
        with self._lock:
            self._of(stamp_ns).rendered[camera] = image
            self._finish(stamp_ns, now_ns)

    def add_info(self, camera: str, stamp_ns: int, now_ns: int) -> None:
        with self._lock:
            self._of(stamp_ns).infos.add(camera)
            self._finish(stamp_ns, now_ns)

    def add_frame_set(self, stamp_ns: int, failed: dict[str, str], due: Sequence[str], now_ns: int) -> None:
        """`failed` has the reason for each camera that was due and was not published."""
        with self._lock:
            self.announced += 1
            self.failures += [f"{camera} at {stamp_ns * 1e-9:.3f} s: {reason}" for camera, reason in failed.items()]
            if failed or set(due) != set(self._cameras):
                self._parts.pop(stamp_ns, None)
                return
            self._of(stamp_ns).due = tuple(due)
            self._finish(stamp_ns, now_ns)

    def _of(self, stamp_ns: int) -> _Parts:
        return self._parts.setdefault(stamp_ns, _Parts())

    def _finish(self, stamp_ns: int, now_ns: int) -> None:
        parts = self._parts[stamp_ns]
        if parts.due is None or not set(parts.due) <= set(parts.images) & parts.infos:
            return
        if self.rendered and not set(parts.due) <= set(parts.rendered):
            return
        del self._parts[stamp_ns]
        self.complete += 1
        self.received_ns[stamp_ns] = now_ns
        self._on_complete(CompleteSet(stamp_ns, parts.images, now_ns, parts.rendered))
