"""What runs share: scenes that are loaded once."""

from __future__ import annotations

import pytest

from r3d2_ros.assembly import Assembled
from r3d2_ros.closed_loop import session
from r3d2_ros.config import SimConfig
from tests.closed_loop.small_world import simulator


def test_notes_of_rig_and_scene_are_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "assemble", lambda sim, say: Assembled(simulator(), ("no sidecar",)))
    said: list[str] = []
    scenes = session.Scenes(said.append)
    for _ in range(2):
        scenes.simulator(SimConfig())
    assert said == ["no sidecar"]
