"""The package as an environment sees it: metadata, messages, installed files, and a core that needs no ROS."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from rosbags.typesys import Stores, get_typestore

ROOT = Path(__file__).resolve().parents[1]
PREFIX = Path(sys.prefix)

MESSAGE_FIELDS = {
    "Actor": {
        "id": "string",
        "asset": "string",
        "pose": "geometry_msgs/Pose",
        "twist": "geometry_msgs/Twist",
        "size": "geometry_msgs/Vector3",
    },
    "ActorArray": {"header": "std_msgs/Header", "actors": "sequence<r3d2_ros/Actor>"},
    "CameraStatus": {
        "camera": "string",
        "published": "boolean",
        "raw": "boolean",
        "reason": "string",
        "content_hash": "string",
        "render_ms": "float",
        "harmonize_ms": "float",
        "encode_ms": "float",
        "publish_ms": "float",
    },
    "FrameSet": {
        "header": "std_msgs/Header",
        "index": "uint64",
        "cameras": "sequence<r3d2_ros/CameraStatus>",
        "instance_ids": "sequence<string>",
        "off_path_m": "double",
        "off_path_deg": "double",
        "out_of_bounds_m": "double",
    },
    "VehicleCommand": {"header": "std_msgs/Header", "acceleration": "double", "steering_angle": "double"},
}

REFUSE_ROS = """
import importlib, sys

class RefuseRos:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        ros = top in {"rclpy", "builtin_interfaces", "ament_index_python", "cv_bridge", "tf2_ros"}
        if ros or top.endswith("_msgs") or name.startswith(("r3d2_ros.msg", "r3d2_ros.nodes")):
            raise ImportError(f"{name} was imported by the core")

sys.meta_path.insert(0, RefuseRos())
for name in sys.argv[1:]:
    importlib.import_module(name)
    print(name, "torch" in sys.modules)
"""


def _core_modules() -> list[str]:
    """Every module outside nodes/, those that are made for a GPU last."""
    sources = sorted((ROOT / "r3d2_ros").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in sources]
    core = [name for name in names if not name.startswith("r3d2_ros.nodes") and not name.endswith("__main__")]
    if importlib.util.find_spec("torch") is None:
        return [name for name in core if not _for_gpu(name)]
    return sorted(core, key=_for_gpu)


def _for_gpu(name: str) -> bool:
    words = ("gsplat", "gpu", "cuda", "harmonizer", "cli.model", "evaluation", "r3d2_ros.training")
    return any(word in name for word in words)


@pytest.fixture(scope="module")
def torch_after_import(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """Core module -> whether torch is loaded once it and those before it are imported, in a Python that refuses ROS."""
    folder = tmp_path_factory.mktemp("no_ros")
    lines = _python("-c", REFUSE_ROS, *_core_modules(), cwd=folder, path=ROOT).splitlines()
    return {name: loaded == "True" for name, loaded in (line.split() for line in lines)}


def _python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    """Output of a Python started in `cwd`, with `path` in front of what it imports from."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, *arguments]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    return result.stdout


def _installed_share() -> Path:
    share = PREFIX / "share" / "r3d2_ros"
    if not (share / "package.xml").is_file():
        pytest.skip(f"r3d2_ros is not installed in {PREFIX}: make setup")
    return share


def test_package_xml_and_setup_py_agree() -> None:
    try:
        installed = importlib.metadata.metadata("r3d2_ros")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"r3d2_ros is not installed in {PREFIX}: make setup")
    manifest = ElementTree.parse(ROOT / "package.xml").getroot()
    assert manifest.findtext("name") == installed["Name"] == "r3d2_ros"
    assert manifest.findtext("version") == installed["Version"]
    assert manifest.findtext("description") == installed["Summary"]
    assert manifest.findtext("license") == (installed.get("License-Expression") or installed["License"]) == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("name", MESSAGE_FIELDS)
def test_messages_hold_the_documented_fields(name: str) -> None:
    messages = pytest.importorskip("r3d2_ros.msg", reason="the messages are not built: make setup")
    assert getattr(messages, name).get_fields_and_field_types() == MESSAGE_FIELDS[name]


def test_every_message_file_is_built() -> None:
    assert {path.stem for path in (ROOT / "msg").glob("*.msg")} == set(MESSAGE_FIELDS)


def test_tf_message_is_the_one_that_other_ros_programs_use() -> None:
    """Peers match topics by the type hash, which rosbags computes from the upstream definition."""
    description = PREFIX / "share" / "tf2_msgs" / "msg" / "TFMessage.json"
    if not description.is_file():
        pytest.skip(f"tf2_msgs is not installed in {PREFIX}: make setup")
    hashes = json.loads(description.read_text(encoding="utf-8"))["type_hashes"]
    ours = {entry["type_name"]: entry["hash_string"] for entry in hashes}["tf2_msgs/msg/TFMessage"]
    assert ours == get_typestore(Stores.ROS2_JAZZY).hash_rihs01("tf2_msgs/msg/TFMessage")


def test_the_checkout_is_what_runs_from_anywhere(tmp_path: Path) -> None:
    pytest.importorskip("r3d2_ros.msg", reason="the messages are not built: make setup")
    code = "import r3d2_ros, r3d2_ros.msg as m; print(r3d2_ros.__file__); print(m.FrameSet.__name__)"
    expected = [str(ROOT / "r3d2_ros" / "__init__.py"), "FrameSet"]
    assert _python("-c", code, cwd=tmp_path).splitlines() == expected
    assert _python("-c", code, cwd=ROOT).splitlines() == expected


def test_core_imports_without_ros(torch_after_import: dict[str, bool]) -> None:
    assert list(torch_after_import) == _core_modules()
    assert {"r3d2_ros.simulator", "r3d2_ros.world", "r3d2_ros.formats.ply"} <= torch_after_import.keys()


def test_torch_is_not_imported_until_gsplat_or_a_harmonizer_is_asked_for(torch_after_import: dict[str, bool]) -> None:
    assert [name for name, loaded in torch_after_import.items() if loaded and not _for_gpu(name)] == []


@pytest.mark.parametrize("folder", ["launch", "config", "msg"])
def test_installed_files_are_those_of_the_checkout(folder: str) -> None:
    share = _installed_share()
    sources = [path for path in (ROOT / folder).rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
    assert sources
    for source in sources:
        installed = share / source.relative_to(ROOT)
        assert installed.read_bytes() == source.read_bytes(), f"{installed} is not {source}: make setup"


@pytest.mark.parametrize("node", ["sim_node", "bag_player"])
def test_ros_tools_find_package_and_executable(node: str) -> None:
    _installed_share()
    assert (PREFIX / "share" / "ament_index" / "resource_index" / "packages" / "r3d2_ros").is_file()
    executable = PREFIX / "lib" / "r3d2_ros" / node
    assert os.access(executable, os.X_OK)
    assert f'"{PREFIX / "bin" / "python"}"' in executable.read_text(encoding="utf-8").splitlines()[1]


def test_page_of_the_messages_is_up_to_date() -> None:
    written = subprocess.run(
        [sys.executable, "-c", "import messages_page; print(messages_page.page(), end='')"],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    page = ROOT / "docs" / "messages.md"
    assert page.read_text(encoding="utf-8") == written.stdout, "run: python scripts/messages_page.py"
    assert all(f"## {name}\n" in written.stdout for name in MESSAGE_FIELDS)
