"""The check of a recipe's shards, made once: sound data are remembered in the store, anything else is refused.

    STORE/checks/data-KEY.json      the report of a check without problems
    STORE/checks/data-KEY.lock      held while the data are being checked

KEY depends on path, size and modification time of every file the check reads, not on their content: a file changed
without a new size or time is not noticed (`python -m trainer data check` always reads everything). Another machine has
other times, so each checks its own disk. Imports neither numpy nor torch until something must be checked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter

from trainer.data.data_report import DataReport
from trainer.data.shard_files import DIGESTS, MANIFEST
from trainer.spec.errors import DataError
from trainer.spec.fingerprint import digest
from trainer.spec.recipe import Data
from trainer.store import locks
from trainer.store.atomic_write import write_once

RULES = 1
"""Raised by hand when the check refuses or counts something else."""
CHECKS = "checks"
REPORT = TypeAdapter(DataReport)


def sound_data(data: Data, store: Path) -> DataReport:
    """The report of a recipe's shards, from the store or from a check made now.

    Raises DataError with all problems if nothing may be scored on them.
    """
    path = report_path(data.folder, data.tokenizer, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.holding(path.with_suffix(".lock")):
        report = _read(path) or _check(data, path)
    refuse_small_vocabulary(report, data)
    return report


def known_report(data: Data, store: Path) -> DataReport | None:
    """The report of an earlier check of the same files, or None."""
    return _read(report_path(data.folder, data.tokenizer, store))


def report_path(folder: Path | str, tokenizer: Path | str, store: Path) -> Path:
    """Where a report on these files as they are now is kept."""
    return (
        store / CHECKS / f"data-{digest([RULES, *_states(Path(folder).absolute(), Path(tokenizer).absolute())])}.json"
    )


def keep_report(report: DataReport, path: Path) -> None:
    """Keeps a report without problems."""
    assert not report.problems, "unsound data are checked anew every time"
    write_once(path, REPORT.dump_json(report, indent=1))


def refuse_small_vocabulary(report: DataReport, data: Data) -> None:
    """Raises DataError if the tokenizer has more pieces than the recipe's vocabulary."""
    if report.pieces > data.vocab_size:
        raise DataError(
            f"data.tokenizer = '{data.tokenizer}' has {report.pieces} pieces, more than data.vocab_size = "
            f"{data.vocab_size}; set data.vocab_size to {report.pieces}, or to more for padding"
        )


def _check(data: Data, path: Path) -> DataReport:
    from trainer.data.check_data import check_data  # late: it starts numpy and torch

    report = check_data(Path(data.folder), Path(data.tokenizer))
    if report.problems:
        listed = "\n".join(f"  {problem}" for problem in report.problems)
        count = f"{len(report.problems)} problem{'s' * (len(report.problems) > 1)}"
        raise DataError(f"{count} with the data of data.folder = '{data.folder}'; nothing is scored on it\n{listed}")
    keep_report(report, path)
    return report


def _read(path: Path) -> DataReport | None:
    with contextlib.suppress(OSError, ValueError):  # missing, or of another version
        return REPORT.validate_json(path.read_bytes())
    return None


def _states(folder: Path, tokenizer: Path) -> Iterator[tuple[str, int, int]]:
    """Path, bytes and time of change of each file that the check reads."""
    beside = [tokenizer, *(place / DIGESTS for place in {folder, tokenizer.parent})]
    beside += [place / MANIFEST for place in (folder.parent, folder.parent.parent)]
    for path in [*sorted(folder.glob("fineweb_*.bin")), *sorted(beside)]:
        with contextlib.suppress(OSError):
            state = path.stat()
            yield str(path), state.st_size, state.st_mtime_ns
