"""What a measurement was made on: processor, GPU, versions, state of the checkout. Imports torch only for a GPU."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from r3d2_ros.resources import PACKAGE_DIR
from r3d2_ros.versions import own_version

PACKAGES = ("torch", "triton", "diffusers", "gsplat", "numba", "numpy", "stable-fast", "rclpy")
TIMEOUT_S = 30.0


def machine_facts(device: str | None = None) -> dict[str, Any]:
    """Everything that stands at the head of a report. What cannot be found out is None, with a reason beside it.

    device  of torch on which is measured, None where no torch has a part in it
    """
    commit, dirty, reason = git_state(PACKAGE_DIR.parent)
    facts: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "processor": processor(),
        "load_before": round(os.getloadavg()[0], 2),
        "git": {"commit": commit, "changed_files": dirty, "reason": reason},
        "versions": package_versions(),
    }
    return facts if device is None else {**facts, **_torch_facts(device)}


def package_versions() -> dict[str, str | None]:
    """Of r3d2_ros, Python and PACKAGES; None for what is not installed."""
    found: dict[str, str | None] = {"r3d2_ros": own_version(), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def git_state(folder: Path) -> tuple[str | None, int | None, str]:
    """Commit of the checkout at `folder`, number of changed files in it, and why there is none."""
    if named := os.environ.get("R3D2_COMMIT"):
        return named, None, "named by R3D2_COMMIT"
    if not (folder / ".git").exists():
        return None, None, f"{folder} is no git checkout; R3D2_COMMIT can name the commit"
    commit, reason = output_of("git", "-C", str(folder), "rev-parse", "HEAD")
    if commit is None:
        return None, None, reason
    changed, reason = output_of("git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no")
    return commit.strip(), None if changed is None else len(changed.splitlines()), reason


def output_of(*command: str) -> tuple[str | None, str]:
    """What a program prints, and '' - or None and why: it is missing, fails, or takes longer than TIMEOUT_S."""
    if shutil.which(command[0]) is None:
        return None, f"{command[0]} is not installed"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return None, f"{command[0]} took longer than {TIMEOUT_S:g} s"
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        return None, f"{command[0]}: {lines[-1] if lines else f'exit code {done.returncode}'}"
    return done.stdout, ""


def _torch_facts(name: str) -> dict[str, Any]:
    import torch

    facts: dict[str, Any] = {
        "device": name,
        "gpu": None,
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "driver": None,
    }
    device = torch.device(name)
    if device.type != "cuda":
        return {**facts, "driver_reason": "the network ran on a CPU"}
    properties = torch.cuda.get_device_properties(device)
    query = ["nvidia-smi", "-i", gpu_id(device), "--query-gpu=driver_version", "--format=csv,noheader"]
    driver, reason = output_of(*query)
    return {
        **facts,
        "gpu": properties.name,
        "gpu_memory_mib": properties.total_memory // 2**20,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": None if driver is None else driver.strip(),
        "driver_reason": reason,
    }


def gpu_id(device: Any) -> str:
    """What nvidia-smi calls the CUDA device of torch: its UUID, which CUDA_VISIBLE_DEVICES does not renumber."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else str(torch.device(device).index or 0)
