"""Pairs of 32 x 48 pixels with an insert that is darker in the target, and a configuration that trains a model of a
few thousand parameters on them."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from r3d2_ros.cameras import CameraView
from r3d2_ros.dataset.meta import SampleActor, SampleCamera, SampleMeta, SampleSun, rows
from r3d2_ros.dataset.samples import DatasetWriter, Pair
from r3d2_ros.geometry import Rigid
from r3d2_ros.harmonizer.model.config import ModelConfig, Padding
from r3d2_ros.schema import validate
from r3d2_ros.training.config import TrainConfig
from r3d2_ros.training.train import train
from tests.harmonizer.small import TINY

NO_PEFT = "needs peft, which make setup leaves out: pip install 'r3d2_ros[lora]'"
HEIGHT, WIDTH = 32, 48
MODEL: ModelConfig = replace(TINY, variant="tiny test", timestep=199, padding=Padding(multiple_px=16))


def write_pairs(folder: Path, *, train: int = 6, val: int = 2, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Path:
    """A dataset. A sample is a grey ramp with an insert of random place; the target's insert is half as bright."""
    writer = DatasetWriter(folder, {"kind": "test"})
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            name = f"{split}_{number:03d}"
            writer.write(split, meta(name, size), pair(np.random.default_rng([len(split), number]), size))
    return folder


def pair(rng: np.random.Generator, size: tuple[int, int]) -> Pair:
    height, width = size
    mask = np.zeros(size, bool)
    left, top = rng.integers(4, width - 14), rng.integers(4, height - 12)
    mask[top : top + 8, left : left + 10] = True
    before = np.tile(np.linspace(0.2, 0.8, width, dtype=np.float32)[None, :, None], (height, 1, 3)) * rng.uniform(
        0.7, 1, 3
    )
    before = before.astype(np.float32)
    before[mask] = rng.uniform(0.5, 1, 3)
    after = before.copy()
    after[mask] *= 0.5
    return Pair(before, after, mask)


def meta(name: str, size: tuple[int, int]) -> SampleMeta:
    """A box 10 m before a camera that looks along +x; the sun stands to its left, 53 degrees high."""
    height, width = size
    looking_along_x = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    view = CameraView(
        K=np.array([[40.0, 0, width / 2], [0, 40, height / 2], [0, 0, 1]]),
        width_px=width,
        height_px=height,
        T_camera_world=Rigid(looking_along_x, looking_along_x @ [0.0, 0, -1]),
    )
    actor = SampleActor(
        "insert", "car", (4, 4, 14, 12), (3.0, 2.0, 2.0), rows(Rigid.from_xyz_yaw(10, 0, 0, 0).matrix())
    )
    sun = SampleSun(world=(0.0, 0.6, 0.8), camera=(-0.6, -0.8, 0.0))
    return SampleMeta(name=name, sequence=name, camera=SampleCamera.of(view, "front"), actors=(actor,), sun=sun)


def config(tmp_path: Path, *, pairs: Path, out: str = "out", **changes: Any) -> TrainConfig:
    """L1 on random weights, a running mean, no autoencoder stage. `changes`: keys of the configuration, nested."""
    data: dict[str, Any] = {
        "out": str(tmp_path / out),
        "model": {"variant": MODEL.variant, "timestep": 199},
        "data": {"folders": [str(pairs)], "workers": 0, "flip": True},
        "steps": 6,
        "batch": 2,
        "seed": 3,
        "precision": "float32",
        "gradient_checkpointing": False,
        "ema": 0.5,
        "optimizer": {"learning_rate": 2e-3, "warmup_steps": 2},
        "loss": {"lpips": 0.0, "gram": 0.0, "l1": 1.0},
        "save": {"every": 2, "pictures_every": 0, "tensorboard": False, "log_every": 1},
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and key in data else value
    return validate(TrainConfig, data, "test")


def run(settings: TrainConfig, *, resume: bool = False) -> Path:
    """Train to the end; the last checkpoint."""
    ended = train(settings, resume=resume, stop=threading.Event())
    assert ended.complete
    return ended.checkpoint


class StopAfter(threading.Event):
    """Set when it has been asked so many times: once a step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def is_set(self) -> bool:
        self.left -= 1
        return self.left <= 0
