"""A short campaign; `make corruptions` runs the long one. And which command names and mends a damaged record."""

import json
import random
import shutil
from pathlib import Path

import pytest

from orchestrator.space.load_space import load_space
from orchestrator.sweep.damage import record_faults, set_aside_faults
from orchestrator.sweep.left_out import left_out_of_estimates
from orchestrator.sweep.sweep import find_sweep, open_sweep
from results.rows.lines import append_line
from results.rows.machines import events_of
from tests.closed import closed, copy_of_nobody
from tests.faults.corruptions import (
    IMPORT,
    KINDS,
    NAME,
    SHORT_COMMANDS,
    call,
    corrupt,
    files_of,
    finished_store,
    strike,
)
from trainer.spec.checked_json import without_checksum
from trainer.spec.errors import StoreFull
from trainer.store.local import StageStore


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    return finished_store(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def store(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "store"))


def a_record(store: Path) -> Path:
    return min((store / "sweeps" / NAME / "runs").glob("*.json"))


def test_one_file_of_each_kind_corrupted_in_each_way_changes_nothing_in_silence(pristine, tmp_path):
    chosen = {("record" if "runs" in file.parts else file.name): file for file in files_of(pristine)}
    names = ("record", "journal.jsonl", "machines.jsonl", "seed_ledger.jsonl", "seed_ledger.head", "result.json")
    cases = [(chosen[name], kind) for name in names for kind in KINDS]
    counts, complaints = strike(pristine, tmp_path / "work", SHORT_COMMANDS, iter(cases), seed=2)
    assert complaints == []
    assert counts.total() >= len(cases)


def test_a_changed_digit_of_a_record_is_noticed_by_table_compare_and_verify(store):
    path = a_record(store)
    path.write_text(path.read_text().replace('"val_bpb": 2.01', '"val_bpb": 1.01'))
    for words in (("table", NAME), ("compare", NAME)):
        outcome = call(store, *words)
        assert outcome.status == 2
        assert f"{path}: its content differs from its checksum" in outcome.message
    verified = call(store, "cache", "verify")
    assert (verified.status, path.name in verified.out) == (1, True)


def test_another_file_with_a_checksum_in_the_place_of_a_record_is_named_by_every_reader(store):
    path = a_record(store)
    path.write_bytes((path.parents[1] / "plan.json").read_bytes())
    for words in (("curves", NAME), ("table", NAME)):
        assert f"{path}: is no record of this version" in call(store, *words).message


def test_a_comparison_says_beside_its_result_which_other_sweep_its_next_step_does_without(store):
    before = call(store, "compare", NAME)
    (store / "sweeps" / IMPORT / "import.jsonl").unlink()
    after = call(store, "compare", NAME)
    assert (after.status, after.out) == (0, before.out)
    assert f"sweeps/{IMPORT}/journal.jsonl: is missing" in after.message


def test_a_plan_names_a_record_of_its_own_sweep_that_was_lost(store):
    a_record(store).unlink()
    outcome = call(store, "plan", "SPACE")
    assert (outcome.status, outcome.out) == (2, "")
    assert f"{a_record(store).parent}" in outcome.message


@pytest.mark.parametrize("kind", ["zero", "delete"])
def test_what_rests_on_another_sweep_names_its_damaged_record_beside_the_result(store, kind):
    (store / "other.yaml").write_text((store / "small.yaml").read_text().replace("name: small", "name: other"))
    open_sweep(store, load_space(store / "other.yaml"))
    path = a_record(store)
    corrupt(path, kind, random.Random(0), b"")
    for words in (("plan", str(store / "other.yaml"), "--format", "json"), ("next", "other", "--format", "json")):
        outcome = call(store, *words)
        assert outcome.status == 2
        assert json.loads(outcome.out)
        assert f"{path}: is " in outcome.message


def test_a_record_without_a_checksum_is_accepted_and_held_against_its_stages(store):
    path = a_record(store)
    body, _ = without_checksum(path.read_bytes())
    path.write_bytes(body)
    assert call(store, "table", NAME).status == 0
    assert "no checksum (written by an earlier version)" in call(store, "cache", "verify").message.replace("\n", " ")
    path.write_bytes(body.replace(b'"val_bpb": 2.01', b'"val_bpb": 1.01'))
    (fault,) = record_faults(find_sweep(store, NAME), StageStore(store))
    assert fault.path == path
    assert "differs from the result of its stage evaluate" in fault.reason
    assert "in val_bpb" in fault.reason


def test_resume_sets_a_damaged_record_aside_so_that_it_is_made_again_from_its_stages(store):
    path, sweep = a_record(store), find_sweep(store, NAME)
    path.write_bytes(path.read_bytes()[:-100])
    (line,) = set_aside_faults(sweep, StageStore(store))
    assert "made again from its stages" in line
    assert not path.exists()
    assert path.stem in sorted((sweep.folder / "failed").iterdir())[0].name
    assert set_aside_faults(sweep, StageStore(store)) == []


def test_a_record_that_is_gone_though_its_run_ended_is_named(store):
    path = a_record(store)
    path.unlink()
    outcome = call(store, "table", NAME)
    assert outcome.status == 2
    assert f"{path}: is missing, though its run ended" in outcome.message


