"""A sweep of anybody's runs: read from a foreign table once, kept in one file, never run or changed.

    STORE/sweeps/NAME/import.jsonl   how its rows are judged, then one line per run and per point of a learning curve

It has neither search space nor journal, so `find_sweep` does not know it; `find_import` does. Nothing was declared
before its runs, and the seed ledger has none of them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.sweep.sharing import fetch_sweeps
from results.rows.foreign_files import JOURNAL as JOURNAL_FILES
from results.rows.foreign_files import SQLITE, ForeignTable, joined, read_foreign
from results.rows.imported_rows import ImportedRows, ImportTerms, imported_rows
from results.rows.layout import IMPORT_FILE, JOURNAL, import_names, is_import, sweep_folder
from results.rows.lines import checked_lines, lines_with_checksums
from results.rows.optuna_files import read_optuna
from results.rows.ranking import Measure, Ranking
from results.rows.read import frame_of
from results.rows.row import Row, unfinished_row
from results.verdicts.terms import Blocks
from trainer.spec.errors import StoreError, UserError, did_you_mean
from trainer.spec.record import NAME_PATTERN, now
from trainer.store.atomic_write import write_once
from trainer.store.mirror import publish_file_once, store_name, store_option

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
ANEW = "delete it, then import its files anew"
READ_ONLY = "table, compare, report, plan, reproduce and first-step read it"


@dataclass(frozen=True)
class ImportHeader:
    """How the rows of an import are judged, and where they came from."""

    metric: str
    unit: str
    goal: Literal["minimize", "maximize"]
    baseline: str
    """The configuration that others are compared with."""
    blocks: Blocks
    """What pairs runs, as it was said at the import."""
    knobs: tuple[str, ...]
    sources: tuple[tuple[str, str], ...]
    """File and SHA-256 of each."""
    notes: tuple[str, ...] = ()
    """What was left out."""
    preset: str = ""
    """The preset whose runs these are, so that plans of it take their spread."""
    description: str = ""
    command: str = ""
    """The command that imports it again."""
    created_at: str = ""
    format: int = FORMAT
    num_lines: int = 0
    """Of the file, this one not counted; 0 where an earlier version wrote it."""


@dataclass(frozen=True)
class ImportedSweep:
    """The runs of an import, as tables, verdicts, figures and reports take them."""

    name: str
    folder: Path
    header: ImportHeader
    rows: Sequence[Row]
    machine_of: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Where it is known, by configuration and seed."""
    block_of: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """The runs that were run next to each other."""
    curves: Mapping[tuple[str, int], Mapping[int, float]] = field(default_factory=dict)
    """The metric by step, of each configuration and seed."""

    @property
    def store(self) -> Path:
        """The store that it lies in."""
        return self.folder.parents[1]

    @property
    def measure(self) -> Measure:
        """The number that is compared."""
        return Measure(self.header.metric, self.header.unit, self.header.goal == "maximize")

    @property
    def ranking(self) -> Ranking:
        """By that number; nothing was declared, so each configuration stands with the seeds it has."""
        measure = self.measure
        return Ranking(
            metric=measure.column,
            higher_first=measure.higher_first,
            baseline=self.header.baseline,
            own_seeds=True,
            given_unit="" if measure.unit == measure.column else measure.unit,
        )

    @property
    def configs(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(row["config"] for row in self.rows))

    @property
    def frame(self) -> pd.DataFrame:
        """One row per run, with a column for the metric where it is none of the known ones."""
        import pandas as pd  # late: `list` and `status` import this module and make no table

        full = [unfinished_row(self.name, "", 0, "done", dict.fromkeys(self.header.knobs)) | row for row in self.rows]
        table = frame_of(full, self.header.knobs, self.configs)
        metric = self.header.metric
        if metric not in table:
            ordered = {(row["config"], row["seed"]): row.get(metric) for row in self.rows}
            keys = zip(table["config"], table["seed"], strict=True)
            table[metric] = pd.Series([ordered[config, seed] for config, seed in keys], dtype="float64")
        return table

    def command(self, verb: str, *options: str) -> str:
        """The command line, to be pasted, that does this with it."""
        return " ".join(["orchestrator", verb, self.name, *options]) + store_option(self.store)


def read_files(paths: Sequence[Path], terms: ImportTerms) -> ImportedRows:
    """The runs in these files. Raises UserError naming row and column of what is wrong."""
    return imported_rows(joined([_table_in(path) for path in paths]), terms)


