"""Asset libraries: names to Gaussians in the vehicle frame, read on first use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats import load_asset, load_library, write_inria_ply, write_library
from r3d2_ros.gaussians import Gaussians
from r3d2_ros.scene import Asset, AssetLibrary
from tests.formats.plys import gaussian_columns, write_ply


def box(size: tuple[float, float, float], count: int = 4000, *, sh_degree: int = 0) -> Gaussians:
    """Gaussians spread evenly in a box on the ground around the origin; every 40th is stray and faint."""
    rng = np.random.default_rng(0)
    means = rng.uniform(-0.5, 0.5, (count, 3)) * size + [0, 0, size[2] / 2]
    means[::40] = np.where(np.arange(len(means[::40])) % 2, 50, -50)[:, None]
    opacities = np.full(count, 0.9)
    opacities[::40] = 0.001
    return Gaussians(
        means=means,
        quats=np.tile([1.0, 0, 0, 0], (count, 1)),
        scales=np.full((count, 3), 0.02),
        opacities=opacities,
        sh=rng.normal(size=(count, (sh_degree + 1) ** 2, 3)),
    )


def library_file(folder: Path, assets: object) -> Path:
    write_inria_ply(folder / "car.ply", box((4, 2, 1.5)))
    (folder / "assets.yaml").write_text(yaml.safe_dump({"assets": assets}))
    return folder / "assets.yaml"


def test_the_size_is_measured_and_strays_do_not_count(tmp_path: Path) -> None:
    write_inria_ply(tmp_path / "car.ply", box((4, 2, 1.5)))
    asset = load_asset(tmp_path / "car.ply")
    assert asset.name == "car"
    np.testing.assert_allclose(asset.size_m, (4 * 0.99, 2 * 0.99, 1.5 * 0.99), rtol=0.01)


def test_keys(tmp_path: Path) -> None:
    car = {"file": "car.ply", "size_m": [4.1, 1.9, 1.4], "category": "car", "licence": "CC0"}
    library = load_library(library_file(tmp_path, {"car": car, "plain": {"file": "car.ply"}}))
    assert set(library.assets) == {"car", "plain"} and "car" in library and "bus" not in library
    asset = library["car"]
    assert (asset.name, asset.size_m, asset.category, asset.licence) == ("car", (4.1, 1.9, 1.4), "car", "CC0")
    assert library["car"] is asset  # read once
    assert library["plain"].size_m[0] == pytest.approx(3.96, rel=0.01)
    with pytest.raises(KeyError, match="unknown asset 'bus', known: car, plain"):
        library["bus"]


def test_a_trellis_style_file_is_brought_to_the_vehicle_frame(tmp_path: Path) -> None:
    """y down, normalised: x_v = -z, y_v = x, z_v = -y (quaternion 0.5, -0.5, -0.5, 0.5), then to metres."""
    vehicle = box((4, 2, 1.5))
    file_means = np.stack([vehicle.means[:, 1], 0.75 - vehicle.means[:, 2], -vehicle.means[:, 0]], axis=1) / 4
    raw = Gaussians(file_means, vehicle.quats, vehicle.scales / 4, vehicle.opacities, vehicle.sh)
    T = {"rotation_wxyz": [0.5, -0.5, -0.5, 0.5], "translation_m": [0, 0, 0.75], "scale": 4}
    path = library_file(tmp_path, {"car": {"file": "raw.ply", "T_asset_file": T}})
    write_inria_ply(tmp_path / "raw.ply", raw)
    asset = load_library(path)["car"]
    np.testing.assert_allclose(asset.gaussians.means, vehicle.means, atol=1e-5)
    np.testing.assert_allclose(asset.gaussians.scales, vehicle.scales, rtol=1e-5)
    np.testing.assert_allclose(asset.size_m, (3.96, 1.98, 1.485), rtol=0.01)


def test_files_are_read_on_first_use_and_faults_name_asset_and_file(tmp_path: Path) -> None:
    path = library_file(tmp_path, {"car": {"file": "car.ply"}, "broken": {"file": "broken.ply"}})
    (tmp_path / "broken.ply").write_bytes(b"ply\nnonsense")
    library = load_library(path)
    assert len(library["car"].gaussians) == 4000
    with pytest.raises(
        InputError, match=r"broken\.ply.*unterminated.*asset 'broken' in .*assets\.yaml: assets\.broken"
    ):
        library["broken"]


def test_what_is_known_of_a_file_is_said_of_its_assets(tmp_path: Path) -> None:
    path = library_file(tmp_path, {"car": {"file": "car.ply"}, "a": {"file": "cut.ply"}, "b": {"file": "cut.ply"}})
    cut = write_ply(tmp_path / "cut.ply", gaussian_columns(4, rest=72) | {"z": np.arange(4.0)})
    library, note = load_library(path), f"{cut}: spherical harmonics of degree 4 cut to degree 3"
    assert (library["car"].notes, library["a"].notes, load_asset(cut).notes) == ((), (note,), (note,))
    assert library.notes == (note,)


def test_every_fault_is_found_at_once(tmp_path: Path) -> None:
    assets = {
        "car": {"file": "car.ply", "size": [1, 2, 3]},
        "van": {"file": "van.ply"},
        "bus": {"file": "../bus.ply"},
        "flat": {"file": "car.ply", "size_m": [1, 1e-310, 1]},
        "vast": {"file": "car.ply", "size_m": [1, 1, 1001]},
        "wide": {"file": "car.ply", "size_m": [1, True, 1]},
        "turned": {"file": "car.ply", "T_asset_file": {"rotation_wxyz": [0, 0, 0, 0]}},
        "none": None,
        1: {"file": "car.ply"},
        "huge": {"file": "car.ply", "T_asset_file": {"scale": 1e30}},
    }
    with pytest.raises(InputErrors) as caught:
        load_library(library_file(tmp_path, assets))
    lines = {fault.where.split("assets.")[-1]: str(fault) for fault in caught.value.faults}
    assert "Did you mean 'size_m'?" in lines["car: size"]
    assert "van.ply: no such file" in lines["van.file"]
    assert "a path inside the folder" in lines["bus.file"]
    assert "greater than or equal to 0.001" in lines["flat: size_m.1"]
    assert "less than or equal to 1000" in lines["vast: size_m.2"]
    assert "expected a number, got True" in lines["wide: size_m.1"]
    assert "of length 1, not 0, got" in lines["turned: T_asset_file.rotation_wxyz"]
    assert "the key is missing" in lines["none: file"]
    assert "a name, which is text, got 1. Put it in quotes" in lines["1"]
    assert "less than or equal to 1000000" in lines["huge: T_asset_file.scale"]
    assert len(lines) == 10


def test_a_library_without_assets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="assets: expected at least one asset, got none"):
        load_library(library_file(tmp_path, {}))


@pytest.mark.parametrize("text", ["", "assets: 3", "asset: {}", "[1]", "assets: {}\nextra: 1"])
def test_not_a_library(tmp_path: Path, text: str) -> None:
    (tmp_path / "assets.yaml").write_text(text)
    with pytest.raises(InputError, match="one key 'assets'"):
        load_library(tmp_path)


def test_write_library_round_trip(tmp_path: Path) -> None:
    car = Asset("car", box((4, 2, 1.5), sh_degree=2), (4.2, 1.8, 1.5), "car", "Apache-2.0")
    post = Asset("post.1", box((0.2, 0.2, 3)), (0.2, 0.2, 3.0))
    path = write_library(tmp_path / "library", AssetLibrary({"car": car, "post.1": post}))
    again = load_library(path)
    assert list(again.assets) == ["car", "post.1"]
    for asset in (car, post):
        other = again[asset.name]
        assert (other.name, other.size_m, other.category, other.licence) == (
            asset.name,
            asset.size_m,
            asset.category,
            asset.licence,
        )
        np.testing.assert_array_equal(other.gaussians.sh, asset.gaussians.sh)
        np.testing.assert_array_equal(other.gaussians.means, asset.gaussians.means)


@pytest.mark.parametrize("name", ["../car", "a/b", "", ".hidden", "a b"])
def test_names_that_are_no_file_names_are_not_written(tmp_path: Path, name: str) -> None:
    asset = Asset(name, box((1, 1, 1), 10), (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="asset name"):
        write_library(tmp_path, AssetLibrary({name: asset}))
    assert list(tmp_path.iterdir()) == []
