"""What shared stages save on a sweep of test-time training, and how fast 10,000 rows become a table."""

import json
import shutil
import time
from pathlib import Path

import pytest

from orchestrator.space.load_space import load_space
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import open_sweep
from results.rows.read import read_rows
from results.rows.tables import per_configuration
from tests.trainer.stages.conftest import TTT, run, small
from trainer.spec.record import Record

pytestmark = pytest.mark.bench
SPACE = """
name: sharing
preset: tiny
method: random
run_cap: 20
seeds: [1, 2, 3]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2}
"""
SMALL = {
    "budget.train_steps": 30,
    "schedule.warmdown_steps": 5,
    "averaging.use": "none",
    "data.val_bytes": 9_000,
    "ttt.chunk_tokens": 1_024,
    "evaluation.diagnose": False,
}


def stage_s(records: list[Record], *, every: bool) -> float:
    """Seconds of stages: as often as each run needs them, or each fingerprint once; the text apart."""
    outcomes = [o for record in records for o in record.stages.values() if not o.stage.endswith("_text")]
    return sum(o.seconds for o in (outcomes if every else {o.fingerprint: o for o in outcomes}.values()))


def test_a_ttt_sweep_of_3_seeds_and_20_settings_with_the_store_and_without(tmp_path):
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(tmp_path / "space.yaml", overrides=SMALL)
    queue = queue_of(open_sweep(tmp_path / "runs", space))
    recipes = [queue.next_run().recipe for _ in range(queue.total_runs)]
    run(tmp_path / "text", small(**{key.replace(".", "__"): value for key, value in SMALL.items()}), "text")
    shutil.rmtree(tmp_path / "text" / "stages" / "train")

    def took_s(name: str, *, shared: bool) -> tuple[float, list[Record]]:
        records, started_s = [], time.monotonic()
        for number, recipe in enumerate(recipes):
            store = tmp_path / name / ("" if shared else str(number))
            for text in ("train_text", "val_text"):
                link = store / "stages" / text
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.exists():
                    link.symlink_to(tmp_path / "text" / "stages" / text)
            records.append(run(store, recipe, str(number)))
            if not shared:
                shutil.rmtree(store / "stages")
        return time.monotonic() - started_s, records

    on_s, _ = took_s("on", shared=True)
    off_s, off = took_s("off", shared=False)
    ideal = stage_s(off, every=True) / stage_s(off, every=False)
    print(
        f"\n| {len(recipes)} runs, store on | {on_s:.1f} s |\n| store off | {off_s:.1f} s |"
        f"\n| ratio, and the ideal of the stage times | {off_s / on_s:.2f}, {ideal:.2f} |"
    )
    assert off_s / on_s > 0.85 * ideal


def test_a_table_of_10_000_rows(tmp_path):
    record = run(tmp_path / "store", small(**{key.replace(".", "__"): value for key, value in TTT.items()}), "one")
    plain = json.loads(record.model_dump_json())
    folder: Path = tmp_path / "sweep" / "runs"
    folder.mkdir(parents=True)
    for number in range(10_000):
        config, seed = divmod(number, 10)
        run_id = f"{config:010x}-s{seed}"
        (folder / f"{run_id}.json").write_text(json.dumps(plain | {"run_id": run_id, "seed": seed}))
    started_s = time.monotonic()
    table = per_configuration(read_rows(tmp_path / "sweep", ["ttt.lr"]))
    took_s = time.monotonic() - started_s
    print(f"\n| table of 10,000 rows, {len(table)} configurations | {took_s:.2f} s |")
    assert took_s < 1.0
