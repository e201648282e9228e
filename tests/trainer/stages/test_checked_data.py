"""A check of shards is remembered for the files it read, and for no others."""

import os

import pytest

from tests.trainer import shards_on_disk
from tests.trainer.cli import trainer
from tests.trainer.shards_on_disk import change, copy, recipe_of, tokens_of
from trainer.data import check_data as checking
from trainer.data.fetch import Fetched
from trainer.spec.errors import DataError
from trainer.stages.checked_data import known_report, sound_data


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Fetched:
    return shards_on_disk.build(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def data(built, tmp_path) -> Fetched:
    return copy(built, tmp_path / "data")


def test_sound_shards_are_read_once(data, tmp_path, monkeypatch):
    first = sound_data(recipe_of(data).data, tmp_path)
    monkeypatch.setattr(checking, "check_data", lambda *files: pytest.fail("read again"))
    assert sound_data(recipe_of(data, seed=2).data, tmp_path) == first


def test_a_file_with_another_time_is_read_again_and_refused_if_it_changed_inside(data, tmp_path):
    sound_data(recipe_of(data).data, tmp_path)
    tokens = tokens_of(data.folder, "train")
    middle = len(tokens) // 2
    change(data.folder, "train", [*tokens[:middle], *tokens[middle:][::-1]])
    with pytest.raises(DataError, match=r"1 problem with the data(.|\n)*fineweb_train_000000\.bin has SHA-256"):
        sound_data(recipe_of(data).data, tmp_path)


def test_unsound_shards_are_not_remembered(data, tmp_path):
    tokens = tokens_of(data.folder, "val")
    change(data.folder, "val", tokens[:9])
    with pytest.raises(DataError):
        sound_data(recipe_of(data).data, tmp_path)
    assert known_report(recipe_of(data).data, tmp_path) is None
    change(data.folder, "val", tokens)
    assert sound_data(recipe_of(data).data, tmp_path).val.tokens == len(tokens)


@pytest.mark.parametrize("name", ["fineweb_val_000000.bin", "SHA256.json", "tokenizer", "manifest"])
def test_every_file_that_the_check_reads_counts(data, tmp_path, name):
    sound_data(recipe_of(data).data, tmp_path)
    other = {"tokenizer": data.tokenizer, "manifest": data.folder.parent / "manifest.json"}
    path = other.get(name, data.folder / name)
    path.touch()
    os.utime(path, (1, 1))
    assert known_report(recipe_of(data).data, tmp_path) is None


def test_data_check_reads_everything_and_leaves_its_report_for_runs(data, tmp_path):
    store = tmp_path / "runs"
    done = trainer("data", "check", data.folder, "--tokenizer", data.tokenizer, "--store", store)
    assert done.exit_code == 0, done.output
    assert known_report(recipe_of(data).data, store).val.documents == 2


def test_a_tokenizer_larger_than_the_vocabulary_is_refused_by_name(data, tmp_path):
    with pytest.raises(DataError, match=r"\.model' has 320 pieces, more than data\.vocab_size = 310"):
        sound_data(recipe_of(data, data__vocab_size=310).data, tmp_path)
