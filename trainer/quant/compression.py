"""Compressors of the artifact, each with its format byte; damaged or extremely large content is refused.

Deterministic and single-threaded. Source: docs/recipe.md 4.8.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import zstandard

from trainer.quant.bounded_streams import LARGEST_CONTENT_BYTES, Expanded, expand, unbrotli, unlzma, unzlib, unzstd
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Quantization

LZMA_PRESET, BROTLI_QUALITY, ZLIB_LEVEL = 6, 11, 9
SHUFFLE_STRIDE = 2
"""For Brotli, even bytes come before odd ones: corresponding halves of float16 numbers are more alike."""
CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Coder:
    """One compressor: its format byte and both directions."""

    format: int
    compress: Callable[[bytes, Quantization], bytes]
    decompress: Callable[[bytes, int], bytes]
    """(frame, most bytes to produce) → content; raises for more than that, and for damage."""
    damage: type[Exception]
    """What its library raises for bytes that are damaged."""


def compress(content: bytes, quantization: Quantization) -> bytes:
    """Format byte and frame of `content`, by the coder that `quantization.compressor` names."""
    coder = CODERS[quantization.compressor]
    return bytes([coder.format]) + coder.compress(content, quantization)


def decompress(data: bytes) -> bytes:
    """The content behind `compress`.

    Raises ArtifactError for an unknown format byte, for bytes that are truncated or damaged, and for content beyond
    LARGEST_CONTENT_BYTES, which is never produced.
    """
    by_format = {coder.format: coder for coder in CODERS.values()}
    coder = by_format.get(data[0]) if data else None
    if coder is None:
        found = data[0] if data else "none"
        raise ArtifactError(f"artifact version {found} found, this program reads versions {sorted(by_format)}")
    try:
        return coder.decompress(data[1:], LARGEST_CONTENT_BYTES)
    except (coder.damage, EOFError) as error:
        raise ArtifactError(f"the artifact is truncated or damaged: {error}") from error


def shuffled(content: bytes) -> bytes:
    """Every SHUFFLE_STRIDE-th byte from 0 on, then those from 1 on, and so forth."""
    return b"".join(content[start::SHUFFLE_STRIDE] for start in range(SHUFFLE_STRIDE))


def unshuffled(content: bytes, stride: int = SHUFFLE_STRIDE) -> bytes:
    """The inverse of `shuffled`."""
    result, taken = bytearray(len(content)), 0
    for start in range(stride):
        count = len(range(start, len(content), stride))
        result[start::stride] = content[taken : taken + count]
        taken += count
    return bytes(result)


def _zstd(content: bytes, quantization: Quantization) -> bytes:
    compressor = zstandard.ZstdCompressor(
        level=quantization.zstd_level, write_checksum=True, write_content_size=True, threads=0
    )
    return compressor.compress(content)


def _unzstd(frame: bytes, most: int) -> bytes:
    if zstandard.frame_content_size(frame) < 0:
        raise ArtifactError("the artifact claims no size; every artifact of this program does")
    return expand(unzstd, frame, most).content


def _lzma(content: bytes, quantization: Quantization) -> bytes:
    return lzma.compress(content, preset=LZMA_PRESET)


def _unlzma(frame: bytes, most: int) -> bytes:
    return _whole(expand(unlzma, frame, most), "lzma")


def _brotli(content: bytes, quantization: Quantization) -> bytes:
    # Brotli keeps no checksum of its own.
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big") + brotli.compress(
        shuffled(content), quality=BROTLI_QUALITY
    )


def _unbrotli(frame: bytes, most: int) -> bytes:
    content = unshuffled(_whole(expand(unbrotli, frame[CHECKSUM_BYTES:], most), "brotli"))
    if zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big") != frame[:CHECKSUM_BYTES]:
        raise EOFError("the checksum of the brotli stream differs")
    return content


def _zlib(content: bytes, quantization: Quantization) -> bytes:
    return zlib.compress(content, ZLIB_LEVEL)


def _unzlib(frame: bytes, most: int) -> bytes:
    return _whole(expand(unzlib, frame, most), "zlib")


def _whole(expanded: Expanded, name: str) -> bytes:
    if not expanded.is_whole:
        raise EOFError(f"the {name} stream does not end where the bytes do")
    return expanded.content


CODERS = {
    "zstd": Coder(1, _zstd, _unzstd, zstandard.ZstdError),
    "lzma": Coder(2, _lzma, _unlzma, lzma.LZMAError),
    "brotli": Coder(3, _brotli, _unbrotli, brotli.error),
    "zlib": Coder(4, _zlib, _unzlib, zlib.error),
}
