"""8-bit linear layers, convolutions and attention against the same arithmetic written out in float32."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.float8 import applied_float8, convolutions, linears, quantise
from r3d2_ros.harmonizer.float8.attention import attended_in_8_bit
from r3d2_ros.harmonizer.float8.convolutions import (
    Float8NormConv2d,
    Float8ResnetBlock,
    quantise_convolutions,
    quantised_images,
    quantised_images_reference,
)
from r3d2_ros.harmonizer.float8.linears import Float8GEGLU, Float8Linear, product_reference, quantise_linears
from r3d2_ros.harmonizer.float8.numbers import FLOAT8
from r3d2_ros.harmonizer.model.checkpoints import empty_model
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.rewrites import rewritten
from r3d2_ros.harmonizer.rewrites.chunked_attention import ChunkedAttention, in_parts
from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm, fuse_block
from r3d2_ros.harmonizer.runtime.runtime import make_runtime
from r3d2_ros.harmonizer.settings import Float8Config, HarmonizerConfig, RewritesConfig, RuntimeConfig
from tests.harmonizer.rewriting import operators, with_only
from tests.harmonizer.small import KL, picture, seeded

KL_32 = replace(
    KL,
    unet=replace(KL.unet, block_out_channels=(32, 32, 32, 32)),
    autoencoder=replace(KL.autoencoder, block_out_channels=(32, 32, 32, 32)),
)
"""Of channels that 8-bit convolutions take."""


def linear(inputs: int = 64, outputs: int = 48) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs).requires_grad_(False)


def reference(layer: nn.Linear, rows: Tensor) -> Tensor:
    """Row by row and output by output: scale to 448, round to 8 bits, multiply, scale back."""
    output = torch.empty(len(rows), layer.out_features)
    for r, row in enumerate(rows.float()):
        for c, weights in enumerate(layer.weight.float()):
            row_scale, weight_scale = row.abs().max() / 448, weights.abs().max() / 448
            product = (row / row_scale).to(FLOAT8).float() @ (weights / weight_scale).to(FLOAT8).float()
            output[r, c] = product * row_scale * weight_scale + layer.bias[c]
    return output


def test_equals_the_arithmetic_written_out() -> None:
    layer, rows = linear(), torch.randn(10, 64, generator=torch.Generator().manual_seed(1))
    output = Float8Linear(layer)(rows)
    torch.testing.assert_close(output, reference(layer, rows), rtol=1e-5, atol=1e-5)
    error = float((output - layer(rows)).norm() / layer(rows).norm())
    assert 5e-3 < error < 6e-2, "3 bits of mantissa are about 3 %"


def test_leading_dimensions_and_dtype_are_kept() -> None:
    layer = linear().half()
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(2)).half()
    output = Float8Linear(layer)(inputs)
    assert output.shape == (2, 5, 48) and output.dtype == torch.float16
    torch.testing.assert_close(output[1], Float8Linear(layer)(inputs[1]), rtol=0, atol=0)


def test_a_gated_product_equals_the_arithmetic_written_out() -> None:
    layer, rows = linear(64, 2 * 24), images(10, 64)
    value, gate = reference(layer, rows).chunk(2, dim=1)
    torch.testing.assert_close(
        Float8GEGLU(layer)(rows), value * nn.functional.gelu(gate), rtol=1e-5, atol=1e-5
    )


def test_products_of_gpus_without_our_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own product, in bfloat16 between: half of 2^-8 of a value."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    layer = Float8Linear(linear())
    tokens, scale = linears.quantised(images(10, 64))
    arguments = tokens, layer.weight, scale[:, 0], layer.weight_scale, layer.bias
    on_gpu = linears.product._backend_fns["cuda"]  # type: ignore[attr-defined]
    torch.testing.assert_close(on_gpu(*arguments), product_reference(*arguments), rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_factors_lie_as_a_gpu_wants_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, in whatever order the input lies; a CPU takes any order, and would not tell."""
    image = images(1, 64, 5, 4)
    assert image.is_contiguous()
    if kind == "linear":
        strides = []

        def noted(tokens: Tensor, weight: Tensor, *others: Tensor) -> Tensor:
            strides.append((tokens.stride(), weight.stride()))
            return product_reference(tokens, weight, *others)

        monkeypatch.setattr(linears, "product", noted)
        Float8Linear(linear())(image.permute(0, 2, 3, 1).reshape(1, 20, 64))
        assert strides == [((64, 1), (64, 1))]
    else:
        seen = []

        def noted_image(x: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(x.stride(1))
            return quantised_images_reference(x, *numbers)

        monkeypatch.setattr(convolutions, "quantised_images", noted_image)
        eight_bit()(images(1, 32, 5, 4))
        assert seen == [1]


@pytest.mark.parametrize("value", [0.0, 6e4, 6e-8])
def test_extreme_tokens_stay_finite(value: float) -> None:
    layer = linear().half()
    inputs = torch.zeros(1, 64).half()
    inputs[0, 3] = value
    (output,) = Float8Linear(layer)(inputs)
    expected = layer.weight[:, 3].float() * float(inputs[0, 3]) + layer.bias.float()
    assert bool(output.isfinite().all())
    torch.testing.assert_close(output.float(), expected, rtol=7e-2, atol=5e-3)


def test_which_layers_are_exchanged() -> None:
    """Of SD-Turbo's 16 transformers 11 have 640 inputs or more. In each it is the feed-forward's first layer, with 8
    outputs for each input, and where they are joined queries, keys and values, with 3."""
    first = "down_blocks.1.attentions.0.transformer_blocks.0"
    unet = empty_model(VARIANTS["r3d2"]).unet
    quantise_linears(unet)
    exchanged = {name for name, module in unet.named_modules() if isinstance(module, Float8Linear)}
    assert f"{first}.ff.net.0.proj" in exchanged and len(exchanged) == 11
    joined = with_only(empty_model(VARIANTS["r3d2"]), "join_projections").unet
    quantise_linears(joined)
    assert sum(isinstance(module, Float8Linear) for module in joined.modules()) == 22
    assert isinstance(joined.get_submodule(f"{first}.attn1.to_qkv"), Float8Linear)
    assert isinstance(joined.get_submodule(f"{first}.ff.net.2"), nn.Linear)


def convolution(inputs: int = 32, outputs: int = 24) -> nn.Conv2d:
    torch.manual_seed(3)
    return nn.Conv2d(inputs, outputs, 3, padding=1).requires_grad_(False)


def group_norm(channels: int = 32) -> nn.GroupNorm:
    norm = nn.GroupNorm(8, channels).requires_grad_(False)
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(5))
    nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(6))
    return norm


