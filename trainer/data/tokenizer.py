"""A lossless SentencePiece BPE tokenizer, trained on the train text.

The text is not normalised and no white space is removed, so the bytes of a tokenized text can be counted
(`byte_counts`). Published tokenizers that normalise are supported too; they decode to the normalised text. No file is
written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from trainer.spec.errors import DataError

PAD_ID, BOS_ID, EOS_ID, UNK_ID = range(4)
"""The challenge's control ids; byte pieces follow them."""

SPACE_MARK = "\u2581"
"""How SentencePiece writes a space inside a piece."""

LONGEST_SENTENCE_BYTES = 2**30
"""The most SentencePiece accepts; longer documents would be skipped without a message. Its default is 4,192."""

MOST_PIECES = 2**16
"""Ids of shards are uint16."""

Model = bytes | str | Path
"""A SentencePiece model: its bytes, or the path of its file."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """The SentencePiece model of a lossless BPE with `vocab_size` pieces; the same bytes for the same texts.

    Pieces may be runs of spaces and may hold line ends; they never start a word inside (docs/recipe.md 1.5, but for
    identity normalisation). One thread sees all texts: 11 MB take about 3 s.
    Raises DataError if the texts are too few for that many pieces, or have too many letters for so few.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            # The trainer strips line ends from a sentence's end only, so a whole document is one sentence.
            sentence_iterator=iter(texts),
            max_sentence_length=LONGEST_SENTENCE_BYTES,
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            split_digits=True,
            character_coverage=0.999,
            required_chars=SPACE_MARK,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            allow_whitespace_only_pieces=True,
            pad_id=PAD_ID,
            bos_id=BOS_ID,
            eos_id=EOS_ID,
            unk_id=UNK_ID,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = str(error).rsplit("] ", 1)[-1] or "there is no text"
        if most := re.search(r"value <= (\d+)", reason):
            reason = f"the text gives at most {most[1]} pieces; take that many (--vocab-size {most[1]}) or more text"
        raise DataError(f"data.vocab_size = {vocab_size} cannot be trained: {reason} (usual: 1024)") from error
    return model.getvalue()


def read_model(model: Model) -> ModelProto:
    """The parsed SentencePiece model. Raises DataError if there is none, or no lone space piece in it.

    Without a piece for the lone space, a space could only be spelled as three bytes, or be lost as unknown.
    """
    source = "the tokenizer" if isinstance(model, bytes) else f"tokenizer '{model}'"
    proto = ModelProto()
    try:
        proto.ParseFromString(model if isinstance(model, bytes) else Path(model).read_bytes())
    except (OSError, DecodeError) as error:
        raise DataError(f"{source} cannot be read ({error}); expected a SentencePiece model") from error
    if not any(piece.piece == SPACE_MARK for piece in proto.pieces):
        raise DataError(f"{source} has no piece for the lone space (U+2581) among its {len(proto.pieces)} pieces")
    return proto


def is_lossless(proto: ModelProto) -> bool:
    """Whether the model keeps every character: identity normalisation, no space added, none removed."""
    rule = proto.normalizer_spec
    return rule.name == "identity" and not rule.add_dummy_prefix and not rule.remove_extra_whitespaces


class Tokenizer:
    """Text to token ids and back.

    With a lossless model `decode(encode(text)) == text` for every text, a literal U+2581 included: it is spelled with
    byte pieces, because as a character it would come back as a space.
    """

    def __init__(self, model: Model):
        proto = read_model(model)
        if len(proto.pieces) > MOST_PIECES:
            raise DataError(f"the tokenizer has {len(proto.pieces):,} pieces; shards hold ids below {MOST_PIECES:,}")
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
        self._is_lossless = is_lossless(proto)
        self._mark_ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE_MARK.encode()]

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    @property
    def bos_id(self) -> int:
        return self._processor.bos_id()

    def lost_text(self, text: str) -> str:
        """The first part of a text that its ids do not keep, since it has no piece; empty if there is none."""
        unknown = self._processor.unk_id()
        if unknown not in self.encode(text):
            return ""
        parts = zip(self._processor.encode(text, out_type=str), self._processor.encode(text), strict=True)
        return next((part for part, id in parts if id == unknown), SPACE_MARK)

    def encode(self, text: str) -> np.ndarray:
        """Token ids, uint16, without BOS."""
        if not self._is_lossless or SPACE_MARK not in text:
            return np.array(self._processor.encode(text), dtype=np.uint16)
        first, *others = (self._processor.encode(part) for part in text.split(SPACE_MARK))
        ids = [*first]
        for part in others:
            ids += [*self._mark_ids, *part]
        return np.array(ids, dtype=np.uint16)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of the ids; control ids such as BOS stand for no text."""
        return self._processor.decode(np.asarray(ids).tolist())
