"""What a check of shards refuses, and what it says without refusing."""

import io
import json

import numpy as np
import pytest
import sentencepiece
import torch

from tests.trainer import shards_on_disk
from tests.trainer.shards_on_disk import TEXTS, VOCAB_SIZE, change, copy, rewrite, texts_of, tokens_of
from trainer.data import check_data as checking
from trainer.data.build import rebuild
from trainer.data.byte_counts import ByteTable
from trainer.data.check_data import check_data
from trainer.data.corpus import read_stdlib
from trainer.data.data_report import DataReport
from trainer.data.documents import KnownDocuments, document_runs
from trainer.data.fetch import Fetched, file_digest, record_digest
from trainer.data.shards import write_split
from trainer.data.tokenizer import Tokenizer, train_tokenizer
from trainer.spec.errors import DataError

BOS, END, UNKNOWN = 1, 2, 3


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Fetched:
    return shards_on_disk.build(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def data(built, tmp_path) -> Fetched:
    return copy(built, tmp_path / "data")


def checked(data: Fetched) -> DataReport:
    return check_data(data.folder, data.tokenizer)


def only_problem(data: Fetched) -> str:
    (problem,) = checked(data).problems
    return problem


def unrecorded(data: Fetched) -> Fetched:
    """The same data as another program leaves them, without digests."""
    for folder in (data.folder, data.tokenizer.parent):
        (folder / "SHA256.json").unlink()
    return data


def without_byte_fallback(texts, **options) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, model_type="bpe", vocab_size=VOCAB_SIZE, pad_id=0, bos_id=1,
        eos_id=2, unk_id=3, byte_fallback=False, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, num_threads=1, minloglevel=2, **options,
    )  # fmt: skip
    return model.getvalue()


def shards_of(folder, model: bytes, val: list[str], train: list[str]) -> Fetched:
    """Shards of these texts, written with a tokenizer as any program could write them."""
    folder.mkdir(parents=True)
    (folder / "some.model").write_bytes(model)
    tokenizer = Tokenizer(model)
    for split, texts in (("val", val), ("train", train)):
        write_split(folder / "shards", split, [tokenizer.encode(text) for text in texts], BOS, VOCAB_SIZE)
    return Fetched(folder / "shards", folder / "some.model")


def test_built_shards_are_sound_and_counted(data):
    report = checked(data)
    assert (report.problems, report.notes, report.pieces) == ((), (), VOCAB_SIZE)
    assert report.val.documents + report.train.documents == len(TEXTS)
    tokens = tokens_of(data.folder, "val")
    assert report.val_bytes == len(Tokenizer(data.tokenizer).decode(tokens).encode())


def published(folder, fineweb_model) -> Fetched:
    """Shards of the standard library's text by the challenge's tokenizer, which normalises."""
    texts = [document.text for document in read_stdlib().val]
    tokenizer = Tokenizer(fineweb_model)
    for split, part in (("val", texts[:6]), ("train", texts[6:])):
        write_split(folder, split, [tokenizer.encode(text) for text in part], BOS, 8192)
    return Fetched(folder, fineweb_model)


def test_shards_of_the_published_tokenizer_are_sound_and_count_the_normalised_text(tmp_path, fineweb_model):
    report = checked(published(tmp_path, fineweb_model))
    normalize = sentencepiece.SentencePieceProcessor(model_file=str(fineweb_model)).normalize
    texts = [normalize(document.text).replace("\u2581", " ") for document in read_stdlib().val[:6]]
    assert report.problems == ()
    assert report.val_bytes == sum(len(text.encode()) for text in texts)


def test_shards_of_a_larger_tokenizer_are_refused_under_a_smaller_one(tmp_path, fineweb_model, data):
    shards = published(tmp_path / "shards", fineweb_model).folder
    problems = check_data(shards, data.tokenizer).problems
    assert len(problems) == 2
    assert all(" has 320 pieces: another tokenizer made the shards" in problem for problem in problems)


