"""The machines of a sweep: hardware, number of runs, training speed, differences, and which are quarantined and why.

Reads the records and the sweep's file of machine events. `orchestrator/sweep/quarantine.py` decides on quarantine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from pydantic_core import from_json

from results.rows.layout import DRIFTED, DRIFTED_SHORT, MACHINES, RUNS, SHORT, count_file
from results.rows.lines import checked_lines
from trainer.spec.checked_json import without_checksum
from trainer.spec.errors import StoreError
from trainer.store.unreadable import listed

RECORDS = (RUNS, SHORT, DRIFTED, DRIFTED_SHORT)
COLUMNS = ("machine", "hardware", "runs", "set_aside", "tokens_per_s", "differs", "quarantined")


def events_of(sweep_folder: Path) -> Iterator[dict[str, Any]]:
    """Events of the sweep's machines in order; an incomplete last line, left by a kill, is skipped.

    Raises StoreError for a file that was changed: a wrong digit there quarantines a machine.
    """
    path = sweep_folder / MACHINES
    remedy = f"restore it from a copy, or delete it and {count_file(path).name}: then the machine check begins anew"
    for event in checked_lines(path, remedy, may_be_missing=True):
        if not isinstance(event.get("event"), str):
            raise StoreError(f"{path}: holds something else than events of machines; {remedy}")
        yield event


def quarantined_by(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Machines that are quarantined and were not trusted since, with the reason."""
    reasons: dict[str, str] = {}
    for event in events:
        if event["event"] == "quarantined":
            reasons[event["machine"]] = event["why"]
        if event["event"] == "trusted":
            reasons.pop(event["machine"], None)
    return reasons


def quarantined(sweep_folder: Path) -> dict[str, str]:
    """As `quarantined_by`, of a sweep on disk."""
    return quarantined_by(events_of(sweep_folder))


def read_machines(sweep_folder: Path) -> pd.DataFrame:
    """One row per machine that computed for the sweep: machine, hardware, runs (that count), set_aside, tokens_per_s
    (median of its trainings), differs (facts that differ from most machines', as text), quarantined (the reason)."""
    computed = [_Computed.of(record) for folder in RECORDS for record in _records(sweep_folder / folder)]
    computed = [record for record in computed if record.facts and record.stages_run]
    facts = {record.facts["name"]: {**record.facts, "hardware": record.hardware} for record in computed}
    reasons = quarantined(sweep_folder)
    rows = []
    for name, mine in sorted(facts.items()):
        ours = [record for record in computed if record.facts["name"] == name]
        num_aside = sum(record.is_aside for record in ours)
        differs = "; ".join(_differences(mine, list(facts.values())))
        speed = _speed(ours)
        rows.append((name, mine["hardware"], len(ours) - num_aside, num_aside, speed, differs, reasons.get(name, "")))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def machine_lines(machines: pd.DataFrame, by_the_clock: bool) -> list[str]:
    """Warnings: quarantined machines, machines that differ, and different hardware under a wall-clock budget."""
    lines = []
    for row in machines.to_dict("records"):
        if row["quarantined"]:
            why = row["quarantined"]
            lines.append(f"machine {row['machine']} is quarantined, its runs are repeated elsewhere: {why}")
        elif row["differs"] and len(machines) > 1:
            lines.append(f"machine {row['machine']} differs: {row['differs']}")
    kinds = machines.loc[machines["runs"] > 0, "hardware"].unique()
    if by_the_clock and len(kinds) > 1:
        lines.append(
            f"training ended by the clock on different hardware ({'; '.join(kinds)}): the scores are not comparable; "
            "limit training by steps (budget.train_steps) or use one kind of machine"
        )
    return lines


@dataclass(frozen=True)
class _Computed:
    """What is counted of a record, which itself is forty times as large."""

    facts: Mapping[str, str]
    hardware: str
    stages_run: bool
    is_aside: bool
    tokens_per_s: float | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> _Computed:
        trained = record["stages"]["train"]["metrics"] if "train" in record["stages_run"] else {}
        return cls(
            facts=record.get("machine") or {},
            hardware=record["hardware"],
            stages_run=bool(record["stages_run"]),
            is_aside=record["status"] == "drifted",
            tokens_per_s=trained.get("tokens_per_s"),
        )


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for path in listed(folder, ".json"):
        with contextlib.suppress(ValueError, OSError):  # `read_rows` names it
            yield from_json(without_checksum(path.read_bytes())[0])


def _differences(mine: Mapping[str, str], all_facts: list[Mapping[str, str]]) -> Iterator[str]:
    for fact, value in mine.items():
        values = [facts[fact] for facts in all_facts if fact in facts]
        usual = max(values, key=values.count)
        if fact != "name" and value != usual:
            yield f"{fact} = {value}, elsewhere {usual}"


def _speed(records: Iterable[_Computed]) -> float | None:
    speeds = [record.tokens_per_s for record in records if record.tokens_per_s]
    return float(median(speeds)) if speeds else None
