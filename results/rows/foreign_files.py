"""Tables that other programs wrote, as rows of plain cells with their places: CSV, JSON lines, JSON, Parquet.

Exports of W&B and MLflow and the contest's `submission.json` files are turned into the same form: what they call a
parameter is a knob, what they call a metric is a measured column. Nothing is checked here but that a file can be read;
`imported_rows` says which cells make a run.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.spec.errors import UserError
from trainer.spec.json_text import parse_json

Kind = Literal["table", "wandb", "mlflow", "submission", "optuna"]
Cells = dict[str, Any]

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
SQLITE = (".db", ".sqlite", ".sqlite3")
JOURNAL = (".journal", ".log")
"""Of a study of Optuna."""
DELIMITERS = ",;\t|"
WANDB_COLUMNS = frozenset(
    [
        "name",
        "state",
        "notes",
        "user",
        "tags",
        "created",
        "runtime",
        "sweep",
        "hostname",
        "id",
        "end_time",
        "updated",
        "group",
        "job_type",
        "_timestamp",
        "_runtime",
        "_step",
        "_wandb",
        "commit",
        "github",
        "gpu_count",
        "gpu_type",
        "cpu_count",
        "command",
        "os",
        "python_version",
    ]
)
"""What a run of W&B is known by: neither knob nor metric."""
MLFLOW_COLUMNS = frozenset(
    [
        "run_id",
        "run_name",
        "experiment_id",
        "artifact_uri",
        "start_time",
        "end_time",
        "status",
        "duration",
        "name",
        "source_type",
        "source_name",
        "source_version",
        "user",
        "models",
        "version",
    ]
)
"""The same of MLflow."""


@dataclass(frozen=True)
class ForeignTable:
    """The rows of one file, or of several of the same kind."""

    source: str
    kind: Kind
    rows: Sequence[Cells]
    """Cells by column as they were read: text from CSV, values with types from the other forms; empty ones left out."""
    places: Sequence[str]
    """Where each row stands: 'FILE: row 5'."""
    columns: tuple[str, ...]
    """In the order of the file."""
    knobs: tuple[str, ...] | None = None
    """Columns that make a configuration, where the file says so."""
    ignored: tuple[str, ...] = ()
    """Columns that are neither knob nor metric."""
    metric: str = ""
    """The compared column, where the file says so."""
    goal: Literal["minimize", "maximize"] | None = None
    """Which way is better, where the file says so."""


def read_foreign(path: Path) -> ForeignTable:
    """The table in a file, or in the `submission.json` of a folder. Raises UserError naming file and line."""
    if path.is_dir():
        inside = path / "submission.json"
        if not inside.is_file():
            raise UserError(f"{path} is a folder without a submission.json; name a file")
        return read_foreign(inside)
    if not path.is_file():
        raise UserError(f"{path}: there is no such file")
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise UserError(
            f"{path}: ending {ending or 'none'} is not known; known: {', '.join((*ENDINGS, *JOURNAL, *SQLITE))}"
        )
    if ending == ".parquet":
        return _recognised(str(path), *_parquet(path))
    text = _text_of(path)
    if ending in (".csv", ".tsv"):
        return _recognised(str(path), *_csv(str(path), text))
    if ending in (".jsonl", ".ndjson"):
        return _recognised(str(path), *_json_lines(str(path), text))
    return _of_json(path, text)


def joined(tables: Sequence[ForeignTable]) -> ForeignTable:
    """Several files as one table. Raises UserError where they are of different kinds."""
    first = tables[0]
    if odd := [table for table in tables if table.kind != first.kind]:
        raise UserError(f"{odd[0].source} is a {odd[0].kind}, {first.source} a {first.kind}; import them one by one")
    knobs = [knob for table in tables for knob in table.knobs or ()]
    return ForeignTable(
        source=", ".join(table.source for table in tables),
        kind=first.kind,
        rows=[row for table in tables for row in table.rows],
        places=[place for table in tables for place in table.places],
        columns=tuple(dict.fromkeys(column for table in tables for column in table.columns)),
        knobs=None if first.knobs is None else tuple(dict.fromkeys(knobs)),
        ignored=tuple(dict.fromkeys(column for table in tables for column in table.ignored)),
        metric=first.metric,
        goal=first.goal,
    )


def _text_of(path: Path) -> str:
    content = path.read_bytes()
    if (zero := content.find(0)) >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise UserError(f"{path}: line {line} holds a zero byte, so it is damaged, or no UTF-8 text; export it again")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text: byte {error.start} is {content[error.start]:#x}") from None


Read = tuple[list[Cells], list[str], tuple[str, ...]]
"""Rows, their places, and the columns in the order of the file."""


def _csv(source: str, text: str) -> Read:
    header = text.splitlines()[0] if text.strip() else ""
    if not header:
        raise UserError(f"{source}: row 1 is empty; the names of the columns are expected there")
    reader = csv.reader(io.StringIO(text), delimiter=max(DELIMITERS, key=header.count))
    columns = [name.strip() for name in next(reader)]
    if doubled := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise UserError(f"{source}: row 1 names column '{doubled[0]}' twice")
    rows, places, number = [], [], 1
    for cells in reader:
        number += 1
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise UserError(f"{source}: row {number} has {len(cells)} cells, row 1 names {len(columns)} columns")
        rows.append({name: cell.strip() for name, cell in zip(columns, cells, strict=True) if cell.strip()})
        places.append(f"{source}: row {number}")
    return rows, places, tuple(columns)


def _json_lines(source: str, text: str) -> Read:
    rows, places = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            raise UserError(f"{source}: row {number} is no JSON") from None
        rows.append(_flat(row, f"{source}: row {number}"))
        places.append(f"{source}: row {number}")
    return rows, places, _columns_of(rows)


def _parquet(path: Path) -> Read:
    import pandas as pd  # late: only this form needs it here

    try:
        frame = pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is no Parquet file: {str(error).splitlines()[0]}") from None
    rows = [{str(name): cell for name, cell in row.items() if _is_filled(cell)} for row in frame.to_dict("records")]
    return rows, [f"{path}: row {number}" for number in range(1, len(rows) + 1)], tuple(map(str, frame.columns))


def _is_filled(cell: Any) -> bool:
    return cell is not None and cell == cell  # NaN is unequal to itself


def _of_json(path: Path, text: str) -> ForeignTable:
    source = str(path)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise UserError(f"{source}: is no JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("runs"), list):
        return _of_list(source, [_of_mlflow_rest(run) for run in content["runs"]])
    if isinstance(content, list):
        return _of_list(source, content)
    if isinstance(content, dict) and {"seed_results", "val_bpb", "val_loss"} & content.keys():
        return _of_submission(path, content)
    raise UserError(f"{source}: holds neither a list of rows, nor runs of MLflow, nor a submission with seed_results")


def _of_list(source: str, content: Sequence[Any]) -> ForeignTable:
    places = [f"{source}: row {number}" for number in range(1, len(content) + 1)]
    rows = [_flat(row, place) for row, place in zip(content, places, strict=True)]
    return _recognised(source, rows, places, _columns_of(rows))


def _of_mlflow_rest(run: Any) -> Any:
    """A run as MLflow's REST interface gives it, in the names of its table."""
    if not isinstance(run, Mapping) or not isinstance(run.get("data"), Mapping):
        return run
    cells: Cells = {"run_id": run.get("info", {}).get("run_id"), "status": run.get("info", {}).get("status")}
    for what in ("metrics", "params"):
        cells |= {f"{what}.{item['key']}": item["value"] for item in run["data"].get(what, ())}
    return cells


