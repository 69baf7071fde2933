"""The demo: simulator, driver and subscriber as separate processes over DDS, and what comes out of it."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3d2_ros.cameras import Camera, Rig
from r3d2_ros.demo import files
from r3d2_ros.demo.before_after import before_after_sheet
from r3d2_ros.demo.children import Child, Children, DemoError
from r3d2_ros.demo.collector import Collector
from r3d2_ros.demo.contact_sheet import contact_sheet, write_contact_sheet
from r3d2_ros.demo.domain import VARIABLE, demo_environment
from r3d2_ros.demo.drive import Drive, shown_moments, write_drive
from r3d2_ros.demo.plan import Plan
from r3d2_ros.demo.recorder import Recorder
from r3d2_ros.demo.summary import figures, write_summary
from r3d2_ros.errors import InputError
from r3d2_ros.progress import Progress
from r3d2_ros.rigs import load_rig
from r3d2_ros.versions import versions

Say = Callable[[str], None]

READY_S = 600.0
"""A large scene loads, and the kernels of gsplat compile, in less time than this."""

STILL_S = 20.0
"""While the simulator is not ready, what it said last is repeated this often."""

STALL_S = 60.0
"""Without a frame set for this long, what is missing counts as lost."""

LAST_S = 3.0
"""After the last frame set is announced, how long its pictures may still be on their way."""

IN_FLIGHT = 1
"""Poses without an answer. More would only wait in the node's queue: a renderer that uses every core gains nothing."""

NEIGHBOUR_S = 1.0
NODE_FAULT = r"\[(?:ERROR|FATAL)\][^\n]*?: ((?:configure|activate) failed: .*|run stopped: .*|the render thread ended)"
POLL_S = 0.05


@dataclass(frozen=True)
class DemoOptions:
    """out: folder; rig: name or file; width_px: cameras that are wider are made this wide (None: as the rig says).

    harmonizer  None: the renders are published as they are
    """

    out: Path
    rig: str = "demo3"
    fov_deg: float = 0.0
    width_px: int | None = None
    backend: str = "auto"
    harmonizer: files.HarmonizerChoice | None = None


def run_demo(plan: Plan, options: DemoOptions, say: Say) -> dict[str, Any]:
    """Drive, record, and write videos, contact sheet and summary; returns the summary.

    InputError(s) for what cannot be used, DemoError when a process ends early. Every process is ended.
    """
    start = time.monotonic()
    rig, rig_source = _rig(options)
    config = files.write_config(
        options.out / files.CONFIG,
        scene=plan.scene,
        rig=rig_source,
        fov_deg=options.fov_deg if rig_source == options.rig else 0.0,
        backend=options.backend,
        harmonizer=options.harmonizer,
    )
    write_drive(options.out / files.DRIVE, plan.drive)
    environment = demo_environment()
    chosen = not os.environ.get(VARIABLE)
    os.environ.update(environment)
    say(_where_to_look(environment[VARIABLE], chosen=chosen))
    recorder = _recorder(options.out, rig, plan.drive)
    names = [camera.name for camera in rig.cameras]
    collector = Collector(names, recorder.add, rendered=options.harmonizer is not None)
    prefix = f"/{config.output.namespace}"
    try:
        _drive(plan, options.out, collector, _topics(rig, prefix), environment=environment, chosen=chosen, say=say)
    finally:
        recorder.close()
    summary = {
        **figures(published_ns=_published(options.out / files.POSES), received_ns=collector.received_ns),
        **_facts(plan, rig, options.out, environment[VARIABLE]),
        "harmonizer": options.harmonizer.name if options.harmonizer else None,
        "failures": collector.failures[:20],
        "wall_s": round(time.monotonic() - start, 1),
    }
    if recorder.rows:
        write_contact_sheet(options.out / files.SHEET, _sheet(recorder, rig, plan, summary))
    if recorder.changes:
        write_contact_sheet(options.out / files.BEFORE_AFTER, _before_after(recorder, plan, summary))
    write_summary(options.out / files.SUMMARY, summary)
    return summary


def _rig(options: DemoOptions) -> tuple[Rig, str]:
    """The rig, and the name or file under which the node finds it."""
    rig = load_rig(options.rig, fov_deg=options.fov_deg or None)
    if options.width_px is None or all(camera.width_px <= options.width_px for camera in rig.cameras):
        return rig, options.rig
    rig = files.narrower(rig, options.width_px)
    path = options.out / files.RIG
    files.write_rig(path, rig)
    return rig, str(path.absolute())


def _topics(rig: Rig, prefix: str) -> dict[str, str]:
    return {c.name: c.topic if c.topic.startswith("/") else f"{prefix}/{c.topic}" for c in rig.cameras}


def _recorder(out: Path, rig: Rig, drive: Drive) -> Recorder:
    moments = {
        drive.ticks[moment.tick].stamp_ns: (drive.seconds_at(moment.tick), moment.label)
        for moment in shown_moments(drive)
    }
    return Recorder(out, rig, fps=drive.rate_hz, moments=moments)


def _drive(
    plan: Plan,
    out: Path,
    collector: Collector,
    topics: dict[str, str],
    *,
    environment: dict[str, str],
    chosen: bool,
    say: Say,
) -> None:
    from r3d2_ros.nodes.demo_client import DemoClient  # noqa: TID251

    with DemoClient(topics, collector) as client, Children(environment) as children:
        if not chosen:
            _refuse_neighbour(client, environment[VARIABLE])
        say("starting the simulator (the first time it compiles its kernels, about 15 s)")
        node_arguments = ["sim", "--config", str(out / files.CONFIG)]
        node = children.start("sim_node", "r3d2_ros.cli", node_arguments, log=out / files.NODE_LOG)
        _wait_until_ready(client, node, say)
        driver_arguments = [str(out / files.DRIVE), "--log", str(out / files.POSES), "--in-flight", str(IN_FLIGHT)]
        driver = children.start("driver", "r3d2_ros.nodes.demo_driver", driver_arguments, log=out / files.DRIVER_LOG)
        _follow(len(plan.drive.ticks), collector, client, node=node, driver=driver)
        driver.wait(LAST_S)


