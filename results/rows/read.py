"""The rows of a sweep as a table, read from its folder at any time, also while the sweep runs.

Records appear whole or not at all; a file that cannot be read all the same is left out and named in
`frame.attrs['unreadable']`. Nothing here writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import from_json

from results.rows.columns import COLUMN_TYPES, MEASURED, ColumnType, columns
from results.rows.kept import KeptWhileUnchanged
from results.rows.layout import DRIFTED, RUNS, SHORT
from results.rows.row import Row, row_of
from trainer.spec.checked_json import ChecksumDiffers, without_checksum
from trainer.spec.errors import StoreError
from trainer.spec.record import split_run_id
from trainer.store.unreadable import listed_names

if TYPE_CHECKING:
    import pandas as pd  # late below: `list` and `status` import this module and make no table

DTYPES: Mapping[ColumnType, str] = {"text": "str", "integer": "Int64", "number": "float64", "boolean": "boolean"}

AGAIN = "resume the sweep to have it made again from its stages"
"""What to do about a record that does not hold what was written."""
OUTCOME_COLUMNS = ("run_id", "config", "seed", "stage", "fingerprint", "seconds", "computed", "gpus")
T = TypeVar("T")
_ROWS = KeptWhileUnchanged["_Rows"]()


def read_rows(
    sweep_folder: Path, swept_keys: Sequence[str], config_order: Sequence[str] = (), measured: Sequence[str] = ()
) -> pd.DataFrame:
    """One row per record in `sweep_folder`/runs, and one with status 'drifted' for each that was set aside.

    config_order:  configurations as they were asked; those it does not name follow by name. Seeds ascend.
    measured:      numbers of a program that are none of our columns
    Raises StoreError when there is no such sweep; one without records yet is an empty table.
    """
    known = _known(sweep_folder, swept_keys)
    layout = tuple(config_order), tuple(measured)
    if layout not in known.frames:
        known.frames[layout] = frame_of(known.rows, swept_keys, config_order, measured)
    frame = known.frames[layout].copy(deep=False)
    frame.attrs["unreadable"] = list(known.unreadable)
    return frame


def plain_rows(sweep_folder: Path, swept_keys: Sequence[str]) -> tuple[Sequence[Row], Sequence[str]]:
    """The rows of `read_rows` as they are, in no order, and a line for each record that cannot be read: no pandas."""
    known = _known(sweep_folder, swept_keys)
    return known.rows, known.unreadable


def _known(sweep_folder: Path, swept_keys: Sequence[str]) -> _Rows:
    if not sweep_folder.is_dir():
        raise StoreError(f"{sweep_folder}: no such sweep; `orchestrator list` shows those there are")
    paths = record_files(sweep_folder, RUNS, DRIFTED)

    def read() -> _Rows:
        return _Rows(*gathered(paths, lambda record: row_of(record, sweep_folder.name, swept_keys)))

    return _ROWS.get((os.path.abspath(sweep_folder), tuple(swept_keys)), paths, read)  # noqa: PTH100  no Path at all


@dataclass
class _Rows:
    """What was read of a sweep's records, and the tables made of it so far."""

    rows: list[Row]
    unreadable: list[str]
    frames: dict[object, pd.DataFrame] = field(default_factory=dict)
    """By the order of their configurations and their further columns."""


def read_outcomes(sweep_folder: Path) -> pd.DataFrame:
    """One row per run and stage: run_id, config, seed, stage, fingerprint, seconds, computed, gpus.

    `seconds` are those of the computation, by whichever run. `computed`: whether it was this run; else another one, or
    an earlier sweep. `gpus` is how many the run held. Short runs before full ones are no rows of the table, but they
    cost, so they are among these. Records that cannot be read are left out, as in `read_rows`.
    """
    import pandas as pd  # late, see above

    read, _ = gathered(record_files(sweep_folder, RUNS, SHORT), _outcomes_of)
    return pd.DataFrame([outcome for outcomes in read for outcome in outcomes], columns=list(OUTCOME_COLUMNS))


def _outcomes_of(record: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    run_id, computed = record["run_id"], set(record["stages_run"])
    identity = run_id, *split_run_id(run_id)
    gpus = 0 if record["hardware"].startswith("CPU") else record["num_ranks"]
    return [
        (*identity, stage, outcome["fingerprint"], outcome["seconds"], stage in computed, gpus)
        for stage, outcome in record["stages"].items()
    ]


def gathered(paths: Sequence[str], read: Callable[[Mapping[str, Any]], T]) -> tuple[list[T], list[str]]:
    """What `read` makes of each record, and a line for each record it could make nothing of."""
    read_values: list[T] = []
    unreadable: list[str] = []
    for path in paths:
        try:
            with open(path, "rb") as file:  # noqa: PTH123  a Path each doubles the time of 10,000 records
                body, _ = without_checksum(file.read())
            record = from_json(body)
            _demand_own(path, record["run_id"])
            read_values.append(read(record))
        except FileNotFoundError:
            continue  # it was set aside since the folder was listed
        except OSError as fault:
            unreadable.append(f"{path}: cannot be read ({fault.strerror})")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            unreadable.append(f"{path}: {_reason(error)}")
    return read_values, unreadable


def _demand_own(path: str, run_id: str) -> None:
    """Raises ValueError for the record of another run; the name of one that was set aside goes on with a time."""
    name = path[path.rfind("/") + 1 : -len(".json")]
    if name != run_id and not name.startswith(f"{run_id}-"):
        raise ChecksumDiffers(f"holds the record of run {run_id}")


def _reason(error: Exception) -> str:
    reason = str(error) if isinstance(error, ChecksumDiffers) else "is no record of this version"
    return f"{reason}; {AGAIN}"


def record_files(sweep_folder: Path, *folders: str) -> list[str]:
    """The records in these folders of a sweep, each folder's in order of their names."""
    within = [(f"{sweep_folder / folder}/", listed_names(sweep_folder / folder, ".json")) for folder in folders]
    return [parent + name for parent, names in within for name in names]


def frame_of(
    rows: Sequence[Row], swept_keys: Sequence[str], config_order: Sequence[str] = (), measured: Sequence[str] = ()
) -> pd.DataFrame:
    """Rows as a table with the types of their columns, in the order of `read_rows`."""
    import pandas as pd  # late, see above

    place = {config: position for position, config in enumerate(config_order)}
    ordered = sorted(rows, key=lambda row: (place.get(row["config"], len(place)), row["config"], row["seed"]))
    cells = {name: _column(ordered, name) for name in columns(swept_keys)}
    cells |= {name: pd.Series([row.get(name) for row in ordered], dtype="float64") for name in measured}
    frame = pd.DataFrame({name: cells[name] for name in columns(swept_keys, measured)})
    frame.attrs[MEASURED] = tuple(measured)
    return frame


def _column(rows: Sequence[Row], name: str) -> pd.Series[Any]:
    import pandas as pd  # late, see above

    cells = [row[name] for row in rows]
    if name in COLUMN_TYPES:
        return pd.Series(cells, dtype=DTYPES[COLUMN_TYPES[name]])
    return pd.Series(cells) if cells else pd.Series(cells, dtype="object")
