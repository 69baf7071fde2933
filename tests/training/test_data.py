"""Which sample a step sees follows from the seed alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from r3d2_ros.dataset.samples import Pair, open_dataset
from r3d2_ros.errors import InputError
from r3d2_ros.training.data import Draws, batches, crop_around_insert
from tests.training.small import config, write_pairs

FIRST = {"begin": 0, "end": 1, "rank": 0, "processes": 1}


def test_each_round_shows_every_sample_once_in_a_new_order(tmp_path: Path) -> None:
    samples = open_dataset(write_pairs(tmp_path / "pairs", train=8)).split("train")
    draws = Draws(samples, crop_px=0, flip=False, seed=5)
    rounds = [[draws.sample(k).name for k in range(8 * n, 8 * n + 8)] for n in range(3)]
    names = sorted(sample.name for sample in samples)
    assert all(sorted(names_of) == names for names_of in rounds)
    assert len({tuple(names_of) for names_of in rounds}) == 3
    assert [draws.sample(k).name for k in (20, 3)] == [rounds[2][4], rounds[0][3]]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_later_start_and_other_workers_give_the_same_batches(tmp_path: Path, workers: int) -> None:
    pairs = write_pairs(tmp_path / "pairs")
    samples = open_dataset(pairs).split("train")
    of = config(tmp_path, pairs=pairs, data={"crop_px": 16, "workers": workers})
    plain = config(tmp_path, pairs=pairs, data={"crop_px": 16})
    late = list(batches(of, samples, begin=3, end=6, rank=0, processes=1))
    whole = list(batches(plain, samples, begin=0, end=6, rank=0, processes=1))[3:]
    for one, other in zip(late, whole, strict=True):
        assert one.names == other.names and torch.equal(one.input, other.input) and torch.equal(one.mask, other.mask)


def test_processes_share_out_the_samples_of_a_step(tmp_path: Path) -> None:
    """Two processes with one sample each see what one process with two sees."""
    pairs = write_pairs(tmp_path / "pairs")
    samples = open_dataset(pairs).split("train")
    single, double = config(tmp_path, pairs=pairs, batch=1), config(tmp_path, pairs=pairs, batch=2)
    parts = [list(batches(single, samples, begin=0, end=4, rank=rank, processes=2)) for rank in (0, 1)]
    whole = list(batches(double, samples, begin=0, end=4, rank=0, processes=1))
    assert [b.names for b in whole] == [a.names + b.names for a, b in zip(*parts, strict=True)]
    assert torch.equal(whole[1].input[1:], parts[1][1].input)


def test_half_of_the_samples_are_mirrored_as_a_whole(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs", train=4)
    samples = open_dataset(pairs).split("train")
    plain, flipping = (Draws(samples, crop_px=0, flip=flip, seed=1) for flip in (False, True))
    flipped = 0
    for k in range(200):
        a, b = plain[k], flipping[k]
        assert a.sun.tolist() == [pytest.approx([-0.6, -0.8, 0.0])]
        if not torch.equal(a.input, b.input):
            flipped += 1
            for one, other in ((a.input, b.input), (a.target, b.target), (a.mask, b.mask)):
                assert torch.equal(one.flip(-1), other)
            assert torch.equal(b.sun, a.sun * torch.tensor([-1.0, 1.0, 1.0]))
        else:
            assert torch.equal(a.sun, b.sun)
    assert 75 <= flipped <= 125


def test_a_crop_holds_the_middle_of_the_insert() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((100, 150), bool)
    mask[60:71, 100:111] = True
    image = np.repeat((np.arange(15_000, dtype=np.float32) / 15_000).reshape(100, 150)[..., None], 3, 2)
    places = set()
    for _ in range(100):
        crop = crop_around_insert(Pair(image, image, mask), 40, rng, where="a")
        assert crop.input.shape == (40, 40, 3) and crop.mask.any()
        row, column = divmod(round(float(crop.input[0, 0, 0]) * 15_000), 150)
        assert 10 <= 65 - row <= 30 and 10 <= 105 - column <= 30
        places.add((row, column))
    assert len(places) > 50


@pytest.mark.parametrize("workers", [0, 1])
def test_images_that_do_not_fit_are_named(tmp_path: Path, workers: int) -> None:
    """Also when another process read them."""
    pairs = write_pairs(tmp_path / "pairs")
    samples = open_dataset(pairs).split("train")
    places = {"begin": 0, "end": 3, "rank": 0, "processes": 1}
    cropped = config(tmp_path, pairs=pairs, data={"crop_px": 64, "workers": workers})
    with pytest.raises(InputError, match=r"train/train_00\d: data.crop_px: expected at most 32"):
        list(batches(cropped, samples, **places))
    mixed = (*samples[:1], *open_dataset(write_pairs(tmp_path / "other", size=(32, 64))).split("train")[1:2])
    with pytest.raises(InputError, match=r"train_000 32x48.*Set data.crop_px, or batch to 1"):
        list(batches(config(tmp_path, pairs=pairs, data={"workers": workers}), mixed, **places))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_ends_the_training_at_its_turn(tmp_path: Path, workers: int) -> None:
    """In the order of seed 3 the damaged sample is one of the second step."""
    pairs = write_pairs(tmp_path / "pairs")
    samples = open_dataset(pairs).split("train")
    of = config(tmp_path, pairs=pairs, data={"workers": workers})
    whole = list(batches(of, samples, begin=0, end=3, rank=0, processes=1))
    damaged = pairs / whole[1].names[1] / "target.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    left = batches(of, samples, begin=0, end=3, rank=0, processes=1)
    assert next(left).names == whole[0].names
    with pytest.raises(InputError, match=f"{damaged}: expected a PNG of 8 bits with 3 channels"):
        next(left)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_a_signal_to_all_processes_leaves_the_pictures_of_the_steps_to_come(
    tmp_path: Path, number: signal.Signals
) -> None:
    """The training ends after its step and saves; a terminal, `timeout` and batch systems signal the readers too."""
    pairs = write_pairs(tmp_path / "pairs")
    samples = open_dataset(pairs).split("train")
    of = config(tmp_path, pairs=pairs, data={"workers": 1})
    left = batches(of, samples, begin=0, end=9, rank=0, processes=1)
    seen = [next(left).names]
    (reader,) = multiprocessing.active_children()
    assert reader.pid is not None
    os.kill(reader.pid, number)
    seen += [batch.names for batch in left]
    assert len(seen) == 9
    reader.join(5.0)
    assert reader.exitcode == 0


def test_the_loader_pins_the_images_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning itself needs a GPU; PyTorch's loader leaves a batch alone that has no method for it."""
    pairs = write_pairs(tmp_path / "pairs")
    batch = next(batches(config(tmp_path, pairs=pairs), open_dataset(pairs).split("train"), **FIRST))
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    pinned = pin_memory(batch)
    assert pinned.names == batch.names
    for name in ("input", "target", "mask"):
        assert torch.equal(getattr(pinned, name), getattr(batch, name) + 1), name
