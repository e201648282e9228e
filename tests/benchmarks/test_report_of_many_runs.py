"""A report of 10,000 runs: how long it takes to write, how large it is, and how fast a real browser opens it."""

import time

import pytest

from results.report.report import write_report
from tests import browser as real
from tests.results.made_up import sweep_results

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(bool(real.missing()), reason=real.missing() or "a browser is there"),
]
NUM_CONFIGS = 3333
OPENINGS = 5


def test_a_report_of_10000_runs_opens_within_3_seconds_and_10_megabytes(tmp_path, capsys):
    made = sweep_results(NUM_CONFIGS, folder=tmp_path / "stages")
    started = time.perf_counter()
    page = write_report(made, tmp_path / "report.html")
    written_s = time.perf_counter() - started
    with real.browser(tmp_path / "profile") as driver:
        opened = [real.opened_s(driver, page) for _ in range(OPENINGS)]
    size = page.stat().st_size
    with capsys.disabled():
        print(f"\n{len(made.frame):,} runs: written in {written_s:.1f} s, {size / 1e6:.2f} MB, opened in s:", end=" ")
        print(", ".join(f"{seconds:.2f}" for seconds in opened))
    assert len(made.frame) >= 10_000
    assert max(opened) < 3
    assert size < 10e6
