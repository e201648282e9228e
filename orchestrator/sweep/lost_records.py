"""Records that are gone though their runs ended, by the seed ledger; and what is raised for damaged files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from results.rows.layout import RUNS, SET_ASIDE_FOLDERS, SHORT, record_file
from results.rows.read import AGAIN
from results.verdicts.seed_ledger import Ledger
from trainer.spec.errors import StoreError
from trainer.spec.record import run_id_of
from trainer.store.unreadable import listed_names

MOST_NAMED = 10
"""Damaged files that are named; the others are counted."""


def lost_records(folder: Path, most_runs: int, ledger: Ledger) -> list[str]:
    """A line for each record of a sweep that is missing though its run ended.

    most_runs:  of the configurations asked so far; the ledger is read only if there are fewer records than that
    """
    kept = {run_id for part in (RUNS, SHORT) for run_id in run_ids(folder / part)}
    if len(kept) >= most_runs:
        return []
    kept |= {stem.rpartition("-")[0] for part in SET_ASIDE_FOLDERS for stem in run_ids(folder / part)}
    ended = [entry for entry in ledger.entries() if entry["event"] == "ended" and entry["sweep"] == folder.name]
    names = dict.fromkeys(run_id_of(entry["config"], entry["seed"]) for entry in ended)
    lost = [run_id for run_id in names if run_id not in kept]
    return [f"{folder / RUNS / record_file(run_id)}: is missing, though its run ended; {AGAIN}" for run_id in lost]


def run_ids(folder: Path) -> list[str]:
    """The names of a folder's records, without their ending."""
    return [name.removesuffix(".json") for name in listed_names(folder, ".json")]


def demand_undamaged(faults: Sequence[str]) -> None:
    """Raises StoreError naming files that do not hold what was written, and what to do; the first of many."""
    if faults:
        more = f"\nand {len(faults) - MOST_NAMED:,} more" if len(faults) > MOST_NAMED else ""
        raise StoreError("\n".join(faults[:MOST_NAMED]) + more)
