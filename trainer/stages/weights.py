"""Weights on disk as safetensors, and the model they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from trainer.nn.attention_backend import attention_backend
from trainer.nn.gpt import GPT
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Model
from trainer.spec.tensors import LANE_MERGE


def build_model(section: Model, vocab_size: int, device: torch.device) -> GPT:
    """An uninitialised model on `device`, with the best attention this machine has."""
    model = GPT(section, vocab_size, attention_backend(device, _compute_dtype(section)))
    return model.to(device)


def require_shapes(source: str, section: Model, vocab_size: int, state: Mapping[str, Tensor], hint: str) -> None:
    """Raises ArtifactError unless the tensors are those of such a model, for which no memory is taken.

    hint:  what a wrong tensor suggests
    """
    with torch.device("meta"):
        outline = GPT(section, vocab_size)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in outline.state_dict().items()}
    wrong = [
        f"{name}: {shapes.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')}"
        for name in sorted({*expected, *shapes})
        if shapes.get(name) != expected.get(name)
    ]
    if LANE_MERGE in shapes and LANE_MERGE not in expected:
        raise ArtifactError(
            f"{source} holds {LANE_MERGE}: its model keeps two residual lanes and merges them at the end, as #1477 "
            "does; model.parallel_residual has one lane, so no recipe reads this file"
        )
    if wrong:
        more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        listed = "\n  ".join(wrong[:5])
        raise ArtifactError(f"{source} {hint}\n  {listed}{more}")


def attention_of(section: Model, device: torch.device) -> str:
    """Name of the attention back end that `build_model` takes here."""
    return attention_backend(device, _compute_dtype(section)).name


def _compute_dtype(section: Model) -> torch.dtype:
    return torch.bfloat16 if section.compute_dtype == "bfloat16" else torch.float32


def save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Writes float32 tensors by name; the same tensors give the same bytes. Raises OSError as any file does."""
    path.write_bytes(save({name: weights[name].detach().cpu().contiguous() for name in sorted(weights)}))


def load_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Reads what `save_weights` wrote; nothing in the file is executed."""
    return load_file(path, device=str(device))
