"""Assets that do not fit what is said of them: the note names what was measured, and the T_asset_file that mends it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from r3d2_ros.formats import load_asset, load_library, write_inria_ply
from r3d2_ros.formats.transform import transform_gaussians
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.geometry import Similarity, quat_to_matrix
from tests.data import shared_data

VAN = (5.0, 2.0, 2.5)
QUARTER = 0.5**0.5


def van(*, scale: float = 1, quat_wxyz: tuple[float, ...] = (1, 0, 0, 0), lift_m: float = 0) -> Gaussians:
    """Rows of points on the ground in the box of VAN, `lift_m` higher, then scaled and turned into another frame."""
    ends = [np.linspace(-0.5, 0.5, 11), np.linspace(-0.5, 0.5, 11), np.linspace(0, 1, 11)]
    means = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3) * VAN + [0, 0, lift_m]
    count = len(means)
    gaussians = Gaussians(
        means=means.astype(np.float32),
        quats=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        scales=np.full((count, 3), 0.02, np.float32),
        opacities=np.full(count, 0.9, np.float32),
        sh=np.zeros((count, 1, 3), np.float32),
    )
    return transform_gaussians(gaussians, Similarity(quat_to_matrix(quat_wxyz), np.zeros(3), scale))


def notes_of(folder: Path, gaussians: Gaussians, **keys: object) -> tuple[str, ...]:
    """Without the place, which is the entry of the library."""
    write_inria_ply(folder / "van.ply", gaussians)
    path = folder / "assets.yaml"
    path.write_text(yaml.safe_dump({"assets": {"van": {"file": "van.ply", **keys}}}))
    notes = load_library(path)["van"].notes
    assert all(note.startswith(f"{path}: assets.van: ") for note in notes)
    return tuple(note.removeprefix(f"{path}: assets.van: ") for note in notes)


@pytest.mark.parametrize("size_m", [None, VAN, (5.3, 2.2, 2.6), (4.0, 2.9, 2.0)])
def test_a_van_that_fits_has_no_notes(tmp_path: Path, size_m: tuple[float, ...] | None) -> None:
    assert notes_of(tmp_path, van(), **({"size_m": list(size_m)} if size_m else {})) == ()


FOREIGN = {
    "millimetres": (
        van(scale=1000),
        {"size_m": [5, 2, 2.5]},
        "measures 5000 x 2000 x 2500 m, size_m says 5 x 2 x 2.5: millimetres?",
        {"scale": 0.001},
    ),
    "millimetres without a size": (
        van(scale=1000),
        {},
        "measures 5000 x 2000 x 2500 m, more than anything on a road: millimetres?",
        {"scale": 0.001},
    ),
    "centimetres without a size": (
        van(scale=100),
        {},
        "measures 500 x 200 x 250 m, more than anything on a road: centimetres?",
        {"scale": 0.01},
    ),
    "a scale too many": (
        van(),
        {"size_m": [5, 2, 2.5], "T_asset_file": {"scale": 0.001}},
        "measures 0.005 x 0.002 x 0.0025 m, size_m says 5 x 2 x 2.5: 1000 times too small?",
        {"scale": 1},
    ),
    "y up": (
        van(quat_wxyz=(QUARTER, -QUARTER, 0, 0)),
        {},
        "reaches 1.00 m below the ground, which is z = 0, and is 2.00 m high: is its up axis y and not z?",
        {"rotation_wxyz": [0.7071, 0.7071, 0, 0]},
    ),
    "y down": (
        van(quat_wxyz=(QUARTER, QUARTER, 0, 0)),
        {},
        "reaches 1.00 m below the ground, which is z = 0, and is 2.00 m high: is its up axis -y and not z?",
        {"rotation_wxyz": [0.7071, -0.7071, 0, 0]},
    ),
    "z down": (
        van(quat_wxyz=(0, 1, 0, 0)),
        {"size_m": [5, 2, 2.5]},
        "reaches 2.50 m below the ground, which is z = 0, and is 2.50 m high: is its up axis -z and not z?",
        {"rotation_wxyz": [0, 1, 0, 0]},
    ),
    "in the middle of its box": (
        van(lift_m=-1.25),
        {"size_m": [5, 2, 2.5]},
        "reaches 1.25 m below the ground, which is z = 0, and is 2.50 m high: is its origin in the middle?",
        {"translation_m": [0, 0, 1.25]},
    ),
    "lifted twice": (
        van(),
        {"size_m": [5, 2, 2.5], "T_asset_file": {"translation_m": [0, 3, 1.25]}},
        "hovers 1.25 m above the ground, which is z = 0, and is 2.50 m high:",
        {"translation_m": [0, 3, 0]},
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_does_not_fit_is_measured_and_the_proposal_mends_it(tmp_path: Path, case: str) -> None:
    gaussians, keys, text, T_asset_file = FOREIGN[case]
    (note,) = notes_of(tmp_path, gaussians, **keys)
    said, proposal = note.split(" T_asset_file: ")
    assert said == text and yaml.safe_load(proposal) == T_asset_file
    assert notes_of(tmp_path, gaussians, **(keys | {"T_asset_file": yaml.safe_load(proposal)})) == ()


def test_sides_that_are_swapped_tell_the_axes(tmp_path: Path) -> None:
    """A narrow van, 1 m wide and 2.5 m high."""
    narrow = {"size_m": [5, 1, 2.5]}
    upright = van()
    upright.means[:, 1] /= 2
    lying = transform_gaussians(upright, Similarity(quat_to_matrix((QUARTER, -QUARTER, 0, 0)), np.zeros(3), 1))
    (note,) = notes_of(tmp_path, lying, **narrow)
    assert note == (
        "measures 5 x 2.5 x 1 m, size_m says 5 x 1 x 2.5: is its up axis y and not z? "
        "T_asset_file: {rotation_wxyz: [0.7071, 0.7071, 0, 0]}"
    )
    across = transform_gaussians(upright, Similarity(quat_to_matrix((QUARTER, 0, 0, QUARTER)), np.zeros(3), 1))
    (note,) = notes_of(tmp_path, across, **narrow)
    assert note.endswith("is its front along y and not x? T_asset_file: {rotation_wxyz: [0.7071, 0, 0, -0.7071]}")
    (note,) = notes_of(tmp_path, upright, size_m=[2, 4, 2.5])
    assert note == (
        "measures 5 x 1 x 2.5 m, size_m says 2 x 4 x 2.5 (length along x, width along y, height along z)"
    )


def test_coarse_gaussians_show_more_than_their_means(tmp_path: Path) -> None:
    """Two spheres of sigma 0.5 m, 0.9 m and 1.1 m up, stand on the ground; of 0.02 m they hover."""
    ball = van().means[:2]
    ball[:] = [[0, 0, 0.9], [0, 0, 1.1]]
    for sigma, hovers in ((0.5, False), (0.02, True)):
        pair = Gaussians(
            means=ball,
            quats=np.tile(np.array([1, 0, 0, 0], np.float32), (2, 1)),
            scales=np.full((2, 3), sigma, np.float32),
            opacities=np.full(2, 0.9, np.float32),
            sh=np.zeros((2, 1, 3), np.float32),
        )
        assert [note.split(" the ground")[0] for note in notes_of(tmp_path, pair)] == ["hovers 0.90 m above"] * hovers


def test_files_without_a_library_are_told_where_the_key_is(tmp_path: Path) -> None:
    write_inria_ply(tmp_path / "van.ply", van(scale=1000))
    (note,) = load_asset(tmp_path / "van.ply").notes
    assert note.startswith(f"{tmp_path / 'van.ply'}: measures 5000 x 2000 x 2500 m")
    assert note.endswith("T_asset_file: {scale: 0.001} in an assets.yaml")


def test_a_real_scan_is_as_large_as_things_are() -> None:
    assert load_asset(shared_data("playcanvas-splats/guitar.compressed.ply")).notes == ()
