"""Every compressor gives back the content, and refuses what is not whole."""

import pytest

from trainer.quant import compression
from trainer.quant.compression import CODERS, compress, decompress, shuffled, unshuffled
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Quantization

CONTENT = bytes(range(256)) * 8 + b"odd"
each = pytest.mark.parametrize("compressor", CODERS)


def frame(compressor: str) -> bytes:
    return compress(CONTENT, Quantization(compressor=compressor))


@each
@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_content_comes_back_exactly(compressor, content):
    assert decompress(compress(content, Quantization(compressor=compressor))) == content


@each
def test_a_damaged_byte_never_passes_for_the_content(compressor):
    whole = frame(compressor)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        try:
            assert decompress(bytes(damaged)) == CONTENT, position  # a byte of a header that carries no meaning
        except ArtifactError:
            continue


@each
@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data[:9], lambda data: data + b"!"])
def test_truncated_or_lengthened_bytes_are_refused(compressor, change):
    with pytest.raises(ArtifactError, match="truncated or damaged"):
        decompress(change(frame(compressor)))


@each
def test_content_beyond_the_limit_is_refused(compressor, monkeypatch):
    monkeypatch.setattr(compression, "LARGEST_CONTENT_BYTES", len(CONTENT) - 1)
    with pytest.raises(ArtifactError, match="at most|more than"):
        decompress(frame(compressor))


def test_shuffling_puts_even_bytes_before_odd_ones():
    assert shuffled(b"a1b2c") == b"abc12"
    assert unshuffled(b"abc12") == b"a1b2c"
