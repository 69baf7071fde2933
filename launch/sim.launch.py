"""Start the camera simulator: `ros2 launch r3d2_ros sim.launch.py scene:=/data/my_scene rig:=surround6`.

A parameter beats a launch argument, a launch argument beats the configuration file.
"""

from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from r3d2_ros.launch_arguments import check_exit, mistyped

BOOLEAN = ["true", "false"]
# launch argument -> (parameter, description, choices)
CONFIGURATION = {
    "scene": ("scene.source", "'street', a Gaussian file or a scene folder", None),
    "assets": ("assets.library", "assets.yaml of the actors", None),
    "rig": ("rig.source", "demo3, surround6 or a rig file", None),
    "rig_fov_deg": ("rig.fov_deg", "horizontal field of view of a rig file without intrinsics (Autoware)", None),
    "rig_lens": ("rig.lens", "pictures with lens distortion, or of pinholes", ["distorted", "rectified"]),
    "sync_mode": ("sync.mode", "how ticks are made", ["lockstep", "latest"]),
    "tick": ("sync.tick", "what makes a tick in lockstep", ["ego", "rate", "trigger"]),
    "actors": ("sync.actors", "whether a tick waits for actors", ["auto", "required", "static"]),
    "harmonizer": ("harmonizer.backend", "what runs over each frame", ["none", "r3d2", "pipeline"]),
    "checkpoint": ("harmonizer.checkpoint", "the harmonizer's checkpoint or pipeline folder, or nano, nano_1080", None),
    "runtime": ("harmonizer.runtime.kind", "how its network is run", ["eager", "torch-compile", "stable-fast"]),
    "dtype": (
        "harmonizer.dtype",
        "in which its network computes",
        ["checkpoint", "float32", "float16", "bfloat16", "float8"],
    ),
    "device": ("harmonizer.device", "where its network runs: auto, cpu, cuda:0", None),
    "composite": ("harmonizer.composite", "where its output is kept", ["region", "full"]),
    "roi": ("harmonizer.roi.enabled", "whether its network runs on crops around inserted actors only", BOOLEAN),
    "temporal": ("harmonizer.temporal.enabled", "whether it blends with the last frames: less flicker", BOOLEAN),
    "resolution": ("harmonizer.resolution", "rows of the image that it sees: full, half, or for example 720p", None),
    "frame_prefix": ("frames.prefix", "in front of base_link and the camera frames, for example car_a/", None),
    "backend": ("rendering.backend", "renderer", ["auto", "cpu", "gsplat"]),
}
# launch argument -> (topic of the node, description)
TOPICS = {
    "odometry_topic": ("~/input/odometry", "for example /localization/kinematic_state"),
    "pose_topic": ("~/input/pose", "ego poses as PoseStamped"),
    "actors_topic": ("~/input/actors", "actors as ActorArray"),
    "markers_topic": ("~/input/actor_markers", "actors as MarkerArray"),
}
OTHERS = {
    "config": ("", "configuration file; see config/sim.yaml"),
    "params_file": ("", "ROS parameter file; beats every launch argument"),
    "use_sim_time": ("false", "follow /clock"),
    "autostart": ("true", "configure and activate without being asked"),
    "required": ("false", "end the launch when the node ends, with exit code 1 when it failed"),
    "namespace": ("", "namespace of the node and its topics"),
    "name": ("sim_node", "name of the node"),
    "log_level": ("info", "debug, info, warn, error"),
}


FLAGS = ("use_sim_time", "autostart")
NUMBERS = ("rig_fov_deg",)
CHOICES = {**dict.fromkeys([*FLAGS, "required"], BOOLEAN), "log_level": ["debug", "info", "warn", "error", "fatal"]}


def existing(argument: str, text: str) -> Path:
    """The absolute path of a file that a launch argument names."""
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise FileNotFoundError(f"launch argument {argument}: expected a file, got {path}, which does not exist")
    return path


def typed(argument: str, text: str, choices: list[str] | None) -> ParameterValue:
    """A launch argument as a parameter: true or false, a number, or a text: a scene called 2024 stays a name."""
    if choices is BOOLEAN:
        return ParameterValue(text == "true", value_type=bool)
    if argument not in NUMBERS:
        return ParameterValue(text, value_type=str)
    try:
        return ParameterValue(float(text), value_type=float)
    except ValueError as error:
        raise ValueError(f"launch argument {argument}: expected a number, got {text!r}") from error


def end_launch(event: Any, context: LaunchContext) -> Shutdown:
    """The node has ended, and was required."""
    check_exit(event, context)
    return Shutdown(reason="the simulator has ended")


def simulator(context: LaunchContext) -> list[Node]:
    for warning in mistyped(context.launch_configurations, [*CONFIGURATION, *TOPICS, *OTHERS]):
        get_logger("sim.launch.py").warning(warning)
    value = {name: LaunchConfiguration(name).perform(context) for name in [*CONFIGURATION, *TOPICS, *OTHERS]}
    parameters: dict[str, Any] = {
        parameter: typed(name, value[name], choices)
        for name, (parameter, _, choices) in CONFIGURATION.items()
        if value[name]
    }
    for name in FLAGS:
        parameters[name] = value[name] == "true"
    if value["config"]:
        parameters["config"] = ParameterValue(str(existing("config", value["config"])), value_type=str)
    files = [str(existing("params_file", value["params_file"]))] if value["params_file"] else []
    return [
        Node(
            package="r3d2_ros",
            executable="sim_node",
            name=value["name"],
            namespace=value["namespace"],
            parameters=[parameters, *files],
            remappings=[(topic, value[name]) for name, (topic, _) in TOPICS.items() if value[name]],
            ros_arguments=["--log-level", value["log_level"]],
            output="screen",
            emulate_tty=True,
            on_exit=end_launch if value["required"] == "true" else None,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(
            name,
            default_value="",
            description=f"{text} (empty: as configured)",
            choices=choices and ["", *choices],
        )
        for name, (_, text, choices) in CONFIGURATION.items()
    ]
    declared += [
        DeclareLaunchArgument(name, default_value="", description=f"topic to read instead of {topic}; {text}")
        for name, (topic, text) in TOPICS.items()
    ]
    declared += [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=CHOICES.get(name))
        for name, (default, text) in OTHERS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=simulator)])
