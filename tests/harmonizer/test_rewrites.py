"""Every rewrite, alone and with others, against the plain model."""

from __future__ import annotations

import random
import warnings
from dataclasses import asdict, fields, replace

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D

from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.variants import VARIANTS
from r3d2_ros.harmonizer.rewrites import REWRITES, rewritten
from r3d2_ros.harmonizer.settings import RewritesConfig
from tests.harmonizer.rewriting import EXACT, operators, with_only, worst_difference
from tests.harmonizer.small import KL, TINY, picture, seeded

BOTH = pytest.mark.parametrize("config", [TINY, KL], ids=["tiny", "kl"])
ALL = tuple(REWRITES)
SIZES = [(1080, 64, 1), (120, 136, 2), (64, 64, 2)]
"""Rows, columns, batch: latent rows 135, 68, 34, 17; rows and columns odd on the way; even throughout."""


def some_combinations(count: int) -> list[tuple[str, ...]]:
    choice = random.Random(7)
    return [tuple(name for name in ALL if choice.random() < 0.5) for _ in range(count)]


def test_the_switches_are_the_rewrites() -> None:
    assert [field.name for field in fields(RewritesConfig)] == list(REWRITES)


@BOTH
@pytest.mark.parametrize("names", [(name,) for name in ALL] + [ALL], ids=[*ALL, "all"])
def test_the_same_function_in_float64(config: ModelConfig, names: tuple[str, ...]) -> None:
    model = seeded(config).double()
    other = with_only(model, *names)
    for height, width, batch in SIZES:
        image = picture(height, width, batch=batch).double()
        assert worst_difference(model, other, image) <= EXACT, (height, width, batch)


@BOTH
@pytest.mark.parametrize("names", some_combinations(8), ids=lambda names: "+".join(names) or "none")
def test_any_combination_in_float64(config: ModelConfig, names: tuple[str, ...]) -> None:
    model = seeded(config).double()
    assert worst_difference(model, with_only(model, *names), picture(120, 136).double()) <= EXACT


@BOTH
@pytest.mark.parametrize("name", ALL)
def test_each_rewrite_changes_what_runs(config: ModelConfig, name: str) -> None:
    """Equal results prove little if nothing was rewritten."""
    model, image = seeded(config), picture(64, 64)
    other = with_only(model, name)
    before, after = operators(lambda: model(image)).count, operators(lambda: other(image)).count
    absent = {"fuse_relu": KL, "chunked_attention": TINY, "fuse_attention": TINY}.get(name)
    assert (before == after) == (config is absent)


@BOTH
def test_whole_images_in_float32(config: ModelConfig) -> None:
    model, image = seeded(config), picture(117, 131, batch=2)
    expected, got = model(image), rewritten(model, RewritesConfig())(image)
    assert got.shape == image.shape
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-4)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_is_as_near_as_the_plain_model(config: ModelConfig, dtype: torch.dtype) -> None:
    """On average: of a model this small one picture's error is up to a third more or less by chance."""
    ratios = []
    for seed in range(4):
        model, image = seeded(config, seed=seed), picture(120, 136, seed=seed)
        exact = model(image)
        plain, other = seeded(config, seed=seed).to(dtype), rewritten(model, RewritesConfig()).to(dtype)
        assert other.dtype == dtype
        ratios.append(float((other(image) - exact).norm() / (plain(image) - exact).norm()))
    assert min(ratios) > 0 and sum(ratios) / len(ratios) <= 1.25, ratios


@BOTH
def test_channels_last_is_the_same_function(config: ModelConfig) -> None:
    model, image = seeded(config).double(), picture(120, 136, batch=2).double()
    other = rewritten(model, RewritesConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert worst_difference(model, other, image.contiguous(memory_format=torch.channels_last)) <= EXACT


@BOTH
def test_the_original_stays(config: ModelConfig) -> None:
    model, image = seeded(config), picture(64, 64)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    expected = model(image)
    other = rewritten(model, RewritesConfig())
    other(image)
    other.to(torch.float16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    after = model.state_dict()
    assert list(before) == list(after)
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key]) and after[key].is_contiguous(), key
    assert torch.equal(model(image), expected)


@BOTH
def test_weights_are_shared_where_they_are_unchanged(config: ModelConfig) -> None:
    """What is new is small: the kernels of upsampling convolutions, keys and values, biases."""
    model = seeded(config)
    old = {parameter.data_ptr() for parameter in model.parameters()}
    for names, least in (((), 1.0), (("constant_timestep",), 0.98), (ALL, 0.6)):
        parameters = list(with_only(model, *names).parameters())
        shared = sum(p.numel() for p in parameters if p.data_ptr() in old)
        assert shared >= least * sum(p.numel() for p in parameters), names
        assert not any(parameter.requires_grad for parameter in parameters)


def test_without_rewrites_it_is_the_model() -> None:
    model, image = seeded(TINY), picture(40, 56)
    other = with_only(model)
    assert other is not model and not other.training
    assert torch.equal(other(image), model(image))
    assert asdict(other.config) == asdict(model.config)


def test_the_timestep_is_gone() -> None:
    model, image = seeded(TINY), picture(64, 64)
    other = with_only(model, "constant_timestep")
    names = {name.rsplit(".", 1)[-1] for name, _ in other.named_modules()}
    assert "time_emb_proj" not in names and "time_embedding" not in names
    expected = other(image)
    other.timestep = torch.tensor([3])
    assert torch.equal(other(image), expected)
    at_199 = with_only(seeded(replace(TINY, timestep=199)), "constant_timestep")
    assert not torch.equal(at_199(image), expected)


def test_the_full_size_has_22_blocks_with_a_timestep() -> None:
    with torch.device("meta"):
        model = R3D2(VARIANTS["r3d2"])
    blocks = [module for module in model.unet.modules() if isinstance(module, ResnetBlock2D)]
    assert len(blocks) == 22 and all(block.time_emb_proj is not None for block in blocks)
    other = with_only(model, "constant_timestep")
    blocks = [module for module in other.unet.modules() if isinstance(module, ResnetBlock2D)]
    assert len(blocks) == 22 and all(block.time_emb_proj is None for block in blocks)


@BOTH
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
def test_tracing(config: ModelConfig, memory_format: torch.memory_format) -> None:
    model = rewritten(seeded(config), RewritesConfig()).to(memory_format=memory_format)  # type: ignore[call-overload]
    image, other = (picture(120, 72, seed=seed).contiguous(memory_format=memory_format) for seed in (0, 9))
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated in torch, and warns of shapes taken as constants
        traced = torch.jit.trace(model, image, check_trace=False)
        torch.testing.assert_close(traced(other), model(other), rtol=1e-4, atol=1e-5)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes


@pytest.mark.slow
@pytest.mark.parametrize("config", [VARIANTS["nano"], KL], ids=["nano", "kl"])
def test_compiling(config: ModelConfig) -> None:
    """In one graph, without a way back into Python, and with what is written in place kept apart from its inputs.

    All of torch.compile but the generation of code, which takes minutes.
    """
    model = rewritten(seeded(config), RewritesConfig()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = picture(120, 72, batch=2).contiguous(memory_format=torch.channels_last)
    compiled = torch.compile(model.harmonize_padded, fullgraph=True, dynamic=False, backend="aot_eager")
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler uses parts of torch that are deprecated
        torch.testing.assert_close(compiled(image), model.harmonize_padded(image), rtol=0, atol=1e-4)
