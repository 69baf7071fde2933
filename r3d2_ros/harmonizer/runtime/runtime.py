"""The network as the harmonizer runs it: any number of images of one size, on one device, in one dtype.

images [B,3,H,W] float32
  -> parts of `max_batch`, or fewer    one compiled program and one CUDA graph per shape of a part
  -> padded, in the dtype that the model takes images in, NHWC
  -> eager, torch-compile or stable-fast
  -> cropped, float32, in memory of their own
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.base import ImageModel, Shape
from r3d2_ros.harmonizer.float8 import applied_float8, quantise
from r3d2_ros.harmonizer.model.checkpoints import WEIGHTS_FILE, load_checkpoint
from r3d2_ros.harmonizer.model.r3d2 import DTYPES, R3D2, check_image, pad_image
from r3d2_ros.harmonizer.model.shipped import model_folder
from r3d2_ros.harmonizer.model.tensor_files import check_finite
from r3d2_ros.harmonizer.noise import noise
from r3d2_ros.harmonizer.packages import need_triton
from r3d2_ros.harmonizer.rewrites import rewritten
from r3d2_ros.harmonizer.runtime.attention import AttentionKernels, attention_shapes
from r3d2_ros.harmonizer.runtime.batches import batches_of
from r3d2_ros.harmonizer.runtime.cuda_graphs import CudaGraphs
from r3d2_ros.harmonizer.runtime.device import DATA_CENTRE, find_device
from r3d2_ros.harmonizer.runtime.kernel_cache import cache_folder, compiling_into
from r3d2_ros.harmonizer.runtime.numerics import numerics, pin_cublas_workspace
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RewritesConfig, RuntimeConfig
from r3d2_ros.triton_cache import keep_triton_kernels

log = logging.getLogger(__name__)

OWN_KERNELS = ("fuse_norm", "fuse_attention", "fuse_geglu", "fuse_picture")
"""Rewrites that put a kernel of our own in the place of PyTorch's."""

IN_PLACE = ("merge_skips", "merge_residuals")
"""Rewrites that add to a tensor which is there already."""


def load_runtime(config: HarmonizerConfig) -> Runtime:
    """The checkpoint of `config`, ready to run.

    InputError(s) for a device that does not work, a dtype that it cannot compute in, or whatever is wrong with the
    checkpoint. MissingPackageError for a kind of runtime that is not installed.
    """
    device = find_device(config.device)
    if config.runtime.deterministic:
        pin_cublas_workspace(device)
    folder = model_folder(config.checkpoint, "harmonizer.checkpoint")
    model = load_checkpoint(folder, device=str(device), require_commercial=config.require_commercial)
    return make_runtime(model, config, weights=folder / WEIGHTS_FILE)


def make_runtime(model: R3D2, config: HarmonizerConfig, *, weights: Path | None = None) -> Runtime:
    """The same for a model in memory, which stays as it is. `checkpoint` as dtype is the dtype that `model` has.

    weights  the file that the model was read from, for an error to name what is wrong in it
    """
    device = find_device(config.device)
    if config.runtime.deterministic:
        pin_cublas_workspace(device)  # before the matrix products that form new weights
    if config.dtype == "float8":
        float8 = applied_float8(config.float8, device)
    # Rewritten first: new weights are formed from the checkpoint's numbers and not from rounded ones.
    own = rewritten(model, applied_rewrites(config, device)).to(device=device, dtype=_dtype(config))
    if config.dtype == "float8":
        quantise(own, float8)
    return Runtime(own, config.runtime, weights=weights)


