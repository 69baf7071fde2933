from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor
from torch.nn import functional

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.model.autoencoders import TinyDecoder, kl_autoencoder, tiny_autoencoder
from r3d2_ros.harmonizer.model.config import ModelConfig, Padding, Schedule, SkipOptions
from r3d2_ros.harmonizer.model.r3d2 import R3D2, alpha_bar, clean_latents, pad_image
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.rewrites import rewritten
from r3d2_ros.harmonizer.settings import RewritesConfig
from r3d2_ros.schema import validate
from r3d2_ros.training.stages import begin_with_the_input
from tests.harmonizer.small import KL, TINY, picture, seeded

BOTH = pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
POSITIONS = pytest.mark.parametrize("position", ["after_upsample", "after_convolution"])


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


@BOTH
@POSITIONS
@pytest.mark.parametrize(("kernel_size", "bias"), [(1, False), (3, True)])
def test_fresh_skips_change_no_bit(config: ModelConfig, position: str, kernel_size: int, bias: bool) -> None:
    options = SkipOptions(position=position, kernel_size=kernel_size, bias=bias)  # type: ignore[arg-type]
    plain = seeded(replace(config, skips=SkipOptions(enabled=False)))
    fresh = R3D2(replace(config, skips=options)).eval()
    fresh.load_state_dict(plain.state_dict(), strict=False)
    levels = 3 if config is TINY else 4
    assert len(fresh.decoder.skips) == levels and len(plain.decoder.skips) == 0
    image = picture(40, 56)
    with torch.no_grad():
        assert bits(fresh(image)) == bits(plain(image))
        for level in range(levels):
            torch.nn.init.normal_(fresh.decoder.skips[level].weight)
            changed = fresh(image)
            torch.nn.init.zeros_(fresh.decoder.skips[level].weight)
            assert not torch.equal(changed, plain(image)), f"the skip of level {level} has no effect"


def test_taps_enter_each_halving_coarsest_first() -> None:
    image = picture(64, 96)
    with torch.no_grad():
        _, tiny = seeded(TINY).encoder(image)
        _, kl = seeded(KL).encoder(image)
    assert [tuple(tap.shape) for tap in tiny] == [(1, 8, 16, 24), (1, 8, 32, 48), (1, 8, 64, 96)]
    assert [tuple(tap.shape) for tap in kl] == [(1, 16, 8, 12), (1, 8, 16, 24), (1, 8, 32, 48), (1, 8, 64, 96)]
    assert all(float(tap.min()) >= 0 for tap in tiny), "TAESD's taps come after a ReLU"


def test_taesd_layers_are_those_of_the_reference() -> None:
    decoder = TinyDecoder(tiny_autoencoder(VARIANTS["r3d2"].autoencoder), SkipOptions())  # type: ignore[arg-type]
    assert decoder.sum_after == {6: 0, 11: 1, 16: 2}
    options = SkipOptions(position="after_upsample")
    decoder = TinyDecoder(tiny_autoencoder(VARIANTS["r3d2"].autoencoder), options)  # type: ignore[arg-type]
    assert decoder.sum_after == {5: 0, 10: 1, 15: 2}


@BOTH
def test_encoding_and_decoding_equal_diffusers_own(config: ModelConfig) -> None:
    """With skips off the parts are the autoencoder: diffusers takes [-1, 1], we take [0, 1]."""
    model, image = seeded(replace(config, skips=SkipOptions(enabled=False))), picture(40, 56)
    build = tiny_autoencoder if config is TINY else kl_autoencoder
    original = build(config.autoencoder).eval()
    state = {f"encoder.{k}": v for k, v in model.encoder.state_dict().items()}
    state |= {f"decoder.{k}": v for k, v in model.decoder.state_dict().items()}
    moved = {"encoder.quant_conv": "quant_conv", "decoder.post_quant_conv": "post_quant_conv"}
    for ours, theirs in moved.items():
        state = {key.replace(ours, theirs): tensor for key, tensor in state.items()}
    original.load_state_dict(state)
    with torch.no_grad():
        latents, taps = model.encoder(image)
        encoded = original.encode(image * 2 - 1)
        expected = encoded.latents if config is TINY else encoded.latent_dist.mode() * 0.18215
        torch.testing.assert_close(latents, expected, rtol=1e-5, atol=1e-5)
        scale = 1.0 if config is TINY else 0.18215
        decoded = (original.decode(latents / scale).sample + 1) / 2
        torch.testing.assert_close(model.decoder(latents, taps), decoded, rtol=1e-5, atol=1e-5)


