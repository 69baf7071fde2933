"""Validation of YAML: all faults in one pass, each with file, key, what was expected and what was there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from r3d2_ros import schema
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.schema import MAX_YAML_LEVELS, STRICT, load_yaml, parse_yaml, validate, validate_usable


@dataclass(frozen=True)
class Lens:
    __pydantic_config__ = STRICT
    fov_deg: Annotated[float, Field(gt=0, lt=180)] = 60.0
    model: Literal["pinhole", "fisheye"] = "pinhole"


@dataclass(frozen=True)
class Device:
    __pydantic_config__ = STRICT
    name: str
    size: Annotated[int, Field(ge=1)] = 1
    offset: tuple[float, float] = (0.0, 0.0)
    lens: Lens = field(default_factory=Lens)


def faults(data: Any) -> dict[str, InputError]:
    with pytest.raises(InputErrors) as caught:
        validate(Device, data, "device.yaml")
    return {fault.where: fault for fault in caught.value.faults}


@dataclass(frozen=True)
class Sourced:
    __pydantic_config__ = STRICT
    source: str = ""
    four: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    some: Annotated[tuple[float, ...], Field(min_length=2)] = (0.0, 1.0)
    named: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Holder:
    __pydantic_config__ = STRICT
    part: Sourced = field(default_factory=Sourced)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"part": "x.ply"}, "part: expected a mapping with the keys source, four, some, named, got 'x.ply'. "
                            "Did you mean {source: 'x.ply'}?"),
        ({"part": 3}, "part: expected a mapping with the keys source, four, some, named, got 3"),
        ({"part": {"four": [1] * 9}}, "part.four: expected at most 4 items, got 9: [1, 1, 1, 1, 1, 1, ...]"),
        ({"part": {"four": 0}}, "part.four: expected a list, got 0"),
        ({"part": {"some": [1]}}, "part.some: expected at least 2 items, got 1: [1]"),
        ({"part": {"named": [1]}}, "part.named: expected a mapping, got [1]"),
        ([1], "expected a mapping with the keys part, got [1]"),
    ],
)  # fmt: skip
def test_what_is_of_another_shape_is_told_in_the_files_words(data: object, text: str) -> None:
    with pytest.raises(InputErrors) as caught:
        validate(Holder, data, "f.yaml")
    assert str(caught.value) == f"f.yaml: {text}"


def test_valid_data_becomes_the_dataclass_with_its_defaults():
    device = validate(Device, {"name": "a", "offset": [1, 2.5], "lens": {"fov_deg": 90}}, "device.yaml")
    assert device == Device(name="a", size=1, offset=(1.0, 2.5), lens=Lens(fov_deg=90.0, model="pinhole"))


@pytest.mark.parametrize(
    "data, where, expected, got",
    [
        ({}, "name", "a value", "nothing (the key is missing)"),
        (None, "name", "a value", "nothing (the key is missing)"),
        ({"name": "a", "size": 0}, "size", "greater than or equal to 1", "0"),
        ({"name": "a", "size": "big"}, "size", "a valid integer", "'big'"),
        ({"name": "a", "size": 1.5}, "size", "a valid integer", "1.5"),
        ({"name": 3}, "name", "a valid string", "3"),
        ({"name": "a", "offset": [1, float("nan")]}, "offset.1", "a finite number", "nan"),
        ({"name": "a", "offset": [1]}, "offset.1", "a value", "nothing (the key is missing)"),
        ({"name": "a", "lens": {"fov_deg": 180}}, "lens.fov_deg", "less than 180", "180"),
        ({"name": "a", "lens": {"model": "mirror"}}, "lens.model", "'pinhole' or 'fisheye'", "'mirror'"),
        ({"name": "a", "lens": 3}, "lens", "", "3"),
    ],
)
def test_a_fault_names_file_key_expected_and_got(data: Any, where: str, expected: str, got: str):
    found = faults(data)
    assert list(found) == [f"device.yaml: {where}"]
    fault = found[f"device.yaml: {where}"]
    assert expected in fault.expected and fault.got == got
    assert str(fault) == f"device.yaml: {where}: expected {fault.expected}, got {got}"


def test_something_else_than_a_mapping():
    (fault,) = faults([1, 2]).values()
    assert fault.where == "device.yaml" and fault.got == "[1, 2]"


def test_unknown_keys_are_refused_with_a_suggestion():
    found = faults({"name": "a", "siez": 3, "lens": {"fov": 90}, "zzz": 1})
    assert found["device.yaml: siez"].hint == "Did you mean 'size'?"
    assert found["device.yaml: lens.fov"].hint == "Did you mean 'fov_deg'?"
    assert found["device.yaml: lens.fov"].expected == "one of the keys fov_deg, model"
    assert found["device.yaml: zzz"].hint == ""
    assert found["device.yaml: zzz"].expected == "one of the keys name, size, offset, lens"


def test_all_faults_come_at_once_and_are_printed_line_by_line():
    with pytest.raises(InputErrors) as caught:
        validate(Device, {"size": 0, "offset": 3, "lens": {"fov_deg": -1}}, "device.yaml")
    keys = {fault.where.removeprefix("device.yaml: ") for fault in caught.value.faults}
    assert keys == {"name", "size", "offset", "lens.fov_deg"}
    assert len(str(caught.value).splitlines()) == 4


def test_long_values_are_cut():
    (fault,) = faults({"name": "a", "size": "x" * 10_000}).values()
    assert len(fault.got) <= 120 and "..." in fault.got


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    return path


def test_yaml_is_read_as_utf8(tmp_path: Path):
    assert load_yaml(write(tmp_path, "a: [1, 2.5, grün]\n".encode())) == {"a": [1, 2.5, "grün"]}
    assert load_yaml(write(tmp_path, b"")) is None
    assert load_yaml(write(tmp_path, b"---\na: 1\n---\n")) == {"a": 1}  # as `ros2 topic echo` ends


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a: [1, 2", id="open bracket"),
        pytest.param(b"a: 1\n b: 2", id="indentation"),
        pytest.param(b"\xff\xfe\x00", id="not text"),
        pytest.param(b"a: \x00", id="control character"),
        pytest.param(b"!!python/object/apply:os.getcwd []", id="python object"),
        pytest.param(b"a: !!int ''", id="a number without digits"),
        pytest.param(b"a: !!bool perhaps", id="neither true nor false"),
        pytest.param(b"a: !!timestamp soon", id="no date"),
        pytest.param(b"a: " + b"1:" * 200 + b"1.0", id="a number in sixties beyond all floats"),
    ],
)
def test_what_is_not_yaml(tmp_path: Path, content: bytes):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as caught:
        load_yaml(path)
    assert caught.value.where == str(path) and caught.value.expected == "valid YAML"
    assert "\n" not in caught.value.got


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ("scene: {}\n".encode("utf-16"), "text in UTF-16, which has to be saved as UTF-8"),
        ("name: M\u00fcnchen\n".encode("latin-1"), "bytes that are no UTF-8"),
    ],
)
def test_text_that_is_not_utf_8_is_told_what_it_is(tmp_path: Path, content: bytes, got: str):
    with pytest.raises(InputError) as caught:
        load_yaml(write(tmp_path, content))
    assert caught.value.got == got


def test_missing_files_and_folders(tmp_path: Path):
    with pytest.raises(InputError, match="expected a YAML file, got no such file"):
        load_yaml(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="expected a YAML file, got a folder"):
        load_yaml(tmp_path)


def test_oversized_files_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(schema, "MAX_YAML_BYTES", 10)
    with pytest.raises(InputError, match="at most 10 bytes, got 16 bytes"):
        load_yaml(write(tmp_path, b"a: 1234567890123"))


def test_a_key_given_twice_inside_a_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputErrors, match=r"1\.x: expected each key once, got it again in line 2"):
        load_yaml(write(tmp_path, b"- {x: 1}\n- {x: 1, y: 2, x: 5}\n"))


def test_numbers_that_take_minutes_to_read_are_refused(tmp_path: Path) -> None:
    """In YAML 1.1 `1:1:1` counts in sixties, each digit by a multiplication of the whole number."""
    with pytest.raises(InputErrors, match="numbers of at most 1000 characters, got a longer one in line 2"):
        load_yaml(write(tmp_path, b"a: 1\nb: " + b"1:" * 500_000 + b"1\n"))


TOO_DEEP = {
    "lists": "'[' * 25_000",
    "mappings": "'{a: ' * 100_000",
    "dashes": "'- ' * 50_000",
    "keys": "'? ' * 50_000",
    "indented": "''.join(' ' * i + 'a:' + chr(10) for i in range(2_000))",
}


@pytest.mark.parametrize("text", TOO_DEEP.values(), ids=TOO_DEEP)
def test_nesting_without_end_is_refused_before_it_fills_the_stack(text: str) -> None:
    """In a process of its own, which used to die of it."""
    code = f"from r3d2_ros.schema import parse_yaml; parse_yaml(({text}).encode(), 'a.yaml')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1, ran.returncode
    assert "a.yaml: expected values nested at most 100 levels deep, got a deeper one in line 1" in ran.stderr


def test_nesting_is_counted_with_aliases_resolved() -> None:
    deepest = "[" * MAX_YAML_LEVELS + "]" * MAX_YAML_LEVELS
    value = parse_yaml(deepest.encode(), "a.yaml")
    for _ in range(MAX_YAML_LEVELS - 1):
        (value,) = value
    assert value == []
    with pytest.raises(InputError, match="got a deeper one in line 2"):
        parse_yaml(f"- 1\n- {deepest}\n".encode(), "a.yaml")
    chain = ["- &a0 []", *(f"- &a{i} [*a{i - 1}]" for i in range(1, MAX_YAML_LEVELS))]
    parse_yaml("\n".join(chain[:-1]).encode(), "a.yaml")
    with pytest.raises(InputErrors, match="got 101 levels with aliases resolved"):
        parse_yaml("\n".join(chain).encode(), "a.yaml")


@dataclass(frozen=True)
class Camera:
    __pydantic_config__ = STRICT
    name: str = "eye"
    lens: Lens = field(default_factory=Lens)


def test_what_is_usable_is_all_but_the_smallest_parts_with_faults() -> None:
    data = {"name": "front", "size": 3, "lens": {"fov_deg": 200, "model": "fisheye"}}
    camera, found = validate_usable(Camera, data, "camera.yaml")
    assert camera == Camera("front", Lens(60.0, "fisheye"))
    assert sorted(fault.where for fault in found) == ["camera.yaml: lens.fov_deg", "camera.yaml: size"]
    camera, found = validate_usable(Camera, {"name": "front", "lens": 7}, "camera.yaml")
    assert (camera, len(found)) == (Camera("front"), 1)
    assert validate_usable(Camera, {"name": "front"}, "camera.yaml") == (Camera("front"), [])
