"""Rows of anybody's runs: which column of a foreign table is what, and which cell is wrong.

A run is a configuration (named, or made of knobs), a seed, and a score; artifact, bytes, seconds, machine and time are
taken along where they are given. A column of steps makes the rows points of learning curves, whose last one is the
run. Every complaint names its row and column; all of them come in one message.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from results.rows.columns import COLUMN_TYPES
from results.rows.foreign_files import Cells, ForeignTable, spelled
from results.rows.ranking import UNITS, Measure, unit_of
from results.rows.row import Row
from trainer.spec.errors import ProblemsError, UserError, did_you_mean

MOST_PROBLEMS = 20
SAME_TOKENIZER = 0.01
"""Tokens per byte of one tokenizer differ by less than this part."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "config": ("config", "configuration", "config_id", "recipe", "arm", "record", "name"),
    "seed": ("seed", "random_seed", "rng_seed"),
    "step": ("step", "global_step"),
    "val_bpb": ("val_bpb", "bpb", "validation_bpb"),
    "val_loss": ("val_loss", "validation_loss", "valid_loss", "eval_loss", "final_val_loss"),
    "artifact": ("artifact", "artifact_id", "checkpoint"),
    "total_bytes": ("total_bytes", "bytes", "artifact_bytes", "bytes_total"),
    "train_s": ("train_s", "seconds", "train_seconds", "train_time_s", "train_time"),
    "eval_s": ("eval_s", "eval_seconds", "eval_time_s"),
    "steps": ("steps", "train_steps"),
    "status": ("status", "state"),
    "legal": ("legal",),
    "within_budget": ("within_budget",),
    "started_at": ("started_at", "start_time", "created"),
    "hardware": ("hardware", "gpu_type"),
    "commit": ("commit", "git_commit"),
    "tokenizer": ("tokenizer", "vocab_size"),
    "machine": ("machine", "host", "hostname", "node"),
    "block": ("block", "pair", "round"),
}
"""What a column may be called, the plainest name first; spelling as in `spelled`."""
STATUSES: Mapping[str, Literal["done", "failed", "running"]] = {
    **dict.fromkeys(("done", "finished", "complete", "completed", "success", "succeeded"), "done"),
    **dict.fromkeys(("failed", "crashed", "killed", "error", "diverged", "canceled", "cancelled"), "failed"),
    **dict.fromkeys(("running", "pending", "scheduled", "preempting", "preempted"), "running"),
}
TEXTS = ("config", "artifact", "status", "started_at", "hardware", "commit", "tokenizer", "machine", "block")
BOOLEANS = ("legal", "within_budget")
INTEGERS = ("seed", "step", "steps", "total_bytes")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class ImportTerms:
    """What is said on the command line about a foreign table."""

    metric: str = ""
    """The compared column; empty: val_bpb, else val_loss."""
    goal: Literal["minimize", "maximize"] | None = None
    """None: what the file says, else minimize."""
    unit: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which column is which field, where its name does not say so."""
    knobs: Sequence[str] = ()
    """Columns that make a configuration, where none names it."""


@dataclass(frozen=True)
class ImportedRun:
    """One run, or one point of its learning curve."""

    row: Row
    """config, seed, status, knobs and the known columns; what is not known is left out."""
    step: int | None
    machine: str = ""
    block: str = ""
    """What a run shares with the one that was run next to it."""


@dataclass(frozen=True)
class ImportedRows:
    """The runs of a foreign table."""

    runs: Sequence[ImportedRun]
    """In the order of the file, one per configuration and seed: of a learning curve its last point."""
    curves: Mapping[tuple[str, int], Mapping[int, float]]
    """The metric by step, of each configuration and seed; empty without a column of steps."""
    knobs: tuple[str, ...]
    measure: Measure
    notes: Sequence[str]
    """What was left out, and what was taken for granted."""


def imported_rows(table: ForeignTable, terms: ImportTerms) -> ImportedRows:
    """The runs in a table. Raises ProblemsError with every complaint, each with row and column."""
    if not table.rows:
        raise UserError(f"{table.source} holds no rows")
    reader = _Reader(table, terms)
    runs = [run for run in map(reader.run_of, range(len(table.rows))) if run is not None]
    reader.demand_one_tokenizer()
    reader.demand_each_once(runs)
    reader.demand_shared_configurations(runs)
    if reader.problems:
        more = len(reader.problems) - MOST_PROBLEMS
        listed = [*reader.problems[:MOST_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])]
        raise ProblemsError(table.source, listed)
    return ImportedRows(_last_points(runs), _curves(runs, reader.metric), reader.knobs, reader.measure, reader.notes)


class _Reader:
    """Finds the columns of one table, then reads its rows one by one and collects what is wrong."""

    def __init__(self, table: ForeignTable, terms: ImportTerms):
        self.table, self.terms = table, terms
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.column_of = self._columns()
        self.metric, self.measure = self._metric()
        self.knobs = self._knobs()

    def _columns(self) -> dict[str, str]:
        """The column of each known field."""
        chosen: dict[str, str] = {}
        free = [name for name in self.table.columns if name not in self.table.ignored]
        for name, column in self.terms.columns.items():
            if name not in ALIASES:
                raise UserError(
                    f"--column {name}={column}: no field '{name}'{did_you_mean(name, ALIASES)}; known: "
                    f"{', '.join(ALIASES)}"
                )
            if column not in self.table.columns:
                raise UserError(f"--column {name}={column}: {self._no_column(column)}")
            chosen[name] = column
        for name, aliases in ALIASES.items():
            if name in chosen or (name == "config" and self._has_knobs):
                continue
            matching = [column for column in free if spelled(column) in aliases and column not in chosen.values()]
            plain = [column for column in matching if spelled(column) == name]
            if len(plain or matching) > 1 and name != "config":
                listed = " and ".join(f"'{column}'" for column in plain or matching)
                raise UserError(
                    f"{self.table.source}: columns {listed} may both be the {name}; say --column {name}=..."
                )
            if matching:
                chosen[name] = min(plain or matching, key=lambda column: aliases.index(spelled(column)))
        if "seed" not in chosen:
            raise UserError(
                f"{self.table.source}: row 1: no column 'seed'; columns: {', '.join(self.table.columns)}. Name the one "
                "that tells runs of a configuration apart: --column seed=COLUMN"
            )
        return chosen

    @property
    def _has_knobs(self) -> bool:
        """Whether knobs make the configuration; the name of a run of W&B or MLflow is that of one run alone."""
        return bool(self.terms.knobs) or self.table.kind in ("wandb", "mlflow")

    def _no_column(self, name: str) -> str:
        known = ", ".join(self.table.columns)
        return f"{self.table.source}: row 1: no column '{name}'{did_you_mean(name, self.table.columns)}; known: {known}"

    def _metric(self) -> tuple[str, Measure]:
        """The compared field or column, and how it is called."""
        scores = (name for name in ("val_bpb", "val_loss") if name in self.column_of)
        wanted = self.terms.metric or next(scores, self.table.metric)
        if not wanted:
            raise UserError(
                f"{self.table.source}: row 1: no column 'val_bpb' or 'val_loss'; columns: "
                f"{', '.join(self.table.columns)}. Name the compared one: --metric COLUMN (and --goal maximize where "
                "larger is better)"
            )
        if wanted not in self.column_of:
            matching = [column for column in self.table.columns if spelled(column) == spelled(wanted)]
            if not matching:
                raise UserError(f"--metric {wanted}: {self._no_column(wanted)}")
            taken = {column: name for name, column in self.column_of.items()}
            wanted = taken.get(matching[0], matching[0])
            self.column_of.setdefault(wanted, matching[0])
        unit = self.terms.unit or UNITS.get(wanted) or unit_of(wanted) or wanted
        return wanted, Measure(wanted, unit, (self.terms.goal or self.table.goal) == "maximize")

    def _knobs(self) -> tuple[str, ...]:
        """The columns that make a configuration, or that a named one holds constant."""
        taken = set(self.column_of.values())
        for knob in self.terms.knobs:
            if knob not in self.table.columns:
                raise UserError(f"--knobs {knob}: {self._no_column(knob)}")
        if self.terms.knobs:
            return tuple(self.terms.knobs)
        named = self.table.knobs if self.table.knobs is not None else self.table.columns
        rest = [name for name in named if name not in taken and name not in self.table.ignored]
        if "config" not in self.column_of:
            return tuple(rest)
        knobs = [name for name in rest if self._is_constant_within(name)]
        if left := [name for name in rest if name not in knobs]:
            self.notes.append(
                f"left out, since they differ between runs of one configuration: {', '.join(left)} (--knobs and "
                "--metric name columns)"
            )
        return tuple(knobs)

    def _is_constant_within(self, name: str) -> bool:
        seen: dict[Any, Any] = {}
        column = self.column_of["config"]
        return all(seen.setdefault(row.get(column), row.get(name)) == row.get(name) for row in self.table.rows)

    def _complain(self, number: int, column: str, what: str) -> None:
        self.problems.append(f"{self.table.places[number]}, column {column}: {what}")

    def run_of(self, number: int) -> ImportedRun | None:
        """The run of one row; None, and a complaint, where a cell is wrong."""
        cells, before = self.table.rows[number], len(self.problems)
        values = {name: self._value(number, name, cells) for name in self.column_of}
        status = self._status(number, values.get("status"))
        if values.get("seed") is None and before == len(self.problems):
            self._complain(number, self.column_of["seed"], "is empty; every run has a seed")
        knobs = {knob: _typed(cells[knob]) for knob in self.knobs if knob in cells}
        config = values.get("config") or ("" if "config" in self.column_of else _label(knobs))
        if not config:
            self._complain(number, self.column_of.get("config", ", ".join(self.knobs)), "names no configuration")
        if status == "done" and values.get(self.metric) is None and before == len(self.problems):
            column = self.column_of[self.metric]
            self._complain(number, column, "is empty; a run that has no score is given status = failed")
        if len(self.problems) > before:
            return None
        row: Row = {name: value for name, value in values.items() if value is not None and name in COLUMN_TYPES}
        row |= {"config": config, "status": status, "legal": values.get("legal", True)}
        row |= {"within_budget": values.get("within_budget", True)}
        if self.metric not in COLUMN_TYPES and values.get(self.metric) is not None:
            row[self.metric] = values[self.metric]
        machine, block = (str(values.get(name) or "") for name in ("machine", "block"))
        return ImportedRun(row | knobs, values.get("step"), machine, block)

    def _value(self, number: int, name: str, cells: Cells) -> Any:
        column = self.column_of[name]
        cell = cells.get(column)
        if cell is None:
            return None
        if name in TEXTS:
            return str(cell)
        if name in BOOLEANS:
            word = str(cell).lower()
            if word not in (*TRUE, *FALSE):
                self._complain(number, column, f"= {cell!r} is neither true nor false")
            return word in TRUE
        value = _number(cell)
        if value is None:
            comma = DECIMAL_COMMA.fullmatch(str(cell))
            hint = f"; with a point it is {cell.replace(',', '.')}" if comma else ""
            self._complain(number, column, f"= {cell!r} is no number{hint}")
        elif name in INTEGERS:
            if not value.is_integer():
                self._complain(number, column, f"= {cell!r} is no whole number")
                return None
            return int(value)
        return value

    def _status(self, number: int, cell: str | None) -> str:
        status = STATUSES.get((cell or "done").lower())
        if status is None:
            known = ", ".join(STATUSES)
            self._complain(number, self.column_of["status"], f"= {cell!r} is no status; known: {known}")
        return status or "failed"

    def demand_one_tokenizer(self) -> None:
        """Nats are per token, so runs of several tokenizers do not compare in them."""
        if self.metric != "val_loss":
            return
        remedy = "nats are per token, so tokenizers do not compare in them; use --metric val_bpb"
        first: tuple[float, str] | None = None
        words: tuple[str, str] | None = None
        for number, cells in enumerate(self.table.rows):
            place, word = self.table.places[number], str(cells.get(self.column_of.get("tokenizer", ""), ""))
            if word and words and word != words[0]:
                self._complain(
                    number, self.column_of["tokenizer"], f"= {word!r}, {words[1]} has {words[0]!r}: {remedy}"
                )
                return
            words = words or ((word, place) if word else None)
            loss, bpb = (_number(cells.get(self.column_of.get(name, ""))) for name in ("val_loss", "val_bpb"))
            if not loss or not bpb or not math.isfinite(loss * bpb):
                continue
            density = bpb * math.log(2) / loss
            if first and not math.isclose(density, first[0], rel_tol=SAME_TOKENIZER):
                said = f"has {density:.4f} tokens per byte, {first[1]} has {first[0]:.4f}: {remedy}"
                self._complain(number, self.column_of["val_loss"], said)
                return
            first = first or (density, place)

    def demand_each_once(self, runs: Sequence[ImportedRun]) -> None:
        """A configuration and seed, at one step, has one row."""
        if len(runs) < len(self.table.rows):
            return
        first: dict[tuple[Any, ...], str] = {}
        for number, run in enumerate(runs):
            key = run.row["config"], run.row["seed"], run.step
            place = self.table.places[number]
            if key in first:
                step = "" if run.step is None else f" at step {run.step}"
                self._complain(
                    number,
                    self.column_of["seed"],
                    f"configuration '{key[0]}' has seed {key[1]}{step} twice, first at {first[key]}; one seed run "
                    "twice is one piece of evidence: keep one, or give the rerun a configuration of its own",
                )
            first.setdefault(key, place)

    def demand_shared_configurations(self, runs: Sequence[ImportedRun]) -> None:
        """Where knobs make the configuration, a column that differs in every row makes each run one of its own."""
        if self.problems or "config" in self.column_of or len(runs) < 3:
            return
        configs = Counter((run.row["config"], run.step) for run in runs)
        apart = [knob for knob in self.knobs if len({str(run.row.get(knob)) for run in runs}) == len(runs)]
        if max(configs.values()) == 1 and apart:
            self._complain(
                0, apart[0], f"differs in every row, so no two runs share a configuration; say --knobs without "
                f"{', '.join(apart)}"
            )  # fmt: skip


def _number(cell: Any) -> float | None:
    if isinstance(cell, bool):
        return None
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def _typed(cell: Any) -> Any:
    """A knob as a number or a switch where its text reads as one."""
    if not isinstance(cell, str):
        return cell.item() if hasattr(cell, "item") else cell
    if cell.lower() in ("true", "false"):
        return cell.lower() == "true"
    number = _number(cell)
    if number is None or not math.isfinite(number):
        return cell
    return int(cell) if cell.lstrip("+-").isdecimal() else number


def _label(knobs: Mapping[str, Any]) -> str:
    """'lr=0.01,epochs=3'"""
    return ",".join(f"{name}={value}" for name, value in knobs.items())


def _last_points(runs: Sequence[ImportedRun]) -> list[ImportedRun]:
    last: dict[tuple[str, int], ImportedRun] = {}
    for run in runs:
        key = run.row["config"], run.row["seed"]
        if key not in last or (run.step or 0) > (last[key].step or 0):
            last[key] = run
    return list(last.values())


def _curves(runs: Sequence[ImportedRun], metric: str) -> dict[tuple[str, int], dict[int, float]]:
    curves: dict[tuple[str, int], dict[int, float]] = {}
    for run in _with_steps(runs):
        if run.step is not None and metric in run.row:
            curves.setdefault((run.row["config"], run.row["seed"]), {})[run.step] = run.row[metric]
    return curves


def _with_steps(runs: Sequence[ImportedRun]) -> Iterator[ImportedRun]:
    return (run for run in runs if run.step is not None)
