"""What the device can do at most, and which of PyTorch's parts work on it: the first numbers of any report."""

from __future__ import annotations

from typing import Any

import torch

from tests.gpu.report import Part, first_line
from tests.gpu.setting import Setting


def measure_ceilings(setting: Setting, part: Part) -> None:
    """Bandwidth of a copy, matrix products on random data, JPEG on the GPU, order of the attention kernels."""
    part.put("copy", copy_bandwidth(setting))
    for dtype in (torch.float16, torch.bfloat16):
        part.put(f"matmul {dtype}".replace("torch.", ""), matmul_rate(setting, dtype))
    part.put("matmul float8", _or_reason(lambda: float8_rate(setting)))
    part.put("jpeg", _or_reason(lambda: jpeg_on_device(setting)))
    part.put("attention order", _or_reason(attention_order))


def copy_bandwidth(setting: Setting) -> dict[str, Any]:
    """Bytes read and written by a device-to-device copy, per second."""
    count = setting.scaled(2**32, 2**22)
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=setting.device)
    target = torch.empty_like(source)
    ms = setting.median_ms(lambda: target.copy_(source))
    return {"bytes": count, "ms": ms, "tb_per_s": 2 * count / ms / 1e9}


def matmul_rate(setting: Setting, dtype: torch.dtype) -> dict[str, Any]:
    """Of a square product of random numbers."""
    n = setting.scaled(8192, 128)
    a, b = (torch.randn(n, n, device=setting.device).to(dtype) for _ in range(2))
    ms = setting.median_ms(lambda: a @ b)
    return {"n": n, "ms": ms, "tflop_per_s": 2 * n**3 / ms / 1e9}


def float8_rate(setting: Setting) -> dict[str, Any]:
    n = setting.scaled(8192, 128)
    a, b = (torch.randn(n, n, device=setting.device).to(torch.float8_e4m3fn) for _ in range(2))
    scale = torch.ones((), device=setting.device)
    transposed = b.t()

    def product() -> object:
        return torch._scaled_mm(a, transposed, scale_a=scale, scale_b=scale, out_dtype=torch.float16)

    ms = setting.median_ms(product)
    return {"n": n, "ms": ms, "tflop_per_s": 2 * n**3 / ms / 1e9}


def jpeg_on_device(setting: Setting) -> dict[str, Any]:
    """torchvision's encoder, which uses nvJPEG for a tensor on a GPU."""
    from torchvision.io import encode_jpeg

    height, width = setting.size(1080, 1920)
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8, device=setting.device)
    ms = setting.median_ms(lambda: encode_jpeg(image, quality=90))
    return {"size": [height, width], "ms": ms}


def attention_order() -> dict[str, Any]:
    """Which kernel scaled_dot_product_attention tries first, by PyTorch's numbers."""
    from torch.nn.attention import SDPBackend

    names = {value.value: name for name, value in SDPBackend.__members__.items()}
    return {"order": [names.get(int(number), str(number)) for number in torch._C._get_sdp_priority_order()]}


def _or_reason(measure: Any) -> dict[str, Any]:
    try:
        return measure()
    except Exception as error:
        return {"not_possible": first_line(error)}
