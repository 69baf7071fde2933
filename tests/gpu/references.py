"""What the rungs of a step share, made once by a process beside them: `python -m tests.gpu.references FOLDER`.

First of all, while nobody else uses the GPU, attention kernels are chosen, which stay in the cache folder. Then come
the float32 references and the errors of the plain module in 16 bit, size by size.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import torch

from r3d2_ros.bench.harmonizer import accuracy
from r3d2_ros.bench.harmonizer.accuracy import SIXTEEN_BIT, Error, Reference
from r3d2_ros.bench.harmonizer.network import Bench, Work
from r3d2_ros.bench.harmonizer.protocol import QUICK
from r3d2_ros.harmonizer.model.checkpoints import load_config
from r3d2_ros.harmonizer.model.r3d2 import DTYPES, R3D2, pad_image
from r3d2_ros.harmonizer.model.variants import variant
from r3d2_ros.harmonizer.runtime.attention import AttentionKernels, attention_shapes
from r3d2_ros.harmonizer.runtime.kernel_cache import cache_folder
from r3d2_ros.harmonizer.runtime.numerics import numerics
from tests.gpu.rung import TASK, Task
from tests.gpu.wave import leave, wait_for

CHOSEN = "attention"
Yardsticks = dict[str, Error | None]


def main() -> None:
    folder = Path(sys.argv[1])
    tasks: list[Task] = pickle.loads((folder / TASK).read_bytes())
    for task in tasks:
        choose_attention(task)
    (folder / CHOSEN).touch()
    accuracy.numerics = _without_measuring  # type: ignore[attr-defined]
    model, device = tasks[0].model(), tasks[0].setting.device
    for size in dict.fromkeys(task.size for task in tasks):
        dtypes = {task.config.dtype for task in tasks if task.size == size}
        made = make_references(model, size, device, dtypes=dtypes.intersection(SIXTEEN_BIT))
        leave(reference_file(folder, size), functools.partial(torch.save, made))


def choose_attention(task: Task) -> None:
    """For a rung's images, unless its configuration names a kernel or pins it."""
    config, setting = task.config, task.setting
    if config.runtime.attention != "auto" or config.runtime.deterministic:
        return
    own = load_config(setting.checkpoint) if setting.checkpoint else variant(setting.variant(task.variant))
    padded = pad_image(torch.empty(task.rung.batch, 3, *task.size, device="meta"), own.padding)
    dtype = torch.float16 if config.dtype == "float8" else DTYPES[config.dtype]  # type: ignore[index]
    folder = cache_folder(config.runtime.cache)
    kernels = AttentionKernels(config.runtime, device=setting.device, dtype=dtype, folder=folder)
    kernels._joined = config.rewrites.join_projections
    with numerics(setting.device, deterministic=False):
        kernels.choose(attention_shapes(own, padded.shape))


def make_references(
    model: R3D2, size: tuple[int, int], device: torch.device, *, dtypes: Collection[str]
) -> tuple[Reference, Yardsticks]:
    bench = Bench(model, Work(size, batch=1, protocol=QUICK, runs=1), device, say=_say)
    return bench.reference(), {dtype: bench.yardstick(dtype) for dtype in sorted(dtypes)}


def wait_for_attention(folder: Path) -> None:
    wait_for(folder / CHOSEN)


def wait_for_references(folder: Path, size: tuple[int, int]) -> tuple[Reference, Yardsticks]:
    path = reference_file(folder, size)
    wait_for(path)
    return torch.load(path, weights_only=False)  # our own, of this minute


def reference_file(folder: Path, size: tuple[int, int]) -> Path:
    return folder / f"{size[0]}x{size[1]}.pt"


@contextlib.contextmanager
def _without_measuring(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """To find the fastest float32 kernels takes minutes, for a handful of passes."""
    with numerics(device, deterministic=deterministic):
        torch.backends.cudnn.benchmark = False
        yield


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
