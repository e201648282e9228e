"""A run on shards is scored only if they match their tokenizer and their folder's record; else it says why not."""

import json
import re

import numpy as np
import pytest

from tests.fakes import on_ranks
from tests.trainer import shards_on_disk
from tests.trainer.cli import trainer
from tests.trainer.shards_on_disk import TEXTS, VOCAB_SIZE, change, copy, recipe_of, rewrite, texts_of, tokens_of
from tests.trainer.stages.conftest import run
from trainer.data.fetch import Fetched
from trainer.data.tokenizer import Tokenizer
from trainer.spec.errors import DataError
from trainer.stages.context import StageContext
from trainer.stages.prepare import require_sound_data
from trainer.store.local import StageStore

BOS = 1


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Fetched:
    return shards_on_disk.build(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def data(built, tmp_path) -> Fetched:
    return copy(built, tmp_path / "data")


def has_ids_beyond_the_pieces(data):
    tokens = tokens_of(data.folder, "val")
    rewrite(data.folder, "val", np.where(tokens % 3 == 2, tokens + VOCAB_SIZE, tokens))


def has_unknown_pieces(data):
    tokens = tokens_of(data.folder, "val")
    rewrite(data.folder, "val", [*tokens[:40], 3, *tokens[40:]])


def is_cut_to_a_quarter(data):
    tokens = tokens_of(data.folder, "val")
    change(data.folder, "val", tokens[: len(tokens) // 4])


def lacks_a_train_shard(data):
    rewrite(data.folder, "train", tokens_of(data.folder, "train"), index=1).unlink()


def holds_validation_text_among_the_train_shards(data):
    rewrite(data.folder, "train", [*tokens_of(data.folder, "train"), *tokens_of(data.folder, "val")])


DAMAGES = [
    (has_ids_beyond_the_pieces, r"fineweb_val_000000\.bin holds id \d+ .* has 320 pieces"),
    (has_unknown_pieces, r"fineweb_val_000000\.bin holds the piece '<unk>' \(id 3\)"),
    (is_cut_to_a_quarter, r"fineweb_val_000000\.bin .*differs from the SHA-256 .*fetch or build"),
    (lacks_a_train_shard, r"fineweb_train_000001\.bin is missing"),
    (holds_validation_text_among_the_train_shards, r"validation documents .* train"),
]


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES)
def test_a_run_on_unsound_shards_is_refused_with_file_and_remedy(data, tmp_path, damage, complaint):
    damage(data)
    record = run(tmp_path, recipe_of(data, data__vocab_size=1024))
    assert record.status == "failed"
    assert re.search(complaint, record.error), record.error
    assert record.stages == {}


def test_the_command_refuses_unsound_shards_before_it_writes_a_record(data, tmp_path):
    is_cut_to_a_quarter(data)
    (tmp_path / "recipe.yaml").write_text(recipe_of(data).model_dump_json())
    done = trainer("run", tmp_path / "recipe.yaml", "--store", tmp_path / "runs")
    assert "fineweb_val_000000.bin" in str(done.exception)
    assert not list((tmp_path / "runs").rglob("run.json"))


def test_a_run_on_sound_shards_tells_tokens_bytes_and_documents_of_the_text_it_scored(data, tmp_path):
    record = run(tmp_path, recipe_of(data))
    assert record.status == "done", record.error
    texts = texts_of(data, "val")
    assert set(texts) < set(TEXTS)
    assert record.metric("val_text", "num_documents") == len(texts)
    assert record.metric("val_text", "num_bytes") == sum(len(text.encode()) for text in texts)
    assert record.metric("evaluate", "num_bytes") == record.metric("val_text", "num_bytes")
    assert record.metric("evaluate", "num_tokens") == record.metric("val_text", "num_tokens") - 1


def test_the_command_prints_the_scored_text_and_notes_on_it(data, tmp_path):
    rewrite(data.folder, "val", [1, *tokens_of(data.folder, "val")])
    (tmp_path / "recipe.yaml").write_text(recipe_of(data).model_dump_json())
    done = trainer("run", tmp_path / "recipe.yaml", "--store", tmp_path / "runs")
    assert "1,136 tokens, 1,185 bytes, 2 documents scored" in done.output
    assert "note: the validation split holds 1 empty documents (BOS after BOS)" in done.output


def test_a_file_is_not_scored_on_unsound_shards(data, tmp_path):
    has_unknown_pieces(data)
    (tmp_path / "recipe.yaml").write_text(recipe_of(data).model_dump_json())
    done = trainer("score", tmp_path / "no.pt", "--preset", tmp_path / "recipe.yaml", "--store", tmp_path / "runs")
    assert "holds the piece '<unk>'" in str(done.exception)


def test_every_rank_is_refused_by_what_the_first_one_finds(data, tmp_path):
    is_cut_to_a_quarter(data)
    recipe = recipe_of(data)

    def refusal(ranks):
        with pytest.raises(DataError) as refused:
            require_sound_data(StageContext(recipe, "run", StageStore(tmp_path), {}, ranks))
        return str(refused.value)

    first, second = on_ranks(2, refusal)
    assert first == second
    assert "fineweb_val_000000.bin" in first


def doubled_bos(tokens):
    return np.repeat(tokens, np.where(tokens == BOS, 2, 1))


def no_bos(tokens):
    return tokens[tokens != BOS]


def empty_documents(tokens):
    return np.array([*tokens, BOS, BOS])


@pytest.mark.parametrize("form", [doubled_bos, no_bos, empty_documents])
def test_documents_with_another_number_of_bos_are_scored_token_by_token_and_bos_adds_no_byte(data, tmp_path, form):
    tokens, tokenizer = form(tokens_of(data.folder, "val")), Tokenizer(data.tokenizer)
    rewrite(data.folder, "val", tokens)
    record = run(tmp_path, recipe_of(data))
    assert record.status == "done", record.error
    assert record.metric("evaluate", "num_tokens") == len(tokens) - 1
    first_bytes = len(tokenizer.decode(tokens[:1]).encode())
    assert record.metric("evaluate", "num_bytes") == len(tokenizer.decode(tokens).encode()) - first_bytes
    assert record.metric("val_text", "num_bytes") == record.metric("evaluate", "num_bytes")


def test_padding_of_the_vocabulary_is_fine(data, tmp_path):
    record = run(tmp_path, recipe_of(data, data__vocab_size=512))
    assert record.status == "done", record.error


def test_shards_are_read_once_while_their_size_and_time_stay(data, tmp_path, monkeypatch):
    run(tmp_path, recipe_of(data), "first")
    checks = {path: path.stat().st_mtime_ns for path in (tmp_path / "checks").iterdir()}
    run(tmp_path, recipe_of(data, seed=2), "second")
    assert checks == {path: path.stat().st_mtime_ns for path in (tmp_path / "checks").iterdir()}
    assert any(json.loads(path.read_bytes())["val"]["documents"] for path in checks if path.suffix == ".json")
