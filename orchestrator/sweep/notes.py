"""Notes in a sweep's folder: the plan made before its first run, and what the preflight check found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.sweep.sweep import Sweep
from results.rows.layout import PLAN_FILE, PREFLIGHT_FILE
from trainer.spec.checked_json import ChecksumDiffers, with_checksum, without_checksum
from trainer.spec.errors import StoreError
from trainer.spec.json_text import parse_json
from trainer.store.atomic_write import replace_synced, write_once


def keep_plan(sweep_folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keeps the plan made before the first run; a later plan of the same sweep is not written."""
    write_once(sweep_folder / PLAN_FILE, with_checksum(json.dumps({"rows": rows}, indent=1).encode()))


def read_plan(sweep_folder: Path) -> list[dict[str, Any]] | None:
    """The rows of the plan that was kept, or None when there is none. Raises StoreError for one that was changed."""
    path, remedy = sweep_folder / PLAN_FILE, "delete it: planned costs are then left out"
    plan = _checked(path, remedy)
    rows = plan.get("rows") if isinstance(plan, dict) else plan  # 0.1.0 wrote the rows alone
    if plan is not None and not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
        raise StoreError(f"{path}: is no plan; {remedy}")
    return rows


def keep_preflight(sweep_folder: Path, content: Mapping[str, Any]) -> None:
    """Keeps what the check before the first run found; the newest check stands."""
    path = sweep_folder / PREFLIGHT_FILE
    replace_synced(path, with_checksum(json.dumps(content).encode()), aside=path.with_suffix(".aside"))


def _checked(path: Path, remedy: str) -> Any:
    """What a file of JSON holds, or None where there is no file. Raises StoreError for one that was changed."""
    try:
        return parse_json(without_checksum(path.read_bytes())[0])
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read ({fault.strerror})") from None
    except ValueError as fault:
        reason = fault if isinstance(fault, ChecksumDiffers) else "holds something else than what was written"
        raise StoreError(f"{path}: {reason}; {remedy}") from None


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
    path, remedy = sweep.folder / PREFLIGHT_FILE, "delete it: the report then leaves out what was checked"
    content = _checked(path, remedy)
    if content is not None and not (isinstance(content, dict) and "skipped" in content):
        raise StoreError(f"{path}: is no result of a check; {remedy}")
    return content or {}
