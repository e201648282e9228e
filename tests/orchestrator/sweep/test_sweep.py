"""A sweep's folder: recognised by its search space, safe against torn lines and second drivers."""

import json
import subprocess
import sys

import pytest

from orchestrator.space.configuration import Configuration
from orchestrator.space.load_space import load_space
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import find_sweep, list_sweeps, open_sweep, sweep_of_space
from results.rows.layout import JOURNAL
from tests.orchestrator.spaces import TTT, record_of, space_of
from trainer.spec.errors import StoreError

FIRST = Configuration(0, "aaaa", {"ttt.mode": "off"}, True)
SECOND = Configuration(1, "bbbb", {"ttt.mode": "score_first", "ttt.lr": 0.001})


def test_the_same_search_space_is_the_same_sweep_continued(tmp_path):
    space = space_of(tmp_path, TTT)
    first = open_sweep(tmp_path, space, sweep_seed=5, lag=2)
    first.append(FIRST)
    again = open_sweep(tmp_path, space, sweep_seed=6, lag=3)
    assert (again.name, again.sweep_seed, again.lag, again.note) == ("ttt", 5, 2, "")
    assert again.space == space
    assert again.asked() == [FIRST]


def test_another_search_space_under_a_taken_name_is_a_new_sweep_and_says_so(tmp_path):
    open_sweep(tmp_path, space_of(tmp_path, TTT))
    other = space_of(tmp_path, TTT.replace("[1, 2]", "[1, 3]"))
    made = open_sweep(tmp_path, other)
    assert made.name == "ttt-2"
    assert made.note == "the search space differs from that of sweep 'ttt' in: seeds; this is a new sweep 'ttt-2'"
    again = open_sweep(tmp_path, other)
    assert again.note == "the search space differs from that of sweep 'ttt' in: seeds; this is sweep 'ttt-2'"


def test_a_sweep_may_be_given_a_name_of_its_own(tmp_path):
    space = space_of(tmp_path, TTT)
    assert open_sweep(tmp_path, space, name="mine").name == "mine"
    with pytest.raises(StoreError, match="cannot name a sweep"):
        open_sweep(tmp_path, space, name="../mine")


def test_thresholds_stay_as_they_were_first_asked(tmp_path):
    open_sweep(tmp_path, space_of(tmp_path, TTT))
    again = open_sweep(tmp_path, space_of(tmp_path, TTT.replace("{baseline:", "{margin: 0.0, baseline:")))
    assert again.space.compare.margin == 0.005
    assert "keeps the thresholds it was created with: margin 0.005 nats, alpha 0.01" in again.note


def test_a_sweep_resumes_without_its_file_and_its_preset(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("extends: tiny\nmodel: {rope_base: 777.0}\n")
    space = space_of(tmp_path, TTT, preset=str(preset), overrides={"data.order_seed": 9})
    open_sweep(tmp_path, space)
    preset.unlink()
    (tmp_path / "space.yaml").unlink()
    opened = find_sweep(tmp_path, "ttt")
    assert opened.space == space
    assert opened.space.base.model.rope_base == 777.0


def test_the_kept_copy_of_a_search_space_loads_as_the_same_one(tmp_path):
    space = space_of(tmp_path, TTT + "constraints: {eval_s: {max: 600}}")
    sweep = open_sweep(tmp_path, space)
    kept = load_space(sweep.folder / "space.yaml")
    assert kept.difference(space) == ""
    for made in (kept, find_sweep(tmp_path, "ttt").space):
        assert list(made.parameters) == list(space.parameters)  # people read it in the order in which they wrote it


def test_a_torn_last_line_is_neither_read_nor_built_upon(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    sweep.append(FIRST)
    with (sweep.folder / JOURNAL).open("a") as file:
        file.write('{"index": 1, "id": "bb')
    assert sweep.asked() == [FIRST]
    with sweep.lock():
        sweep.append(SECOND)
    assert sweep.asked() == [FIRST, SECOND]


def test_a_damaged_line_in_the_middle_is_reported(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    with (sweep.folder / JOURNAL).open("a") as file:
        file.write("gibberish\n")
    with pytest.raises(StoreError, match="jsonl:2: is no JSON"):
        find_sweep(tmp_path, "ttt")


def test_the_journal_is_only_ever_appended_to(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    before = (sweep.folder / JOURNAL).read_bytes()
    sweep.append(FIRST)
    sweep.append(SECOND)
    after = (sweep.folder / JOURNAL).read_bytes()
    assert after.startswith(before)
    assert [json.loads(line)["id"] for line in after[len(before) :].splitlines()] == ["aaaa", "bbbb"]


def test_a_second_driver_is_refused_with_the_name_of_the_first(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    code = (
        "import os, sys; from pathlib import Path; from orchestrator.sweep.sweep import find_sweep\n"
        f"lock = find_sweep(Path({str(tmp_path)!r}), 'ttt').lock(); lock.__enter__()\n"
        "print(os.getpid(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        pid = other.stdout.readline().strip()
        with pytest.raises(StoreError, match=f"sweep 'ttt' is being driven by process {pid} on "), sweep.lock():
            pass
        assert sweep.is_locked()
        other.kill()
        other.wait()
    with sweep.lock():  # a killed driver blocks nobody
        assert sweep.is_locked()
    assert not sweep.is_locked()


def test_an_unknown_sweep_is_answered_with_the_nearest_one(tmp_path):
    with pytest.raises(StoreError, match="there is none yet"):
        find_sweep(tmp_path, "ttt")
    open_sweep(tmp_path, space_of(tmp_path, TTT))
    with pytest.raises(StoreError, match="no sweep 'tttt'; did you mean 'ttt'"):
        find_sweep(tmp_path, "tttt")


def test_sweeps_are_listed_and_recognised_by_their_search_space(tmp_path):
    space, other = space_of(tmp_path, TTT), space_of(tmp_path, TTT.replace("[1, 2]", "[7]"))
    assert list_sweeps(tmp_path) == []
    assert sweep_of_space(tmp_path, space) is None
    open_sweep(tmp_path, space)
    open_sweep(tmp_path, other)
    assert [sweep.name for sweep in list_sweeps(tmp_path)] == ["ttt", "ttt-2"]
    assert sweep_of_space(tmp_path, other).name == "ttt-2"


def test_records_are_read_by_run_id_and_a_damaged_one_is_reported(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    run = queue_of(sweep).next_run()
    path = sweep.record_path(run.run_id)
    path.parent.mkdir()
    path.write_text(record_of(run).model_dump_json())
    assert sweep.records() == {run.run_id: record_of(run)}
    assert sweep.record(run.run_id) == record_of(run)
    assert sweep.record("nobody-s1") is None
    path.write_text("{")
    with pytest.raises(StoreError, match="is no record of this version; resume the sweep"):
        sweep.records()
