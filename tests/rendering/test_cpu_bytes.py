"""Float images to bytes."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.rendering.rgb8 import to_rgb8


def test_rounds_half_up_and_clips() -> None:
    values = np.array([-1, 0, 0.49 / 255, 0.5 / 255, 1 / 255, 127.5 / 255, 254.6 / 255, 1, 7, np.nan, np.inf, -np.inf])
    image = values.astype(np.float32).reshape(2, 2, 3)
    assert to_rgb8(image).ravel().tolist() == [0, 0, 0, 1, 1, 128, 255, 255, 255, 0, 255, 0]


def test_equals_numpy() -> None:
    image = np.random.default_rng(0).uniform(-0.2, 1.2, (37, 53, 3)).astype(np.float32)
    expected = np.floor(np.clip(image, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    assert np.array_equal(to_rgb8(image), expected)
    assert np.array_equal(to_rgb8(image[:, ::-1]), expected[:, ::-1])


def test_writes_into_the_given_array() -> None:
    image, out = np.full((4, 5, 3), 0.2, np.float32), np.zeros((4, 5, 3), np.uint8)
    assert to_rgb8(image, out=out) is out and np.all(out == 51)
    for wrong in (np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.float32), np.zeros((4, 10, 3), np.uint8)[:, ::2]):
        with pytest.raises(ValueError, match="out"):
            to_rgb8(image, out=wrong)
