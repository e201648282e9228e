"""A train_gpt.py under torchrun on a real local Ray: killed, resumed, judged; its evaluations share trainings."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.sweep_table import rows_of
from orchestrator.sweep.sweep import find_sweep

pytestmark = pytest.mark.ray
SCRIPTS = Path(__file__).parents[1] / "data/programs"
SPACE = f"""
program: {SCRIPTS}/train_gpt.py
format: parameter-golf
launch: torchrun
nproc: 2
seeds: [1, 2, 3]
"""
BYTES = "limits: {seconds: 300, bytes: {file: final_model.int8.ptz, at_most: 16000000}}\n"
STAGES = (
    SPACE
    + """
stages:
  - {name: train, reads: [MATRIX_LR], leaves: final_model.int8.ptz}
  - {name: evaluate, reads: [EVAL_TEMPERATURE, EVAL_SHARPNESS], env: {LOAD: 1}}
set: {MATRIX_LR: 0.5}
parameters: {EVAL_TEMPERATURE: {values: [0.9, 1.1, 1.5]}, EVAL_SHARPNESS: {values: [1, 2]}}
"""
)
VALUES = "parameters: {MATRIX_LR: {values: [0.1, 0.5]}, MOMENTUM: {values: [0.0, 0.9]}}\n"
KNOBS = SPACE + BYTES + "set: {NAP_S: 1}\n" + VALUES
PRINT = (
    SPACE.replace("launch: torchrun\nnproc: 2\n", "").replace("train_gpt.py", "misbehave.py")
    + "files: [table.txt]\nparameters: {MODE: {values: [good, crash, twice]}}\ncompare: {baseline: {MODE: good}}\n"
)
PATIENCE_S = 900


def start(folder: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder: Path, *words: str) -> tuple[int, str]:
    process = start(folder, *words)
    out, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out


def working_below(folder: Path) -> list[str]:
    """Processes whose working folder lies in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder / "runs/stages"):
                found.append(process.name)
    return found


def kill_once(folder: Path, process: subprocess.Popen, name: str, records: int) -> None:
    """Kills a driver and what it started once so many runs have ended and another one is at work."""
    end = time.monotonic() + PATIENCE_S
    while len(list((folder / "runs/sweeps" / name / "runs").glob("*.json"))) < records or not working_below(folder):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_the_runs_of_a_program_go_through_slots(tmp_path):
    (tmp_path / "modes.yaml").write_text(PRINT)
    status, out = run(tmp_path, "sweep", "modes.yaml", "--slots", "1")
    assert status == 1, out
    frame = rows_of(find_sweep(tmp_path / "runs", "modes"))
    by_mode = frame.groupby("MODE")["status"].agg(set).to_dict()
    assert by_mode == {"good": {"done"}, "crash": {"failed"}, "twice": {"done"}}
    assert all("ValueError: bad shape" in error for error in frame.loc[frame["MODE"] == "crash", "error"])
    assert not working_below(tmp_path)


@pytest.mark.slow
def test_a_torchrun_script_over_two_knobs_is_killed_resumed_and_judged(tmp_path):
    (tmp_path / "gpt.yaml").write_text(KNOBS)
    process = start(tmp_path, "sweep", "gpt.yaml", "--slots", "1")
    kill_once(tmp_path, process, "gpt", records=2)
    status, out = run(tmp_path, "resume", "gpt", "--slots", "1")
    assert status == 0, out
    sweep = find_sweep(tmp_path / "runs", "gpt")
    frame = rows_of(sweep)
    assert (len(frame), set(frame["status"])) == (15, {"done"})
    assert frame["val_bpb"].between(2, 8).all()
    assert (frame["total_bytes"] > frame["model_bytes"]).all()
    assert len(verdicts_of(sweep, frame)) == 4
    status, out = run(tmp_path, "report", "gpt")
    assert status == 0, out
    page = (tmp_path / "runs/sweeps/gpt/report.html").read_text(encoding="utf-8")
    assert "Learning curves" in page
    assert "MOMENTUM" in page
    deadline = time.monotonic() + 30
    while working_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not working_below(tmp_path)


@pytest.mark.slow
def test_evaluation_knobs_train_once_for_each_seed(tmp_path):
    (tmp_path / "ttt.yaml").write_text(STAGES)
    status, out = run(tmp_path, "sweep", "ttt.yaml", "--slots", "1")
    assert status == 0, out
    sweep = find_sweep(tmp_path / "runs", "ttt")
    trained = [record for record in sweep.records().values() if "train" in record.stages_run]
    assert (len(sweep.records()), len(trained)) == (21, 3)
    assert {verdict.block for verdict in verdicts_of(sweep, rows_of(sweep))} == {"artifact"}
