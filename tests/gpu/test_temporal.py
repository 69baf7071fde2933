"""The temporal mode on a GPU: the CPU's pictures.

Run where there is no pytest too (see run.py), so the tests take no fixtures and are not parametrised.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.gpu.machine import cuda_fault

FAULT = cuda_fault()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(FAULT), reason=f"needs an NVIDIA GPU with CUDA: {FAULT}")]


def test_moving_pictures_are_those_of_the_cpu() -> None:
    """But for pixels at the end of a shadow's reach. The mode itself changes every picture by 0.08 levels or more."""
    from tests.gpu.moving_pictures import harmonized

    expected = harmonized("cpu", surfaces=False)
    for surfaces in (True, False):
        found = harmonized("cuda:0", surfaces=surfaces)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.mask is not None and other.mask is not None
            levels = np.abs(one.rgb.astype(int) - other.rgb)
            assert np.mean(levels > 1) < 1e-3 and levels.mean() < 0.01
