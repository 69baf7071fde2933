"""The diffusion that a network was trained in, as the scheduler beside it in its pipeline folder states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.convert.defaults import constructor_defaults
from r3d2_ros.harmonizer.diffusers_layout import places_of
from r3d2_ros.harmonizer.model.checkpoints import read_json
from r3d2_ros.harmonizer.model.config import Schedule
from r3d2_ros.schema import validate

SCHEDULER_FILE = Path("scheduler/scheduler_config.json")

ONLY = {
    "prediction_type": "epsilon",
    "beta_schedule": "scaled_linear",
    "trained_betas": None,
    "rescale_betas_zero_snr": False,
}
"""What a checkpoint computes: the network predicts the noise, and betas are linear in their square roots."""

CLIPPING = ("clip_sample", "thresholding")
FIELDS = {"beta_start": "beta_start", "beta_end": "beta_end", "steps": "num_train_timesteps"}


@dataclass(frozen=True)
class Stated:
    """`clipped_by`: settings with which the scheduler clips x0, which a checkpoint does not."""

    schedule: Schedule
    clipped_by: tuple[str, ...]


def read_schedule(folder: Path) -> Stated | None:
    """The schedule of a pipeline's folder, or of the one that a part lies in; None where there is no scheduler.

    InputErrors: `stated_in`'s.
    """
    paths = [place / SCHEDULER_FILE for place in places_of(folder)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    data = read_json(path)
    if not isinstance(data, dict):
        raise InputError(str(path), "an object", type(data).__name__)
    return stated_in(_defaults(data.get("_class_name")) | data, str(path))


def stated_in(stated: Mapping[str, Any], where: str) -> Stated:
    """What a scheduler's complete configuration says.

    InputErrors for a diffusion of another kind than a checkpoint computes: its pictures would be wrong.
    """
    faults = [_fault(where, key, repr(stated[key])) for key, value in ONLY.items() if stated.get(key, value) != value]
    for key in ("beta_schedule", *FIELDS.values()):
        if key not in stated:
            faults.append(_fault(where, key, "nothing, and its class has no default"))
    if faults:
        raise InputErrors(faults)
    schedule = validate(Schedule, {ours: stated[key] for ours, key in FIELDS.items()}, where)
    return Stated(schedule, tuple(name for name in CLIPPING if stated.get(name)))


def schedule_notes(stated: Stated | None) -> tuple[str, ...]:
    """What is assumed about the diffusion, for a person."""
    if stated is None:
        return ("no scheduler in the folder: SD-Turbo's betas, and a network that predicts the noise, are assumed",)
    return tuple(f"the scheduler has {name}, and may clip x0; a checkpoint does not" for name in stated.clipped_by)


def _fault(where: str, key: str, got: str) -> InputError:
    hint = (
        "Checkpoints compute no other diffusion. Take another folder, such as SD-Turbo's, or run this one as it is "
        "with harmonizer.backend: pipeline"
    )
    expected = repr(ONLY[key]) if key in ONLY else "a number"
    return InputError(f"{where}: {key}", expected, got[:100], hint)


def _defaults(class_name: Any) -> dict[str, Any]:
    """What diffusers takes for settings that the file of a scheduler leaves out."""
    import diffusers

    known = getattr(diffusers, class_name, None) if isinstance(class_name, str) else None
    if not (isinstance(known, type) and issubclass(known, diffusers.SchedulerMixin)):
        return {}
    return constructor_defaults(known)
