"""The kernel of the UNet's self-attention: almost half of the work at 1080x1920, and chosen by measurement on a GPU.

PyTorch takes the first kernel of a fixed order that can do the job. On Hopper that is not the fastest one for these
shapes, and which one is depends on the shape and on the versions of cuDNN and PyTorch.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.rewrites.join_projections import JoinedSelfAttention
from r3d2_ros.harmonizer.runtime.attention_packages import (
    PACKAGES,
    installed_packages,
    need_package,
    package_attention,
    package_version,
)
from r3d2_ros.harmonizer.runtime.kernel_cache import read_choices, write_choices
from r3d2_ros.harmonizer.settings import RuntimeConfig

log = logging.getLogger(__name__)

AttentionShape = tuple[int, int, int, int]
"""Images, heads, tokens, numbers per head."""

BACKENDS: dict[str, SDPBackend] = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
"""PyTorch's own; `attention_packages` has more."""

ON_CPU = ("flash", "math")
TO_MEASURE = ("cudnn", "flash", "efficient")
"""`math` forms the matrix of all pairs of tokens, 10 GB at 1080x1920 in 16 bit: taken where nothing else runs."""

FILE = "attention.json"
WARM_UP, REPEATS = 3, 7


class ChosenAttention:
    """Attention of queries, keys and values [B, heads, N, numbers] with the kernel that `kernels` names.

    `kernels` holds an entry for each shape before the first call with it: programs are compiled with what is there.
    """

    def __init__(self, kernels: dict[AttentionShape, str]) -> None:
        self.kernels = kernels

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, heads, tokens, numbers = map(int, query.shape)  # tensors while TorchScript traces
        return attend_by(self.kernels[batch, heads, tokens, numbers], query, key, value)


