"""Records and rows of a made-up sweep, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from results.rows.read import frame_of
from results.rows.row import unfinished_row

TOKENS_PER_BYTE = 0.5
SCORED = {"num_tokens": 999, "num_bytes": 1998}
LN2 = 0.6931471805599453


def record(
    config: str = "aaaa", seed: int = 1, val_bpb: float = 2.0, *, ttt: bool = False, **changes: Any
) -> dict[str, Any]:
    """A record as the trainer writes it; with `ttt` the headline is 0.1 below the sliding score."""

    def outcome(stage: str, seconds: float, **metrics: Any) -> dict[str, Any]:
        return {
            "stage": stage, "fingerprint": f"{stage}-{config}-{seed}", "seconds": seconds,
            "started_at": "2026-01-01T00:00:00+00:00", "host": "laptop", "metrics": metrics,
        }  # fmt: skip

    sliding = val_bpb + (0.1 if ttt else 0.0)
    stages = {
        "val_text": outcome("val_text", 1.0, num_documents=7, uniform_bpb=4.1, unigram_bpb=3.2, zstd22_bpb=2.4),
        "train": outcome(
            "train", 9.0, steps=200, train_s=8.5, tokens_per_s=1e5, mfu=0.4, peak_memory_bytes=7e8, train_loss=3.0
        ),
        "export": outcome("export", 1.0, model_bytes=250_000),
        "evaluate": outcome(
            "evaluate", 3.0, **scored(sliding), **SCORED, eval_s=3.0, legal=True, ledger_digest="evaluate-ledger"
        ),
        "diagnose": outcome("diagnose", 3.0, pre_quant_bpb=2.2, roundtrip_bpb=2.3),
    }
    if ttt:
        stages["adapt"] = outcome(
            "adapt", 6.0, **scored(val_bpb), **SCORED, eval_s=6.0, legal=True, ledger_digest="adapt-ledger", steps=9
        )
    full = {
        "run_id": f"{config}-s{seed}", "preset": "tiny", "seed": seed, "status": "done",
        "recipe": {"ttt": {"mode": "score_first" if ttt else "off", "lr": 0.002}, "model": {"xsa_layers": [2, 3]}},
        "headline": "adapt" if ttt else "evaluate", "stages": stages, "stages_run": ["train", "evaluate"],
        "within_budget": True, "error": "", "started_at": "2026-01-01T00:00:00+00:00",
        "commit": "abc", "hardware": "CPU", "versions": "torch 2.13.0", "num_ranks": 1,
    }  # fmt: skip
    return full | changes


def scored(val_bpb: float) -> dict[str, float]:
    """A pair of scores on a text with half a token per byte."""
    return {"val_bpb": val_bpb, "val_loss": val_bpb * LN2 / TOKENS_PER_BYTE}


def write(folder: Path, *records: dict[str, Any]) -> Path:
    """A sweep's folder holding these records."""
    (folder / "runs").mkdir(parents=True)
    for one in records:
        (folder / "runs" / f"{one['run_id']}.json").write_text(json.dumps(one))
    return folder


def row(config: str, seed: int, val_bpb: float | None, *, lr: float = 0.01, **changes: Any) -> dict[str, Any]:
    """A finished, legal row within budget, on an artifact of its own."""
    scores = {} if val_bpb is None else scored(val_bpb)
    made = unfinished_row("demo", config, seed, "done", {"ttt.lr": lr})
    made |= {
        "legal": True,
        "within_budget": True,
        "artifact": f"{config}-{seed}",
        "total_bytes": 300_000,
        "eval_s": 3.0,
    }
    return made | scores | changes


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows as the table that `read_rows` would give, swept over `ttt.lr`."""
    return frame_of(rows, ["ttt.lr"], list(dict.fromkeys(made["config"] for made in rows)))
