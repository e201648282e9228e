"""A sweep of 10,000 runs on disk: how long `table` and `compare` take once Python and pandas are there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.analysis.print_comparison import print_comparison
from orchestrator.analysis.sweep_table import print_table
from orchestrator.space.configuration import baseline_of, identify
from orchestrator.space.load_space import load_space
from orchestrator.sweep.sweep import Sweep, find_sweep, open_sweep
from tests.sweep_on_disk import record

pytestmark = pytest.mark.bench
NUM_CONFIGS, TIMES = 3333, 3
SPACE = f"""
name: large
preset: tiny
method: random
run_cap: {NUM_CONFIGS}
seeds: [1, 2, 3]
parameters:
  ttt.mode: {{value: score_first}}
  ttt.lr: {{distribution: log_uniform_values, min: 5e-4, max: 2e-2}}
compare: {{baseline: {{ttt.mode: off}}}}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """A store whose one sweep is finished; its ledger was kept without waiting for the disk."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "large.yaml").write_text(SPACE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        sweep = open_sweep(folder / "runs", load_space(folder / "large.yaml"))
        sweep.record_path("any").parent.mkdir()
        _leave(sweep)
    return folder / "runs"


def _leave(sweep: Sweep) -> None:
    space = sweep.space
    values = ({"ttt.mode": "score_first", "ttt.lr": 5e-4 * 40 ** (i / NUM_CONFIGS)} for i in range(NUM_CONFIGS))
    for item in [baseline_of(space), *(identify(space, i, chosen) for i, chosen in enumerate(values, start=1))]:
        sweep.append(item)
        for seed in space.seeds:
            sweep.ledger.start(sweep.name, item.id, seed)
            sweep.record_path(item.run_id(seed)).write_text(record(sweep, item, seed).model_dump_json())
            sweep.ledger.end(sweep.name, item.id, seed, "done")


@pytest.mark.parametrize(("per", "num_rows"), [("config", NUM_CONFIGS + 1), ("run", 3 * NUM_CONFIGS + 3)])
@pytest.mark.parametrize("format", ["csv", "text"])
def test_the_table_of_10000_runs_takes_less_than_a_second(store, capsys, per, num_rows, format):
    used_s = fastest_s(lambda: print_table(find_sweep(store, "large"), per, format))
    lines = capsys.readouterr().out.splitlines()
    with capsys.disabled():
        print(f"\ntable of {3 * NUM_CONFIGS + 3:,} runs, per {per}, as {format}: {used_s:.2f} s")
    assert len(lines) >= TIMES * num_rows
    assert used_s < 1


def test_the_verdicts_on_3333_configurations_take_less_than_four_seconds(store, capsys):
    used_s = fastest_s(
        lambda: print_comparison(find_sweep(store, "large"), store, None, None, None, None, "text", explain=True)
    )
    printed = capsys.readouterr().out
    with capsys.disabled():
        print(f"\ncompare over {NUM_CONFIGS:,} configurations: {used_s:.2f} s")
    assert printed.count("paired t-test") == TIMES * NUM_CONFIGS
    assert used_s < 4


def fastest_s(work) -> float:
    """Processor seconds of the fastest of three, since the first one may find cold files and lazy imports."""
    seconds = []
    for _ in range(TIMES):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)
