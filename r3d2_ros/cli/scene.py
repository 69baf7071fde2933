"""`r3d2 scene info|convert`: what is in a scene, and any readable Gaussian file as INRIA PLY."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.errors import InputError
from r3d2_ros.formats.cleaning import LoadedGaussians
from r3d2_ros.formats.load import load_gaussians
from r3d2_ros.formats.ply import write_inria_ply
from r3d2_ros.formats.scenes import SceneFiles, build_scene, find_scene
from r3d2_ros.formats.sidecar import SceneKeys, transform_keys

EXAMPLES = """examples:
  r3d2 scene info garden.ply                 count, SH degree, bounds, memory
  r3d2 scene info scenes/town --json         the same of a scene folder, for machines
  r3d2 scene convert scan.compressed.ply scan.ply
  r3d2 scene convert car.splat car.ply --force

Readable are INRIA PLY, SuperSplat compressed PLY and .splat. A folder with scene.yaml, or the scene.yaml,
stands for its Gaussian file. Exit status: 0 done, 1 a file cannot be used, 2 wrong arguments."""


def add_parser(subparsers: Any) -> None:
    """Add `scene` to the result of `ArgumentParser.add_subparsers`."""
    raw = argparse.RawDescriptionHelpFormatter
    scene = subparsers.add_parser(
        "scene",
        help="inspect and convert Gaussian scenes",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    commands = scene.add_subparsers(dest="scene_command", required=True, metavar="{info,convert}")
    info = commands.add_parser("info", help="print what a scene holds", epilog=EXAMPLES, formatter_class=raw)
    info.add_argument("path", type=Path, metavar="PATH", help="Gaussian file, scene.yaml, or folder that holds one")
    info.add_argument("--json", action="store_true", help="print one JSON object")
    convert = commands.add_parser("convert", help="write INRIA PLY", epilog=EXAMPLES, formatter_class=raw)
    convert.add_argument("input", type=Path, metavar="IN", help="anything that `info` reads")
    convert.add_argument("output", type=Path, metavar="OUT.ply", help="the file to write")
    convert.add_argument("--force", action="store_true", help="overwrite OUT.ply")


def run(args: argparse.Namespace) -> int:
    """Run the parsed command and return the exit status. InputError(s) for files that cannot be used."""
    return _info(args.path, as_json=args.json) if args.scene_command == "info" else _convert(args)


def _info(path: Path, *, as_json: bool) -> int:
    files = find_scene(path)
    facts = describe(files, load_gaussians(files.gaussians))
    print(json.dumps(facts, indent=2, allow_nan=False) if as_json else _as_text(facts))
    return 0


def describe(files: SceneFiles, loaded: LoadedGaussians) -> dict[str, Any]:
    """What `r3d2 scene info --json` prints. Bounds are of the means in the file's frame, origin included."""
    scene, gaussians = build_scene(files, loaded), loaded.gaussians
    positions = gaussians.origin + gaussians.means
    low, high = np.quantile(positions, [0.01, 0.99], axis=0)
    usable = None if scene.bounds is None else {"min": scene.bounds[0].tolist(), "max": scene.bounds[1].tolist()}
    return {
        "file": str(files.gaussians),
        "sidecar": str(files.sidecar) if files.sidecar else None,
        "name": scene.name,
        "format": loaded.format,
        "count": len(gaussians),
        "dropped": loaded.dropped,
        "sh_degree": gaussians.sh_degree,
        "bounds": {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()},
        "bounds_1_99_percent": {"min": low.tolist(), "max": high.tolist()},
        "memory_bytes": gaussians.nbytes,
        "origin": gaussians.origin.tolist(),
        "T_map_scene": transform_keys(scene.T_map_scene) if files.sidecar else None,
        "usable_bounds": usable,
        "trajectory_poses": len(scene.trajectory),
        "antialiased": scene.antialiased,
        "procedural": scene.procedural,
        "licence": scene.licence,
        "assets": str(files.library) if files.library else None,
        "notes": list(scene.notes),
    }


def _as_text(facts: dict[str, Any]) -> str:
    def box(corners: dict[str, list[float]]) -> str:
        return " to ".join("(" + ", ".join(f"{v:.3f}" for v in corners[key]) + ")" for key in ("min", "max"))

    dropped = f", {facts['dropped']} unusable rows dropped" if facts["dropped"] else ""
    lines = {
        "name": facts["name"],
        "file": f"{facts['file']} ({facts['format']})",
        "Gaussians": f"{facts['count']}{dropped}",
        "SH degree": facts["sh_degree"],
        "bounds": box(facts["bounds"]),
        "1 to 99 %": box(facts["bounds_1_99_percent"]),
        "memory": f"{facts['memory_bytes'] / 2**20:.1f} MiB",
    }
    if any(facts["origin"]):
        lines["origin"] = f"{facts['origin']} (coordinates are stored relative to it)"
    if facts["sidecar"]:
        T = facts["T_map_scene"]
        lines["sidecar"] = facts["sidecar"]
        lines["T_map_scene"] = (
            f"translation {T['translation_m']} m, rotation {T['rotation_wxyz']} (wxyz), scale {T['scale']}"
        )
        lines["usable in"] = box(facts["usable_bounds"]) if facts["usable_bounds"] else "not stated"
        lines["trajectory"] = f"{facts['trajectory_poses']} poses"
        lines["licence"] = facts["licence"] or "not stated"
    if facts["assets"]:
        lines["assets"] = facts["assets"]
    text = [f"{key + ':':13}{value}" for key, value in lines.items()]
    return "\n".join([*text, *(f"note: {note}" for note in facts["notes"])])


def _convert(args: argparse.Namespace) -> int:
    output: Path = args.output
    if output.suffix.lower() != ".ply":
        raise InputError(str(output), "a name that ends in .ply", f"'{output.name}'")
    if output.exists() and not args.force:
        raise InputError(str(output), "a file that does not exist yet", "an existing one", "Overwrite it with --force")
    files = find_scene(args.input)
    loaded = load_gaussians(files.gaussians)
    for note in (*loaded.notes, *_left_behind(files, output)):
        print(f"note: {note}", file=sys.stderr)
    write_inria_ply(output, loaded.gaussians)
    gaussians = loaded.gaussians
    print(f"{output}: {len(gaussians)} Gaussians, SH degree {gaussians.sh_degree}")
    return 0


def _left_behind(files: SceneFiles, output: Path) -> tuple[str, ...]:
    """A note on what the sidecar says and a PLY file cannot."""
    if files.sidecar is None:
        return ()
    default = SceneKeys()
    names = [entry.name for entry in dataclasses.fields(SceneKeys) if entry.name != "gaussians"]
    said = [name for name in names if getattr(files.keys, name) != getattr(default, name)]
    if not said:
        return ()
    to = f"{output.name} is placed as it lies in its own frame, unless {output.stem}.yaml beside it says so again"
    return (f"a PLY file holds nothing of {files.sidecar} ({', '.join(said)}): {to}",)
