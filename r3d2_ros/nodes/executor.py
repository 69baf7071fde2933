"""Executors that outlive what is destroyed below them, and let go of nothing that a thread of theirs still uses."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rclpy.context import Context
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor

LOOK_S = 0.002  # between two looks whether callbacks have ended, at a shutdown only


class _Lasting(Executor):
    """For nodes that destroy subscriptions, timers or publishers while they are spun; another thread shuts it down.

    rclpy's executors collect handles first and use them afterwards. A handle that another thread destroys in between
    (a lifecycle transition does) raises InvalidHandle out of `spin`, which would end every service of the process.
    Here the wait starts anew: what was ready with it is still ready then.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._turn = threading.RLock()  # of the thread that spins: it collects, waits, and hands a callback out

    def spin_once(self, timeout_sec: float | None = None) -> None:
        with self._turn:
            if self._is_shutdown:
                return
            with contextlib.suppress(InvalidHandle):
                super().spin_once(timeout_sec)

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Wait until nothing is waited for and no callback is at work: what they use can be destroyed then.

        False: one still was after this time, and what the executor itself holds is kept for it. rclpy's own does not
        wait: it asks whether it is shut down after it has noted that it is, and destroys guard conditions that a
        thread inside of `spin` is about to use.
        """
        end = time.monotonic() + timeout_sec if timeout_sec is not None and timeout_sec >= 0.0 else None
        with self._shutdown_lock:
            self._is_shutdown = True
            if self._guard:
                self._guard.trigger()
        if not self._turn.acquire(timeout=-1.0 if end is None else max(0.0, end - time.monotonic())):
            return False
        try:
            while self._at_work():
                if end is not None and time.monotonic() >= end:
                    return False
                time.sleep(LOOK_S)
            return super().shutdown(timeout_sec)
        finally:
            self._turn.release()

    def _at_work(self) -> bool:
        """Whether a callback that was handed out has not ended."""
        return False  # a turn of one thread ends with its callback


class _HandingOver(ThreadPoolExecutor):
    """Threads to which a task is handed over: whoever submits one waits until a thread has begun with it.

    Until then its message is unread, and a reader with unread data ends every wait of rclpy's executor at once. That
    offers the task again, and so on, with Python's lock: beside a thread that computes, the one that is to begin got
    it after up to a second.
    """

    def submit(self, task: Callable[[], Any]) -> Future[Any]:  # type: ignore[override]
        begun = threading.Event()

        def run() -> None:
            begun.set()
            task()

        future = super().submit(run)
        begun.wait()
        return future


class LastingExecutor(_Lasting, MultiThreadedExecutor):
    """A MultiThreadedExecutor that lasts. Where all of its threads are at work it looks at nothing else."""

    def __init__(self, num_threads: int, *, context: Context | None = None) -> None:
        super().__init__(num_threads, context=context)
        self._executor = _HandingOver(num_threads)

    def _at_work(self) -> bool:
        # what waits for a thread of the pool is not among what rclpy counts as work
        return any(not (task.done() or task.cancelled()) for task in self._futures)


class LastingSingleThreadedExecutor(_Lasting, SingleThreadedExecutor):
    """A SingleThreadedExecutor that lasts."""


def spin_until_shutdown(executor: LastingExecutor | LastingSingleThreadedExecutor) -> None:
    """Spin, in a thread of its own, until the executor or its context is shut down."""
    with contextlib.suppress(ExternalShutdownException):
        executor.spin()
