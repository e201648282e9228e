"""An Optuna study on disk as a foreign table: its journal, or its SQLite file. A trial is a configuration of one run.

The file is copied before Optuna opens it, so nothing is written beside somebody's study.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.rows.foreign_files import SQLITE, Cells, ForeignTable
from trainer.spec.errors import UserError

if TYPE_CHECKING:
    import optuna

VALUE = "value"
"""The column of the objective, where the study does not name it."""


def read_optuna(path: Path) -> ForeignTable:
    """The trials of a study; their parameters are knobs. Raises UserError for a file of another kind."""
    import optuna  # late: slow to import, and only such a file needs it

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="fairway-") as folder:
        copy = Path(shutil.copy(path, folder))
        try:
            storage = _storage(copy)
            names = sorted(optuna.study.get_all_study_names(storage))
            studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
            read = [(study.directions, study.metric_names, study.get_trials()) for study in studies]
        except Exception as fault:  # SQLAlchemy's, Optuna's and JSON's, which share no class
            raise UserError(f"{path}: holds no study of Optuna: {_first_line(fault)}") from None
    if len(read) != 1:
        raise UserError(f"{path}: holds {len(read)} studies ({', '.join(names)}); optuna.copy_study gives each a file")
    ((directions, metric_names, trials),) = read
    if len(directions) > 1:
        raise UserError(f"{path}: study {names[0]} has {len(directions)} objectives, and one is read")
    metric = (metric_names or [VALUE])[0]
    rows = [row for trial in trials if (row := _row(trial, metric)) is not None]
    return ForeignTable(
        source=str(path),
        kind="optuna",
        rows=rows,
        places=[f"{path}: {row['config']}" for row in rows],
        columns=tuple(dict.fromkeys(("config", "seed", "status", metric, *(name for row in rows for name in row)))),
        knobs=tuple(dict.fromkeys(key for trial in trials for key in trial.params)),
        metric=metric,
        goal="maximize" if directions[0].name == "MAXIMIZE" else "minimize",
    )


def _storage(path: Path) -> Any:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if path.suffix.lower() in SQLITE:
        return RDBStorage(f"sqlite:///{path}", skip_table_creation=True)
    return JournalStorage(JournalFileBackend(str(path)))


def _row(trial: optuna.trial.FrozenTrial, metric: str) -> Cells | None:
    """One trial; None for one that was never run. A pruned one has no score of its whole schedule, so it failed."""
    state = trial.state.name.lower()
    if state == "waiting":
        return None
    status = {"complete": "done", "running": "running"}.get(state, "failed")
    score = {metric: trial.value} if status == "done" and trial.value is not None else {}
    return {"config": f"trial-{trial.number}", "seed": 0, "status": status, **score, **trial.params}


def _first_line(fault: Exception) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]
