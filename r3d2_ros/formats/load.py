"""`load_gaussians`: any supported Gaussian file, recognised by its content first and its extension second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from r3d2_ros.errors import InputError
from r3d2_ros.foreign_files import HEAD_BYTES, foreign_file
from r3d2_ros.formats.cleaning import LoadedGaussians
from r3d2_ros.formats.compressed_ply import is_compressed, read_compressed_ply
from r3d2_ros.formats.ply import read_inria_ply
from r3d2_ros.formats.ply_elements import is_ply, leftover_note, read_header
from r3d2_ros.formats.splat import read_splat
from r3d2_ros.input_files import not_a_file, open_input

SUPPORTED = "INRIA PLY, SuperSplat compressed PLY or .splat"
CONVERT_HINT = "Convert it to PLY, for example with PlayCanvas splat-transform"
EXPORT_HINT = "Export PLY with the program that made it"
CHECKPOINT_HINT = f"{EXPORT_HINT}, for example nerfstudio's `ns-export gaussian-splat` or `gsplat.export_splats`"
CONVERTIBLE = (".sog", ".spz", ".ksplat", ".lcc")
CHECKPOINTS = (".ckpt", ".pt", ".pth", ".npz")
SOG_INDEX = "meta.json"


def load_gaussians(path: str | Path) -> LoadedGaussians:
    """Read Gaussians from INRIA PLY, SuperSplat compressed PLY or `.splat`.

    Up to 1 % of the rows may be unusable: they are dropped and counted. InputError names the file and the
    fault for everything else: a missing, unreadable, empty, truncated, damaged, foreign or non-Gaussian file.
    """
    path = Path(path)
    name = str(path)
    refuse_sog(path)
    with open_input(path, expected=f"a Gaussian file ({SUPPORTED})") as file:
        start = file.read(HEAD_BYTES)
        if not start:
            raise InputError(name, f"a Gaussian file ({SUPPORTED})", "an empty file")
        if is_ply(start):
            header = read_header(file, name)
            read = read_compressed_ply if is_compressed(header) else read_inria_ply
            loaded = read(file, header)
            return replace(loaded, notes=(*loaded.notes, *leftover_note(file, header)))
        foreign = foreign_file(start)
        if path.suffix.lower() == ".splat":
            try:
                return read_splat(file, name)
            except InputError:
                if foreign is None:  # the first bytes are a coordinate, which may look like the start of another format
                    raise
    if foreign is not None:
        raise InputError(name, SUPPORTED, foreign.what, foreign.hint or _hint(path, start))
    if path.suffix.lower() == ".ply":
        raise InputError(name, "a PLY file (first line 'ply')", f"a file that starts with {start[:8]!r}")
    raise InputError(name, SUPPORTED, f"an unknown format (extension '{path.suffix}')", _hint(path, start))


def refuse_sog(path: Path) -> None:
    """InputError for a folder of SOG (meta.json beside WebP images), or that meta.json: other folders are no faults."""
    folder = path.parent if path.name == SOG_INDEX else path
    if not_a_file(folder / SOG_INDEX) is None and any(folder.glob("*.webp")):
        raise InputError(str(path), SUPPORTED, "a SOG folder", CONVERT_HINT)


def _hint(path: Path, start: bytes) -> str:
    """How to get PLY from a file of another format."""
    suffix = path.suffix.lower()
    if suffix in CHECKPOINTS:
        return CHECKPOINT_HINT
    return CONVERT_HINT if suffix in CONVERTIBLE or start.startswith((b"\x1f\x8b", b"NGSP")) else EXPORT_HINT
