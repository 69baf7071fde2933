"""What lights a street: enough of it to take light away from where it falls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from r3d2_ros.errors import InputError
from r3d2_ros.gaussians import SH_C0
from r3d2_ros.street.build import LitStreet, build_lit_street, build_street
from r3d2_ros.street.lighting import radiance
from r3d2_ros.street.options import StreetOptions

OPTIONS = StreetOptions(
    seed=2, path=((5.0, 2.0, 1.0), (60.0, 2.0, 1.0)), sun_azimuth_deg=170.0, sun_elevation_deg=50.0, detail=0.3
)


@pytest.fixture(scope="module")
def lit() -> LitStreet:
    return build_lit_street(OPTIONS, with_assets=False)


def shown(gaussians) -> np.ndarray:
    return radiance(SH_C0 * gaussians.sh[:, 0].astype(np.float64) + 0.5)


def test_without_its_sun_a_street_is_darker_where_the_sun_was(lit: LitStreet) -> None:
    full, rest = shown(lit.street.scene.background), shown(lit.without_sun())
    in_shade = lit.sunlit == 0
    assert 0.05 < in_shade.mean() < 0.95
    np.testing.assert_allclose(rest[in_shade], full[in_shade], atol=1e-5)
    level = (lit.sunlit > 0.99) & (lit.surfels.normal[:, 2] > 0.99) & (lit.surfels.leafy == 0)
    # What the sun adds to a level surface: its power times the sine of its elevation times the reflectance.
    added = np.asarray(lit.sun.power) * np.sin(np.radians(50.0)) * lit.surfels.albedo[level]
    dull = full[level].max(axis=1) < 2.0  # the tone curve's shoulder is not inverted beyond
    np.testing.assert_allclose((full - rest)[level][dull], added[dull], rtol=0.01, atol=1e-3)


def test_the_ground_is_where_its_surfels_are(lit: LitStreet) -> None:
    """Of the road and the footways, from above: all but the kerbs' faces."""
    flat = (lit.surfels.normal[:, 2] > 0.99) & (lit.surfels.leafy == 0) & (lit.surfels.position[:, 2] < 0.3)
    position = lit.surfels.position[flat].astype(np.float64)
    height = lit.ground_height(position[:, :2])
    _, t, _ = lit.route.locate(position[:, :2])
    on_it = np.isfinite(height) & (np.abs(position[:, 2] - height) < 0.5) & (np.abs(np.abs(t) - 3.75) > 0.02)
    assert on_it.sum() > 20_000
    assert np.mean(np.abs(position[on_it, 2] - height[on_it]) < 0.02) > 0.95
    assert np.isnan(lit.ground_height(np.array([[20.0, 30.0]]))).all()


def test_a_street_is_the_same_with_what_lights_it(lit: LitStreet) -> None:
    street = build_street(OPTIONS)
    np.testing.assert_array_equal(street.scene.background.sh, lit.street.scene.background.sh)
    assert len(street.library.assets) > 5 and not lit.street.library.assets
    np.testing.assert_array_equal(lit.offset, [5.0, 2.0, 1.0])


def test_a_stronger_sun_makes_a_brighter_street(lit: LitStreet) -> None:
    brighter = build_lit_street(replace(OPTIONS, sun_power=(2.0, 1.8, 1.5)), with_assets=False)
    np.testing.assert_array_equal(brighter.surfels.position, lit.surfels.position)
    assert shown(brighter.street.scene.background).mean() > 1.15 * shown(lit.street.scene.background).mean()
    with pytest.raises(InputError, match="sun_power and sky: expected 0 to 10"):
        replace(OPTIONS, sky=(0.3, -0.1, 0.3))