def _flat(row: Any, place: str) -> Cells:
    if not isinstance(row, Mapping):
        raise UserError(f"{place} is {type(row).__name__}, and a row is a JSON object")
    return dict(_leaves(row, ""))


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys; W&B's {"value": 3, "desc": null} is 3."""
    for key, value in node.items():
        if isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "desc"}:
            value = value["value"]
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        elif _is_filled(value):
            yield f"{prefix}{key}", json.dumps(value) if isinstance(value, list) else value


def _columns_of(rows: Sequence[Cells]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for row in rows for column in row))


PREFIXES: Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mlflow": (("params.",), ("metrics.",)),
    "wandb": (("config.",), ("summary.", "summary_metrics.", "summaryMetrics.")),
}
"""What the columns of knobs and of metrics begin with."""


def _recognised(source: str, rows: list[Cells], places: list[str], columns: tuple[str, ...]) -> ForeignTable:
    """The table, with the prefixes of W&B and MLflow taken off."""
    for kind, (of_knobs, of_metrics) in PREFIXES.items():
        if any(column.startswith(of_metrics) for column in columns):
            return _without_prefixes(source, kind, rows, places, columns, of_knobs, of_metrics)
    folded = {spelled(column) for column in columns}
    if {"name", "state"} <= folded and folded & {"runtime", "created"}:
        return ForeignTable(source, "wandb", rows, places, columns, None, _known(columns, WANDB_COLUMNS))
    if {"run_id", "source_name"} <= folded:
        return ForeignTable(source, "mlflow", rows, places, columns, None, _known(columns, MLFLOW_COLUMNS))
    return ForeignTable(source, "table", rows, places, columns)


