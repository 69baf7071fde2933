"""The temporal mode's steps equal their readable forms, and cropping to what another camera sees changes nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from r3d2_ros.harmonizer.temporal import cameras as cross_camera
from r3d2_ros.harmonizer.temporal import reprojection
from r3d2_ros.harmonizer.temporal.guard import SPREAD_BLOCKS, spread, trusted
from r3d2_ros.harmonizer.temporal.motion import CameraHistory, carried_over
from r3d2_ros.harmonizer.temporal.patch import Patch, patch_of
from r3d2_ros.harmonizer.temporal.reprojection import LookUp, PixelMotion, look_up, positions
from r3d2_ros.harmonizer.windows import Window
from tests.harmonizer import slow_temporal
from tests.harmonizer.moving import CROSSING, FRONT, RIGHT, TURNING, Moment, as_tensor, noisy, run, sequence

TURN = np.array([[0, 0.01, 3], [0.02, 0, 2], [0, 0, 0]])
CONFIG = HarmonizerConfig(temporal=TemporalConfig(enabled=True))


def patches(moments: tuple[Moment, ...]) -> list[Patch]:
    """Of the first camera."""
    made = [
        patch_of(replace(moment.shots[0].camera, residual=as_tensor(given[0])))
        for moment, given in zip(moments, noisy(moments, "pixel"), strict=True)
    ]
    assert all(patch is not None for patch in made)
    return [patch for patch in made if patch is not None]


def both_moving() -> tuple[Moment, ...]:
    """Two moments of the turning car; the parked one is pushed aside between them."""
    first, second = sequence(TURNING, frames=(4, 6))
    parked, *others = second.actors
    T = parked.T_world_actor
    pushed = replace(parked, T_world_actor=replace(T, translation=T.translation + [0.2, 0.1, 0.0]))
    return first, replace(second, actors=(pushed, *others))


@pytest.mark.parametrize("chunk_px", [2**9, 2**16])
def test_what_is_carried_over_equals_one_actor_at_a_time(monkeypatch: pytest.MonkeyPatch, chunk_px: int) -> None:
    monkeypatch.setitem(reprojection.CHUNK_PX, "cpu", chunk_px)
    moments = both_moving()
    last, now = patches(moments)
    views = [moment.shots[0].camera.view for moment in moments]
    by_id = {actor.id: actor for actor in moments[0].actors}
    history = CameraHistory(moments[0].stamp_ns, views[0], by_id, LookUp.of(last, last.residual))
    actors, stamp_ns = moments[1].actors, moments[1].stamp_ns
    carried = carried_over(now, views[1], actors, stamp_ns=stamp_ns, history=history, config=CONFIG)
    expected = slow_temporal.carried_over(now, views[1], actors, history, CONFIG)
    different = (expected[0] != expected[1]).any(0)
    # In the shadows' reach. A pixel whose point lies on its bound to the last bit may be on either side.
    assert different.sum() > 500
    wrong = ((carried - expected).abs() > 1e-6).any(1)
    assert not wrong[0].any() and wrong[1].sum() <= 2


def test_look_up_of_positions_equals_one_tap_at_a_time() -> None:
    moments = sequence(CROSSING, frames=(3, 4))
    last, now = patches(moments)
    T = moments[0].shots[0].camera.view.T_camera_world @ moments[1].actors[0].T_world_actor
    src, dst = (moment.shots[0].camera.view for moment in moments)
    motion = PixelMotion.between(T @ T.inverse(), src=src, dst=dst)
    motion = replace(motion, shift=np.array([20.0, -8.0, 0.03]), turn=motion.turn + TURN)
    at = positions(now.pixels, now.inverse_depth, torch.from_numpy(motion.factors().astype(np.float32)))
    expected_at = slow_temporal.positions(now.window, now.inverse_depth, motion)
    assert torch.equal(at, expected_at)
    picture = LookUp.of(last, last.residual)
    found = look_up(picture, at, now.identity, 0.1)
    expected = slow_temporal.look_up(picture, expected_at, now.identity, 0.1)
    assert 0.05 < (expected[3] > 0).float().mean() < 1
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("motions", [1, 2])
def test_trust_and_spread_equal_their_readable_forms(motions: int) -> None:
    random = torch.Generator().manual_seed(motions)
    weight = (torch.rand(motions, 1, 90, 131, generator=random) > 0.4).float()
    carried = torch.cat([0.05 * weight * torch.randn(motions, 3, 90, 131, generator=random), weight], dim=1)
    inside = torch.ones(90, 131)
    inside[:20] = carried[:, :, :20] = 0
    sound = trusted(carried, inside=inside, tolerance=0.05, block_px=4)
    expected = slow_temporal.trusted(list(carried), inside, 0.05, 4)
    assert 0.1 < (expected[3] > 0).float().mean() < 0.9
    np.testing.assert_allclose(sound, expected, atol=1e-6)
    beside = spread(sound, inside=inside, block_px=4)
    np.testing.assert_allclose(beside, slow_temporal.spread(expected, inside, 4, SPREAD_BLOCKS), atol=1e-6)


def test_cropping_to_what_the_other_camera_can_see_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = sequence(TURNING, (FRONT, RIGHT), range(8, 18, 2))
    whole = [
        replace(m, shots=tuple(replace(s, camera=replace(s.camera, window=Window(0, 0, 180, 320))) for s in m.shots))
        for m in moments
    ]
    given = noisy(whole, "smooth")
    exact = run(whole, given, CONFIG)
    # As on a GPU, where the bounds are only those of what can be seen.
    monkeypatch.setattr(cross_camera, "bounds_of", lambda mask: Window(0, 0, *mask.shape))
    cropped = run(whole, given, CONFIG)
    areas = []
    monkeypatch.setattr(
        cross_camera, "seen_by", lambda motions, windows, others: areas.extend(windows) or list(windows)
    )
    uncropped = run(whole, given, CONFIG)
    assert areas
    for a, b, c in zip(exact, cropped, uncropped, strict=True):
        np.testing.assert_array_equal(b, c)
        np.testing.assert_allclose(a, b, atol=1e-5)
