"""LPIPS as a number and as a map, with a seeded random trunk: its distances mean nothing to an eye."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from r3d2_ros.evaluation.perceptual import LpipsMap
from r3d2_ros.evaluation.similarity import as_tensor
from r3d2_ros.training.perceptual import LpipsHeads
from r3d2_ros.training.trunk import random_trunk


def test_the_number_is_that_of_training_and_the_map_says_where_it_comes_from() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (96, 256, 3), dtype=np.uint8)
    b = a.copy()
    b[:, :24] = 255 - b[:, :24]
    trunk, heads = random_trunk(0), LpipsHeads()
    whole, image = LpipsMap(trunk, heads, torch.device("cpu"))(a, b)
    with torch.no_grad():
        assert whole == pytest.approx(float(heads(trunk(as_tensor(a)), trunk(as_tensor(b)))), rel=1e-6)
    assert image.shape == (96, 256)
    assert float(image.mean()) == pytest.approx(whole, rel=0.02)  # bilinear enlargement keeps the mean but for edges
    # relu5_3 sees at most 98 pixels to either side, and enlarging its map adds 16
    assert np.abs(image[:, 24 + 98 + 16 :]).max() == 0
    assert image[:, :24].mean() > 5 * image[:, 24:].mean() > 0
