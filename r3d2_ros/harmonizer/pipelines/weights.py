"""Whether the files of a pipeline folder hold every number of its parts.

diffusers and transformers fill a tensor that no file has with random numbers, or leave it without any, and say so in
their logs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
from diffusers import ModelMixin
from diffusers.utils import is_transformers_available
from torch import Tensor, nn

from r3d2_ros.errors import InputError, InputErrors
from r3d2_ros.harmonizer.model.tensor_files import Shapes, check_keys, listed, modern_attention, read_shapes, shapes_of
from r3d2_ros.harmonizer.pipelines.folders import Component, PipelineFolder

HINT = "Get the whole repository again"


def check_weights(folder: PipelineFolder) -> None:
    """InputErrors for tensors that parts of diffusers' own classes lack, in other shapes, or that they do not have.

    Nothing of the folder is run. Where loading runs code of it, that may put adapters on a part and read more of its
    file: weights below adapters count, and what the part does not have is named only beside what it lacks.
    """
    faults: list[InputError] = []
    for component in folder.components:
        known = _class_of(component, folder)
        needed = _needed(known, folder.path / component.name) if known else None
        if needed is None:
            continue
        present = _present(folder.weight_files(component.name), adapters=bool(folder.code))
        if folder.code and needed.keys() <= present.keys():
            present = {key: present[key] for key in needed}
        try:
            check_keys(str(folder.path / component.name), needed=needed, present=present, hint=HINT)
        except InputErrors as errors:
            faults += errors.faults
    if faults:
        raise InputErrors(faults)


def _class_of(component: Component, folder: PipelineFolder) -> type[ModelMixin] | None:
    """The network that diffusers itself has for a part; None for every other part."""
    if (folder.path / component.name / f"{component.library}.py").is_file():
        return None
    home = diffusers if component.library == "diffusers" else getattr(diffusers.pipelines, component.library, None)
    known = getattr(home, component.class_name, None)
    return known if isinstance(known, type) and issubclass(known, ModelMixin) else None


def _needed(known: type[ModelMixin], path: Path) -> Shapes | None:
    """What a network of its configuration holds, without the memory for it.

    None where that cannot be known before it is loaded: quantized ones, and those that compute when they are built.
    """
    try:
        config = known.load_config(path, local_files_only=True)
        with torch.device("meta"):
            model = known.from_config(config)
    except Exception:  # loading says what is wrong, if it is
        return None
    return None if config.get("quantization_config") else shapes_of(model.state_dict().items())


def _present(files: list[Path], *, adapters: bool) -> dict[str, tuple[int, ...]]:
    found = {key: shape for file in files for key, shape in read_shapes(file).items()}
    tensors = {key: torch.empty(shape, device="meta") for key, shape in found.items()}
    present = shapes_of(modern_attention(tensors).items())
    if adapters:
        present |= {key.replace(".base_layer.", "."): shape for key, shape in present.items()}
    return present


@dataclass(frozen=True)
class Gap:
    """A part that was loaded although its files lack tensors: each of them, and a copy of what it held then."""

    where: str
    part: nn.Module
    tensors: dict[str, tuple[Tensor, Tensor]]

    def unfilled(self) -> list[str]:
        """Keys of those that are still in use and hold what they held."""
        used = {id(tensor) for tensor in (*self.part.parameters(), *self.part.buffers())}
        return sorted(key for key, (now, then) in self.tensors.items() if id(now) in used and _is_same(now, then))


@contextmanager
def noting_gaps(folder: PipelineFolder) -> Iterator[list[Gap]]:
    """Notes the parts of `folder`, of whatever class, that are loaded in this block and lack tensors."""
    gaps: list[Gap] = []
    with ExitStack() as stack:
        for base in _loading_classes():
            stack.enter_context(patch.object(base, "from_pretrained", _noting(base, folder, gaps)))
        yield gaps


def check_filled(gaps: list[Gap]) -> None:
    """InputErrors for tensors that no file of their part has and that no code has filled from elsewhere."""
    faults = []
    for gap in gaps:
        if keys := gap.unfilled():
            expected = f"files with all tensors of {type(gap.part).__name__}"
            faults.append(InputError(gap.where, expected, f"{len(keys)} missing: {listed(keys)}", HINT))
    if faults:
        raise InputErrors(faults)


def _loading_classes() -> list[Any]:
    if not is_transformers_available():
        return [ModelMixin]
    from transformers import PreTrainedModel

    return [ModelMixin, PreTrainedModel]


def _noting(base: Any, folder: PipelineFolder, gaps: list[Gap]) -> Any:
    original = base.from_pretrained.__func__
    parts = {folder.path / component.name for component in folder.components}

    def from_pretrained(cls: Any, source: Any, *args: Any, output_loading_info: bool = False, **options: Any) -> Any:
        part, facts = original(cls, source, *args, output_loading_info=True, **options)
        missing = set(facts.get("missing_keys", ()))
        if missing and Path(str(source)) in parts:
            every = (*part.named_parameters(remove_duplicate=False), *part.named_buffers(remove_duplicate=False))
            tensors = {key: (tensor, tensor.detach().clone()) for key, tensor in every if key in missing}
            gaps.append(Gap(str(source), part, tensors))
        return (part, facts) if output_loading_info else part

    return classmethod(from_pretrained)


def _is_same(now: Tensor, then: Tensor) -> bool:
    """Whatever was not filled may be NaN, and the part may have become one of another dtype since."""
    if now.is_meta:
        return True
    first, second = now.detach().cpu(), then.to("cpu", now.dtype)
    return first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())
