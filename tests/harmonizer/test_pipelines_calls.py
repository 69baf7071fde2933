"""Each pipeline is called in the most exact way that gives what `pipe(PIL image).images[0]` gives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from r3d2_ros.errors import InputError
from r3d2_ros.harmonizer.pipelines.calls import (
    CallForm,
    Signature,
    call,
    choose_form,
    read_signature,
    resized,
    seed_generators,
    to_pil,
    to_tensor,
)
from tests.harmonizer.small import picture

IMAGE = picture(16, 24)[0]


def form_of(run: Any) -> CallForm:
    return choose_form(run, read_signature(run, where="test"), IMAGE, where="test")


def darker(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / 255 * 0.7


def pil_to_pil(image: Image.Image) -> Any:
    if not isinstance(image, Image.Image):
        raise ValueError("an image, please")
    pixels = (darker(np.asarray(image)) * 255).astype(np.uint8)
    return SimpleNamespace(images=[Image.fromarray(pixels)])


def tensor_to_tuple(image: torch.Tensor) -> Any:
    return ([0.7 * image],)


def array_too(image: Image.Image, output_type: str = "pil") -> Any:
    if output_type not in ("pil", "np"):
        raise NotImplementedError(output_type)
    if output_type == "np":
        return SimpleNamespace(images=darker(np.asarray(image))[None])
    return pil_to_pil(image)


def other_range_as_pt(image: Image.Image, output_type: str = "pil") -> Any:
    """`pt` is not what the word means: [-1, 1]."""
    if output_type == "pt":
        return SimpleNamespace(images=to_tensor(image)[None] * 1.4 - 1)
    return pil_to_pil(image)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (pil_to_pil, CallForm("pil", "default", True)),
        (tensor_to_tuple, CallForm("tensor", "default", False)),
        (array_too, CallForm("pil", "np", True)),
        (other_range_as_pt, CallForm("pil", "np", True)),
    ],
)
def test_forms(run: Any, expected: CallForm) -> None:
    form = form_of(run)
    assert form == expected
    output, _ = call(run, read_signature(run, where="test"), IMAGE, form)
    step = 1.5 / 255 if form.eight_bit else 1e-6
    torch.testing.assert_close(output, 0.7 * IMAGE, atol=step, rtol=0)


def test_neither_kind_of_image() -> None:
    def run(image: Any) -> Any:
        raise TypeError(f"no {type(image).__name__} here")

    with pytest.raises(InputError, match="with pil TypeError: no Image here; with tensor TypeError: no Tensor here"):
        form_of(run)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
        (AssertionError(), "AssertionError: "),
        (SystemExit(3), "SystemExit: 3"),
        (OSError("no\ndisk"), "OSError: no disk"),
        (Unprintable(), r"Unprintable: \(KeyError in its text\)"),
    ],
)
def test_whatever_code_raises_is_said(error: BaseException, text: str) -> None:
    def run(image: Any) -> Any:
        raise error

    signature = read_signature(run, where="test")
    with pytest.raises(InputError, match=f"folder: expected a picture, got {text}"):
        call(run, signature, IMAGE, CallForm("tensor", "default", False), where="folder")
    with pytest.raises(InputError, match=f"with pil {text}; with tensor {text}"):
        form_of(run)


def test_a_result_whose_parts_raise() -> None:
    class Result:
        @property
        def images(self) -> Any:
            raise ZeroDivisionError("later")

    with pytest.raises(InputError, match="with pil ZeroDivisionError: later"):
        form_of(lambda image: Result())


def test_out_of_memory_is_not_a_matter_of_form() -> None:
    def run(image: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        form_of(run)


@pytest.mark.parametrize(
    ("run", "got"),
    [
        (lambda prompt, image: None, "one that also needs prompt"),
        (lambda image, *, strength: None, "one that also needs strength"),
        (lambda: None, "one without arguments"),
    ],
)
def test_what_needs_more_than_an_image(run: Any, got: str) -> None:
    with pytest.raises(InputError, match=f"called with an image alone, got {got}"):
        read_signature(run, where="test")


def test_the_image_may_have_any_place() -> None:
    assert read_signature(lambda prompt=None, image=None: None, where="").keyword == "image"
    assert read_signature(lambda picture, steps=1: None, where="").keyword is None


def test_random_numbers_are_the_same_in_every_call() -> None:
    """So that a frame set is a function of the world; the program's own generator is left alone."""

    def run(image: Any) -> Any:
        return ([torch.rand(3, 4, 4)],)

    signature, form = read_signature(run, where=""), CallForm("tensor", "default", False)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = (call(run, signature, IMAGE, form)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.rand(3), expected)


