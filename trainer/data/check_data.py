"""Checks a folder of shards before anything is trained or scored on it: the one owner of what makes data unsound.

Files against their records (`check_files`), tokens against the tokenizer (`check_tokens`), documents, and validation
documents among the training shards (condition E10, docs/recipe.md 1.4; a data script of the challenge once put 80 % of
the validation split into the training text by a wrong default). Nothing is repaired. The check reads validation tokens
but nothing is learned from them: it returns counts and sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainer.data.check_files import RESTORE, file_notes, file_problems, manifest_problems
from trainer.data.check_tokens import (
    SAMPLED_DOCUMENTS,
    Pieces,
    SampledDocument,
    control_notes,
    frequencies,
    ids_without_piece,
    lost_text,
    other_bytes,
    other_tokens,
    sample,
)
from trainer.data.data_report import DataReport, SplitFacts
from trainer.data.documents import KnownDocuments, Run, document_runs
from trainer.data.shard_files import Split, split_files
from trainer.data.shards import MOST_IDS, read_shard
from trainer.spec.errors import DataError

SHARED_TOLERATED = 0.01
"""Share of validation documents that the training text may repeat: crawled pages come twice, a leaked split comes as a
whole. Fewer are said, more are refused."""
Shards = dict[Path, np.ndarray]
"""Tokens of the shards of a split in name order."""
NAMES: dict[Split, str] = {"train": "the training split", "val": "the validation split"}


def check_data(folder: Path, tokenizer: Path) -> DataReport:
    """What the shards hold, why they may not be scored, and what should be known of them.

    Takes 2.6 s for a validation split of 62 million tokens and 1.2 s for each training shard of 100 million.
    Raises DataError if there is no such folder, or if the tokenizer's bytes cannot be counted at all.
    """
    if not tokenizer.is_file():
        raise DataError(f"data.tokenizer = '{tokenizer}' is no file; expected the SentencePiece model of the shards")
    pieces = Pieces.read(tokenizer)
    known = KnownDocuments()
    val = _read_val(folder, pieces, known)
    train = _read_train(folder, pieces, known)
    problems = [*file_problems(folder, tokenizer), *train.problems, *val.problems]
    notes = [*file_notes(folder), *train.notes, *val.notes]
    problems += manifest_problems(folder, train.numbers() | val.numbers())
    if train.repeated and val.facts:
        is_leak = len(train.repeated) > SHARED_TOLERATED * val.facts.documents
        (problems if is_leak else notes).append(_leak(len(train.repeated), val.facts.documents, folder))
    return DataReport(train.facts, val.facts, val.num_bytes, len(pieces.names), tuple(problems), tuple(notes))


@dataclass
class _Scan:
    """What was read of one split."""

    split: Split
    facts: SplitFacts | None = None
    num_bytes: int | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repeated: set[bytes] = field(default_factory=set)
    """Digests of the validation documents that it holds too."""

    def numbers(self) -> dict[str, int]:
        """The split's numbers under the names that a manifest gives them."""
        if self.facts is None:
            return {}
        counted = {f"files_{self.split}": self.facts.shards}
        if self.split == "val":
            counted |= {"docs_val": self.facts.documents + self.facts.empty_documents, "tokens_val": self.facts.tokens}
        return counted


def _read_val(folder: Path, pieces: Pieces, known: KnownDocuments) -> _Scan:
    """Checks the validation split, counts its bytes, and adds its documents to those known."""
    scan = _Scan("val")
    shards = _read(scan, folder, pieces)
    if scan.problems or not shards:
        return scan
    tokens = list(shards.values())
    counts_V = frequencies(tokens)[: len(pieces.names)]
    scan.num_bytes = pieces.table.count_stream(tokens[0] if len(tokens) == 1 else np.concatenate(tokens), counts_V)
    scan.notes += control_notes(NAMES["val"], counts_V, pieces)
    _read_documents(scan, shards, pieces, known.add)
    return scan


def _read_train(folder: Path, pieces: Pieces, known: KnownDocuments) -> _Scan:
    """Checks the training split, and finds validation documents in it."""
    scan = _Scan("train")
    shards = _read(scan, folder, pieces)
    if not scan.problems and shards:
        _read_documents(scan, shards, pieces, lambda run: scan.repeated.update(known.found_in(run)))
    return scan


