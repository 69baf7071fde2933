"""Upsampling and convolution as one transposed convolution."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from r3d2_ros.harmonizer.model.config import SkipOptions
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.rewrites.fold_upsample import FoldedUpsample
from tests.harmonizer.rewriting import EXACT, operators, relative, with_only
from tests.harmonizer.small import KL, TINY, picture, seeded

TERA = 1e12


def convolution(*, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 5, 3, padding=1, bias=bias).double()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(135, 8), (136, 8), (8, 67), (9, 11), (2, 2), (1, 1), (1, 2)])
def test_every_row_and_column(size: tuple[int, int], bias: bool) -> None:
    """Odd sizes end with a pixel that is not doubled. 135 rows out of 68 are 1080p's."""
    plain = convolution(bias=bias)
    x = torch.randn(2, 3, (size[0] + 1) // 2, (size[1] + 1) // 2, dtype=torch.float64)
    expected = plain(functional.interpolate(x, size=size, mode="nearest"))
    got = FoldedUpsample(plain)(x, size)
    assert relative(expected, got) <= EXACT
    last = relative(expected[..., -1, :], got[..., -1, :]), relative(expected[..., -1], got[..., -1])
    assert max(last) <= EXACT


def test_by_hand_in_one_dimension() -> None:
    """Kernel row (1, 10, 100) on a b: doubled a a b b between zeros."""
    plain = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    with torch.no_grad():
        plain.weight.zero_()[0, 0, 1] = torch.tensor([1.0, 10.0, 100.0])
    a, b = 2.0, 3.0
    got = FoldedUpsample(plain)(torch.tensor([[[[a, b]]]]))
    expected = [10 * a + 100 * a, a + 10 * a + 100 * b, a + 10 * b + 100 * b, b + 10 * b]
    assert got[0, 0].tolist() == [expected, expected]


def test_row_134_without_the_correction_would_be_wrong() -> None:
    plain = convolution()
    x = torch.randn(1, 3, 68, 8, dtype=torch.float64)
    expected = plain(functional.interpolate(x, size=(135, 16), mode="nearest"))
    cropped = FoldedUpsample(plain)(x)[:, :, :135]
    assert relative(expected[:, :, :134], cropped[:, :, :134]) <= EXACT
    assert relative(expected[:, :, 134], cropped[:, :, 134]) > 0.01


def test_taps_are_summed_before_they_are_rounded() -> None:
    """1 + 2^-11 + 2^-11 is 1 + 2^-10 in float16; summed in float16 it would stay 1."""
    plain = nn.Conv2d(1, 1, 3, padding=1, bias=False).half()
    with torch.no_grad():
        plain.weight.zero_()[0, 0, :2, :2] = torch.tensor([[1.0, 2.0**-11], [2.0**-11, 0.0]])
    assert float(FoldedUpsample(plain).weight.max()) == 1 + 2.0**-10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_is_as_near_as_the_plain_pair(dtype: torch.dtype) -> None:
    """Also in float16 on a CPU, where a transposed convolution would sum in float16."""
    torch.manual_seed(0)
    plain = nn.Conv2d(32, 48, 3, padding=1).double().requires_grad_(False)
    x = torch.randn(1, 32, 23, 20, dtype=torch.float64)

    def errors(module: nn.Module, *arguments: object) -> float:
        return float((module.to(dtype)(*arguments).double() - exact).norm())

    doubled = functional.interpolate(x, size=(45, 40), mode="nearest")
    exact = plain(doubled)
    folded = FoldedUpsample(plain)
    assert errors(folded, x.to(dtype), (45, 40)) <= 1.1 * errors(plain, doubled.to(dtype))


@pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
@pytest.mark.parametrize("position", ["after_upsample", "after_convolution"])
def test_nothing_is_upsampled_any_more(config: object, position: str) -> None:
    """Where the skip lies between upsampling and convolution, only the UNet has something to fold."""
    skips = SkipOptions(position=position)  # type: ignore[arg-type]
    model, image = seeded(replace(config, skips=skips)), picture(64, 64)  # type: ignore[type-var]
    ran = operators(lambda: with_only(model, "fold_upsample")(image)).count
    assert operators(lambda: model(image)).count["upsample_nearest2d"] == 6
    assert ran.get("upsample_nearest2d", 0) == (3 if position == "after_upsample" else 0)


def tera_flop(model: R3D2, part: str) -> float:
    """Of a part at 1080x1920, on the meta device."""
    image = torch.empty(1, 3, 1080, 1920, device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad():
        latents, taps = model.encoder(image)
        with counter:
            if part == "unet":
                model.predict_epsilon(latents)
            else:
                model.decoder(latents, taps)
    return counter.get_total_flops() / TERA


def full_size(name: str) -> tuple[R3D2, R3D2]:
    """The plain model without skips, and the folded one."""
    with torch.device("meta"):
        model = R3D2(replace(VARIANTS[name], skips=SkipOptions(enabled=False)))
    model.to("meta")
    return model, with_only(model, "fold_upsample")


def test_r3d2_saves_what_16_of_36_products_save() -> None:
    """UNet 0.54 and TAESD 0.20 TFLOP together become 0.33."""
    model, folded = full_size("r3d2")
    saved = {part: tera_flop(model, part) - tera_flop(folded, part) for part in ("unet", "decoder")}
    assert saved["unet"] == pytest.approx(0.540 * 20 / 36, abs=2e-3)  # 135 rows: one more is computed and cropped
    assert saved["decoder"] == pytest.approx(0.200 * 20 / 36, abs=1e-3)
    assert sum(saved.values()) == pytest.approx(0.54 + 0.20 - 0.33, abs=5e-3)


def test_r3d2_big_saves_3_of_22_tera() -> None:
    """The KL decoder's upsampling convolutions go from 5.50 to 2.45 TFLOP."""
    model, folded = full_size("r3d2-big")
    assert tera_flop(model, "decoder") - tera_flop(folded, "decoder") == pytest.approx(5.504 - 2.446, abs=1e-3)
