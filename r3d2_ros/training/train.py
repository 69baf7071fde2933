"""The training loop. Read it from the top: sources, two stages, and one step.

Every random number follows from (seed, stage, step, process), and so does the choice of samples. A step therefore needs
nothing from earlier ones but the weights, the optimizer and the running mean: what a checkpoint holds. On a CPU a
training that was interrupted and resumed gives the bytes of one that was not.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from r3d2_ros.dataset.samples import Sample
from r3d2_ros.errors import InputError
from r3d2_ros.formats.files import make_folder
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.locks import lock
from r3d2_ros.resources import user_path
from r3d2_ros.training.config import TrainConfig, bound_keys
from r3d2_ros.training.data import Batch, batches
from r3d2_ros.training.endings import ended_from_outside
from r3d2_ros.training.logs import Logs
from r3d2_ros.training.looks import look, spread
from r3d2_ros.training.losses import TrainingLoss
from r3d2_ros.training.sizes import at_size, draw_sizes, loss_at_sizes
from r3d2_ros.training.sources import (
    check_suns,
    initial_model,
    listed,
    open_datasets,
    split_of,
    start_keys,
    with_origin,
)
from r3d2_ros.training.stages import build_stage, checkpoint_activations, merged_state, precision, trained
from r3d2_ros.training.states import (
    Bound,
    Checkpoints,
    Reached,
    StageName,
    collect,
    exported,
    read_reached,
    restore,
)

STAGES: tuple[StageName, ...] = ("autoencoder", "harmonizer")


@dataclass(frozen=True)
class Ended:
    """The newest checkpoint, whether the training is complete, and whether this is the process that says so."""

    checkpoint: Path
    complete: bool
    main: bool


def train(config: TrainConfig, *, resume: bool, stop: threading.Event) -> Ended:
    """Train as `config` says, or go on from the newest checkpoint in its folder; end early when `stop` is set.

    InputError(s): for data, weights or folders that cannot be used, a loss that is not finite (with the names of the
    samples), a checkpoint that cannot be written, and what `ended_from_outside` tells.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    # Precision is set in each step: accelerate fixes it once for the whole process. Without cpu=True it does not join
    # the processes of a launcher on a machine without a GPU.
    accelerator = Accelerator(mixed_precision="no", cpu=not torch.cuda.is_available())
    out = user_path(config.out, "out")
    make_folder(out)
    held = lock(out, by="a training") if accelerator.is_main_process else None
    try:
        return _train(config, accelerator, out, resume=resume, stop=stop)
    except RuntimeError as error:
        told = ended_from_outside(error, Checkpoints(out).newest())
        if told is None:
            raise
    finally:
        if held is not None:
            os.close(held)
    # Not from the error: it holds the loader, which tells of its dead process again whenever another process ends.
    raise told


