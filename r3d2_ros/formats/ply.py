"""INRIA PLY: Gaussians by property name, any column order and number type.

Conventions: graphdeco-inria/gaussian-splatting, `scene/gaussian_model.py`. Stored are log standard
deviations, opacity logits, wxyz quaternions of any length, and channel-major `f_rest`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from r3d2_ros.errors import InputError
from r3d2_ros.formats.cleaning import MIN_SCALE, LoadedGaussians, Rows, clean, exp_scales, logit, sigmoid
from r3d2_ros.formats.files import atomic_output
from r3d2_ros.formats.ply_elements import Element, Header, read_rows, stack_columns
from r3d2_ros.gaussians import Gaussians, rgb_to_sh

POSITION = ("x", "y", "z")
SCALE = ("scale_0", "scale_1", "scale_2")
ROTATION = ("rot_0", "rot_1", "rot_2", "rot_3")
DC = ("f_dc_0", "f_dc_1", "f_dc_2")
RGB = ("red", "green", "blue")
NORMAL = ("nx", "ny", "nz")
REST_COUNTS = {0: 0, 9: 3, 24: 8, 45: 15, 72: 24}
"""Number of f_rest columns -> coefficients per channel, for SH degree 0 to 4."""
BACKGROUND = "vertex_background"
"""The static part of a scene file of Street Gaussians; their other elements, such as vertex_obj_001, are actors."""
MAX_REST = 15
WRITE_ROWS = 65_536


def read_inria_ply(file: BinaryIO, header: Header) -> LoadedGaussians:
    """Gaussians of an open PLY file.

    nerfstudio's uchar red/green/blue stand in for absent f_dc (SH degree 0). SH of degree 4 is cut to
    degree 3, with a note. A Mip-Splatting `filter_3D` column is baked into scales and opacities, with a note.
    Of a scene of Street Gaussians the background is read, and colours that change with time at their mean, with
    notes. Other columns and elements are ignored. InputError names missing columns, missing rows and more than
    1 % of unusable rows.
    """
    path = header.path
    name, notes = _element_name(header)
    colour = _colour_columns(header, name)
    element = header.element(name, required=(*POSITION, "opacity", *SCALE, *ROTATION, *colour))
    columns, sh_notes = _sh_columns(element, path) if colour == DC else (RGB, ())
    rows = read_rows(file, header, name)
    exact = any(rows.dtype[name].itemsize > 4 for name in POSITION)
    log_scales, logits = stack_columns(rows, SCALE), stack_columns(rows, ("opacity",))[:, 0]
    notes = (*notes, *sh_notes, *_activated_note(path, log_scales, logits))
    scales, opacities = exp_scales(log_scales), sigmoid(logits)
    if "filter_3D" in element.types:
        scales, opacities = _bake_3d_filter(scales, opacities, stack_columns(rows, ("filter_3D",)))
        notes = (*notes, f"{path}: Mip-Splatting's filter_3D was baked into scales and opacities")
    if colour == DC:
        sh = stack_columns(rows, columns).reshape(len(rows), -1, 3)
    else:
        sh = rgb_to_sh(stack_columns(rows, columns) / 255.0)
    unchecked = Rows(
        means=stack_columns(rows, POSITION, np.float64 if exact else np.float32),
        quats=stack_columns(rows, ROTATION),
        scales=scales,
        opacities=opacities,
        sh=sh,
    )
    del rows  # as much memory as the file has bytes
    return clean(path, "inria-ply", unchecked, notes)


def _element_name(header: Header) -> tuple[str, tuple[str, ...]]:
    """The element that holds the Gaussians, and notes on those beside it."""
    if "vertex" in header.elements or BACKGROUND not in header.elements:
        return "vertex", ()
    others = [name for name in header.elements if name.startswith("vertex_") and name != BACKGROUND]
    note = (
        f"{header.path}: a scene of Street Gaussians: of its models the background is read, and not "
        f"{', '.join(others)}. An asset is a file of its own, with the model's element under the name 'vertex'"
    )
    return BACKGROUND, (note,) if others else ()


def _colour_columns(header: Header, name: str) -> tuple[str, ...]:
    element = header.elements.get(name)
    types = element.types if element else {}
    return RGB if "f_dc_0" not in types and all(types.get(column) == "u1" for column in RGB) else DC


def _sh_columns(element: Element, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the f_dc and f_rest columns in [K, 3] order, and notes."""
    dc, dc_notes = _dc_columns(element, path)
    rest, rest_notes = _rest_columns(element, path)
    return (*dc, *rest), (*dc_notes, *rest_notes)


