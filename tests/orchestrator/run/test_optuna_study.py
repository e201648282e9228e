"""A sweep as an Optuna study on disk: what the real dashboard shows of it, and that nothing rests on it."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from orchestrator.run.optuna_study import StudyFile
from orchestrator.search.run_queue import Run
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from results.rows.layout import STUDY_FILE
from tests.orchestrator.search.test_pruner import RUNGS, misleading
from tests.orchestrator.spaces import TTT, leave_runs, record_of, space_of

LIMITED = TTT + "constraints: {total_bytes: {max: 300000}, eval_s: {max: 600}}\n"
LIMITED = LIMITED.replace("compare:", "  model.xsa_layers: {values: [[], [2, 3]]}\ncompare:")


def open_study(path: Path) -> optuna.Study:
    """The study in a file, as other programs read it."""
    name = str(path.absolute())
    return optuna.load_study(
        study_name=None, storage=JournalStorage(JournalFileBackend(name, JournalFileOpenLock(name)))
    )


def followed(sweep, num_runs, **said) -> StudyFile:
    """A driver that ends `num_runs` runs and then is killed."""
    queue = queue_of(sweep)
    file = StudyFile(sweep, queue)
    for _ in range(num_runs):
        if isinstance(run := queue.next_run(), Run):
            path = sweep.record_path(run.run_id, short=run.configuration.rung < 1)
            path.parent.mkdir(exist_ok=True)
            path.write_text(record_of(run, **said).model_dump_json())
            queue.finished(run.run_id, record_of(run, **said))
            file.update()
    return file


@pytest.fixture
def dashboard(tmp_path):
    """Starts the real dashboard on a file; returns a function that fetches JSON from it."""
    pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []

    def start(path: Path):
        command = [Path(sys.executable).with_name("optuna-dashboard"), "--host", "127.0.0.1", "--port", str(port), path]
        started.append(subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

        def fetch(address: str):
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}{address}", timeout=10) as answer:
                        return json.load(answer)
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.2)

        return fetch

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_real_dashboard_follows_a_running_sweep_over_a_restart(tmp_path, dashboard):
    sweep = open_sweep(tmp_path, space_of(tmp_path, LIMITED))
    followed(sweep, 3)
    fetch = dashboard(sweep.folder / STUDY_FILE)
    studies = fetch("/api/studies")["study_summaries"]
    assert [study["study_name"] for study in studies] == ["ttt"]
    followed(sweep, 4)  # another life of the driver; the dashboard goes on reading
    trials = fetch(f"/api/studies/{studies[0]['study_id']}?after=0")["trials"]
    assert [trial["state"] for trial in trials] == ["Complete"] * 3 + ["Running"]
    shown = {item["name"]: item["param_external_value"] for item in trials[1]["params"]}
    assert set(shown) == {"ttt.lr", "ttt.epochs", "model.xsa_layers"}
    assert float(shown["ttt.lr"]) == pytest.approx(sweep.asked()[1].values["ttt.lr"])
    assert trials[1]["constraints"] == [pytest.approx(15_536), 0.0]  # bytes outside, seconds inside


def test_values_are_the_aggregates_and_constraints_are_known(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, LIMITED))
    followed(sweep, 100)
    study, queue = open_study(sweep.folder / STUDY_FILE), queue_of(sweep)
    assert [trial.value for trial in study.trials] == [queue.state.outcome(item).score for item in queue.configurations]
    assert study.trials[1].constraints.items() >= {"total_bytes": 15_536, "eval_s": 0.0}.items()
    with pytest.raises(ValueError, match="feasible"):
        _ = study.best_trial  # 250,000 bytes and the reserve for code are over the limit


def test_failed_configurations_and_short_runs_have_their_states(tmp_path):
    sweep = open_sweep(tmp_path, space_of(tmp_path, RUNGS))
    leave_runs(sweep, misleading)
    StudyFile(sweep, queue_of(sweep)).update()
    assert {trial.state.name for trial in open_study(sweep.folder / STUDY_FILE).trials} == {"COMPLETE"}
    failing = open_sweep(tmp_path, space_of(tmp_path, TTT))
    followed(failing, 3, status="failed")
    assert [trial.state.name for trial in open_study(failing.folder / STUDY_FILE).trials][:2] == ["FAIL", "RUNNING"]


@pytest.mark.parametrize("damage", ["torn", "empty", "gone", "another"])
def test_a_damaged_file_is_written_anew(tmp_path, damage):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))
    followed(sweep, 6)
    path = sweep.folder / STUDY_FILE
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"torn": whole[:-30], "empty": b"", "another": b'{"a": 1}\n'}[damage])
    followed(sweep, 100)
    assert [trial.state.name for trial in open_study(path).trials] == ["COMPLETE"] * 6
    queue = queue_of(sweep)
    assert [trial.value for trial in open_study(path).trials] == [
        queue.state.outcome(item).score for item in queue.configurations
    ]


def test_a_disk_that_takes_no_more_costs_the_picture_alone(tmp_path, monkeypatch):
    sweep = open_sweep(tmp_path, space_of(tmp_path, TTT))

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("optuna.storages.journal.JournalFileBackend.append_logs", full)
    followed(sweep, 100)
    assert len(sweep.records()) == 12