def test_text_that_a_tokenizer_without_byte_fallback_loses_is_refused_by_document(tmp_path):
    plain = [text.replace("Ü € 😀", "end") for text in TEXTS]
    data = shards_of(tmp_path / "a", without_byte_fallback(plain), [*plain[:4], "4: Ü € 😀", plain[5]], plain[10:])
    problem = only_problem(data)
    assert (
        "fineweb_val_000000.bin holds the piece '<unk>' (id 3) 3 times in 1 documents, first in document 4" in problem
    )
    assert "some.model' (SHA-256 " in problem
    assert "has no byte fallback, so this text and its bytes are lost; train a tokenizer with byte fallback" in problem


def test_a_tokenizer_without_byte_fallback_will_do_where_no_text_is_lost(tmp_path):
    plain = [text.replace("Ü € 😀", "end") for text in TEXTS]
    report = checked(shards_of(tmp_path / "a", without_byte_fallback(plain), plain[:6], [*plain[10:], "Ü"]))
    assert report.problems == ()
    assert report.val_bytes == sum(len(text.encode()) for text in plain[:6])
    assert any("fineweb_train_000000.bin holds the piece '<unk>'" in note for note in report.notes)


def test_an_unknown_piece_whose_surface_is_empty_is_refused_though_counted_and_decoded_bytes_agree(tmp_path):
    plain = [text.replace("Ü € 😀", "end") for text in TEXTS]
    model = without_byte_fallback(plain, unk_surface="")
    assert "'<unk>'" in only_problem(shards_of(tmp_path / "a", model, [*plain[:4], "a€b"], plain[10:]))


def test_an_unknown_piece_under_byte_fallback_is_the_mark_of_another_tokenizer(data):
    tokens = tokens_of(data.folder, "val")
    rewrite(data.folder, "val", [*tokens[:9], UNKNOWN, *tokens[9:]])
    assert "never writes it: another tokenizer made the shards; name the tokenizer" in only_problem(data)


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_id_that_the_tokenizer_lacks_is_refused_in_either_split(data, split):
    tokens = tokens_of(data.folder, split)
    path = rewrite(data.folder, split, [*tokens[:-2], VOCAB_SIZE, 65_535])
    problem = only_problem(data)
    assert f"{path} holds id 65535 (2 of its {len(tokens):,} tokens are such ids)" in problem
    assert f"(SHA-256 {file_digest(data.tokenizer)[:12]}) has {VOCAB_SIZE} pieces" in problem


@pytest.mark.parametrize("split", ["train", "val"])
def test_shards_of_another_tokenizer_of_the_same_size_are_refused(data, tmp_path, split):
    other = Tokenizer(train_tokenizer([text[::-1] for text in TEXTS], VOCAB_SIZE))
    rewrite(data.folder, split, np.concatenate([[BOS, *other.encode(text)] for text in texts_of(data, split)]))
    assert "give other tokens when tokenizer" in only_problem(data)
    assert "another tokenizer made the shard;" in only_problem(data)


def test_one_shard_of_another_tokenizer_among_many_is_refused_by_its_name(data):
    other = Tokenizer(train_tokenizer([text[::-1] for text in TEXTS], VOCAB_SIZE))
    texts, tokens = texts_of(data, "train"), tokens_of(data.folder, "train")
    foreign = rewrite(data.folder, "train", np.concatenate([[BOS, *other.encode(text)] for text in texts[:9]]), index=1)
    rewrite(data.folder, "train", tokens, index=2)
    rewrite(data.folder, "train", tokens, index=3)
    assert f"documents sampled from {foreign} give other tokens" in only_problem(data)