def _dc_columns(element: Element, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of three f_dc columns, and notes.

    An actor of Street Gaussians (Yan et al., ECCV 2024) has F terms per channel, channel-major: at the share t of its
    track (times a `fourier_scale`, 1 unless configured) a channel is the sum of term k times cos(k pi t) for even k,
    sin((k + 1) pi t) for odd k. Those are whole periods, so the mean over the track is term 0.
    """
    count, gaps = _numbered(element, "f_dc")
    terms, left = divmod(count, 3)
    if left or gaps:
        raise InputError(path, "3 columns f_dc_0, f_dc_1, f_dc_2, or a multiple of 3", f"{count} f_dc columns{gaps}")
    if terms == 1:
        return DC, ()
    note = (
        f"{path}: {count} f_dc columns: colours that change with time ({terms} Fourier terms per channel, as Street "
        "Gaussians writes them) are read at their mean"
    )
    return tuple(f"f_dc_{channel * terms}" for channel in range(3)), (note,)


def _rest_columns(element: Element, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the f_rest columns in [K, 3] order, and notes."""
    count, gaps = _numbered(element, "f_rest")
    per_channel = REST_COUNTS.get(count)
    if per_channel is None or gaps:
        expected = "0, 9, 24, 45 or 72 columns f_rest_0, f_rest_1, ... (SH degree 0 to 4)"
        raise InputError(path, expected, f"{count} f_rest columns{gaps}")
    kept = min(per_channel, MAX_REST)
    columns = tuple(f"f_rest_{channel * per_channel + k}" for k in range(kept) for channel in range(3))
    cut = f"{path}: spherical harmonics of degree 4 cut to degree 3"
    return columns, (cut,) if kept < per_channel else ()


def _numbered(element: Element, name: str) -> tuple[int, str]:
    """How many columns `name`_0, `name`_1, ... there are, and words for the case that some are left out."""
    count = sum(re.fullmatch(rf"{name}_\d+", column) is not None for column in element.types)
    return count, "" if all(f"{name}_{i}" in element.types for i in range(count)) else ", with gaps"


def _activated_note(
    path: str, log_scales: NDArray[np.float32], logits: NDArray[np.float32]
) -> tuple[str, ...]:
    """A note on scales [N, 3] and opacities [N] that would all be sizes in metres and shares as they are."""
    if not (logits.min() >= 0 and logits.max() <= 1 and log_scales.min() > 0 and log_scales.max() < 1):
        return ()
    found = "every scale is between 0 and 1 and every opacity in [0, 1], as if they were activated already"
    return (f"{path}: {found}. They are read as logarithms and logits: export them so if the picture is a blur",)


def _bake_3d_filter(
    scales: NDArray[np.float32], opacities: NDArray[np.float32], filter_3d: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scales and opacities after the 3D smoothing filter [N, 1] (Yu et al., Mip-Splatting, CVPR 2024)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        filtered = np.hypot(scales, filter_3d)
        ratio = np.maximum(scales, MIN_SCALE) / np.maximum(filtered, MIN_SCALE)
        shrink = np.prod(ratio, axis=1, dtype=np.float64)
        return filtered, (opacities * shrink).astype(np.float32)


def write_inria_ply(path: str | Path, gaussians: Gaussians) -> None:
    """Write INRIA PLY, binary little-endian float32, in the column order of the original trainer.

    When `gaussians.origin` is not zero, x y z are double columns: far coordinates keep float64 resolution.
    Means around zero come back bit for bit, as quaternions and SH always do; scales and opacities within the
    float32 rounding of log and logit. `path` appears only when it is complete. InputError when it cannot be
    written.
    """
    n, k = len(gaussians), gaussians.sh.shape[1] - 1
    far = bool(gaussians.origin.any())
    rest = tuple(f"f_rest_{i}" for i in range(3 * k))
    columns = (*POSITION, *NORMAL, *DC, *rest, "opacity", *SCALE, *ROTATION)
    dtype = np.dtype([(name, "<f8" if far and name in POSITION else "<f4") for name in columns])
    names = {"<f8": "double", "<f4": "float"}
    properties = [f"property {names[dtype[name].str]} {name}" for name in columns]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}", *properties, "end_header", ""]
    with atomic_output(path) as file:
        file.write("\n".join(header).encode("ascii"))
        for start in range(0, n, WRITE_ROWS):
            rows = gaussians.select(np.arange(start, min(start + WRITE_ROWS, n)))
            file.write(_table(rows, dtype).data)  # unlike tofile, says that a disk is full


def _table(gaussians: Gaussians, dtype: np.dtype) -> NDArray:
    table = np.zeros(len(gaussians), dtype)
    means = gaussians.origin + gaussians.means if gaussians.origin.any() else gaussians.means
    channel_major = gaussians.sh[:, 1:].transpose(0, 2, 1).reshape(len(gaussians), -1)
    groups = {
        POSITION: means,
        DC: gaussians.sh[:, 0],
        tuple(f"f_rest_{i}" for i in range(channel_major.shape[1])): channel_major,
        ("opacity",): logit(gaussians.opacities)[:, None],
        SCALE: np.log(np.maximum(gaussians.scales, MIN_SCALE)),
        ROTATION: gaussians.quats,
    }
    for names, values in groups.items():
        for column, name in enumerate(names):
            table[name] = values[:, column]
    return table
