"""Shards in the challenge's binary format."""

import struct

import numpy as np
import pytest

from trainer.data.shard_files import split_files
from trainer.data.shards import read_shard, read_split, write_split
from trainer.spec.errors import DataError

DOCUMENTS = [np.array(ids, dtype=np.uint16) for ids in ([5, 6, 7], [], [8, 9, 10, 11], [65_535])]
STREAM = [1, 5, 6, 7, 1, 1, 8, 9, 10, 11, 1, 65_535]


def write_raw(path, magic=20_240_520, version=1, count=3, tokens=(1, 2, 3), tail=b""):
    path.write_bytes(
        struct.pack("<256i", magic, version, count, *[0] * 253) + struct.pack(f"<{len(tokens)}H", *tokens) + tail
    )
    return path


def test_shard_is_a_kilobyte_of_header_and_two_bytes_per_token(tmp_path):
    (path,) = write_split(tmp_path, "val", DOCUMENTS, bos_id=1, vocab_size=65_536)
    assert path.name == "fineweb_val_000000.bin"
    assert path.read_bytes() == write_raw(tmp_path / "expected", count=12, tokens=STREAM).read_bytes()


@pytest.mark.parametrize("max_tokens", [1, 4, 5, 12, 100])
def test_documents_run_across_shard_borders(tmp_path, max_tokens):
    paths = write_split(tmp_path, "train", DOCUMENTS, 1, 65_536, max_tokens_per_shard=max_tokens)
    shards = read_split(tmp_path, "train", 65_536)
    assert len(paths) == len(shards) == -(-len(STREAM) // max_tokens)
    assert all(len(shard) == max_tokens for shard in shards[:-1])
    assert np.concatenate(shards).tolist() == STREAM


def test_splits_and_byte_side_cars_are_distinguished(tmp_path):
    names = (
        "fineweb_val_000001.bin",
        "fineweb_val_000000.bin",
        "fineweb_val_bytes_000000.bin",
        "fineweb_train_000000.bin",
    )
    for name in names:
        write_raw(tmp_path / name)
    assert [path.name for path in split_files(tmp_path, "val")] == ["fineweb_val_000000.bin", "fineweb_val_000001.bin"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"magic": 7}, "magic number 7; expected 20240520"),
        ({"version": 2}, "version 2; expected 1"),
        ({"count": 4}, r"1030 bytes; expected 1024 \+ 2 x 4"),
        ({"tail": b"x"}, r"1031 bytes; expected 1024 \+ 2 x 3"),
        ({"count": 0, "tokens": ()}, r"expected 1024 \+ 2 x 0, the positive count"),
        ({"tokens": (1, 600, 3)}, "token 600; expected all below data.vocab_size = 512"),
    ],
)
def test_damaged_or_foreign_shard_is_refused_with_what_was_found(tmp_path, damage, message):
    path = write_raw(tmp_path / "fineweb_train_000000.bin", **damage)
    with pytest.raises(DataError, match=rf"fineweb_train_000000.bin has .*{message}"):
        read_shard(path, vocab_size=512)


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_missing_or_headless_shard_is_refused_by_name(tmp_path, content):
    path = tmp_path / "fineweb_train_000000.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"fineweb_train_000000\.bin"):
        read_shard(path, vocab_size=512)


def test_token_beyond_the_vocabulary_is_not_written(tmp_path):
    with pytest.raises(DataError, match=r"document 1 .* has token 512; expected all below data.vocab_size = 512"):
        write_split(tmp_path, "train", [np.array([1, 2]), np.array([512])], 1, vocab_size=512)
    assert not list(tmp_path.iterdir())


def test_an_id_that_16_bits_do_not_hold_is_not_written(tmp_path):
    with pytest.raises(DataError, match=r"document 0 .* has token 70000; a shard's uint16 holds ids below 65,536"):
        write_split(tmp_path, "train", [np.array([70_000])], 1, vocab_size=100_000)


def test_shards_of_an_earlier_text_are_not_mixed_with_new_ones(tmp_path):
    write_split(tmp_path, "train", DOCUMENTS, 1, 65_536)
    with pytest.raises(DataError, match="already holds shards of split 'train'"):
        write_split(tmp_path, "train", DOCUMENTS, 1, 65_536)


def test_split_without_documents_is_refused(tmp_path):
    with pytest.raises(DataError, match="no documents"):
        write_split(tmp_path, "val", [], 1, 512)
