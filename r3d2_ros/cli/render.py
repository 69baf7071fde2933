"""`r3d2 render`: the cameras of a rig at one place, with actors, as picture files."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from r3d2_ros.actors_file import ActorEntry, actor_states, load_actors, load_assets
from r3d2_ros.assembly import (
    check_config_library,
    harmonizer_notes,
    load_config_library,
    load_config_rig,
    load_config_scene,
    load_harmonizer,
    render_settings,
)
from r3d2_ros.cameras import Rig
from r3d2_ros.cli.numbers import number
from r3d2_ros.config import Backend, SimConfig, load_config
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import atomic_output, make_folder
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.diffusers_layout import is_pipeline_folder
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.input_checks import MAX_COORDINATE_M
from r3d2_ros.rendering import make_renderer
from r3d2_ros.scene import AssetLibrary, Scene
from r3d2_ros.simulator import CameraFrame, FrameSet, History, Simulator, mask_bytes
from r3d2_ros.world import EgoState, WorldState

COORDINATE = number(
    f"a number from {-MAX_COORDINATE_M:g} to {MAX_COORDINATE_M:g}", lambda value: abs(value) <= MAX_COORDINATE_M
)

EXAMPLES = """examples:
  r3d2 render --scene street --rig demo3 --ego 60 0 0 0 --out out/view
  r3d2 render --scene scan.ply --rig surround6 --ego -3.5 2 0 -90 --actors actors.yaml --out out/view --json
  r3d2 render --scene street --rig sensors_calibration.yaml --fov 90 --ego 0 0 0 0 --out out/view
  r3d2 render --config sim.yaml --harmonizer my_checkpoint --ego 60 0 0 0 --actors actors.yaml --out out/view

An actors file is a YAML list; asset is a name of the library, or, with a '/' or ending in .ply or .splat, a Gaussian
file in the vehicle frame, relative to the actors file; size (length, width, height) may replace the asset's own:
  - {id: bus_1, asset: bus, x: 85, y: 3.5, z: 0, yaw_deg: 180}
  - {id: mine, asset: my_car.ply, x: 75, y: 0, z: 0, yaw_deg: 0, size: [4.2, 1.8, 1.5]}

Written for each camera: CAMERA.png, CAMERA.depth.npy (float32 z-depth in metres, NaN where nothing solid is seen) and
CAMERA.instance.png (16 bit: 0 background, k the k-th actor of the file). With a harmonizer also CAMERA.rendered.png
(the picture before it) and CAMERA.mask.png (how much of its output each pixel has; 255: all).
Exit status: 0 done, 1 an input cannot be used, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `render` to the result of `ArgumentParser.add_subparsers`."""
    parser = subparsers.add_parser(
        "render",
        help="one moment as pictures, without ROS",
        description="Pictures, depth and actor numbers of every camera of a rig, for one pose of the vehicle. No ROS.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration, as config/sim.yaml; the other "
                        "arguments beat it")  # fmt: skip
    parser.add_argument("--scene", help="'street' (without --config the default), a Gaussian file, scene.yaml or a "
                        "scene folder")  # fmt: skip
    parser.add_argument("--rig", help="demo3 (without --config the default), surround6 or a rig file; its kind is "
                        "detected")  # fmt: skip
    parser.add_argument(
        "--ego",
        nargs=4,
        type=COORDINATE,
        required=True,
        metavar=("X", "Y", "Z", "YAW"),
        help="base_link (rear axle, on the ground) in the map: metres, and degrees counter-clockwise from +x",
    )
    parser.add_argument("--actors", type=Path, metavar="FILE", help="YAML list of actors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to, made if needed")
    parser.add_argument("--fov", type=float, metavar="DEG", help="horizontal, for a rig file without intrinsics")
    parser.add_argument("--backend", choices=get_args(Backend), help="renderer; auto: gsplat where CUDA works")
    parser.add_argument("--harmonizer", metavar="DIR", help="a checkpoint's or pipeline's folder, nano or nano_1080")
    parser.add_argument("--assets", metavar="LIB", help="assets.yaml or its folder; without it, the "
                        "scene's own, else the embedded library")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Render, write, report. InputError(s) for what cannot be used."""
    entries = load_actors(args.actors) if args.actors else ()
    config = _config(args)
    rig = load_config_rig(config)
    if args.assets:
        check_config_library(config, _say)  # also where no actor needs it
    _check_output(args.out, rig)
    scene = load_config_scene(config.scene, _say)
    library = load_assets(entries, path=args.actors or "", library=lambda: load_config_library(config, _say))
    frame_set, renderer = _frame_set(args, config, scene=scene, library=library, rig=rig, entries=entries)
    notes = [*_notes(scene, library, rig, args.ego[:3], frame_set), *harmonizer_notes(config.harmonizer, scene)]
    facts: dict[str, Any] = {
        "out": str(args.out),
        "renderer": renderer,
        "cameras": {
            frame.camera.name: write_frame(args.out, frame, harmonized=config.harmonizer.backend != "none")
            for frame in frame_set.frames
        },
        "instances": {actor_id: number for number, actor_id in enumerate(frame_set.instance_ids, start=1)},
        "off_path_m": _or_none(frame_set.off_path_m),
        "off_path_deg": _or_none(frame_set.off_path_deg),
        "out_of_bounds_m": _or_none(frame_set.out_of_bounds_m),
        "notes": notes,
    }
    for note in notes:
        _say(f"note: {note}")
    print(json.dumps(facts, indent=2, allow_nan=False) if args.json else _as_text(facts))
    return 0


