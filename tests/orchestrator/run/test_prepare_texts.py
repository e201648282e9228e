"""The text of a sweep is computed before its first run asks for it, where the store lacks it."""

import pytest

from orchestrator.run import prepare_texts as module
from orchestrator.run.prepare_texts import prepare_texts
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, space_of
from tests.trainer.cli import trainer
from trainer.spec.stage_table import TEXT_STAGES


@pytest.fixture
def store(tmp_path, text_store):
    """A store with the training text of `tiny`."""
    folder = tmp_path / "runs"
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / "train_text").symlink_to(text_store / "stages" / "train_text")
    return folder


def test_what_is_missing_is_computed_by_the_trainer_once(tmp_path, store, monkeypatch):
    sweep, asked = open_sweep(store, space_of(tmp_path, TTT)), []

    def in_this_process(recipe, command, *options):
        asked.append(command)
        values = ["--set", f"data.val_bytes={recipe.data.val_bytes}"]
        done = trainer(command, "tiny", *values, *options)
        assert done.exit_code == 0
        assert done.output.splitlines() == ["train_text: in the store already", "val_text: computed"]

    monkeypatch.setattr(module, "run_trainer_on", in_this_process)
    for _ in range(2):
        prepare_texts(sweep, store)
    assert asked == ["prepare"]
    assert [len(list((store / "stages" / stage).glob("*/result.json"))) for stage in TEXT_STAGES] == [1, 1]


def test_shards_are_there_already(tmp_path, store, monkeypatch):
    space = space_of(tmp_path, TTT, overrides={"data.source": "shards", "data.folder": "x", "data.tokenizer": "y"})
    asked = []
    monkeypatch.setattr(module, "run_trainer_on", lambda *words: asked.append(words))
    prepare_texts(open_sweep(store, space), store)
    assert asked == []
