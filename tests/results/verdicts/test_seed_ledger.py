"""The seed ledger: what it refuses, what it shows, and that nobody can rewrite it unseen."""

import hashlib
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from results.verdicts import attempts
from results.verdicts.seed_ledger import HEAD, Ledger
from trainer.spec.errors import StoreError, UserError


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path)


def ran(ledger, sweep, config, *seeds, status="done"):
    for seed in seeds:
        ledger.start(sweep, config, seed)
        ledger.end(sweep, config, seed, status)


def test_a_seed_is_declared_before_it_runs(ledger):
    with pytest.raises(UserError, match="seed 1 of aaaa was never declared"):
        ledger.start("ttt", "aaaa", 1)
    ledger.declare("ttt", "aaaa", [1, 2])
    ledger.start("ttt", "aaaa", 1)


def test_a_failed_run_is_no_attempt_until_one_of_its_sweep_has_a_score(ledger):
    tested = attempts.Tested("space")
    for sweep in ("crashed", "later"):
        ledger.declare(sweep, "base", [1, 2], tested=tested)
        ledger.start(sweep, "base", 1)
    ledger.end("crashed", "base", 1, "failed", scored=False)
    ledger.end("crashed", "base", 1, "failed", scored=False)
    ledger.end("later", "base", 1, "done")
    assert [one.sweep for one in attempts.attempts_at(ledger.entries(), "later")] == ["later"]
    assert not ledger.known_beforehand("later", "base")
    ledger.end("crashed", "base", 1, "done")  # retried
    assert [one.sweep for one in attempts.attempts_at(ledger.entries(), "later")] == ["later", "crashed"]
    assert [entry.get("scored") for entry in ledger.entries() if entry["event"] == "ended"] == [False, None, None]


def test_every_declared_seed_is_shown_with_its_outcome(ledger):
    ledger.declare("ttt", "aaaa", [1, 2, 3, 4])
    ran(ledger, "ttt", "aaaa", 1)
    ran(ledger, "ttt", "aaaa", 2, status="failed")
    ledger.start("ttt", "aaaa", 3)
    outcomes = {one.seed: one.outcome for one in ledger.outcomes(["aaaa"])}
    assert outcomes == {1: "done", 2: "failed", 3: "started", 4: "declared"}


def test_what_was_said_is_not_said_twice(ledger):
    for _ in range(2):
        ledger.declare("ttt", "aaaa", [1])
        ran(ledger, "ttt", "aaaa", 1)
        ledger = Ledger(ledger.path.parent)  # after a restart
    ledger.end("ttt", "aaaa", 1, "failed")
    assert [entry["event"] for entry in ledger.entries()] == ["declared", "started", "ended"]
    assert [one.outcome for one in ledger.outcomes(["aaaa"])] == ["done"]


def test_declared_seeds_do_not_change_and_none_counts_twice(ledger):
    ledger.declare("ttt", "aaaa", [1, 2])
    with pytest.raises(UserError, match="cannot change them now"):
        ledger.declare("ttt", "aaaa", [1, 2, 3])
    with pytest.raises(UserError, match="name one twice"):
        ledger.declare("ttt", "bbbb", [1, 1])


def test_the_best_three_of_five_seeds_are_refused(ledger):
    ledger.declare("first", "aaaa", [1, 2, 3, 4, 5])
    ran(ledger, "first", "aaaa", 1, 2, 3, 4, 5)
    ledger.declare("second", "aaaa", [1, 3, 5])
    assert ledger.objection("first", "aaaa") == ""
    assert "had run on 1, 2, 3, 4, 5, of which only 1, 3, 5 are counted" in ledger.objection("second", "aaaa")
    assert ledger.objection("second", "bbbb") == ""


def test_seeds_of_runs_that_told_no_score_leave_nothing_to_choose_by(ledger):
    ledger.declare("wrong pattern", "aaaa", [1, 2, 3])
    for seed in (1, 2, 3):
        ledger.start("wrong pattern", "aaaa", seed)
        ledger.end("wrong pattern", "aaaa", seed, "failed", scored=False)
    ledger.declare("corrected", "aaaa", [1, 2])
    assert ledger.objection("corrected", "aaaa") == ""
    ran(ledger, "corrected", "aaaa", 1)
    ledger.declare("fewer", "aaaa", [1, 3])
    assert "of which only 1, 3 are counted" in ledger.objection("fewer", "aaaa")


