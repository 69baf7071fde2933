"""The CPU renderer against gsplat's projection in float64 and a dense compositor."""

from __future__ import annotations

import numpy as np
import pytest

from r3d2_ros.geometry import Rigid
from r3d2_ros.rendering.base import RenderSettings
from r3d2_ros.rendering.cpu import CpuRenderer
from tests.rendering.cpu_scenes import busy_scene, psnr_db, view_of

pytest.importorskip("gsplat", reason="the oracle is built on gsplat's CPU functions: needs the package gsplat")

POSES = (
    Rigid.identity(),
    Rigid.from_rpy((0.1, -0.3, 0.05), (0.3, -0.2, 0.5)),
    Rigid.from_rpy((-0.4, 0.5, 2.0), (0.2, 0.4, -5.5)),
)
PRINCIPAL_POINTS = ((0.5, 0.5), (0.31, 0.66), (0.7, 0.2))


@pytest.mark.parametrize("antialiased", [False, True], ids=["classic", "antialiased"])
@pytest.mark.parametrize(("sh_degree", "case"), [(0, 0), (1, 1), (2, 2), (3, 0), (3, 1)])
def test_agrees_with_the_oracle(sh_degree: int, case: int, antialiased: bool) -> None:
    from tests.rendering.dense_oracle import oracle_rgb_alpha

    settings = RenderSettings(antialiased=antialiased)
    scene = busy_scene(sh_degree=sh_degree)
    view = view_of(T_camera_world=POSES[case], principal=PRINCIPAL_POINTS[case], width=131, height=90)
    image = CpuRenderer(settings).render(scene, [view])[0]
    rgb, alpha = oracle_rgb_alpha(scene, view, settings)
    assert 0.2 < alpha.mean() < 0.99
    assert psnr_db(image.rgb, rgb) >= 80
    assert psnr_db(image.alpha, alpha) >= 80
    # A single Gaussian may fall on the other side of the 1/255 threshold of a pixel.
    assert np.abs(image.alpha - alpha).max() <= 1 / 255


def test_the_filter_and_the_mode_matter() -> None:
    """So that the comparison above cannot pass with eps2d or the mode ignored."""
    scene, view = busy_scene(), view_of()
    classic = CpuRenderer(RenderSettings()).render(scene, [view])[0]
    for other in (RenderSettings(antialiased=True), RenderSettings(eps2d=0.1)):
        assert psnr_db(CpuRenderer(other).render(scene, [view])[0].rgb, classic.rgb) < 60