def _harmonizer_backend(folder: str | None) -> str | None:
    """By what lies in the folder: a pipeline's index, or else a checkpoint."""
    if folder is None:
        return None
    return "pipeline" if is_pipeline_folder(model_folder(folder, "--harmonizer")) else "r3d2"


def _config(args: argparse.Namespace) -> SimConfig:
    """The arguments on top of the configuration, so that they mean what they mean to the node."""
    given = {
        "scene.source": args.scene,
        "rig.source": args.rig,
        "assets.library": args.assets,
        "rendering.backend": args.backend,
        "harmonizer.checkpoint": args.harmonizer,
        "harmonizer.backend": _harmonizer_backend(args.harmonizer),
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    if args.fov is not None:
        if not 0 < args.fov < 180:
            raise InputError("--fov", "more than 0 and less than 180 degrees", f"{args.fov:g}")
        overrides["rig.fov_deg"] = args.fov
    return load_config(args.config, overrides)


def _check_output(folder: Path, rig: Rig) -> None:
    """Find out before rendering that nothing can be written."""
    make_folder(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(str(folder), "a folder that can be written", "no permission to write to it")
    for camera in rig.cameras:
        for name in _file_names(camera.name).values():
            if (folder / name).is_dir():
                raise InputError(str(folder / name), "the name of a file to write", "a folder")


def _frame_set(
    args: argparse.Namespace,
    config: SimConfig,
    *,
    scene: Scene,
    library: AssetLibrary,
    rig: Rig,
    entries: tuple[ActorEntry, ...],
) -> tuple[FrameSet, str]:
    rendering = config.rendering
    renderer = make_renderer(
        rendering.backend, render_settings(config, scene), device=rendering.device, threads=rendering.threads
    )
    harmonizer = load_harmonizer(config, _say)
    simulator = Simulator(
        scene=scene, library=library, rig=rig, renderer=renderer, harmonizer=harmonizer, instances=True
    )
    x, y, z, yaw_deg = args.ego
    ego = EgoState(0, Rigid.from_xyz_yaw(x, y, z, math.radians(yaw_deg)))
    state = WorldState(0, ego, actor_states(entries), tuple(entry.id for entry in entries))
    frame_set, _ = simulator.step(state, History())
    for failure in frame_set.failures:
        raise InputError(f"camera '{failure.camera.name}'", "a picture", failure.reason)
    return frame_set, renderer.name


def write_frame(folder: Path, frame: CameraFrame, *, harmonized: bool) -> dict[str, Any]:
    """Write the files of a camera; returns their names, the size and the share of pixels with a depth."""
    names = _file_names(frame.camera.name)
    write_png(folder / names["image"], cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR))
    write_npy(folder / names["depth"], frame.depth)
    assert frame.instance is not None
    write_png(folder / names["instance"], frame.instance)
    if harmonized:
        names |= {kind: f"{frame.camera.name}.{kind}.png" for kind in ("rendered", "mask")}
        write_png(folder / names["rendered"], cv2.cvtColor(frame.rendered, cv2.COLOR_RGB2BGR))
        write_png(folder / names["mask"], mask_bytes(frame))
    return {
        "width": frame.camera.width_px,
        "height": frame.camera.height_px,
        **names,
        "content_hash": frame.content_hash,
        "depth_share": round(float(np.isfinite(frame.depth).mean()), 4),
    }


def _file_names(camera: str) -> dict[str, str]:
    return {"image": f"{camera}.png", "depth": f"{camera}.depth.npy", "instance": f"{camera}.instance.png"}


def write_png(path: Path, pixels: NDArray) -> None:
    """Write [H, W] or [H, W, 3] (blue, green, red), 8 or 16 bit. InputError when it cannot be written."""
    _, encoded = cv2.imencode(".png", pixels)
    with atomic_output(path) as file:
        file.write(encoded.tobytes())


def write_npy(path: Path, array: NDArray) -> None:
    """Write an array. InputError when it cannot be written."""
    encoded = io.BytesIO()  # numpy writes to files past Python, and then does not say that a disk is full
    np.save(encoded, array, allow_pickle=False)
    with atomic_output(path) as file:
        file.write(encoded.getbuffer())


def _notes(scene: Scene, library: AssetLibrary, rig: Rig, ego_m: Sequence[float], frame_set: FrameSet) -> list[str]:
    notes = [*rig.notes, *scene.notes, *library.notes]
    (outside_m,), limits = scene.outside_m(np.array([ego_m]))
    blind = all(np.isnan(frame.depth).all() for frame in frame_set.frames)
    if outside_m > 0 and (blind or scene.bounds is not None):
        sees = ", and no camera sees anything of it" if blind else ""
        notes.append(f"the vehicle is {outside_m:.2f} m outside {limits}{sees}")
    if not math.isnan(frame_set.off_path_m):
        off = f"{frame_set.off_path_m:.2f} m and {frame_set.off_path_deg:.1f} degrees"
        notes.append(f"the vehicle is {off} off the path of the capture")
    return notes


def _as_text(facts: dict[str, Any]) -> str:
    lines = [
        f"{Path(facts['out']) / camera['image']}  {camera['width']}x{camera['height']}, depth in "
        f"{100 * camera['depth_share']:.0f} % of the pixels"
        for camera in facts["cameras"].values()
    ]
    if facts["instances"]:
        numbers = ", ".join(f"{number} {actor_id}" for actor_id, number in facts["instances"].items())
        lines.append(f"actor numbers: {numbers}")
    return "\n".join(lines)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
