"""The launch file of the simulator: what its arguments become, with stand-ins for ROS's launch system."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from r3d2_ros.config import SimConfig, leaves

FILE = Path(__file__).resolve().parents[1] / "launch" / "sim.launch.py"


class LaunchConfiguration:
    """Stands in for launch's: the value of an argument."""

    def __init__(self, name: str) -> None:
        self.name = name

    def perform(self, context: dict[str, str]) -> str:
        return context[self.name]


class ParameterValue:
    """Stands in for launch_ros's, which takes a value of its type alone."""

    def __init__(self, value: object, *, value_type: type) -> None:
        assert type(value) is value_type
        self.value = value


def keywords(*arguments: Any, **options: Any) -> SimpleNamespace:
    """Stands in for an action."""
    return SimpleNamespace(arguments=arguments, **{"choices": None, **options})


STAND_INS: dict[str, dict[str, object]] = {
    "launch": {"LaunchContext": dict, "LaunchDescription": list},
    "launch.actions": {"DeclareLaunchArgument": keywords, "OpaqueFunction": keywords},
    "launch.substitutions": {"LaunchConfiguration": LaunchConfiguration},
    "launch_ros": {},
    "launch_ros.actions": {"Node": keywords},
    "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
}


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """sim.launch.py as a module."""
    for name, content in STAND_INS.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("sim_launch", FILE)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def overrides(sim: ModuleType) -> Callable[..., dict[str, object]]:
    """Launch arguments -> the parameters that the node is started with."""

    def started(**arguments: str) -> dict[str, object]:
        *declared, action = sim.generate_launch_description()
        context = {argument.arguments[0]: argument.default_value for argument in declared} | arguments
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
