"""The prompt's embedding, from a file or, once, from Stable Diffusion's text encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from r3d2_ros.errors import InputError, MissingPackageError
from r3d2_ros.harmonizer.model.tensor_files import listed, read_tensors
from r3d2_ros.harmonizer.pipelines.code import reported

KEY = "prompt_embedding"


def read_prompt(path: Path) -> Tensor:
    """[1, tokens, width] in float32 from a safetensors file: its only tensor, or the one named `prompt_embedding`."""
    tensors = read_tensors(path)
    if KEY not in tensors and len(tensors) != 1:
        raise InputError(str(path), f"one tensor, or one named '{KEY}'", listed(sorted(tensors)) or "no tensor")
    return as_prompt(tensors.get(KEY, next(iter(tensors.values()))), where=str(path))


def as_prompt(tensor: Tensor, *, where: str) -> Tensor:
    """`tensor` as [1, tokens, width] float32. InputError for another shape, or values that are not finite."""
    shaped = tensor.unsqueeze(0) if tensor.ndim == 2 else tensor
    if shaped.ndim != 3 or shaped.shape[0] != 1 or 0 in shaped.shape:
        raise InputError(where, "a shape [tokens, width] or [1, tokens, width]", str(list(tensor.shape)))
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise InputError(where, "finite floating-point values", f"dtype {tensor.dtype} or NaN")
    return shaped.float()


def embed_prompt(base: Path, text: str) -> Tensor:
    """[1, tokens, width] of `text` by the text encoder of a Stable Diffusion folder, padded as in its training.

    InputError when the folder has none, MissingPackageError without transformers.
    """
    for name in ("tokenizer", "text_encoder"):
        if not (base / name).is_dir():
            hint = "Give the embedding itself with --prompt-embedding FILE"
            raise InputError(str(base / name), "a folder, to embed the prompt", "no such folder", hint)
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError:
        raise MissingPackageError("transformers", "Embedding a prompt", "pip install transformers") from None
    with reported(str(base / "tokenizer"), "a tokenizer that transformers can load"):
        tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True)
    path = base / "text_encoder"
    with reported(str(path), "a text encoder that transformers can load"):
        encoder, facts = CLIPTextModel.from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    if missing := sorted(facts["missing_keys"]):  # filled with random numbers
        raise InputError(str(path), "all weights of a text encoder", f"without {listed(missing)}", "Get the whole file")
    tokens = tokenizer(
        text, max_length=tokenizer.model_max_length, padding="max_length", truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        return as_prompt(encoder(tokens.input_ids)[0], where=f"prompt '{text}'")