def test_another_tokenizer_than_the_recorded_one_is_refused_by_its_digest(data, tmp_path):
    other = tmp_path / "other.model"
    other.write_bytes(train_tokenizer([text[::-1] for text in TEXTS], VOCAB_SIZE))
    problems = check_data(data.folder, other).problems
    recorded = file_digest(data.tokenizer)[:12]
    assert f"tokenizer '{other}' has SHA-256 {file_digest(other)[:12]}, but" in problems[0]
    assert f"has {recorded}; name the tokenizer that made the shards in data.tokenizer" in problems[0]


def test_bytes_that_are_no_text_are_refused(data):
    tokens = tokens_of(data.folder, "val")
    lone_byte = 4 + 0x9F  # byte pieces follow the four control pieces
    rewrite(data.folder, "val", [*tokens[:5], lone_byte, *tokens[5:]])
    assert "document 0 of the split, in " in only_problem(data)


def test_documents_cut_in_the_middle_of_a_character_are_fine(data):
    tokenizer, tokens = Tokenizer(data.tokenizer), tokens_of(data.folder, "val")
    cut = tokenizer.encode("ein Dokument, in einem Zeichen geschnitten: \U0001f47e").tolist()[:-1]
    rewrite(data.folder, "val", [*tokens, BOS, *cut, *tokens[:300], BOS, *cut])
    assert checked(data).problems == ()


@pytest.mark.parametrize("max_tokens", [7, 50, 1_000, 10**6])
def test_documents_are_whole_wherever_shards_are_cut(tmp_path, max_tokens):
    draw = np.random.default_rng(0)
    documents = [draw.integers(4, 9, draw.integers(12), dtype=np.uint16) for _ in range(200)]
    stream = np.concatenate([[BOS, *ids] for ids in documents]).astype(np.uint16)
    shards = np.split(stream, range(max_tokens, len(stream), max_tokens))
    cut = [run[0][s:e] for run in document_runs(shards, BOS) for s, e in zip(run[1], run[1][1:], strict=False)]
    assert [ids[1:].tolist() for ids in cut] == [ids.tolist() for ids in documents][: len(cut)]
    assert len(cut) == 200
    known = KnownDocuments()
    for run in document_runs(shards, BOS):
        known.add(run)
    found = set().union(*(known.found_in(run) for run in document_runs([stream], BOS)))
    assert len(found) == len({ids.tobytes() for ids in documents if len(ids)})


def test_bytes_of_a_stream_are_the_sum_over_its_targets(fineweb_model):
    table, tokenizer = ByteTable.from_tokenizer(fineweb_model, 8192), Tokenizer(fineweb_model)
    stream = np.concatenate([[BOS, *tokenizer.encode(text), END] for text in [" a", *TEXTS[:9], "", "the", "the"]])
    for tokens in (stream, stream[1:], stream[2:3]):
        targets = torch.from_numpy(tokens.astype(np.int64))
        expected = int(table.count(targets[1:], targets[:-1]).sum())
        assert table.count_stream(tokens, np.bincount(tokens, minlength=8192)) == expected


def lose_a_train_shard(data):
    rewrite(data.folder, "train", [BOS, 9, 9], index=1).unlink()


def add_an_unrecorded_shard(data):
    change(data.folder, "train", [BOS, 9, 9], index=1)


def change_a_token(data):
    tokens = tokens_of(data.folder, "train")
    change(data.folder, "train", [*tokens[:-1], 9])


def skip_a_number(data):
    unrecorded(data)
    change(data.folder, "train", tokens_of(data.folder, "train"), index=2)


def damage_the_header(data):
    path = rewrite(data.folder, "train", tokens_of(data.folder, "train"))
    path.write_bytes(path.read_bytes()[:-1])
    record_digest(path)


def say_more_documents_in_the_manifest(data, **stats):
    stats = stats or {"files_train": 80, "files_val": 1, "docs_val": 50_000}
    entry = {"name": data.folder.name, "stats": stats}
    (data.folder.parent / "manifest.json").write_text(json.dumps({"datasets": [entry]}))


