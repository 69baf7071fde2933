"""Our Triton kernels: their numbers in Triton's interpreter, and what they are compiled to for a GPU."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton", reason="needs triton, which is not installed here")

from r3d2_ros.geometry import Rigid  # noqa: E402
from r3d2_ros.harmonizer.compositing import kernels_composite, kernels_device_region  # noqa: E402
from r3d2_ros.harmonizer.compositing.device_region import find_device_regions  # noqa: E402
from r3d2_ros.harmonizer.compositing.region import ActorBox  # noqa: E402
from r3d2_ros.harmonizer.float8 import attention, kernels_images, kernels_products  # noqa: E402
from r3d2_ros.harmonizer.rewrites import (  # noqa: E402
    kernels_attention,
    kernels_geglu,
    kernels_norm,
    kernels_picture,
)
from r3d2_ros.harmonizer.settings import RegionConfig  # noqa: E402
from r3d2_ros.harmonizer.triton_tiles import product_grid  # noqa: E402
from r3d2_ros.rendering import gsplat_kernels  # noqa: E402
from tests.gpu.surroundings import seen_actors  # noqa: E402

HOPPER = 90
SHARED_BYTES = 227 * 1024
"""Of a multiprocessor of Hopper that one program can have."""

FACTORS = {
    "fp16": r"wgmma\.mma_async\S*\.f32\.f16\.f16",
    "fp8e4nv": r"wgmma\.mma_async\S*\.f32\.e4m3\.e4m3",
}
"""How its matrix units are told to multiply two of these."""

MEASURED_WEIGHTS = dict.fromkeys(("largest", "sums", "scale"), "*fp32")
"""Of the wide attention."""


@pytest.mark.slow
@pytest.mark.parametrize(("part", "least"), [("norm", 20), ("not norm", 120)])
def test_numbers_in_the_interpreter(part: str, least: int) -> None:
    """Everything in interpreted_kernels.py, in two parts, since it takes minutes."""
    file = Path(__file__).with_name("interpreted_kernels.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(file), "-k", part]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    passed = re.search(r"\b(\d+) passed", ended.stdout)
    assert passed is not None and int(passed[1]) >= least and "skipped" not in ended.stdout, ended.stdout


@pytest.mark.parametrize("tile", range(len(kernels_products.TILES)))
@pytest.mark.parametrize(("step", "taps"), [*((step, 9) for step in kernels_products.STEPS), (128, 1)])
def test_the_products_compile_for_hopper(tile: int, step: int, taps: int, tmp_path: Path) -> None:
    """With its matrix units for 8 bits and its memory accelerator, and with all numbers in registers."""
    chosen = kernels_products.TILES[tile]
    rows, outputs = chosen.kwargs["TILE_ROWS"], chosen.kwargs["TILE_OUTPUTS"]
    signature = {
        "inputs": f"tensordesc<fp8e4nv[{rows},{step}]>",
        "weight": f"tensordesc<fp8e4nv[{outputs},{step}]>",
        "output": "*fp16", "added": "*fp16", "scale": "*fp32", "weight_scale": "*fp32", "bias": "*fp16",
        **dict.fromkeys(("ROWS", "IMAGE_ROWS", "FRAME_WIDTH", "CHANNELS", "OUTPUTS"), "i32"),
    }  # fmt: skip
    constants = {"STEP": step, "TAPS": taps, "ADDED": True, **chosen.kwargs}
    options = {"num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
    even = {"output", "added", "bias", "weight_scale", "OUTPUTS"}
    program = compiled(kernels_products.multiply, signature, constants, multiples_of_16=even, **options)
    ptx = program.asm["ptx"]
    assert re.search(r"wgmma\.mma_async\S*\.f32\.e4m3\.e4m3", ptx) and "cp.async.bulk.tensor.2d" in ptx
    assert re.search(r"st\.global\S*\.v4\.b32", ptx) and re.search(r"ld\.global\S*\.v4\.b32", ptx)
    assert_fits(program, tmp_path, stack=AT_ITS_END)


@pytest.mark.parametrize("depth_test", [True, False])
def test_a_moment_with_no_actor_in_view_needs_no_other_kernel(
    depth_test: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One would be compiled in a live frame."""
    variants = []

    def marked(seen: Tensor, *_: Tensor, slope: float, anywhere: bool) -> Tensor:
        variants.append(anywhere)
        return torch.zeros_like(seen)

    monkeypatch.setattr(kernels_device_region, "marked", marked)
    monkeypatch.setattr(kernels_device_region, "feathered", lambda seen, around, feather_px: around.float())
    street = seen_actors(0, (14, 530))
    street.actor_weight[:] = 0
    behind = ActorBox(Rigid.from_xyz_yaw(-10.0, 0.0, 0.0, 0.0), (4.0, 2.0, 1.0))
    for boxes in (street.boxes, (behind,)):
        config = RegionConfig(depth_test=depth_test)
        assert find_device_regions([street.surfaces("cpu")], [street.view], boxes, config) == []
    assert variants == [not depth_test] * 2


