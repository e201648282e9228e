"""The plan that is kept in a sweep's folder when it begins, so that its end can be held against it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.spec.writing import write_once

PLAN_FILE = "plan.json"


def keep_plan(sweep_folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Remembers what was expected before the first run; a later plan of the same sweep changes nothing."""
    write_once(sweep_folder / PLAN_FILE, json.dumps(rows, indent=1).encode())


def read_plan(sweep_folder: Path) -> list[dict[str, Any]] | None:
    """The rows of the plan that was kept, or None when there is none, or none that can be read."""
    try:
        rows: list[dict[str, Any]] = json.loads((sweep_folder / PLAN_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return rows
