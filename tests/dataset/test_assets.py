"""Lists of assets to generate: prompts, masks, and runners against stand-ins for the generators."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from r3d2_ros.cli.main import main
from r3d2_ros.dataset.asset_jobs import COLOURS, STYLES, TYPES, prompts, text_jobs
from r3d2_ros.dataset.occlusion import amodal_mask, condition_mask, occlusion_mask

STAND_IN = """
import json
import sys
from pathlib import Path

class Asset:
    def __init__(self, facts): self.facts = facts
    def save_ply(self, path): Path(path).write_text(json.dumps(self.facts))

class {name}:
    @staticmethod
    def from_pretrained(model):
        made = {name}()
        made.model = model
        return made
    def cuda(self): pass
    def run(self, prompt, **options): return dict(gaussian=[Asset(dict(options, prompt=prompt, model=self.model))])
    def run_multi_image(self, images, masks, **options):
        greys = [sorted(set(mask.tobytes())) for mask in masks]
        return dict(gaussian=[Asset(dict(options, model=self.model, greys=greys, sizes=[i.size for i in images]))])
"""


def jobs_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]


def test_prompts_are_the_product_of_types_styles_and_colours() -> None:
    assert (len(TYPES), len(STYLES), len(COLOURS)) == (8, 10, 10)
    assert len(set(prompts())) == 800
    assert "rusty orange hatchback" in prompts()


def test_prompts_are_drawn_by_the_seed_and_none_twice_before_all() -> None:
    one, again, other = (text_jobs(900, seed).jobs for seed in (1, 1, 2))
    assert one == again and one != other
    assert len({job.prompt for job in one[:800]}) == 800
    assert len({job.output for job in one}) == 900


def test_an_occluder_is_the_eroded_outline_without_what_is_seen() -> None:
    """A square of 40 pixels of which the left half is seen. A kernel of 10 takes 5 pixels before and 4 behind."""
    amodal, instance = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    amodal[10:50, 10:50] = True
    instance[10:50, 10:30] = True
    occlusion = occlusion_mask(amodal, instance)
    rows, columns = np.nonzero(occlusion)
    assert (rows.min(), rows.max()) == (15, 45) and (columns.min(), columns.max()) == (30, 45)
    assert occlusion.sum() == 31 * 16
    image = condition_mask(occlusion, instance)
    assert [image[20, 20], image[20, 40], image[2, 2], image[48, 48]] == [188, 0, 255, 255]


def test_the_edge_of_the_image_does_not_erode() -> None:
    whole = np.ones((30, 30), bool)
    assert occlusion_mask(whole, np.zeros((30, 30), bool)).all()
    with pytest.raises(ValueError, match="masks of one size"):
        occlusion_mask(whole, whole[:-1])


def test_outline_of_an_object_on_white() -> None:
    picture = np.full((8, 8, 3), 255, np.uint8)
    picture[2:5, 3:6] = [255, 255, 200]
    assert amodal_mask(picture).sum() == 9


def test_texts_are_listed_and_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", "assets", "--text", "3", "--seed", "5", "--out", str(tmp_path)]) == 0
    listed = jobs_of(tmp_path)
    assert len(listed) == 3 and all(job["structure_steps"] == job["feature_steps"] == 250 for job in listed)
    assert "not installed: TRELLIS" in capsys.readouterr().out
    assert main(["dataset", "assets", "--text", "3", "--seed", "5", "--out", str(tmp_path), "--run"]) == 1
    error = capsys.readouterr().err
    assert "--run: expected what the jobs need, got nothing of: TRELLIS" in error and "The list is written" in error
    assert main(["dataset", "assets", "--text", "0", "--out", str(tmp_path)]) == 1


@pytest.mark.parametrize("what", ["--text", "--objects"])
def test_a_seed_below_zero_is_refused(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = "2" if what == "--text" else str(tmp_path)
    assert main(["dataset", "assets", what, value, "--seed", "-1", "--out", str(tmp_path / "out")]) == 1
    assert "--seed: expected 0 or more, got -1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_texts_are_run_with_the_papers_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "trellis", "TrellisTextTo3DPipeline")
    command = ["dataset", "assets", "--text", "2", "--seed", "5", "--out", str(tmp_path / "out"), "--run"]
    assert main(command) == 0
    first, second = jobs_of(tmp_path / "out")
    made = json.loads((tmp_path / "out" / first["output"]).read_text())
    assert made["prompt"] == first["prompt"] and made["seed"] == first["seed"]
    assert made["sparse_structure_sampler_params"] == made["slat_sampler_params"] == {"steps": 250}
    (tmp_path / "out" / second["output"]).write_text("mine")
    assert main(command) == 0
    assert (tmp_path / "out" / second["output"]).read_text() == "mine", "what is there is not made again"


def test_an_asset_is_not_listed_as_made_by_another_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def listed(count: int, seed: int) -> int:
        return main(["dataset", "assets", "--text", str(count), "--seed", str(seed), "--out", str(tmp_path)])

    assert listed(2, 5) == 0
    two = jobs_of(tmp_path)
    (tmp_path / "text_00000.ply").write_text("made")
    assert listed(900, 5) == 0, "the same jobs and more"
    assert jobs_of(tmp_path)[:2] == two
    assert listed(2, 6) == 1
    error = capsys.readouterr().err
    assert "jobs.jsonl: expected the job 'text_00000' that text_00000.ply was made by" in error
    assert "got another prompt, seed" in error
    assert jobs_of(tmp_path)[:2] == two, "the list that tells how it was made is still there"
    (tmp_path / "text_00000.ply").unlink()
    assert listed(2, 6) == 0
    (tmp_path / "jobs.jsonl").write_text("{}\n")
    assert listed(2, 6) == 1 and "jobs.jsonl:1: expected a job as one JSON object" in capsys.readouterr().err


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """An object of two views, of one of which the outline is known."""
    for view, known in (("a", True), ("b", False)):
        folder = tmp_path / "crops" / "car_7" / view
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "image.png"), np.full((60, 50, 3), 90, np.uint8))
        mask = np.zeros((60, 50), np.uint8)
        mask[10:50, 10:25] = 255
        cv2.imwrite(str(folder / "instance.png"), mask)
        if known:
            mask[10:50, 10:45] = 255
            cv2.imwrite(str(folder / "amodal.png"), mask)
    return tmp_path / "crops"


def test_pictures_are_listed_with_what_they_wait_for(
    crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dataset", "assets", "--objects", str(crops), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "1 views have no amodal.png" in said
    assert "not installed: Amodal3R" in said and "not installed: pix2gestalt" in said
    outline, image = jobs_of(tmp_path / "out")
    assert outline["kind"] == "amodal" and outline["output"] == "car_7/b/amodal.png"
    assert image["kind"] == "image" and image["views"] == ["car_7/a", "car_7/b"]
    assert image["multi_image"] == "stochastic" and image["structure_steps"] == image["feature_steps"] == 250
    occlusion = cv2.imread(str(crops / "car_7" / "a" / "occlusion.png"), cv2.IMREAD_UNCHANGED)
    assert occlusion.max() == 255 and not occlusion[:, :25].any()
    assert not (crops / "car_7" / "b" / "condition.png").exists()
    (crops / "car_7" / "b" / "amodal.png").write_bytes((crops / "car_7" / "a" / "amodal.png").read_bytes())
    assert main(["dataset", "assets", "--objects", str(crops), "--out", str(tmp_path / "out")]) == 0
    assert jobs_of(tmp_path / "out") == [image], "once the outline is made, the rest of the list is as it was"


def test_a_list_of_pictures_leaves_that_of_texts(
    crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def listed(*words: str) -> int:
        return main(["dataset", "assets", *words, "--out", str(out)])

    assert listed("--text", "3", "--seed", "5") == 0
    texts = jobs_of(out)
    assert listed("--objects", str(crops)) == 0
    assert [job["kind"] for job in jobs_of(out)] == ["amodal", "image", "text", "text", "text"]
    assert [job for job in jobs_of(out) if job["kind"] == "text"] == texts
    (out / "text_00002.ply").write_text("made")
    assert listed("--text", "1", "--seed", "6") == 0
    assert [job["kind"] for job in jobs_of(out)] == ["text", "amodal", "image", "text"]
    assert jobs_of(out)[-1] == texts[2], "the list tells how the asset that is there was made"
    assert listed("--text", "3", "--seed", "6", "--run") == 1
    assert "expected the job 'text_00002' that text_00002.ply was made by" in capsys.readouterr().err


def test_pictures_are_run(crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, monkeypatch, "amodal3r", "Amodal3RImageTo3DPipeline")
    whole = crops / "car_7" / "a" / "amodal.png"
    (crops / "car_7" / "b" / "amodal.png").write_bytes(whole.read_bytes())
    assert main(["dataset", "assets", "--objects", str(crops), "--out", str(tmp_path / "out"), "--run"]) == 0
    made = json.loads((tmp_path / "out" / "car_7.ply").read_text())
    assert made["mode"] == "stochastic" and made["sizes"] == [[50, 60], [50, 60]]
    assert made["greys"] == [[0, 188, 255], [0, 188, 255]]
    assert made["slat_sampler_params"] == {"steps": 250}


def test_folders_that_cannot_be_used(crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["dataset", "assets", "--objects", str(tmp_path / "nowhere"), "--out", out]) == 1
    assert "a folder of objects" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["dataset", "assets", "--objects", str(tmp_path / "empty"), "--out", out]) == 1
    assert "<view>/image.png" in capsys.readouterr().err
    cv2.imwrite(str(crops / "car_7" / "a" / "instance.png"), np.zeros((5, 5), np.uint8))
    assert main(["dataset", "assets", "--objects", str(crops), "--out", out]) == 1
    assert "instance.png: expected the size of image.png, 50x60, got 5x5" in capsys.readouterr().err


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str) -> None:
    """A package with a pipeline that writes what it is asked for instead of an asset."""
    place = folder / "packages" / package
    place.mkdir(parents=True)
    (place / "__init__.py").write_text("")
    (place / "pipelines.py").write_text(STAND_IN.replace("{name}", name))
    monkeypatch.syspath_prepend(str(folder / "packages"))
    for module in (package, f"{package}.pipelines"):
        monkeypatch.delitem(sys.modules, module, raising=False)
