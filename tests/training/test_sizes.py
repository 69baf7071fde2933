"""Pictures of a step at several sizes, and how far what is changed in them agrees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from r3d2_ros.harmonizer.compositing.reduced import run_reduced
from r3d2_ros.training.config import LossConfig
from r3d2_ros.training.data import Batch
from r3d2_ros.training.losses import TrainingLoss
from r3d2_ros.training.sizes import at_size, disagreement, draw_sizes, loss_at_sizes
from r3d2_ros.training.stages import Made
from tests.training.small import config, run, write_pairs


def batch() -> Batch:
    """Two pictures of 8 x 12 pixels with an insert of 4 x 4 on whole blocks of 4."""
    input, target = torch.rand(2, 2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 8, 12)
    mask[:, :, 4:8, 4:8] = 1
    return Batch(input, target, mask, torch.tensor([[0.0, -1.0, 0.0]] * 2), ("a", "b"))


def test_half_the_size_is_the_mean_of_four_pixels() -> None:
    whole, half = batch(), at_size(batch(), 0.5)
    assert torch.allclose(half.input, whole.input.reshape(2, 3, 4, 2, 6, 2).mean((3, 5)))
    assert torch.allclose(half.target, whole.target.reshape(2, 3, 4, 2, 6, 2).mean((3, 5)))
    assert half.mask[0, 0].tolist() == [[0] * 6] * 2 + [[0, 0, 1, 1, 0, 0]] * 2
    assert torch.equal(half.sun, whole.sun) and half.names == ("a", "b")


def test_enlarged_pictures_stay_pictures() -> None:
    large = at_size(batch(), 2.0)
    assert large.input.shape == (2, 3, 16, 24) and large.input.min() >= 0 and large.input.max() <= 1
    assert large.mask.unique().tolist() == [0, 1] and large.mask[0].sum() == 8 * 8
    flat = replace(batch(), input=torch.full((2, 3, 8, 12), 0.25))
    assert torch.allclose(at_size(flat, 4 / 3).input, torch.tensor(0.25))
    assert at_size(batch(), 4 / 3).input.shape == (2, 3, 11, 16)


def test_two_sizes_differ_the_larger_first_and_all_occur() -> None:
    drawn = {draw_sizes((1.0, 2.0, 1.5), 2, np.random.default_rng(k)) for k in range(50)}
    assert drawn == {(1.5, 1.0), (2.0, 1.0), (2.0, 1.5)}
    assert {draw_sizes((1.0, 2.0), 1, np.random.default_rng(k)) for k in range(20)} == {(1.0,), (2.0,)}


def test_disagreement_by_hand() -> None:
    """A change by 0.1 everywhere agrees with itself at any size; 0.3 at the smaller one is 0.2 away: 0.04."""
    change = torch.full((1, 3, 6, 6), 0.1)
    assert disagreement(change, torch.full((1, 3, 4, 4), 0.1)).item() == pytest.approx(0, abs=1e-12)
    assert disagreement(change, torch.full((1, 3, 4, 4), 0.3)).item() == pytest.approx(0.04)


def test_the_disagreement_is_what_a_reduced_resolution_costs() -> None:
    """The mean squared difference of `run_reduced` from the network on whole images."""
    large = replace(batch(), input=batch().input * 0.5 + 0.2)  # far from the clamp
    small = at_size(large, 0.5)

    def network(images: Tensor) -> Tensor:
        return images + 0.05 * torch.sin(40 * images)

    reduced = run_reduced(large.input, network, 0.5)
    wanted = (reduced - network(large.input)).square().mean()
    got = disagreement(network(large.input) - large.input, network(small.input) - small.input)
    assert got.item() == pytest.approx(wanted.item(), rel=1e-4) and got > 1e-5


def test_terms_are_means_over_the_sizes_and_the_disagreement_is_weighed() -> None:
    """A module that adds 0.1 to inputs equal to the targets: l2 is 0.01 at each size. One that adds 0.1 to pictures of
    8 rows and 0.3 to others: l2 (0.01 + 0.09) / 2, disagreement 0.04; 1 * 0.05 + 5 * 0.04 = 0.25."""
    large = replace(batch(), target=batch().input)
    shown, loss = [large, at_size(large, 0.5)], TrainingLoss(LossConfig(lpips=0, gram=0, l2=1.0, agreement=5.0))

    def by_size(image: Tensor) -> Made:
        return Made(image + (0.1 if image.shape[-2] == 8 else 0.3))

    same = loss_at_sizes(lambda image: Made(image + 0.1), loss, shown, 0)
    assert same["total"].item() == pytest.approx(0.01) and same["agreement"].item() == pytest.approx(0, abs=1e-9)
    other = loss_at_sizes(by_size, loss, shown, 0)
    assert {name: other[name].item() for name in ("l2", "agreement", "total")} == pytest.approx(
        {"l2": 0.05, "agreement": 0.04, "total": 0.25}
    )
    assert "agreement" not in loss_at_sizes(by_size, loss, shown[:1], 0)


@pytest.mark.slow
def test_a_training_that_weighs_the_agreement_agrees_better(tmp_path: Path) -> None:
    """The same samples at the same sizes, with the agreement's weight and with next to none."""
    pairs = write_pairs(tmp_path / "pairs")
    left = {}
    for weight in (1e-9, 30.0):
        out = f"weight {weight}"
        run(
            config(
                tmp_path, pairs=pairs, out=out, steps=20, data={"sizes": [1.0, 2.0]},
                loss={"lpips": 0.0, "gram": 0.0, "l1": 1.0, "agreement": weight},
            )
        )  # fmt: skip
        lines = [json.loads(line) for line in (tmp_path / out / "log.jsonl").read_text().splitlines()]
        left[weight] = np.mean([line["agreement"] for line in lines[-5:]])
    assert left[30.0] < 0.5 * left[1e-9]
