"""Executors that outlive what is destroyed below them."""

from __future__ import annotations

from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor


class LastingExecutor(MultiThreadedExecutor):
    """A MultiThreadedExecutor for nodes that destroy subscriptions, timers or publishers while they are spun.

    rclpy's executors collect handles first and use them afterwards. A handle that another thread destroys in between
    (a lifecycle transition does) raises InvalidHandle out of `spin`, which would end every service of the process.
    Here the wait starts anew: what was ready with it is still ready then.
    """

    def spin_once(self, timeout_sec: float | None = None) -> None:
        try:
            super().spin_once(timeout_sec)
        except InvalidHandle:
            return

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        """Wait until no callback is at work: what they use can be destroyed then. False: one still was after this time.

        rclpy's own does not wait: it asks whether it is shut down after it has noted that it is.
        """
        with self._shutdown_lock:
            self._is_shutdown = True
            if self._guard:
                self._guard.trigger()
        ended = self._work_tracker.wait(timeout_sec)
        return super().shutdown(timeout_sec) and ended


def spin_until_shutdown(executor: Executor) -> None:
    """Spin, in a thread of its own, until the executor or its context is shut down.

    rclpy's `shutdown` destroys at once what a callback still at work triggers when it ends, which raises InvalidHandle.
    """
    try:
        executor.spin()
    except ExternalShutdownException:
        pass
    except InvalidHandle:
        if not executor._is_shutdown:
            raise
