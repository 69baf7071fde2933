"""SuperSplat compressed PLY against a decoder of one splat at a time, and numbers worked out by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.formats import LoadedGaussians, load_gaussians
from r3d2_ros.gaussians import SH_C0
from tests.data import shared_data

CHUNK = ["min_x", "min_y", "min_z", "max_x", "max_y", "max_z"]
CHUNK += ["min_scale_x", "min_scale_y", "min_scale_z", "max_scale_x", "max_scale_y", "max_scale_z"]
CHUNK_RGB = ["min_r", "min_g", "min_b", "max_r", "max_g", "max_b"]
RANGES = [0.0, 0.0, 0.0, 1.0, 2.0, 4.0, -4.0, -4.0, -4.0, 0.0, 0.0, 0.0]
PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]
HALF = (1 << 30) | (1023 << 20) | (512 << 10) | 512  # x is the largest, w = +sqrt(1/2), y and z almost 0
SPLAT = ((2047 << 21) | (0 << 11) | 2047, HALF, (2047 << 21) | (1023 << 11) | 0, 0xFF_00_33_80)


def compressed_bytes(
    count: int,
    *,
    rgb: list[float] | None = None,
    sh_columns: int = 0,
    sh: int = 128,
    chunks: int | None = None,
) -> bytes:
    """A compressed PLY with `count` times the splat SPLAT, all chunks alike."""
    chunk_names = CHUNK + (CHUNK_RGB if rgb else [])
    chunks = -(-count // 256) if chunks is None else chunks
    header = ["ply", "format binary_little_endian 1.0", f"element chunk {chunks}"]
    header += [f"property float {name}" for name in chunk_names]
    header += [f"element vertex {count}", *(f"property uint {name}" for name in PACKED)]
    if sh_columns:
        header += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(sh_columns))]
    body = struct.pack(f"<{len(chunk_names)}f", *RANGES, *(rgb or [])) * chunks
    body += struct.pack("<4I", *SPLAT) * count + bytes([sh]) * sh_columns * count
    return "\n".join([*header, "end_header", ""]).encode() + body


def load(tmp_path: Path, data: bytes) -> LoadedGaussians:
    path = tmp_path / "a.compressed.ply"
    path.write_bytes(data)
    return load_gaussians(path)


def test_one_splat_by_hand(tmp_path: Path) -> None:
    loaded = load(tmp_path, compressed_bytes(1))
    gaussians = loaded.gaussians
    assert loaded.format == "compressed-ply" and gaussians.sh_degree == 0
    np.testing.assert_allclose(gaussians.means, [[1, 0, 4]])
    np.testing.assert_allclose(gaussians.scales, [[1, 1, np.exp(-4)]], rtol=1e-6)
    np.testing.assert_allclose(gaussians.quats, [[0.7071, 0.7071, 0.0007, 0.0007]], atol=1e-4)
    np.testing.assert_allclose(gaussians.opacities, [128 / 255], rtol=1e-6)
    np.testing.assert_allclose(SH_C0 * gaussians.sh[0, 0] + 0.5, [1, 0, 0.2], atol=1e-6)


@pytest.mark.parametrize("largest", range(4))
def test_rotations_leave_out_their_largest_component(tmp_path: Path, largest: int) -> None:
    packed = (largest << 30) | (1023 << 20) | (0 << 10) | 767  # sqrt(1/2), -sqrt(1/2), about sqrt(1/8)
    data = compressed_bytes(1).replace(struct.pack("<I", HALF), struct.pack("<I", packed))
    components = [0.5**0.5, -(0.5**0.5), (767 / 1023 - 0.5) * 2**0.5]
    components.insert(largest, 0.0)  # the other three already exceed unit length
    length = sum(v * v for v in components) ** 0.5
    quats = load(tmp_path, data).gaussians.quats
    np.testing.assert_allclose(quats, [[v / length for v in components]], atol=1e-6)


def test_eighteen_floats_lerp_the_colour(tmp_path: Path) -> None:
    gaussians = load(tmp_path, compressed_bytes(1, rgb=[0.5, 0.25, 0.0, 1.5, 0.75, 0.5])).gaussians
    np.testing.assert_allclose(SH_C0 * gaussians.sh[0, 0] + 0.5, [1.5, 0.25, 0.1], atol=1e-6)


@pytest.mark.parametrize(("columns", "degree"), [(9, 1), (24, 2), (45, 3)])
def test_spherical_harmonics(tmp_path: Path, columns: int, degree: int) -> None:
    data = bytearray(compressed_bytes(1, sh_columns=columns, sh=128))
    data[-columns] = 0  # f_rest_0: red, first coefficient
    data[-columns + columns // 3] = 255  # green, first coefficient
    gaussians = load(tmp_path, bytes(data)).gaussians
    assert gaussians.sh_degree == degree
    assert gaussians.sh[0, 1].tolist() == [-4.0, 4.0, (128.5 / 256 - 0.5) * 8]


def test_an_sh_element_without_columns_holds_nothing(tmp_path: Path) -> None:
    """What gsplat 1.5.3 writes of splats without spherical harmonics."""
    loaded = load(tmp_path, compressed_bytes(3).replace(b"end_header", b"element sh 3\nend_header"))
    assert (len(loaded.gaussians), loaded.gaussians.sh_degree, loaded.notes) == (3, 0, ())


def test_the_second_chunk_has_its_own_range(tmp_path: Path) -> None:
    data = compressed_bytes(257)
    start = data.index(b"end_header\n") + len(b"end_header\n")
    moved = struct.pack("<12f", 10, 10, 10, 20, 20, 20, *RANGES[6:])
    gaussians = load(tmp_path, data[: start + 48] + moved + data[start + 96 :]).gaussians
    assert gaussians.means[255].tolist() == [1, 0, 4] and gaussians.means[256].tolist() == [20, 10, 20]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (compressed_bytes(257, chunks=1), "2 chunks for 257 splats"),
        (compressed_bytes(300)[:-1], "a file of"),
        (compressed_bytes(3, sh_columns=7), "9, 24 or 45 uchar"),
        (compressed_bytes(3, sh_columns=9).replace(b"element sh 3", b"element sh 2"), "2 rows of 9"),
        (compressed_bytes(3).replace(b"uint packed_color", b"float packed_color"), "packed_color f4"),
        (compressed_bytes(3).replace(b"packed_color", b"packed_thing"), "no packed_color"),
        (compressed_bytes(3).replace(b"max_scale_z", b"max_scale_q"), "no max_scale_z"),
        (compressed_bytes(3).replace(b"element vertex 3", b"element vertex 0"), "0 rows"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, data)


def test_a_real_scan_against_a_scalar_decoder() -> None:
    path = shared_data("playcanvas-splats/guitar.compressed.ply")
    loaded = load_gaussians(path)
    assert (len(loaded.gaussians), loaded.dropped, loaded.notes) == (90_854, 0, ())
    data = path.read_bytes()
    start = data.index(b"end_header\n") + len(b"end_header\n")
    names = CHUNK + CHUNK_RGB
    chunk_bytes, chunks = 4 * len(names), -(-90_854 // 256)
    for i in (0, 255, 256, 45_678, 90_853):
        values = struct.unpack_from(f"<{len(names)}f", data, start + chunk_bytes * (i // 256))
        limits = dict(zip(names, values, strict=True))
        position, rotation, scale, colour = struct.unpack_from(
            "<4I", data, start + chunk_bytes * chunks + 16 * i
        )
        expected = _decode(position, rotation, scale, colour, limits)
        g = loaded.gaussians
        got = [*g.means[i], *np.log(g.scales[i]), *(SH_C0 * g.sh[i, 0] + 0.5), g.opacities[i], *g.quats[i]]
        np.testing.assert_allclose(got, expected, atol=3e-6)


def _decode(position: int, rotation: int, scale: int, colour: int, limits: dict[str, float]) -> list[float]:
    """One splat, following playcanvas/splat-transform `decompress-ply.ts` line by line."""

    def lerp(key: str, t: float) -> float:
        return limits[f"min_{key}"] * (1 - t) + limits[f"max_{key}"] * t

    def unpack(value: int) -> list[float]:
        return [(value >> 21) / 2047, ((value >> 11) & 1023) / 1023, (value & 2047) / 2047]

    out = [lerp(axis, t) for axis, t in zip("xyz", unpack(position), strict=True)]
    out += [lerp(f"scale_{axis}", t) for axis, t in zip("xyz", unpack(scale), strict=True)]
    out += [lerp(c, ((colour >> shift) & 255) / 255) for c, shift in zip("rgb", (24, 16, 8), strict=True)]
    out.append(max((colour & 255) / 255, 1e-8))
    small = [(((rotation >> shift) & 1023) / 1023 - 0.5) * 2**0.5 for shift in (20, 10, 0)]
    quat = [*small]
    quat.insert(rotation >> 30, max(0.0, 1 - sum(v * v for v in small)) ** 0.5)
    return out + quat
