"""A bucket as a machine sees it that took no part: the sweeps in it, and the house-keeping of its stages."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from orchestrator.commands.app import app
from orchestrator.commands.cache import entries, prune
from orchestrator.sweep.sharing import publish_sweep
from orchestrator.sweep.sweep import open_sweep
from tests.orchestrator.spaces import TTT, space_of
from tests.outcomes import stage_outcome
from tests.sweep_on_disk import finished_sweep
from trainer.spec.errors import StoreError
from trainer.store.bucket import Bucket
from trainer.store.mirror import store_folder
from trainer.store.shared import SharedStageStore, stage_store


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/runs"


@pytest.fixture
def on(tmp_path, monkeypatch, url):
    """Goes to a machine; returns its mirror, empty at first."""

    def go(name: str):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        return store_folder(url).absolute()

    return go


def rows_of(*words: str):
    done = CliRunner().invoke(app, [*words, "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "num_rows"),
    [("list", 1), ("status", 1), ("table small", 2), ("table small --per run", 6), ("compare small", 1)],
)
def test_a_machine_that_never_saw_the_sweep_can_read_it(on, url, words, num_rows):
    publish_sweep(finished_sweep(on("here")).folder)
    on("there")
    assert len(rows_of(*words.split(), "--store", url)) == num_rows


def test_a_machine_that_never_saw_the_sweep_can_report_on_it_and_say_what_is_next(on, url):
    publish_sweep(finished_sweep(on("here")).folder)
    page = on("there") / "sweeps" / "small" / "report.html"
    assert CliRunner().invoke(app, ["report", "small", "--store", url]).exit_code == 0
    assert "Is test-time training worth it?" in page.read_text()
    assert all(row["command"].endswith(f"--store {url}") for row in rows_of("next", "small", "--store", url))


def leave(store: SharedStageStore, stage: str, size: int) -> None:
    with store.writing(stage, "abc") as aside:
        (aside / "content.bin").write_bytes(b"x" * size)
        store.publish(aside, stage_outcome(stage, "abc", 2.5))


def age(part: str, days: float) -> None:
    """Makes every object look older whose path holds this."""
    for path, file in MemoryFileSystem.store.items():
        if part in path:
            file.created = datetime.now(UTC) - timedelta(days=days)


@pytest.fixture
def store(on, url) -> SharedStageStore:
    """An old train stage of 3 kB and a fresh export of 1 kB, as a machine sees them that made neither."""
    made = stage_store(on("here"))
    leave(made, "train", 3000)
    leave(made, "export", 1000)
    age(f"{url.removeprefix('memory:/')}/stages/train", 40)
    return stage_store(on("there"))


def test_sizes_and_last_use(store, url):
    train, export = rows_of("cache", "list", "--store", url)
    assert (train["stage"], train["state"], train["seconds"]) == ("train", "finished", 2.5)
    assert train["disk_bytes"] > 3000
    assert train["last_used_at"] < export["last_used_at"]


def test_one_changed_bit_is_found_and_the_stage_is_computed_anew(store, url):
    assert rows_of("cache", "verify", "--store", url) == []
    bucket = Bucket(url)
    (key,) = (key for key in bucket.list("stages/train") if key.endswith("content.bin"))
    bucket.put(key, b"y" + b"x" * 2999)
    result = CliRunner().invoke(app, ["cache", "verify", "--store", url])
    assert result.exit_code == 1
    assert "content.bin" in result.stdout
    assert store.find_intact("train", "abc") is None
    leave(store, "train", 3000)
    assert rows_of("cache", "verify", "--store", url) == []


def test_pruning_takes_the_long_unused_for_every_machine(store, url, on):
    assert [row["stage"] for row in rows_of("cache", "prune", "--dry-run", "--store", url)] == ["train"]
    assert len(entries(store)) == 2
    assert [row["stage"] for row in rows_of("cache", "prune", "--store", url)] == ["train"]
    assert [entry.stage for entry in entries(stage_store(on("elsewhere")))] == ["export"]


def test_what_a_run_built_on_lately_stays(store, on):
    assert stage_store(on("elsewhere")).find_intact("train", "abc") is not None
    assert prune(store, 30) == []


def test_what_another_machine_computes_now_stays(store, on):
    claim = stage_store(on("elsewhere")).claim("train", "abc")
    assert prune(store, 30) == []
    claim.release()
    assert [entry.stage for entry in prune(store, 30)] == ["train"]


def test_pruning_waits_for_the_sweep_that_another_machine_drives(store, on, tmp_path):
    driven = open_sweep(on("elsewhere"), space_of(tmp_path, TTT))
    with driven.lock(), pytest.raises(StoreError, match="'ttt' is at work"):
        prune(store, 0)


def test_an_upload_that_broke_off_is_listed_and_pruned_once_it_is_old(store, url):
    Bucket(url).put("stages/train/dead/0123-w.bin", b"12345")
    assert ("dead", "unfinished", 5) in [(e.fingerprint, e.kind, e.disk_bytes) for e in entries(store)]
    assert [entry.fingerprint for entry in prune(store, 30)] == ["abc"]
    age("/stages/train/dead", 40)
    assert [entry.fingerprint for entry in prune(store, 30)] == ["dead"]