def test_fresh_and_repeated_seeds_are_no_selection_but_repeated_ones_were_known_beforehand(ledger):
    ledger.declare("first", "aaaa", [1, 2])
    ran(ledger, "first", "aaaa", 1, 2)
    for sweep, seeds in {"same": [1, 2], "fresh": [7, 8], "more": [1, 2, 3, 7, 8]}.items():
        ledger.declare(sweep, "aaaa", seeds)
        assert ledger.objection(sweep, "aaaa") == ""
        ran(ledger, sweep, "aaaa", *(seeds if sweep == "fresh" else ()))
    known = [ledger.known_beforehand(sweep, "aaaa") for sweep in ("first", "same", "fresh", "more")]
    assert known == [False, True, False, True]


def test_a_confirmation_needs_fresh_seeds(ledger):
    ledger.declare("ttt", "aaaa", [1, 2])
    ran(ledger, "ttt", "aaaa", 1)
    with pytest.raises(UserError, match="seeds 1 are not fresh"):
        ledger.declare("ttt-confirm", "aaaa", [1, 9], purpose="confirm")
    ledger.declare("ttt-confirm", "aaaa", [8, 9], purpose="confirm")


@pytest.mark.parametrize("tamper", ["change", "remove", "insert"])
def test_a_rewritten_past_is_found(ledger, tamper):
    ledger.declare("ttt", "aaaa", [1, 2])
    ran(ledger, "ttt", "aaaa", 1, 2)
    lines = ledger.path.read_text().splitlines()
    if tamper == "change":
        lines[2] = lines[2].replace('"done"', '"failed"')
    elif tamper == "remove":
        del lines[1:3]
    else:
        lines.insert(2, json.dumps(json.loads(lines[1]) | {"seed": 2}))
    ledger.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(StoreError, match="chain of the seed ledger is broken"):
        Ledger(ledger.path.parent).entries()


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_lines_cut_off_its_end_are_missed(ledger, kept):
    ledger.declare("ttt", "aaaa", [1, 2])
    ran(ledger, "ttt", "aaaa", 1, 2)
    lines = ledger.path.read_text().splitlines(keepends=True)
    ledger.path.write_text("".join(lines[:kept]))
    for reader in (ledger, Ledger(ledger.path.parent)):
        with pytest.raises(StoreError, match=f"5 lines of the seed ledger were written, {kept} are there"):
            reader.entries()
    ledger.path.unlink()
    with pytest.raises(StoreError, match="0 are there"):
        ledger.declare("ttt", "bbbb", [3])


def test_a_ledger_that_nobody_vouches_for_is_refused_but_a_crash_after_its_first_line_is_none(ledger):
    ledger.declare("ttt", "aaaa", [1])
    (ledger.path.parent / HEAD).unlink()
    Ledger(ledger.path.parent).start("ttt", "aaaa", 1)
    (ledger.path.parent / HEAD).unlink()
    with pytest.raises(StoreError, match="an unknown number of lines"):
        Ledger(ledger.path.parent).entries()


