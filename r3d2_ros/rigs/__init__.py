"""Rig files: the project's own YAML and the calibrations of PandaSet, HUGSIM and Autoware sensor kits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.cameras import Rig
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.input_files import not_a_file
from r3d2_ros.resources import config_dir, user_path
from r3d2_ros.rigs import autoware, calibrator, hugsim, native, pandaset
from r3d2_ros.rigs.fields import MAX_SIDE_PX, size_faults
from r3d2_ros.schema import load_yaml

UNSEEN_STEP_PX = 8
"""Pixels without a ray are looked for in every so many rows and columns."""

OFF_MIDDLE = 0.05
"""A principal point off the middle by more than this share of width and of height, along the diagonal, is noted."""
ONE_FACTOR = 0.05
"""Shares of width and height that differ by less are those of one factor between two image sizes."""

KINDS = ("r3d2", "pandaset", "hugsim", "autoware")


def load_rig(
    source: str | Path,
    *,
    kind: str = "auto",
    fov_deg: float | None = None,
    width_px: int | None = None,
    height_px: int | None = None,
    rectified: bool = False,
) -> Rig:
    """The rig of a file, or a shipped one by name (`demo3`, `surround6`).

    kind                  one of KINDS, or 'auto': decided from the content
    fov_deg               horizontal field of view in degrees, for files that have no intrinsics (Autoware);
                          refused for the others
    width_px, height_px   size of every image, both or none; cameras that have a size are resized to it and
                          keep their field of view
    rectified             leave lens distortion out: each camera becomes the pinhole with its K

    Camera names become topic and frame names, so foreign ones are converted to ROS names (`fields.ros_name`).
    InputError or InputErrors with file, key, expected and got for a file that cannot be used.
    """
    _check_arguments(kind, fov_deg=fov_deg, width_px=width_px, height_px=height_px)
    path = rig_path(source)
    data = load_yaml(path)
    found = detect_kind(data, str(path)) if kind == "auto" else kind
    if not isinstance(data, dict):
        raise InputError(str(path), "a mapping", type(data).__name__)
    if found == "autoware":
        return _built(
            path,
            lambda: autoware.parse(data, path, fov_deg=fov_deg, width_px=width_px, height_px=height_px),
            rectified,
        )
    if fov_deg is not None:
        raise InputError(
            f"{path}: fov_deg",
            "none, because the file states its own intrinsics",
            f"{fov_deg:g} degrees",
            "Leave it out, or change the intrinsics in the file.",
        )
    parse = {"r3d2": native.parse, "pandaset": pandaset.parse, "hugsim": hugsim.parse}[found]
    rig = _built(path, lambda: parse(data, str(path), name=path.stem), rectified)
    if width_px is None or height_px is None:
        return rig
    return replace(rig, cameras=tuple(camera.resized(width_px, height_px) for camera in rig.cameras))


def rig_path(source: str | Path) -> Path:
    """The file that `source` means: a path, or NAME of the shipped `config/rigs/NAME.yaml`."""
    path = user_path(source, "rig")
    if not_a_file(path) is None:
        return path
    shipped = config_dir() / "rigs"
    if len(path.parts) == 1 and (shipped / f"{path.name}.yaml").is_file():
        return shipped / f"{path.name}.yaml"
    got = not_a_file(path)
    raise InputError("rig", f"a rig file or one of {', '.join(shipped_rigs())}", f"'{source}': {got}")


def shipped_rigs() -> list[str]:
    """Names of the rigs in `config/rigs/`."""
    return sorted(path.stem for path in (config_dir() / "rigs").glob("*.yaml"))


def detect_kind(data: Any, where: str) -> str:
    """Kind of a parsed rig file, from its content. InputError when it is none of KINDS."""
    if isinstance(data, dict) and "cameras" in data:
        return "r3d2"
    for kind, module in (("hugsim", hugsim), ("pandaset", pandaset), ("autoware", autoware)):
        if module.recognises(data):
            return kind
    if calibrator.recognises(data):
        calibrator.refuse(data, where)
    raise InputError(
        where,
        "a rig: 'cameras' (r3d2), 'cams' (HUGSIM), entries with 'extrinsic' (PandaSet), or frames with "
        "x, y, z, yaw (Autoware)",
        f"the keys {', '.join(map(str, data))}"[:200]
        if isinstance(data, dict) and data
        else type(data).__name__,
    )


def _check_arguments(
    kind: str, *, fov_deg: float | None, width_px: int | None, height_px: int | None
) -> None:
    faults: list[InputError] = []
    if kind not in ("auto", *KINDS):
        faults.append(InputError("rig.kind", f"auto, {', '.join(KINDS)}", repr(kind)))
    if fov_deg is not None and not 0.0 < fov_deg < 180.0:
        faults.append(InputError("rig.fov_deg", "more than 0 and less than 180 degrees", f"{fov_deg:g}"))
    if (width_px is None) != (height_px is None):
        faults.append(InputError("rig size", "width and height, or neither", f"{width_px} x {height_px}"))
    for name, value in (("width", width_px), ("height", height_px)):
        if value is not None and not 1 <= value <= MAX_SIDE_PX:
            faults.append(InputError(f"rig {name}", f"1 to {MAX_SIDE_PX} pixels", str(value)))
    if not faults and width_px and height_px:
        faults += size_faults(width_px, height_px, "rig size")
    if faults:
        raise InputErrors(faults)


def _built(path: Path, parse: Callable[[], Rig], rectified: bool) -> Rig:
    """The parsed rig, with notes on its lenses; what Camera and Rig themselves refuse becomes a fault of the file."""
    try:
        rig = parse()
        notes = [*rig.notes, *_intrinsic_notes(rig, path)]
        if not rectified:
            return replace(rig, notes=(*notes, *_unseen_notes(rig, path)))
    except (InputError, InputErrors):
        raise
    except ValueError as error:
        raise InputError(str(path), "cameras that can be simulated", str(error)) from None
    if bent := ", ".join(camera.name for camera in rig.cameras if camera.is_distorted):
        notes.append(f"{path}: the lens distortion of {bent} is left out, as rig.lens asks: pinholes with the file's K")
    return replace(rig, cameras=tuple(camera.rectified() for camera in rig.cameras), notes=tuple(notes))


def _intrinsic_notes(rig: Rig, path: Path) -> Iterator[str]:
    """Intrinsics that do not seem to be those of the image."""
    for camera in rig.cameras:
        cx, cy = camera.K[:2, 2]
        width_px, height_px = camera.width_px, camera.height_px
        if _is_of_another_size((cx + 0.5) / width_px, (cy + 0.5) / height_px):
            far = f"principal point ({cx:g}, {cy:g}) far from the middle of {width_px}x{height_px} pixels"
            yield f"{path}: {camera.name}: {far}: is K that of another image size?"


def _is_of_another_size(x: float, y: float) -> bool:
    """Whether a principal point at these shares of width and height is that of another size: in the outer quarter of
    either, or off the middle by one factor in both, as 1280x720 in 1920x1080. A crop of one side moves one of them."""
    if not (0.25 < x < 0.75 and 0.25 < y < 0.75):
        return True
    is_off = max(x, y) < 0.5 - OFF_MIDDLE or min(x, y) > 0.5 + OFF_MIDDLE
    return is_off and abs(x - y) < ONE_FACTOR * max(x, y)


def _unseen_notes(rig: Rig, path: Path) -> Iterator[str]:
    """Pixels that no ray reaches, told by some of them. InputErrors for cameras that have no others."""
    faults = []
    for camera in rig.cameras:
        if not camera.is_distorted:
            continue
        place = f"{path}: {camera.name}"
        seen = np.isfinite(camera.rays(step_px=UNSEEN_STEP_PX)[..., 0])
        if not seen.any() and not np.isfinite(camera.rays()[..., 0]).any():
            faults.append(InputError(f"{place}.D", "a lens that some pixel sees through", str(list(camera.D))))
        elif not seen.all():
            percent = 100 * (1 - seen.mean())
            share = f"{percent:.2g}" if percent < 10 else f"{percent:.0f}"
            yield f"{place}: its lens has no rays for about {share} % of its pixels, which are black"
    if faults:
        raise InputErrors(faults)