def _table_in(path: Path) -> ForeignTable:
    study = path.is_file() and path.suffix.lower() in (*SQLITE, *JOURNAL_FILES)
    return read_optuna(path) if study else read_foreign(path)


def write_import(
    store: Path,
    name: str,
    paths: Sequence[Path],
    read: ImportedRows,
    *,
    baseline: str | None = None,
    blocks: Blocks = "artifact",
    preset: str = "",
    description: str = "",
    command: str = "",
) -> ImportedSweep:
    """Keeps the runs under a name; importing the same again changes nothing.

    Raises UserError for a baseline that is not among them, StoreError for a name that is taken.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise StoreError(f"'{name}' cannot name a sweep: it names a folder; use letters, digits, '.', '_' or '-'")
    configs = list(dict.fromkeys(str(run.row["config"]) for run in read.runs))
    if baseline is not None and baseline not in configs:
        raise UserError(f"--baseline {baseline} is no configuration of the file{did_you_mean(baseline, configs)}")
    header = ImportHeader(
        metric=read.measure.column,
        unit=read.measure.unit,
        goal="maximize" if read.measure.higher_first else "minimize",
        baseline=baseline or configs[0],
        blocks=blocks,
        knobs=read.knobs,
        sources=tuple((path.name, _sha256(path)) for path in paths),
        notes=tuple(read.notes),
        preset=preset,
        description=description,
        command=command,
        created_at=now(),
        num_lines=len(read.runs) + len(read.curves),
    )
    folder = sweep_folder(store, name)
    fetch_sweeps(store)
    if (folder / JOURNAL).exists():
        raise StoreError(f"{store_name(store)}: sweep '{name}' exists and was run here; choose another --name")
    path = folder / IMPORT_FILE
    if write_once(path, _as_lines(header, read)):
        path.chmod(0o444)
        publish_file_once(path)
    kept = _read(folder)
    if _without_time(kept.header) != _without_time(header) or len(kept.rows) != len(read.runs):
        raise StoreError(f"{store_name(store)}: '{name}' is an import of other rows or terms; choose another --name")
    return kept


def _sha256(path: Path) -> str:
    file = path / "submission.json" if path.is_dir() else path
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _without_time(header: ImportHeader) -> dict[str, Any]:
    beside = ("created_at", "command", "num_lines")
    return {name: value for name, value in asdict(header).items() if name not in beside}


def _as_lines(header: ImportHeader, read: ImportedRows) -> bytes:
    lines = [asdict(header)]
    for run in read.runs:
        beside = {name: value for name, value in (("machine", run.machine), ("block", run.block)) if value}
        lines.append({"row": run.row, **beside})
    for (config, seed), points in read.curves.items():
        lines.append({"curve": [config, seed], "points": sorted(points.items())})
    return lines_with_checksums(lines)


def find_import(store: Path, name: str) -> ImportedSweep | None:
    """The import of this name, or None where there is none."""
    fetch_sweeps(store)
    folder = sweep_folder(store, name)
    return _read(folder) if is_import(store, name) else None


def list_imports(store: Path) -> list[ImportedSweep]:
    """All imports of a store, oldest first."""
    fetch_sweeps(store)
    folders = (sweep_folder(store, name) for name in import_names(store))
    return sorted(map(_read, folders), key=lambda one: (one.header.created_at, one.name))


def _read(folder: Path) -> ImportedSweep:
    path = folder / IMPORT_FILE
    try:
        first, *lines = checked_lines(path, ANEW)
        header = ImportHeader(
            **{name: tuple(value) if isinstance(value, list) else value for name, value in first.items()}
            | {"sources": tuple((file, digest) for file, digest in first["sources"])}
        )
    except StoreError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path}: is damaged ({str(error).splitlines()[0]}); {ANEW}") from None
    if len(lines) < header.num_lines:
        raise StoreError(f"{path}: {header.num_lines} lines were written, {len(lines)} are there; {ANEW}")
    runs = [line for line in lines if "row" in line]
    keys = [(run["row"]["config"], run["row"]["seed"]) for run in runs]
    return ImportedSweep(
        name=folder.name,
        folder=folder,
        header=header,
        rows=[run["row"] for run in runs],
        machine_of={key: run["machine"] for key, run in zip(keys, runs, strict=True) if "machine" in run},
        block_of={key: run["block"] for key, run in zip(keys, runs, strict=True) if "block" in run},
        curves={
            (line["curve"][0], line["curve"][1]): {int(step): float(value) for step, value in line["points"]}
            for line in lines
            if "curve" in line
        },
    )
