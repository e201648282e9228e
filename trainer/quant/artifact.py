"""The artifact: the counted bytes of a model, from which scoring starts.

    b"FAIRWAY" · version (1 byte, also the compressor) · one compressed and checked frame, around
    a safetensors file: the stored tensors, and one metadata entry with the model section and the vocabulary

Deterministic (same weights, same bytes) and without pickle: reading it executes no code. Contains no
tokenizer. Its size for the budget is `len(artifact)`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import Tensor

from trainer.quant.compression import compress, decompress
from trainer.quant.gptq import Hessian
from trainer.quant.packing import pack, unpack
from trainer.spec.errors import ArtifactError
from trainer.spec.json_text import parse_json
from trainer.spec.recipe import Model, Quantization
from trainer.spec.units import human_bytes

MAGIC = b"FAIRWAY"
METADATA_KEY = "fairway"
"""The only metadata key: safetensors keeps no order between several."""

LARGEST_HEADER_BYTES = 2**22
LARGEST_WIDTH, MOST_LAYERS = 2**20, 1_000
"""Beyond every model that fits: of widths, tables and lengths; of layers and of their repetitions."""

START_ONLY = {"bigram_projection_init"}
"""Fields of the model that say how training starts, and came after the format: artifacts stay as they were."""


@dataclass(frozen=True, eq=False)
class Artifact:
    """A decoded model."""

    model: Model
    vocab_size: int
    state: dict[str, Tensor]
    """float32 tensors by name, on the CPU."""


def encode_artifact(
    state: Mapping[str, Tensor],
    model: Model,
    vocab_size: int,
    quantization: Quantization,
    hessians: Mapping[str, Hessian] | None = None,
    between: Callable[[], None] = lambda: None,
    coarser: float = 1.0,
) -> bytes:
    """The artifact of trained weights; `hessians` by matrix name are what GPTQ weighs its errors by.

    between:  called before each tensor and before compression; what it raises leaves here
    coarser:  what every row scale is multiplied by
    Raises ArtifactError for weights that cannot be stored.
    """
    stored = pack(state, quantization, hessians, between, coarser)
    between()
    return encode_stored(stored, model, vocab_size, quantization)


def encode_stored(stored: Mapping[str, Tensor], model: Model, vocab_size: int, quantization: Quantization) -> bytes:
    """The artifact of what `pack` made of trained weights."""
    header = {"model": model.model_dump(mode="json", exclude=START_ONLY), "vocab_size": vocab_size}
    metadata = {METADATA_KEY: json.dumps(header, sort_keys=True)}
    return MAGIC + compress(safetensors.torch.save(dict(stored), metadata), quantization)


def decode_artifact(data: bytes) -> Artifact:
    """The model behind an artifact's bytes.

    Raises ArtifactError for bytes that are not ours, of another version, truncated, damaged, or absurdly large.
    """
    if not data.startswith(MAGIC):
        raise ArtifactError(f"no artifact: the bytes start with {data[: len(MAGIC)]!r}, expected {MAGIC!r}")
    content = decompress(data[len(MAGIC) :])
    try:
        header = _header(content)
        stored = safetensors.torch.load(content)
        model, vocab_size = Model.model_validate(header["model"]), _vocab_size(header["vocab_size"])
    except (SafetensorError, ValidationError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the artifact's content is not a model of this version: {error}") from error
    _refuse_absurd(model)
    return Artifact(model, vocab_size, unpack(stored))


def _header(content: bytes) -> dict[str, Any]:
    # safetensors: 8 bytes little-endian length, then JSON; its bytes API does not hand out the metadata
    length = int.from_bytes(content[:8], "little")
    if length > min(len(content), LARGEST_HEADER_BYTES):
        raise ValueError(
            f"its header claims {human_bytes(length)}; at most {human_bytes(LARGEST_HEADER_BYTES)} are read"
        )
    header: dict[str, Any] = parse_json(parse_json(content[8 : 8 + length])["__metadata__"][METADATA_KEY])
    return header


def _vocab_size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_WIDTH:
        raise ValueError(f"vocab_size = {str(value)[:20]} must be an integer from 1 to {LARGEST_WIDTH:,}")
    return value


def _refuse_absurd(model: Model) -> None:
    """Sizes that no model has; whether they are those of the stored tensors is seen where the model is built."""
    for name, value in model.model_dump(mode="json").items():
        most = MOST_LAYERS if name in ("num_layers", "recur_loops") else LARGEST_WIDTH
        if isinstance(value, int) and value > most:
            raise ArtifactError(f"the artifact's model.{name} = {str(value)[:20]} is beyond {most:,}")
