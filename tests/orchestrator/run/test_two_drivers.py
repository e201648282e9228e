"""Two drivers at once on one store: nothing is computed twice, and each has its whole table."""

import multiprocessing
import os
import sys
from pathlib import Path

import pytest

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.cli import main
from orchestrator.sweep.sweep import find_sweep
from tests.overlapping import settings, space
from trainer.store.mirror import store_folder

SHARED = 2 + 2 * 4  # texts; train, export, evaluate and one common learning rate of each seed


def drive(folder: Path, name: str, store: str) -> None:
    os.chdir(folder)
    with (folder / f"{name}.log").open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    words = ["sweep", f"{name}.yaml", "--inline", "--no-check", "--store", store]
    sys.argv = ["orchestrator", *words, *settings(train_steps=10)]
    main()


def swept(folders: dict[str, Path], store: str) -> list[tuple[str, str]]:
    """Every stage that was computed, as often as it was, while all sweep at once, each from its folder."""
    context = multiprocessing.get_context("spawn")
    drivers = []
    for (name, folder), rates in zip(folders.items(), ([0.001, 0.002], [0.002, 0.004]), strict=True):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(space(name, rates))
        drivers.append(context.Process(target=drive, args=(folder, name, store)))
        drivers[-1].start()
    for driver in drivers:
        driver.join()
    logs = [(folder / f"{name}.log").read_text() for name, folder in folders.items()]
    assert [driver.exitcode for driver in drivers] == [0, 0], logs
    with pytest.MonkeyPatch.context() as patch:
        sweeps = []
        for name, folder in folders.items():
            patch.chdir(folder)
            sweeps.append(find_sweep(store_folder(store).absolute(), name))
    assert [len(rows_of(sweep)) for sweep in sweeps] == [6, 6]
    return [
        (stage, record.stages[stage].fingerprint)
        for sweep in sweeps
        for record in sweep.records().values()
        for stage in record.stages_run
    ]


def test_two_drivers_on_overlapping_spaces_compute_no_stage_twice(tmp_path):
    computed = swept({"one": tmp_path, "two": tmp_path}, "runs")
    assert len(computed) == len(set(computed)) == SHARED + 2 * 2


@pytest.mark.slow
def test_two_machines_that_share_a_bucket_compute_no_stage_twice(tmp_path, bucket):
    computed = swept({"one": tmp_path / "here", "two": tmp_path / "there"}, bucket.url)
    assert len(computed) == len(set(computed)) == SHARED + 2 * 2
