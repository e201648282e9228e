"""Where a sweep stands, for other terminals and programs: read from its folder, live while its driver is at work."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from orchestrator.search.state import SweepState
from orchestrator.space.configuration import total_runs
from orchestrator.status.screen import make_screen, panel
from orchestrator.sweep.imported import ImportedSweep
from orchestrator.sweep.live import picture_from, read_live
from orchestrator.sweep.sweep import Sweep
from results.rows.machines import quarantined
from results.rows.row import kind_of_error, short_error
from trainer.spec.record import Record
from trainer.spec.units import human_time
from trainer.store.mirror import store_option

LOOK_EVERY_S = 1.0


def standing(sweep: Sweep) -> dict[str, Any]:
    """One sweep as a row: sweep, state (running, complete, failed when every run did, interrupted, or damaged while a
    record cannot be read or was lost), recorded, runs, created_at, description, failed (runs by reason), quarantined
    (machines, and why), damage (of records, and what to do), live (the driver's latest picture; None while no driver
    runs).
    """
    records, damage = sweep.readable_records()
    busy, asked = sweep.is_locked(), sweep.asked()
    total = total_runs(sweep.space, asked) if damage else SweepState(sweep.space, asked, records).total_runs
    return {
        "sweep": sweep.name,
        "state": "running" if busy else "damaged" if damage else _ended(records, total),
        "recorded": len(records),
        "runs": total,
        "created_at": sweep.created_at,
        "description": sweep.space.description,
        "failed": _by_reason(records),
        "quarantined": quarantined(sweep.folder),
        "damage": damage,
        "live": read_live(sweep.folder) if busy else None,
    }


def _ended(records: Mapping[str, Record], total: int) -> str:
    if len(records) < total:
        return "interrupted"
    return "failed" if all(record.status == "failed" for record in records.values()) else "complete"


def _by_reason(records: Mapping[str, Record]) -> dict[str, int]:
    """How many runs failed for each reason, said with the log of the first of them: logs differ from run to run."""
    errors = [record.error for record in records.values() if record.status == "failed"]
    counts = Counter(kind_of_error(error) for error in errors)
    examples = {kind_of_error(error): error for error in reversed(errors)}
    return {examples[reason]: count for reason, count in counts.items()}


def standing_of_import(sweep: ImportedSweep) -> dict[str, Any]:
    """As `standing`: nothing runs, and nothing is missing."""
    failed = sum(row["status"] == "failed" for row in sweep.rows)
    return {
        "sweep": sweep.name,
        "state": "imported",
        "recorded": len(sweep.rows),
        "runs": len(sweep.rows),
        "created_at": sweep.header.created_at,
        "description": sweep.header.description,
        "failed": {"failed before the import": failed} if failed else {},
        "quarantined": {},
        "damage": [],
        "live": None,
    }


def print_standing(sweep: Sweep, console: Console) -> dict[str, Any]:
    """Prints the live picture while a driver is at work, then progress, failures and quarantined machines.

    Returns the sweep's `standing`, whose damage is left to the caller to raise.
    """
    facts = standing(sweep)
    if facts["live"]:
        console.print(panel(picture_from(facts["live"])))
    for line in standing_lines(facts, sweep):
        console.print(line, style="red" if line in fault_lines(facts) else "", soft_wrap=True)
    return facts


def standing_lines(facts: dict[str, Any], sweep: Sweep) -> list[str]:
    """State, failures by reason, quarantined machines, and what to type next."""
    lines = [
        f"{sweep.name}: {facts['state']}, {_runs(facts, ' recorded')}",
        *fault_lines(facts),
    ]
    if facts["state"] == "interrupted":
        lines.append(f"go on with: {sweep.command('resume')}")
    if facts["state"] != "running" and facts["failed"]:
        lines += once_mended(sweep)
    return lines


def again(sweep: Sweep) -> str:
    """The command of a sweep of its own, once its file was changed: FILE, since no sweep knows the place of that."""
    return f"orchestrator sweep FILE{store_option(sweep.store)}"


def once_mended(sweep: Sweep) -> list[str]:
    """What runs failed runs again. A sweep of a program goes on with the code and the file that it began with."""
    if failed_at_reading(sweep):
        return [
            f"once the search space is corrected, what they printed is read again and nothing is run: {again(sweep)}",
            "once the script is mended, the same command runs it",
        ]
    lines = [f"once mended: {sweep.command('resume', '--retry-failed')}"]
    if sweep.space.program is not None:
        lines.append(f"after a change of the script or of its search space, a sweep of its own: {again(sweep)}")
    return lines


def failed_at_reading(sweep: Sweep) -> bool:
    """Whether every failed run is one whose program ended well: it told no score, one that is no finite number, or one
    beyond a limit. The same sweep again would find the same."""
    if sweep.space.program is None:
        return False
    stages = set(sweep.space.program.stage_names)
    records, _ = sweep.readable_records()
    failed = [record for record in records.values() if record.status == "failed"]
    return bool(failed) and all(stages <= set(record.stages) for record in failed)


def fault_lines(facts: dict[str, Any]) -> list[str]:
    """What went wrong: failures by reason, quarantined machines."""
    failed = [f"failed {count}x: {short_error(reason)}" for reason, count in facts["failed"].items()]
    machines = [f"machine {machine} is quarantined: {why}" for machine, why in facts["quarantined"].items()]
    return [*failed, *machines]


def listing_line(facts: dict[str, Any]) -> str:
    """One sweep among others."""
    runs = _runs(facts)
    created = human_time(facts["created_at"])
    return f"{facts['sweep']:<16} {facts['state']:<12} {runs:<18}  {created}  {facts['description']}"


def _runs(facts: Mapping[str, Any], recorded: str = "") -> str:
    failed = sum(facts["failed"].values())
    return f"{facts['recorded']} of {facts['runs']} runs{recorded}" + (f", {failed} failed" if failed else "")


def watch(sweep: Sweep, console: Console) -> dict[str, Any]:
    """Shows a running sweep until its driver ends or Ctrl-C; then where it stands, which it returns."""
    with contextlib.suppress(KeyboardInterrupt), make_screen(console) as screen:  # the sweep itself goes on
        while (facts := standing(sweep))["state"] == "running":
            if facts["live"]:
                screen.show(picture_from(facts["live"]))
            time.sleep(LOOK_EVERY_S)
    return print_standing(sweep, console)