class Runtime:
    """Runs a model over images of any size. Not for two threads at a time."""

    def __init__(self, model: R3D2, config: RuntimeConfig, *, weights: Path | None = None) -> None:
        """`model` becomes the runtime's own. Errors: `load_runtime`'s."""
        self.config = config
        self._weights = weights
        self.device = model.prompt_embedding.device
        self.dtype, self._image_dtype = model.dtype, model.image_dtype
        on_cuda = self.device.type == "cuda"
        self._model_config, self.latent_px = model.config, model.config.latent_px
        self._memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        model.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._cache = cache_folder(config.cache)
        if on_cuda:
            keep_triton_kernels(self._cache)
        self._attention = AttentionKernels(config, device=self.device, dtype=self.dtype, folder=self._cache)
        self._attention.install(model.unet)
        self._network = KINDS[config.kind](model, config, self._attention)
        self._graphs = CudaGraphs() if on_cuda and config.cuda_graph else None
        self._programs: dict[torch.Size, ImageModel] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Harmonize images [B,3,H,W], float32 in [0, 1] on `device`, to the same.

        The result is a new tensor. NaN in it is the caller's to notice: looking would wait for the GPU.
        InputError for images of another kind; torch.OutOfMemoryError passes, and the runtime still works after it.
        """
        self._check(images)
        output = torch.empty_like(images, memory_format=torch.contiguous_format)
        with torch.inference_mode(), _current(self.device):
            for part, result in zip(self._parts(images), self._parts(output), strict=True):
                self._harmonize(part, result)
        return output

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        """Do for images of these shapes whatever is done once: choose kernels, compile, record graphs.

        On a CPU that runs PyTorch as it is there is nothing of the kind, and one of the shapes is run.

        A batch beyond `max_batch` stands for the parts it is split into. InputError when the network gives NaN: of its
        weights where some are not finite, else of the dtype.
        """
        parts = sorted({(part, *size) for batch, *size in shapes for part in self._batches(batch)}, key=math.prod)
        self._check_padding((height, width) for _, height, width in parts)
        if self.device.type == "cpu" and self.config.kind == "eager":
            parts = parts[:1]  # nothing is kept for a shape there: one run tells of the weights and the dtype
        for batch, height, width in reversed(parts):  # the largest sets the memory
            if not bool(self(noise(batch, height, width).to(self.device)).isfinite().all()):
                if self._weights is not None:
                    check_finite(self._weights)
                raise InputError(
                    "harmonizer.dtype",
                    "a dtype whose range the network stays in",
                    f"NaN or infinity from noise of {height} x {width} in {self.dtype}",
                    "Try bfloat16 or float32",
                )

    def _check_padding(self, sizes: Iterable[tuple[int, int]]) -> None:
        """InputError for a size that the checkpoint's rule cannot pad."""
        for height, width in sizes:
            try:
                pad_image(torch.empty(1, 3, height, width, device="meta"), self._model_config.padding)
            except InputError as error:
                hint = "The checkpoint pads by reflection. Crops have the sizes in harmonizer.roi.sizes"
                where = f"harmonizer.checkpoint: images of {height} x {width}"
                raise InputError(where, error.expected, error.got, hint) from error

    def _harmonize(self, images: Tensor, result: Tensor) -> None:
        height, width = images.shape[-2:]
        padded = self._padded(images)
        program = self._programs.get(padded.shape)
        output = self._first(padded) if program is None else program(padded)
        result.copy_(output[..., :height, :width])

    def _first(self, padded: Tensor) -> Tensor:
        """The first call with a shape. The shape counts as known when all of it went well."""
        start = time.perf_counter()
        with numerics(self.device, deterministic=self.config.deterministic):  # the rules that the choice will run under
            self._attention.choose(attention_shapes(self._model_config, padded.shape))
        with compiling_into(self._cache):
            output = self._run(padded)
        program = self._graphs.record(self._run, padded) if self._graphs else self._run
        self._programs[padded.shape] = program
        log.info("%s for %s: %.1f s", self.config.kind, list(padded.shape), time.perf_counter() - start)
        return output

    def _run(self, padded: Tensor) -> Tensor:
        with numerics(self.device, deterministic=self.config.deterministic):
            return self._network(padded)

    def _padded(self, images: Tensor) -> Tensor:
        """In memory of its own, always: compiled programs are bound to strides and to the kind of tensor."""
        padded = pad_image(images, self._model_config.padding)
        dtype, memory_format = self._image_dtype, self._memory_format
        return torch.empty(padded.shape, dtype=dtype, device=self.device, memory_format=memory_format).copy_(padded)

    def _parts(self, images: Tensor) -> Iterable[Tensor]:
        return images.split(self._batches(len(images)))

    def _batches(self, images: int) -> list[int]:
        """How many go in each call. To compile a program takes a minute, to record an eager one seconds."""
        any_number = self.device.type == "cuda" and self.config.kind == "eager"
        return batches_of(images, self.config.max_batch, any_number=any_number)

    def _check(self, images: Tensor) -> None:
        check_image(images)
        if images.dtype != torch.float32 or images.device != self.device:
            expected, got = f"float32 on {self.device}", f"{images.dtype} on {images.device}"
            raise InputError("image", expected, got.replace("torch.", ""))


def _eager(model: R3D2, config: RuntimeConfig, attention: AttentionKernels) -> ImageModel:
    return model.harmonize_padded


def _torch_compile(model: R3D2, config: RuntimeConfig, attention: AttentionKernels) -> ImageModel:
    from r3d2_ros.harmonizer.runtime.compiled import compile_network

    return compile_network(model, config)


def _stable_fast(model: R3D2, config: RuntimeConfig, attention: AttentionKernels) -> ImageModel:
    from r3d2_ros.harmonizer.runtime.stable_fast import stable_fast_network

    return stable_fast_network(model, config, attention)


KINDS: dict[str, Callable[[R3D2, RuntimeConfig, AttentionKernels], ImageModel]] = {
    "eager": _eager,
    "torch-compile": _torch_compile,
    "stable-fast": _stable_fast,
}
"""Each gives a function of padded images in the model's `image_dtype`, whose result the next call may overwrite."""


def _current(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Kernels that Triton launches go to the current device, whatever device their arguments are on."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def applied_rewrites(config: HarmonizerConfig, device: torch.device) -> RewritesConfig:
    """Those of `config` that are of use on `device` with its kind of runtime.

    stable-fast drops every `contiguous()`, and sums that are formed in place would be formed in a copy. It knows no
    kernels of ours, and a CPU has none. The tiles of two are made for the shared memory of Hopper.

    MissingPackageError on CUDA without Triton, which our kernels are written in, unless those are off.
    """
    if config.runtime.kind == "stable-fast":
        return replace(config.rewrites, **dict.fromkeys((*IN_PLACE, *OWN_KERNELS), False))
    if device.type != "cuda":
        return replace(config.rewrites, **dict.fromkeys(OWN_KERNELS, False))
    for name in OWN_KERNELS:
        if getattr(config.rewrites, name):
            need_triton(f"harmonizer.rewrites.{name}")
    if torch.cuda.get_device_capability(device)[0] not in DATA_CENTRE:
        return replace(config.rewrites, fuse_attention=False, fuse_geglu=False)
    return config.rewrites


def _dtype(config: HarmonizerConfig) -> torch.dtype | None:
    """Of everything except 8-bit products; None leaves what is there."""
    if config.dtype == "checkpoint":
        return None
    return torch.float16 if config.dtype == "float8" else DTYPES[config.dtype]
