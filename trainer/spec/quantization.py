"""The `quantization` section of the recipe: how trained weights become counted bytes.

What the rules compute is in `trainer.quant`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic import Field as PydanticField

from trainer.spec.section import Fraction, Knob, Section

Names = Annotated[tuple[str, ...], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]
Bits = Annotated[int, PydanticField(ge=4, le=8)]
NO_GPTQ = {"quantization.method": ("nearest", "clip_search")}
NO_SDCLIP = NO_GPTQ | {"quantization.scale": ("row_max", "floor")}


class Quantization(Section):
    """From weights to counted bytes (docs/recipe.md 4). All of it belongs to training too once `qat` is on."""

    matrix_bits: Annotated[int, PydanticField(ge=5, le=8), Knob("export", "bits")] = 6
    """Bits per weight of large matrices, one scale per row."""
    mlp_bits: Annotated[Bits | None, Knob("export", "bits", neutral=True)] = None
    """Bits per weight of large MLP matrices; null takes `matrix_bits`."""
    attention_bits: Annotated[Bits | None, Knob("export", "bits", neutral=True)] = None
    """Bits per weight of large attention matrices; null takes `matrix_bits`."""
    embedding: Annotated[Literal["float16", "int8", "int7"], Knob("export")] = "float16"
    """How the token embedding is stored; int7 as in #1855."""
    min_elements: Annotated[NonNegativeInt, Knob("export", "weights")] = 65_536
    """Float tensors with more weights than this become integers; smaller ones are float16, controls have a switch."""
    keep_float16: Annotated[Names, Knob("export", neutral=True)] = ()
    """Large matrices that stay float16, by name, as #162 kept blocks.8.attn.c_k.weight, its last layer's keys."""
    controls: Annotated[Literal["float32", "float16"], Knob("export", neutral=True)] = "float32"
    """How control tensors and all others below two dimensions are stored."""
    gates: Annotated[Literal["controls", "int8"], Knob("export", neutral=True)] = "controls"
    """How controls with two dimensions (residual mixes, skip weights, skip gates) are stored: as controls, or int8."""
    tables: Annotated[Literal["matrix_bits", "int8"], Knob("export", neutral=True)] = "matrix_bits"
    """How large matrices outside the blocks are stored: with the bits of the others, or as int8."""
    method: Annotated[Literal["nearest", "clip_search", "gptq"], Knob("export", neutral=True)] = "nearest"
    """How codes are chosen: nearest below the row's maximum, below the best of five clips, or GPTQ with SDClip."""
    clip_search_in: Annotated[
        Literal["everywhere", "blocks"],
        Knob("export", unless={"quantization.method": ("nearest", "gptq")}, neutral=True),
    ] = "everywhere"
    """Which integers the clip search chooses: all, or those of matrices in the blocks while the rest is nearest."""
    scale: Annotated[
        Literal["row_max", "floor", "sdclip"], Knob("export", unless={"quantization.method": "gptq"}, neutral=True)
    ] = "row_max"
    """Largest code of a row: its maximum; that, but at least 1 (PR #150's floor); or so many standard deviations."""
    fit_bytes: Annotated[bool, Knob("export", neutral=True)] = False
    """Whether all row scales are multiplied by the smallest number from 1 on that makes the artifact fit; QAT too."""
    prune_to_fit: Annotated[bool, Knob("export", neutral=True)] = False
    """Whether codes of +-1 become 0, least error first, until the artifact fits (#1019)."""
    clip_stds: Annotated[PositiveFloat, Knob("export", "standard deviations", unless_all=NO_SDCLIP, neutral=True)] = (
        12.85
    )
    """Largest code of a matrix row, in standard deviations of the row; larger makes the artifact smaller."""
    embedding_clip_stds: Annotated[
        PositiveFloat,
        Knob(
            "export",
            "standard deviations",
            unless={"quantization.embedding": "float16"},
            unless_all=NO_SDCLIP,
            neutral=True,
        ),
    ] = 20.0
    """Largest code of a row of the integer token embedding, in standard deviations of the row."""
    mlp_clip_stds: Annotated[
        PositiveFloat | None, Knob("export", "standard deviations", unless_all=NO_SDCLIP, neutral=True)
    ] = None
    """Largest code of a row of an MLP matrix, in standard deviations of the row; null takes `clip_stds`."""
    attention_clip_stds: Annotated[
        PositiveFloat | None, Knob("export", "standard deviations", unless_all=NO_SDCLIP, neutral=True)
    ] = None
    """Largest code of a row of an attention matrix, in standard deviations of the row; null takes `clip_stds`."""
    hessian_clip: Annotated[Fraction, Knob("export", unless=NO_GPTQ, neutral=True)] = 0.0
    """How far a row's clip follows its importance to the calibration inputs; 0: not at all, #1412 had 0.175."""
    calibration_batches: Annotated[PositiveInt, Knob("export", unless=NO_GPTQ, neutral=True)] = 64
    """Micro-batches of train text whose layer inputs GPTQ weighs errors by; their seconds count as training."""
    compressor: Annotated[Literal["zstd", "lzma", "brotli", "zlib"], Knob("export", neutral=True)] = "zstd"
    """Entropy coder of the artifact; brotli works on shuffled bytes."""
    zstd_level: Annotated[
        int,
        PydanticField(ge=1, le=22),
        Knob("export", unless={"quantization.compressor": ("lzma", "brotli", "zlib")}),
    ] = 22
    """Compression level of zstd; the other compressors run at their strongest usual setting."""
    qat: Annotated[Literal["off", "always", "late"], Knob("train")] = "off"
    """Whether training sees the quantised weights: never, from the first step, or late."""
    qat_late_below: Annotated[Fraction, Knob("train", unless={"quantization.qat": ("off", "always")})] = 0.1
    """Late QAT starts when the learning-rate multiplier falls below this."""
    qat_sees: Annotated[
        Literal["integers", "everything"], Knob("train", unless={"quantization.qat": "off"}, neutral=True)
    ] = "integers"
    """What QAT rounds: matrices stored as integers, or everything that is stored as float16 as well."""

    def complaints(self) -> Iterator[str]:
        for name in sorted({name for name in self.keep_float16 if self.keep_float16.count(name) > 1}):
            yield f"keep_float16 names {name} twice"
        if self.qat != "off" and self.method == "gptq":
            yield (
                f"qat = '{self.qat}' cannot show training what method = 'gptq' will store: GPTQ's codes depend on "
                "calibration; use 'clip_search'"
            )
        if self.qat != "off" and self.prune_to_fit:
            yield (
                f"qat = '{self.qat}' cannot show training what prune_to_fit = true will store: which codes are pruned "
                "is known at export; set prune_to_fit = false"
            )
        if self.fit_bytes and self.prune_to_fit:
            yield "prune_to_fit = true has nothing to prune once fit_bytes = true has made the artifact fit; choose one"
        if self.method == "clip_search" and self.scale == "sdclip":
            yield "scale = 'sdclip' leaves method = 'clip_search' nothing to search; use 'nearest'"
