"""`orchestrator stop` and `rm`: ends a running sweep, removes one."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestrator.commands.options import Name, Store
from orchestrator.output import console_for
from trainer.spec.errors import UserError
from trainer.spec.exit_status import EXIT_FAILED
from trainer.spec.units import human_bytes, human_count
from trainer.store.mirror import USUAL_STORE, store_option


def stop(
    name: Name,
    wait_s: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for its end.")] = 60.0,
    store: Store = USUAL_STORE,
) -> None:
    """Ask the process that drives a sweep on this machine to stop, and wait; everything finished is kept."""
    from orchestrator.sweep.stopping import stop_driver
    from orchestrator.sweep.sweep import find_sweep

    sweep, console = find_sweep(store, name), console_for()
    ended = stop_driver(sweep, wait_s)
    kept = f"{len(sweep.records())} runs are kept"
    if not ended:
        console.print(
            f"asked to stop, and still at work after {wait_s:g} s; {kept}; see: {sweep.command('status')}",
            soft_wrap=True,
        )
        raise typer.Exit(EXIT_FAILED)
    console.print(f"stopped; {kept}; go on with: {sweep.command('resume')}", soft_wrap=True)


def rm(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    store: Store = USUAL_STORE,
) -> None:
    """Remove a sweep and the stages that nothing else stands on; the seed ledger keeps its lines.

    Stages that other sweeps or runs share stay, until `orchestrator cache prune`.
    """
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.removal import plan_removal, remove_sweep
    from orchestrator.sweep.sweep import find_sweep

    if find_import(store, name) is None:
        find_sweep(store, name)  # refuses an unknown name with the nearest one
    removal, console = plan_removal(store, name), console_for()
    own = human_count(len(removal.own), "stage")
    freed = human_bytes(removal.folder_bytes + removal.own_bytes)
    console.print(
        f"sweep {name}: {human_bytes(removal.folder_bytes)} of records and figures in {removal.folder}, and "
        f"{own} that nothing else stands on ({human_bytes(removal.own_bytes)}): {freed} in all",
        soft_wrap=True,
    )
    if removal.shared:
        why = f", since {removal.kept_because}" if removal.kept_because else ", which others share"
        console.print(
            f"{removal.shared} stages stay{why}; orchestrator cache prune removes what is unused", soft_wrap=True
        )
    console.print("the seed ledger keeps its lines: which seeds were declared, and what became of them", soft_wrap=True)
    if dry_run:
        console.print("would be removed; nothing was")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(
                f"nobody can be asked here; to remove it: orchestrator rm {name} --yes{store_option(store)}"
            )
        if not typer.confirm(f"remove sweep {name}?"):
            console.print("nothing was removed")
            raise typer.Exit(EXIT_FAILED)
    remove_sweep(store, removal)
    console.print(f"removed; {freed} are free")
