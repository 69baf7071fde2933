"""Checkpoints of a training: each a model of our own format that can be used as it is, and what resuming needs.

    OUT/checkpoints/harmonizer_00000500/config.json, model.safetensors   the model (running mean, adapters merged)
                                        training.safetensors             weights, optimizer, running mean as they are
                                        training.json                    `Reached`

A folder gets its name when it is complete and on the disk. No random state is in it: each step's numbers follow from
the seed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.formats.files import make_folder, write_problem
from r3d2_ros.harmonizer.model.checkpoints import assemble, read_json, save_checkpoint
from r3d2_ros.harmonizer.model.config import ModelConfig
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.model.tensor_files import check_keys, read_shapes, read_tensors, shapes_of, write_tensors
from r3d2_ros.schema import STRICT, validate
from r3d2_ros.training.config import is_free

STATE_TENSORS, STATE_FACTS = "training.safetensors", "training.json"
UNFINISHED = ".making"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps for each parameter."""

StageName = Literal["autoencoder", "harmonizer"]


@dataclass(frozen=True, kw_only=True)
class SampleList:
    """How many training samples there are, and a hash of what and in which order they are (`sources.listed`)."""

    __pydantic_config__ = STRICT
    count: Annotated[int, Field(ge=1)]
    hash: str


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What the weights of a training follow from, so that it has to be the same when it is resumed.

    threads  of each process as it computes on a CPU, since sums in another order have other last bits; None on a GPU
    samples  where they are does not matter
    config   `bound_keys`, and `start_keys` of the checkpoint that it began with
    """

    __pydantic_config__ = STRICT
    processes: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)] | None
    samples: SampleList
    config: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reached(Bound):
    """Contents of training.json: `step` steps of `stage` are done."""

    stage: StageName
    step: Annotated[int, Field(ge=0)]

    @property
    def name(self) -> str:
        return f"{self.stage}_{self.step:08d}"


class Checkpoints:
    """Those of one training, in its folder."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "checkpoints"

    def newest(self) -> Path | None:
        """The one to go on from; stages sort by their names."""
        return max((path for path in self.all()), default=None, key=lambda path: path.name)

    def all(self) -> list[Path]:
        """Complete ones, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if (path / STATE_FACTS).is_file() and path.name[0] != ".")

    def damaged(self, folder: Path) -> str:
        """What to do when `folder`, the newest one, cannot be read."""
        doomed = [folder]
        for path in reversed(self.all()):
            if path == folder:
                continue
            if _can_be_read(path):
                return f"Remove {' and '.join(map(str, doomed))}: --resume then goes on from {path}"
            doomed.append(path)
        return "No other checkpoint of this training can be read: get this one back, or train into another folder"

    def write(self, reached: Reached, *, model: R3D2, tensors: Mapping[str, Tensor], keep: int) -> Path:
        """A new one; then all but the newest `keep` go. InputError when it cannot be written: the others stay."""
        place, making = self.folder / reached.name, self.folder / UNFINISHED
        shutil.rmtree(making, ignore_errors=True)
        make_folder(self.folder)
        try:
            save_checkpoint(model, making)
            write_tensors(making / STATE_TENSORS, tensors)
            (making / STATE_FACTS).write_text(json.dumps(asdict(reached), indent=1), encoding="utf-8")
            for path in (*making.iterdir(), making):
                _onto_the_disk(path)  # else a power cut may leave the name and lose the contents
            shutil.rmtree(place, ignore_errors=True)
            making.rename(place)
            _onto_the_disk(self.folder)  # before older ones are removed
        except (OSError, SafetensorError) as error:
            shutil.rmtree(making, ignore_errors=True)
            problem = write_problem(place, error) if isinstance(error, OSError) else " ".join(str(error).split())
            last = self.newest()
            hint = f"{last} is complete: make room and go on from it with --resume" if last else "Make room"
            raise InputError(str(place), "room for a checkpoint", problem, hint) from error
        for old in self.all()[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
        return place


def _onto_the_disk(path: Path) -> None:
    """Have the system write a file, or the names in a folder, before this returns.

    Some file systems cannot be asked that of a folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _can_be_read(folder: Path) -> bool:
    try:
        _facts(folder)
        read_shapes(folder / STATE_TENSORS)
    except (InputError, InputErrors):
        return False
    return True


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Each fault of a checkpoint's own files is told with what to do. InputErrors; InputError for a file that is there
    and cannot be opened, which nobody should remove."""
    try:
        yield
    except (InputError, InputErrors) as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise
        hint = Checkpoints(folder.parent.parent).damaged(folder)
        faults = error.faults if isinstance(error, InputErrors) else (error,)
        raise InputErrors([InputError(f.where, f.expected, f.got, hint) for f in faults]) from error


def _facts(folder: Path) -> Reached:
    path = folder / STATE_FACTS
    return validate(Reached, read_json(path), str(path))


def read_reached(folder: Path, bound: Bound) -> Reached:
    """How far a checkpoint is. InputErrors when it is damaged, or was made with something else than `bound`."""
    path = folder / STATE_FACTS
    with _reading(folder):
        reached = _facts(folder)
    now = json.loads(json.dumps(bound.config)) | {"processes": bound.processes}
    then = reached.config | {"processes": reached.processes}
    faults = [
        _changed(f"{path}: {key}", then, now, key)
        for key in sorted(now.keys() | then.keys())
        if now.get(key, ...) != then.get(key, ...) and not is_free(key)
    ]
    if reached.threads and bound.threads and reached.threads != bound.threads:
        hint = f"Set threads to {reached.threads}: with others the weights differ in their last bits"
        faults.append(InputError(f"{path}: threads", f"{reached.threads} on the CPU", str(bound.threads), hint))
    if reached.samples != bound.samples:
        expected, got = f"the {reached.samples.count} training samples that it began with", str(bound.samples.count)
        got += " others" if bound.samples.count == reached.samples.count else ""
        hint = "Put the dataset back as it was, or train into another folder"
        faults.append(InputError(f"{path}: samples", expected, got, hint))
    if faults:
        raise InputErrors(faults)
    return reached


def _changed(where: str, then: Mapping[str, Any], now: Mapping[str, Any], key: str) -> InputError:
    """A key that is not what it was when the training began, or that only one of two versions of the program has."""
    if key in then and key in now:
        hint = "Resume it as it was begun, or train into another folder"
        return InputError(where, repr(then[key]), repr(now[key]), hint)
    expected, got = (repr(keys[key]) if key in keys else "no such key" for keys in (then, now))
    return InputError(where, expected, got, "Another version began it: resume with that, or train into another folder")


def collect(
    weights: Mapping[str, Tensor], trained: Mapping[str, nn.Parameter], optimizer: Optimizer, mean: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of `training.safetensors`: all weights, and of the trained ones moments and running mean."""
    tensors = {f"weight/{key}": tensor for key, tensor in weights.items()}
    for name, parameter in trained.items():
        tensors |= {f"{key}/{name}": value for key, value in optimizer.state[parameter].items()}
    return tensors | {f"mean/{name}": tensor for name, tensor in mean.items()}


