"""`orchestrator cache`: look after the store of finished stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.commands.options import Store, TextOrJson
from orchestrator.output import console_for, print_rows
from trainer.spec.errors import StoreError
from trainer.spec.exit_status import EXIT_FAILED
from trainer.spec.printable import printable
from trainer.spec.units import human_bytes, human_seconds, human_time
from trainer.store.mirror import USUAL_STORE, store_name

if TYPE_CHECKING:
    from orchestrator.sweep.damage import Fault
    from trainer.store.local import StageStore

DAY_S = 86_400.0


@dataclass(frozen=True)
class Entry:
    """One stage in the store, or what a computation of it left behind."""

    stage: str
    fingerprint: str
    kind: str
    """'finished', or 'unfinished': a snapshot, or files written aside."""
    disk_bytes: int
    used_at_s: float
    """Seconds since 1970 at which a run last read or wrote it."""
    seconds: float | None
    """What computing it took."""
    damage: str = ""

    def as_row(self) -> dict[str, Any]:
        """Plain values for tables and programs."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "state": "damaged" if self.damage else self.kind,
            "disk_bytes": self.disk_bytes,
            "seconds": self.seconds,
            "last_used_at": datetime.fromtimestamp(self.used_at_s, UTC).isoformat(timespec="seconds"),
            "damage": self.damage,
        }


def entries(store: StageStore, *, verify: bool = False) -> list[Entry]:
    """Everything in the store, the largest first. With `verify` every file is compared with its checksum."""
    from trainer.spec.stage_table import STAGES  # late: it imports pydantic, which `--help` should not pay for

    stages = [*STAGES, *sorted(set(store.stages()) - set(STAGES))]  # a program's have names of their own
    listed = [entry for stage in stages for entry in _entries_of(store, stage, verify)]
    return sorted(listed, key=lambda entry: -entry.disk_bytes)


def prune(store: StageStore, unused_days: float, *, dry_run: bool = False) -> list[Entry]:
    """Removes what no run used for so many days, and what is damaged; returns it.

    Whatever somebody computes now stays. Raises StoreError while a sweep is at work on the store.
    """
    from orchestrator.sweep.sweep import list_sweeps  # late: pandas, which `--help` should not pay for

    busy = [sweep.name for sweep in list_sweeps(store.root) if sweep.is_locked()]
    if busy and not dry_run:
        raise StoreError(f"{store_name(store.root)}: sweep '{busy[0]}' is at work here; prune when it has ended")
    oldest_s = time.time() - unused_days * DAY_S
    going = [entry for entry in entries(store, verify=True) if entry.damage or entry.used_at_s < oldest_s]
    return going if dry_run else [entry for entry in going if store.remove(entry.stage, entry.fingerprint)]


def _entries_of(store: StageStore, stage: str, verify: bool) -> Iterator[Entry]:
    for fingerprint in store.fingerprints(stage):
        if kept := store.finished_disk_use(stage, fingerprint):
            outcome = store.find(stage, fingerprint)
            bad = store.damaged_files(stage, fingerprint) if verify or outcome is None else []
            seconds = outcome.seconds if outcome else None
            yield Entry(stage, fingerprint, "finished", kept.disk_bytes, kept.used_at_s, seconds, ", ".join(bad))
        if left := store.unfinished_disk_use(stage, fingerprint):
            yield Entry(stage, fingerprint, "unfinished", left.disk_bytes, left.used_at_s, None)


cache = typer.Typer(no_args_is_help=True, help="Look after the store of finished stages.")


@cache.command("list", epilog="Example: orchestrator cache list --format json")
def cache_list(store: Store = USUAL_STORE, format: TextOrJson = "text") -> None:
    """Every stage in the store: size, seconds it took, last use; the largest first."""

    _print_entries(entries(_opened(store)), store, format)


