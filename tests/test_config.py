"""The shipped configuration is the defaults, and faults name file, key and expected value."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from r3d2_ros.config import SimConfig, as_mapping, leaves, load_config
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.resources import config_dir

SHIPPED = config_dir() / "sim.yaml"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "sim.yaml"
    path.write_text(text)
    return path


def test_shipped_file_states_every_key_with_its_default() -> None:
    assert yaml.safe_load(SHIPPED.read_text()) == as_mapping(SimConfig())
    assert load_config(SHIPPED) == SimConfig()


def test_every_leaf_is_a_scalar_with_a_description() -> None:
    for leaf in leaves(SimConfig()):
        assert isinstance(leaf.value, (bool, int, float, str)), leaf
        assert leaf.description, leaf.name


def test_every_fault_of_a_file_is_named_with_its_key(tmp_path: Path) -> None:
    path = write(tmp_path, "sync: {mode: sometimes}\noutput: {jpeg_quality: 101, jpg: 3}\nscene: 7\n")
    with pytest.raises(InputErrors) as caught:
        load_config(path)
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    assert f"{path}: sync.mode: expected 'lockstep' or 'latest', got 'sometimes'" in text
    assert f"{path}: output.jpeg_quality: expected less than or equal to 100, got 101" in text
    assert f"{path}: output.jpg: expected one of the keys" in text
    assert f"{path}: scene: expected" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1, 2]", "a mapping of sections"),
        ("sync: [", "valid YAML"),
        ("rendering: {near_plane_m: .nan}", "finite number"),
        ("rendering: {near_plane_m: -1}", "greater than 0"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises((InputError, InputErrors), match=expected):
        load_config(write(tmp_path, text))


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == SimConfig()


def test_overrides_beat_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "sync: {mode: latest, tick: rate}\n")
    config = load_config(path, {"sync.mode": "lockstep"})
    assert (config.sync.mode, config.sync.tick) == ("lockstep", "rate")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "my_rig.yaml").write_text("x: 1\n")
    config = load_config(write(tmp_path, "rig: {source: my_rig.yaml}\nscene: {source: street}\n"))
    assert config.rig.source == str(tmp_path / "my_rig.yaml")
    assert config.scene.source == "street"


def test_the_cache_of_compiled_code_too_before_it_is_there(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "harmonizer: {runtime: {cache: cache}}\n"))
    assert config.harmonizer.runtime.cache == str(tmp_path / "cache")
    config = load_config(write(tmp_path, "harmonizer: {runtime: {cache: ~/cache}}\n"))
    assert config.harmonizer.runtime.cache == "~/cache"


def test_planes_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputErrors, match="rendering: expected near_plane_m below far_plane_m, which is 100"):
        load_config(write(tmp_path, "rendering: {near_plane_m: 200.0, far_plane_m: 100.0}\n"))


@pytest.mark.parametrize("rule", ["drop", "raw"])
def test_in_lockstep_wall_time_must_not_decide_what_a_frame_shows(rule: str) -> None:
    fault = f"configuration: harmonizer.on_deadline: expected wait where sync.mode is lockstep, .* got {rule}"
    with pytest.raises(InputErrors, match=fault):
        load_config(None, {"harmonizer.on_deadline": rule})
    latest = load_config(None, {"harmonizer.on_deadline": rule, "sync.mode": "latest"})
    assert latest.harmonizer.on_deadline == rule


@pytest.mark.parametrize(
    ("roi", "fault"),
    [
        ("{sizes: '64x64, 100x100'}", "harmonizer.roi.sizes: expected ROWSxCOLUMNS, multiples of 8, .* got '100x100'"),
        ("{enabled: true, sizes: ''}", "harmonizer.roi.sizes: expected at least one size where .* got ''"),
        ("{enabled: true, sizes: ' , '}", "harmonizer.roi.sizes: expected at least one size where .* got ' , '"),
    ],
)
def test_sizes_of_crops_are_found_wrong_with_the_file(tmp_path: Path, roi: str, fault: str) -> None:
    path = write(tmp_path, f"harmonizer: {{roi: {roi}}}\n")
    with pytest.raises(InputErrors, match=f"{path}: {fault}"):
        load_config(path)
    assert load_config(write(tmp_path, "harmonizer: {roi: {sizes: ''}}\n")).harmonizer.roi.sizes == ""


@pytest.mark.parametrize(
    "resolution", ["720", "quarter", "64p", "720P", "0720p", "10000p", "-720p", "\uff17\uff12\uff10p", ""]
)
def test_a_resolution_is_full_half_or_rows(tmp_path: Path, resolution: str) -> None:
    path = write(tmp_path, f"harmonizer: {{resolution: '{resolution}'}}\n")
    fault = f"{path}: harmonizer.resolution: expected full, half, or rows from 100p to 9999p, .* got '{resolution}'"
    with pytest.raises(InputErrors, match=fault):
        load_config(path)
    assert load_config(write(tmp_path, "harmonizer: {resolution: 648p}\n")).harmonizer.resolution == "648p"


def test_crops_need_a_region(tmp_path: Path) -> None:
    path = write(tmp_path, "harmonizer: {composite: full, roi: {enabled: true}}\n")
    with pytest.raises(InputErrors, match=f"{path}: harmonizer.composite: expected region where .* got full"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("output: {namespace: '/abs/é x'}", "output.namespace: expected a ROS name such as camera .* got '/abs/é x'"),
        ("output: {namespace: cars//one}", "output.namespace: .* got 'cars//one'"),
        ("output: {namespace: 3d}", "output.namespace: .* got '3d'"),
        ('output: {namespace: "camera\\n"}', "output.namespace: .* got"),
        ("frames: {map: my map}", "frames.map: expected the name of a tf frame, without blanks, got 'my map'"),
        ("frames: {base_link: ''}", "frames.base_link: .* got ''"),
        ("frames: {prefix: /car}", "frames.prefix: expected the beginning of a tf frame, .* got '/car'"),
        ("frames: {prefix: my car}", "frames.prefix: .* got 'my car'"),
        ("frames: {map: a/base_link, prefix: a/}", "frames.prefix: expected another .* got 'a/base_link'"),
        ("frames: {map: base_link}", "frames.base_link: expected another frame than frames.map, got 'base_link'"),
    ],
)
def test_names_that_ros_does_not_allow_are_refused(tmp_path: Path, text: str, fault: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputErrors, match=f"{path}: {fault}"):
        load_config(path)


def test_absolute_and_empty_namespaces_and_frames_of_old_drives_are_allowed() -> None:
    for namespace in ("", "/", "camera", "/cars/one_2", "camera/", "_hidden"):
        assert load_config(None, {"output.namespace": namespace}).output.namespace == namespace
    assert load_config(None, {"frames.map": "/map", "frames.base_link": "/car/base"}).frames.map == "/map"


def test_a_ros_parameter_file_is_told_from_a_configuration(tmp_path: Path) -> None:
    for text in ("/**: {ros__parameters: {rig.source: demo3}}", "car: {sim_node: {ros__parameters: {}}}"):
        with pytest.raises(InputError, match=r"got a ROS parameter file .* --ros-args --params-file FILE"):
            load_config(write(tmp_path, text))
