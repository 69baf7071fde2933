"""How a pipeline is called with one image alone, and what it gives back, as tensors.

What users do is `pipe(image).images[0]` with PIL images, which have 8 bits. A pipeline that also takes a tensor, or
also gives one, is used that way where it gives the same picture.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.pipelines.code import CodeError, reported
from r3d2_ros.harmonizer.pipelines.lost_nan import watch_casts

ROUNDED = 1.6 / 255
"""Two ways to call agree when they differ by less: one rounds to 8 bits where the other truncates."""

Run = Callable[..., Any]
InputKind = Literal["tensor", "pil"]
OutputKind = Literal["pt", "np", "default"]
KINDS: tuple[InputKind, ...] = ("pil", "tensor")


@dataclass(frozen=True)
class CallForm:
    """`eight_bit`: the image goes in, or comes out, as 8-bit PIL."""

    image: InputKind
    output: OutputKind
    eight_bit: bool


@dataclass(frozen=True)
class Signature:
    """What `__call__` takes: the keyword of its image, None for its first argument; and whether `output_type`."""

    keyword: str | None
    has_output_type: bool


def read_signature(run: Run, *, where: str) -> Signature:
    """InputError when a pipeline cannot be called with an image alone."""
    parameters = [p for p in inspect.signature(run).parameters.values() if p.kind is not p.VAR_KEYWORD]
    names = [p.name for p in parameters]
    keyword = "image" if "image" in names else None
    required = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    more = [name for name in required if name != (keyword or names[0])]
    if not names or more:
        got = f"one that also needs {', '.join(more)}" if more else "one without arguments"
        raise InputError(where, "a pipeline that is called with an image alone", got)
    return Signature(keyword, "output_type" in names)


def choose_form(run: Run, signature: Signature, image: Tensor, *, where: str) -> CallForm:
    """The most exact form that gives the picture of `pipe(PIL image).images[0]`.

    image  [3, H, W] in [0, 1]; it is rounded to 8 bits here, so that each form sees the same
    InputError when the pipeline takes neither kind of image, or gives NaN.
    """
    exact = (image * 255).round() / 255
    plain, reference = _plain_form(run, signature, exact, where)
    _check_finite(reference, where)
    outputs: list[OutputKind] = ["pt", "np", "default"] if signature.has_output_type else ["default"]
    for kind in KINDS[::-1]:
        for output in outputs:
            form = CallForm(kind, output, kind == "pil")
            try:
                got, eight_bit = call(run, signature, exact, form, where=where)
            except InputError:  # an image of a kind that it does not take
                continue
            _check_finite(got, where)
            if got.shape == reference.shape and float((got - reference).abs().max()) <= ROUNDED:
                return replace(form, eight_bit=form.eight_bit or eight_bit)
    return plain


def _check_finite(picture: Tensor, where: str) -> None:
    if not bool(picture.isfinite().all()):
        raise InputError(where, "finite pictures", "NaN or infinite values", "Try another dtype")


def _plain_form(run: Run, signature: Signature, image: Tensor, where: str) -> tuple[CallForm, Tensor]:
    """`pipe(image).images[0]` as users write it, with the kind of image that the pipeline takes, and the picture."""
    reasons = []
    for kind in KINDS:
        try:
            picture, eight_bit = call(run, signature, image, CallForm(kind, "default", True), where=where)
        except InputError as error:
            reasons.append(f"with {kind} {error.got if isinstance(error, CodeError) else error}")
        else:
            return CallForm(kind, "default", kind == "pil" or eight_bit), picture
    raise InputError(where, "a pipeline that takes a PIL image or a tensor [3, H, W]", "; ".join(reasons))


def call(
    run: Run, signature: Signature, image: Tensor, form: CallForm, *, where: str = "the pipeline"
) -> tuple[Tensor, bool]:
    """[3, H, W] to [3, H', W'] float32 on the same device, as it comes out, and whether it came in 8 bits.

    A picture of 8 bits that was made of NaN comes as NaN. Pipelines may draw random numbers: each call draws the same
    ones from the generators of the CPU and of the image's device, and leaves every generator as it was.
    InputError: a result without such an image, or a CodeError for whatever the pipeline raises.
    """
    keywords = {} if form.output == "default" else {"output_type": form.output}
    devices = [image.device] if image.device.type == "cuda" else []
    # Not the caller's inference mode: modules that code makes in its first call could not be used outside of it.
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=devices):
        seed_generators(image.device)
        if image.is_inference():
            image = image.clone()  # outside of inference mode nobody may write into it
        given = image if form.image == "tensor" else to_pil(image)
        named = {signature.keyword: given} if signature.keyword else {}
        with reported(where, "a picture"), watch_casts(form.output == "default") as seen:
            result = run(*([] if named else [given]), **named, **keywords)
            first = first_image(result)
            picture, eight_bit = to_tensor(first).to(image.device), isinstance(first, Image.Image)
            return picture.fill_(math.nan) if eight_bit and seen.lost_nan() else picture, eight_bit


def seed_generators(device: torch.device) -> None:
    """Those of the CPU and of `device`. `torch.manual_seed` seeds every GPU, from which others may draw."""
    torch.default_generator.manual_seed(0)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(0)


def first_image(result: Any) -> Any:
    """`result.images[0]`, or the first of the first of a tuple. InputError for another kind of result."""
    images = getattr(result, "images", result[0] if isinstance(result, tuple) and result else None)
    if images is None or isinstance(images, str) or not len(images):
        raise InputError("the pipeline's result", "images", type(result).__name__)
    return images[0]


def to_pil(image: Tensor) -> Image.Image:
    """[3, H, W] in [0, 1] to 8-bit RGB, rounded."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def to_tensor(image: Any) -> Tensor:
    """A PIL image, an array [H, W, 3] or a tensor [3, H, W], floats in [0, 1], to a float32 tensor [3, H, W]."""
    if isinstance(image, Image.Image):
        pixels = np.asarray(image.convert("RGB"))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype.kind == "f":
        return torch.from_numpy(image).permute(2, 0, 1).float()
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        return image.float()
    got = f"{type(image).__name__} {list(getattr(image, 'shape', []))} {getattr(image, 'dtype', '')}".rstrip()
    raise InputError("the pipeline's image", "a PIL image, floats [H, W, 3] or a tensor [3, H, W]", got)


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """[3, H', W'] to [3, H, W], bicubic with antialiasing as PIL does it; the very tensor where the size is right."""
    if image.shape[-2:] == (height, width):
        return image
    size = (height, width)
    return functional.interpolate(image[None], size=size, mode="bicubic", antialias=True)[0]
