"""The launch files: what their arguments become, and what ends them, with stand-ins for ROS's launch system."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from r3d2_ros.config import SimConfig, leaves
from r3d2_ros.launch_arguments import mistyped

FOLDER = Path(__file__).resolve().parents[1] / "launch"


class Context:
    """Stands in for launch's: the arguments that are given, or declared so far."""

    def __init__(self, arguments: dict[str, str], *, is_shutdown: bool = False) -> None:
        self.launch_configurations, self.is_shutdown = arguments, is_shutdown


class LaunchConfiguration:
    """Stands in for launch's: the value of an argument."""

    def __init__(self, name: str, default: str | None = None) -> None:
        self.name, self.default = name, default

    def perform(self, context: Context) -> str:
        found = context.launch_configurations.get(self.name, self.default)
        assert found is not None, f"{self.name} is not declared"
        return found


class ParameterValue:
    """Stands in for launch_ros's, which takes a value of its type alone."""

    def __init__(self, value: object, *, value_type: type) -> None:
        assert type(value) is value_type
        self.value = value


def keywords(*arguments: Any, **options: Any) -> SimpleNamespace:
    """Stands in for what else takes arguments."""
    return SimpleNamespace(arguments=arguments, **{"choices": None, **options})


class Action(SimpleNamespace):
    """Stands in for the actions below, each a class of its own."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(arguments=arguments, **{"choices": None, "kind": type(self).__name__, **options})


class Warnings(list[str]):
    """Stands in for launch's log."""

    warning = list.append


WARNINGS = Warnings()

STAND_INS: dict[str, dict[str, object]] = {
    "launch": {"LaunchContext": Context, "LaunchDescription": list},
    "launch.actions": {
        name: type(name, (Action,), {})
        for name in ("DeclareLaunchArgument", "IncludeLaunchDescription", "OpaqueFunction", "Shutdown")
    },
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": keywords},
    "launch.logging": {"get_logger": lambda name: WARNINGS},
    "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
    "launch_ros": {},
    "launch_ros.actions": {"Node": keywords},
    "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Loads a launch file as a module."""
    WARNINGS.clear()
    for name, content in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)

    def load_file(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"{name}_launch", FOLDER / f"{name}.launch.py")
        assert spec is not None and spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    return load_file


@pytest.fixture
def sim(load: Callable[[str], ModuleType]) -> ModuleType:
    """sim.launch.py as a module."""
    return load("sim")


@pytest.fixture
def overrides(sim: ModuleType) -> Callable[..., dict[str, object]]:
    """Launch arguments -> the parameters that the node is started with."""

    def started(**arguments: str) -> dict[str, object]:
        *declared, action = sim.generate_launch_description()
        context = Context({argument.arguments[0]: argument.default_value for argument in declared} | arguments)
        (node,) = action.function(context)
        return {
            name: value.value if isinstance(value, ParameterValue) else value
            for name, value in node.parameters[0].items()
        }

    return started


def test_an_argument_that_is_not_given_leaves_the_configuration_as_it_is(
    overrides: Callable[..., dict[str, object]],
) -> None:
    assert overrides() == {"use_sim_time": False, "autostart": True}


@pytest.mark.parametrize("value", ["true", "false"])
def test_crops_and_the_temporal_mode_are_switched(value: str, overrides: Callable[..., dict[str, object]]) -> None:
    found = overrides(roi=value, temporal=value, composite="region")
    switched = dict.fromkeys(("harmonizer.roi.enabled", "harmonizer.temporal.enabled"), value == "true")
    assert found == overrides() | switched | {"harmonizer.composite": "region"}


def test_a_field_of_view_is_a_number(overrides: Callable[..., dict[str, object]]) -> None:
    assert overrides(rig_fov_deg="60")["rig.fov_deg"] == 60.0
    with pytest.raises(ValueError, match="launch argument rig_fov_deg: expected a number, got 'wide'"):
        overrides(rig_fov_deg="wide")


def test_every_argument_is_declared_and_becomes_a_parameter_of_its_type(
    sim: ModuleType, overrides: Callable[..., dict[str, object]]
) -> None:
    *declared, _ = sim.generate_launch_description()
    choices = {argument.arguments[0]: argument.choices for argument in declared}
    known = {leaf.name: leaf for leaf in leaves(SimConfig())}
    assert len(choices) == len(declared)
    for name, (parameter, _, _) in sim.CONFIGURATION.items():
        leaf = known[parameter]
        values = ["true", "false"] if leaf.type is bool else list(leaf.choices)
        assert sorted(choices[name] or []) == sorted(["", *values] if values else []), name
        assert type(overrides(**{name: values[0] if values else "2024"})[parameter]) is leaf.type