FOREIGN = {
    "empty": b"",
    "zeroed": bytes(70),
    "a word": b"foreign\n",
    "three words": b"1 2 3",
    "a negative number": b"-1 " + b"0" * 64,
    "a fraction": b"1.5 " + b"0" * 64,
    "a number of 5000 digits": b"9" * 5000 + b" " + b"0" * 64,
    "no text": b"\xff\xfe\x00 \x80",
    "JSON": b'{"event": "declared"}',
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_head_of_foreign_content_is_a_ledger_that_nobody_vouches_for(ledger, content):
    ledger.declare("ttt", "aaaa", [1])
    (ledger.path.parent / HEAD).write_bytes(content)
    for reader in (ledger, Ledger(ledger.path.parent)):
        with pytest.raises(StoreError, match="an unknown number of lines of the seed ledger were written, 1 are there"):
            reader.entries()
        with pytest.raises(StoreError, match="an unknown number of lines"):
            reader.start("ttt", "aaaa", 1)


LINES = {
    **FOREIGN,
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "a deep list": b"[" * 100_000,
    "only the hash": b'{"previous": "PREVIOUS"}',
    "no configuration": b'{"event": "started", "sweep": "ttt", "seed": 1, "previous": "PREVIOUS"}',
    "a list for a name": b'{"event": "ended", "sweep": [], "config": "a", "seed": 1, "previous": "PREVIOUS"}',
    "a list for a seed": b'{"event": "ended", "sweep": "a", "config": "a", "seed": [1], "previous": "PREVIOUS"}',
    "no seeds": b'{"event": "declared", "sweep": "a", "config": "a", "purpose": "sweep", "previous": "PREVIOUS"}',
    "a list for a status": b'{"event": "ended", "sweep": "a", "config": "a", "seed": 1, "status": [], '
    b'"previous": "PREVIOUS"}',
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_of_foreign_content_is_a_broken_chain_even_with_the_right_hash(ledger, line):
    ledger.declare("ttt", "aaaa", [1])
    newest = hashlib.sha256(ledger.path.read_bytes().removesuffix(b"\n")).hexdigest().encode()
    with ledger.path.open("ab") as file:
        file.write(line.replace(b"PREVIOUS", newest) + b"\n")
    for reader in (ledger, Ledger(ledger.path.parent)):
        with pytest.raises(StoreError, match="jsonl:2: the chain of the seed ledger is broken here"):
            reader.outcomes(["aaaa"])


def test_the_end_of_a_run_that_was_never_declared_is_shown_as_one(ledger):
    ledger.end("ttt", "aaaa", 1, "done")
    assert [(one.seed, one.outcome) for one in ledger.outcomes(["aaaa"])] == [(1, "done")]


def test_the_head_is_synced_before_it_replaces_the_old_one_and_its_name_after(ledger, monkeypatch):
    ledger.declare("ttt", "aaaa", [1])
    calls = []
    fsync, replace = os.fsync, os.replace

    def spied_fsync(handle):
        calls.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    ledger.start("ttt", "aaaa", 1)
    assert calls == ["file", "file", "replace", "folder"]  # the line; the head
    assert len(Ledger(ledger.path.parent).entries()) == 2


def test_a_record_whose_seed_was_never_declared_is_no_evidence(ledger):
    ledger.declare("ttt", "aaaa", [1, 2])
    assert ledger.objection("ttt", "aaaa", [1, 2]) == ""
    assert "seed 5 of aaaa has a record, but no declaration in the seed ledger" in ledger.objection(
        "ttt", "aaaa", [1, 5]
    )


def test_a_line_torn_by_a_crash_makes_way(ledger):
    ledger.declare("ttt", "aaaa", [1])
    with ledger.path.open("ab") as file:
        file.write(b'{"event": "star')
    again = Ledger(ledger.path.parent)
    again.start("ttt", "aaaa", 1)
    assert [entry["event"] for entry in Ledger(ledger.path.parent).entries()] == ["declared", "started"]


def test_several_drivers_keep_one_chain(tmp_path):
    def drive(sweep: str) -> None:
        ledger = Ledger(tmp_path)
        ledger.declare(sweep, "aaaa", range(10))
        ran(ledger, sweep, "aaaa", *range(10))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(drive, ["a", "b", "c", "d"]))
    assert len(Ledger(tmp_path).entries()) == 4 * 21


def test_the_objection_is_foreseen_before_seeds_are_declared(ledger):
    ledger.declare("first", "aaaa", [1, 2, 3])
    assert ledger.foreseen("aaaa", [1, 2]) == ""  # nothing has ended
    ran(ledger, "first", "aaaa", 1, 2, 3)
    for seeds, refused in (([2, 3], True), ([2, 9], True), ([1, 2, 3], False), ([3, 2, 1, 4], False), ([4, 5], False)):
        assert bool(ledger.foreseen("aaaa", seeds)) == refused
        ledger.declare(str(seeds), "aaaa", seeds)
        assert bool(ledger.objection(str(seeds), "aaaa")) == refused
    said = ledger.foreseen("aaaa", [2, 3])
    assert said.endswith("would count only 2, 3; count all of them, --seeds 1,2,3, or none, --seeds 4,5")
