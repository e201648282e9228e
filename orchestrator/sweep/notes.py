"""Notes in a sweep's folder: the plan made before its first run, and what the preflight check found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.sweep.sweep import Sweep
from results.rows.layout import PLAN_FILE, PREFLIGHT_FILE
from trainer.store.atomic_write import write_once


def keep_plan(sweep_folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keeps the plan made before the first run; a later plan of the same sweep is not written."""
    write_once(sweep_folder / PLAN_FILE, json.dumps(rows, indent=1).encode())


def read_plan(sweep_folder: Path) -> list[dict[str, Any]] | None:
    """The rows of the plan that was kept, or None when there is none, or none that can be read."""
    try:
        rows: list[dict[str, Any]] = json.loads((sweep_folder / PLAN_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return rows


def preflight_words(sweep: Sweep) -> str:
    """The report's sentence on the liveness check; empty if its file is missing or cannot be read, and of a program,
    of whose switches nothing is known."""
    skipped = _preflight(sweep).get("skipped")
    if skipped is None or sweep.space.program:
        return ""
    return "not checked (--no-check)" if skipped else "every switch was shown to act before the first run"


def data_words(sweep: Sweep) -> str:
    """The report's words on the shards that were checked before the first run; empty without any."""
    return "; ".join(_preflight(sweep).get("data", ()))


def _preflight(sweep: Sweep) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((sweep.folder / PREFLIGHT_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content