def test_only_the_generators_that_are_put_back_are_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others in the process may draw from another GPU, and from this one while a pipeline runs on the CPU."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("every GPU was seeded"))
    call(tensor_to_tuple, Signature("image", False), IMAGE, CallForm("tensor", "default", False))
    gpus = tuple(torch.Generator().manual_seed(5) for _ in range(2))
    monkeypatch.setattr(torch.cuda, "default_generators", gpus)
    with torch.random.fork_rng(devices=[]):
        seed_generators(torch.device("cuda:1"))
        assert torch.default_generator.initial_seed() == 0
    assert [gpu.initial_seed() for gpu in gpus] == [5, 0]


BROKEN = torch.nn.Conv2d(3, 3, 1)
torch.nn.init.constant_(BROKEN.weight, float("nan"))


def numpy_casts(image: Image.Image) -> Any:
    pixels = darker(np.asarray(image))
    pixels[3, 4, 1] = np.nan
    return SimpleNamespace(images=[Image.fromarray((pixels * 255).astype(np.uint8))])


def torch_casts(image: Image.Image) -> Any:
    pixels = BROKEN(to_tensor(image)[None])[0].clamp(0, 1) * 255
    return SimpleNamespace(images=[Image.fromarray(pixels.byte().permute(1, 2, 0).numpy())])


@pytest.mark.parametrize("run", [numpy_casts, torch_casts])
def test_8_bits_made_of_nan_are_nan(run: Any) -> None:
    """Neither PyTorch nor, after its one warning, NumPy says so, and the bytes are those of a black picture."""
    output, eight_bit = call(run, Signature("image", False), IMAGE, CallForm("pil", "default", True))
    assert eight_bit and output.shape == IMAGE.shape and bool(output.isnan().all())
    with pytest.raises(InputError, match="test: expected finite pictures, got NaN or infinite values. Try another dt"):
        form_of(run)


def test_nan_that_does_not_reach_the_picture_is_the_pipelines_own_matter() -> None:
    """NumPy's warnings of it come as they would without."""

    def run(image: Image.Image) -> Any:
        BROKEN(to_tensor(image)[None])
        shade = np.nan_to_num(np.zeros(1, np.float32) / 0, nan=0.7)
        pixels = torch.nn.Identity()(to_tensor(image)[None] * float(shade[0]))[0] * 255
        return SimpleNamespace(images=[Image.fromarray(pixels.byte().permute(1, 2, 0).numpy())])

    with pytest.warns(RuntimeWarning, match="^invalid value encountered in divide$"):
        output, _ = call(run, Signature("image", False), IMAGE, CallForm("pil", "default", True))
    torch.testing.assert_close(output, 0.7 * IMAGE, atol=1.5 / 255, rtol=0)


def test_what_another_thread_computes_is_not_in_the_picture() -> None:
    def run(image: Image.Image) -> Any:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(BROKEN, to_tensor(image)[None]).result()
        return pil_to_pil(image)

    output, _ = call(run, Signature("image", False), IMAGE, CallForm("pil", "default", True))
    assert bool(output.isfinite().all())


@pytest.mark.parametrize("result", [None, SimpleNamespace(images=[]), ("text",), SimpleNamespace(images="text")])
def test_results_without_images(result: Any) -> None:
    with pytest.raises(InputError, match="the pipeline's (result|image): expected"):
        call(
            lambda image: result, read_signature(lambda image: None, where=""), IMAGE, CallForm("pil", "default", True)
        )


@pytest.mark.parametrize("image", [torch.zeros(4, 5, 5), np.zeros((5, 5)), np.zeros((5, 5, 3), np.uint8), "text"])
def test_images_of_another_kind(image: Any) -> None:
    with pytest.raises(InputError, match="a PIL image, floats"):
        to_tensor(image)


def test_eight_bits_round_trip() -> None:
    levels = torch.arange(256).float().expand(3, 2, 256) / 255
    assert torch.equal(to_tensor(to_pil(levels)), levels)


def test_resizing_is_pils() -> None:
    """Users resize with PIL; the formula agrees to a step of 8 bits where PIL does not clip between its passes."""
    small = to_tensor(to_pil(0.3 + 0.4 * picture(20, 30)[0]))
    users = to_tensor(to_pil(small).resize((45, 33), Image.Resampling.BICUBIC))
    torch.testing.assert_close(resized(small, 33, 45).clamp(0, 1), users, atol=1.5 / 255, rtol=0)
    assert resized(small, 20, 30) is small


def test_what_code_makes_in_its_first_call_can_be_used_outside_of_inference_mode() -> None:
    made: list[torch.nn.Parameter] = []

    def lazy(image: torch.Tensor) -> Any:
        made.append(torch.nn.Parameter(torch.full((3, 1, 1), 0.7)))
        return ([image.mul_(made[-1])],)

    form = CallForm("tensor", "default", False)
    with torch.inference_mode():
        image = IMAGE.clone()
        output, _ = call(lazy, read_signature(lazy, where="test"), image, form)
    assert torch.equal(image, IMAGE), "the pipeline may write into what it gets"
    torch.testing.assert_close(output, IMAGE * 0.7)
    (made[0] * IMAGE).sum().backward()  # type: ignore[no-untyped-call]
    assert made[0].grad is not None and not made[0].is_inference()
