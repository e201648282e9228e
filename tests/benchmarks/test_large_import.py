"""5,000 imported rows: how long a comparison and a report take."""

import time

import numpy as np
import pandas as pd
import pytest

from orchestrator.analysis.import_results import load_import, verdicts_of_import
from orchestrator.sweep.imported import read_files, write_import
from results.report.report import write_report
from results.rows.imported_rows import ImportTerms

pytestmark = pytest.mark.bench


def test_5000_imported_rows_are_compared_and_reported_within_seconds(tmp_path, capsys):
    random = np.random.default_rng(0)
    rows = [
        (f"c{number}", lr, seed, 1.1 + 1e-3 * random.normal())
        for number, lr in enumerate(random.uniform(0, 1, 1000))
        for seed in range(5)
    ]
    path = tmp_path / "many.csv"
    pd.DataFrame(rows, columns=["config", "lr", "seed", "val_bpb"]).to_csv(path, index=False)
    started_s = time.perf_counter()
    sweep = write_import(tmp_path, "many", [path], read_files([path], ImportTerms()))
    imported_s = time.perf_counter()
    verdicts = verdicts_of_import(sweep, sweep.frame)
    compared_s = time.perf_counter()
    write_report(load_import(sweep), tmp_path / "report.html")
    reported_s = time.perf_counter()
    with capsys.disabled():
        print(
            f"\n{len(rows):,} rows: import {imported_s - started_s:.1f} s, compare {compared_s - imported_s:.1f} s, "
            f"report {reported_s - compared_s:.1f} s"
        )
    assert len(verdicts) == 999
    assert compared_s - imported_s < 10
    assert reported_s - compared_s < 20
