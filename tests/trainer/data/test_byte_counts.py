"""Counted bytes equal the UTF-8 length of the text that the tokenizer saw."""

import itertools
import random

import pytest
import sentencepiece
import torch
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from trainer.data.byte_counts import ByteTable
from trainer.data.corpus import read_stdlib
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.spec.errors import DataError

SNIPPETS = (
    *("the ", "word", " of", "import os\n", "x = 1", "HELLO", "2024", "naïve", "e\u0301", "ﬁ", "２"),
    *("  ", "        ", "\t", "\n", "\r\n", "\u3000", "\u00a0", "\u200b", "\u2581", " \u2581 ", "\x00", "\x07", "\x85"),
    *("😀", "👩\u200d👧", "漢字", "かな", "한국어", "עברית", "Ωmega", "\U0010ffff", "<s>", "<0x41>", "…", "“q”"),
)


def varied_documents():
    """1,200 texts from nothing to some forty snippets of every kind, starting and ending anywhere."""
    draw = random.Random(0)
    return ["".join(draw.choices(SNIPPETS, k=draw.randrange(12))) for _ in range(1_200)] + [
        document.text[:2_000] for document in read_stdlib().val[:20]
    ]


def stream_of(tokenizer, texts):
    """Token ids with a BOS before each document, and for each token the number of its document."""
    documents = [[tokenizer.bos_id, *tokenizer.encode(text).tolist()] for text in texts]
    owner = [number for number, ids in enumerate(documents) for _ in ids]
    return torch.tensor(list(itertools.chain(*documents))), torch.tensor(owner)


def counted_bytes(table, tokenizer, texts):
    stream, owner = stream_of(tokenizer, texts)
    counted = table.count(stream[1:], stream[:-1])
    return torch.zeros(len(texts), dtype=torch.int64).index_add_(0, owner[1:], counted).tolist()


def test_embedded_tokenizer_counts_the_raw_text_of_each_document(lossless_model):
    texts = varied_documents()
    table, tokenizer = ByteTable.from_tokenizer(lossless_model, 1024), Tokenizer(lossless_model)
    assert counted_bytes(table, tokenizer, texts) == [len(text.encode()) for text in texts]


@pytest.mark.parametrize(
    "text", ["", "    indented\n", "a" + 9 * " " + "b", "\u2581", " \u2581 x", "😀", " "], ids=ascii
)
def test_embedded_tokenizer_counts_one_hard_document_after_another(lossless_model, text):
    table, tokenizer = ByteTable.from_tokenizer(lossless_model, 1024), Tokenizer(lossless_model)
    assert counted_bytes(table, tokenizer, ["before", text, "after"]) == [6, len(text.encode()), 5]


def test_whole_validation_split_counts_its_utf8_bytes(lossless_model):
    texts = [document.text for document in read_stdlib().val]
    table, tokenizer = ByteTable.from_tokenizer(lossless_model, 1024), Tokenizer(lossless_model)
    assert sum(counted_bytes(table, tokenizer, texts)) == sum(len(text.encode()) for text in texts)


def test_published_tokenizer_counts_the_normalised_text_of_each_document(fineweb_model):
    texts = varied_documents()
    table, tokenizer = ByteTable.from_tokenizer(fineweb_model, 8192), Tokenizer(fineweb_model)
    normalize = sentencepiece.SentencePieceProcessor(model_file=str(fineweb_model)).normalize
    expected = [len(normalize(text).replace("\u2581", " ").encode()) for text in texts]
    assert expected != [len(text.encode()) for text in texts]
    assert counted_bytes(table, tokenizer, texts) == expected


def test_space_counts_after_a_word_and_not_after_a_document_start(fineweb_model):
    piece_to_id = sentencepiece.SentencePieceProcessor(model_file=str(fineweb_model)).piece_to_id
    the, space, newline_byte, bos, unknown = map(piece_to_id, ("▁the", "▁", "<0x0A>", "<s>", "<unk>"))
    table = ByteTable.from_tokenizer(fineweb_model, 8192)
    targets = torch.tensor([the, the, the, space, space, newline_byte, bos, unknown])
    previous = torch.tensor([bos, the, unknown, bos, the, the, the, the])
    assert table.count(targets, previous).tolist() == [3, 4, 3, 0, 1, 1, 0, 0]


def test_tokens_may_be_uint16_and_of_any_shape(lossless_model):
    table, tokenizer = ByteTable.from_tokenizer(lossless_model, 1024), Tokenizer(lossless_model)
    ids = torch.from_numpy(tokenizer.encode("four words of text").copy())
    rows = torch.stack([ids, ids])
    counted = table.count(rows, rows)
    assert counted.dtype == torch.int64
    assert counted.sum(dim=1).tolist() == [18, 18]


def test_ids_beyond_the_pieces_are_boundaries_without_bytes(lossless_model):
    table = ByteTable.from_tokenizer(lossless_model, 1030)
    assert len(table.base_V) == 1030
    assert table.base_V[1024:].tolist() == [0] * 6
    assert table.boundary_V[1024:].all()


def test_tokenizer_larger_than_the_vocabulary_is_refused(lossless_model):
    with pytest.raises(DataError, match="has 1024 pieces, more than data"):
        ByteTable.from_tokenizer(lossless_model, 512)


def changed(model, change):
    proto = ModelProto.FromString(model)
    change(proto)
    return proto.SerializeToString()


def adds_a_dummy_space(proto):
    proto.normalizer_spec.add_dummy_prefix = True


def has_spaces_inside_pieces(proto):
    proto.normalizer_spec.remove_extra_whitespaces = True


def has_no_lone_space(proto):
    next(piece for piece in proto.pieces if piece.piece == "▁").piece = "other"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (adds_a_dummy_space, "add_dummy_prefix = True"),
        (has_spaces_inside_pieces, "'▁▁' cannot be counted"),
        (has_no_lone_space, "no piece for the lone space"),
    ],
)
def test_tokenizer_whose_bytes_cannot_be_counted_is_refused(change, complaint):
    model = train_tokenizer([document.text for document in read_stdlib().train[:5]], 500)
    with pytest.raises(DataError, match=complaint):
        ByteTable.from_tokenizer(changed(model, change), 500)
