"""8-bit linear layers against the same arithmetic written out in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.checkpoints import empty_model
from r3d2_ros.harmonizer.float8 import FLOAT8, Float8Linear, quantise_linears
from r3d2_ros.harmonizer.rewrites import rewritten
from r3d2_ros.harmonizer.runtime import make_runtime
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig
from r3d2_ros.harmonizer.variants import VARIANTS
from tests.harmonizer.small import TINY, picture, seeded


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
    # The product is rounded to bfloat16: half of 2^-8 of a value, which is at most 4 here.
    torch.testing.assert_close(output, reference(layer, rows), rtol=2**-8, atol=2**-9)
    error = float((output - layer(rows)).norm() / layer(rows).norm())
    assert 5e-3 < error < 6e-2, "3 bits of mantissa are about 3 %"


def test_leading_dimensions_and_dtype_are_kept() -> None:
    layer = linear().half()
    inputs = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(2)).half()
    output = Float8Linear(layer)(inputs)
    assert output.shape == (2, 5, 48) and output.dtype == torch.float16
    torch.testing.assert_close(output[1], Float8Linear(layer)(inputs[1]), rtol=0, atol=0)


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
    """SD-Turbo has 16 transformers: proj_in, q, k, v, out, q, out, two of the feed-forward, proj_out are 10 each.

    At the finest level (5 of them, 320 inputs) only the feed-forward's second has more than 640 inputs.
    """
    unet = empty_model(VARIANTS["r3d2"]).unet
    assert quantise_linears(unet) == 11 * 10 + 5
    exchanged = {name for name, module in unet.named_modules() if isinstance(module, Float8Linear)}
    assert "down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2" in exchanged
    assert "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q" not in exchanged
    assert "mid_block.attentions.0.proj_in" in exchanged
    assert not any("attn2.to_k" in name or "time_emb" in name for name in exchanged)


@pytest.mark.slow
def test_the_network_runs_with_them_in_one_graph() -> None:
    model, images = rewritten(seeded(VARIANTS["nano"]), RewritesConfig()), picture(64, 64)
    with torch.inference_mode():
        exact = model.harmonize_padded(images)
        assert quantise_linears(model.unet, min_inputs=64) > 20
        output = model.harmonize_padded(images)
        compiled = torch.compile(model.harmonize_padded, fullgraph=True, backend="aot_eager")(images.clone())
    torch._dynamo.reset()
    assert not torch.equal(output, exact) and float((output - exact).norm() / exact.norm()) < 0.5
    torch.testing.assert_close(compiled, output, rtol=0, atol=1e-3)


def test_where_it_cannot_run_the_error_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="harmonizer.dtype: .* compute capability 8.9 .* got device cpu. Use float16"):
        make_runtime(seeded(TINY), HarmonizerConfig(dtype="float8"))
