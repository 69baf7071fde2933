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