def eight_bit(dtype: torch.dtype = torch.float32) -> Float8NormConv2d:
    norm = FusedGroupNorm(group_norm().to(dtype), silu=True)
    norm.before = nn.Parameter(images(32).to(dtype), requires_grad=False)
    return Float8NormConv2d(norm, convolution().to(dtype))


def activated(batch: Tensor) -> Tensor:
    """What `eight_bit` rounds to 8 bit."""
    return nn.functional.silu(group_norm()(batch + images(32)[:, None, None]))


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


def convolution_reference(layer: nn.Conv2d, image: Tensor) -> Tensor:
    """[C, H, W] -> [N, H, W], pixel by pixel and tap by tap: scale to 448, round to 8 bits, multiply, scale back."""
    _, height, width = image.shape
    scale = image.abs().max() / 448
    weight_scale = layer.weight.abs().amax((1, 2, 3)) / 448
    pixels = (image / scale).to(FLOAT8).float()
    weight = (layer.weight / weight_scale[:, None, None, None]).to(FLOAT8).float()
    output = torch.zeros(layer.out_channels, height, width)
    for y in range(height):
        for x in range(width):
            for r in range(3):
                for s in range(3):
                    row, column = y + r - 1, x + s - 1
                    if 0 <= row < height and 0 <= column < width:
                        output[:, y, x] += weight[:, :, r, s] @ pixels[:, row, column]
    return output * scale * weight_scale[:, None, None] + layer.bias[:, None, None]


@pytest.mark.parametrize("size", [(2, 1), (4, 6), (7, 3)])
def test_a_convolution_equals_the_arithmetic_written_out(size: tuple[int, int]) -> None:
    layer, batch = convolution(), images(2, 32, *size)
    batch[1] *= 100
    output, inputs = eight_bit()(batch), activated(batch)
    assert output.shape == (2, 24, *size)
    for k in range(2):
        expected = convolution_reference(layer, inputs[k])
        # A number half way between two of 8 bits may go either way.
        error = float((output[k] - expected).norm() / expected.norm())
        assert error < 3e-3
    error = float((output - layer(inputs)).norm() / layer(inputs).norm())
    assert 5e-3 < error < 6e-2, "3 bits of mantissa are about 3 %"


