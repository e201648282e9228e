"""The stages `train_text` and `val_text`: a tokenizer and shards in the challenge's format from the recipe's text.

train_text reads the data section's `train_text` fields and the corpus; leaves `tokenizer.model` and training shards.
val_text depends on train_text (on its tokenizer only); leaves validation shards and scores of trivial codes. With
`data.source = shards` the shards stay where they are. Both are computed again when the corpus, the vocabulary or the
amount of validation text changes.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from trainer.data.corpus import Document, read_stdlib, val_documents
from trainer.data.scale import trivial_scores
from trainer.data.shard_files import Split
from trainer.data.shards import read_split, write_split
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.spec.errors import DataError, UserError
from trainer.spec.record import Metric
from trainer.spec.stage_table import TOKENIZER_FILE
from trainer.stages.checked_data import sound_data
from trainer.stages.context import StageContext


def require_sound_data(context: StageContext) -> None:
    """Raises DataError on every rank if the recipe's shards may not be scored; the first rank checks those of its disk.

    Every run asks, but a check is made once for the same files (`checked_data`).
    """
    if context.recipe.data.source != "shards":
        return
    complaint = ""
    if context.ranks.is_first:
        context.tell("train_text", 0.0, "checking the shards")
        try:
            sound_data(context.recipe.data, context.store.root)
        except UserError as error:
            complaint = str(error)
    if complaint := context.ranks.broadcast_object(complaint):
        raise DataError(complaint)


def prepare_train_text(context: StageContext, folder: Path) -> dict[str, Metric]:
    """Tokenizer and training shards; runs on the first rank alone."""
    data = context.recipe.data
    if data.source == "shards":
        shutil.copyfile(data.tokenizer, folder / TOKENIZER_FILE)
        report = sound_data(data, context.store.root)
        assert report.train is not None, "a report without problems has both splits"
        return {"num_documents": report.train.documents, "num_tokens": report.train.tokens}
    documents = read_stdlib().train
    context.tell("train_text", 0.1, f"training a tokenizer of {data.vocab_size} pieces")
    model = train_tokenizer([document.text for document in documents], data.vocab_size)
    (folder / TOKENIZER_FILE).write_bytes(model)
    context.tell("train_text", 0.5, f"encoding {len(documents)} documents")
    return _write(context, folder, "train", documents, Tokenizer(model))


def prepare_val_text(context: StageContext, folder: Path) -> dict[str, Metric]:
    """Validation shards and scores of trivial codes; runs on the first rank alone."""
    data = context.recipe.data
    if data.source == "shards":
        report = sound_data(data, context.store.root)
        assert report.val is not None, "a report without problems has both splits"
        return {
            "num_documents": report.val.documents,
            "num_empty_documents": report.val.empty_documents,
            "num_tokens": report.val.tokens,
            "num_bytes": report.val_bytes,
        }
    documents = val_documents(read_stdlib().val, data.val_bytes)
    tokenizer = Tokenizer(context.tokenizer)
    metrics = _write(context, folder, "val", documents, tokenizer)
    context.tell("val_text", 0.5, "measuring trivial codes")
    train_tokens = np.concatenate(read_split(context.text_folder("train_text"), "train", data.vocab_size))
    val_tokens = np.concatenate([[tokenizer.bos_id, *tokenizer.encode(document.text)] for document in documents])
    text = "".join(document.text for document in documents).encode()
    return metrics | trivial_scores(train_tokens, val_tokens, data.vocab_size, text)


def _write(
    context: StageContext, folder: Path, split: Split, documents: tuple[Document, ...], tokenizer: Tokenizer
) -> dict[str, Metric]:
    encoded = []
    for document in documents:
        context.check_alone()
        encoded.append(tokenizer.encode(document.text))
    write_split(folder, split, encoded, tokenizer.bos_id, tokenizer.vocab_size)
    return {
        "num_documents": len(documents),
        "num_tokens": sum(len(ids) + 1 for ids in encoded),
        "num_bytes": sum(len(document.text.encode()) for document in documents),
    }
