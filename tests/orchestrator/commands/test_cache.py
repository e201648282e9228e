"""The store seen from outside: sizes, last use, damage; and nothing goes that somebody needs."""

import json
import os
import time

import pytest
from typer.testing import CliRunner

from orchestrator.commands.app import app
from orchestrator.commands.cache import entries, prune
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, space_of
from tests.outcomes import stage_outcome
from trainer.spec.errors import StoreError
from trainer.store.local import StageStore

DAY_S = 86_400


@pytest.fixture
def store(tmp_path) -> StageStore:
    """One old train stage of 3 kB, one fresh export of 1 kB."""
    made = StageStore(tmp_path)
    for stage, size in (("train", 3000), ("export", 1000)):
        with made.writing(stage, "abc") as aside:
            (aside / "content.bin").write_bytes(b"x" * size)
            made.publish(aside, stage_outcome(stage, "abc", 2.5))
    long_ago = time.time() - 40 * DAY_S
    os.utime(made.folder("train", "abc"), (long_ago, long_ago))
    return made


def cli(store: StageStore, *words: str):
    return CliRunner().invoke(app, ["cache", *words, "--store", str(store.root)])


def test_the_list_is_sorted_by_size_and_says_what_was_used_when(store):
    rows = json.loads(cli(store, "list", "--format", "json").stdout)
    assert [(row["stage"], row["state"], row["seconds"]) for row in rows] == [
        ("train", "finished", 2.5),
        ("export", "finished", 2.5),
    ]
    assert rows[0]["disk_bytes"] > 3000
    assert rows[0]["last_used_at"] < rows[1]["last_used_at"]


def test_finding_a_stage_to_build_on_it_counts_as_a_use(store):
    store.find_intact("train", "abc")
    (train, _) = entries(store)
    assert time.time() - train.used_at_s < 60


def test_one_changed_bit_is_found_and_named(store):
    assert cli(store, "verify").exit_code == 0
    path = store.folder("train", "abc") / "content.bin"
    path.write_bytes(b"y" + path.read_bytes()[1:])
    result = cli(store, "verify")
    assert result.exit_code == 1
    assert "content.bin" in result.stdout
    assert store.find_intact("train", "abc") is None


def test_pruning_takes_the_long_unused_and_the_damaged(store):
    (store.folder("export", "abc") / "content.bin").write_bytes(b"short")
    assert {entry.stage for entry in prune(store, 30, dry_run=True)} == {"train", "export"}
    assert len(entries(store)) == 2
    prune(store, 30)
    assert entries(store) == []


def test_pruning_keeps_what_was_used_lately(store):
    assert [entry.stage for entry in prune(store, 30)] == ["train"]
    assert [entry.stage for entry in entries(store)] == ["export"]


def test_what_somebody_computes_now_stays(store):
    claim = store.claim("train", "abc")
    assert prune(store, 30) == []
    claim.release()


def test_snapshots_of_the_dead_are_listed_and_pruned(store):
    store.snapshot_path("train", "dead").write_bytes(b"12345")
    assert ("dead", "unfinished", 5) in [(e.fingerprint, e.kind, e.disk_bytes) for e in entries(store)]
    prune(store, -1)
    assert list((store.root / "stages" / "train").glob("[!.]*[!m]")) == []


def test_pruning_waits_for_the_sweep_at_work(store, tmp_path):
    with open_sweep(store.root, space_of(tmp_path, TTT)).lock(), pytest.raises(StoreError, match="'ttt' is at work"):
        prune(store, 0)
