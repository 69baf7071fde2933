"""Reading, rendering, encoding and writing at the same time, in bounded queues.

reader thread -> ticks -> calling thread: Simulator.render -> HarmonizeThread: Simulator.harmonize -> encoder threads
-> writer thread
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from r3d2_ros.harmonize_thread import HarmonizeThread
from r3d2_ros.replay.frames import HARMONIZING_FAILED, RENDERING_FAILED
from r3d2_ros.replay.output import Output
from r3d2_ros.replay.ticks import PlannedTick
from r3d2_ros.simulator import FrameSet, Simulator
from r3d2_ros.state_buffer import seconds

T = TypeVar("T")

Done = Callable[[PlannedTick, str | None, str], None]
"""Takes a tick that is finished, the cause (None: it has its pictures) and the reason."""

READ_AHEAD = 64
"""Ticks that the reader may be ahead of the renderer."""

IN_FLIGHT = 4
"""Frame sets that may be rendered and not written yet."""

ENCODERS = 2


@dataclass(frozen=True)
class Part:
    """Which ticks of the recording are made: `wanted` are written; `carried` are rendered without being written, for
    what a temporal harmonizer remembers of them."""

    wanted: frozenset[int]
    carried: frozenset[int] = frozenset()

    @property
    def last(self) -> int:
        return max(self.wanted, default=-1)


def make_frames(
    ticks: Iterator[PlannedTick],
    part: Part,
    *,
    simulator: Simulator,
    harmonizing: HarmonizeThread,
    output: Output,
    stop: threading.Event,
    done: Done,
    trouble: Callable[[str], None],
) -> None:
    """Render a part of the ticks into `output`, and close it. Ends early, with what was begun finished, when `stop` is
    set. InputError when the output cannot be written any more.

    harmonizing  of the same simulator, and of nothing that was made before
    done         called for each frame set that was written or noted as missing
    trouble      called with what failed
    """
    with Writer(output, done) as writer, ReadAhead(ticks, READ_AHEAD) as planned_ticks:
        for planned in planned_ticks:
            if stop.is_set() or writer.fault is not None or planned.index > part.last:
                break
            tick = planned.tick
            is_wanted = planned.index in part.wanted
            if not is_wanted and planned.index not in part.carried:
                continue
            if tick.state is None:
                if is_wanted:
                    writer.put_missing(planned, tick.reason, tick.cause)
                continue
            try:
                rendered = simulator.render(tick.state, cameras=tick.due)
            except Exception as error:
                trouble(f"{seconds(tick.stamp_ns)}: rendering failed\n{traceback.format_exc()}")
                if is_wanted:
                    writer.put_missing(planned, f"{type(error).__name__}: {error}", RENDERING_FAILED)
                continue
            if is_wanted:
                writer.put(planned, harmonizing.submit(tick, rendered).pictures)
            else:
                harmonizing.submit(tick, rendered).pictures.exception()


class ReadAhead(Generic[T]):
    """Draws items from an iterator in a thread of its own. What the iterator raises is raised where the item is due."""

    def __init__(self, items: Iterator[T], limit: int) -> None:
        self._items = items
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(limit)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read", daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._drawn()

    def __exit__(self, *error: object) -> None:
        self._ending.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue

    def _drawn(self) -> Iterator[T]:
        while True:
            kind, value = self._queue.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value

    def _run(self) -> None:
        try:
            for item in self._items:
                self._queue.put(("item", item))
                if self._ending.is_set():
                    return
            self._queue.put(("end", None))
        except BaseException as error:
            self._queue.put(("error", error))


@dataclass(frozen=True, eq=False)
class _Job:
    """A frame set under way. `made`: its pictures, and what the output prepared of them; None: there are none."""

    planned: PlannedTick
    made: Future[tuple[FrameSet, Any]] | None
    reason: str = ""
    cause: str = ""


class Writer:
    """Encodes in some threads and writes in one, in the order of `put`; waits while IN_FLIGHT frame sets are under way.

    Leaving the block finishes everything that was put, closes the output and raises what went wrong.
    """

    def __init__(self, output: Output, done: Done) -> None:
        self._output, self._done = output, done
        self._encoders = ThreadPoolExecutor(ENCODERS, thread_name_prefix="encode")
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._room = threading.Semaphore(IN_FLIGHT)
        self._thread = threading.Thread(target=self._run, name="write", daemon=True)
        self.fault: Exception | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._queue.put(None)
        self._thread.join()
        self._encoders.shutdown()
        try:
            self._output.close()
        except Exception as close_error:
            self.fault = self.fault or close_error
        if self.fault is not None and error is None:
            raise self.fault

    def put(self, planned: PlannedTick, pictures: Future[FrameSet]) -> None:
        self._room.acquire()
        self._queue.put(_Job(planned, self._encoders.submit(self._prepare, planned, pictures)))

    def put_missing(self, planned: PlannedTick, reason: str, cause: str) -> None:
        self._room.acquire()
        self._queue.put(_Job(planned, None, reason, cause))

    def _prepare(self, planned: PlannedTick, pictures: Future[FrameSet]) -> tuple[FrameSet, Any]:
        try:
            frame_set = pictures.result()
        except Exception as error:
            raise _NoPictures(f"{type(error).__name__}: {error}") from error
        return frame_set, self._output.prepare(planned, frame_set)

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            try:
                if self.fault is None:
                    self._write(job)
            except Exception as error:  # raised at the end; the queue must be emptied all the same
                self.fault = error
            finally:
                self._room.release()

    def _write(self, job: _Job) -> None:
        reason, cause = job.reason, job.cause
        if job.made is not None:
            try:
                frame_set, prepared = job.made.result()
            except _NoPictures as error:
                reason, cause = str(error), HARMONIZING_FAILED
            else:
                self._output.write(job.planned, frame_set, prepared)
                failed = next(iter(frame_set.failures), None)
                self._done(job.planned, HARMONIZING_FAILED if failed else None, failed.reason if failed else "")
                return
        self._output.write_missing(job.planned, reason, cause)
        self._done(job.planned, cause, reason)


class _NoPictures(Exception):
    """The harmonizer failed as a whole; the text is its reason."""
