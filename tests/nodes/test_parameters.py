"""The configuration as ROS parameters: typed, ranged, described, and refused with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.parameter import Parameter

from r3d2_ros.assembly import Assembled
from r3d2_ros.config import SimConfig, leaves
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.nodes.sim_node import SimNode
from tests.nodes.harness import assembler


@pytest.fixture
def make() -> Iterator[Callable[..., SimNode]]:
    """Makes nodes with parameter overrides (`__` for a dot) and takes them down again."""
    rclpy.init()
    nodes: list[SimNode] = []

    def make_one(assemble: Callable[..., Assembled] | None = None, **parameters: object) -> SimNode:
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in parameters.items()]
        nodes.append(SimNode(assemble=assemble or assembler(), parameter_overrides=overrides))
        return nodes[-1]

    yield make_one
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown()


def test_each_leaf_is_a_parameter_of_its_dotted_name_with_a_description(make: Callable[..., SimNode]) -> None:
    node = make()
    for leaf in leaves(SimConfig()):
        assert node.get_parameter(leaf.name).value == leaf.value
        assert node.describe_parameter(leaf.name).description, leaf.name
    quality = node.describe_parameter("output.jpeg_quality").integer_range[0]
    assert (quality.from_value, quality.to_value) == (1, 100)
    assert "lockstep, latest" in node.describe_parameter("sync.mode").additional_constraints


def test_parameter_beats_file(make: Callable[..., SimNode], tmp_path: Path) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text("output: {jpeg_quality: 70, namespace: cams}\n")
    node = make(config=str(path), output__jpeg_quality=60)
    assert node.config.output.jpeg_quality == 60
    assert node.config.output.namespace == "cams"
    assert node.get_parameter("output.namespace").value == "cams"


def refusal(node: SimNode, name: str, value: object) -> str:
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful
    return result.reason


def test_bad_values_are_refused_with_a_reason(make: Callable[..., SimNode]) -> None:
    node = make()
    assert "100" in refusal(node, "output.jpeg_quality", 101)
    assert "'lockstep' or 'latest'" in refusal(node, "sync.mode", "sometimes")
    assert "type" in refusal(node, "rendering.near_plane_m", "close")
    assert node.config == SimConfig()


def test_what_configure_reads_is_refused_once_configured(make: Callable[..., SimNode]) -> None:
    node = make()
    assert node.set_parameters([Parameter("rig.source", value="surround6")])[0].successful
    node.trigger_configure()
    assert "clean it up first" in refusal(node, "rig.source", "demo3")
    assert node.set_parameters([Parameter("output.jpeg_quality", value=50)])[0].successful
    assert node.config.output.jpeg_quality == 50


def test_what_configure_reads_is_refused_while_it_configures(make: Callable[..., SimNode]) -> None:
    refused: list[str] = []

    def assemble(config: SimConfig, say: Callable[[str], None]) -> Assembled:
        if not refused:
            refused.append(refusal(node, "output.depth", True))
            raise InputError("scene.source", "a scene", "a potato")
        return assembler()(config, say)

    node = make(assemble)
    node.trigger_configure()
    assert "clean it up first" in refused[0]
    assert node.set_parameters([Parameter("output.depth", value=True)])[0].successful, "after a configure that failed"
    node.trigger_configure()
    assert "clean it up first" in refusal(node, "output.depth", False)


def test_an_override_of_a_topic_that_the_node_has_not_is_told(
    make: Callable[..., SimNode], capfd: pytest.CaptureFixture[str]
) -> None:
    node = make(
        **{
            "qos_overrides./camera/font/image_raw.publisher.reliability": "best_effort",
            "qos_overrides./camera/left/image_raw.publisher.reliability": "best_effort",
            "qos_overrides./camera/front/image_raw.publisher.deadline": 5,
        }
    )
    assert node.start() and node.trigger_deactivate() and node.trigger_activate()
    node.stop()
    log = capfd.readouterr().err
    told = [line for line in log.splitlines() if "of no topic that this node has now" in line]
    assert len(told) == 1
    assert re.search(r"image_raw.publisher.deadline' is none of .*reliability.* and has no effect", log)
    assert "font" in told[0] and "did you mean 'qos_overrides./camera/front/image_raw.publisher.reli" in told[0]


def test_starting_by_itself_is_described_and_decided_at_the_start(make: Callable[..., SimNode]) -> None:
    node = make(autostart=False)
    assert not node.autostart and node.describe_parameter("autostart").description
    assert not node.set_parameters([Parameter("autostart", value=True)])[0].successful


def test_faults_at_start_name_the_key(make: Callable[..., SimNode], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"parameter rendering.near_plane_m: expected a float \(write 10.0, not 10\)"):
        make(rendering__near_plane_m=1)
    with pytest.raises((InputError, InputErrors), match=r"sync\.mode"):
        make(sync__mode="sometimes")
    path = tmp_path / "sim.yaml"
    path.write_text("sync: {mod: latest}\n")
    with pytest.raises(InputErrors, match=r"sync\.mod.*Did you mean 'mode'"):
        make(config=str(path))