def _known(columns: Sequence[str], known: frozenset[str]) -> tuple[str, ...]:
    kept = ("state", "status")
    return tuple(name for name in columns if spelled(name) in known and spelled(name) not in kept)


def _without_prefixes(
    source: str,
    kind: Kind,
    rows: list[Cells],
    places: list[str],
    columns: tuple[str, ...],
    of_knobs: tuple[str, ...],
    of_metrics: tuple[str, ...],
) -> ForeignTable:
    names: dict[str, str] = {}
    knobs, ignored = [], []
    for column in columns:
        short = re.sub(rf"^(?:{'|'.join(map(re.escape, (*of_knobs, *of_metrics)))})", "", column)
        is_knob, is_metric = column.startswith(of_knobs), column.startswith(of_metrics)
        names[column] = short if short not in names.values() else column
        if is_knob and not short.startswith("_"):
            knobs.append(names[column])
        elif not is_metric and spelled(column) not in ("state", "status"):
            ignored.append(names[column])
    renamed = [{names[column]: cell for column, cell in row.items()} for row in rows]
    return ForeignTable(source, kind, renamed, places, tuple(names.values()), tuple(knobs), tuple(ignored))


def spelled(column: str) -> str:
    """A column's name with the differences of spelling taken out: 'Val/Loss' and 'val loss' are 'val_loss'."""
    return re.sub(r"[\s/.\-]+", "_", column.strip().lower()).strip("_")


def _of_submission(path: Path, content: Mapping[str, Any]) -> ForeignTable:
    """One row for each seed of a contest entry; its configuration is the folder it lies in, or its name.

    Seeds that are only listed under `seed_results_all_runs_disclosure` were run too, so they count: choosing the best
    of all runs is for the reader to see, not to inherit.
    """
    source = str(path)
    name = path.parent.name if path.name == "submission.json" and path.parent.name else str(content.get("name", path))
    by_seed = content.get("seed_results")
    if not isinstance(by_seed, Mapping) or not by_seed:
        raise UserError(
            f"{source}: column seed: no seed_results, so there is one mean and no runs; import the scores of its logs"
        )
    results: dict[str, Cells] = {}
    for seed, scores in by_seed.items():
        results[str(seed)] = dict(scores) if isinstance(scores, Mapping) else {"val_bpb": scores}
    disclosed = content.get("seed_results_all_runs_disclosure")
    if isinstance(disclosed, Mapping):
        for key, scores in disclosed.items():
            if key.endswith("val_bpb") and isinstance(scores, Mapping):
                for seed, score in scores.items():
                    results.setdefault(str(seed), {"val_bpb": score, "disclosed": True})
    rows = [{"config": name, "seed": seed.removeprefix("seed_"), **scores} for seed, scores in results.items()]
    places = [f"{source}: seed {row['seed']}" for row in rows]
    return ForeignTable(source, "submission", rows, places, _columns_of(rows), knobs=())
