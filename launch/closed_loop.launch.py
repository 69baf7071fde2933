"""Run scenarios with a driving stack: `ros2 launch r3d2_ros closed_loop.launch.py scenario:=stationary_parked_car`.

Starts the time master, which runs the scenarios one after the other, scores them and ends, and, unless `stack` is
`none`, one of the example stacks. With `stack:=none` your own stack drives: start it beside this.
"""

from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from r3d2_ros.closed_loop.example_stacks import STACKS
from r3d2_ros.launch_arguments import check_exit, mistyped

# launch argument -> (option of `r3d2 scenario run`, description)
OPTIONS = {
    "out": ("--out", "folder of the results; empty: a new one in out/"),
    "seeds": ("--seeds", "run each scenario with the seeds 0 to N-1; empty: with its own"),
    "baseline": ("--baseline", "folder of earlier results: list what is worse"),
    "max_age": ("--max-age", "seconds, instead of the scenario's control.max_age_s; empty: as it says"),
}
OWN = ("scenario", "stack", "set", "odometry_topic", "tf_topic", "simulation_interfaces", "log_level")


def at_end(event: Any, context: LaunchContext) -> Shutdown:
    """The scenarios are done; unless all have passed the node has failed."""
    check_exit(event, context)
    return Shutdown(reason="the scenarios are done")


def run(context: LaunchContext) -> list[Node]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    for warning in mistyped(context.launch_configurations, [*OPTIONS, *OWN]):
        get_logger("closed_loop.launch.py").warning(warning)
    arguments = [*value("scenario").split(), "--no-stack"]
    stack = STACKS.get(value("stack"))
    if stack is not None:
        for key, wanted in stack.overrides.items():
            arguments += ["--set", f"{key}={wanted}"]
        if stack.max_age_s and not value("max_age"):
            arguments += ["--max-age", f"{stack.max_age_s:g}"]
    for name, (option, _) in OPTIONS.items():
        if value(name):
            arguments += [option, value(name)]
    for override in value("set").split():
        arguments += ["--set", override]
    common: dict[str, Any] = {
        "package": "r3d2_ros",
        "ros_arguments": ["--log-level", value("log_level")],
        "output": "screen",
        "emulate_tty": True,
    }
    topics = {"/tf": value("tf_topic"), "/closed_loop_node/odometry": value("odometry_topic")}
    common["remappings"] = [(topic, name) for topic, name in topics.items() if name]
    nodes = [
        Node(
            executable="closed_loop_node",
            arguments=arguments,
            parameters=[{"simulation_interfaces": value("simulation_interfaces")}],
            on_exit=at_end,
            **common,
        )
    ]
    if stack is not None:
        nodes.append(Node(executable=value("stack"), **common))
    return nodes


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument("scenario", description="scenario files or names of shipped ones, by spaces"),
        DeclareLaunchArgument(
            "stack", default_value="none", choices=["none", *STACKS], description="example stack; none: your own"
        ),
        DeclareLaunchArgument("set", default_value="", description="KEY=VALUE of the configuration, by spaces"),
        DeclareLaunchArgument("odometry_topic", default_value="", description="instead of /closed_loop_node/odometry"),
        DeclareLaunchArgument("tf_topic", default_value="", description="instead of /tf"),
        DeclareLaunchArgument(
            "simulation_interfaces",
            default_value="auto",
            choices=["auto", "required", "none"],
            description="the standard services of simulators: where their package is installed, always, never",
        ),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn, error"),
    ]
    declared += [
        DeclareLaunchArgument(name, default_value="", description=text) for name, (_, text) in OPTIONS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=run)])
