"""`r3d2 dataset`: made, continued and checked from the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from r3d2_ros.cli.main import main
from r3d2_ros.dataset import make
from r3d2_ros.dataset.check import check_dataset
from r3d2_ros.dataset.samples import open_dataset
from r3d2_ros.locks import lock

BUILD = ["dataset", "build", "--procedural", "--seed", "6", "--size", "96x128", "--detail", "0.3"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two samples to train with and one to test with."""
    folder = tmp_path_factory.mktemp("dataset") / "pairs"
    assert main([*BUILD, "--count", "3", "--val", "0", "--test", "1", "--out", str(folder)]) == 0
    return folder


def test_build_makes_what_was_asked_for(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = open_dataset(made)
    assert [len(dataset.split(split)) for split in ("train", "val", "test")] == [2, 0, 1]
    assert dataset.made["options"]["seed"] == 6
    assert "covering" not in dataset.made["options"], "as in datasets of before, which the same command continues"
    assert dataset.made["command"].startswith("r3d2 dataset build --procedural --seed 6")
    for sample in dataset.samples:
        pair = sample.load()
        assert pair.input.shape == (96, 128, 3) and pair.shadow is not None
        assert sample.meta.sun is not None and sample.meta.sun.camera is not None
    assert main(["dataset", "check", str(made)]) == 0
    assert "3 samples, no fault" in capsys.readouterr().out


def test_a_run_that_was_cut_off_is_continued_with_the_same_samples(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made, tmp_path / "pairs")
    before = files(folder)
    lost = open_dataset(folder).split("train")[1].folder
    shutil.rmtree(lost)
    (folder / "train" / ".making-x").mkdir()
    command = [*BUILD, "--count", "3", "--val", "0", "--test", "1", "--out", str(folder)]
    assert main([*command, "--workers", "1"]) == 0
    assert files(folder) == before
    assert not (folder / "train" / ".making-x").exists()


def test_another_dataset_is_not_mixed_into_it(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(made)
    assert main([*BUILD, "--count", "4", "--val", "0", "--test", "1", "--out", str(made)]) == 1
    error = capsys.readouterr().err
    assert "dataset.json: expected the same dataset" in error and "options" in error
    assert files(made) == before


def test_a_process_that_is_killed_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make, "_listed", kill)
    command = [*BUILD, "--count", "3", "--val", "0", "--test", "1", "--out", str(tmp_path / "pairs")]
    assert main([*command, "--workers", "2"]) == 1
    told = capsys.readouterr().err
    assert "r3d2 dataset: --workers: expected 2 processes that make samples to the end, got one" in told
    assert "Fewer of them need less memory; the same command goes on" in told


def kill(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_two_builds_do_not_write_into_one_folder(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(made, tmp_path / "pairs")
    shutil.rmtree(open_dataset(folder).split("test")[0].folder)
    (folder / "train" / ".making-x").mkdir()
    before = sorted(folder.rglob("*"))
    held = lock(folder)
    try:
        assert main([*BUILD, "--count", "3", "--val", "0", "--test", "1", "--out", str(folder)]) == 1
    finally:
        os.close(held)
    assert "expected a folder that no other run is writing, got one that a dataset build" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_check_says_what_an_interrupted_build_has_left(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(made, tmp_path / "pairs")
    shutil.rmtree(open_dataset(folder).split("train")[1].folder)
    assert main(["dataset", "check", str(folder)]) == 1
    streams = capsys.readouterr()
    assert f"{folder / 'train'}: expected 2 samples, as dataset.json says, got 1." in streams.err
    assert "2 samples, 1 fault\n" in streams.out


@pytest.mark.parametrize("counts", ["many", [1, 2], [2, 0, None], None])
def test_counts_that_say_nothing_are_not_compared(made: Path, tmp_path: Path, counts: object) -> None:
    folder = shutil.copytree(made, tmp_path / "pairs")
    facts = json.loads((folder / "dataset.json").read_text())
    facts["options"]["counts"] = counts
    (folder / "dataset.json").write_text(json.dumps(facts))
    assert check_dataset(folder) == (3, [])


def test_check_names_faults(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(made, tmp_path / "pairs")
    bad = open_dataset(folder).split("test")[0].folder
    (bad / "target.png").write_bytes(b"")
    assert main(["dataset", "check", str(folder)]) == 1
    streams = capsys.readouterr()
    assert f"{bad.name}/target.png" in streams.err and "3 samples, 1 fault\n" in streams.out
    assert main(["dataset", "check", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 3 and len(found["faults"]) == 1


def test_arguments_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "x")
    assert main([*BUILD, "--count", "3", "--val", "2", "--test", "2", "--out", out]) == 1
    assert "--count: expected" in capsys.readouterr().err
    assert main([*BUILD, "--count", "3", "--workers", "0", "--out", out]) == 1
    assert "--workers: expected 1 to 256, got 0" in capsys.readouterr().err
    for frame in ("9000x4000", "8192x8192"):
        assert main([*BUILD, "--count", "1", "--frame", frame, "--out", out]) == 1
        most = "at most 8192 pixels a side and 64 megapixels"
        assert f"--frame: expected {most}, got {frame}" in capsys.readouterr().err
    assert main(["dataset", "check", out]) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    assert main([*BUILD, "--count", "3", "--val", "0", "--test", "1", "--out", str(folder), "--workers", "2"]) == 0
    a, b = files(made), files(folder)
    a.pop("dataset.json"), b.pop("dataset.json")
    assert a == b
