"""Actors files: what they mean, and that every fault is named with its actor and key."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.actors_file import actor_states, load_actors, load_assets
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.scene import Asset, AssetLibrary
from tests.cli.small import blobs, write_inputs


def written(folder: Path, text: str) -> Path:
    path = folder / "actors.yaml"
    path.write_text(text)
    return path


def faults_of(path: Path) -> list[str]:
    with pytest.raises((InputError, InputErrors)) as raised:
        load_actors(path)
    error = raised.value
    return [str(fault) for fault in (error.faults if isinstance(error, InputErrors) else [error])]


def test_poses_are_metres_and_degrees_in_the_map(tmp_path: Path) -> None:
    path = written(tmp_path, "- {id: 7, asset: car, x: 10, y: -2.5, z: 0.5, yaw_deg: 90, size: [4, 2, 1.5]}\n")
    (actor,) = actor_states(load_actors(path))
    assert (actor.id, actor.asset, actor.instance, actor.size_m) == ("7", "car", 1, (4.0, 2.0, 1.5))
    np.testing.assert_allclose(actor.T_world_actor.apply([1.0, 0, 0]), [10.0, -1.5, 0.5], atol=1e-12)


def test_an_empty_list_is_no_actor(tmp_path: Path) -> None:
    assert load_actors(written(tmp_path, "[]\n")) == ()


def test_every_fault_is_named(tmp_path: Path) -> None:
    text = """
- {id: a, asset: car, x: one, y: .nan, z: 0}
- {id: a, asset: car, x: 1, y: 2, z: 3, yaw: 3, yaw_deg: true}
- 7
- {asset: "", x: 1e300, y: 0, z: 0, yaw_deg: 0, size: [1, 0, 2]}
"""
    faults = faults_of(written(tmp_path, text))
    expected = [
        "actor 1 ('a'): x: expected a valid number",
        "actor 1 ('a'): y: expected a finite number",
        "actor 1 ('a'): yaw_deg: expected a value, got nothing",
        "actor 2 ('a'): yaw_deg: expected a number, got True",
        "actor 2 ('a'): yaw: expected one of the keys id, asset, x, y, z, yaw_deg, size",
        "actor 2 ('a'): id: expected an id of its own, got that of actor 1",
        "actor 3: expected a mapping with id, asset, x, y, z, yaw_deg, got 7",
        "actor 4: id: expected a value, got nothing",
        "actor 4: asset: ",
        "actor 4: size.1: expected greater than 0",
    ]
    for text in expected:
        assert any(f"{tmp_path / 'actors.yaml'}: {text}" in fault for fault in faults), (text, faults)


@pytest.mark.parametrize("text", ["", "car", "{id: a}", "a: [}"])
def test_what_is_no_list_is_refused(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of(written(tmp_path, text))
    assert str(tmp_path / "actors.yaml") in fault


def test_assets_are_files_beside_it_or_names_of_the_library(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    text = (
        "- {id: a, asset: car.ply, x: 0, y: 0, z: 0, yaw_deg: 0}\n- {id: b, asset: box, x: 9, y: 0, z: 0, yaw_deg: 0}\n"
    )
    path = written(tmp_path, text)
    box = Asset("box", blobs([(0, 0, 1)], [(1, 1, 1)], 0.3), (1.0, 1.0, 1.0))
    assets = load_assets(load_actors(path), path=path, library=lambda: AssetLibrary({"box": box}))
    assert assets["box"] is box
    assert len(assets["car.ply"].gaussians) == 18
    assert assets["car.ply"].size_m == pytest.approx((2.0, 1.0, 1.0), abs=1e-6)


def test_a_file_that_is_called_like_an_asset_is_not_the_asset(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    (tmp_path / "car.ply").rename(tmp_path / "car")
    text = "- {id: a, asset: car, x: 0, y: 0, z: 0, yaw_deg: 0}\n"
    path = written(tmp_path, text)
    car = Asset("car", blobs([(0, 0, 1)], [(1, 1, 1)], 0.3), (1.0, 1.0, 1.0))
    assert load_assets(load_actors(path), path=path, library=lambda: AssetLibrary({"car": car}))["car"] is car
    assert not load_assets(load_actors(path), path=path, library=None).assets
    with pytest.raises(InputErrors, match=r"expected one of no assets.*got 'car'\. The file of that name is './car'"):
        load_assets(load_actors(path), path=path, library=lambda: AssetLibrary())
    path.write_text(text.replace("asset: car", "asset: ./car"))
    assert len(load_assets(load_actors(path), path=path, library=None)["./car"].gaussians) == 18


def test_the_library_is_left_alone_when_every_asset_is_a_file(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    path = written(tmp_path, "- {id: a, asset: car.ply, x: 0, y: 0, z: 0, yaw_deg: 0}\n")

    def library() -> AssetLibrary:
        raise AssertionError("the library was loaded")

    assert set(load_assets(load_actors(path), path=path, library=library).assets) == {"car.ply"}


def test_unknown_assets_are_named_with_those_there_are(tmp_path: Path) -> None:
    text = (
        "- {id: a, asset: buss, x: 0, y: 0, z: 0, yaw_deg: 0}\n- {id: b, asset: no.ply, x: 9, y: 0, z: 0, yaw_deg: 0}\n"
    )
    path = written(tmp_path, text)
    bus = Asset("bus", blobs([(0, 0, 1)], [(1, 1, 1)], 0.3), (1.0, 1.0, 1.0))
    with pytest.raises(InputErrors) as raised:
        load_assets(load_actors(path), path=path, library=lambda: AssetLibrary({"bus": bus}))
    first, second = map(str, raised.value.faults)
    assert "actor 1 ('a'): asset: expected one of bus, or a Gaussian file, got 'buss'" in first
    assert f"actor 2 ('b'): asset: expected an existing Gaussian file, got {tmp_path / 'no.ply'}" in second


def test_a_broken_asset_names_the_actor_and_its_file(tmp_path: Path) -> None:
    (tmp_path / "bad.ply").write_bytes(b"ply\nnonsense")
    os.mkfifo(tmp_path / "pipe.ply")
    text = (
        "- {id: a, asset: bad.ply, x: 0, y: 0, z: 0, yaw_deg: 0}\n"
        "- {id: b, asset: pipe.ply, x: 9, y: 0, z: 0, yaw_deg: 0}\n"
        "- {id: c, asset: ~nobody-has-this/a.ply, x: 9, y: 0, z: 0, yaw_deg: 0}\n"
    )
    path = written(tmp_path, text)
    with pytest.raises(InputErrors) as raised:
        load_assets(load_actors(path), path=path, library=None)
    bad, pipe, home = map(str, raised.value.faults)
    assert f"{tmp_path / 'bad.ply'}: expected" in bad and f"It is named by {path}: actor 1 ('a'): asset" in bad
    assert "actor 2 ('b'): asset: expected an existing Gaussian file" in pipe and "a named pipe" in pipe
    assert "actor 3 ('c'): asset: expected a path" in home and "'~nobody-has-this'" in home
