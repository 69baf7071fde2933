"""The network as the pipeline runs it: any number of images of one size, on one device, in one dtype.

images [B,3,H,W] float32
  -> parts of at most `max_batch`      one compiled program and one CUDA graph per shape of a part
  -> padded, in the dtype of the model, NHWC
  -> eager, torch-compile or stable-fast
  -> cropped, float32, in memory of their own
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.checkpoints import load_checkpoint
from r3d2_ros.harmonizer.model import DTYPES, R3D2, check_image, pad_image
from r3d2_ros.harmonizer.numerics import numerics, pin_cublas_workspace
from r3d2_ros.harmonizer.settings import HarmonizerConfig, RuntimeConfig

Network = Callable[[Tensor], Tensor]
"""Padded images in the model's dtype to images of the same shape, in memory that the next call may overwrite."""

Shape = tuple[int, int, int]
"""Images, rows, columns."""


def load_runtime(config: HarmonizerConfig) -> Runtime:
    """The checkpoint of `config`, ready to run.

    InputError(s) for a device that does not work, a dtype that it cannot compute in, or whatever is wrong with the
    checkpoint. MissingPackageError for a kind of runtime that is not installed.
    """
    device = find_device(config.device)
    dtype = _dtype(config)
    model = load_checkpoint(
        config.checkpoint, device=str(device), dtype=dtype, require_commercial=config.require_commercial
    )
    return Runtime(model, config.runtime)


def make_runtime(model: R3D2, config: HarmonizerConfig) -> Runtime:
    """The same for a model in memory, which is copied. `checkpoint` as dtype is the dtype that `model` has."""
    device = find_device(config.device)
    return Runtime(copy.deepcopy(model).eval().to(device=device, dtype=_dtype(config)), config.runtime)


class Runtime:
    """Runs a model over images of any size. Not for two threads at a time."""

    def __init__(self, model: R3D2, config: RuntimeConfig) -> None:
        self.config = config
        self.device = model.prompt_embedding.device
        self.dtype = model.dtype
        if config.kind != "eager":
            raise InputError("harmonizer.runtime.kind", "eager in this version", config.kind)
        if config.deterministic and self.device.type == "cuda":
            pin_cublas_workspace()
        self._padding = model.config.padding
        self._memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        model.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        self._network: Network = model.harmonize_padded

    def __call__(self, images: Tensor) -> Tensor:
        """Harmonize images [B,3,H,W], float32 in [0, 1] on `device`, to the same.

        The result is a new tensor. NaN in it is the caller's to notice: looking would wait for the GPU.
        InputError for images of another kind; torch.OutOfMemoryError passes, and the runtime still works after it.
        """
        self._check(images)
        output = torch.empty_like(images, memory_format=torch.contiguous_format)
        with torch.inference_mode():
            for part, result in zip(self._parts(images), self._parts(output), strict=True):
                self._harmonize(part, result)
        return output

    def warm_up(self, shapes: Iterable[Shape]) -> None:
        """Do for images of these shapes whatever is done once: compile, choose kernels, record graphs.

        A batch beyond `max_batch` stands for the parts it is split into. InputError when the network gives NaN.
        """
        for batch, height, width in sorted(set(shapes), reverse=True):
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(batch, 3, height, width, generator=generator).to(self.device)
            if not bool(self(images).isfinite().all()):
                raise InputError(
                    "harmonizer.dtype",
                    "a dtype whose range the network stays in",
                    f"NaN or infinity from noise of {height} x {width} in {self.dtype}",
                    "Try bfloat16 or float32",
                )

    def _harmonize(self, images: Tensor, result: Tensor) -> None:
        height, width = images.shape[-2:]
        padded = self._padded(images)
        with numerics(self.device, deterministic=self.config.deterministic):
            output = self._network(padded)
        result.copy_(output[..., :height, :width])

    def _padded(self, images: Tensor) -> Tensor:
        """In memory of its own, always: compiled programs are bound to strides and to the kind of tensor."""
        padded = pad_image(images, self._padding)
        buffer = torch.empty(padded.shape, dtype=self.dtype, device=self.device, memory_format=self._memory_format)
        return buffer.copy_(padded)

    def _parts(self, images: Tensor) -> Iterator[Tensor]:
        return iter(images.split(self.config.max_batch))

    def _check(self, images: Tensor) -> None:
        check_image(images)
        if images.dtype != torch.float32 or images.device != self.device:
            expected, got = f"float32 on {self.device}", f"{images.dtype} on {images.device}"
            raise InputError("image", expected, got.replace("torch.", ""))


def find_device(name: str) -> torch.device:
    """The device, with its index. InputError for one that does not work."""
    try:
        return torch.empty(1, device=torch.device(name)).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            "harmonizer.device", "cpu, or a CUDA device that works, such as cuda:0", f"'{name}': {reason}"
        ) from error


def _dtype(config: HarmonizerConfig) -> torch.dtype | None:
    if config.dtype == "float8":
        raise InputError("harmonizer.dtype", "float32, float16 or bfloat16 in this runtime", "float8")
    return None if config.dtype == "checkpoint" else DTYPES[config.dtype]
