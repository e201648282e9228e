"""`orchestrator cache`: look after the store of finished stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.options import RUNS, Store, TextOrJson
from orchestrator.output import print_rows
from trainer.cli import EXIT_FAILED
from trainer.spec.mirror import store_name
from trainer.spec.units import human_bytes, human_seconds, human_time
from trainer.stages.shared import stage_store

cache = typer.Typer(no_args_is_help=True, help="Look after the store of finished stages.")


@cache.command("list", epilog="Example: orchestrator cache list --format json")
def cache_list(store: Store = RUNS, format: TextOrJson = "text") -> None:
    """Every stage in the store: size, seconds it took, last use; the largest first."""
    from orchestrator.housekeeping import entries

    _print_entries(entries(stage_store(store)), store, format)


@cache.command("verify", epilog="Example: orchestrator cache verify")
def cache_verify(store: Store = RUNS, format: TextOrJson = "text") -> None:
    """Hold every byte against its checksum; exit status 1 if anything is damaged. Damaged stages are computed anew."""
    from orchestrator.housekeeping import entries

    found = entries(stage_store(store), verify=True)
    damaged = [entry for entry in found if entry.damage]
    _print_entries(damaged, store, format, nothing=f"all {len(found)} stages are whole")
    if damaged:
        raise typer.Exit(EXIT_FAILED)


@cache.command("prune", epilog="Example: orchestrator cache prune --unused-days 30 --dry-run")
def cache_prune(
    unused_days: Annotated[float, typer.Option(min=0, help="Remove what no run used for so many days.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    store: Store = RUNS,
    format: TextOrJson = "text",
) -> None:
    """Remove stages that are damaged or long unused; a run that needs one again computes it again."""
    from orchestrator.housekeeping import prune

    gone = prune(stage_store(store), unused_days, dry_run=dry_run)
    _print_entries(gone, store, format, nothing="nothing to remove")
    if gone and format == "text":
        print("would be removed; nothing was" if dry_run else "removed")


def _print_entries(found: list[Any], store: Path, format: str, nothing: str = "the store is empty") -> None:
    rows = [entry.as_row() for entry in found]
    if format == "json":
        print_rows(rows)
        return
    for row in rows:
        seconds = "" if row["seconds"] is None else human_seconds(row["seconds"])
        print(
            f"{row['stage']:<11} {row['fingerprint']}  {row['state']:<10} {human_bytes(row['disk_bytes']):>9}  "
            f"{seconds:>8}  last used {human_time(row['last_used_at'])}  {row['damage']}".rstrip()
        )
    total = human_bytes(sum(row["disk_bytes"] for row in rows))
    print(f"{store_name(store)}: {f'{len(rows)} entries, {total}' if rows else nothing}")
