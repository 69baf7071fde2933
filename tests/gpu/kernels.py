"""How fast the network's operations are one by one, in the shapes that it has at 1080x1920.

A row has the time of one call, TFLOP/s, how many layers of a variant have the shape, and for several forms of one
operation the time of each. A form that the device or this PyTorch does not have is a row with a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from r3d2_ros.harmonizer.float8.attention import attended_in_8_bit
from r3d2_ros.harmonizer.float8.convolutions import (
    CHANNELS_MULTIPLE,
    OUTPUTS_MULTIPLE,
    Float8NormConv2d,
    framed_convolution,
    quantised_images,
)
from r3d2_ros.harmonizer.float8.linears import INPUTS_MULTIPLE, Float8GEGLU, product
from r3d2_ros.harmonizer.float8.linears import OUTPUTS_MULTIPLE as OUTPUTS_8_BIT
from r3d2_ros.harmonizer.float8.numbers import quantised
from r3d2_ros.harmonizer.model.variants import variant
from r3d2_ros.harmonizer.rewrites.fold_upsample import FoldedUpsample
from r3d2_ros.harmonizer.rewrites.fuse_attention import attended_at_once
from r3d2_ros.harmonizer.rewrites.fuse_geglu import gated, geglu
from r3d2_ros.harmonizer.rewrites.fuse_norm import FusedGroupNorm
from r3d2_ros.harmonizer.rewrites.fuse_picture import PICTURE_CHANNELS, convolved_picture
from r3d2_ros.harmonizer.runtime.attention import attend_by
from r3d2_ros.harmonizer.runtime.attention_packages import installed_packages
from tests.gpu.report import OutOfTimeError, Part, first_line
from tests.gpu.setting import Setting
from tests.gpu.shapes import Attention, Layers, layers_of

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
BATCHES = (1, 2, 6)
SHORT_TOKENS = 1000
"""Attention over fewer tokens takes no time worth a row."""

UPSAMPLES = (
    (640, 640, 135, 240), (1280, 1280, 68, 120), (1280, 1280, 34, 60),
    (64, 64, 270, 480), (64, 64, 540, 960), (64, 64, 1080, 1920),
    (512, 512, 270, 480), (512, 512, 540, 960), (256, 256, 1080, 1920),
)  # fmt: skip
"""Channels in and out, and output size, of nearest upsampling and the convolution behind it: UNet, TAESD, KL."""

NORMS = ((128, 1080, 1920), (320, 135, 240), (640, 68, 120))

LEAST_S = 5.0
"""With less time than this left no row is begun."""

Forms = dict[str, Callable[[], object]]


def measure_attention(setting: Setting, part: Part) -> None:
    """Self-attention of the UNet per kernel, dtype and batch; and the wide attention of AutoencoderKL."""
    found: dict[Attention, int] = {}
    for name in ("r3d2", "r3d2-big"):
        found |= _layers(setting, name).attentions
    for shape in sorted(found, reverse=True):
        if shape.queries != shape.keys or (shape.queries < SHORT_TOKENS and not setting.rehearsal):
            continue
        for dtype in (torch.float16, torch.bfloat16):
            for batch in BATCHES if shape.head_dim <= 128 else (1,):
                key = f"{shape.name}, batch {batch}, {_name(dtype)}"
                _row(setting, part, key, partial(_attention_forms, setting, shape, dtype, batch),
                     flop=batch * shape.flop, layers=found[shape])  # fmt: skip


def _attention_forms(setting: Setting, shape: Attention, dtype: torch.dtype, batch: int) -> Forms:
    size = (batch, shape.heads, shape.queries, shape.head_dim)
    query, key, value = (_random(setting, size, dtype) for _ in range(3))

    def with_backend(backend: SDPBackend) -> Callable[[], object]:
        def attend() -> Tensor:
            with sdpa_kernel(backend):
                return functional.scaled_dot_product_attention(query, key, value)

        return attend

    forms = {name: with_backend(backend) for name, backend in BACKENDS.items()}
    for name in installed_packages():
        forms[name] = partial(attend_by, name, query, key, value)
    if shape.head_dim > 256:
        forms["chunked"] = lambda: _chunked(query, key, value)
        forms["one kernel"] = lambda: attended_at_once(query[:, 0], key[:, 0])  # values are the keys
        forms["8 bit, with rounding"] = lambda: attended_in_8_bit(query[:, 0], key[:, 0])
    return forms


def _chunked(query: Tensor, key: Tensor, value: Tensor, parts: int = 16) -> Tensor:
    """Two matrix products and a softmax over parts of the queries."""
    scale, out = query.shape[-1] ** -0.5, []
    for queries in query.flatten(0, 1).split(-(-query.shape[-2] // parts), dim=1):
        scores = torch.bmm(queries * scale, key.flatten(0, 1).transpose(1, 2))
        out.append(torch.bmm(torch.softmax(scores.float(), -1).to(value.dtype), value.flatten(0, 1)))
    return torch.cat(out, 1)


def measure_convolutions(setting: Setting, part: Part) -> None:
    """Every shape of convolution, NHWC, with the ReLU forms of 64 channels; then upsampling folded and not."""
    layers = {name: _layers(setting, name).convs for name in ("r3d2", "r3d2-big")}
    for shape in sorted(set(layers["r3d2"]) | set(layers["r3d2-big"]), key=lambda s: -s.flop):
        counts = {name: convs[shape] for name, convs in layers.items()}
        _row(setting, part, shape.name, partial(_conv_forms, setting, shape), flop=shape.flop, layers=counts)
    for inputs, outputs, height, width in UPSAMPLES:
        rows, columns = setting.size(height, width)
        key = f"upsample {inputs} -> {outputs} @{rows}x{columns}"
        flop = 2 * 9 * inputs * outputs * rows * columns
        _row(setting, part, key, partial(_upsample_forms, setting, inputs, outputs, (rows, columns)),
             flop=flop, layers=None)  # fmt: skip


def _conv_forms(setting: Setting, shape: Any) -> Forms:
    padding = shape.kernel // 2
    height, width = shape.height * shape.stride, shape.width * shape.stride
    image = _random(setting, (1, shape.inputs, height, width), _half(setting), channels_last=True)
    weight = _random(
        setting, (shape.outputs, shape.inputs, shape.kernel, shape.kernel), _half(setting), channels_last=True
    )
    bias = _random(setting, (shape.outputs,), _half(setting))
    forms: Forms = {"conv2d": lambda: functional.conv2d(image, weight, bias, stride=shape.stride, padding=padding)}
    if (shape.inputs, shape.outputs, shape.kernel, shape.stride) == (64, 64, 3, 1):
        one = (1, 1)
        forms["conv2d, add, relu"] = lambda: functional.relu(functional.conv2d(image, weight, bias, padding=1) + image)
        forms["cudnn relu"] = lambda: torch.cudnn_convolution_relu(image, weight, bias, one, one, one, 1)
        forms["cudnn add relu"] = lambda: torch.cudnn_convolution_add_relu(
            image, weight, image, 1.0, bias, one, one, one, 1
        )
    if (shape.inputs, shape.kernel, shape.stride) == (PICTURE_CHANNELS, 3, 1):
        forms["in one kernel"] = lambda: convolved_picture(image, weight, bias)
    fits = shape.inputs % CHANNELS_MULTIPLE == shape.outputs % OUTPUTS_MULTIPLE == 0
    if (shape.kernel, shape.stride) == (3, 1) and fits:
        forms |= _framed_forms(setting, image, weight, bias)
    return forms


def _framed_forms(setting: Setting, image: Tensor, weight: Tensor, bias: Tensor) -> Forms:
    """Our own kernel on framed images in 8 bit and in 16 bit; and with norm, SiLU and rounding before it, beside
    PyTorch's norm and convolution."""
    channels = image.shape[1]
    norm = nn.GroupNorm(min(32, channels), channels).to(setting.device, _half(setting)).requires_grad_(False)
    fused = FusedGroupNorm(norm, silu=True)
    framed, scale = quantised_images(image, *fused.affine(image))
    rows, weight_scale = quantised(weight.permute(0, 2, 3, 1).flatten(1))
    ones = torch.ones_like(scale), torch.ones_like(weight_scale[:, 0])
    framed16, rows16 = framed.to(bias.dtype), rows.to(bias.dtype)
    layer = nn.Conv2d(channels, weight.shape[0], 3, padding=1, device=setting.device, dtype=_half(setting))
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    eight_bit = Float8NormConv2d(fused, layer.requires_grad_(False))
    return {
        "framed float8": lambda: framed_convolution(framed, rows, scale, weight_scale[:, 0], bias, None),
        "framed 16 bit": lambda: framed_convolution(framed16, rows16, *ones, bias, None),
        "norm, silu, framed float8": lambda: eight_bit(image),
        "norm, silu, conv2d": lambda: functional.conv2d(fused(image), weight, bias, padding=1),
    }


