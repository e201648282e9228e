"""A finished sweep as its folder and store hold it, without anything having been trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.space.configuration import Configuration, baseline_of, identify
from orchestrator.space.load_space import load_space
from orchestrator.sweep.sweep import Sweep, open_sweep
from results.verdicts.seed_ledger import Ledger
from tests.outcomes import stage_outcome
from trainer.spec.record import Record

SPACE = """
name: small
description: Is test-time training worth it?
preset: tiny
method: tpe
run_cap: 1
seeds: [1, 2, 3]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2}
compare: {baseline: {ttt.mode: off}}
"""
TOKENS_PER_BYTE = 0.5
DICE = np.random.default_rng(0)


def finished_sweep(store: Path) -> Sweep:
    """The baseline and one configuration 0.03 bits per byte better, on shared trainings whose curves are there."""
    store.mkdir(parents=True, exist_ok=True)
    (store / "small.yaml").write_text(SPACE, encoding="utf-8")
    space = load_space(store / "small.yaml")
    sweep = open_sweep(store, space)
    asked = [baseline_of(space), identify(space, 1, {"ttt.mode": "score_first", "ttt.lr": 0.004})]
    ledger = Ledger(store)
    for item in asked:
        sweep.append(item)
        ledger.declare(sweep.name, item.id, space.seeds)
        for seed in space.seeds:
            path = sweep.record_path(item.run_id(seed))
            path.parent.mkdir(exist_ok=True)
            ledger.start(sweep.name, item.id, seed)
            ledger.end(sweep.name, item.id, seed, "done")
            path.write_text(record(sweep, item, seed).model_dump_json(), encoding="utf-8")
    for seed in space.seeds:
        curve = store / "stages" / "train" / f"train-{seed}" / "curve.csv"
        curve.parent.mkdir(parents=True)
        rows = (f"{step},{3 + 3 * 0.9**step:.4f},1.0,{step * 0.5}" for step in range(40))
        curve.write_text("\n".join(["step,train_loss,multiplier,elapsed_s", *rows]) + "\n", encoding="utf-8")
    return sweep


def record(sweep: Sweep, item: Configuration, seed: int) -> Record:
    """Scores that differ by the seed; the gain of the configuration is nearly the same on each."""
    gain = 0.0 if item.is_baseline else 0.03 + 0.001 * float(DICE.normal())
    val_bpb = 2.0 + 0.01 * seed - gain
    scored = {"val_bpb": val_bpb, "val_loss": val_bpb * np.log(2) / TOKENS_PER_BYTE, "eval_s": 2.0, "legal": True}
    headline = "evaluate" if item.is_baseline else "adapt"
    stages = {
        "train": stage_outcome("train", f"train-{seed}", 9.0, metrics={"steps": 40, "train_s": 8.0}),
        "export": stage_outcome("export", f"export-{seed}", 1.0, metrics={"model_bytes": 250_000}),
        headline: stage_outcome(headline, f"{headline}-{item.id}-{seed}", 2.0, metrics=scored),
    }
    return Record(
        run_id=item.run_id(seed),
        preset="tiny",
        seed=seed,
        status="done",
        recipe=sweep.space.recipe(item.values, seed).model_dump(mode="json"),
        headline=headline,
        stages=stages,
        stages_run=tuple(stages) if item.is_baseline else (headline,),
        within_budget=True,
        started_at="2026-01-01T00:00:00+00:00",
        commit="abc123",
        hardware="CPU",
        versions="torch 2.13.0",
    )