def attend_by(kernel: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of [B, heads, N, numbers] with one kernel. RuntimeError where PyTorch does not have it for these."""
    if kernel in PACKAGES:
        return package_attention(query, key, value, PACKAGES[kernel])
    with sdpa_kernel([BACKENDS[kernel]]):
        return functional.scaled_dot_product_attention(query, key, value)


class SelfAttention:
    """diffusers' default processor for attention of the tokens to themselves, by `attend`."""

    def __init__(self, attend: ChosenAttention) -> None:
        self.attend = attend

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        query, key, value = (
            project(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        return attn.to_out[0](self.attend(query, key, value).transpose(1, 2).flatten(2))


class AttentionKernels:
    """Chooses a kernel per shape as the configuration says, once per machine."""

    def __init__(self, config: RuntimeConfig, *, device: torch.device, dtype: torch.dtype, folder: Path) -> None:
        """InputError for a kernel that `device` does not have, MissingPackageError for one that cannot be imported."""
        if config.attention in PACKAGES:
            need_package(config.attention)
        if config.attention in PACKAGES and config.kind == "stable-fast":
            expected = f"auto, {', '.join(BACKENDS)} with runtime.kind stable-fast"
            raise InputError("harmonizer.runtime.attention", expected, config.attention)
        if device.type == "cpu" and config.attention not in ("auto", *ON_CPU):
            expected = f"auto, {' or '.join(ON_CPU)} on the CPU"
            raise InputError("harmonizer.runtime.attention", expected, config.attention)
        self.kernels: dict[AttentionShape, str] = {}
        self._config, self._device, self._dtype, self._file = config, device, dtype, folder / FILE
        self._joined = False

    def install(self, unet: nn.Module) -> None:
        """Self-attention of `unet` asks here from now on. On a CPU with `auto` PyTorch has but one and keeps it."""
        if self._device.type == "cpu" and self._config.attention == "auto":
            return
        attend = ChosenAttention(self.kernels)
        for name, module in unet.named_modules():
            if isinstance(module, JoinedSelfAttention):
                module.attend, self._joined = attend, True
            elif isinstance(module, Attention) and name.endswith("attn1"):
                module.set_processor(SelfAttention(attend))

    def choose(self, shapes: Sequence[AttentionShape]) -> None:
        """Fill `kernels` for `shapes`. InputError where the kernel of the configuration cannot do one of them."""
        if self._device.type == "cpu" and self._config.attention == "auto":
            return
        new = [shape for shape in shapes if shape not in self.kernels]
        if self._config.attention != "auto":
            for shape in new:
                self._check(shape, self._config.attention)
                self.kernels[shape] = self._config.attention
        elif self._config.deterministic:
            self.kernels.update({shape: self._first_that_runs(shape) for shape in new})
        else:
            self._choose_fastest(new)

    @contextlib.contextmanager
    def first_choice(self, shape: AttentionShape) -> Iterator[None]:
        """For programs that hold no choice themselves: everything with the kernel of `shape` where it can do it."""
        kernel = self.kernels.get(shape)
        if kernel is None:
            yield
            return
        rest = [backend for name, backend in BACKENDS.items() if name != kernel]
        with sdpa_kernel([BACKENDS[kernel], *rest], set_priority=True):
            yield

    def _choose_fastest(self, shapes: Sequence[AttentionShape]) -> None:
        known, measured = read_choices(self._file), {}
        for shape in shapes:
            key = self._key(shape)
            if not self._can_be_kept(shape, known.get(key)):
                known[key] = measured[key] = self._fastest(shape)
            self.kernels[shape] = known[key]
        if measured:
            write_choices(self._file, measured)

    def _can_be_kept(self, shape: AttentionShape, kernel: str | None) -> bool:
        """A package is tried: one that was installed without a version may be another by now, or need another torch."""
        return kernel in BACKENDS or (kernel in self._packages and self._runs(shape, kernel))

    def _fastest(self, shape: AttentionShape) -> str:
        runs = [kernel for kernel in (*TO_MEASURE, *self._packages) if self._runs(shape, kernel)]
        times_ms = {kernel: self._time_ms(shape, kernel) for kernel in runs}
        log.info("attention of %s in %s: %s ms", shape, self._dtype, times_ms)
        return min(times_ms, key=times_ms.__getitem__) if times_ms else "math"

    @cached_property
    def _packages(self) -> dict[str, str]:
        """Kernels beside PyTorch's and the versions of their packages; stable-fast's traces call PyTorch's alone."""
        kernels = [] if self._config.kind == "stable-fast" else installed_packages()
        return {kernel: package_version(kernel) for kernel in kernels}

    def _first_that_runs(self, shape: AttentionShape) -> str:
        return next((kernel for kernel in TO_MEASURE if self._runs(shape, kernel)), "math")

    def _check(self, shape: AttentionShape, kernel: str) -> None:
        if not self._runs(shape, kernel):
            got = f"{kernel}, which cannot do {shape} (images, heads, tokens, numbers per head) in {self._dtype}"
            raise InputError("harmonizer.runtime.attention", f"a kernel that {self._device} has, or auto", got)

    def _runs(self, shape: AttentionShape, kernel: str) -> bool:
        """Whether there is this kernel for the device, the dtype and the shape. Allocates tensors and runs it."""
        query, key, value = self._tokens(shape)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch gives its reasons as warnings before it raises
                attend_by(kernel, query, key, value)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a package that compiles its kernels has errors of its own
            if kernel not in PACKAGES and not isinstance(error, RuntimeError):
                raise
            log.info("attention kernel %s cannot do %s in %s: %s", kernel, shape, self._dtype, error)
            return False
        return True

    def _time_ms(self, shape: AttentionShape, kernel: str) -> float:
        """Median time on the GPU."""
        query, key, value = self._tokens(shape)
        times_ms = []
        for _ in range(WARM_UP + REPEATS):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            attend_by(kernel, query, key, value)
            end.record()
            end.synchronize()
            times_ms.append(begin.elapsed_time(end))
        return statistics.median(times_ms[WARM_UP:])

    def _tokens(self, shape: AttentionShape) -> tuple[Tensor, ...]:
        """Queries, keys and values: random (zeros run faster than any picture), in the layout of the projections."""
        batch, heads, tokens, numbers = shape
        size = (batch, tokens, 3, heads, numbers) if self._joined else (3, batch, tokens, heads, numbers)
        projected = torch.randn(size, device=self._device, dtype=self._dtype)
        order = (2, 0, 3, 1, 4) if self._joined else (0, 1, 3, 2, 4)
        return projected.permute(order).unbind()

    def _key(self, shape: AttentionShape) -> str:
        device = torch.cuda.get_device_name(self._device)
        versions = f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
        layout = "joined" if self._joined else "apart"
        packages = [f"{kernel} {version}".strip() for kernel, version in self._packages.items()]
        kernels = " ".join((*TO_MEASURE, *packages))  # a package may have come since, or be another one
        return f"{device}, {versions}, {kernels}, {self._dtype}, {layout}, {'x'.join(map(str, shape))}"


def attention_shapes(config: ModelConfig, images: Sequence[int]) -> list[AttentionShape]:
    """Of the UNet's self-attention for padded images of the shape [B,3,H,W], the finest level first."""
    batch, _, height, width = images
    rows, columns = height // config.latent_px, width // config.latent_px
    shapes = []
    for channels, heads in zip(config.unet.block_out_channels, config.unet.attention_heads, strict=True):
        shapes.append((batch, heads, rows * columns, channels // heads))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return shapes