def restore(
    folder: Path,
    *,
    model: nn.Module,
    trained: Mapping[str, nn.Parameter],
    optimizer: Optimizer,
    mean: Mapping[str, Tensor],
) -> None:
    """Fill all of them from a checkpoint. InputErrors when it is damaged or its tensors are not theirs."""
    needed = {f"weight/{key}": tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    needed |= {f"{key}/{n}": () if key == "step" else tuple(p.shape) for n, p in trained.items() for key in MOMENTS}
    needed |= {f"mean/{name}": tuple(tensor.shape) for name, tensor in mean.items()}
    with _reading(folder):
        tensors = read_tensors(folder / STATE_TENSORS)
    check_keys(str(folder / STATE_TENSORS), needed=needed, present=shapes_of(tensors.items()))
    model.load_state_dict({key: tensors[f"weight/{key}"] for key in model.state_dict()})
    for name, tensor in mean.items():
        tensor.copy_(tensors[f"mean/{name}"])
    state = optimizer.state_dict()
    # In the order in which the optimizer was given them, which is that of `trained`.
    state["state"] = {i: {key: tensors[f"{key}/{n}"] for key in MOMENTS} for i, n in enumerate(trained)}
    optimizer.load_state_dict(state)


def exported(config: ModelConfig, state: Mapping[str, Tensor]) -> R3D2:
    """A model in float32 to save, on the CPU."""
    tensors = {key: tensor.detach().to("cpu", torch.float32) for key, tensor in state.items()}
    return assemble(config, tensors, where="the trained model")