@pytest.fixture
def begun(load: Callable[[str], ModuleType]) -> Callable[..., list[SimpleNamespace]]:
    """Launch arguments -> what replay.launch.py starts; launch visits a description from front to back."""

    def visited(**arguments: str) -> list[SimpleNamespace]:
        started: list[SimpleNamespace] = []
        context = Context({})
        try:
            for action in load("replay").generate_launch_description():
                if action.kind == "DeclareLaunchArgument":
                    context.launch_configurations[action.arguments[0]] = getattr(action, "default_value", "")
                    context.launch_configurations |= arguments
                elif action.kind == "IncludeLaunchDescription":
                    context.launch_configurations |= {"log_level": "info", **dict(action.launch_arguments)}
                    started.append(action)
                else:
                    started += action.function(context) or []
        except (ValueError, OSError):
            assert not started, "launch leaves a process that is being started alone"
            raise
        return started

    return visited


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"bag": "/nope"}, "launch argument bag: expected a file or folder, got /nope"),
        ({"rate": "abc"}, "launch argument rate: expected a number, got 'abc'"),
        ({"config": "/nope"}, "launch argument config: expected a file or folder"),
    ],
)
def test_a_replay_with_an_argument_that_cannot_be_used_starts_nothing(
    arguments: dict[str, str], expected: str, begun: Callable[..., list[SimpleNamespace]], tmp_path: Path
) -> None:
    with pytest.raises((ValueError, OSError), match=expected):
        begun(**{"bag": str(tmp_path), **arguments})


def test_a_replay_gives_the_simulator_and_the_player_the_same_frames(
    begun: Callable[..., list[SimpleNamespace]], tmp_path: Path
) -> None:
    simulator, player = begun(bag=str(tmp_path), frame_prefix="car_a/", namespace="car_a")
    assert dict(simulator.launch_arguments) == {"use_sim_time": "true", "required": "true"}
    parameters = {name: value.value for name, value in player.parameters[0].items()}
    assert (parameters["frames.prefix"], parameters["simulator"]) == ("car_a/", "/car_a/sim_node")


def ended(returncode: int) -> SimpleNamespace:
    return SimpleNamespace(process_name="it", returncode=returncode)


def test_a_required_simulator_ends_the_launch_with_its_status(sim: ModuleType) -> None:
    def handler(required: str) -> Callable[..., Any] | None:
        *declared, action = sim.generate_launch_description()
        arguments = {argument.arguments[0]: argument.default_value for argument in declared}
        (node,) = action.function(Context(arguments | {"required": required}))
        return node.on_exit

    assert handler("false") is None
    on_exit = handler("true")
    assert on_exit is not None and on_exit(ended(0), Context({})).kind == "Shutdown"
    with pytest.raises(RuntimeError, match="it has failed with exit code 1, see above"):
        on_exit(ended(1), Context({}))
    assert on_exit(ended(130), Context({}, is_shutdown=True)).kind == "Shutdown"


def test_a_player_that_fails_ends_the_launch_and_one_that_is_done_does_when_asked(
    load: Callable[[str], ModuleType],
) -> None:
    at_end = load("replay").at_end
    with pytest.raises(RuntimeError, match="exit code 1"):
        at_end(ended(1), Context({"shutdown_at_end": "false"}))
    assert at_end(ended(0), Context({"shutdown_at_end": "false"})) is None
    assert at_end(ended(0), Context({"shutdown_at_end": "true"})).kind == "Shutdown"


def test_a_scenario_that_fails_ends_the_launch_with_an_error(load: Callable[[str], ModuleType]) -> None:
    at_end = load("closed_loop").at_end
    with pytest.raises(RuntimeError, match="exit code 1, see above"):
        at_end(ended(1), Context({}))
    assert at_end(ended(0), Context({})).kind == at_end(ended(1), Context({}, is_shutdown=True)).kind == "Shutdown"


def test_a_mistyped_argument_is_told(overrides: Callable[..., dict[str, object]]) -> None:
    assert overrides(sync_mod="latest", bag="drive.db3") == overrides()
    assert WARNINGS[0] == "launch argument 'sync_mod' is not one of this file's; did you mean 'sync_mode'?"
    assert len(WARNINGS) == 1


def test_every_argument_is_known_and_none_of_a_replay_is_taken_for_a_mistyped_one_of_the_simulator(
    load: Callable[[str], ModuleType],
) -> None:
    sim, replay, closed_loop = load("sim"), load("replay"), load("closed_loop")
    declared = [
        [*sim.CONFIGURATION, *sim.TOPICS, *sim.OTHERS],
        [*replay.PLAYER, *replay.OWN],
        [*closed_loop.OPTIONS, *closed_loop.OWN],
    ]
    for module, names in zip((sim, replay, closed_loop), declared, strict=True):
        actions = module.generate_launch_description()
        found = [action.arguments[0] for action in actions if action.kind == "DeclareLaunchArgument"]
        assert sorted(found) == sorted(names)
    for names, others in itertools.permutations(declared[:2], 2):  # of these one includes the other
        assert mistyped(names, others) == []
