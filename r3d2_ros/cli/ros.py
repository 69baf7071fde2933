"""What commands that need ROS 2 say when it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from r3d2_ros.errors import MissingPackageError

INSTALL = "source a ROS 2 installation (source /opt/ros/jazzy/setup.bash), or run `make setup` in a checkout"
BUILD = "build them with `colcon build` and source install/setup.bash, or run `make setup` in a checkout"
MESSAGES = "r3d2_ros.msg"


@contextmanager
def ros_needed(command: str) -> Iterator[None]:
    """Turns the failed import of a ROS package inside the block into a MissingPackageError."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name == MESSAGES:
            raise MissingPackageError(MESSAGES, command, BUILD) from error
        if name.split(".")[0] in ROS_PACKAGES:
            raise MissingPackageError(name, command, INSTALL) from error
        raise


ROS_PACKAGES = (
    "builtin_interfaces",
    "diagnostic_msgs",
    "geometry_msgs",
    "lifecycle_msgs",
    "nav_msgs",
    "rcl_interfaces",
    "rclpy",
    "rosgraph_msgs",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "tf2_msgs",
    "visualization_msgs",
)
