"""Published sizes: SD-Turbo's UNet, TAESD and SD's autoencoder, counted on the meta device."""

from __future__ import annotations

import pytest

from r3d2_ros.harmonizer.model.flops import measure_size
from r3d2_ros.harmonizer.model.variants import VARIANTS


def test_r3d2_at_full_size() -> None:
    size = measure_size(VARIANTS["r3d2"], height_px=1080, width_px=1920)
    assert size.parameters == {
        "encoder": 1_222_532,
        "unet": 865_910_724,
        "decoder": 1_222_531,
        "skips": 3 * 64 * 64,
    }
    tera = {part: flop / 1e12 for part, flop in size.flop.items()}
    assert tera == pytest.approx({"encoder": 0.968, "unet": 13.070, "decoder": 1.118, "skips": 0.022}, abs=5e-4)
    assert (size.total_flop - size.flop["skips"]) / 1e12 == pytest.approx(15.16, abs=5e-3)


def test_r3d2_big_at_full_size() -> None:
    size = measure_size(VARIANTS["r3d2-big"], height_px=1080, width_px=1920)
    assert size.parameters["unet"] == 865_910_724
    assert size.parameters["encoder"] + size.parameters["decoder"] == 83_653_863
    assert size.parameters["skips"] == 491_520
    tera = {part: flop / 1e12 for part, flop in size.flop.items()}
    assert tera == pytest.approx({"encoder": 10.711, "unet": 13.070, "decoder": 21.768, "skips": 0.255}, abs=5e-4)
    assert (size.total_flop - size.flop["skips"]) / 1e12 == pytest.approx(45.55, abs=5e-3)


@pytest.mark.parametrize(
    ("height", "width", "unet", "tiny_encoder", "tiny_decoder"),
    [(512, 512, 0.804, 0.122, 0.141), (576, 1024, 2.149, 0.275, 0.318), (1088, 1920, 13.184, 0.975, 1.126)],
)
def test_other_sizes(height: int, width: int, unet: float, tiny_encoder: float, tiny_decoder: float) -> None:
    flop = measure_size(VARIANTS["r3d2"], height_px=height, width_px=width).flop
    assert flop["unet"] / 1e12 == pytest.approx(unet, abs=5e-4)
    assert flop["encoder"] / 1e12 == pytest.approx(tiny_encoder, abs=5e-4)
    assert flop["decoder"] / 1e12 == pytest.approx(tiny_decoder, abs=5e-4)


def test_the_padding_rule_counts() -> None:
    nano = VARIANTS["nano"]
    assert nano.padding.multiple_px == 64
    assert measure_size(nano, height_px=65, width_px=100) == measure_size(nano, height_px=128, width_px=128)
