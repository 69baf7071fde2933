"""The temporal mode's pictures are the same wherever the renders lie; tests/gpu compares a GPU's with these."""

from __future__ import annotations

import numpy as np

from tests.gpu.moving_pictures import FRAMES, harmonized


def test_renders_on_the_networks_device_give_the_bytes_of_renders_on_the_host() -> None:
    there, here = harmonized("cpu", surfaces=True), harmonized("cpu", surfaces=False)
    assert len(there) == len(here) == 2 * len(FRAMES)
    assert [one.content_hash for one in there] == [one.content_hash for one in here]


def test_the_mode_shows_in_every_picture_of_the_drive() -> None:
    """Between the cameras, and from the second moment on between the moments: more than devices may differ by."""
    pictures = (harmonized("cpu", surfaces=True, temporal=temporal) for temporal in (True, False))
    for one, other in zip(*pictures, strict=True):
        assert np.abs(one.rgb.astype(int) - other.rgb).mean() > 0.08
