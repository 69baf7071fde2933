"""The whole tick of a rig over ROS 2: the node and a subscriber as processes of their own, images through DDS."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from r3d2_ros.assembly import load_config_rig, load_config_scene
from r3d2_ros.bench.harmonizer.faults import RigRunError
from r3d2_ros.bench.harmonizer.open_loop import Ticks, verdict
from r3d2_ros.config import SimConfig, as_mapping
from r3d2_ros.demo.drive import Drive, write_drive

Say = Callable[[str], None]
START_S = 900.0
"""How long the node may take to load and compile."""

POLL_S, STOP_S = 0.1, 10.0


def measure_rig_dds(
    config: SimConfig,
    drive: Drive,
    folder: Path,
    *,
    rate_hz: float,
    deadline_ms: float,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """`verdict` of the drive's ticks at `rate_hz`, from publishing an ego pose to the last JPEG at the subscriber.

    Files of the run go to `folder`. ROS_DOMAIN_ID is the caller's: set it to be alone. RigRunError when it fails.
    """
    settings, path, out = folder / "sim.yaml", folder / "drive.json", folder / "result.json"
    settings.write_text(yaml.safe_dump(as_mapping(config), sort_keys=False))
    write_drive(path, drive)
    say(f"starting the node; {len(drive.ticks)} ticks at {rate_hz:g} Hz follow")
    node = ["-m", "r3d2_ros.cli", "sim", "--config", str(settings)]
    client = ["-m", "r3d2_ros.nodes.rig_client", str(path), "--config", str(settings), "--out", str(out)]
    limits = ["--rate", f"{rate_hz:g}", "--deadline-ms", f"{deadline_ms:g}", "--start-s", f"{START_S:g}"]
    _run_together(node, [*client, *limits])
    result = json.loads(out.read_text())
    ticks = Ticks(result["due"], result["latencies_ms"], result["stages"], result["seconds"], result["failed"])
    cameras = load_config_rig(config).cameras
    return {
        "from": "the ego message",
        "to": "the last image at a subscriber",
        **verdict(ticks, rate_hz=rate_hz, deadline_ms=deadline_ms),
        "renderer": config.rendering.backend,
        "splats": len(load_config_scene(config.scene).background),
        "actors": max(len(tick.actors) for tick in drive.ticks),
        "cameras": len(cameras),
        "size": {"height": cameras[0].height_px, "width": cameras[0].width_px},
    }


def _run_together(node: Sequence[str], client: Sequence[str]) -> None:
    """Until the client is done. Both are ended when either fails."""
    with subprocess.Popen([sys.executable, *node], stdout=subprocess.DEVNULL) as sim:
        try:
            with subprocess.Popen([sys.executable, *client], stdout=subprocess.DEVNULL) as subscriber:
                try:
                    while subscriber.poll() is None:
                        if sim.poll() is not None:
                            raise RigRunError(f"the node ended with exit code {sim.returncode} before the drive did")
                        time.sleep(POLL_S)
                finally:
                    _end(subscriber)
            if subscriber.returncode != 0:
                raise RigRunError(f"the subscriber ended with exit code {subscriber.returncode}")
        finally:
            _end(sim)


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