def test_a_residual_block_is_the_plain_one_in_8_bit() -> None:
    """With a timestep, and with a shortcut for other channels."""
    for outputs in (32, 64):
        torch.manual_seed(7)
        plain = ResnetBlock2D(in_channels=32, out_channels=outputs, temb_channels=12, groups=8).requires_grad_(False)
        x, embedding = images(2, 32, 7, 5), images(2, 12)
        exact = plain(x, embedding)
        eight = copy.deepcopy(plain)
        fuse_block(eight)
        output = Float8ResnetBlock(eight)(x, embedding)
        assert output.is_contiguous(memory_format=torch.channels_last)
        assert 1e-3 < float((output - exact).norm() / exact.norm()) < 6e-2


def test_a_scale_uses_all_that_8_bits_hold() -> None:
    """Found without a look at the numbers that are rounded, by the largest one behind the norm."""
    batch = images(3, 32, 5, 4)
    layer = eight_bit()
    framed, scale = quantised_images(batch, *layer.norm.affine(batch.contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(scale, activated(batch).amax(dim=(1, 2, 3)) / 448, rtol=1e-5, atol=0)
    assert framed.float().amax(dim=(1, 2, 3)).tolist() == [448, 448, 448]


def test_an_image_is_the_same_in_any_batch() -> None:
    layer, batch = eight_bit(torch.float16), images(3, 32, 5, 4).half()
    batch[0] *= 50
    for k in range(3):
        torch.testing.assert_close(layer(batch)[k : k + 1], layer(batch[k : k + 1]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 6e4, 6e-8])
def test_extreme_pixels_stay_finite(value: float) -> None:
    layer, image = eight_bit(torch.float16), torch.zeros(1, 32, 3, 3).half()
    image[0, 3, 1, 1] = value
    (output,) = layer(image)
    expected = convolution()(activated(image.float()))[0]
    assert bool(output.isfinite().all()) and output.dtype == torch.float16
    assert float((output - expected).norm() / expected.norm()) < 6e-2


def test_not_a_number_is_not_hidden() -> None:
    image = images(1, 32, 3, 3)
    image[0, 0, 0, 0] = torch.nan
    assert bool(eight_bit()(image).isnan().any())


def test_which_convolutions_are_exchanged() -> None:
    """R3D2's UNet has 2 residual blocks on each of 4 levels down, 2 in the middle, 3 on each of 4 levels up: 22, of
    which the first and the last stay; 2 convolutions each. R3D2-BIG's autoencoder has 10 and 14 more, less 2."""
    for name, count in (("r3d2", 2 * 20), ("r3d2-big", 2 * (20 + 22))):
        model = empty_model(VARIANTS[name])
        quantise_convolutions(model)
        exchanged = {name for name, module in model.named_modules() if isinstance(module, Float8NormConv2d)}
        assert len(exchanged) == count
        assert "unet.mid_block.resnets.1.conv2" in exchanged and "unet.up_blocks.3.resnets.1.conv1" in exchanged
        assert not any("unet.down_blocks.0.resnets.0" in name for name in exchanged)
        assert not any("unet.up_blocks.3.resnets.2" in name for name in exchanged)
        assert not any("sampler" in name or "shortcut" in name for name in exchanged)


def test_the_ends_of_a_rewritten_autoencoder_stay() -> None:
    model = rewritten(seeded(KL_32), RewritesConfig())
    # UNet: one block on each of 4 levels down, 2 in the middle, 2 on each level up, less 2. KL: 4 + 2, then 2 + 4 * 2.
    quantise_convolutions(model)
    exchanged = [module for module in model.modules() if isinstance(module, Float8NormConv2d)]
    assert len(exchanged) == 2 * (14 - 2 + 6 + 10 - 2)
    kept = (model.encoder.down_blocks[0].resnets[0], model.decoder.blocks[-1][-1])
    assert not any(isinstance(module, Float8NormConv2d) for block in kept for module in block.modules())


@pytest.mark.parametrize("part", ["products", "convolutions", "both"])
def test_each_part_has_its_switch(part: str) -> None:
    unet = empty_model(VARIANTS["r3d2"])
    quantise(unet, Float8Config(products=part != "convolutions", convolutions=part != "products"))
    kinds = {type(module) for module in unet.modules()} & {Float8Linear, Float8NormConv2d}
    expected: dict[str, set[type]] = {"products": {Float8Linear}, "convolutions": {Float8NormConv2d}}
    assert kinds == expected.get(part, {Float8Linear, Float8NormConv2d})


@pytest.mark.parametrize("name", ["r3d2", "r3d2-big"])
def test_the_published_sizes_meet_the_products_conditions(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1080x1920 on the meta device, where products check shapes and strides, which a CPU does not."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)  # as compilers see it: our kernels by name
    with torch.device("meta"):
        model = R3D2(VARIANTS[name]).half()
        model.timestep = torch.empty(1, dtype=torch.int64)
        image = torch.empty(1, 3, 1080, 1920, dtype=torch.float16)
    own = rewritten(model, RewritesConfig())
    quantise(own, Float8Config())
    with torch.no_grad():
        ran = operators(lambda: own.to(memory_format=torch.channels_last).harmonize_padded(image))
    assert ran.count["float8_convolution"] == {"r3d2": 40, "r3d2-big": 84}[name]
    # Queries, keys and values are one; the feed-forward's first is gated in the same kernel.
    assert ran.count["float8_product"] == ran.count["float8_geglu"] == 11
    # 2 in each of 22 blocks, one in each of 16 transformers, one at the end; KL: 24 blocks, 2 attentions, 2 ends.
    assert ran.count["group_affine"] == {"r3d2": 61, "r3d2-big": 61 + 52}[name]


def test_attention_equals_the_arithmetic_written_out() -> None:
    """Of 130 tokens two are in a second tile, which has a largest weight of its own."""
    queries, tokens = 0.3 * images(2, 130, 128), images(3, 130, 128)[1:]
    output = attended_in_8_bit(queries, tokens)
    for image in range(2):
        token_scale = tokens[image].abs().max() / 448
        token = (tokens[image] / token_scale).to(FLOAT8).float()
        for query, result in zip(queries[image], output[image], strict=True):
            scale = query.abs().max() / 448
            scores = (query / scale).to(FLOAT8).float() @ token.T * scale * token_scale
            weights = [
                (448 * (part - part.max()).exp()).to(FLOAT8).float() * part.max().exp() for part in scores.split(128)
            ]
            weight = torch.cat(weights)
            torch.testing.assert_close(result, weight @ token * token_scale / weight.sum(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("spread", "most"), [(0.05, 0.05), (0.3, 0.12)])
def test_attention_errs_by_what_8_bits_lose(spread: float, most: float) -> None:
    """Queries that look at many tokens, with scores that spread by 1, and such that look at a few, by 7: there 4 % of a
    score are much of a weight."""
    queries, tokens = spread * images(1, 1000, 512), images(2, 1000, 512)[1:]
    exact = in_parts(queries.double(), tokens.double())
    errors = [
        float((attend(queries.half(), tokens.half()).double() - exact).norm() / exact.norm())
        for attend in (in_parts, attended_in_8_bit)
    ]
    assert errors[0] < 1e-3 and 0.01 < errors[1] < most, errors


@pytest.mark.parametrize("value", [0.0, 6e4, 6e-8])
def test_extreme_tokens_of_attention_stay_finite(value: float) -> None:
    tokens = torch.zeros(1, 3, 128).half()
    tokens[0, 1, 5] = value
    output = attended_in_8_bit(tokens, tokens)
    assert output.dtype == torch.float16 and bool(output.isfinite().all())
    torch.testing.assert_close(output, in_parts(tokens, tokens), rtol=0.07, atol=1e-7)


def test_what_is_not_a_number_is_not_hidden_by_attention() -> None:
    tokens = images(2, 5, 128)
    tokens[1, 2, 3] = torch.nan
    assert attended_in_8_bit(tokens, tokens).isnan().any(dim=(1, 2)).tolist() == [False, True]


def test_which_attention_is_exchanged() -> None:
    """AutoencoderKL's two, 512 wide; R3D2's tiny autoencoder has none, and a narrow one stays as it is."""
    for config, count in ((VARIANTS["r3d2"], 0), (VARIANTS["r3d2-big"], 2), (KL, 0)):
        model = empty_model(config) if config is not KL else seeded(KL)
        quantise(model, Float8Config(products=False, convolutions=False, attention=True))
        kept = [module.attend for module in model.modules() if isinstance(module, ChunkedAttention)]
        assert kept.count(attended_in_8_bit) == count
    by_default = empty_model(VARIANTS["r3d2-big"])
    quantise(by_default, Float8Config())
    assert not any(isinstance(module, ChunkedAttention) for module in by_default.modules())


def test_nothing_in_8_bit_is_not_float8() -> None:
    with pytest.raises(ValueError, match=r"convolutions or attention of float8 true, because dtype is float8"):
        HarmonizerConfig(dtype="float8", float8=Float8Config(products=False, convolutions=False))


@pytest.mark.slow
def test_the_network_runs_with_them_in_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = rewritten(seeded(VARIANTS["nano"]), RewritesConfig()), picture(64, 64)
    with torch.inference_mode():
        exact = model.harmonize_padded(images)
        monkeypatch.setattr(linears, "MIN_INPUTS", 64)
        quantise(model, BOTH)
        counts = [sum(isinstance(m, kind) for m in model.modules()) for kind in (Float8Linear, Float8NormConv2d)]
        assert counts[0] > 10 and counts[1] == 24
        output = model.harmonize_padded(images)
        compiled = torch.compile(model.harmonize_padded, fullgraph=True, backend="aot_eager")(images.clone())
    torch._dynamo.reset()
    assert not torch.equal(output, exact) and float((output - exact).norm() / exact.norm()) < 0.5
    torch.testing.assert_close(compiled, output, rtol=0, atol=1e-3)


def test_a_cpu_computes_with_the_same_numbers() -> None:
    """So that what 8 bits cost in quality can be measured without a GPU."""
    model, image = seeded(VARIANTS["nano"]), picture(64, 64)
    exact = make_runtime(model, HarmonizerConfig(device="cpu", dtype="float16"))(image)
    output = make_runtime(model, HarmonizerConfig(device="cpu", dtype="float8"))(image)
    assert 0 < float((output - exact).norm() / exact.norm()) < 0.1


CUDA = torch.device("cuda:0")
BOTH, PRODUCTS, CONVOLUTIONS = (
    Float8Config(products=products, convolutions=convolutions)
    for products, convolutions in ((True, True), (True, False), (False, True))
)


@pytest.mark.parametrize(
    ("capability", "config", "applied"),
    [
        ((9, 0), BOTH, BOTH),
        ((12, 0), CONVOLUTIONS, CONVOLUTIONS),
        ((8, 9), BOTH, PRODUCTS),
        ((8, 9), PRODUCTS, PRODUCTS),
    ],
)
def test_a_gpu_gets_the_parts_that_there_are_for_it(
    capability: tuple[int, int], config: Float8Config, applied: Float8Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert applied_float8(config, CUDA) == applied


@pytest.mark.parametrize(
    ("capability", "config", "least"), [((8, 6), BOTH, "8.9"), ((8, 9), CONVOLUTIONS, "9.0"), ((7, 5), PRODUCTS, "8.9")]
)
def test_a_gpu_without_them_is_named(
    capability: tuple[int, int], config: Float8Config, least: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    expected = f"capability {least} .* for float8, got a GPU with {'.'.join(map(str, capability))}. Use float16"
    with pytest.raises(InputError, match=expected):
        applied_float8(config, CUDA)


@pytest.mark.parametrize(("capability", "on"), [((8, 9), False), ((9, 0), True), ((10, 0), True), ((12, 0), False)])
def test_where_there_is_attention_in_8_bit(
    capability: tuple[int, int], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tiles need the shared memory of data centres' GPUs."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert applied_float8(Float8Config(attention=True), CUDA).attention == on
    if not on:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
        alone = Float8Config(products=False, convolutions=False, attention=True)
        with pytest.raises(InputError, match="compute capability 9.0 or"):
            applied_float8(alone, CUDA)


def test_our_kernels_without_triton_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("r3d2_ros.harmonizer.packages.find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for config, part in ((BOTH, "products"), (PRODUCTS, "products"), (CONVOLUTIONS, "convolutions")):
        with pytest.raises(MissingPackageError, match=rf"harmonizer.float8.{part} needs .*pip install triton"):
            applied_float8(config, CUDA)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    assert applied_float8(BOTH, CUDA) == PRODUCTS, "whose product is PyTorch's"


def test_not_with_stable_fast() -> None:
    with pytest.raises(InputError, match=r"runtime.kind: expected eager or torch-compile, because .* is float8"):
        HarmonizerConfig(dtype="float8", runtime=RuntimeConfig(kind="stable-fast"))