def say_fewer_shards_in_the_manifest(data):
    say_more_documents_in_the_manifest(data, files_train=0)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lose_a_train_shard, "fineweb_train_000001.bin is missing, though SHA256.json records it; fetch or build"),
        (add_an_unrecorded_shard, "fineweb_train_000001.bin is not among the files that SHA256.json records; remove"),
        (change_a_token, "fineweb_train_000000.bin has SHA-256"),
        (skip_a_number, "fineweb_train_000001.bin is missing between other shards of the split"),
        (damage_the_header, "fineweb_train_000000.bin has"),
        (say_more_documents_in_the_manifest, "has docs_val = 2, but"),
        (say_fewer_shards_in_the_manifest, "has files_train = 1, but"),
    ],
)
def test_a_folder_that_does_not_meet_its_record_is_refused_by_file(data, damage, complaint):
    damage(data)
    assert complaint in only_problem(data)


def test_shards_may_be_numbered_from_one(data):
    rewrite(data.folder, "train", tokens_of(data.folder, "train"), index=1)
    unrecorded(data)
    (data.folder / "fineweb_train_000000.bin").unlink()
    assert checked(data).problems == ()


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_unreadable_digests_are_refused_by_file(data, text):
    (data.folder / "SHA256.json").write_text(text)
    with pytest.raises(DataError, match=r"SHA256\.json cannot be read .*; fetch or build the data again"):
        checked(data)


def test_a_folder_without_digests_is_checked_as_far_as_possible_and_that_is_said(data):
    report = checked(unrecorded(data))
    assert report.problems == ()
    assert report.notes[0].startswith(f"{data.folder} has no SHA256.json, so a changed, cut or missing shard cannot be")


def repeated(data, times, monkeypatch, tolerated):
    """A report on training shards that hold one validation document, several times."""
    tokens = tokens_of(data.folder, "val")
    document = tokens[: np.flatnonzero(tokens == BOS)[1]]
    rewrite(data.folder, "train", [*tokens_of(data.folder, "train"), *list(document) * times])
    monkeypatch.setattr(checking, "SHARED_TOLERATED", tolerated)
    return checked(data)


def test_e10_a_repeated_validation_document_is_refused_with_its_share(data, monkeypatch):
    (problem,) = repeated(data, 3, monkeypatch, 0.01).problems
    assert "1 of 2 validation documents are in the train shards" in problem
    assert "50.0%" in problem


def test_repeated_pages_up_to_the_tolerated_share_are_said(data, monkeypatch):
    report = repeated(data, 1, monkeypatch, 0.5)
    assert report.problems == ()
    assert "1 of 2 validation documents are in the train shards" in report.notes[0]


def notes_on_val(data, tokens) -> str:
    rewrite(data.folder, "val", tokens)
    report = checked(data)
    assert report.problems == ()
    return "\n".join(report.notes)


def test_a_split_without_any_bos_is_said_to_be_one_document(data):
    tokens = tokens_of(data.folder, "val")
    note = notes_on_val(data, tokens[tokens != BOS])
    assert "the validation split holds no BOS (id 1) in 1,134 tokens: it is scored as one document" in note
    assert checked(data).val.documents == 1


def test_a_first_document_without_bos_is_said(data):
    note = notes_on_val(data, tokens_of(data.folder, "val")[1:])
    assert "the validation split begins without BOS (id 1): the first token is context and is not scored" in note


def test_two_bos_before_each_document_are_said_and_make_no_documents(data):
    tokens = tokens_of(data.folder, "val")
    counted = checked(data).val_bytes
    note = notes_on_val(data, np.repeat(tokens, np.where(tokens == BOS, 2, 1)))
    assert "holds 2 empty documents (BOS after BOS) beside 2 with text: every document begins with two BOS" in note
    assert (checked(data).val.documents, checked(data).val_bytes) == (2, counted)


