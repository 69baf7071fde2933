"""PyTorch's switches while the network runs, in whichever of its two ways somebody else has set them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from r3d2_ros.harmonizer.rewrites import fuse_relu
from r3d2_ros.harmonizer.runtime.numerics import numerics

CUDA = torch.device("cuda:0")
"""Switches can be set where there is no GPU."""

SETTINGS = {
    "as PyTorch starts": "",
    "older, by precision": "torch.set_float32_matmul_precision('high')",
    "older, by flags": "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True",
    "older, without": "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
    "newer, for everything": "torch.backends.fp32_precision = 'tf32'",
    "newer, one by one": "products.fp32_precision = convolutions.fp32_precision = 'tf32'",
}

PROGRAM = """
import torch
from r3d2_ros.harmonizer.runtime.numerics import numerics

products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv

def reading(read):
    try:
        return read()
    except RuntimeError:
        return "refused: the two ways disagree"

def state():
    old = reading(torch.get_float32_matmul_precision), reading(lambda: products.allow_tf32)
    old = *old, reading(lambda: torch.backends.cudnn.allow_tf32)
    return old, products.fp32_precision, convolutions.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision

{setting}
before = state()
with numerics(torch.device("cuda:0"), deterministic=False):
    older, *newer, _ = state()
    assert (older, newer) == (("highest", False, False), ["ieee", "ieee"]), state()
    assert torch.backends.cudnn.benchmark
assert state() == before, (before, state())
"""


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_float32_is_float32_and_afterwards_all_is_as_it_was(setting: str) -> None:
    """In a process of its own: the switches belong to the process."""
    program = PROGRAM.format(setting=setting)
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_deterministic_leaves_no_kernel_of_unknown_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN's fused convolutions heed no switch, so they are not taken."""

    class OnGpu:
        is_cuda, dtype = True, torch.float16

    monkeypatch.setattr(torch.version, "hip", None)
    assert fuse_relu.uses_cudnn(OnGpu())  # type: ignore[arg-type]
    with numerics(CUDA, deterministic=True):
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert not fuse_relu.uses_cudnn(OnGpu())  # type: ignore[arg-type]
    assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic
