"""Where a drive lies with respect to the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from r3d2_ros.replay.place import distance_notes
from r3d2_ros.scene import Scene
from tests.cli.small import blobs


def test_a_scene_that_is_told_from_an_origin_is_where_that_is() -> None:
    corners = [(x, y, 0.0) for x in (-50.0, 50.0) for y in (-50.0, 50.0)]
    gaussians = blobs(corners, [(0.5, 0.5, 0.5)] * 4, 0.1)
    scene = Scene("far", replace(gaussians, origin=np.array([3000.0, 0.0, 0.0])))
    assert distance_notes([(3000.0, 0.0, 0.0, 0.0), (3040.0, 0.0, 0.0, 0.0)], scene, None) == []
    (note,) = distance_notes([(0.0, 0.0, 0.0, 0.0)], scene, None)
    assert note.startswith("the drive lies outside the scene (the box that holds 98 % of it), by 2950.0 m or more")
