"""Names on disk: a store's sweeps, and the files and folders of a sweep. The only module that spells them.

    STORE/sweeps/NAME/...

Files at the root of a store, and those that a stage leaves, are named where they are written.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from trainer.spec.record import NAME_PATTERN
from trainer.store.unreadable import listed

SWEEPS = "sweeps"
"""Folder of a store that holds a folder for each sweep."""

JOURNAL = "journal.jsonl"
"""The search space resolved, then each configuration in the order it was asked; only ever appended to."""
SPACE_FILE = "space.yaml"
"""The search space as people wrote it."""
PLAN_FILE = "plan.json"
"""What the sweep was expected to cost before its first run."""
MACHINES = "machines.jsonl"
"""Notes on machines; only ever appended to."""
PREFLIGHT_FILE = "preflight.json"
"""What the check before the first run found."""
LIVE_FILE = "live.json"
"""The picture of the moment, for other terminals."""
STUDY_FILE = "optuna.journal"
"""The sweep as an Optuna study, for `optuna-dashboard`."""
RAY_LOG = "ray.log"
"""What Ray and its workers print while the sweep runs."""
DRIVER_LOCK, DRIVER_PID = "driver.lock", "driver.pid"
"""Held by the process that drives the sweep, and which one that is."""

RUNS, SHORT = "runs", "short"
"""Folders of records: of the runs of its table, and of short runs, which steer its search."""
FAILED, DRIFTED, DRIFTED_SHORT = "failed", "drifted", "drifted-short"
"""Folders of records that were set aside, their runs to be done again."""
FIGURES, SCORES_FIGURE, CURVES_FIGURE = "figures", "scores.png", "curves.png"
"""Folder of drawings, the one drawn at the end of a sweep, and the learning curves."""
REPORT_PAGE = "report.html"
TRACKING = "tracking"
"""Folder of TensorBoard's event files, and of what W&B keeps for a later `wandb sync`."""

GROWING_FILES = (JOURNAL, MACHINES)
"""Files that are only ever appended to."""
IMPORT_FILE = "import.jsonl"
"""Runs that were imported, in place of a journal and records; written once."""
SHARED_FILES = (*GROWING_FILES, SPACE_FILE, PLAN_FILE, IMPORT_FILE)
SET_ASIDE_FOLDERS = (FAILED, DRIFTED, DRIFTED_SHORT)
SHARED_FOLDERS = (RUNS, SHORT, *SET_ASIDE_FOLDERS)
"""Folders whose files machines of one bucket share, as they do SHARED_FILES."""


def sweep_folder(store: Path, name: str) -> Path:
    """Where the sweep of this name lies in a store."""
    return store / SWEEPS / name


def is_import(store: Path, name: str) -> bool:
    """Whether the name belongs to runs that were imported: such a folder has no journal."""
    return bool(re.fullmatch(NAME_PATTERN, name)) and is_there(sweep_folder(store, name) / IMPORT_FILE)


def is_there(path: Path, in_closed: bool = False) -> bool:
    """Whether a file exists; `in_closed` for one in a folder that may not be looked into."""
    try:
        return path.exists()
    except PermissionError:
        return in_closed


def import_names(store: Path) -> list[str]:
    """The imports of a store, by name."""
    return [path.name for path in listed(store / SWEEPS) if is_import(store, path.name)]


def record_file(run_id: str) -> str:
    """File name of a run's record."""
    return f"{run_id}.json"


def recipe_file(config: str, of_program: bool = False) -> str:
    """Path, within the sweep's folder, of a configuration's recipe as a preset file; of a program's as a script."""
    return f"recipes/{config}.{'sh' if of_program else 'yaml'}"


def count_file(path: Path) -> Path:
    """Beside a file that is only ever appended to: how many lines were written to it."""
    return path.with_suffix(".count")


def set_aside_file(run_id: str) -> str:
    """File name for a record of the run that is set aside now; a run may be set aside more than once."""
    return f"{run_id}-{time.time_ns()}.json"


_KEY = rf"{SWEEPS}/(?P<sweep>{NAME_PATTERN})/"
_SHARED = re.compile(
    rf"{_KEY}(?:{'|'.join(map(re.escape, SHARED_FILES))}|(?:{'|'.join(map(re.escape, SHARED_FOLDERS))})/{NAME_PATTERN})"
)
_SET_ASIDE = re.compile(rf"{_KEY}(?:{'|'.join(map(re.escape, SET_ASIDE_FOLDERS))})/(?P<run>.+)-\d+\.json")


def is_shared(key: str) -> bool:
    """Whether a file, by its path within the store, is one that machines of one bucket share."""
    return _SHARED.fullmatch(key) is not None


def set_aside_run(key: str) -> tuple[str, str] | None:
    """Sweep and run id of a record that was set aside, by its path within the store; None for any other file."""
    match = _SET_ASIDE.fullmatch(key)
    return (match["sweep"], match["run"]) if match and is_shared(key) else None
