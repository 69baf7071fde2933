"""A run whose harmonizer gives no picture: it ends there, with the camera and the reason, and is no verdict."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch, which is not installed here")

import torch
from torch import Tensor

from r3d2_ros.closed_loop.controllers import CONTROLLERS
from r3d2_ros.closed_loop.header import header
from r3d2_ros.closed_loop.in_process import run_in_process
from r3d2_ros.closed_loop.run_log import LogWriter, read_log
from r3d2_ros.closed_loop.scores.data import SceneFacts
from r3d2_ros.closed_loop.scores.summary import summarise
from r3d2_ros.harmonizer.harmonizer import Harmonizer
from r3d2_ros.harmonizer.settings import HarmonizerConfig
from tests.closed_loop.small_world import plan, simulator
from tests.harmonizer.test_harmonizer import Network


@pytest.mark.parametrize("name", sorted(CONTROLLERS))
def test_a_camera_without_a_picture_ends_the_run_and_says_so(tmp_path: Path, name: str) -> None:
    """The network fails from its third call on: no verdict about a stack that saw nothing."""
    calls = itertools.count()

    def network(images: Tensor) -> Tensor:
        if next(calls) >= 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images

    planned, made = plan(), simulator()
    made.harmonizer = Harmonizer(HarmonizerConfig(composite="full"), Network(network))
    with LogWriter(tmp_path / "a") as log:
        log.write("header", **header(planned, controller=name, renderer="cpu"))
        outcome = run_in_process(planned, made, CONTROLLERS[name](planned), log)
    assert (outcome.reason, outcome.infrastructure) == ("no_picture", True)
    assert outcome.detail.startswith("camera 'front' has no picture: ") and "out of memory" in outcome.detail
    made_log = read_log(tmp_path / "a")
    assert made_log.end is not None and made_log.end["detail"] == outcome.detail
    assert [bool(frame["hashes"]) for frame in made_log.of("frame")] == [True, True, False]
    assert summarise(made_log, SceneFacts())["verdict"] == "error"
