"""`make setup` refuses what cannot work, in one line; no other environment leaks into what make runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ["awk", "bash", "cat", "cut", "df", "dirname", "env", "find", "flock", "mkdir", "rm", "sha256sum", "sort"]
TOOLS += ["tail", "xargs"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script alone, so that nothing can be installed from it."""
    (tmp_path / "checkout" / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "checkout" / "scripts")
    return tmp_path / "checkout"


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for the PATH with the programs the script calls, and no compiler."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(shutil.which(name) or pytest.skip(f"{name} is not installed"))
    return folder


def _program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text("#!/bin/sh\n" + text + "\n", encoding="utf-8")
    path.chmod(0o755)


def _refusal(checkout: Path, tools: Path, python: str = sys.executable) -> str:
    """The one line of a set-up that is refused."""
    result = subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=checkout,
        env={"PATH": str(tools), "PYTHON": python},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_unsupported_python_is_refused(checkout: Path, tools: Path, version: str) -> None:
    _program(tools / "some-python", f"echo {version}")
    line = _refusal(checkout, tools, python="some-python")
    assert f"PYTHON=some-python is Python {version}; r3d2_ros needs Python 3.11, 3.12 or 3.13" in line


def test_python_that_does_not_run_is_refused(checkout: Path, tools: Path) -> None:
    assert "PYTHON=no-such-python does not run" in _refusal(checkout, tools, python="no-such-python")


def test_no_python_at_all_is_reported(checkout: Path, tools: Path) -> None:
    assert "no Python 3.11, 3.12 or 3.13 on the PATH" in _refusal(checkout, tools, python="")


def test_missing_compiler_is_reported(checkout: Path, tools: Path) -> None:
    assert "no C++ compiler (cc)" in _refusal(checkout, tools)
    assert not (checkout / ".venv").exists()


def test_full_disk_is_reported(checkout: Path, tools: Path) -> None:
    for compiler in ("cc", "c++"):
        _program(tools / compiler, "exit 0")
    _program(tools / "df", "echo Filesystem; echo /dev/disk 9999 9000 512 95% /")
    assert "has 512 MB free and the environment needs 8192 MB" in _refusal(checkout, tools)
    assert not (checkout / ".venv").exists()


def test_venv_of_somebody_else_is_not_touched(checkout: Path, tools: Path) -> None:
    theirs = checkout / ".venv" / "theirs"
    theirs.mkdir(parents=True)
    assert "was not made by 'make setup'" in _refusal(checkout, tools)
    assert theirs.is_dir()


def test_unfinished_venv_is_not_taken_for_a_good_one(checkout: Path, tools: Path) -> None:
    """Without the file that a finished step leaves, the set-up starts over: here it gets as far as the compiler."""
    (checkout / ".venv" / ".setup").mkdir(parents=True)
    (checkout / ".venv" / "bin").mkdir()
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    assert "no C++ compiler" in _refusal(checkout, tools)


def test_other_environments_do_not_leak_into_make() -> None:
    leaks = {
        "AMENT_PREFIX_PATH": "/opt/ros/jazzy",
        "PYTHONPATH": "/opt/ros/jazzy/lib/python3.12/site-packages",
        "LD_LIBRARY_PATH": "/opt/ros/jazzy/lib",
        "_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1",
        "CMAKE_PREFIX_PATH": "/opt/ros/jazzy",
        "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
        "ROS_DISTRO": "jazzy",
        "ROS_LOCALHOST_ONLY": "1",
    }
    result = subprocess.run(
        ["make", "--silent", "--eval", "show-environment: ; @env", "show-environment"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "ROS_DOMAIN_ID": "42", **leaks},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    seen = {line.partition("=")[0] for line in result.stdout.splitlines()}
    assert not seen & leaks.keys()
    assert "ROS_DOMAIN_ID=42" in result.stdout.splitlines()
