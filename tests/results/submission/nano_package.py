"""A small sweep that was really run, and the submission folder of its best configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from orchestrator.commands.app import app

SPACE = """
name: nano
description: Does test-time training help?
preset: tiny
method: grid
seeds: [1, 2]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {values: [0.01]}
compare: {baseline: {ttt.mode: off}, margin: 0.005, unit: nats, alpha: 0.01}
"""
SMALL = {
    "budget.train_steps": 6,
    "schedule.warmdown_steps": 3,
    "averaging.swa_every": 1,
    "averaging.swa_min_step": 0,
    "averaging.swa_below": 0.9,
    "data.val_bytes": 1,
    "ttt.chunk_tokens": 1024,
    "ttt.epochs": 1,
    "evaluation.diagnose": "false",
}


def orchestrator(*words: object) -> Result:
    """What the command line prints, and its exit status; a UserError is in `result.exception`."""
    return CliRunner().invoke(app, [str(word) for word in words])


def finished_store(folder: Path) -> Path:
    """A store with the sweep `nano`, both configurations of it finished on both seeds."""
    space, store = folder / "nano.yaml", folder / "runs"
    space.write_text(SPACE, encoding="utf-8")
    sets = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    done = orchestrator("sweep", space, "--inline", "--no-check", "--store", store, *sets)
    assert done.exit_code == 0, done.output
    return store


def ttt_configuration(store: Path) -> str:
    """The configuration that is not the baseline."""
    rows = json.loads(orchestrator("table", "nano", "--format", "json", "--store", store).stdout)
    return next(str(row["config"]) for row in rows if not row["is_baseline"])


def copy_of(package: Path, folder: Path) -> Path:
    """A package that may be changed."""
    return Path(shutil.copytree(package, folder / "copy"))


def claims(package: Path) -> dict[str, Any]:
    """The parsed submission.json."""
    content: dict[str, Any] = json.loads((package / "submission.json").read_text(encoding="utf-8"))
    return content


def write_claims(package: Path, content: dict[str, Any]) -> None:
    (package / "submission.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
