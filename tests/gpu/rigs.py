"""A rig of six at 10 Hz on one GPU, without ROS: the whole tick, mode by mode; and what the modes cost in quality."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from r3d2_ros.bench.harmonizer.quality import MODES, measure_quality
from r3d2_ros.bench.harmonizer.rig import measure_frames, measure_rig
from r3d2_ros.bench.harmonizer.setting import RigSize, rig_config, street_drive
from r3d2_ros.bench.harmonizer.weights import check_trained, checkpoint_to_measure
from r3d2_ros.config import SimConfig
from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.checkpoints import load_config
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RoiConfig, RuntimeConfig
from tests.gpu.report import OutOfTimeError, Part
from tests.gpu.setting import Setting

RATE_HZ, DEADLINE_MS, ACTORS = 10.0, 100, 20
CROPS = "768x1920"
"""In this drive nearly every crop is as large as this or the whole frame: other sizes would only take to prepare."""

MAX_BATCH = 6
GUESS_S = 110.0
"""How long a mode takes before one has been timed: to load, to compile, and 60 s of ticks."""


@dataclass(frozen=True)
class Mode:
    """How the rig is harmonized; `backend` none: renders alone."""

    roi: bool = False
    resolution: str = "full"
    dtype: str = "float16"
    backend: str = "r3d2"


RIG_MODES = {
    "roi, 648p": Mode(roi=True, resolution="648p"),
    "roi, 648p, float8": Mode(roi=True, resolution="648p", dtype="float8"),
    "roi, 720p": Mode(roi=True, resolution="720p"),
    "roi, 720p, float8": Mode(roi=True, resolution="720p", dtype="float8"),
    "render alone": Mode(backend="none"),
    "half": Mode(resolution="half"),
    "720p": Mode(resolution="720p"),
    "roi": Mode(roi=True),
    "full": Mode(),
}
"""Eager, with CUDA graphs: at these sizes a compiled network is not faster, and each takes a minute to compile."""


def measure_rigs(setting: Setting, part: Part) -> None:
    """Six cameras, 3 M splats, 20 actors, 60 s per mode."""
    seconds = setting.scaled(60, 1)
    taken_s: float | None = None
    with _workplace(setting, part) as (base, checkpoint):
        drive = street_drive(ticks=round(seconds * RATE_HZ), rate_hz=RATE_HZ, actors=ACTORS, say=_say)
        for name, mode in RIG_MODES.items():
            if part.has(name) or (setting.rehearsal and mode.dtype == "float8"):
                continue
            if not setting.rehearsal and setting.seconds_left < (taken_s or GUESS_S):
                raise OutOfTimeError(f"no time for '{name}': {setting.seconds_left:.0f} s left")
            start = time.monotonic()
            config = replace(base, harmonizer=_harmonizer(mode, setting, checkpoint))
            try:
                result: dict[str, Any] = measure_rig(
                    config, drive, rate_hz=RATE_HZ, deadline_ms=setting.scaled(DEADLINE_MS, 60_000), say=_say
                )
            except Exception as error:  # Triton's are no RuntimeErrors
                result = {"fault": f"{type(error).__name__}: {error}"[:1000]}
            part.put(name, result)
            _forget(setting)
            taken_s = max(taken_s or 0.0, time.monotonic() - start)


def measure_modes(setting: Setting, part: Part) -> None:
    """Quality of the approximate modes on 200 frames; InputError without trained weights."""
    if setting.checkpoint is None:
        raise InputError("--checkpoint", "trained weights", "none", "Quality is unmeasured with random weights")
    check_trained(load_config(setting.checkpoint), f"--checkpoint {setting.checkpoint}")
    with _workplace(setting, part) as (base, checkpoint):
        config = replace(base, harmonizer=_harmonizer(Mode(), setting, checkpoint))
        drive = street_drive(ticks=setting.scaled(200, 2), rate_hz=RATE_HZ, actors=ACTORS, say=_say)
        for mode in MODES:
            if not part.has(mode):
                part.put(mode, measure_quality(config, drive, [mode], say=_say)[0])
                _forget(setting)


def measure_rendering(setting: Setting, part: Part) -> None:
    """Six 1080x1920 cameras, 3 M splats, 20 actors, one tick after the other: rendering alone."""
    with _workplace(setting, part) as (base, _):
        drive = street_drive(ticks=setting.scaled(100, 2), rate_hz=RATE_HZ, actors=ACTORS, say=_say)
        part.put("frames", measure_frames(base, drive, say=_say))


@contextlib.contextmanager
def _workplace(setting: Setting, part: Part) -> Iterator[tuple[SimConfig, Path]]:
    """Rig, scene and checkpoint in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="r3d2-gpu-") as name:
        folder = Path(name)
        given = str(setting.checkpoint) if setting.checkpoint else None
        checkpoint, _ = checkpoint_to_measure(
            given, setting.variant("r3d2"), folder / "checkpoint", seed=0, dtype=setting.dtype("float16")
        )
        config = rig_config(
            folder,
            RigSize(cameras=setting.scaled(6, 2), size=setting.size(1080, 1920)),
            harmonizer=HarmonizerConfig(),
            splats=setting.scaled(3_000_000, 20_000),
            backend="cpu" if setting.rehearsal else "gsplat",
            device=str(setting.device) if setting.device.type == "cuda" else "cuda:0",
            say=_say,
        )
        yield config, checkpoint


def _harmonizer(mode: Mode, setting: Setting, checkpoint: Path) -> HarmonizerConfig:
    if mode.backend == "none":
        return HarmonizerConfig()
    return HarmonizerConfig(
        backend="r3d2",
        checkpoint=str(checkpoint),
        device=str(setting.device),
        dtype=setting.dtype(mode.dtype),  # type: ignore[arg-type]
        resolution=mode.resolution,
        runtime=RuntimeConfig(max_batch=MAX_BATCH),
        roi=RoiConfig(enabled=mode.roi, sizes=CROPS),
    )


def _forget(setting: Setting) -> None:
    gc.collect()
    if setting.device.type == "cuda":
        torch.compiler.reset()
        torch.cuda.empty_cache()


def _say(text: str) -> None:
    print(text, flush=True)
