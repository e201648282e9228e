"""Results of made-up sweeps of any size: scores with a known cause, shared trainings, failures where asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from results.rows.ranking import Ranking
from results.rows.read import OUTCOME_COLUMNS, frame_of
from results.rows.row import unfinished_row
from results.verdicts.compare import compare
from results.verdicts.sweep_results import SweepResults
from results.verdicts.terms import Evidence, Terms
from tests.results.sweeps import record, scored

KEYS = ("ttt.lr", "ttt.epochs", "ttt.optimizer")
SEEDS = (1337, 42, 2025)
ADDED = {
    "val_tokens": 999, "val_bytes": 1_998, "val_documents": 7,
    "legal": True, "within_budget": True, "total_bytes": 300_000, "eval_s": 3.0, "train_s": 8.5, "commit": "abc123",
    "hardware": "CPU", "versions": "torch 2.13.0", "started_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def sweep_results(
    num_configs: int = 6, *, folder: Path | None = None, verdicts: bool = True, **changes: Any
) -> SweepResults:
    """A baseline and so many configurations over three seeds, whose trainings they share; only `ttt.lr` matters.

    folder:  where learning curves are written, if anywhere
    """
    dice = np.random.default_rng(0)
    rows = [_row("base", seed, 2.0, {"ttt.lr": None, "ttt.epochs": None, "ttt.optimizer": None}) for seed in SEEDS]
    for number in range(num_configs):
        lr, epochs, optimizer = 10 ** dice.uniform(-4, -1), int(dice.integers(1, 4)), str(dice.choice(["sgd", "adamw"]))
        mean = 1.98 + 0.02 * (np.log10(lr) + 2.5) ** 2
        values = {"ttt.lr": lr, "ttt.epochs": epochs, "ttt.optimizer": optimizer}
        rows += [_row(f"c{number:05}", seed, mean + 0.0005 * dice.normal(), values) for seed in SEEDS]
    frame = frame_of(rows, KEYS, list(dict.fromkeys(row["config"] for row in rows)))
    made = SweepResults(
        name="made-up",
        description="Which learning rate?",
        frame=frame,
        ranking=Ranking(baseline="base", seeds=SEEDS),
        verdicts=compare(frame, "base", Terms(0.005, "nats"), Evidence(exploratory=True)) if verdicts else [],
        labels={config: f"lr of {config}" for config in frame["config"]} | {"base": "baseline"},
        swept_keys=KEYS,
        total_runs=len(frame),
        outcomes=_outcomes(frame),
        curve_of=_curves(folder),
        example=record(recipe={"budget": {"artifact_bytes": 16_000_000, "eval_s": 600.0, "train_s": None}}),
        commands=("orchestrator sweep space.yaml",),
    )
    return replace(made, **changes)


def _row(config: str, seed: int, score: float, values: dict[str, Any]) -> dict[str, Any]:
    offset = {1337: 0.0, 42: 0.01, 2025: -0.01}[seed]
    made = unfinished_row("made-up", config, seed, "done", values)
    return made | ADDED | {"artifact": f"art{seed}"} | scored(score + offset)


def _outcomes(frame: pd.DataFrame) -> pd.DataFrame:
    """Every seed is trained once, by its first run, and every run scores for itself."""
    trained = [
        (f"{c}-s{s}", c, s, "train", f"t{s}", 9.0, c == "base", 8)
        for c, s in zip(frame.config, frame.seed, strict=True)
    ]
    adapted = [(run, c, s, "adapt", f"a{run}", 2.0, True, 8) for run, c, s, *_ in trained if c != "base"]
    return pd.DataFrame(trained + adapted, columns=list(OUTCOME_COLUMNS))


def _curves(folder: Path | None, num_steps: int = 1000) -> Callable[[str], bytes | None]:
    if folder is None:
        return lambda fingerprint: None
    for seed in SEEDS:
        steps = np.arange(num_steps)
        curve = pd.DataFrame(
            {"step": steps, "train_loss": 3 + 3 * np.exp(-steps / 200), "multiplier": 1.0, "elapsed_s": steps}
        )
        path = folder / "train" / f"t{seed}" / "curve.csv"
        path.parent.mkdir(parents=True)
        curve.to_csv(path, index=False)

    def read(fingerprint: str) -> bytes | None:
        file = folder / "train" / fingerprint / "curve.csv"
        return file.read_bytes() if file.exists() else None

    return read