def _upsample_forms(setting: Setting, inputs: int, outputs: int, size: tuple[int, int]) -> Forms:
    low = (-(-size[0] // 2), -(-size[1] // 2))
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1).to(  # type: ignore[call-overload]
        device=setting.device, dtype=_half(setting), memory_format=torch.channels_last
    )
    folded = FoldedUpsample(convolution).to(  # type: ignore[call-overload]
        device=setting.device, memory_format=torch.channels_last
    )
    image = _random(setting, (1, inputs, *low), _half(setting), channels_last=True)
    return {
        "upsample, conv2d": lambda: convolution(functional.interpolate(image, size=size, mode="nearest")),
        "folded": lambda: folded(image, size),
    }


def measure_products(setting: Setting, part: Part) -> None:
    """Every shape of linear layer in 16 and in 8 bit."""
    layers = {name: _layers(setting, name).gemms for name in ("r3d2", "r3d2-big")}
    for shape in sorted(set(layers["r3d2"]) | set(layers["r3d2-big"]), key=lambda s: -s.flop):
        counts = {name: gemms[shape] for name, gemms in layers.items()}
        _row(setting, part, shape.name, partial(_product_forms, setting, shape), flop=shape.flop, layers=counts)


def _product_forms(setting: Setting, shape: Any) -> Forms:
    rows = _random(setting, (shape.rows, shape.inputs), _half(setting))
    weight = _random(setting, (shape.outputs, shape.inputs), _half(setting))
    forms: Forms = {"linear": lambda: functional.linear(rows, weight)}
    fits = shape.inputs % INPUTS_MULTIPLE == shape.outputs % OUTPUTS_8_BIT == 0
    bias = _random(setting, (shape.outputs,), _half(setting))
    if fits:
        forms |= _products_8_bit(rows, weight, bias)
    if shape.outputs == 8 * shape.inputs:  # the feed-forward's first
        forms["linear, gated"] = lambda: gated(functional.linear(rows, weight, bias))
        forms["gated in one kernel"] = lambda: geglu(rows, weight, bias)
    if shape.outputs == 8 * shape.inputs and fits:
        layer = nn.Linear(shape.inputs, shape.outputs, device=setting.device, dtype=_half(setting))
        eight_bit = Float8GEGLU(layer.requires_grad_(False))
        forms["8 bit, gated, with rounding"] = lambda: eight_bit(rows)
    return forms


def _products_8_bit(rows: Tensor, weight: Tensor, bias: Tensor) -> Forms:
    """PyTorch's with one scale for all and with a scale for each row, and ours, which takes a scale for each row."""
    (rows8, scale), (weight8, weight_scale) = quantised(rows), quantised(weight)
    one = torch.ones((), device=rows.device)
    dtype = rows.dtype
    return {
        "scaled_mm": lambda: torch._scaled_mm(rows8, weight8.t(), scale_a=one, scale_b=one, out_dtype=dtype),
        "scaled_mm by row": lambda: torch._scaled_mm(
            rows8, weight8.t(), scale_a=scale, scale_b=weight_scale.t(), out_dtype=torch.bfloat16
        ),
        "ours by row": lambda: product(rows8, weight8, scale[:, 0], weight_scale[:, 0], bias),
    }


def measure_norms(setting: Setting, part: Part) -> None:
    """GroupNorm and SiLU: PyTorch's, one after the other and compiled together, and ours, alone and compiled."""
    for channels, height, width in NORMS:
        rows, columns = setting.size(height, width)
        key = f"{channels} channels @{rows}x{columns}"
        _row(setting, part, key, partial(_norm_forms, setting, channels, (rows, columns)),
             flop=None, layers=None)  # fmt: skip


def _norm_forms(setting: Setting, channels: int, size: tuple[int, int]) -> Forms:
    image = _random(setting, (1, channels, *size), _half(setting), channels_last=True)
    gain, shift = (_random(setting, (channels,), _half(setting)) for _ in range(2))

    def norm(x: Tensor) -> Tensor:
        return functional.silu(functional.group_norm(x, 32, gain, shift))

    fused = FusedGroupNorm(nn.GroupNorm(32, channels).to(setting.device, _half(setting)), silu=True)
    forms: Forms = {"eager": lambda: norm(image), "fused": lambda: fused(image)}
    if not setting.rehearsal:  # a CPU compiles it for half a minute
        compiled, compiled_fused = (torch.compile(form, dynamic=False, fullgraph=True) for form in (norm, fused))
        forms |= {"compiled": lambda: compiled(image), "fused, compiled": lambda: compiled_fused(image)}
    return forms


def _row(
    setting: Setting, part: Part, key: str, make: Callable[[], Forms], *, flop: int | None, layers: Any
) -> None:
    """Time every form, unless the row is there already. OutOfTimeError when no time is left."""
    if part.has(key):
        return
    if setting.seconds_left < LEAST_S:
        raise OutOfTimeError(f"no time for '{key}'")
    forms: dict[str, Any] = {}
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
            made = make()
            for name, work in made.items():
                forms[name] = _timed(setting, work, flop)
            del made
    except Exception as error:
        part.put(key, {"fault": first_line(error)})
        return
    finally:
        if setting.device.type == "cuda":
            torch.compiler.reset()  # programs of one function count together, and after 8 it runs uncompiled
            torch.cuda.empty_cache()
    part.put(key, {"layers": layers, "forms": forms})


def _timed(setting: Setting, work: Callable[[], object], flop: int | None) -> dict[str, Any]:
    try:
        ms = setting.median_ms(work)
    except Exception as error:
        return {"not_possible": first_line(error)}
    return {"ms": ms, "tflop_per_s": None if flop is None else flop / ms / 1e9}


def _layers(setting: Setting, name: str) -> Layers:
    return layers_of(variant(setting.variant(name)), setting.size(1080, 1920))


def _random(
    setting: Setting, size: Iterable[int], dtype: torch.dtype, *, channels_last: bool = False
) -> Tensor:
    values = torch.randn(tuple(size), device=setting.device).to(dtype)
    return values.contiguous(memory_format=torch.channels_last) if channels_last else values


def _half(setting: Setting) -> torch.dtype:
    return torch.bfloat16 if setting.rehearsal else torch.float16


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
