"""Temporal blending of real renders: half the flicker, nothing smeared."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.harmonizer.settings import HarmonizerConfig, TemporalConfig
from tests.harmonizer.moving import (
    AHEAD,
    CROSSING,
    NOISES,
    PARKED,
    TURNING,
    Residuals,
    clean,
    flicker,
    noisy,
    psnr_db,
    run,
    sequence,
)

CONFIG = HarmonizerConfig(temporal=TemporalConfig(enabled=True))


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("name", [PARKED, AHEAD])
def test_the_flicker_around_the_cars_is_at_least_halved(name: str, kind: str) -> None:
    moments = sequence(name)
    given = noisy(moments, kind)
    blended = run(moments, given, CONFIG)
    raw = flicker(moments, given)
    # What the network changes frame by frame, 2.8 to 4.4 grey levels beyond the render.
    assert 2.5 < raw < 4.5
    assert flicker(moments, blended) <= raw / 2
    assert psnr_db(moments, blended, given) >= 32


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("name", [CROSSING, TURNING])
def test_where_shadows_move_through_the_picture_their_motion_remains_and_the_flicker_is_halved(
    name: str, kind: str
) -> None:
    moments = sequence(name)
    given, wanted = noisy(moments, kind), clean(moments)
    blended = run(moments, given, CONFIG)
    # The shadows' own motion is in what the network changes without any noise, so the flicker is what is beyond that.
    assert flicker(moments, blended, wanted) <= flicker(moments, given, wanted) / 2
    assert psnr_db(moments, blended, given) >= 32


@pytest.mark.parametrize("name", [CROSSING, TURNING])
def test_where_nothing_but_the_light_changes_the_flicker_is_halved_in_every_sequence(name: str) -> None:
    moments = sequence(name)
    darker: Residuals = [[np.full_like(change, -0.1) for change in moment] for moment in clean(moments)]
    noise = [
        [a - b for a, b in zip(x, y, strict=True)]
        for x, y in zip(noisy(moments, "smooth"), clean(moments), strict=True)
    ]
    given = [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(darker, noise, strict=True)]
    blended = run(moments, given, CONFIG)
    assert flicker(moments, blended) <= flicker(moments, given) / 2


@pytest.mark.parametrize(("name", "least_db"), [(PARKED, 100), (CROSSING, 45), (AHEAD, 43), (TURNING, 40)])
def test_without_noise_nothing_is_smeared(name: str, least_db: float) -> None:
    moments = sequence(name)
    wanted = clean(moments)
    blended = run(moments, wanted, CONFIG)
    assert psnr_db(moments, blended, wanted) >= least_db


def test_less_noise_remains_than_in_single_frames() -> None:
    moments = sequence(AHEAD)
    wanted, given = clean(moments), noisy(moments, "latent")
    assert psnr_db(moments[5:], run(moments, given, CONFIG)[5:], wanted[5:]) > psnr_db(moments, given, wanted) + 3
