"""The scheduler beside a network says which diffusion it was trained in: it is taken, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.choices import Choices, PromptInput
from r3d2_ros.harmonizer.convert.observed import _schedule
from r3d2_ros.harmonizer.convert.released import model_from_released
from r3d2_ros.harmonizer.convert.schedules import read_schedule, schedule_notes
from r3d2_ros.harmonizer.convert.untrained import model_from_base
from r3d2_ros.harmonizer.model import variants
from r3d2_ros.harmonizer.model.config import Schedule
from tests.harmonizer.small import TINY, seeded, write_base, write_tiny
from tests.harmonizer.test_convert_released import write_pipeline
from tests.harmonizer.test_convert_turbo import convert, pix2pix

SD_TURBO = {
    "_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.24.0.dev0", "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False, "interpolation_type": "linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": False, "skip_prk_steps": True,
    "steps_offset": 1, "timestep_spacing": "trailing", "trained_betas": None, "use_karras_sigmas": False,
}  # fmt: skip
OTHER = Schedule(beta_start=0.001, beta_end=0.02, steps=500)
PROMPT = PromptInput(embedding=torch.ones(1, 5, 8))


def write_scheduler(folder: Path, **changes: Any) -> Path:
    """None removes a key."""
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    data = {key: value for key, value in {**SD_TURBO, **changes}.items() if changes.get(key, 0) is not None}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(data))
    return folder


def test_that_of_sd_turbo(tmp_path: Path) -> None:
    assert read_schedule(tmp_path) is None
    stated = read_schedule(write_scheduler(tmp_path))
    assert stated is not None and (stated.schedule, stated.clipped_by) == (Schedule(), ())


def test_betas_are_taken(tmp_path: Path) -> None:
    write_scheduler(tmp_path, beta_start=0.001, beta_end=0.02, num_train_timesteps=500)
    stated = read_schedule(tmp_path)
    assert stated is not None and stated.schedule == OTHER


def test_what_a_file_leaves_out_is_diffusers_default(tmp_path: Path) -> None:
    """1000 steps, and betas that are linear themselves."""
    keys = ("beta_start", "beta_end", "num_train_timesteps", "prediction_type")
    stated = read_schedule(write_scheduler(tmp_path, _class_name="DDPMScheduler", **dict.fromkeys(keys)))
    default = DDPMScheduler().config
    assert stated is not None
    assert stated.schedule == Schedule(beta_start=default.beta_start, beta_end=default.beta_end, steps=1000)
    write_scheduler(tmp_path, _class_name="DDPMScheduler", beta_schedule=None)
    with pytest.raises(InputErrors, match="beta_schedule: expected 'scaled_linear', got 'linear'"):
        read_schedule(tmp_path)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"prediction_type": "v_prediction"}, "prediction_type: expected 'epsilon', got 'v_prediction'.*SD-Turbo's"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule: expected 'scaled_linear', got 'squaredcos_cap_v2'"),
        ({"trained_betas": [0.1, 0.2]}, r"trained_betas: expected None, got \[0.1, 0.2\]"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr: expected False, got True"),
        ({"beta_end": 7}, "beta_end: expected less than 1"),
        ({"beta_end": "much"}, "beta_end"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "beta_start": None}, "beta_start: expected a number"),
        ({"_class_name": "os", "beta_schedule": None}, "beta_schedule: expected 'scaled_linear', got nothing"),
        ({"_class_name": ["x"], "num_train_timesteps": None}, "num_train_timesteps: expected a number, got nothing"),
    ],
)
def test_other_diffusions_are_refused(changes: dict[str, Any], fault: str, tmp_path: Path) -> None:
    with pytest.raises(InputErrors, match=rf"scheduler_config.json: {fault}"):
        read_schedule(write_scheduler(tmp_path, **changes))


def test_a_file_of_something_else(tmp_path: Path) -> None:
    write_scheduler(tmp_path)
    (tmp_path / "scheduler/scheduler_config.json").write_text("[]")
    with pytest.raises(InputError, match="scheduler_config.json: expected an object, got list"):
        read_schedule(tmp_path)


def test_a_part_has_the_scheduler_of_its_pipeline(tmp_path: Path) -> None:
    write_scheduler(tmp_path)
    assert read_schedule(tmp_path / "unet") is None
    (tmp_path / "model_index.json").touch()
    assert read_schedule(tmp_path / "unet") is not None


def test_a_base_gives_its_schedule(tmp_path: Path) -> None:
    base, tiny = write_base(tmp_path / "base"), write_tiny(tmp_path / "tiny")
    assert model_from_base(base, tiny, PROMPT, Choices()).config.schedule == Schedule()
    write_scheduler(base, beta_start=0.001, beta_end=0.02, num_train_timesteps=500)
    assert model_from_base(base, tiny, PROMPT, Choices(timestep=199)).config.schedule == OTHER
    assert convert(pix2pix(base), write_scheduler(base), tmp_path, "pix2pix-turbo").config.schedule == Schedule()
    write_scheduler(base, prediction_type="v_prediction")
    with pytest.raises(InputErrors, match="prediction_type: expected 'epsilon', got 'v_prediction'"):
        model_from_base(base, tiny, PROMPT, Choices())
    with pytest.raises(InputErrors, match="prediction_type: expected 'epsilon', got 'v_prediction'"):
        convert(pix2pix(base), base, tmp_path, "pix2pix-turbo")


def test_a_released_folder_gives_its_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(variants.VARIANTS, "small", replace(TINY, variant="small"))
    folder, choices = write_pipeline(tmp_path, seeded(replace(TINY, timestep=199))), Choices(variant="small")
    write_scheduler(folder, _class_name="DDPMScheduler", beta_end=0.02, clip_sample=None)
    released = model_from_released(folder, None, choices)
    assert released.model.config.schedule == Schedule(beta_end=0.02)
    assert released.notes[0] == "the scheduler has clip_sample, and may clip x0; a checkpoint does not"
    write_scheduler(folder, prediction_type="v_prediction")
    with pytest.raises(InputErrors, match="prediction_type: expected 'epsilon', got 'v_prediction'"):
        model_from_released(folder, None, choices)


def test_a_pipelines_scheduler_is_held_to_the_same() -> None:
    def seen(**changes: Any) -> tuple[Schedule | None, str]:
        scheduler = DDPMScheduler(beta_start=0.001, beta_end=0.02, num_train_timesteps=500, **changes)
        return _schedule(SimpleNamespace(scheduler=scheduler), "pipe")

    assert _schedule(SimpleNamespace(), "pipe") == (None, "")
    assert seen(beta_schedule="scaled_linear") == (OTHER, "")
    schedule, other = seen(beta_schedule="scaled_linear", prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert schedule is None and other == (
        "pipe: scheduler: prediction_type: expected 'epsilon', got 'v_prediction'; "
        "pipe: scheduler: rescale_betas_zero_snr: expected False, got True"
    )
    linear = "pipe: scheduler: beta_schedule: expected 'scaled_linear', got 'linear'"
    assert seen(beta_schedule="linear") == (None, linear)


def test_no_scheduler_is_said() -> None:
    assert "are assumed" in schedule_notes(None)[0]
