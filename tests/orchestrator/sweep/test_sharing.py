"""Sweeps of machines that share a bucket: each sees the others', one at a time drives."""

import json
import time
import uuid
from pathlib import Path

import pytest

from orchestrator.sweep import sharing
from orchestrator.sweep.imported import find_import, list_imports, read_files, write_import
from orchestrator.sweep.quarantine import _note
from orchestrator.sweep.sharing import fetch_sweeps, set_aside
from orchestrator.sweep.sweep import find_sweep, list_sweeps, open_sweep
from results.rows.imported_rows import ImportTerms
from results.rows.layout import DRIFTED
from results.rows.machines import quarantined
from results.verdicts.seed_ledger import Ledger
from tests.orchestrator.spaces import TTT, space_of
from trainer.spec.errors import StoreError
from trainer.store import claims
from trainer.store.mirror import BUCKET_FILE, bucket_of, publish_file_once


@pytest.fixture
def stores(tmp_path):
    """The mirrors of two machines; the bucket is in memory."""
    url = f"memory://{uuid.uuid4().hex}/runs"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / BUCKET_FILE).write_text(json.dumps({"url": url}))
    return tmp_path / "one", tmp_path / "two"


@pytest.fixture
def space(tmp_path):
    return space_of(tmp_path, TTT)


def leave_record(sweep, run_id, content=b"{}"):
    path = sweep.record_path(run_id)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    publish_file_once(path)


def test_what_one_machine_imported_another_sees(stores):
    files = [Path(__file__).parents[2] / "data" / "cases" / "pr150_second_entry.csv"]
    kept = write_import(stores[0], "mine", files, read_files(files, ImportTerms()))
    seen = find_import(stores[1], "mine")
    assert seen is not None
    assert (seen.header, seen.rows) == (kept.header, kept.rows)
    assert [one.name for one in list_imports(stores[1])] == ["mine"]


def test_what_one_machine_asked_and_recorded_another_sees(stores, space):
    one, two = stores
    sweep = open_sweep(one, space)
    leave_record(sweep, "a-s1")
    assert [seen.name for seen in list_sweeps(two)] == [sweep.name]
    assert find_sweep(two, sweep.name).record_path("a-s1").read_bytes() == b"{}"
    assert open_sweep(two, space).created_at == sweep.created_at


def test_one_machine_at_a_time_drives(stores, space, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_EVERY_S", 0.1)
    one, two = stores
    mine, theirs = open_sweep(one, space), open_sweep(two, space)
    with mine.lock():
        assert theirs.is_locked()
        with pytest.raises(StoreError, match="is being driven by process"), theirs.lock():
            pass
    assert not theirs.is_locked()
    with theirs.lock():
        pass


def test_a_failed_run_that_is_done_again_elsewhere_is_forgotten_here(stores, space):
    one, two = stores
    leave_record(open_sweep(one, space), "a-s1", b"failed")
    sweep = find_sweep(two, space.name)
    path, aside = sweep.record_path("a-s1"), sweep.folder / "failed" / "a-s1-1.json"
    aside.parent.mkdir()
    path.replace(aside)
    set_aside(path, aside)
    fetch_sweeps(one)
    assert not find_sweep(one, space.name).record_path("a-s1").exists()


def test_a_machine_whose_clock_is_an_hour_ahead_still_sees_who_drives(stores, space, monkeypatch):
    one, two = stores
    open_sweep(one, space)
    theirs = find_sweep(two, space.name)
    with find_sweep(one, space.name).lock():
        ahead = time.time() + 3600
        monkeypatch.setattr(sharing.time, "time", lambda: ahead)
        assert theirs.is_locked()


def test_a_drifted_run_is_a_record_on_no_machine_and_what_repeats_it_on_all(stores, space):
    one, two = stores
    mine = open_sweep(one, space)
    leave_record(mine, "a-s1", b"drifted")
    path, aside = mine.record_path("a-s1"), mine.folder / DRIFTED / "a-s1-1.json"
    assert find_sweep(two, space.name).record_path("a-s1").read_bytes() == b"drifted"
    aside.parent.mkdir()
    path.replace(aside)
    set_aside(path, aside)
    leave_record(mine, "a-s1", b"repeated")
    assert find_sweep(two, space.name).record_path("a-s1").read_bytes() == b"repeated"


def test_a_machine_quarantined_here_is_quarantined_everywhere(stores, space):
    one, two = stores
    mine = open_sweep(one, space)
    _note(mine, {"event": "quarantined", "machine": "odd", "why": "slow"})
    assert quarantined(find_sweep(two, space.name).folder) == {"odd": "slow"}


def test_the_ledger_is_one_chain_over_machines(stores):
    one, two = (Ledger(store) for store in stores)
    one.declare("ttt", "a", [1, 2])
    two.start("ttt", "a", 1)
    one.start("ttt", "a", 2)
    two.end("ttt", "a", 1, "done")
    assert [entry["event"] for entry in one.entries()] == ["declared", "started", "started", "ended"]
    assert one.path.read_bytes() == two.path.read_bytes()


def test_a_foreign_line_in_the_bucket_is_refused_and_not_copied_into_the_ledger(stores):
    ledger = Ledger(stores[0])
    ledger.declare("ttt", "a", [1])
    before = ledger.path.read_bytes()
    bucket_of(stores[0]).create("seed_ledger/00000002.json", b"[]")
    for _ in range(2):
        with pytest.raises(StoreError, match="jsonl:2: the chain of the seed ledger is broken here"):
            Ledger(stores[0]).entries()
    assert ledger.path.read_bytes() == before


def test_seeds_that_ran_on_another_machine_are_not_fresh(stores):
    one, two = (Ledger(store) for store in stores)
    one.declare("ttt", "a", [1, 2])
    one.start("ttt", "a", 1)
    with pytest.raises(ValueError, match="not fresh"):
        two.declare("ttt-confirm", "a", [1, 3], purpose="confirm")
