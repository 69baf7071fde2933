"""Play a bag into the simulator: `ros2 launch r3d2_ros replay.launch.py bag:=drive.db3 scene:=/data/my_scene`.

Starts the simulator with use_sim_time and a bag player that publishes the bag's topics, /clock, and the simulator's
inputs. Every argument of sim.launch.py can be given as well. `ros2 bag play --clock` works in place of the player.
"""

from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from r3d2_ros.launch_arguments import check_exit, mistyped

# launch argument -> (parameter of the player, type, default, description)
PLAYER: dict[str, tuple[str, type, str, str]] = {
    "ego_topic": ("ego", str, "", "topic of the bag with the pose of the vehicle, or /tf; empty: found"),
    "objects_topic": ("actors", str, "", "topic of the bag with the actors, or none; empty: found"),
    "bag_topics": ("topics", str, "all", "topics of the bag to publish: all, none, or a list by commas"),
    "rate": ("rate", float, "1.0", "seconds of the bag per second"),
    "loop": ("loop", bool, "false", "begin again at the end; time goes back then"),
    "start": ("start_s", float, "0.0", "seconds after the beginning of the bag"),
    "clock_hz": ("clock_hz", float, "100.0", "of /clock"),
    "max_lag": ("max_lag_s", float, "1.0", "hold the bag while the simulator is further behind, seconds; 0: never"),
}
OWN = ("bag", "shutdown_at_end")
# launch argument of sim.launch.py -> parameter that the player has to know as well
SHARED = {"scene": "scene.source", "assets": "assets.library", "frame_prefix": "frames.prefix"}
# launch argument of sim.launch.py that renames an input -> the input, which the player feeds
RENAMED = {"odometry_topic": "input/odometry", "actors_topic": "input/actors"}


def existing(argument: str, text: str) -> Path:
    """The absolute path of something that a launch argument names."""
    path = Path(text).expanduser().absolute()
    if not path.exists():
        raise FileNotFoundError(
            f"launch argument {argument}: expected a file or folder, got {path}, which does not exist"
        )
    return path


def typed(argument: str, text: str, kind: type) -> str | float | bool:
    """The value of a launch argument."""
    if kind is bool:
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise ValueError(f"launch argument {argument}: expected a number, got {text!r}") from error


def value_of(name: str, context: LaunchContext) -> str:
    """A launch argument; empty for one of sim.launch.py that is not given and not declared yet."""
    return LaunchConfiguration(name, default="").perform(context)


def simulator_name(context: LaunchContext) -> str:
    namespace = value_of("namespace", context).strip("/").split("/")
    return "/".join(["", *filter(None, namespace), value_of("name", context) or "sim_node"])


def player_parameters(context: LaunchContext) -> dict[str, Any]:
    """The player's parameters; an error for an argument that cannot be used."""

    def value(name: str) -> str:
        return value_of(name, context)

    if not value("bag"):
        raise ValueError("launch argument bag: expected a bag to play, got none; bag:=PATH")
    parameters: dict[str, Any] = {
        "bag": ParameterValue(str(existing("bag", value("bag"))), value_type=str),
        "simulator": ParameterValue(simulator_name(context), value_type=str),
    }
    for name, (parameter, kind, _, _) in PLAYER.items():
        parameters[parameter] = ParameterValue(typed(name, value(name), kind), value_type=kind)
    for name, parameter in SHARED.items():
        if value(name):
            parameters[parameter] = ParameterValue(value(name), value_type=str)
    if value("config"):
        parameters["config"] = ParameterValue(str(existing("config", value("config"))), value_type=str)
    return parameters


def check(context: LaunchContext) -> None:
    """To run before a process is started: launch leaves one alone that it is starting when an error ends it."""
    player_parameters(context)
    for warning in mistyped(context.launch_configurations, [*PLAYER, *OWN]):
        get_logger("replay.launch.py").warning(warning)


def at_end(event: Any, context: LaunchContext) -> Shutdown | None:
    """The player has ended."""
    check_exit(event, context)
    return Shutdown(reason="the bag is over") if value_of("shutdown_at_end", context) == "true" else None


def player(context: LaunchContext) -> list[Node]:
    simulator, renamed = simulator_name(context), {name: value_of(name, context) for name in RENAMED}
    return [
        Node(
            package="r3d2_ros",
            executable="bag_player",
            parameters=[player_parameters(context)],
            remappings=[(f"{simulator}/{topic}", renamed[name]) for name, topic in RENAMED.items() if renamed[name]],
            ros_arguments=["--log-level", value_of("log_level", context)],
            output="screen",
            emulate_tty=True,
            on_exit=at_end,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    declared = [DeclareLaunchArgument("bag", description="folder, .db3 or .mcap file of a rosbag2")]
    declared += [
        DeclareLaunchArgument(
            name, default_value=default, description=text, choices=["true", "false"] if kind is bool else None
        )
        for name, (_, kind, default, text) in PLAYER.items()
    ]
    declared.append(
        DeclareLaunchArgument(
            "shutdown_at_end", default_value="false", choices=["true", "false"], description="end when the bag is over"
        )
    )
    simulator = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("sim.launch.py"))),
        launch_arguments={"use_sim_time": "true", "required": "true"}.items(),
    )
    return LaunchDescription([*declared, OpaqueFunction(function=check), simulator, OpaqueFunction(function=player)])
