"""What a training is: the keys of `config/train/*.yaml`, every one documented here. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from r3d2_ros.schema import STRICT, load_yaml, validate


def _doc(description: str, **bounds: Any) -> Any:
    return Field(description=description, **bounds)


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """The weights that training begins with: a checkpoint, or random ones of a variant."""

    __pydantic_config__ = STRICT
    checkpoint: Annotated[
        str,
        _doc(
            "checkpoint to begin with: a folder (`r3d2 model init`) or a shipped one, such as nano; empty: random "
            "weights of `variant`"
        ),
    ] = ""
    variant: Annotated[str, _doc("sizes: r3d2, r3d2-big or nano. Beside a checkpoint: empty, or what it has to be")] = (
        ""
    )
    timestep: Annotated[
        int, _doc("timestep of the single step of random weights; -1: the variant's own", ge=-1, le=999)
    ] = -1

    image_skip: Annotated[
        bool, _doc("random weights: the decoder's output is added to the input, and begins by changing nothing")
    ] = False
    reduction: Annotated[
        Literal[0, 1, 2],
        _doc("side of the squares of pixels whose means the network sees; 0: the checkpoint's, or 1"),
    ] = 0

    def __post_init__(self) -> None:
        if not self.checkpoint and not self.variant:
            raise ValueError("the folder of a checkpoint in 'checkpoint', or the name of a size in 'variant'")
        if self.checkpoint and (self.timestep >= 0 or self.image_skip):
            raise ValueError("timestep -1 and no image_skip beside a checkpoint, which says its own")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which pairs the model sees, and how."""

    __pydantic_config__ = STRICT
    folders: Annotated[
        tuple[Annotated[str, _doc("", min_length=1)], ...],
        _doc("the datasets (`r3d2 dataset build`), each once, all of their samples alike", min_length=1),
    ]
    crop_px: Annotated[
        int, _doc("side of the square cut out around an insert at a random place; 0: whole images", ge=0, le=8192)
    ] = 0
    flip: Annotated[bool, _doc("mirror half of the samples left to right")] = False
    sizes: Annotated[
        tuple[Annotated[float, _doc("", ge=0.25, le=4)], ...],
        _doc("each step shows its samples enlarged by one of these, or by two: see loss.agreement", min_length=1),
    ] = (1.0,)
    workers: Annotated[int, _doc("processes that read images; 0: the training process itself", ge=0, le=64)] = 2


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms, and what the terms are. A term of weight 0 is not computed."""

    __pydantic_config__ = STRICT
    lpips: Annotated[float, _doc("weight of LPIPS (version 0.1, VGG16)", ge=0)] = 1.0
    gram: Annotated[float, _doc("weight of the Gram-matrix loss", ge=0)] = 0.5
    l1: Annotated[float, _doc("weight of the mean absolute difference; the paper has none", ge=0)] = 0.0
    l2: Annotated[float, _doc("weight of the mean squared difference; the paper has none", ge=0)] = 0.0
    insert_weight: Annotated[
        float, _doc("in the terms l1 and l2, weight of an insert's own pixels; that of all others is 1", ge=0)
    ] = 1.0
    sun: Annotated[
        float,
        _doc("weight of the error of the sun's direction as the UNet's middle has it; the paper has none", ge=0),
    ] = 0.0
    agreement: Annotated[
        float,
        _doc(
            "weight of the mean squared difference between what is changed in the same samples at two of data.sizes; "
            "the paper has none",
            ge=0,
        ),
    ] = 0.0
    gram_normalisation: Annotated[
        Literal["film", "difix"],
        _doc("film: Gram matrices divided by the number of pixels. difix: unnormalised, then divided by (d h w)"),
    ] = "film"
    gram_crop_px: Annotated[
        int, _doc("side of one random square for the Gram term, the same in both images; 0: the whole image", ge=0)
    ] = 0
    trunk: Annotated[
        str, _doc("file of torchvision's VGG16 weights; empty: vgg16-397923af.pth in torchvision's cache")
    ] = ""

    @property
    def needs_trunk(self) -> bool:
        return self.lpips > 0 or self.gram > 0

    def __post_init__(self) -> None:
        if not (self.needs_trunk or self.l1 > 0 or self.l2 > 0):
            raise ValueError("a weight above 0 in lpips, gram, l1 or l2")


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, the learning rate rising linearly from 0 and then constant or falling."""

    __pydantic_config__ = STRICT
    learning_rate: Annotated[float, _doc("after the warm-up", gt=0, le=1)] = 1e-4
    warmup_steps: Annotated[int, _doc("steps of the linear rise", ge=0)] = 500
    decay: Annotated[Literal["constant", "cosine"], _doc("after the warm-up; cosine ends at 0")] = "constant"
    weight_decay: Annotated[float, _doc("of AdamW", ge=0, le=1)] = 1e-2
    clip_norm: Annotated[float, _doc("the gradient's largest norm", gt=0)] = 1.0


