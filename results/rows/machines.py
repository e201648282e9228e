"""The machines of a sweep: hardware, number of runs, training speed, differences, and which are quarantined and why.

Reads the records and the sweep's file of machine events. `orchestrator/sweep/quarantine.py` decides on quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from results.rows.layout import DRIFTED, DRIFTED_SHORT, MACHINES, RUNS, SHORT, count_file
from results.rows.lines import checked_lines
from results.rows.read import gathered, record_files
from trainer.spec.errors import StoreError
from trainer.spec.stage_table import STAGES

if TYPE_CHECKING:
    import pandas as pd

STAGE_ORDER = tuple(STAGES)
RECORDS = (RUNS, SHORT, DRIFTED, DRIFTED_SHORT)
COLUMNS = (
    "machine", "runs", "set_aside", "stages", "stage_s", "tokens_per_s", "mfu", "hardware", "differs", "quarantined",
)  # fmt: skip


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
    """One row per machine that computed for the sweep: machine, runs (that count), set_aside, stages (that it computed
    in them, 'train 3, adapt 9'), stage_s (their seconds), tokens_per_s and mfu (medians of its trainings), hardware,
    differs (facts that differ from most machines', as text), quarantined (the reason).

    A stage that an interrupted run finished, and that the run found in the store when it went on, is in no row.
    """
    import pandas as pd  # late: `list`, `status` and the driver import this module and make no table

    readable, _ = gathered(record_files(sweep_folder, *RECORDS), _Computed.of)  # `read_rows` names the others
    computed = [record for record in readable if record.facts and record.stages_run]
    facts = {record.facts["name"]: {**record.facts, "hardware": record.hardware} for record in computed}
    reasons = quarantined(sweep_folder)
    rows = []
    for name, mine in sorted(facts.items()):
        ours = [record for record in computed if record.facts["name"] == name]
        num_aside = sum(record.is_aside for record in ours)
        differs = "; ".join(_differences(mine, list(facts.values())))
        stages = Counter(stage for record in ours for stage in record.stages_run)
        rows.append(
            {
                "machine": name,
                "hardware": mine["hardware"],
                "runs": len(ours) - num_aside,
                "set_aside": num_aside,
                "stages": ", ".join(f"{stage} {count}" for stage, count in sorted(stages.items(), key=_place)),
                "stage_s": sum(record.stage_s for record in ours),
                "tokens_per_s": _median(record.tokens_per_s for record in ours),
                "mfu": _median(record.mfu for record in ours),
                "differs": differs,
                "quarantined": reasons.get(name, ""),
            }
        )
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
    stages_run: tuple[str, ...]
    stage_s: float
    is_aside: bool
    tokens_per_s: float | None
    mfu: float | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> _Computed:
        trained = record["stages"]["train"]["metrics"] if "train" in record["stages_run"] else {}
        return cls(
            facts=record.get("machine") or {},
            hardware=record["hardware"],
            stages_run=tuple(record["stages_run"]),
            stage_s=sum(record["stages"][stage]["seconds"] for stage in record["stages_run"]),
            is_aside=record["status"] == "drifted",
            tokens_per_s=trained.get("tokens_per_s"),
            mfu=trained.get("mfu"),
        )


def _differences(mine: Mapping[str, str], all_facts: list[Mapping[str, str]]) -> Iterator[str]:
    for fact, value in mine.items():
        values = [facts[fact] for facts in all_facts if fact in facts]
        usual = max(values, key=values.count)
        if fact != "name" and value != usual:
            yield f"{fact} = {value}, elsewhere {usual}"


def _place(stage: tuple[str, int]) -> int:
    """Running order of our own stages; a program's keep the order in which they were met."""
    return STAGE_ORDER.index(stage[0]) if stage[0] in STAGE_ORDER else len(STAGE_ORDER)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value]
    return float(median(known)) if known else None