def test_one_skip_is_added_where_it_should_be() -> None:
    """With a latent that decodes to a constant the whole difference is the convolved tap, by hand."""
    model = seeded(TINY)
    with torch.no_grad():
        latents, taps = model.encoder(picture(32, 32))
        x = torch.tanh(latents / 3) * 3
        for index, layer in enumerate(model.decoder.layers):
            x = layer(x)
            if index in (6, 11, 16):
                level = (6, 11, 16).index(index)
                kernel = model.decoder.skips[level].weight[:, :, 0, 0]
                x = x + torch.einsum("oc,bchw->bohw", kernel, taps[level])
        torch.testing.assert_close(model.decoder(latents, taps), x, rtol=1e-4, atol=1e-5)


def test_alpha_bar_is_the_schedulers() -> None:
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    for timestep in (0, 199, 999):
        assert alpha_bar(Schedule(), timestep) == pytest.approx(float(scheduler.alphas_cumprod[timestep]), rel=1e-7)
    assert alpha_bar(Schedule(), 999) == pytest.approx(0.00466010, abs=1e-8)
    with pytest.raises(InputError, match="0 to 999"):
        alpha_bar(Schedule(), 1000)
    nothing = "schedule: expected betas that leave something of the image at timestep 999, got 0.5 to 0.5 in 1000 steps"
    with pytest.raises(InputError, match=nothing):
        alpha_bar(Schedule(beta_start=0.5, beta_end=0.5), 999)


def test_clean_latents_is_the_schedulers_last_step() -> None:
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    scheduler.set_timesteps(1, device="cpu")
    scheduler.set_timesteps(timesteps=[999])
    latents, epsilon = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = scheduler.step(epsilon, 999, latents).prev_sample
    torch.testing.assert_close(
        clean_latents(latents, epsilon, alpha_bar(Schedule(), 999)), expected, rtol=1e-5, atol=1e-5
    )


def test_clean_latents_is_formed_in_float32() -> None:
    """z and eps nearly cancel: 14.6 times float16's rounding of each product would be far off."""
    z, eps = torch.full((1,), 2.0, dtype=torch.float16), torch.full((1,), 2.0, dtype=torch.float16)
    x0 = clean_latents(z, eps, 0.00466010)
    assert x0.dtype == torch.float16
    assert float(x0) == pytest.approx(2 * (14.6488 - 14.6146), abs=2e-4)


@pytest.mark.parametrize("mode", ["replicate", "reflect"])
def test_padding_is_below_and_to_the_right(mode: str) -> None:
    image = picture(45, 50)
    padded = pad_image(image, Padding(mode=mode, multiple_px=16))  # type: ignore[arg-type]
    assert padded.shape == (1, 3, 48, 64)
    assert torch.equal(padded[..., :45, :50], image)
    row = 44 if mode == "replicate" else 43
    assert torch.equal(padded[..., 45, :50], image[..., row, :])


def test_reflection_needs_enough_image() -> None:
    with pytest.raises(InputError, match=r"\(60, 60\), got 4 x 4"):
        pad_image(picture(4, 4), Padding(mode="reflect", multiple_px=64))


@BOTH
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (33, 70), (40, 56)])
def test_any_size_in_the_same_size_out(config: ModelConfig, size: tuple[int, int]) -> None:
    image = picture(*size, batch=2)
    output = seeded(config)(image)
    assert output.shape == image.shape and output.dtype == image.dtype
    assert float(output.min()) >= 0 and float(output.max()) <= 1 and float(output.std()) > 0


def test_padded_and_cropped_is_what_forward_does() -> None:
    model, image = seeded(TINY), picture(33, 70)
    by_hand = model(torch.nn.functional.pad(image, (0, 2, 0, 7), mode="replicate"))[..., :33, :70]
    assert torch.equal(model(image), by_hand)


def test_input_range_unit_feeds_the_image_as_it_is() -> None:
    """An autoencoder for [-1, 1] that gets [0, 1] sees what it would see of the image (x + 1) / 2."""
    model, image = seeded(KL), picture(32, 32)
    unit = seeded(replace(KL, input_range="unit"))
    assert torch.equal(unit(image), model((image + 1) / 2))


