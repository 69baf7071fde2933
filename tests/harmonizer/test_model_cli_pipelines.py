"""`r3d2 model` with pipeline folders: what a user with the released weights does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.checking import harmonizer_faults
from r3d2_ros.harmonizer.model import variants
from r3d2_ros.harmonizer.model.checkpoints import load_config
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from tests.harmonizer.released import write_released
from tests.harmonizer.small import TINY, seeded
from tests.harmonizer.test_model_cli import run

NANO = replace(TINY, variant="nano")


@pytest.fixture(autouse=True)
def small_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(variants.VARIANTS, "nano", NANO)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return write_released(tmp_path / "released", seeded(replace(NANO, timestep=199)), marker=tmp_path / "executed")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_from_a_released_folder_to_a_proof(
    released: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("convert", "r3d2", released, tmp_path / "out", "--variant", "nano", "--allow-remote-code")
    assert run(*words, "--size", "40x56") == 0
    printed = capsys.readouterr().out
    assert "note: the pipeline was run: timestep 199" in printed and "picture of 40x56" in printed
    assert "not mapped" not in printed
    assert [licence.commercial for licence in load_config(tmp_path / "out").licences] == [False, False]
    words = ("verify", released, tmp_path / "out", photo, "--allow-remote-code", "--json")
    assert run(*words) == 0 and run(*words, "--runtime", "eager") == 0
    first, second = capsys.readouterr().out.split("}\n{")
    assert json.loads(first + "}")["max_abs"] <= 1e-4 and json.loads("{" + second)["max_abs"] <= 1e-4


def test_nothing_runs_without_leave(released: Path, tmp_path: Path) -> None:
    run("info", released)
    run("convert", "r3d2", released, tmp_path / "out", "--variant", "nano")
    with pytest.raises(InputError, match="would be run: pipeline.py .*--allow-remote-code"):
        run("verify", released, tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_eight_bit_pipelines_are_compared_in_eight_bits(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("convert", "r3d2", released, tmp_path / "out", "--variant", "nano", "--allow-remote-code")
    code = released / "pipeline.py"
    eight_bit = code.read_text().replace('image, output_type="pil"):', 'image):\n        output_type = "pil"')
    code.write_text(eight_bit)
    capsys.readouterr()
    words = ("verify", released, tmp_path / "out", "--size", "48x64", "--allow-remote-code")
    assert run(*words, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["eight_bit"] == ["A"] and facts["tolerance"] == pytest.approx(1 / 255, abs=1e-5)
    assert facts["padded"] == ["A"], "whose rule is not known"
    assert run(*words) == 0
    assert "8-bit pictures are all that A gives: both were compared in 8 bits" in capsys.readouterr().out


def test_a_difference_is_found(released: Path, tmp_path: Path) -> None:
    run("convert", "r3d2", released, tmp_path / "out", "--variant", "nano", "--timestep", "198")
    assert run("verify", released, tmp_path / "out", "--size", "48x64", "--allow-remote-code") == 1


def test_info_of_a_pipeline(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", released, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    unet = sum(parameter.numel() for parameter in seeded(NANO).unet.parameters())
    assert facts["parts"]["unet"] == {"library": "diffusers", "class": "UNet2DConditionModel", "parameters": unet}
    assert facts["code_that_would_be_run"][0] == "pipeline.py (ReleasedPipeline)"
    assert run("info", released) == 0
    assert "licence:  waymo-dataset-license (released): commercial use not allowed" in capsys.readouterr().out
    with pytest.raises(InputError, match="licences that allow commercial use"):
        run("info", released, "--require-commercial")
    with pytest.raises(InputError, match="--size: expected nothing with a pipeline"):
        run("info", released, "--size", "64x64")


def test_info_of_a_pipeline_that_lacks_a_tensor(tmp_path: Path) -> None:
    folder = write_released(tmp_path / "released", seeded(replace(NANO, timestep=199)))
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_in.weight"]
    save_file(tensors, weights)
    with pytest.raises(InputErrors, match=r"unet.* 1 missing: conv_in\.weight"):
        run("info", folder)
    config = HarmonizerConfig(backend="pipeline", checkpoint=str(folder), allow_remote_code=True)
    assert [fault.where for fault in harmonizer_faults(config)] == [str(folder / "unet")]


def test_options_that_the_pipeline_answers_itself(released: Path, tmp_path: Path) -> None:
    words = ("convert", "r3d2", released, tmp_path / "out", "--variant", "nano", "--allow-remote-code")
    with pytest.raises(InputError, match="--timestep: expected nothing with --allow-remote-code, got a value"):
        run(*words, "--timestep", "5")
    assert not (tmp_path / "out").exists()
