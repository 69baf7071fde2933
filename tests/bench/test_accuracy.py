"""Errors of known size, and paths that do not write what they return."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="needs torch, which is not installed here")
pytest.importorskip("diffusers", reason="needs diffusers, which is not installed here")

from r3d2_ros.bench.harmonizer.accuracy import (  # noqa: E402
    Error,
    Reference,
    checked_outputs,
    error_of,
    judged,
    make_reference,
    plain_path,
)
from r3d2_ros.bench.harmonizer.faults import BrokenPathError  # noqa: E402
from r3d2_ros.bench.harmonizer.pictures import comparison_pictures, rotating_inputs  # noqa: E402
from tests.harmonizer.small import TINY, seeded  # noqa: E402

CPU = torch.device("cpu")
SIZE = (24, 40)
PICTURES = comparison_pictures(SIZE)


def test_a_path_that_writes_everything_passes() -> None:
    outputs = checked_outputs(lambda images: images * 0.5, PICTURES, CPU, batch=2)
    assert [name for name, _ in outputs] == ["noise", "chart", "chart", "photo", "photo", "noise"]
    for name, out in outputs:
        assert torch.equal(out, PICTURES[name] * 0.5)


def test_a_buffer_that_is_not_written_is_caught() -> None:
    buffer = torch.zeros(1, 3, *SIZE)
    with pytest.raises(BrokenPathError, match="100.00% of the output is not written"):
        checked_outputs(lambda images: buffer, PICTURES, CPU)


def test_a_single_row_that_is_not_written_is_caught() -> None:
    buffer = torch.zeros(1, 3, *SIZE)

    def path(images: torch.Tensor) -> torch.Tensor:
        buffer[:, :, 1:] = images[:, :, 1:]
        return buffer

    with pytest.raises(BrokenPathError, match=r"picture 'noise': 4.17% of the output"):  # 1 of 24 rows
        checked_outputs(path, PICTURES, CPU)


def test_an_output_of_another_shape_is_caught() -> None:
    with pytest.raises(BrokenPathError, match=r"shape \[1, 3, 24, 40\], got \[1, 3, 23, 40\]"):
        checked_outputs(lambda images: images[:, :, 1:], PICTURES, CPU)


def test_a_path_that_gives_its_input_back_does_not_spoil_the_pictures() -> None:
    before = {name: picture.clone() for name, picture in PICTURES.items()}
    checked_outputs(lambda images: images, PICTURES, CPU)
    assert all(torch.equal(PICTURES[name], before[name]) for name in before)


def test_an_error_worked_out_by_hand() -> None:
    expected = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([0.0, 4.0])}
    reference = Reference(pictures=expected, outputs=expected, saturated=0.0)
    error = error_of([("a", torch.tensor([3.0, 0.3])), ("b", torch.tensor([0.4, 4.0]))], reference)
    assert error.relative_l2 == pytest.approx(0.1)  # sqrt(0.09 + 0.16) / sqrt(9 + 16)
    assert error.max_abs == pytest.approx(0.4)


def test_the_same_output_for_every_input_is_an_error() -> None:
    """A graph that replays its first input writes all of its output; the comparison sees it."""
    reference = Reference(PICTURES, {name: picture * 0.5 for name, picture in PICTURES.items()}, 0.0)
    first = PICTURES["noise"] * 0.5
    assert error_of(checked_outputs(lambda images: first.clone(), PICTURES, CPU), reference).relative_l2 > 0.1


def test_the_limits() -> None:
    yardstick = Error(relative_l2=1e-3, max_abs=1e-2)
    assert judged(Error(1.24e-3, 1.49e-2), dtype="float16", yardstick=yardstick)["within_limit"] is True
    assert judged(Error(1.26e-3, 1.0e-2), dtype="float16", yardstick=yardstick)["within_limit"] is False
    assert judged(Error(1.0e-3, 1.51e-2), dtype="float16", yardstick=yardstick)["within_limit"] is False
    facts = judged(Error(1.2e-3, 1e-2), dtype="float16", yardstick=yardstick)
    assert facts["ratio_l2"] == pytest.approx(1.2) and facts["ratio_max"] == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", ["float32", "float8"])
def test_without_a_yardstick_nothing_is_judged_and_the_row_says_why(dtype: str) -> None:
    facts = judged(Error(1e-6, 1e-5), dtype=dtype, yardstick=None)
    assert facts["within_limit"] is None and facts["not_judged"]


def test_the_plain_module_is_its_own_reference_and_bfloat16_is_not() -> None:
    model = seeded(TINY)
    reference = make_reference(model, PICTURES, CPU)
    plain = checked_outputs(plain_path(model, torch.float32, CPU), PICTURES, CPU)
    assert error_of(plain, reference) == Error(0.0, 0.0)
    rounded = error_of(checked_outputs(plain_path(model, torch.bfloat16, CPU), PICTURES, CPU), reference)
    assert 1e-4 < rounded.relative_l2 < 0.3
    assert model.dtype == torch.float32


def test_the_switches_of_the_process_are_put_back() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    make_reference(seeded(TINY), PICTURES, CPU)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


def test_pictures_are_seeded_in_range_and_different() -> None:
    again = comparison_pictures(SIZE)
    for name, picture in PICTURES.items():
        assert picture.shape == (1, 3, *SIZE) and picture.dtype == torch.float32
        assert torch.equal(picture, again[name])
        assert 0 <= float(picture.min()) < float(picture.max()) <= 1
    inputs = rotating_inputs(SIZE, batch=2, device=CPU)
    assert len(inputs) == 8 and inputs[0].shape == (2, 3, *SIZE)
    assert all(not torch.equal(inputs[0], other) for other in inputs[1:])
