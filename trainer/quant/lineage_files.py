"""The lineage's own files, read without executing anything: `final_model.pt` and per-row int6 or int8 `.ptz`.

Two containers are known: `quantized`/`scales`/`passthrough` (baseline, PR #150) and `w`/`m` with NAME.q and NAME.scale
(#162 to #1413). Stacked weights ("banks", #399 on) are cut back into layers. Nothing is written in these formats.
Source: docs/recipe.md 3.1, 4.2, 4.8.
"""

from __future__ import annotations

import io
import lzma
import pickle
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import brotli
import torch
import zstandard
from torch import Tensor

from trainer.quant.bounded_streams import (
    LARGEST_CONTENT_BYTES,
    all_tensors,
    expand,
    require_plain_container,
    require_state_size,
    unbrotli,
    unlzma,
    unzlib,
    unzstd,
)
from trainer.quant.compression import unshuffled
from trainer.spec.errors import ArtifactError
from trainer.spec.tensors import BIGRAM_PROJECTION, BIGRAM_SCALE, BIGRAM_TABLE, HEAD
from trainer.spec.units import human_bytes

ZIP_MAGIC, SHUFFLE_MAGIC = b"PK", b"BSHF"  # the byte after the shuffle's is its stride
EXPANDERS = {b"\x28\xb5\x2f\xfd": unzstd, b"\xfd7zXZ\x00": unlzma, b"\x78": unzlib, b"": unbrotli}  # brotli has none
MOST_LAYERS = 1_000
COMPRESSORS_SAY = (zlib.error, lzma.LZMAError, zstandard.ZstdError, brotli.error)
DAMAGE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What code that expects a sound file may raise on another; torch's reader raises most of these."""
OLD_NAMES = {
    "lm_head.weight": HEAD,
    "bigram_hash.emb.weight": BIGRAM_TABLE,
    "bigram_hash.proj.weight": BIGRAM_PROJECTION,
    "bigram_hash.scale": BIGRAM_SCALE,
}
"""The lineage's names that are not ours; the bigram table had another one up to PR #150's v21."""
BANKS = {
    "qo_bank": ("attn.c_q.weight", "attn.proj.weight"),
    "kv_bank": ("attn.c_k.weight", "attn.c_v.weight"),
    "mlp_up_bank": ("mlp.fc.weight",),
    "mlp_down_bank": ("mlp.proj.weight",),
}
"""Stacked weights, and the roles that follow one another in each: all layers of the first, then of the second."""


def read_lineage_file(path: Path) -> dict[str, Tensor]:
    """The float32 state dict of a `.pt` or `.ptz` file, under our names.

    Raises ArtifactError for a file that is missing, damaged, holds more than tensors and plain values, or is of a
    container that is not known.
    """
    try:
        container = _unpacked(_bytes_of(path))
        require_plain_container(container)
        content = torch.load(io.BytesIO(container), map_location="cpu", weights_only=True)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, EOFError, *COMPRESSORS_SAY, *DAMAGE) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{path} holds no lineage checkpoint: {reason}") from error
    if not isinstance(content, Mapping):
        raise ArtifactError(f"{path} holds a {type(content).__name__}; expected tensors by name")
    try:
        require_state_size(all_tensors(content))
        state = {str(OLD_NAMES.get(name, name)): w.float() for name, w in _unbanked(_state(content, path)).items()}
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from error
    except DAMAGE as error:
        raise ArtifactError(f"{path} is a damaged container: {type(error).__name__} {error}") from error
    if infinite := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ArtifactError(f"{path}: {infinite[0]} holds numbers that are not finite")
    return state


def _bytes_of(path: Path) -> bytes:
    size = path.stat().st_size
    if not path.is_file() or size > LARGEST_CONTENT_BYTES:
        raise ArtifactError(f"no file of at most {human_bytes(LARGEST_CONTENT_BYTES)}")
    return path.read_bytes()


def _unpacked(data: bytes) -> bytes:
    """The bytes that `torch.save` wrote, whichever compressor is around them."""
    if data.startswith(ZIP_MAGIC):
        return data
    for magic, expander in EXPANDERS.items():
        if data.startswith(magic):
            content = expand(expander, data, LARGEST_CONTENT_BYTES).content
            return unshuffled(content[5:], content[4]) if content.startswith(SHUFFLE_MAGIC) else content
    raise AssertionError("the empty magic fits every file")


def _state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    if {"quantized", "scales", "passthrough"} <= set(content):
        codes, scales = content["quantized"], content["scales"]
        return {name: _dequantized(codes[name], scales[name]) for name in codes} | dict(content["passthrough"])
    if set(content) == {"w", "m"}:
        return _suffixed(content["w"])
    if all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    raise ArtifactError(f"{path} is of an unknown container with {', '.join(sorted(map(str, content))[:6])}")


def _suffixed(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name, tensor in stored.items():
        if name.endswith(".q"):
            state[name.removesuffix(".q")] = _dequantized(tensor, stored[f"{name.removesuffix('.q')}.scale"])
        elif not (name.endswith(".scale") and f"{name.removesuffix('.scale')}.q" in stored):
            state[name] = tensor
    return state


def _dequantized(codes: Tensor, scale: Tensor) -> Tensor:
    """Codes times their scale: one per row, or one in all. Raises ValueError for other scales: they would multiply."""
    if scale.numel() != 1 and tuple(scale.shape) != tuple(codes.shape[:1]):
        raise ValueError(f"scales of shape {tuple(scale.shape)} for codes of shape {tuple(codes.shape)}")
    return codes.float() * (scale.float().view(-1, *[1] * (codes.ndim - 1)) if scale.ndim else scale.float())


def _unbanked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {name: tensor for name, tensor in state.items() if name not in BANKS}
    for bank, roles in BANKS.items():
        if bank in state:
            if state[bank].shape[0] > len(roles) * MOST_LAYERS:
                raise ArtifactError(f"{bank} holds more than {MOST_LAYERS:,} layers")
            for role, layers in zip(roles, state[bank].chunk(len(roles)), strict=True):
                renamed |= {f"blocks.{layer}.{role}": weight for layer, weight in enumerate(layers)}
    return renamed