def test_an_empty_document_is_said_and_none_is_a_repeated_one(data):
    rewrite(data.folder, "train", [*tokens_of(data.folder, "train"), BOS, BOS])
    note = notes_on_val(data, [*tokens_of(data.folder, "val"), BOS, BOS])
    assert "holds 2 empty documents (BOS after BOS) beside 2 with text; such a BOS is scored" in note


def test_control_pieces_are_said_and_stand_for_no_byte(data):
    counted = checked(data).val_bytes
    note = notes_on_val(data, [*tokens_of(data.folder, "val"), END])
    assert "holds the control piece '</s>' (id 2) 1 times: it is scored and stands for 0 bytes" in note
    assert checked(data).val_bytes == counted


def test_byte_counts_of_another_program_are_not_read_and_that_is_said(data):
    (data.folder / "fineweb_val_bytes_000000.bin").write_bytes(b"")
    assert any("fineweb_val_bytes_000000.bin is not read" in note for note in checked(data).notes)


def rebuilt(tmp_path, model: bytes, texts=TEXTS) -> Fetched:
    (tmp_path / "my.model").write_bytes(model)
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return rebuild(tmp_path / "docs.jsonl", tmp_path / "my.model", tmp_path / "out", val_documents=5)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[" * 100_000, "brackets are nested too deep"),
        ('{"text": 5}', "its text is int"),
        ('{"title": "a"}', "'text'"),
        (b'{"text": "\xff"}', "invalid start byte"),
    ],
)
def test_a_line_of_documents_that_holds_no_text_is_named(tmp_path, line, expected):
    documents, model = tmp_path / "docs.jsonl", tmp_path / "my.model"
    model.write_bytes(without_byte_fallback(TEXTS))
    documents.write_bytes(b'{"text": "one"}\n' + (line if isinstance(line, bytes) else line.encode()))
    with pytest.raises(DataError, match=rf'docs.jsonl:2 is no \{{"text": ...\}}: .*{expected}'):
        rebuild(documents, model, tmp_path / "out", val_documents=5)


@pytest.mark.parametrize("line", [r'{"text": "a\u0000b"}', r'{"text": "\u0000"}'])
def test_a_line_of_documents_with_a_zero_byte_is_no_text_as_in_a_file_of_its_own(tmp_path, line):
    documents, tokenizer = tmp_path / "docs.jsonl", tmp_path / "any.model"
    documents.write_text('{"text": "whole"}\n{"text": "part"}\n' + line)
    tokenizer.write_bytes(train_tokenizer(["ab whole cd"] * 50, 274))
    with pytest.raises(DataError, match=r"docs.jsonl:3 holds zero bytes, so it is no text"):
        rebuild(documents, tokenizer, tmp_path / "out", val_documents=1)


def test_rebuild_refuses_to_lose_validation_text(tmp_path):
    plain = [text.replace("Ü € 😀", "end") for text in TEXTS]
    with pytest.raises(DataError, match=r"document 3 of split 'val' holds '€', .*byte fallback"):
        rebuilt(tmp_path, without_byte_fallback(plain), [*plain[:3], "for 5 €", *plain[4:]])


def test_a_tokenizer_that_cannot_begin_documents_is_refused(tmp_path):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=VOCAB_SIZE, byte_fallback=True, bos_id=-1,
        model_type="bpe", required_chars="▁", minloglevel=2,
    )  # fmt: skip
    with pytest.raises(DataError, match="has no BOS piece"):
        rebuilt(tmp_path, model.getvalue())


def test_a_document_with_half_a_surrogate_pair_is_refused_by_its_line(tmp_path):
    documents, tokenizer = tmp_path / "docs.jsonl", tmp_path / "any.model"
    documents.write_text('{"text": "whole"}\n{"text": "a\\ud800b"}\n')
    tokenizer.write_bytes(train_tokenizer(["ab whole cd"] * 50, 274))
    with pytest.raises(DataError, match=r"docs.jsonl:2 .*surrogates not allowed"):
        rebuild(documents, tokenizer, tmp_path / "out", val_documents=1)