def _read(scan: _Scan, folder: Path, pieces: Pieces) -> Shards:
    """The shards of a split; their ids and pieces are checked."""
    bos_id = pieces.tokenizer.bos_id
    shards: Shards = {}
    num_begun = 0
    try:
        for path in split_files(folder, scan.split):
            tokens = read_shard(path, MOST_IDS)
            num_begun += int(not shards and tokens[0] != bos_id)
            shards[path] = tokens
            if beyond := list(ids_without_piece(path, tokens, pieces)):
                scan.problems += beyond
                continue
            is_refused = scan.split == "val" or pieces.has_byte_fallback
            (scan.problems if is_refused else scan.notes).extend(lost_text(path, tokens, pieces, num_begun))
            num_begun += int(np.count_nonzero(tokens == bos_id))
    except DataError as error:
        scan.problems.append(str(error))
    return shards


def _read_documents(scan: _Scan, shards: Shards, pieces: Pieces, visit: Callable[[Run], object]) -> None:
    """Counts the documents of a split, visits them, and looks at the text of some of each shard."""
    bos_id, name = pieces.tokenizer.bos_id, NAMES[scan.split]
    places = {id(tokens): str(path) for path, tokens in shards.items()}
    most = max(SAMPLED_DOCUMENTS // len(shards), SAMPLED_DOCUMENTS // 4)
    num_documents = num_empty = num_doubled = 0
    after_empty, place = False, str(next(iter(shards)))
    sampled: dict[str, list[SampledDocument]] = defaultdict(list)
    has_bos = any(bool((tokens == bos_id).any()) for tokens in shards.values())
    for run in document_runs(list(shards.values()), bos_id) if has_bos else [_beginning(shards)]:
        place = places.get(id(run[0]), place)  # a document across a border begins in the shard before
        visit(run)
        lengths = np.diff(run[1])
        if not len(lengths):
            continue
        sampled[place] += sample(run, most, num_documents, bos_id)
        is_empty = (lengths == 1) & (run[0][run[1][:-1]] == bos_id)
        num_documents += len(lengths)
        num_empty += int(is_empty.sum())
        num_doubled += int((~is_empty & np.concatenate([[after_empty], is_empty[:-1]])).sum())
        after_empty = bool(is_empty[-1])
    num_tokens = sum(len(tokens) for tokens in shards.values())
    scan.facts = SplitFacts(len(shards), num_tokens, num_documents - num_empty, num_empty)
    _read_sample(scan, sampled, pieces)
    scan.notes += _bos_notes(name, num_tokens, has_bos, bool(next(iter(shards.values()))[0] == bos_id), bos_id)
    scan.notes += _empty_notes(name, scan.facts, num_doubled)


def _read_sample(scan: _Scan, sampled: Mapping[str, Sequence[SampledDocument]], pieces: Pieces) -> None:
    """Bytes (of validation text) and tokens of sampled documents, for each shard.

    Parts of documents are looked at only where no whole one was sampled.
    """
    whole = {place: [document for document in documents if document.whole] for place, documents in sampled.items()}
    for place, documents in (whole if any(whole.values()) else sampled).items():
        if scan.split == "val":
            scan.problems += other_bytes(place, documents, pieces)
        is_other, sentence = other_tokens(place, documents, pieces)
        if sentence:
            (scan.problems if is_other else scan.notes).append(sentence)


def _beginning(shards: Shards) -> Run:
    """The first shard of a split without BOS, to stand for its single document, which may not fit the memory."""
    tokens = next(iter(shards.values()))
    return tokens, np.array([0, len(tokens)])


def _bos_notes(name: str, num_tokens: int, has_bos: bool, begins: bool, bos_id: int) -> Iterator[str]:
    """How documents without BOS are scored."""
    if not has_bos:
        yield (
            f"{name} holds no BOS (id {bos_id}) in {num_tokens:,} tokens: it is scored as one document "
            "without its first token, and documents that are in both splits cannot be found; `data rebuild` writes BOS"
        )
    elif not begins:
        yield f"{name} begins without BOS (id {bos_id}): the first token is context and is not scored"


def _empty_notes(name: str, facts: SplitFacts, num_doubled: int) -> Iterator[str]:
    """How documents without text, and those with two BOS, are scored."""
    if facts.empty_documents:
        doubled = ": every document begins with two BOS" if num_doubled == facts.documents else ""
        yield (
            f"{name} holds {facts.empty_documents:,} empty documents (BOS after BOS) beside {facts.documents:,} with "
            f"text{doubled}; such a BOS is scored and stands for 0 bytes"
        )


def _leak(shared: int, documents: int, folder: Path) -> str:
    return (
        f"{shared:,} of {documents:,} validation documents are in the train shards of {folder} too "
        f"({shared / documents:.1%}; up to {SHARED_TOLERATED:.0%} is tolerated as repeated pages); {RESTORE}, with the "
        "number of validation documents that the data set was made with"
    )