@cache.command("verify", epilog="Example: orchestrator cache verify")
def cache_verify(store: Store = USUAL_STORE, format: TextOrJson = "text") -> None:
    """Compare every file of stages and sweeps with its checksum, and records with their stages; exit status 1 if any is
    damaged. Damaged stages are computed anew; `resume` makes records anew from their stages."""

    checked = entries(_opened(store), verify=True)
    in_sweeps, plain = _verified_sweeps(store)
    damaged = [*(entry for entry in checked if entry.damage), *in_sweeps]
    _print_entries(damaged, store, format, nothing=f"all {len(checked)} stages and the files of all sweeps are whole")
    if plain and format == "text":
        print(
            f"{len(plain)} files of sweeps have no checksum (written by an earlier version): {printable(plain[0])}, ..."
        )
    if damaged:
        raise typer.Exit(EXIT_FAILED)


def _verified_sweeps(store: Path) -> tuple[list[Entry], list[str]]:
    """Damaged files of the store's sweeps and its seed ledger, and files without a checksum."""
    from orchestrator.sweep.damage import Fault, file_faults, lost_faults, record_faults, without_checksums
    from orchestrator.sweep.imported import find_import
    from orchestrator.sweep.sweep import find_sweep, sweep_names
    from results.rows.layout import IMPORT_FILE, JOURNAL, import_names, sweep_folder
    from results.verdicts.seed_ledger import FILE, Ledger

    faults: list[Fault] = []
    plain: list[Path] = []
    for name in sweep_names(store):
        folder = sweep_folder(store, name)
        try:
            sweep = find_sweep(store, name)
            faults += [*file_faults(sweep), *record_faults(sweep, _opened(store)), *lost_faults(sweep)]
            plain += without_checksums(sweep)
        except (StoreError, OSError) as fault:
            faults.append(Fault(folder / JOURNAL, str(fault).removeprefix(f"{folder / JOURNAL}:")))
    for name in import_names(store):
        try:
            find_import(store, name)
        except StoreError as fault:
            path = sweep_folder(store, name) / IMPORT_FILE
            faults.append(Fault(path, str(fault).removeprefix(f"{path}:")))
    try:
        Ledger(store).entries()
    except (StoreError, OSError) as fault:
        faults.append(Fault(store / FILE, str(fault).removeprefix(f"{store / FILE}:")))
    return [_entry_of(fault, store) for fault in faults], [path.relative_to(store).as_posix() for path in plain]


def _entry_of(fault: Fault, store: Path) -> Entry:
    from results.rows.layout import is_there  # late, as above

    known = fault.path.stat() if is_there(fault.path) else None
    name = fault.path.relative_to(store).as_posix()
    size, used_at_s = (known.st_size, known.st_mtime) if known else (0, 0.0)
    return Entry("sweep", name, "finished", size, used_at_s, None, fault.reason.strip())


@cache.command("prune", epilog="Example: orchestrator cache prune --unused-days 30 --dry-run")
def cache_prune(
    unused_days: Annotated[float, typer.Option(min=0, help="Remove what no run used for so many days.")] = 30.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Remove stages that are damaged or long unused; a run that needs one again computes it again."""

    gone = prune(_opened(store), unused_days, dry_run=dry_run)
    _print_entries(gone, store, format, nothing="nothing to remove")
    if gone and format == "text":
        print("would be removed; nothing was" if dry_run else "removed")


def _opened(store: Path) -> StageStore:
    from trainer.store.shared import stage_store  # late, as above

    return stage_store(store)


def _print_entries(listed: list[Any], store: Path, format: str, nothing: str = "the store is empty") -> None:
    rows = [entry.as_row() for entry in listed]
    if format == "json":
        print_rows(rows)
        return
    console = console_for()
    for row in rows:
        seconds = "" if row["seconds"] is None else human_seconds(row["seconds"])
        line = (
            f"{row['stage']:<11} {row['fingerprint']}  {row['state']:<10} {human_bytes(row['disk_bytes']):>9}  "
            f"{seconds:>8}  last used {human_time(row['last_used_at'])}  {row['damage']}"
        )
        console.print(line.rstrip(), soft_wrap=True)
    total = human_bytes(sum(row["disk_bytes"] for row in rows))
    console.print(f"{store_name(store)}: {f'{len(rows)} entries, {total}' if rows else nothing}", soft_wrap=True)