def test_a_line_taken_out_of_the_journal_is_named(store):
    path = store / "sweeps" / NAME / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert f"{path}:2:" in call(store, "table", NAME).message
    path.write_bytes(b"".join(lines[:-1]))
    assert f"{path}: 3 lines were written, 2 are there" in call(store, "table", NAME).message
    path.with_suffix(".count").unlink()  # as an earlier version left it
    assert "of which there are records: lines were removed" in call(store, "table", NAME).message


def test_a_changed_digit_of_a_learning_curve_is_not_drawn(store):
    path = min(store.glob("stages/train/*/curve.csv"))
    path.write_text(path.read_text().replace("1,5.7", "1,2.7"))
    outcome = call(store, "report", NAME)
    assert (outcome.status, f"{path}: its content differs" in outcome.message) == (2, True)


def test_a_plan_of_another_kind_of_content_is_named(store):
    folder = store / "sweeps" / NAME
    shutil.copyfile(folder / "preflight.json", folder / "plan.json")
    assert f"{folder / 'plan.json'}: is no plan" in call(store, "compare", NAME, "--explain").message


def test_a_file_that_cannot_be_read_is_named_and_is_no_traceback(store):
    path = a_record(store)
    path.unlink()
    path.mkdir()
    assert f"{path}: cannot be read" in call(store, "table", NAME).message
    assert json.loads(call(store, "status", NAME, "--format", "json").out)[0]["damage"]


@pytest.mark.parametrize("kind", ["zero", "cut", "delete", "empty"])
def test_machine_notes_that_lost_lines_are_named_and_not_taken_for_a_torn_one(store, kind):
    path = store / "sweeps" / NAME / "machines.jsonl"
    content = path.read_bytes()
    changed = {"zero": bytes(len(content)), "cut": content[:-40], "empty": b"", "delete": None}[kind]
    path.unlink() if changed is None else path.write_bytes(changed)
    outcome = call(store, "status", NAME)
    assert outcome.status == 2
    assert f"{path}: " in outcome.message
    assert "delete it and machines.count" in outcome.message


def test_a_line_that_a_killed_writer_left_unfinished_is_no_damage(store):
    path = store / "sweeps" / NAME / "machines.jsonl"
    before = call(store, "status", NAME).out
    with path.open("ab") as file:
        file.write(b'{"event": "quarantined", "machi')
    assert call(store, "status", NAME).out == before
    append_line(path, {"event": "trusted", "machine": "node2"})
    assert [event["event"] for event in events_of(path.parent)] == ["reference", "quarantined", "trusted"]
    assert path.with_suffix(".count").read_text() == f"3 {path.stat().st_size}\n"


def test_every_command_names_a_damaged_record_and_one_that_is_gone(store):
    path = a_record(store)
    content = path.read_bytes()
    for damage in (content.replace(b"2.01", b"1.01"), None):
        path.write_bytes(damage) if damage else path.unlink()
        for words in (("status", NAME), ("list",), ("next", NAME), ("best", NAME), ("show", NAME), ("curves", NAME)):
            outcome = call(store, *words)
            assert (outcome.status, str(path) in outcome.message) == (2, True), (words, outcome)
            assert "resume the sweep to have it made again" in outcome.message


def test_a_changed_digit_of_an_import_is_named(store):
    path = store / "sweeps" / IMPORT / "import.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.chmod(0o644)
    for changed in (b"".join(lines).replace(b"1.02", b"1.03", 1), b"".join(lines[:-1])):
        path.write_bytes(changed)
        for words in (("table", IMPORT), ("list",)):
            assert f"{path}:" in call(store, *words).message
        assert call(store, "cache", "verify").status == 1


def test_a_sweep_whose_folder_is_closed_is_named_and_hides_no_other(pristine):
    with copy_of_nobody(pristine) as store:
        call(store, "report", NAME)  # what it imports is read before the folders are closed
        with closed(folder := store / "sweeps" / NAME):
            listing = call(store, "list")
            assert (listing.status, IMPORT in listing.out) == (2, True)
            for words in (("status", NAME), ("table", NAME), ("next",), ("plan", "SPACE")):
                outcome = call(store, *words)
                assert (outcome.status, f"{folder}/" in outcome.message, "no sweep" in outcome.message) == (
                    2,
                    True,
                    False,
                )
            assert call(store, "cache", "verify").status == 1
        with closed(store / "sweeps"):
            assert f"{store / 'sweeps'}: cannot be read (Permission denied)" in call(store, "list").message


def test_closed_records_of_another_sweep_are_named_and_end_no_command(pristine):
    with copy_of_nobody(pristine) as store, closed(store / "sweeps" / NAME / "runs"):
        lines = left_out_of_estimates(store, None)
        assert [line for line in lines if "runs: cannot be read (Permission denied)" in line] != []
        assert left_out_of_estimates(store, None, own=NAME) == []


def test_a_closed_stage_is_neither_missing_nor_damaged_and_fails_no_run(pristine):
    with copy_of_nobody(pristine) as store:
        stages, folder = StageStore(store), min((store / "stages" / "train").iterdir())
        for path in (folder, folder / "result.json", folder.parent):
            with (
                closed(path),
                pytest.raises(StoreFull, match="cannot be read .Permission denied.; give this user access"),
            ):
                stages.find_intact("train", folder.name)
        with closed(folder.parent):
            assert f"{folder.parent}: cannot be read" in call(store, "cache", "verify").message
        assert stages.find("train", "unknown") is None
