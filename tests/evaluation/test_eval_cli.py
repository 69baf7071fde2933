"""`r3d2 eval` as a user runs it."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from r3d2_ros.cli.main import main
from r3d2_ros.dataset.samples import open_dataset
from r3d2_ros.evaluation.subjects import load_subject
from r3d2_ros.evaluation.tally import FULL_KEYS, REGION_KEYS
from r3d2_ros.harmonizer.model.checkpoints import save_checkpoint
from r3d2_ros.harmonizer.settings import RegionConfig
from tests.evaluation.small import (
    BOX,
    GREY,
    HEIGHT,
    INSERT,
    SHADED,
    TARGET_INSERT,
    WIDTH,
    picture,
    write_dataset,
    write_original,
    write_png,
)
from tests.harmonizer.small import TINY, seeded


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "pairs", names=("s0", "s1"))


@pytest.fixture
def no_trunk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def run(dataset: Path, *words: str | Path, status: int = 0) -> dict[str, Any]:
    """The JSON of an evaluation that ends with `status`."""
    out = dataset.parent / "eval.json"
    assert main(["eval", str(dataset), "--json", str(out), "--device", "cpu", *map(str, words)]) == status
    return json.loads(out.read_text()) if out.exists() else {}


@pytest.mark.usefixtures("no_trunk")
def test_rows_of_the_dataset_itself(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("s0", "s1"):
        write_original(dataset, name, picture(insert=TARGET_INSERT + 3, shadow=SHADED))
    rows = run(dataset, "--rows", "original", "naive", "target", "--markdown", dataset.parent / "eval.md")
    assert list(rows) == ["original", "naive", "target"]
    for row in rows.values():
        assert tuple(row["full"]) == FULL_KEYS and tuple(row["region"]) == REGION_KEYS
        assert row["counts"]["samples"] == 2 and row["made"]["dataset"]["split"] == "test"
    naive, target, original = rows["naive"], rows["target"], rows["original"]
    squares = (INSERT - TARGET_INSERT) ** 2 * 24 * 16 + (GREY - SHADED) ** 2 * 24 * 6
    assert naive["full"]["psnr"] == pytest.approx(10 * math.log10(255**2 * HEIGHT * WIDTH / squares))
    assert naive["region"]["psnr"] < naive["full"]["psnr"]
    assert naive["region"]["shadow_iou"] == 0 and naive["region"]["shadow_score"] == 0
    assert target["full"]["ssim"] == pytest.approx(1) and target["region"]["shadow_iou"] == 1
    assert target["full"]["psnr"] is None and "infinite in 2 of 2" in target["reasons"]["full.psnr"]
    assert target["region"]["shadow_score"] == pytest.approx(24 * 6 * 0.5 / (24 * 16))
    assert target["region"]["shadow_share"] == 1 and target["region"]["luminance_error"] == 0
    assert original["full"]["psnr"] == pytest.approx(10 * math.log10(255**2 * HEIGHT * WIDTH / (9 * 24 * 16)))
    assert naive["region"]["luminance_ratio"] == pytest.approx(INSERT / GREY)
    assert naive["region"]["ground_gap_m"] == pytest.approx(0)
    table = (dataset.parent / "eval.md").read_text()
    assert capsys.readouterr().out == table
    assert "*paper: naive insertion + R3D2*" in table and "25.29" in table


@pytest.mark.usefixtures("no_trunk")
def test_without_a_trunk_lpips_is_null_with_a_reason(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = run(dataset, "--rows", "naive")
    assert rows["naive"]["region"]["lpips"] is None and rows["naive"]["full"]["lpips"] is None
    assert "vgg16-397923af.pth" in rows["naive"]["reasons"]["region.lpips"]
    assert "LPIPS is not measured" in capsys.readouterr().err


@pytest.mark.usefixtures("no_trunk")
def test_lpips_that_is_required_and_cannot_be_had_ends_the_run(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, "--rows", "naive", "--require", "lpips", status=1) == {}
    assert "vgg16-397923af.pth" in capsys.readouterr().err


@pytest.mark.usefixtures("no_trunk")
@pytest.mark.parametrize("start", [b"<!DOCTYPE html>", b""])
def test_a_file_in_the_cache_that_is_no_trunk_ends_the_run(
    dataset: Path, start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as the page of an error that a download has saved."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / "vgg16-397923af.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(start)
    assert run(dataset, "--rows", "naive", status=1) == {}
    assert f"{file}: expected VGG16 weights of torchvision" in capsys.readouterr().err


def test_a_trunk_that_is_named_and_missing_is_an_error(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(dataset, "--rows", "naive", "--lpips", dataset.parent / "no.pth", status=1)
    assert "no.pth" in capsys.readouterr().err


@pytest.mark.usefixtures("no_trunk")
def test_a_model_changes_the_region_alone_and_its_pictures_can_be_a_row(dataset: Path) -> None:
    save_checkpoint(seeded(TINY), dataset.parent / "model")
    saved = dataset.parent / "saved"
    rows = run(dataset, "--rows", "naive", "--row", f"mine={dataset.parent / 'model'}", "--save", saved)
    mine = rows["mine"]
    assert mine["full"]["changed_outside_px"] == 0
    assert mine["made"]["row"]["random_weights"] is True and len(mine["made"]["row"]["weights_xxh3"]) == 32
    assert mine["full"]["psnr_outside"] == rows["naive"]["full"]["psnr_outside"]
    assert mine["full"]["raw_psnr_outside"] < 60 and rows["naive"]["full"]["raw_psnr_outside"] is None
    subject = load_subject(open_dataset(dataset).samples[0], RegionConfig())
    out = np.asarray(Image.open(saved / "mine" / "test" / "s0.png"))
    changed = (out != subject.input).any(axis=2)
    assert changed[subject.mask].any() and not changed[~subject.region].any()
    again = run(dataset, "--rows", "copy", "--row", f"copy=images:{saved / 'mine'}")
    assert again["copy"]["region"] == mine["region"]
    assert again["copy"]["full"] == {**mine["full"], "raw_psnr_outside": None}


@pytest.mark.usefixtures("no_trunk")
def test_the_whole_output_where_it_is_asked_for(dataset: Path) -> None:
    save_checkpoint(seeded(TINY), dataset.parent / "model")
    (dataset.parent / "eval.yaml").write_text("composite: full\n")
    rows = run(dataset, "--row", f"mine={dataset.parent / 'model'}", "--config", dataset.parent / "eval.yaml")
    assert list(rows) == ["naive", "mine"]
    assert rows["mine"]["full"]["changed_outside_px"] > 100


@pytest.mark.usefixtures("no_trunk")
def test_a_row_that_fails_is_named_and_costs_no_other_row(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = dataset.parent / "wrong"
    for name in ("s0", "s1"):
        write_png(wrong / f"{name}.png", np.zeros((8, 8, 3), np.uint8))
    words = ["--rows", "difix", "gone", "lost", "small", "original", "naive"]
    extra = [f"gone=images:{dataset.parent / 'nowhere'}", f"small=images:{wrong}", f"lost={dataset.parent / 'nothing'}"]
    rows = run(dataset, *words, *(w for one in extra for w in ("--row", one)), status=1)
    assert list(rows) == words[1:]
    assert rows["naive"]["region"]["psnr"] > 0 and "fault" not in rows["naive"]
    expected = {
        "difix": "--row difix=FOLDER",
        "gone": "no such folder",
        "lost": "no such folder",
        "small": "8x8",
        "original": "original.png",
    }
    err = capsys.readouterr().err
    for name, words_of_fault in expected.items():
        assert words_of_fault in rows[name]["fault"]
        assert rows[name]["region"]["psnr"] is None
        assert f"row '{name}'" in err


@pytest.mark.usefixtures("no_trunk")
def test_a_row_that_does_not_fit_into_memory_costs_no_other_row(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_network(_settings: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("r3d2_ros.evaluation.sources.load_network", load_network)
    rows = run(dataset, "--rows", "nano", "naive", status=1)
    assert "out of memory" in rows["nano"]["fault"] and rows["naive"]["region"]["psnr"] > 0


@pytest.mark.usefixtures("no_trunk")
@pytest.mark.parametrize(("name", "message"), [("naive", "which the dataset holds"), ("../x", "names of letters")])
def test_rows_of_a_file_have_names_of_their_own(
    dataset: Path, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = dataset.parent / "rows.yaml"
    config.write_text(f"rows: {{{name}: {{kind: images, folder: out}}}}\n")
    run(dataset, "--rows", "naive", "--config", config, status=1)
    error = capsys.readouterr().err
    assert message in error and str(config) in error


@pytest.mark.usefixtures("no_trunk")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "nobody"], "one of original, naive, target"),
        (["--row", "naive=somewhere"], "which the dataset holds"),
        (["--row", "a=b", "--row", "a=c"], "'a' again"),
        (["--row", "../a=b"], "NAME=FOLDER"),
        (["--rows", "naive", "--split", "train"], "test has some"),
        (["--rows", "naive", "--config", "gone.yaml"], "gone.yaml"),
    ],
)
def test_arguments_that_cannot_be_used(
    dataset: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(dataset, *words, status=1)
    assert message in capsys.readouterr().err


def test_two_reports_need_two_files(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file, same = dataset.parent / "eval.json", dataset / ".." / "eval.json"
    with pytest.raises(SystemExit) as ended:
        main(["eval", str(dataset), "--json", str(json_file), "--markdown", str(same)])
    assert ended.value.code == 2 and "expected two files" in capsys.readouterr().err


@pytest.mark.usefixtures("no_trunk")
@pytest.mark.parametrize("option", ["--json", "--markdown"])
@pytest.mark.parametrize("is_folder", [True, False])
def test_reports_that_cannot_be_written_are_named_before_anything_is_measured(
    dataset: Path, option: str, is_folder: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into /proc nobody can write, whatever the rights."""
    path = dataset if is_folder else Path("/proc/eval.out")
    assert main(["eval", str(dataset), "--rows", "naive", option, str(path)]) == 1
    said = capsys.readouterr().err
    assert f"{path}: expected " in said and "row 'naive'" not in said