@pytest.mark.parametrize("tile", [*kernels_products.TILES, *kernels_geglu.TILES], ids=str)
def test_grids_end_before_cudas(tile: Any) -> None:
    """Of the most images that there may be in a batch, 1080x1920, and with no more programs than there are tiles, but
    for a few."""
    for batch in (1, 3, 64):
        across, *down = product_grid({"ROWS": batch * 1089 * 1921, "OUTPUTS": 256, **tile.kwargs})
        rows = -(-batch * 1089 * 1921 // tile.kwargs["TILE_ROWS"])
        assert across == 256 // tile.kwargs["TILE_OUTPUTS"] and all(part < 2**16 for part in down)
        assert 0 <= down[0] * down[1] - rows < down[1]


def test_the_reference_of_8_bit_attention_has_the_kernels_tiles() -> None:
    assert attention.TILE == kernels_attention.TILE_TOKENS


@pytest.mark.parametrize(("number", "step"), [("fp16", 64), ("fp8e4nv", 128)])
def test_the_wide_attentions_weights_compile_for_hopper(number: str, step: int, tmp_path: Path) -> None:
    """Of two programs on a multiprocessor one multiplies while the other forms its weights."""
    [chosen] = kernels_attention.WEIGH.tiles
    queries, tokens = kernels_attention.TILE_QUERIES, kernels_attention.TILE_TOKENS
    constants = {
        "LOG2_E": kernels_attention.LOG2_E, "LOG2_MOST": 0.0, "SCALED": number != "fp16", "WIDTH": 512, "STEP": step,
        "TILE_QUERIES": queries, "TILE_TOKENS": tokens,
    }  # fmt: skip
    signature = {
        "queries": f"tensordesc<{number}[{queries},{step}]>",
        "tokens": f"tensordesc<{number}[{tokens},{step}]>",
        "weights": f"tensordesc<{number}[{queries},{tokens}]>",
        **MEASURED_WEIGHTS, **dict.fromkeys(("FIRST", "TOKENS", "ROWS"), "i32"),
    }  # fmt: skip
    options = {"num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
    program = compiled(kernels_attention.weigh, signature, constants, **options)
    assert re.search(FACTORS[number], program.asm["ptx"]) and "cp.async.bulk.tensor.2d" in program.asm["ptx"]
    assert_fits(program, tmp_path)
    assert 2 * program.metadata.shared <= SHARED_BYTES


@pytest.mark.parametrize("number", ["fp16", "fp8e4nv"])
@pytest.mark.parametrize("tile", range(len(kernels_attention.ATTEND.tiles)))
def test_the_wide_attention_compiles_for_hopper(tile: int, number: str, tmp_path: Path) -> None:
    chosen = kernels_attention.ATTEND.tiles[tile]
    queries, piece, width = kernels_attention.TILE_QUERIES, chosen.kwargs["PIECE"], chosen.kwargs["TILE_WIDTH"]
    constants = {
        "SCALED": number != "fp16", "TILES_AT_A_TIME": kernels_attention.TILES_AT_A_TIME, "TILE_QUERIES": queries,
        "TILE_TOKENS": kernels_attention.TILE_TOKENS, **chosen.kwargs,
    }  # fmt: skip
    tokens = (piece, width) if number == "fp16" else (width, piece)
    signature = {
        "weights": f"tensordesc<{number}[{queries},{piece}]>",
        "tokens": f"tensordesc<{number}[{tokens[0]},{tokens[1]}]>",
        "output": f"tensordesc<fp16[{queries},{width}]>",
        **MEASURED_WEIGHTS, **dict.fromkeys(("FIRST", "TILES", "ROWS"), "i32"),
    }  # fmt: skip
    options = {"num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
    program = compiled(kernels_attention.attend, signature, constants, **options)
    assert re.search(FACTORS[number], program.asm["ptx"]) and "cp.async.bulk.tensor.2d" in program.asm["ptx"]
    assert_fits(program, tmp_path)


@pytest.mark.parametrize("number", ["fp16", "fp8e4nv"])
@pytest.mark.parametrize("chosen", kernels_geglu.TILES, ids=str)
def test_the_gated_product_compiles_for_hopper(number: str, chosen: Any, tmp_path: Path) -> None:
    rows, outputs = chosen.kwargs["TILE_ROWS"], chosen.kwargs["TILE_OUTPUTS"]
    step = kernels_geglu.STEPS[2 if number == "fp16" else 1][0]
    signature = {
        "inputs": f"tensordesc<{number}[{rows},{step}]>",
        "weight": f"tensordesc<{number}[{outputs},{step}]>",
        "output": f"tensordesc<fp16[{rows},{outputs}]>",
        "bias": "*fp16", "scale": "*fp32", "weight_scale": "*fp32",
        **dict.fromkeys(("ROWS", "INPUTS", "OUTPUTS"), "i32"),
    }  # fmt: skip
    options = {"num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
    constants = {"STEP": step, "SCALED": number != "fp16", **chosen.kwargs}
    program = compiled(kernels_geglu.multiply, signature, constants, **options)
    assert re.search(FACTORS[number], program.asm["ptx"])
    assert "cp.async.bulk.tensor.2d" in program.asm["ptx"]
    assert_fits(program, tmp_path, stack=AT_ITS_END if number != "fp16" else 0)


STRIDES = ("TO", "FROM", "TAP_ROW", "TAP_COLUMN")
"""Of a convolution's weight."""


@pytest.mark.parametrize(("outputs", "warps"), [(64, 4), (128, 8)])
def test_the_first_convolution_compiles_for_hopper(outputs: int, warps: int, tmp_path: Path) -> None:
    """Of TAESD and of AutoencoderKL, from pictures whose channels are last."""
    tensors = dict.fromkeys(("x", "weight", "bias", "output"), "*fp16")
    numbers = dict.fromkeys(("HEIGHT", "WIDTH", "OUTPUTS", "IMAGE", "CHANNEL", "ROW", "PIXEL", *STRIDES), "i32")
    constants = {
        "INPUTS": kernels_picture.INPUTS, "TILE_PIXELS": kernels_picture.TILE_PIXELS, "TILE_OUTPUTS": outputs,
    }  # fmt: skip
    even = {*tensors, "OUTPUTS"}
    program = compiled(
        kernels_picture.convolve, {**tensors, **numbers}, constants, multiples_of_16=even, num_warps=warps
    )
    assert re.search(r"st\.global\S*\.v4\.b32", program.asm["ptx"]) and "mma" in program.asm["ptx"]
    assert_fits(program, tmp_path)


@pytest.mark.parametrize(("channels", "stages"), [(64, 3), (128, 2)])
def test_the_last_convolution_compiles_for_hopper(channels: int, stages: int, tmp_path: Path) -> None:
    """Of TAESD and of AutoencoderKL; rows are on their way before they are needed."""
    tensors = dict.fromkeys(("x", "weight", "bias", "output"), "*fp16")
    numbers = dict.fromkeys(("HEIGHT", "WIDTH", "IMAGE", "ROW", "PIXEL", *STRIDES), "i32")
    constants = {
        "CHANNELS": channels, "STRIP": kernels_picture.STRIP, "STRIP_ROWS": kernels_picture.STRIP_ROWS,
        "BLOCK": kernels_picture.BLOCK, "PLACES": kernels_picture.BLOCK * kernels_picture.BLOCKS,
    }  # fmt: skip
    even = {*tensors, "IMAGE", "ROW", "PIXEL"}
    program = compiled(
        kernels_picture.convolve_to_picture, {**tensors, **numbers}, constants, multiples_of_16=even, num_warps=8,
        num_stages=stages,
    )  # fmt: skip
    assert "wgmma.mma_async" in program.asm["ptx"] and "cp.async.cg.shared.global" in program.asm["ptx"]
    assert_fits(program, tmp_path)


NUMBERS = (
    "PIXELS", "WIDTH", "CHANNELS", "PER_PART", "PER_GROUP", "PARTS", "GROUPS", "FRAME_PIXELS", "FRAME_WIDTH",
    "IMAGE", "ROW", "PIXEL",
)  # fmt: skip
TILE = {"TILE_ROWS": kernels_norm.TILE_ROWS, "TILE_CHANNELS": kernels_norm.TILE_CHANNELS}
MEASURED = dict.fromkeys(("means", "squares", "smallest", "largest"), "*fp32")
AFFINE = dict.fromkeys(("gains", "shifts"), "*fp32")
MOMENTS = {"TILE_ROWS": kernels_norm.MOMENT_ROWS, "TILE_CHANNELS": kernels_norm.TILE_CHANNELS}
NORMS: dict[str, tuple[Any, dict[str, str], dict[str, Any]]] = {
    "moments": (kernels_norm.channel_moments, {"x": "*fp16", **MEASURED}, {**MOMENTS, "DENSE": True}),
    "moments of a view": (kernels_norm.channel_moments, {"x": "*fp16", **MEASURED}, {**MOMENTS, "DENSE": False}),
    "join": (
        kernels_norm.join_moments,
        {**MEASURED, **AFFINE, **dict.fromkeys(("before", "weight", "bias"), "*fp16"), "group_largest": "*fp32",
         "EPS": "fp32"},
        {"BEFORE": True, "TILE_PARTS": kernels_norm.JOINED_NUMBERS // 128, "TILE_CHANNELS": 128},
    ),
    "normalise": (kernels_norm.normalise_tile, {"x": "*fp16", "output": "*fp16", **AFFINE}, {**TILE, "SILU": True}),
    "quantise": (
        kernels_images.quantise_tile,
        {"x": "*fp16", "output": "*fp8e4nv", "scales": "*fp32", "largest": "*fp32", **AFFINE},
        {
            "TILE_ROWS": kernels_images.TILE_ROWS, "TILE_CHANNELS": kernels_images.TILE_CHANNELS, "TILE_GROUPS": 32,
            "LARGEST": 448.0, "SILU_DEPTH": 0.28, "TINY": kernels_images.TINY,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NORMS)
def test_the_norms_compile_for_hopper(name: str, tmp_path: Path) -> None:
    """With 16 bytes at a time: pointers, strides and channels of real networks are multiples of 16."""
    kernel, tensors, constants = NORMS[name]
    numbers = {key: "i32" for key in NUMBERS if key in kernel.arg_names}
    even = {*tensors, "IMAGE", "ROW", "PIXEL", "CHANNELS"} - {"EPS"}
    warps = {"moments": 1, "moments of a view": 1, "join": kernels_norm.JOINING_WARPS}.get(name, 4)
    program = compiled(kernel, {**tensors, **numbers}, constants, multiples_of_16=even, num_warps=warps)
    if name != "join":
        assert re.search(r"ld\.global\S*\.v4\.b32", program.asm["ptx"])
    if name == "quantise":
        assert "cvt.rn.satfinite.e4m3x2.f32" in program.asm["ptx"]  # to the nearest, NaN stays NaN
        assert re.search(r"st\.global\S*\.v[24]\.b32", program.asm["ptx"])
    assert_fits(program, tmp_path)


COUNTS = dict.fromkeys(("HEIGHT", "WIDTH"), "i32")
IMAGES: dict[str, tuple[Any, dict[str, str], dict[str, Any]]] = {
    "bound": (
        kernels_device_region.bound,
        {"seen": "*u8", "windows": "*i32", "bounds": "*i32", **COUNTS},
        {"PARTS": kernels_device_region.PARTS, "TILE": kernels_device_region.TILE},
    ),
    "mark": (
        kernels_device_region.mark,
        {"around": "*u8", "depth": "*fp32", "bounds": "*i32", "margins": "*fp64", "footprints": "*i32",
         "planes": "*fp32", "starts": "*i32", "SLOPE": "fp32", **COUNTS},
        {"ANYWHERE": False, "TILE": kernels_device_region.TILE},
    ),
    "look along": (
        kernels_device_region.look_along,
        {"values": "*u8", "output": "*u8", **COUNTS, "REACH": "i32"},
        {"WHAT": kernels_device_region.NEAREST_OF_LINES.value, "ALONG_ROWS": True, "TILE": kernels_device_region.TILE},
    ),
    "mix": (
        kernels_composite.mix,
        {"render": "*u8", "harmonized": "*fp32", "mask": "*fp32", "picture": "*u8", "bad": "*i32",
         "PIXELS_IN_ALL": "i32"},
        {"MASKED": True, "PIXELS": kernels_composite.PIXELS},
    ),
    "add inside": (
        kernels_composite.add_inside,
        {**dict.fromkeys(("image", "residual", "output"), "*fp32"), **COUNTS,
         **dict.fromkeys(("TOP", "LEFT", "FRAME_HEIGHT", "FRAME_WIDTH"), "i32"), "MARGIN": "fp32"},
        {"PIXELS": kernels_composite.PIXELS},
    ),
    "finish": (
        gsplat_kernels.finish,
        {**dict.fromkeys(("render", "alphas", "texture", "ray_maps", "colour", "rgb", "depth", "weight"), "*fp32"),
         "rgb8": "*u8", **COUNTS, "ROWS": "i32", "COLUMNS": "i32", "LEAST_ALPHA": "fp32"},
        {"TEXTURED": True, "PIXELS": gsplat_kernels.PIXELS},
    ),
}  # fmt: skip
"""What is done with images: kernel, arguments, constants."""


@pytest.mark.parametrize("name", IMAGES)
def test_the_kernels_for_images_compile_for_hopper(name: str, tmp_path: Path) -> None:
    kernel, signature, constants = IMAGES[name]
    assert_fits(compiled(kernel, signature, constants, num_warps=4), tmp_path)


def compiled(
    kernel: Any,
    signature: dict[str, str],
    constants: dict[str, Any],
    *,
    multiples_of_16: Collection[str] = (),
    **options: int,
) -> Any:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {**signature, **dict.fromkeys(constants, "constexpr")}
    even = {(k,): [["tt.divisibility", 16]] for k, name in enumerate(kernel.arg_names) if name in multiples_of_16}
    source = ASTSource(kernel, {name: types[name] for name in kernel.arg_names}, constants, even)
    return triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options=options)


AT_ITS_END = 56
"""Bytes that a program may put away once, when all its sums are formed and it scales, adds and stores them."""


def assert_fits(program: Any, folder: Path, *, stack: int = 0) -> None:
    """All numbers, but for `stack` bytes, stay in registers, and shared memory is enough."""
    assert program.metadata.shared <= SHARED_BYTES
    binary = folder / "kernel.cubin"
    binary.write_bytes(program.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "--dump-resource-usage", binary], capture_output=True, text=True, check=True).stdout
    found = re.search(r"STACK:(\d+) ", usage)
    assert found is not None and int(found[1]) <= stack, usage
