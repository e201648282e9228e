"""Chooses how each tensor is stored, and converts a state dict to stored tensors and back.

Training with fake quantisation, export and loading all use `storage_of`, so they agree. `artifact` compresses the
result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from trainer.quant.bounded_streams import require_state_size
from trainer.quant.fake_quant import RowScale, dequantize_rows, fake_float16, fake_quantize, quantize_rows
from trainer.quant.gptq import Hessian, gptq_rows
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Quantization
from trainer.spec.tensors import EMBEDDING, is_control

ROW_SCALE = ".row_scale"
"""Suffix of the tensor that holds the scales of an integer tensor."""
BLOCKS = "blocks."
"""Start of the names of all matrices inside the transformer blocks."""
MLP, ATTENTION = "mlp", "attn"
"""Third parts of these names: the role of the matrix."""


def storage_of(name: str, shape: Sequence[int], quantization: Quantization) -> str:
    """How a float tensor is stored: 'float32', 'float16', or 'int4' to 'int8' (one code per byte, scales beside it).

    Controls and everything below two dimensions follow the switch `controls`, controls of two dimensions the switch
    `gates`, the token embedding its own; other matrices with more than `min_elements` weights become integers (those
    outside the blocks by the switch `tables`) unless `keep_float16` names them, the rest float16.
    Source: docs/recipe.md 4.1.
    """
    if is_control(name) or len(shape) < 2:
        return "int8" if quantization.gates == "int8" and len(shape) == 2 else quantization.controls
    if name == EMBEDDING:
        return quantization.embedding
    if len(shape) == 2 and shape[0] * shape[1] > quantization.min_elements and name not in quantization.keep_float16:
        return f"int{bits_of(name, quantization)}"
    return "float16"


def bits_of(name: str, quantization: Quantization) -> int:
    """Bits per weight of a large matrix, by its role: MLP, attention, outside the blocks, or any other."""
    if quantization.tables == "int8" and not name.startswith(BLOCKS):
        return 8
    of_role = {MLP: quantization.mlp_bits, ATTENTION: quantization.attention_bits}.get(role_of(name))
    return quantization.matrix_bits if of_role is None else of_role


def role_of(name: str) -> str:
    """'mlp' or 'attn' of a matrix in the blocks; empty for all others."""
    return name.split(".")[2] if name.startswith(BLOCKS) else ""


def searches_clip(name: str, quantization: Quantization) -> bool:
    """Whether the rows of an integer tensor take the best of several clips."""
    searched = quantization.clip_search_in == "everywhere" or name.startswith(BLOCKS)
    return quantization.method == "clip_search" and searched and not is_control(name)


def clip_stds_of(name: str, quantization: Quantization) -> float:
    """SDClip's k of a tensor: by its role, embedding, MLP, attention or any other (docs/recipe.md 4.5)."""
    if name == EMBEDDING:
        return quantization.embedding_clip_stds
    of_role = {MLP: quantization.mlp_clip_stds, ATTENTION: quantization.attention_clip_stds}.get(role_of(name))
    return quantization.clip_stds if of_role is None else of_role


def row_scale(name: str, quantization: Quantization, coarser: float | Tensor = 1.0) -> RowScale:
    """The scale rule of a tensor that is rounded to nearest; controls have their row's maximum (docs/recipe.md 4.7)."""
    if is_control(name):
        return RowScale()
    rule = "row_max" if quantization.method == "gptq" else quantization.scale
    return RowScale(rule, clip_stds_of(name, quantization) if rule == "sdclip" else 0.0, coarser)


def pack(
    state: Mapping[str, Tensor],
    quantization: Quantization,
    hessians: Mapping[str, Hessian] | None = None,
    between: Callable[[], None] = lambda: None,
    coarser: float = 1.0,
) -> dict[str, Tensor]:
    """The stored tensors of a state dict, by sorted name, on the CPU.

    hessians:  by matrix name, for `method: gptq`; matrices without one (tables of rows) round to nearest
    between:   called before each tensor
    coarser:   what every row scale is multiplied by
    Raises ArtifactError for a tensor that is no float, not finite, or too large for float16.
    """
    stored: dict[str, Tensor] = {}
    for name in sorted(state):
        between()
        tensor = state[name].detach()
        if not tensor.is_floating_point():
            raise ArtifactError(f"{name}: {tensor.dtype} cannot be stored; expected a float tensor")
        storage = storage_of(name, tensor.shape, quantization)
        bits = integer_bits(storage)
        if bits is None:
            stored[name] = _floats(name, tensor.cpu(), storage)
            continue
        codes, scales = _integers(name, tensor, bits, quantization, (hessians or {}).get(name), coarser)
        stored |= {name: codes.cpu().contiguous(), name + ROW_SCALE: scales.cpu()}
    return stored


def unpack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 state dict behind stored tensors.

    Raises ArtifactError for codes without scales, and for more than is read of an artifact.
    """
    require_state_size(stored.values())
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith(ROW_SCALE):
            continue
        if tensor.dtype != torch.int8:
            state[name] = tensor.float()
        elif (
            tensor.ndim == 2
            and (scales := stored.get(name + ROW_SCALE)) is not None
            and scales.shape == tensor.shape[:1]
        ):
            state[name] = dequantize_rows(tensor, scales)
        else:
            raise ArtifactError(f"{name}: integer codes need one scale per row in '{name}{ROW_SCALE}'")
    return state


def weight_transform(quantization: Quantization, coarser: float | Tensor = 1.0) -> Callable[[str, Tensor], Tensor]:
    """The function `transform(name, weight)` that training with fake quantisation applies to each parameter.

    The tensors that `pack` makes integer are fake-quantised, with the same rule. Those that it stores as float16 are
    rounded to that where `qat_sees` is everything; all others come back as they are.

    coarser:  what every row scale is multiplied by, in a tensor if that may change between two forwards
    """
    held = coarser if isinstance(coarser, Tensor) else torch.tensor(coarser)

    def transform(name: str, weight: Tensor) -> Tensor:
        storage = storage_of(name, weight.shape, quantization)
        bits = integer_bits(storage)
        if bits is not None:
            scale = row_scale(name, quantization, held)
            return fake_quantize(weight, bits, searches_clip(name, quantization), scale)
        rounded = storage == "float16" and quantization.qat_sees == "everything"
        return fake_float16(weight) if rounded else weight

    return transform


def _integers(
    name: str, weight_RC: Tensor, bits: int, quantization: Quantization, hessian: Hessian | None, coarser: float
) -> tuple[Tensor, Tensor]:
    if hessian is None:
        scale = row_scale(name, quantization, coarser)
        return quantize_rows(weight_RC, bits, name, searches_clip(name, quantization), scale)
    clip_stds = clip_stds_of(name, quantization) * coarser
    return gptq_rows(weight_RC, hessian, bits, clip_stds, name, quantization.hessian_clip)


def _floats(name: str, tensor: Tensor, storage: str) -> Tensor:
    dtype = {"float16": torch.float16, "float32": torch.float32}[storage]
    floats = tensor.to(dtype).contiguous()
    if not floats.isfinite().all():
        largest = tensor.abs().max().item()
        raise ArtifactError(f"{name}: reaches {largest:g}; {storage} allows at most {torch.finfo(dtype).max:g}")
    return floats


def integer_bits(storage: str) -> int | None:
    """Bits of a storage of `storage_of`, None for floats."""
    return int(storage.removeprefix("int")) if storage.startswith("int") else None
