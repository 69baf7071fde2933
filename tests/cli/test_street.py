"""`r3d2 street`: arguments that no street can be made from."""

from __future__ import annotations

import pytest

from r3d2_ros.cli.main import main


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_outside_its_range_is_named(seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["street", "--seed", seed]) == 1
    assert capsys.readouterr().err == f"r3d2 street: --seed: expected 0 to 4294967295, got {seed}\n"


@pytest.mark.parametrize("azimuth", ["nan", "inf"])
def test_a_sun_that_stands_nowhere_is_refused(azimuth: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["street", "--sun-azimuth", azimuth]) == 1
    expected = f"street: sun_azimuth_deg: expected a finite number of degrees, got {azimuth}\n"
    assert capsys.readouterr().err == f"r3d2 street: {expected}"