@dataclass(frozen=True, kw_only=True)
class AutoencoderStage:
    """A first stage for random weights: the autoencoder alone learns to reproduce images, by the same loss."""

    __pydantic_config__ = STRICT
    steps: Annotated[int, _doc("0: no such stage", ge=0)] = 0
    learning_rate: Annotated[float, _doc("after the warm-up, which is that of the optimizer", gt=0, le=1)] = 1e-3


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (peft) in place of the UNet's own weights; merged into them in what is written."""

    __pydantic_config__ = STRICT
    rank: Annotated[int, _doc("0: the UNet's weights themselves are trained", ge=0, le=1024)] = 0
    alpha: Annotated[float, _doc("the adapters' scale is alpha / rank", gt=0)] = 8.0


@dataclass(frozen=True, kw_only=True)
class SaveConfig:
    """What is written while it trains."""

    __pydantic_config__ = STRICT
    every: Annotated[int, _doc("steps from checkpoint to checkpoint", ge=1)] = 500
    keep: Annotated[int, _doc("so many of the newest checkpoints stay", ge=1)] = 2
    pictures_every: Annotated[int, _doc("steps from one look at the val split to the next; 0: none", ge=0)] = 500
    pictures: Annotated[int, _doc("so many samples, from all over the val split, are looked at", ge=1, le=64)] = 8
    tensorboard: Annotated[bool, _doc("write scalars and pictures for TensorBoard")] = True
    log_every: Annotated[int, _doc("steps from one line of log.jsonl to the next", ge=1)] = 10


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training."""

    __pydantic_config__ = STRICT
    out: Annotated[str, _doc("folder of everything that it writes", min_length=1)]
    model: ModelSource
    data: DataConfig
    steps: Annotated[int, _doc("of the model; those of the autoencoder stage come before", ge=1)]
    batch: Annotated[int, _doc("samples in each process and step", ge=1, le=1024)] = 1
    seed: Annotated[int, _doc("of weights, order, crops", ge=0, lt=2**31)] = 0
    precision: Annotated[
        Literal["float32", "bfloat16"], _doc("in which the networks compute; weights and sums stay float32")
    ] = "bfloat16"
    train_encoder: Annotated[bool, _doc("train the encoder with the rest; the paper keeps it frozen")] = False
    gradient_checkpointing: Annotated[bool, _doc("compute activations again instead of keeping them")] = True
    ema: Annotated[
        float, _doc("decay of a running mean of the weights, which is what is written; 0: none", ge=0, lt=1)
    ] = 0.0
    threads: Annotated[
        int, _doc("CPU threads of each process, on which the last bits depend; 0: PyTorch's choice", ge=0, le=1024)
    ] = 0
    licences: Annotated[
        tuple[str, ...],
        _doc(
            "of the data, for the checkpoint: NAME;SOURCE;commercial or non-commercial, SOURCE being the name of a "
            "dataset's folder, with a comma and more behind it if you like. Procedural datasets need none"
        ),
    ] = ()
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    autoencoder: AutoencoderStage = field(default_factory=AutoencoderStage)
    loss: LossConfig = field(default_factory=LossConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    save: SaveConfig = field(default_factory=SaveConfig)

    def __post_init__(self) -> None:
        if self.model.checkpoint and self.autoencoder.steps:
            raise ValueError("autoencoder.steps 0 beside model.checkpoint, whose autoencoder is trained")
        if len(set(self.data.sizes)) < len(self.data.sizes):
            raise ValueError(f"data.sizes that differ, not {self.data.sizes}")
        if self.loss.agreement and len(self.data.sizes) < 2:
            raise ValueError("two data.sizes or more beside loss.agreement, which compares two of them")


FREE = ("out", "threads", "licences", "data.folders", "data.workers", "save")
"""Keys that may change when a training is resumed: its weights do not depend on them. On the number of threads that
computes on a CPU and on the samples they do depend, whichever way these were chosen: `states.Bound` has them."""


def load_train_config(path: str | Path) -> TrainConfig:
    """A training's file. InputError(s): every fault with its key."""
    return validate(TrainConfig, load_yaml(path), str(path))


def bound_keys(config: TrainConfig) -> dict[str, Any]:
    """Dotted key -> value of everything that the weights depend on."""
    found: dict[str, Any] = {}
    for name, value in asdict(config).items():
        for key, inner in (
            {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        ).items():
            if not is_free(key):
                found[key] = inner
    return found


def is_free(key: str) -> bool:
    """Whether a dotted key may change when a training is resumed."""
    return key in FREE or key.split(".")[0] in FREE
