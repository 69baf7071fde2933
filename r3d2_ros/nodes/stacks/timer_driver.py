"""A path follower that acts on timers of the simulation's time only, as most controllers do; it sees no picture."""

from __future__ import annotations

import sys

import numpy as np
from nav_msgs.msg import Odometry, Path

from r3d2_ros.closed_loop.stacks.path_follower import PathFollower
from r3d2_ros.errors import InputError
from r3d2_ros.message_fields import position, quat_wxyz
from r3d2_ros.nodes.qos import reliable
from r3d2_ros.nodes.stacks.base import Stack, run_stack

RATE_HZ = (1e-3, 1e3)


class TimerDriver(Stack):
    """Parameters `rate_hz` (of its timer), `speed_mps` (0: the first one above zero in the odometry of a run).

    Its commands carry the time at which they were made, so a scenario for it sets `control.max_age_s`.
    """

    def __init__(self) -> None:
        super().__init__("timer_driver", use_sim_time=True)
        rate_hz = float(self.declare_parameter("rate_hz", 20.0).value)
        if not RATE_HZ[0] <= rate_hz <= RATE_HZ[1]:
            expected = f"a number from {RATE_HZ[0]:g} to {RATE_HZ[1]:g}"
            raise InputError("parameter rate_hz", expected, f"{rate_hz:g}")
        self._given_mps = float(self.declare_parameter("speed_mps", 0.0).value)
        self._path: np.ndarray | None = None
        self.create_subscription(
            Path, f"{self.simulator}/reference", self._on_path, reliable(1, transient_local=True)
        )
        self.listen_to_odometry(self._on_odometry, depth=1)
        self.create_timer(1.0 / rate_hz, self._act)

    def begin(self) -> None:
        self._speed_mps = 0.0
        self._follower: PathFollower | None = None
        self._odometry: Odometry | None = None

    def _on_path(self, message: Path) -> None:
        self._path, self._follower = np.array([position(pose.pose) for pose in message.poses]), None

    def _on_odometry(self, message: Odometry) -> None:
        self._odometry = message
        if self._speed_mps <= 0.0:
            self._speed_mps = self._given_mps if self._given_mps > 0.0 else message.twist.twist.linear.x

    def _act(self) -> None:
        odometry, now_ns = self._odometry, self.get_clock().now().nanoseconds
        if odometry is None or self._path is None or now_ns == 0:
            return
        if self._follower is None and self._speed_mps > 0.0:
            self._follower = PathFollower(
                self._path, speed_mps=self._speed_mps, wheelbase_m=self.vehicle.wheelbase_m
            )
        x, y, _ = position(odometry.pose.pose)
        w, _, _, z = quat_wxyz(odometry.pose.pose)
        speed = odometry.twist.twist.linear.x
        follower = self._follower or PathFollower(self._path, speed_mps=speed, wheelbase_m=self.vehicle.wheelbase_m)
        self.send(now_ns, follower.actuation(x, y, 2 * float(np.arctan2(z, w)), speed))


def main(args: list[str] | None = None) -> int:
    return run_stack(TimerDriver, args)


if __name__ == "__main__":
    sys.exit(main())
