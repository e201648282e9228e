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

from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Quantization
from trainer.spec.units import human_bytes

LARGEST_CONTENT_BYTES = 2**30
"""Larger content of a 16 MB artifact is refused: it is damage or an attack."""
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
    """(frame, most bytes to produce) → content; may return one byte more than allowed, raises for damage."""


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
        content = coder.decompress(data[1:], LARGEST_CONTENT_BYTES)
    except (zstandard.ZstdError, lzma.LZMAError, zlib.error, brotli.error, EOFError) as error:
        raise ArtifactError(f"the artifact is truncated or damaged: {error}") from error
    if len(content) > LARGEST_CONTENT_BYTES:
        raise ArtifactError(f"the artifact holds more than {human_bytes(LARGEST_CONTENT_BYTES)}; that is not read")
    return content


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
    claimed = zstandard.frame_content_size(frame)
    if not 0 <= claimed <= most:
        size = human_bytes(claimed) if claimed >= 0 else "no size"
        raise ArtifactError(f"the artifact claims {size}; at most {human_bytes(most)} are read")
    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)


def _lzma(content: bytes, quantization: Quantization) -> bytes:
    return lzma.compress(content, preset=LZMA_PRESET)


def _unlzma(frame: bytes, most: int) -> bytes:
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
    content = decoder.decompress(frame, max_length=most + 1)
    if len(content) <= most and (not decoder.eof or decoder.unused_data):
        raise EOFError("the lzma stream does not end where the bytes do")
    return content


def _brotli(content: bytes, quantization: Quantization) -> bytes:
    # Brotli keeps no checksum of its own.
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES) + brotli.compress(shuffled(content), quality=BROTLI_QUALITY)


def _unbrotli(frame: bytes, most: int) -> bytes:
    decoder = brotli.Decompressor()
    content = decoder.process(frame[CHECKSUM_BYTES:], output_buffer_limit=most + 1)
    if len(content) > most:
        return content
    content = unshuffled(content)
    if not decoder.is_finished() or zlib.crc32(content).to_bytes(CHECKSUM_BYTES) != frame[:CHECKSUM_BYTES]:
        raise EOFError("the brotli stream does not end, or its checksum differs")
    return content


def _zlib(content: bytes, quantization: Quantization) -> bytes:
    return zlib.compress(content, ZLIB_LEVEL)


def _unzlib(frame: bytes, most: int) -> bytes:
    decoder = zlib.decompressobj()
    content = decoder.decompress(frame, most + 1)
    if len(content) <= most and (not decoder.eof or decoder.unused_data):
        raise EOFError("the zlib stream does not end where the bytes do")
    return content


CODERS = {
    "zstd": Coder(1, _zstd, _unzstd),
    "lzma": Coder(2, _lzma, _unlzma),
    "brotli": Coder(3, _brotli, _unbrotli),
    "zlib": Coder(4, _zlib, _unzlib),
}
