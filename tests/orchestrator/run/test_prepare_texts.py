"""The text of a sweep is computed before its first run asks for it, where the store lacks it."""

import threading

import pytest
from rich.console import Console

from orchestrator.run import prepare_texts as module
from orchestrator.run.beside import Beside
from orchestrator.run.preflight import DeadPart, preflight
from orchestrator.run.prepare_texts import TextsAhead
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, space_of
from tests.trainer.cli import trainer
from trainer.spec.load import load_preset
from trainer.spec.stage_table import TEXT_STAGES

DECAY = """
name: decay
preset: tiny
method: grid
seeds: [1]
parameters:
  optimizer.muon.weight_decay: {value: DECAY}
"""


@pytest.fixture
def store(tmp_path, text_store):
    """A store with the training text of `tiny`."""
    folder = tmp_path / "runs"
    (folder / "stages").mkdir(parents=True)
    (folder / "stages" / "train_text").symlink_to(text_store / "stages" / "train_text")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """The commands that the trainer was started with, each run in this process."""
    words = []

    def in_this_process(recipe, command, *options):
        words.append(command)
        values = ["--set", f"data.val_bytes={recipe.data.val_bytes}"]
        done = trainer(command, "tiny", *values, *options)
        assert done.exit_code == 0
        assert done.output.splitlines() == ["train_text: in the store already", "val_text: computed"]

    monkeypatch.setattr(module, "run_trainer_on", in_this_process)
    return words


def kept(store) -> list[int]:
    return [len(list((store / "stages" / stage).glob("*/result.json"))) for stage in TEXT_STAGES]


def test_what_is_missing_is_computed_by_the_trainer_once(tmp_path, store, asked):
    sweep = open_sweep(store, space_of(tmp_path, TTT))
    for _ in range(2):
        TextsAhead(sweep, store).finish()
    assert asked == ["prepare"]
    assert kept(store) == [1, 1]


def test_shards_are_there_already(tmp_path, store, monkeypatch):
    space = space_of(tmp_path, TTT, overrides={"data.source": "shards", "data.folder": "x", "data.tokenizer": "y"})
    asked = []
    monkeypatch.setattr(module, "run_trainer_on", lambda *words: asked.append(words))
    TextsAhead(open_sweep(store, space), store).finish()
    assert asked == []


def test_the_process_of_the_check_goes_on_to_the_text_and_is_waited_for_only_then(tmp_path, store, asked):
    sweep = open_sweep(store, space_of(tmp_path, DECAY.replace("DECAY", "0.1"), overrides={"model.num_layers": 2}))
    texts, console = TextsAhead(sweep, store), Console(record=True, width=200)
    preflight(sweep, store, console, texts=texts)
    assert "alive in" in console.export_text().splitlines()[-1]
    texts.finish()
    assert asked == []
    assert kept(store) == [1, 1]


def test_a_check_that_fails_says_what_is_dead_and_no_text_follows(tmp_path, store):
    sweep = open_sweep(store, space_of(tmp_path, DECAY.replace("DECAY", "1e-30"), overrides={"model.num_layers": 2}))
    with pytest.raises(DeadPart, match=r"is not begun(.|\n)*\n  dead optimizer.muon.weight_decay"):
        preflight(sweep, store, Console(quiet=True), texts=TextsAhead(sweep, store))
    assert kept(store) == [1, 0]


def test_the_text_of_a_recipe_that_changes_it_is_not_taken_for_the_sweeps(tmp_path, store, monkeypatch):
    sweep = open_sweep(store, space_of(tmp_path, TTT))
    asked = []
    monkeypatch.setattr(module, "run_trainer_on", lambda recipe, *words: asked.append(words))
    texts = TextsAhead(sweep, store)
    texts.check(load_preset("tiny", {"data.val_bytes": 9000}).recipe, "--no-size")
    texts.finish()
    assert asked == [("check", "--no-size"), ("prepare", "--store", str(store))]


def test_whoever_leaves_ends_the_process_that_goes_on(tmp_path):
    store = tmp_path / "empty"
    sweep = open_sweep(store, space_of(tmp_path, DECAY.replace("DECAY", "0.1"), overrides={"model.num_layers": 2}))
    texts = TextsAhead(sweep, store)
    with Beside(lambda console: preflight(sweep, store, console, texts=texts), 80, texts.finish) as checking:
        assert "alive in" in checking.wait(threading.Event())[-1]
    assert kept(store) == [0, 0]