def _refuse_neighbour(client: Any, domain: str) -> None:
    """A simulator of somebody else in the domain would answer the demo's driver."""
    time.sleep(NEIGHBOUR_S)
    if client.publishers():
        raise InputError(
            f"{VARIABLE}={domain}",
            "a domain without a running sim_node",
            "one that publishes frame sets",
            f"Stop it, or unset {VARIABLE}: the demo then takes a domain of its own",
        )


def _wait_until_ready(client: Any, node: Child, say: Say) -> None:
    """Until the simulator's topics are there."""
    start = said = time.monotonic()
    while not client.matched:
        _check_node(node)
        now = time.monotonic()
        if now - start > READY_S:
            node.fail(f"has not offered its topics within {READY_S:.0f} s")
        if now - said > STILL_S:
            said = now
            say(f"waiting for the simulator since {now - start:.0f} s; it said: {node.tail().splitlines()[-1]}")
        time.sleep(POLL_S)


def _check_node(node: Child) -> None:
    """DemoError when the simulator has ended, or said that it cannot go on."""
    if node.exit_code is not None:
        node.fail(f"ended with exit code {node.exit_code}")
    fault = re.search(NODE_FAULT, node.printed())
    if fault:
        raise DemoError(f"sim_node: {fault[1]} (all of its output: {node.log})")


def _follow(total: int, collector: Collector, client: Any, *, node: Child, driver: Child) -> None:
    """Until every frame set is complete, or nothing comes any more."""
    with Progress(total) as progress:
        changed, last = time.monotonic(), (0, 0)
        while collector.complete < total:
            _check_node(node)
            driver.check()
            if client.fault is not None:
                raise client.fault
            progress.at(collector.complete)
            now = (collector.complete, collector.announced)
            if now != last:
                changed, last = time.monotonic(), now
            ending = collector.announced >= total or driver.exit_code is not None
            if time.monotonic() - changed > (LAST_S if ending else STALL_S):
                return
            time.sleep(POLL_S)
        progress.at(collector.complete)


def _published(path: Path) -> dict[int, int]:
    """Stamp -> monotonic time of publishing, as the driver wrote it; the last line may be cut off."""
    lines = path.read_text().splitlines() if path.is_file() else []
    rows = [line.split(",") for line in lines if re.fullmatch(r"\d+,\d+", line)]
    return {int(stamp): int(published) for stamp, published in rows}


def _facts(plan: Plan, rig: Rig, out: Path, domain: str) -> dict[str, Any]:
    return {
        "ticks": len(plan.drive.ticks),
        "drive": {
            "source": plan.drive.name,
            "seconds": round(plan.drive.duration_s, 3),
            "rate_hz": round(plan.drive.rate_hz, 3),
            "actors": list(plan.drive.actor_ids),
        },
        "rig": rig.name,
        "cameras": {
            camera.name: {"width": camera.width_px, "height": camera.height_px, "video": files.video(camera.name)}
            for camera in rig.cameras
        },
        "renderer": _renderer(out / files.NODE_LOG),
        "poses_in_flight": IN_FLIGHT,
        "domain_id": int(domain),
        "cpus": os.cpu_count(),
        "versions": versions("rclpy", "numpy", "numba", "gsplat", "av"),
    }


def _renderer(log: Path) -> str:
    """What the node said that it renders with."""
    found = re.search(r"renderer '(\w+)' ready", log.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else "unknown"


def _sheet(recorder: Recorder, rig: Rig, plan: Plan, summary: dict[str, Any]) -> Any:
    sizes = sorted({f"{camera.width_px}x{camera.height_px}" for camera in rig.cameras})
    actors = len(plan.drive.actor_ids)
    return contact_sheet(
        recorder.rows,
        cameras=_from_left_to_right(rig),
        title=f"r3d2_ros demo: {plan.drive.name}",
        subtitle=f"rig {rig.name}, {len(rig.cameras)} cameras {', '.join(sizes)}, {actors} inserted actors, "
        f"{summary['frame_sets']} frame sets over ROS 2, {summary['lost']} lost, renderer {summary['renderer']}, "
        f"harmonizer {summary['harmonizer'] or 'none'}",
    )


def _before_after(recorder: Recorder, plan: Plan, summary: dict[str, Any]) -> Any:
    return before_after_sheet(
        recorder.changes,
        title=f"Harmonizer {summary['harmonizer']}: the inserted actors before and after",
        subtitle=f"{plan.drive.name}. Pixels away from actors and their shadows stay as they are, bit for bit",
    )


def _from_left_to_right(rig: Rig) -> list[str]:
    """Names of the cameras by the direction in which they look: neighbours on the vehicle are neighbours."""

    def towards_left(camera: Camera) -> float:
        x, y, _ = camera.T_ego_camera.rotation[:, 2]
        return math.atan2(y, x)

    return [camera.name for camera in sorted(rig.cameras, key=towards_left, reverse=True)]


def _where_to_look(domain: str, *, chosen: bool) -> str:
    if not chosen:
        return f"{VARIABLE}={domain}, as it was set"
    return f"{VARIABLE}={domain} (to look on: export {VARIABLE}={domain}, then ros2 topic list)"
