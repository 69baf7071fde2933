"""The pairs of a training in an order that only the seed decides: what a step sees does not depend on earlier steps."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from r3d2_ros.dataset.meta import Triple
from r3d2_ros.dataset.samples import Pair, Sample
from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.training.config import TrainConfig


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one step.

    input, target  [B,3,H,W] in [0, 1]
    mask           [B,1,H,W], 0 or 1 where an insert is seen
    sun            [B,3], unit vectors towards the sun that lights the target, in optical axes (x right, y down, z
                   forward), NaN where it is not known
    """

    input: Tensor
    target: Tensor
    mask: Tensor
    sun: Tensor
    names: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """What the loader asks for before it hands a batch on: only from such memory is `to` not waited for."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(change(self.input), change(self.target), change(self.mask), change(self.sun), self.names)


Fault = InputError | InputErrors


class Draws(Dataset[Batch]):
    """Number k to the k-th sample that the training sees: a new order for each round through the data, and a crop and
    a flip of its own, all functions of (seed, k)."""

    def __init__(self, samples: Sequence[Sample], *, crop_px: int, flip: bool, seed: int) -> None:
        self._samples, self._crop_px, self._flip, self._seed = samples, crop_px, flip, seed
        self._round, self._order = -1, np.empty(0, np.int64)

    def sample(self, k: int) -> Sample:
        """Without its images."""
        number, place = divmod(k, len(self._samples))
        if number != self._round:
            order = np.random.default_rng([self._seed, 0, number]).permutation(len(self._samples))
            self._round, self._order = number, order
        return self._samples[self._order[place]]

    def __getitem__(self, k: int) -> Batch:
        sample = self.sample(k)
        rng = np.random.default_rng([self._seed, 1, k])
        pair = sample.load()
        if self._crop_px:
            pair = crop_around_insert(pair, self._crop_px, rng, where=sample.name)
        sun = sample.meta.sun.camera if sample.meta.sun else None
        if self._flip and rng.random() < 0.5:
            pair = Pair(input=pair.input[:, ::-1], target=pair.target[:, ::-1], mask=pair.mask[:, ::-1])
            sun = (-sun[0], sun[1], sun[2]) if sun else None
        return as_batch(pair, sample.name, sun)


class Caught(Dataset[Batch | Fault]):
    """`Draws` with faults as items: PyTorch cannot bring an InputError from a worker, only a RuntimeError."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws

    def __getitem__(self, k: int) -> Batch | Fault:
        try:
            return self._draws[k]
        except (InputError, InputErrors) as error:
            return error


def batches(
    config: TrainConfig,
    samples: Sequence[Sample],
    *,
    begin: int,
    end: int,
    rank: int,
    processes: int,
) -> Iterator[Batch]:
    """The batches of one process for the steps `begin` to `end`, in order. Processes share out each step's samples.

    InputError(s) for a sample that cannot be used, when it is its turn, whichever process read it.
    """
    of_step = config.batch * processes
    draws = Draws(samples, crop_px=config.data.crop_px, flip=config.data.flip, seed=config.seed)
    order = [step * of_step + rank * config.batch + i for step in range(begin, end) for i in range(config.batch)]
    loader: DataLoader[Batch | Fault] = DataLoader(
        Caught(draws),
        batch_size=config.batch,
        sampler=order,
        num_workers=config.data.workers,
        collate_fn=joined_or_fault,
        worker_init_fn=leave_signals_to_the_training,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if isinstance(batch, Fault):
            raise batch
        yield batch


def leave_signals_to_the_training(worker: int) -> None:
    """Ctrl-C and what ends a job reach every process of its group, and the step that runs still needs its pictures.

    A worker ends when the training tells it to, or is gone.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def joined_or_fault(items: Sequence[Batch | Fault]) -> Batch | Fault:
    """`joined`, or the first fault among the samples or in joining them."""
    for item in items:
        if isinstance(item, Fault):
            return item
    try:
        return joined([item for item in items if isinstance(item, Batch)])
    except InputError as error:
        return error


def joined(singles: Sequence[Batch]) -> Batch:
    """One batch. InputError where the images are of several sizes, which only batches of one can have."""
    shapes = {tuple(single.input.shape[-2:]) for single in singles}
    if len(shapes) > 1:
        sizes = ", ".join(f"{single.names[0]} {single.input.shape[-2]}x{single.input.shape[-1]}" for single in singles)
        raise InputError("data", "images of one size in a batch", sizes, "Set data.crop_px, or batch to 1")
    names = tuple(name for single in singles for name in single.names)
    input, target, mask, sun = (
        torch.cat([getattr(s, name) for s in singles]) for name in ("input", "target", "mask", "sun")
    )
    return Batch(input, target, mask, sun, names)


def as_batch(pair: Pair, name: str, sun: Triple | None = None) -> Batch:
    """A batch of one."""
    input, target = (
        torch.from_numpy(np.ascontiguousarray(i.transpose(2, 0, 1)))[None] for i in (pair.input, pair.target)
    )
    mask = torch.from_numpy(pair.mask.astype(np.float32))[None, None]
    return Batch(input, target, mask, torch.tensor([sun or (torch.nan,) * 3]), (name,))


def crop_around_insert(pair: Pair, side_px: int, rng: np.random.Generator, *, where: str) -> Pair:
    """A random square that has the centre of the inserts' bounding box in its middle half where the image allows.

    InputError for an image that is smaller than the square.
    """
    height, width = pair.mask.shape
    if min(height, width) < side_px:
        raise InputError(
            f"{where}: data.crop_px", f"at most {min(height, width)}, the image's shorter side", str(side_px)
        )
    starts = []
    for axis, length in ((1, height), (0, width)):
        seen = np.flatnonzero(pair.mask.any(axis=axis))
        centre = (seen[0] + seen[-1]) / 2 if len(seen) else rng.uniform(0, length)
        start = round(centre - side_px * rng.uniform(0.25, 0.75))
        starts.append(min(max(start, 0), length - side_px))
    rows, columns = (slice(start, start + side_px) for start in starts)
    return replace(
        pair,
        input=pair.input[rows, columns],
        target=pair.target[rows, columns],
        mask=pair.mask[rows, columns],
        shadow=None,
    )
