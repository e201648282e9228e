"""What another terminal prints of a sweep."""

import io
import json
import multiprocessing
import shlex
import shutil
import time
from dataclasses import replace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.analysis.load_results import load_results
from orchestrator.commands.app import app
from orchestrator.output import console_for
from orchestrator.status.progress import Overview, describe
from orchestrator.status.status import print_standing, standing, standing_lines, watch
from orchestrator.sweep.live import SlotPicture, driven_s, read_live
from orchestrator.sweep.notes import keep_plan, preflight_words, read_plan
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import find_sweep
from results.rows.layout import LIVE_FILE, PLAN_FILE, PREFLIGHT_FILE
from results.rows.row import LOG_LINES
from tests.sweep_on_disk import finished_sweep
from trainer.spec.errors import StoreError
from trainer.spec.messages import Progress


@pytest.fixture
def sweep(tmp_path):
    return finished_sweep(tmp_path / "store")


class Screen:
    def __init__(self) -> None:
        self.said: list[str] = []

    def show(self, picture) -> None:
        self.picture = picture

    def say(self, line, style="") -> None:
        self.said.append(line)


def drive_for(sweep, seconds: float, ready) -> None:
    """Stands in for a driver: holds the lock and tells what its slot does."""
    with sweep.lock():
        Overview(sweep, queue_of(sweep)).show(Screen(), (SlotPicture(0, "train  ttt.lr=0.004  seed 2", 0.5),))
        ready.set()
        time.sleep(seconds)


def printed(show, sweep) -> str:
    console = Console(file=io.StringIO(), width=100)
    show(sweep, console)
    return console.file.getvalue()


def test_a_finished_sweep_says_so_and_an_unfinished_one_what_to_type(sweep):
    assert standing(sweep)["state"] == "complete"
    next((sweep.folder / "runs").glob("*.json")).unlink()
    sweep.ledger.path.unlink()  # it says that the run ended
    sweep.ledger.path.with_suffix(".head").unlink()
    unfinished = find_sweep(sweep.store, sweep.name)
    lines = standing_lines(standing(unfinished), unfinished)
    assert lines == ["small: interrupted, 5 of 6 runs recorded", f"go on with: {sweep.command('resume')}"]


def test_the_command_to_type_works_when_pasted_wherever_the_store_lies(sweep, tmp_path):
    moved = tmp_path / "my store, größer"
    shutil.copytree(sweep.store, moved)
    words = shlex.split(find_sweep(moved, "small").command("status", "--format json"))
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0
    assert json.loads(done.stdout)[0]["recorded"] == 6


def test_failures_and_quarantined_machines_are_reported_by_name(sweep):
    path = next((sweep.folder / "runs").glob("*.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "error": "OutOfMemory: 80 GB"}))
    (sweep.folder / "machines.jsonl").write_text('{"event": "quarantined", "machine": "node-3", "why": "slow"}\n')
    text = printed(print_standing, sweep)
    assert "failed 1x: OutOfMemory: 80 GB" in text
    assert "machine node-3 is quarantined: slow" in text
    assert sweep.command("resume", "--retry-failed") in text.replace("\n", "")


def test_a_damaged_record_is_named_and_the_others_are_counted(sweep):
    path = next((sweep.folder / "runs").glob("*.json"))
    path.write_text("{half")
    row = standing(sweep)
    assert (row["state"], row["recorded"], row["runs"]) == ("damaged", 5, 6)
    (line,) = row["damage"]
    assert line.startswith(f"{path}: is no record of this version; resume the sweep")
    path.unlink()
    (line,) = standing(sweep)["damage"]
    assert line == f"{path}: is missing, though its run ended; resume the sweep to have it made again from its stages"


def test_a_reason_in_square_brackets_is_reported_as_it_is(sweep):
    path, reason = next((sweep.folder / "runs").glob("*.json")), "RuntimeError: [enforce fail at alloc.cpp:114] [/tmp]"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "error": reason}))
    console = console_for()
    with console.capture() as said:
        print_standing(sweep, console)
    assert reason in said.get()


def test_an_empty_picture_of_the_moment_hides_no_result(sweep):
    (sweep.folder / LIVE_FILE).write_text("")
    assert load_results(sweep).wall_s is None
    assert standing(sweep)["state"] == "complete"


def test_notes_are_replaced_whole_so_empty_ones_are_damage(sweep):
    for name, read in ((PLAN_FILE, lambda: read_plan(sweep.folder)), (PREFLIGHT_FILE, lambda: preflight_words(sweep))):
        (sweep.folder / name).write_text("")
        with pytest.raises(StoreError, match=f"{name}: .*; delete it"):
            read()


