"""A sweep begins only if its shards are sound, by the rules of `trainer data check`; the report has their counts."""

import json
import sys

import pytest
from rich.console import Console

from orchestrator.cli import main
from orchestrator.run import data_preflight
from orchestrator.run.preflight import preflight
from orchestrator.sweep.notes import data_words
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import space_of
from tests.trainer import shards_on_disk
from tests.trainer.shards_on_disk import VOCAB_SIZE, change, copy, rewrite, tokens_of
from trainer.data.fetch import Fetched
from trainer.spec.errors import DataError

SPACE = """
name: small
preset: tiny
method: grid
seeds: [1]
parameters:
  optimizer.muon.weight_decay: {value: 0.1}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Fetched:
    return shards_on_disk.build(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def data(built, tmp_path) -> Fetched:
    return copy(built, tmp_path / "data")


def begin(folder, data, vocab_size=VOCAB_SIZE):
    """A sweep on these shards, after its preflight without the switches."""
    named = {"data.folder": str(data.folder), "data.tokenizer": str(data.tokenizer), "data.vocab_size": vocab_size}
    sweep = open_sweep(folder / "runs", space_of(folder, SPACE, overrides={"data.source": "shards"} | named))
    preflight(sweep, folder / "runs", Console(quiet=True), skip=True)
    return sweep


def test_a_cut_validation_shard_is_refused_before_the_first_run_even_without_checks_of_switches(data, tmp_path):
    tokens = tokens_of(data.folder, "val")
    change(data.folder, "val", tokens[: len(tokens) // 4])
    with pytest.raises(DataError, match=r"'small' is not begun(.|\n)*fineweb_val_000000\.bin has SHA-256 .* was .*cut"):
        begin(tmp_path, data)


def test_the_command_ends_with_status_2_and_no_run(data, tmp_path, monkeypatch, capsys):
    rewrite(data.folder, "val", [1, 900, 7])
    (tmp_path / "space.yaml").write_text(SPACE)
    named = {"data.source": "shards", "data.folder": data.folder, "data.tokenizer": data.tokenizer}
    changes = [word for key, value in named.items() for word in ("--set", f"{key}={value}")]
    words = ["orchestrator", "sweep", str(tmp_path / "space.yaml"), "--inline", "--store", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", [*words, *changes])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "fineweb_val_000000.bin holds id 900" in said
    assert "Traceback" not in said
    assert not (tmp_path / "runs" / "sweeps" / "small").exists()  # nothing was declared


def test_a_tokenizer_larger_than_the_vocabulary_is_refused_before_training(data, tmp_path):
    with pytest.raises(DataError, match=r"320 pieces, more than data\.vocab_size = 310; set data\.vocab_size to 320"):
        begin(tmp_path, data, vocab_size=310)


def test_sound_shards_are_checked_once_and_their_counts_stand_in_the_report(data, tmp_path, monkeypatch):
    sweep = begin(tmp_path, data)
    assert "validation  2 documents, 1,136 tokens, 1,185 bytes" in data_words(sweep)
    monkeypatch.setattr(data_preflight, "run_trainer", lambda *words: pytest.fail("checked again"))
    begin(tmp_path, data)


def test_notes_on_the_data_stand_in_the_report(data, tmp_path):
    rewrite(data.folder, "val", [1, *tokens_of(data.folder, "val")])
    sweep = begin(tmp_path, data)
    assert "1 empty documents (BOS after BOS)" in data_words(sweep)
    assert json.loads((sweep.folder / "preflight.json").read_text())["data"]