def test_batch_members_do_not_mix() -> None:
    model, images = seeded(TINY), picture(32, 40, batch=3)
    single = torch.cat([model(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(model(images), single, rtol=1e-4, atol=1e-4)


def test_prompt_and_timestep_matter() -> None:
    image, model = picture(32, 32), seeded(TINY)
    at_199 = seeded(replace(TINY, timestep=199))
    assert not torch.equal(model(image), at_199(image))
    before = model(image)
    model.prompt_embedding = model.prompt_embedding * 2
    assert not torch.equal(model(image), before)


@BOTH
def test_parts_keep_no_tensor_and_trace(config: ModelConfig) -> None:
    model, image, other = seeded(config), picture(64, 64), picture(64, 64, seed=9)
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and warns of shapes taken as constants
        traced = torch.jit.trace(model, image, check_trace=False)
        torch.testing.assert_close(traced(other), model(other), rtol=1e-4, atol=1e-5)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes


def test_half_precision_stays_near() -> None:
    model, image = seeded(VARIANTS["nano"]), picture(64, 64)
    exact = model(image)
    half = seeded(VARIANTS["nano"]).to(torch.bfloat16)
    assert half(image).dtype == torch.float32
    assert float((half(image) - exact).abs().mean()) < 0.05


def test_random_weights_repeat_and_none_is_zero() -> None:
    first, again, other = seeded(KL, 1), seeded(KL, 1), seeded(KL, 2)
    for (key, a), b, c in zip(
        first.state_dict().items(), again.state_dict().values(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b) and not torch.equal(a, c), key
        assert int((a == 0).sum()) == 0, key


def test_nano_fits_in_ten_megabytes() -> None:
    model = seeded(VARIANTS["nano"])
    assert sum(tensor.nbytes for tensor in model.state_dict().values()) < 10e6


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (torch.zeros(3, 8, 8), r"shape \[3, 8, 8\]"),
        (torch.zeros(1, 4, 8, 8), r"shape \[1, 4, 8, 8\]"),
        (torch.zeros(1, 3, 0, 8), r"shape \[1, 3, 0, 8\]"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "dtype torch.uint8"),
    ],
)
def test_wrong_images_are_named(image: Tensor, got: str) -> None:
    with pytest.raises(InputError, match=got):
        seeded(TINY)(image)


def test_sizes_that_do_not_divide_are_named() -> None:
    config = replace(TINY, unet=replace(TINY.unet, norm_groups=3, attention_heads=(1, 1, 3, 2)))
    with pytest.raises(InputErrors) as caught:
        R3D2(config)
    assert "unet.attention_heads: expected a divisor of 16 channels, got 3" in str(caught.value)
    assert "unet.norm_groups: expected a divisor of 8 channels, got 3" in str(caught.value)


def test_a_reduced_network_sees_means_and_what_it_changes_is_enlarged() -> None:
    """Each pixel that the network sees is the mean of four. Also on an image that is padded, and in the copy that the
    rewrites make."""
    plain = seeded(replace(TINY, padding=Padding(multiple_px=32)))
    reduced = seeded(replace(plain.config, skips=SkipOptions(image=True, reduction=2)))
    image = picture(40, 88) * 0.1
    padded = pad_image(image, plain.config.padding)
    small = padded.unfold(-2, 2, 2).unfold(-2, 2, 2).mean((-2, -1))
    decoded = plain.harmonize_latents(*plain.encode(small))
    enlarged = functional.interpolate(decoded, size=padded.shape[-2:], mode="bilinear")[..., :40, :88]
    expected = (image + enlarged).clamp(0, 1)
    torch.testing.assert_close(reduced(image), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(rewritten(reduced, RewritesConfig())(image), expected, rtol=0, atol=1e-4)
    begin_with_the_input(reduced.decoder)
    assert torch.equal(reduced(image), image), "what changes nothing changes no bit of the full picture"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skips": {"reduction": 2}}, "reduction 1 where the input image is not added"),
        ({"skips": {"image": True, "reduction": 2}, "padding": {"multiple_px": 8}}, "a multiple of 16"),
        ({"skips": {"image": True, "reduction": 3}}, "skips.reduction"),
    ],
)
def test_reductions_that_cannot_be_are_refused(change: dict, message: str) -> None:
    facts = {"variant": "x", "autoencoder": {"kind": "tiny"}, **change}
    with pytest.raises(InputErrors, match=message):
        validate(ModelConfig, facts, "config.json")


def test_image_skip_adds_the_input_to_what_the_decoder_gives() -> None:
    """Also on an image that is padded, and in the copy that the rewrites make."""
    plain = seeded(replace(TINY, padding=Padding(multiple_px=32)))
    model = seeded(replace(plain.config, skips=SkipOptions(image=True)))
    image = picture(24, 40) * 0.1
    padded = pad_image(image, plain.config.padding)
    decoded = plain.harmonize_latents(*plain.encode(padded))[..., :24, :40]
    expected = (image + decoded).clamp(0, 1)
    torch.testing.assert_close(model(image), expected)
    torch.testing.assert_close(rewritten(model, RewritesConfig())(image), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(plain(image), expected, atol=1e-3)


def test_random_numbers_of_every_seed_that_pytorch_takes_and_no_other() -> None:
    for seed in (-(2**63), 2**64 - 1):
        assert seeded(TINY, seed).prompt_embedding.isfinite().all()
    for seed in (-(2**63) - 1, 2**64):
        with pytest.raises(InputError, match="seed of random weights: expected a whole number from -2"):
            seeded(TINY, seed)
