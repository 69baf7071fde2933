""".splat files: 32-byte records."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.formats import load_gaussians
from r3d2_ros.gaussians import SH_C0
from tests.data import shared_data


def splat_bytes(count: int) -> bytes:
    """`count` records at (1, 2, 3), scales 0.5 0.25 2, rgb 255 51 0, alpha 204, 90 degrees about z."""
    return struct.pack("<6f8B", 1, 2, 3, 0.5, 0.25, 2, 255, 51, 0, 204, 219, 128, 128, 219) * count


def test_records(tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    path.write_bytes(splat_bytes(3))
    loaded = load_gaussians(path)
    gaussians = loaded.gaussians
    assert (loaded.format, loaded.dropped, len(gaussians), gaussians.sh_degree) == ("splat", 0, 3, 0)
    np.testing.assert_array_equal(gaussians.means, [[1, 2, 3]] * 3)
    np.testing.assert_array_equal(gaussians.scales, [[0.5, 0.25, 2]] * 3)
    np.testing.assert_allclose(gaussians.opacities, 0.8, rtol=1e-6)
    np.testing.assert_allclose(SH_C0 * gaussians.sh[0, 0] + 0.5, [1, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(gaussians.quats[0], [0.7071068, 0, 0, 0.7071068], atol=1e-6)


def test_opaque_and_clear_alpha_stay_inside_the_open_interval(tmp_path: Path) -> None:
    data = bytearray(splat_bytes(2))
    data[27], data[32 + 27] = 0, 255
    (tmp_path / "a.splat").write_bytes(data)
    np.testing.assert_allclose(load_gaussians(tmp_path / "a.splat").gaussians.opacities, [1e-6, 1 - 1e-6])


@pytest.mark.parametrize(("data", "message"), [(splat_bytes(2)[:-1], "63 bytes"), (b"", "empty")])
def test_wrong_sizes(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.splat").write_bytes(data)
    with pytest.raises(InputError, match=message):
        load_gaussians(tmp_path / "a.splat")


def test_noise_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.splat").write_bytes(np.random.default_rng(0).bytes(32 * 1000))
    with pytest.raises(InputError, match="of 1000 rows"):
        load_gaussians(tmp_path / "a.splat")


def test_content_beats_extension(tmp_path: Path) -> None:
    from tests.formats.plys import gaussian_columns, write_ply

    assert load_gaussians(write_ply(tmp_path / "really_ply.splat", gaussian_columns(4))).format == "inria-ply"


def test_a_coordinate_may_look_like_the_start_of_another_format(tmp_path: Path) -> None:
    """The float32 10.033965 begins with the two bytes of gzip."""
    data = bytearray(splat_bytes(100))
    data[:4] = b"\x1f\x8b\x20\x41"
    (tmp_path / "a.splat").write_bytes(data)
    assert load_gaussians(tmp_path / "a.splat").gaussians.means[0, 0] == pytest.approx(10.033965)


@pytest.mark.parametrize("size", [1000, 32 * 30, 32 * 31])
def test_another_format_under_this_name_is_named(tmp_path: Path, size: int) -> None:
    packed = gzip.compress(np.random.default_rng(0).bytes(900))
    (tmp_path / "a.splat").write_bytes(packed + np.random.default_rng(1).bytes(size - len(packed)))
    with pytest.raises(InputError, match=r"got gzip data \(.spz or a packed file\). Convert it to PLY"):
        load_gaussians(tmp_path / "a.splat")


def test_a_file_of_another_program() -> None:
    gaussians = load_gaussians(shared_data("format-fixtures/minimal.splat")).gaussians
    assert gaussians.means.tolist() == [[-1, 0, -1], [0, 0, -1], [-1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(gaussians.scales, 0.1, rtol=1e-6)
    np.testing.assert_allclose(np.abs(gaussians.quats), [[0, 0, 0, 1]] * 4)
