"""The lossless tokenizer gives back every text."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from trainer.data.corpus import read_stdlib
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.spec.errors import DataError

TEXTS = {
    "empty": "",
    "indented first line": "    def f():\n\treturn 1\n",
    "runs of spaces": "a" + " " * 37 + "b  c   ",
    "only spaces": "   ",
    "tabs and carriage returns": "\t\ta\r\n\r\nb\r",
    "space marks": "\u2581 \u2581\u2581a\u2581 b \u2581",
    "emoji and CJK": "👩\u200d👧 漢字かな\u3000。",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x85\u2028\ufeff",
    "names of pieces": "<s></s><unk><pad><0x41> ⁇ ",
    "combining and last code point": "e\u0301\U0010ffff",
}


@pytest.fixture(scope="session")
def tokenizer(lossless_model):
    return Tokenizer(lossless_model)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_text_comes_back_exactly(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \t\n\u2581a")), max_size=60))
@example("\u2581")
def test_any_text_comes_back_exactly(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_validation_documents_come_back_exactly(tokenizer):
    for document in read_stdlib().val[:20]:
        assert tokenizer.decode(tokenizer.encode(document.text)) == document.text


def test_document_start_stands_for_no_text(tokenizer):
    assert tokenizer.bos_id == 1
    assert tokenizer.decode([tokenizer.bos_id, *tokenizer.encode("  a")]) == "  a"


def test_ids_are_small_integers_below_the_vocabulary_size(tokenizer):
    ids = tokenizer.encode(" ".join(TEXTS.values()))
    assert tokenizer.vocab_size == 1024
    assert ids.dtype == "uint16"
    assert 3 < ids.min() <= ids.max() < 1024


def test_indentation_and_line_ends_are_compressed(tokenizer):
    text = "def f():\n    if x:\n        return 1\n"
    assert len(tokenizer.encode(text)) < len(text) / 2
    assert len(tokenizer.encode(" " * 16)) == 1


def test_each_digit_is_a_token_of_its_own_however_often_a_number_occurs():
    tokenizer = Tokenizer(train_tokenizer(["in 2024 and 2024 or 2024\n" * 9], 275))
    assert len(tokenizer.encode("2024")) == 4
    assert len(tokenizer.encode(" and")) < 4


def test_training_twice_gives_the_same_bytes():
    texts = [document.text for document in read_stdlib().train[:20]]
    assert train_tokenizer(texts, 600) == train_tokenizer(texts, 600)


def test_text_without_spaces_still_yields_a_tokenizer_that_keeps_spaces():
    tokenizer = Tokenizer(train_tokenizer(["ab\nab\n"], 264))
    assert tokenizer.decode(tokenizer.encode("a  b")) == "a  b"
    assert len(tokenizer.encode(" ")) == 1


@pytest.mark.parametrize(("texts", "vocab_size"), [(["ab ab"], 1024), (["abcdefgh"], 262), ([], 300)])
def test_vocabulary_that_the_texts_cannot_fill_or_hold_is_refused(texts, vocab_size):
    with pytest.raises(DataError, match=f"data.vocab_size = {vocab_size} cannot be trained"):
        train_tokenizer(texts, vocab_size)


def test_a_vocabulary_that_is_too_large_is_refused_with_the_largest_that_trains():
    with pytest.raises(DataError, match=r"at most (\d+) pieces; take that many \(--vocab-size \1\)") as refused:
        train_tokenizer(["ab ab"], 1024)
    most = int(re.findall(r"at most (\d+)", str(refused.value))[0])
    assert Tokenizer(train_tokenizer(["ab ab"], most)).vocab_size == most


@pytest.mark.parametrize("content", [b"rubbish", b"", None])
def test_file_that_is_no_tokenizer_is_refused_by_name(tmp_path, content):
    path = tmp_path / "some.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"some\.model"):
        Tokenizer(path)


def test_published_tokenizer_gives_back_the_normalised_text(fineweb_model):
    tokenizer = Tokenizer(fineweb_model)
    assert tokenizer.vocab_size == 8192
    assert tokenizer.decode(tokenizer.encode("  ﬁne\t\tweb\u2581text ")) == "fine web text"


def test_a_tokenizer_with_more_pieces_than_16_bits_hold_is_refused(lossless_model):
    proto = ModelProto.FromString(lossless_model)
    proto.pieces.extend(ModelProto.SentencePiece(piece=f"piece {n}") for n in range(65_537 - len(proto.pieces)))
    with pytest.raises(DataError, match="has 65,537 pieces; shards hold ids below 65,536"):
        Tokenizer(proto.SerializeToString())