def _train(config: TrainConfig, accelerator: Accelerator, out: Path, *, resume: bool, stop: threading.Event) -> Ended:
    newest = place_to_begin(out, resume=resume)
    datasets = open_datasets(config)
    samples, val = split_of(datasets, "train"), split_of(datasets, "val")
    check_suns(config, samples)
    bound = Bound(
        processes=accelerator.num_processes,
        threads=torch.get_num_threads() if accelerator.device.type == "cpu" else None,
        samples=listed(datasets),
        config=bound_keys(config) | start_keys(config),
    )
    reached = read_reached(newest, bound) if newest else None
    # The model first lies on the CPU; `accelerate` moves what it wraps.
    model = initial_model(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.config = with_origin(model.config, config, datasets)
    loss = TrainingLoss(config.loss).to(accelerator.device)
    if config.gradient_checkpointing:
        checkpoint_activations(model)
    for stage in STAGES[STAGES.index(reached.stage) if reached else 0 :]:
        run = Run(config, accelerator, model, loss, stage, out, bound=bound)
        if reached and newest and reached.stage == stage:
            run.resume(newest, reached.step)
        if run.begin < run.steps:
            ended = run.train(samples, spread(val, config.save.pictures), stop)
            if not ended.complete:
                return ended
        run.close()
    last = Checkpoints(out).newest()
    assert last is not None
    return Ended(last, complete=True, main=accelerator.is_main_process)


class Run:
    """One stage: the module that is trained, its optimizer, and the running mean of its weights."""

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        model: R3D2,
        loss: TrainingLoss,
        stage: StageName,
        out: Path,
        *,
        bound: Bound,
    ) -> None:
        self.config, self.accelerator, self.model, self.loss, self.name, self.out = (
            config, accelerator, model, loss, stage, out
        )  # fmt: skip
        self.bound = bound
        first = stage == "autoencoder"
        self.steps = config.autoencoder.steps if first else config.steps
        self.peak = config.autoencoder.learning_rate if first else config.optimizer.learning_rate
        self.begin = 0
        if self.steps == 0:
            return
        # Adapters are drawn as they are added: by the seed, not by what ran before.
        torch.manual_seed(drawn(np.random.SeedSequence(config.seed, spawn_key=(STAGES.index(stage),))))
        self.stage = build_stage(model, config, autoencoder=first)
        self.trained = trained(self.stage)
        optimizer = torch.optim.AdamW(self.trained.values(), lr=self.peak, weight_decay=config.optimizer.weight_decay)
        self.module, self.optimizer = accelerator.prepare(self.stage.train(), optimizer)
        kept = self.trained if config.ema and not first else {}
        self.mean = {name: parameter.detach().clone() for name, parameter in kept.items()}
        self.average = get_ema_multi_avg_fn(config.ema)
        self.checkpoints = Checkpoints(out)

    def resume(self, folder: Path, step: int) -> None:
        """Go on behind `step` steps, from the tensors of a checkpoint."""
        self.begin = step
        plain = self.optimizer.optimizer
        restore(folder, model=self.model, trained=self.trained, optimizer=plain, mean=self.mean)

    def train(self, samples: Sequence[Sample], val: Sequence[Sample], stop: threading.Event) -> Ended:
        """All steps that are left, or until `stop` is set in any of the processes."""
        config, accelerator = self.config, self.accelerator
        loader = batches(
            config, samples, begin=self.begin, end=self.steps,
            rank=accelerator.process_index, processes=accelerator.num_processes,
        )  # fmt: skip
        logs = Logs(self.out, config.save, stage=self.name, begin=self.begin, steps=self.steps) if self.main else None
        done, saved = self.begin, self.checkpoints.newest()
        try:
            for step, batch in zip(range(self.begin, self.steps), loader, strict=True):
                values = self.step(step, batch.to(accelerator.device))
                done = step + 1
                stopped = self.any_process(stop.is_set())
                if logs:
                    logs.step(done, values)
                if stopped or done == self.steps or done % config.save.every == 0:
                    with logs.aside() if logs else nullcontext():
                        saved = self.save(done)
                looks = val and config.save.pictures_every and done % config.save.pictures_every == 0
                if logs and looks:  # behind the checkpoint, which a picture that cannot be read leaves there
                    with logs.aside():
                        logs.look(done, *look(self.stage, self.mean, val, self.name, config))
                if stopped:
                    break
        finally:
            if logs:
                logs.close()
        assert saved is not None
        return Ended(saved, complete=done == self.steps, main=self.main)

    def step(self, step: int, batch: Batch) -> dict[str, Tensor]:
        """One update of the weights. InputError for a loss or gradient that is not finite: nothing is updated."""
        place = [self.config.seed, STAGES.index(self.name), step, self.accelerator.process_index]
        seed = drawn(np.random.SeedSequence(place))
        torch.manual_seed(seed)
        self.optimizer.param_groups[0]["lr"] = rate = learning_rate(self.config, self.peak, step, self.steps)
        if self.name == "autoencoder":  # both are pictures that it will have to carry, taken by turns
            wanted = batch.input if step % 2 else batch.target
            batch = replace(batch, input=wanted, target=wanted)
        shown = [at_size(batch, size) for size in self.sizes(step)]
        with precision(self.config, self.accelerator.device):
            terms = loss_at_sizes(self.module, self.loss, shown, seed)
        self.accelerator.backward(terms["total"])
        norm = self.accelerator.clip_grad_norm_(self.trained.values(), self.config.optimizer.clip_norm)
        self.check(step, terms, norm, batch)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.mean:
            self.average(list(self.mean.values()), [self.trained[name].detach() for name in self.mean], step + 1)
        return {**terms, "gradient": norm, "learning_rate": torch.tensor(rate)}

    def sizes(self, step: int) -> tuple[float, ...]:
        """At which all processes show a step's samples: two where the agreement of what is changed counts."""
        rng = np.random.default_rng([self.config.seed, 2, STAGES.index(self.name), step])
        compared = self.name == "harmonizer" and self.config.loss.agreement > 0
        return draw_sizes(self.config.data.sizes, 2 if compared else 1, rng)

    def check(self, step: int, terms: dict[str, Tensor], norm: Tensor, batch: Batch) -> None:
        """The gradient is that of all processes, so it is not finite in all of them where a loss in one is not."""
        if torch.isfinite(norm) and torch.isfinite(terms["total"]):
            return
        mine = [] if torch.isfinite(terms["total"]) else list(batch.names)
        everyone = gather_object(mine) or gather_object(list(batch.names))
        values = ", ".join(f"{name} {float(value.detach()):g}" for name, value in terms.items())
        last = self.checkpoints.newest()
        hint = f"Look at these samples; {last} is before it" if last else "Look at these samples"
        where = f"step {step + 1} of the {self.name}: samples {', '.join(everyone)}"
        raise InputError(where, "a finite loss and gradient", f"{values}, gradient {float(norm):g}", hint)

    def save(self, done: int) -> Path:
        """A checkpoint of `done` steps, by the main process."""
        accelerator = self.accelerator
        reached = Reached(stage=self.name, step=done, **vars(self.bound))
        place = self.checkpoints.folder / reached.name
        if self.main:
            weights = self.model.state_dict()
            model = exported(self.model.config, merged_state(self.model, self.config.lora, self.mean))
            tensors = collect(weights, self.trained, self.optimizer.optimizer, self.mean)
            self.checkpoints.write(reached, model=model, tensors=tensors, keep=self.config.save.keep)
        accelerator.wait_for_everyone()
        return place

    def close(self) -> None:
        """Let go of the optimizer, so that the next stage has its memory."""
        self.accelerator.free_memory()

    @property
    def main(self) -> bool:
        return self.accelerator.is_main_process

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in one of them."""
        if self.accelerator.num_processes == 1:
            return flag
        mine = torch.tensor(float(flag), device=self.accelerator.device)
        return bool(self.accelerator.reduce(mine, "sum") > 0)


def drawn(sequence: np.random.SeedSequence) -> int:
    """A seed for PyTorch."""
    return int(sequence.generate_state(1)[0])


def learning_rate(config: TrainConfig, peak: float, step: int, steps: int) -> float:
    """Of a step, the first being 0: a linear rise that reaches `peak` in the last step of the warm-up, then as the
    configuration says."""
    warm_up = min(config.optimizer.warmup_steps, steps)
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if config.optimizer.decay == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def place_to_begin(out: Path, *, resume: bool) -> Path | None:
    """The checkpoint to go on from, or None for a new training. InputError where `out` is not what `resume` says."""
    newest = Checkpoints(out).newest()
    if resume and newest is None:
        raise InputError(str(out), "a training to go on with", "no checkpoint of one", "Leave --resume out")
    if not resume and newest is not None:
        hint = "Go on with it by --resume, or name another folder in 'out'"
        raise InputError(str(out), "a folder without a training", f"one with {newest.name}", hint)
    return newest