@pytest.mark.usefixtures("no_trunk")
def test_folders_of_pictures_and_models_may_begin_with_the_home_folder(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(dataset.parent))
    for name in ("s0", "s1"):
        write_png(dataset.parent / "mine" / f"{name}.png", picture())
    (dataset.parent / "rows.yaml").write_text("rows: {edited: {kind: sdedit, checkpoint: ~/model, prompt: a road}}\n")
    words = ["--rows", "mine", "edited", "--row", "mine=images:~/mine", "--config", dataset.parent / "rows.yaml"]
    rows = run(dataset, *words, status=1)
    assert "fault" not in rows["mine"] and rows["mine"]["region"]["psnr"] > 0
    assert str(dataset.parent / "model") in rows["edited"]["fault"]


def test_what_is_no_trunk_is_said(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset.parent / "scan.ply").write_bytes(b"ply\nformat")
    run(dataset, "--rows", "naive", "--lpips", dataset.parent / "scan.ply", status=1)
    error = capsys.readouterr().err
    assert "scan.ply: expected VGG16 weights of torchvision, such as vgg16" in error and r"b'ply\n'" in error


@pytest.mark.usefixtures("no_trunk")
def test_the_folder_of_all_rows_is_told_from_that_of_one(dataset: Path) -> None:
    saved = dataset.parent / "saved"
    (saved / "naive" / "test").mkdir(parents=True)
    rows = run(dataset, "--rows", "copy", "--row", f"copy=images:{saved}", status=1)
    assert f"images:{saved / 'naive'} is one of them" in rows["copy"]["fault"]


