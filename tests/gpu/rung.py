"""One row of the network's measurements: what is run, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from r3d2_ros.bench.harmonizer.protocol import PAPER_SIZE, Protocol
from r3d2_ros.bench.harmonizer.weights import model_to_measure
from r3d2_ros.harmonizer.model.r3d2 import R3D2
from r3d2_ros.harmonizer.settings import Float8Config, HarmonizerConfig, RewritesConfig, RuntimeConfig
from tests.gpu.setting import Setting

TASK = "task.pickle"
"""In a process's folder, what it is to do."""


@dataclass(frozen=True)
class Rung:
    """One row: `size` None is the paper's. `of`: the variants in which it is a row of its own."""

    name: str
    runtime: RuntimeConfig
    rewrites: RewritesConfig
    dtype: str = "float16"
    float8: Float8Config = field(default_factory=Float8Config)
    batch: int = 1
    size: tuple[int, int] | None = None
    of: tuple[str, ...] = ("r3d2", "r3d2-big")


@dataclass(frozen=True)
class Task:
    """A rung for the process that measures it.

    references  the folder of what the rungs of a step share
    """

    rung: Rung
    setting: Setting
    variant: str
    protocol: Protocol
    profile: bool
    references: Path

    @property
    def size(self) -> tuple[int, int]:
        return self.setting.size(*(self.rung.size or PAPER_SIZE))

    def model(self) -> R3D2:
        """In float32 on the CPU; random weights are the same for all."""
        checkpoint = self.setting.checkpoint
        return model_to_measure(
            str(checkpoint) if checkpoint else None, self.setting.variant(self.variant), seed=0
        )

    @property
    def config(self) -> HarmonizerConfig:
        return rung_config(self.rung, self.setting)


def rung_config(rung: Rung, setting: Setting) -> HarmonizerConfig:
    """On a CPU without what only a GPU has."""
    runtime = replace(rung.runtime, max_batch=max(rung.batch, 1))
    if setting.rehearsal:
        # A CPU compiles for minutes.
        runtime = replace(runtime, kind="eager", attention="auto", cuda_graph=False)
    return HarmonizerConfig(
        device=str(setting.device),
        dtype=setting.dtype(rung.dtype),  # type: ignore[arg-type]
        float8=rung.float8,
        runtime=runtime,
        rewrites=rung.rewrites,
    )
