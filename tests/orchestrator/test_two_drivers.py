"""Two drivers at once on one store: nothing is computed twice, and each has its whole table."""

import multiprocessing
import os
import sys
from pathlib import Path

from orchestrator.cli import main
from orchestrator.conclude import rows_of
from orchestrator.journal import find_sweep

SPACE = """
name: {name}
preset: tiny
seeds: [1, 2]
parameters:
  ttt.mode: {{value: score_first}}
  ttt.lr: {{values: {rates}}}
compare: {{baseline: {{ttt.mode: off}}}}
"""
SMALL = (
    "budget.train_steps=10",
    "schedule.warmdown_steps=4",
    "averaging.use=none",
    "data.val_bytes=1",
    "ttt.chunk_tokens=1024",
    "evaluation.diagnose=false",
)
SHARED = 2 + 2 * 4  # texts; train, export, evaluate and one common learning rate of each seed


def drive(folder: Path, name: str) -> None:
    os.chdir(folder)
    with (folder / f"{name}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = [
        "orchestrator",
        "sweep",
        f"{name}.yaml",
        "--inline",
        "--no-check",
        *(w for s in SMALL for w in ("--set", s)),
    ]
    main()


def test_two_drivers_on_overlapping_spaces_compute_no_stage_twice(tmp_path):
    for name, rates in (("one", [0.001, 0.002]), ("two", [0.002, 0.004])):
        (tmp_path / f"{name}.yaml").write_text(SPACE.format(name=name, rates=rates))
    context = multiprocessing.get_context("spawn")
    drivers = [context.Process(target=drive, args=(tmp_path, name)) for name in ("one", "two")]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert [driver.exitcode for driver in drivers] == [0, 0], (tmp_path / "one.log").read_text()
    sweeps = [find_sweep(tmp_path / "runs", name) for name in ("one", "two")]
    assert [len(rows_of(sweep)) for sweep in sweeps] == [6, 6]
    computed = [
        (stage, record.stages[stage].fingerprint)
        for sweep in sweeps
        for record in sweep.records().values()
        for stage in record.stages_run
    ]
    assert len(computed) == len(set(computed)) == SHARED + 2 * 2