@pytest.mark.usefixtures("no_trunk")
def test_a_damaged_sample_is_named(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_png(dataset / "test" / "s1" / "target.png", np.zeros((8, 8, 3), np.uint8))
    run(dataset, "--rows", "naive", status=1)
    assert "s1/target.png: expected the camera's 96x64 pixels, got 8x8" in capsys.readouterr().err


def test_a_folder_that_is_no_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", str(tmp_path), "--rows", "naive"]) == 1
    assert "dataset.json" in capsys.readouterr().err


@pytest.mark.usefixtures("no_trunk")
def test_an_interrupted_run_keeps_its_finished_rows(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from r3d2_ros.evaluation import sources

    made = sources.StoredSource.picture

    def picture_then_signal(self: Any, subject: Any) -> Any:
        if self.row.kind == "target":
            os.kill(os.getpid(), signal.SIGINT)
        return made(self, subject)

    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setattr(sources.StoredSource, "picture", picture_then_signal)
    rows = run(dataset, "--rows", "naive", "target", status=130)
    assert list(rows) == ["naive"] and rows["naive"]["region"]["psnr"] > 0
    assert "naive done, target not" in capsys.readouterr().err


@pytest.mark.usefixtures("no_trunk")
def test_side_by_side_pictures_show_input_output_and_target(dataset: Path) -> None:
    folder = dataset.parent / "pictures"
    rows = ["--rows", "naive", "target", "--pictures", folder, "--pictures-count", "1"]
    run(dataset, *rows)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png")) == [
        "naive/test/s0.png",
        "target/test/s0.png",
    ]
    centre_x, centre_y = (BOX[0] + BOX[2]) / 2 / WIDTH, (BOX[1] + BOX[3]) / 2 / HEIGHT
    for row, output in (("naive", INSERT), ("target", TARGET_INSERT)):
        sheet = np.asarray(Image.open(folder / row / "test" / "s0.png").convert("L"))
        seen = [sheet[round(70 + 413 * centre_y), round(8 + k * 628 + 620 * centre_x)] for k in range(3)]
        assert seen == pytest.approx([INSERT, output, TARGET_INSERT], abs=2)


@pytest.mark.slow
def test_lpips_of_a_seeded_random_trunk_is_zero_for_the_target_only(dataset: Path) -> None:
    """Random weights show that both are compared and that the region counts; the distance itself means nothing."""
    from r3d2_ros.training.trunk import random_trunk, torchvision_state

    file = dataset.parent / "random.pth"
    torch.save(torchvision_state(random_trunk(0)), file)
    rows = run(dataset, "--rows", "naive", "target", "--lpips", file)
    assert rows["target"]["full"]["lpips"] == rows["target"]["region"]["lpips"] == 0
    assert rows["naive"]["region"]["lpips"] > rows["naive"]["full"]["lpips"] > 0
    assert rows["naive"]["made"]["lpips"]["trunk"] == str(file)