def test_what_a_slot_computes_and_how_fast_is_shown_to_people_and_programs(sweep):
    overview = Overview(sweep, queue_of(sweep))
    report = Progress("small", "train", 0.5, "step 9", tokens_per_s=1_234_567.0, mfu=0.41, gpu_use=0.97)
    picture = describe(0, report, overview, "alpha")
    assert picture.doing.endswith("step 9  1,234,567 tokens/s  MFU 41%  GPUs 97%")
    with sweep.lock():
        overview._write(overview.picture((picture,)))
        (slot,) = standing(sweep)["live"]["slots"]
    assert (slot["stage"], slot["machine"], slot["tokens_per_s"]) == ("train", "alpha", 1_234_567.0)
    assert (slot["mfu"], slot["gpu_use"]) == (0.41, 0.97)
    assert describe(0, Progress("small", "export", 0.0), overview).doing.endswith("small")


def test_watching_shows_what_slots_do_until_the_driver_ends(sweep):
    ready = multiprocessing.Event()
    driver = multiprocessing.get_context("fork").Process(target=drive_for, args=(sweep, 1.5, ready))
    driver.start()
    assert ready.wait(20)
    text = printed(watch, sweep)
    driver.join()
    assert "train  ttt.lr=0.004  seed 2" in text
    assert text.splitlines()[-1] == "small: complete, 6 of 6 runs recorded"


def test_time_at_work_adds_up_over_the_lives_of_a_sweep(sweep):
    for _ in range(2):
        overview = Overview(sweep, queue_of(sweep))
        overview._started_s -= 100.0
        overview.close()
    assert 200.0 <= driven_s(sweep.folder) < 210.0
    assert read_live(sweep.folder)["runs_done"] == 6


def test_before_there_is_a_pace_the_time_left_is_what_was_planned(sweep):
    keep_plan(sweep.folder, [{"stage": "total", "wall_s": 90.0}])
    for path in (sweep.folder / "runs").glob("*.json"):
        path.unlink()
    picture = Overview(sweep, queue_of(sweep)).picture(())
    assert 80.0 < picture.left_s <= 90.0
    assert "left" in picture.time_line
    assert replace(picture, runs_per_min=267.4).time_line.endswith("(267 runs/min)")
    assert replace(picture, runs_per_min=2.674).time_line.endswith("(2.7 runs/min)")


def test_failures_of_one_reason_are_one_line_however_their_logs_differ(sweep):
    for number, path in enumerate(sorted((sweep.folder / "runs").glob("*.json"))):
        error = f"no rmse was found{LOG_LINES}step {number}\n  whole log: {number}.txt"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "error": error}))
    assert [line for line in standing_lines(standing(sweep), sweep) if "rmse" in line] == [
        "failed 6x: no rmse was found"
    ]


def test_the_first_failure_of_each_kind_is_said_while_the_sweep_runs(sweep):
    queue, screen = queue_of(sweep), Screen()
    overview = Overview(sweep, queue)
    errors = iter(["no rmse was found", "no rmse was found", "OutOfMemory"])
    for run_id, record in list(queue.records.items())[:3]:
        queue.records[run_id] = record.model_copy(update={"status": "failed", "error": next(errors)})
        overview.show(screen, ())
    assert [line.rpartition(": ")[2] for line in screen.said] == ["no rmse was found", "OutOfMemory"]
    assert all(line.startswith("failed: ") for line in screen.said)


def test_a_sweep_of_which_every_run_failed_is_not_complete(sweep):
    paths = sorted((sweep.folder / "runs").glob("*.json"))
    for number, path in enumerate(paths, start=1):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "failed", "error": "OutOfMemory"}))
        said = standing_lines(standing(sweep), sweep)[0]
        assert said == f"small: {'failed' if number == 6 else 'complete'}, 6 of 6 runs recorded, {number} failed"


def test_before_the_first_run_of_the_baseline_nothing_can_be_said_and_that_is_no_error(sweep):
    for seed in (1, 2, 3):
        sweep.record_path(sweep.asked()[0].run_id(seed)).unlink()
    sweep.ledger.path.unlink()  # it says that the runs ended
    sweep.ledger.path.with_suffix(".head").unlink()
    assert load_results(sweep).verdicts[0].reason == "no run of the baseline has ended yet"
    for path in (sweep.folder / "runs").glob("*.json"):
        path.unlink()
    done = CliRunner().invoke(app, ["compare", "small", "--store", str(sweep.store)])
    assert "Nothing was compared: no run has ended yet." in done.output
