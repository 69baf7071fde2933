"""`r3d2 scene`: run as the main command runs it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from r3d2_ros.cli import scene as command
from r3d2_ros.errors import InputError
from r3d2_ros.formats import load_gaussians
from tests.data import shared_data
from tests.formats.plys import gaussian_columns, write_ply
from tests.formats.test_scenes import scene_folder
from tests.formats.test_splat import splat_bytes


def r3d2(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser(prog="r3d2")
    command.add_parser(parser.add_subparsers(dest="command", required=True))
    return command.run(parser.parse_args(["scene", *map(str, arguments)]))


def test_info_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = gaussian_columns(200, rest=9)
    columns["x"][0] = np.nan
    path = write_ply(tmp_path / "a.ply", columns)
    assert r3d2("info", path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["count"], facts["sh_degree"], facts["dropped"], facts["format"]) == (199, 1, 1, "inria-ply")
    assert facts["bounds"] == {"min": [2, 11, -201], "max": [200, 209, -3]}
    np.testing.assert_allclose(facts["bounds_1_99_percent"]["min"], [3.98, 12.98, -199.02])
    assert facts["memory_bytes"] == 199 * 4 * (3 + 4 + 3 + 1 + 12)
    assert facts["T_map_scene"] is None and facts["origin"] == [0, 0, 0] and len(facts["notes"]) == 2


def test_info_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = scene_folder(
        tmp_path,
        name="town",
        licence="CC0",
        T_map_scene={"translation_m": [1, 2, 3]},
        bounds={"min": [0] * 3, "max": [9] * 3},
    )
    assert r3d2("info", folder, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["T_map_scene"] == {"rotation_wxyz": [1, 0, 0, 0], "translation_m": [1, 2, 3], "scale": 1}
    assert facts["usable_bounds"] == {"min": [0, 0, 0], "max": [9, 9, 9]} and facts["licence"] == "CC0"
    assert r3d2("info", folder) == 0
    text = capsys.readouterr().out
    for part in (
        "town",
        "inria-ply",
        "(1.000, 10.000, -5.000) to (4.000, 13.000, -2.000)",
        "CC0",
        "[1.0, 2.0, 3.0] m",
    ):
        assert part in text


def test_info_of_a_real_scan(capsys: pytest.CaptureFixture[str]) -> None:
    assert r3d2("info", shared_data("playcanvas-splats/guitar.compressed.ply"), "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["count"], facts["sh_degree"], facts["format"]) == (90_854, 0, "compressed-ply")


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "a.splat", tmp_path / "a.ply"
    source.write_bytes(splat_bytes(5))
    assert r3d2("convert", source, target) == 0
    assert capsys.readouterr().out == f"{target}: 5 Gaussians, SH degree 0\n"
    before, after = load_gaussians(source).gaussians, load_gaussians(target).gaussians
    for name in ("means", "quats", "sh"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_allclose(after.scales, before.scales, rtol=1e-6)


def test_convert_overwrites_only_with_force(tmp_path: Path) -> None:
    source, target = tmp_path / "a.splat", tmp_path / "a.ply"
    source.write_bytes(splat_bytes(5))
    target.write_text("mine")
    with pytest.raises(InputError, match="--force"):
        r3d2("convert", source, target)
    assert target.read_text() == "mine"
    assert r3d2("convert", source, target, "--force") == 0
    assert r3d2("convert", target, target, "--force") == 0  # onto itself
    assert len(load_gaussians(target).gaussians) == 5
    with pytest.raises(InputError, match=r"ends in \.ply"):
        r3d2("convert", source, tmp_path / "b.splat")


@pytest.mark.parametrize("arguments", [[], ["info"], ["convert", "a.ply"], ["inspect", "a.ply"]])
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        r3d2(*arguments)
    assert caught.value.code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["convert", "--help"]])
def test_help_has_examples(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        r3d2(*arguments)
    assert (
        caught.value.code == 0
        and "r3d2 scene convert scan.compressed.ply scan.ply" in capsys.readouterr().out
    )


def test_convert_says_what_of_the_scene_is_left_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.splat").write_bytes(splat_bytes(5))
    sidecar, target = tmp_path / "scene.yaml", tmp_path / "out.ply"
    sidecar.write_text("{gaussians: a.splat, sky: {colour: [0, 0, 1]}, T_map_scene: {scale: 2}}")
    assert r3d2("convert", tmp_path, target) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: a PLY file holds nothing of {sidecar} (T_map_scene, sky): out.ply is placed")
    sidecar.write_text("gaussians: a.splat")
    assert r3d2("convert", tmp_path, target, "--force") == 0
    assert capsys.readouterr().err == ""
