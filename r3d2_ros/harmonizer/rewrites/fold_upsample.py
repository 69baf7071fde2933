"""Nearest upsampling by 2 and the 3x3 convolution after it as one transposed convolution: 16 of 36 products remain.

An output row 2i + a sees two rows of the smaller image: for a = 0 row i - 1 through the kernel's row r = 0 and row i
through r = 1 and 2; for a = 1 row i through r = 0 and 1 and row i + 1 through r = 2. Columns likewise. These four 2x2
convolutions, one per parity, are a transposed convolution with stride 2 and kernel rows (r2, r1 + r2, r0 + r1, r0),
whose kernels write every pixel where it belongs. On one CPU core in NHWC that is 1.6 to 2.4 times as fast as upsampling
and convolving, and 1.1 to 1.9 times as fast as four convolutions that are interleaved afterwards (16 to 320 channels);
in NCHW it is 0.7 to 2 times as fast as the plain pair.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.rewrites.copies import exact, rounded
from r3d2_ros.harmonizer.rewrites.decoders import Enlarge, SumAfter, stage_decoder

_ROWS = ((0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0))
"""Which rows of the 3x3 kernel make up each row of the transposed one."""


class FoldedUpsample(nn.Module):
    """[B, Cin, h, w] -> [B, C, H, W], H = 2h or 2h - 1, W = 2w or 2w - 1."""

    bias: Tensor | None

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        kernel = exact(convolution.weight)
        rows = torch.tensor(_ROWS, dtype=kernel.dtype, device=kernel.device)
        folded = torch.einsum("kr,lc,oirc->iokl", rows, rows, kernel).contiguous()
        self.weight = rounded(folded, like=convolution.weight)
        self.bias = convolution.bias

    def forward(self, hidden_states: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """`output_size`: (H, W), twice the input's where it is not given, as diffusers' `Upsample2D` takes it."""
        x = hidden_states
        y = _transposed_convolution(x, self.weight, self.bias, stride=2, padding=1)
        if output_size is None:
            return y
        height, width = output_size
        odd_rows, odd_columns = height % 2 == 1, width % 2 == 1
        y = y[..., :height, :width]
        # The last row of an odd number lies beside the padding, not beside a second copy of itself: what the kernel's
        # row r2 took from that copy goes, likewise for columns, and the corner loses what both took only once.
        if odd_rows:
            y[..., -1:, :] -= self._excess(x[..., -1:, :], rows=True)[..., :width]
        if odd_columns:
            y[..., -1:] -= self._excess(x[..., -1:], rows=False)[..., :height, :]
        if odd_rows and odd_columns:
            y[..., -1:, -1:] += _transposed_convolution(x[..., -1:, -1:], self.weight[..., :1, :1])
        return y

    def _excess(self, x: Tensor, *, rows: bool) -> Tensor:
        """What the kernel's r2 makes of the last row [B, Cin, 1, w] or column [B, Cin, h, 1]."""
        if rows:
            return _transposed_convolution(x, self.weight[..., :1, :], stride=(1, 2), padding=(0, 1))
        return _transposed_convolution(x, self.weight[..., :1], stride=(2, 1), padding=(1, 0))


def _transposed_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> Tensor:
    # A CPU's only kernel for float16 sums in float16; that for bfloat16 does so where there is no AVX-512.
    if x.dtype in (torch.float16, torch.bfloat16) and x.device.type == "cpu":
        precise = _transposed_convolution(
            x.float(), weight.float(), None if bias is None else bias.float(), stride=stride, padding=padding
        )
        return precise.to(x.dtype)
    return functional.conv_transpose2d(x, weight, bias, stride=stride, padding=padding)


@torch.no_grad()
def fold_upsampling(model: R3D2) -> None:
    """Fold the upsamplings of the UNet, and those of the decoder whose skip joins after the convolution.

    Where skips join between upsampling and convolution there is nothing to fold: the skip is full of detail.
    """
    for block in model.unet.up_blocks:
        if block.upsamplers is not None:
            block.upsamplers = nn.ModuleList(FoldedUpsample(upsampler.conv) for upsampler in block.upsamplers)
    for stage in stage_decoder(model).stages:
        if isinstance(stage, SumAfter) and isinstance(stage.enlarge, Enlarge):
            stage.enlarge = FoldedUpsample(stage.enlarge.convolution)
