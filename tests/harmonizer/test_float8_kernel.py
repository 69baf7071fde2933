"""The Triton kernel of 8-bit convolutions, run by Triton's interpreter on the CPU, and compiled for a GPU."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from r3d2_ros.harmonizer.float8.convolutions import framed_convolution_reference, quantised_images
from r3d2_ros.harmonizer.float8.numbers import quantised

triton = pytest.importorskip("triton", reason="needs triton, which is not installed here")

from r3d2_ros.harmonizer.float8 import kernels_convolution as kernels  # noqa: E402

HOPPER = 90


def operands(batch: int, channels: int, outputs: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(channels + outputs)
    images = torch.randn(batch, channels, *size, generator=generator)
    images *= torch.tensor([1.0, 300.0, 1e-3])[:batch, None, None, None]
    framed, scale = quantised_images(images)
    weight, weight_scale = quantised(torch.randn(outputs, 9 * channels, generator=generator))
    return framed, weight, scale, weight_scale[:, 0], torch.randn(outputs, generator=generator)


def interpreted(tile: triton.Config, *tensors: Tensor) -> Tensor:
    from triton.runtime.interpreter import InterpretedFunction

    images, weight, *rest = tensors
    output = torch.full((*images.shape[:3], weight.shape[0]), torch.nan)
    arguments = kernels.arguments_of(images, weight, output, *rest) | tile.kwargs
    tile.pre_hook(arguments)
    InterpretedFunction(kernels.convolve.fn)[kernels.grid_of(arguments)](**arguments)
    return output


@pytest.mark.parametrize("tile", range(len(kernels.TILES)))
@pytest.mark.parametrize(
    ("batch", "channels", "outputs", "size"),
    [(1, 128, 128, (9, 14)), (3, 64, 72, (5, 7)), (2, 96, 40, (1, 1)), (1, 320, 8, (17, 30))],
)
def test_the_kernel_equals_the_reference(
    tile: int, batch: int, channels: int, outputs: int, size: tuple[int, int]
) -> None:
    """Sizes that no tile divides; images whose values differ by 3e5 in one batch."""
    tensors = operands(batch, channels, outputs, size)
    expected = framed_convolution_reference(*tensors)[:, : size[0], : size[1]]
    output = interpreted(kernels.TILES[tile], *tensors)[:, : size[0], : size[1]]
    for k in range(batch):
        torch.testing.assert_close(output[k], expected[k], rtol=1e-4, atol=1e-5 * float(expected[k].abs().max()))


def test_the_kernel_takes_16_bit_too() -> None:
    """As tests/gpu/kernels.py measures it beside cuDNN's."""
    framed, weight, _, _, bias = operands(1, 64, 72, (5, 7))
    tensors = (framed.half(), weight.half(), torch.ones(1), torch.ones(72), bias)
    expected = framed_convolution_reference(*tensors)
    output = interpreted(kernels.TILES[0], *tensors)
    torch.testing.assert_close(output[:, :5, :7], expected[:, :5, :7], rtol=1e-4, atol=1e-3 * 448)


@pytest.mark.parametrize("tile", range(len(kernels.TILES)))
@pytest.mark.parametrize("step", kernels.STEPS)
def test_it_compiles_for_hopper(tile: int, step: int, tmp_path: Path) -> None:
    """With its matrix units for 8 bits and its memory accelerator, in 227 KiB of shared memory, and with no loop that
    keeps numbers outside of registers."""
    program = compiled_for_hopper(kernels.TILES[tile], step)
    ptx = program.asm["ptx"]
    assert re.search(r"wgmma\.mma_async\S*\.f32\.e4m3\.e4m3", ptx)
    assert "cp.async.bulk.tensor.2d" in ptx
    assert program.metadata.shared <= 227 * 1024
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(program.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    usage = subprocess.run([tool, "--dump-resource-usage", binary], capture_output=True, text=True, check=True).stdout
    assert "STACK:0 " in usage, usage


def compiled_for_hopper(tile: triton.Config, step: int) -> triton.compiler.CompiledKernel:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    rows, outputs = tile.kwargs["TILE_ROWS"], tile.kwargs["TILE_OUTPUTS"]
    signature = {
        "images": f"tensordesc<fp8e4nv[{rows},{step}]>",
        "weight": f"tensordesc<fp8e4nv[{outputs},{step}]>",
        "output": f"tensordesc<fp16[{rows},{outputs}]>",
        "scale": "*fp32", "weight_scale": "*fp32", "bias": "*fp16",
        "ROWS": "i32", "IMAGE_ROWS": "i32", "FRAME_WIDTH": "i32", "CHANNELS": "i32", "OUTPUTS": "i32",
    }  # fmt: skip
    constants = {"STEP": step, **tile.kwargs}
    source = ASTSource(kernels.convolve, {**signature, **dict.fromkeys(constants, "constexpr")}, constants)
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", HOPPER, 32), options=options)
