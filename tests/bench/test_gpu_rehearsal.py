"""The GPU script from end to end on the CPU, with the packages alone that a machine with a GPU is asked to have."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")
pytest.importorskip("gsplat", reason="needs gsplat, which is not installed here")

from tests.gpu.ladder import BEST, REHEARSED
from tests.gpu.steps import STEPS as SCRIPT_STEPS

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / "tests" / "gpu" / "wheels.txt"

THERE = (
    "torch", "numpy", "numba", "scipy", "opencv-python-headless", "pillow", "pyyaml", "tqdm", "xxhash", "safetensors",
    "huggingface-hub", "regex", "requests", "jaxtyping", "rich", "ninja", "pytest",
)  # fmt: skip
"""What wheels.txt takes for granted."""

STEPS = (
    "ceilings,harmonizer-tests", "r3d2", "r3d2-paper,norms", "gsplat-build,gsplat-speed", "rendering", "rig",
    "attention,convolutions,products",
)  # fmt: skip
"""All that can be rehearsed, in parts that take a test's time: gsplat's own tests need CUDA, quality needs weights."""

HIDE = """
import importlib.machinery

NAMES = {names}
find = importlib.machinery.PathFinder.find_spec

def find_spec(finder, name, path=None, target=None):
    return None if name.partition(".")[0] in NAMES else find(name, path, target)

importlib.machinery.PathFinder.find_spec = classmethod(find_spec)
"""
"""As sitecustomize.py: these modules are not installed."""


def wheels() -> dict[str, str]:
    lines = [line for line in WHEELS.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def with_requirements(names: set[str]) -> set[str]:
    """Distributions and what they need, without extras."""
    found: set[str] = set()
    waiting = [normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += requirements(name)
    return found


def requirements(name: str) -> list[str]:
    """Of a distribution, without extras; none for one that is not installed."""
    try:
        texts = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [normal(re.split(r"[ ;<>=!~\[(]", text, maxsplit=1)[0]) for text in texts if "extra ==" not in text]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def other_packages() -> set[str]:
    """Top-level modules of everything installed here that is neither there nor carried."""
    allowed = with_requirements({*THERE, *wheels()}) | {"r3d2-ros", "setuptools", "pip"}
    return {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if not any(normal(name) in allowed for name in distributions)
    }


def test_the_carried_versions_are_those_of_the_constraints() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert {name: version for name, version in wheels().items() if pins.get(name, version) != version} == {}


def test_everything_that_a_carried_package_needs_is_carried_or_there() -> None:
    have = {*map(normal, (*THERE, *wheels())), "filelock"}  # which PyTorch needs too
    for name in wheels():
        assert set(requirements(name)) <= have, name


def test_every_step_is_rehearsed() -> None:
    rehearsed = {name for steps in STEPS for name in steps.split(",")}
    assert {step.name for step in SCRIPT_STEPS} - rehearsed == {"gsplat-tests", "quality", "r3d2-big", "r3d2-big-paper"}


@pytest.mark.slow
@pytest.mark.parametrize("steps", STEPS)
def test_the_script_runs_with_nothing_else(steps: str, tmp_path: Path) -> None:
    others = other_packages()
    assert {"rosbags", "av", "mypy"} <= others and "torch" not in others
    (tmp_path / "sitecustomize.py").write_text(HIDE.format(names=others))
    path = tmp_path / "gpu.json"
    command = [sys.executable, "tests/gpu/run.py", "--rehearse", "--json", str(path), "--steps", steps]
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=360)
    report = json.loads(path.read_text())
    states = {name: (step["state"], step.get("fault")) for name, step in report["steps"].items()}
    assert set(states.values()) == {("done", None)}, f"{states}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    assert done.returncode == 0, done.stderr[-3000:]
    assert {*steps.split(",")} <= set(states)
    text = path.with_suffix(".md").read_text()
    assert "**A rehearsal on a CPU: these numbers mean nothing.**" in text
    assert all(f"#### {name}" in text for name in steps.split(","))
    if steps == "r3d2":
        rows = report["steps"]["r3d2"]["rows"]
        assert {*rows} == {*REHEARSED}
        assert all(row["fps_mean"] > 0 and row["protocol"]["label"] == "rehearsal" for row in rows.values())
        assert rows[BEST]["kernels"]
    if steps == "rig":
        assert all(row["made"] > 0 for row in report["steps"]["rig"]["rows"].values())
