"""What a replay adds to the renderer: time and core time per frame set, for each kind of output.

    python -m r3d2_ros.bench.replay [--rig demo3] [--frames 40] [--repeats 3]

The embedded street is driven along its capture path at 10 frame sets per second, from a bag that is written for it. The
measurements take turns, and the fastest of each kind counts: what else runs on the machine slows all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from r3d2_ros.assembly import assemble, load_config_library, load_config_rig
from r3d2_ros.config import SimConfig, load_config
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonize_thread import HarmonizeThread
from r3d2_ros.replay.definitions import standard_types
from r3d2_ros.replay.folder_store import FolderStore
from r3d2_ros.replay.mcap_store import McapStore
from r3d2_ros.replay.messages import header, serialised
from r3d2_ros.replay.output import Store
from r3d2_ros.replay.pipeline import Part, make_frames
from r3d2_ros.replay.recording import open_recording
from r3d2_ros.replay.ticks import Ticks, replay_config
from r3d2_ros.replay.video_store import VideoStore
from r3d2_ros.simulator import Simulator

ODOMETRY = "nav_msgs/msg/Odometry"
STEP_NS = 100_000_000
RENDERER = "the renderer alone"
OUTPUTS = ("folder, jpg", "folder, png", "folder, mp4", "bag, raw", "bag, jpg")


@dataclass(frozen=True)
class Cost:
    """Milliseconds per frame set: of wall time, and of all cores together."""

    wall_ms: float
    core_ms: float


def write_drive(path: Path, poses: list[Rigid]) -> None:
    """A bag with a pose every 0.1 s."""
    types = standard_types().types
    zero = types["geometry_msgs/msg/Vector3"](0.0, 0.0, 0.0)
    twist = types["geometry_msgs/msg/Twist"](linear=zero, angular=zero)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/odom", ODOMETRY, typestore=standard_types())
        for number, T in enumerate(poses):
            stamp_ns = 10**9 + number * STEP_NS
            w, x, y, z = T.quat_wxyz.tolist()
            pose = types["geometry_msgs/msg/Pose"](
                position=types["geometry_msgs/msg/Point"](*T.translation.tolist()),
                orientation=types["geometry_msgs/msg/Quaternion"](x, y, z, w),
            )
            message = types[ODOMETRY](
                header=header(stamp_ns, "map"),
                child_frame_id="base_link",
                pose=types["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=np.zeros(36)),
                twist=types["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=np.zeros(36)),
            )
            writer.write(connection, stamp_ns, serialised(message))


def bench_replay(*, rig: str, frames: int, repeats: int, say: Callable[[str], None]) -> dict[str, Cost]:
    """Cost of the renderer alone and of a replay into each kind of output."""
    config = replay_config(load_config(None, {"rig.source": rig}), None)
    library = load_config_library(config, say)
    simulator = assemble(config, say, rig=load_config_rig(config), library=library).simulator
    assert simulator.scene.path is not None
    path = simulator.scene.path.poses
    poses = [path[i] for i in np.linspace(0, len(path) - 1, frames).astype(int)]
    found: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_drive(folder / "drive", poses)
        with open_recording(folder / "drive", config=config, library=library) as recording:
            ticks = Ticks(recording, config=config, rig=simulator.rig, library=library)
            for repeat in range(repeats):
                say(f"round {repeat + 1} of {repeats}")
                found.setdefault(RENDERER, []).append(_cost(lambda: _render(simulator, poses), frames))
                for kind in OUTPUTS:
                    store = _store(kind, folder / f"{repeat}-{kind}.mcap", simulator, config)
                    store.begin({}, overwrite=False)
                    try:
                        found.setdefault(kind, []).append(_cost(lambda: _replay(simulator, ticks, store), frames))  # noqa: B023
                    finally:
                        store.release()
    return {
        kind: Cost(min(cost.wall_ms for cost in costs), min(cost.core_ms for cost in costs))
        for kind, costs in found.items()
    }


def _render(simulator: Simulator, poses: list[Rigid]) -> None:
    placed = simulator.scene.compose((), simulator.library)
    faces = [face for camera in simulator.rig.cameras for face in simulator.lens(camera).faces]
    for pose in poses:
        simulator.renderer.render(placed, [face.view(pose) for face in faces])


def _replay(simulator: Simulator, ticks: Ticks, store: Store) -> None:
    wanted = frozenset(range(len(ticks.moments())))
    with closing(HarmonizeThread(simulator, print)) as harmonizing:
        make_frames(
            iter(ticks), Part(wanted), simulator=simulator, harmonizing=harmonizing, output=store.output(None),
            stop=threading.Event(), done=lambda planned, cause, reason: None, trouble=print,
        )  # fmt: skip


def _store(kind: str, path: Path, simulator: Simulator, config: SimConfig) -> Store:
    where, image_format = kind.split(", ")
    cameras = simulator.rig.cameras
    if where == "bag":
        is_raw = image_format == "raw"
        output = replace(config.output, raw=is_raw, compressed=not is_raw)
        return McapStore(path, cameras, replace(config, output=output))
    if image_format == "mp4":
        return VideoStore(path.with_suffix(""), cameras, config.output, fps=10.0)
    return FolderStore(path.with_suffix(""), cameras, config.output, image_format)


def _cost(work: Callable[[], None], frames: int) -> Cost:
    wall, core = time.perf_counter(), time.process_time()
    work()
    return Cost((time.perf_counter() - wall) * 1e3 / frames, (time.process_time() - core) * 1e3 / frames)


def format_table(costs: dict[str, Cost]) -> str:
    """A line for each kind; the share is the renderer's time of the time taken."""
    alone = costs[RENDERER]
    lines = [f"{'ms per frame set':20} {'wall':>8} {'share':>6} {'cores':>8} {'share':>6} {'added':>6}"]
    for kind, cost in costs.items():
        wall, core = alone.wall_ms / cost.wall_ms, alone.core_ms / cost.core_ms
        added = cost.core_ms - alone.core_ms
        lines.append(f"{kind:20} {cost.wall_ms:8.1f} {wall:6.0%} {cost.core_ms:8.1f} {core:6.0%} {added:6.1f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure what a replay adds to the renderer.")
    parser.add_argument("--rig", default="demo3", help="demo3, surround6 or a rig file (%(default)s)")
    parser.add_argument("--frames", type=int, default=40, help="frame sets of a measurement (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (%(default)s)")
    options = parser.parse_args(arguments)
    costs = bench_replay(
        rig=options.rig, frames=options.frames, repeats=options.repeats, say=lambda text: print(text, file=sys.stderr)
    )
    print(format_table(costs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
