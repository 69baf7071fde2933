"""Start the camera simulator: `ros2 launch r3d2_ros sim.launch.py scene:=/data/my_scene rig:=surround6`.

A parameter beats a launch argument, a launch argument beats the configuration file.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

# launch argument -> (parameter, description, choices)
CONFIGURATION = {
    "scene": ("scene.source", "'street', a Gaussian file or a scene folder", None),
    "assets": ("assets.library", "assets.yaml of the actors", None),
    "rig": ("rig.source", "demo3, surround6 or a rig file", None),
    "sync_mode": ("sync.mode", "how ticks are made", ["lockstep", "latest"]),
    "tick": ("sync.tick", "what makes a tick in lockstep", ["ego", "rate", "trigger"]),
    "actors": ("sync.actors", "whether a tick waits for actors", ["auto", "required", "static"]),
    "harmonizer": ("harmonizer.backend", "what runs over each frame", ["none"]),
    "backend": ("rendering.backend", "renderer", ["auto", "cpu", "gsplat"]),
}
OTHERS = {
    "config": ("", "configuration file; see config/sim.yaml"),
    "params_file": ("", "ROS parameter file; beats every launch argument"),
    "use_sim_time": ("false", "follow /clock"),
    "autostart": ("true", "configure and activate without being asked"),
    "namespace": ("", "namespace of the node and its topics"),
    "name": ("sim_node", "name of the node"),
    "log_level": ("info", "debug, info, warn, error"),
}


def simulator(context: LaunchContext) -> list[Node]:
    value = {name: LaunchConfiguration(name).perform(context) for name in [*CONFIGURATION, *OTHERS]}
    parameters = {parameter: value[name] for name, (parameter, _, _) in CONFIGURATION.items() if value[name]}
    for name in ("use_sim_time", "autostart"):
        parameters[name] = value[name].lower() in ("true", "1", "yes")
    if value["config"]:
        parameters["config"] = str(Path(value["config"]).expanduser().absolute())
    files = [str(Path(value["params_file"]).expanduser().absolute())] if value["params_file"] else []
    return [
        Node(
            package="r3d2_ros",
            executable="sim_node",
            name=value["name"],
            namespace=value["namespace"],
            parameters=[parameters, *files],
            ros_arguments=["--log-level", value["log_level"]],
            output="screen",
            emulate_tty=True,
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
        DeclareLaunchArgument(name, default_value=default, description=text) for name, (default, text) in OTHERS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=simulator)])
