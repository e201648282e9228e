"""What a command of `--on-end` is told of a sweep, beside how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from orchestrator.analysis.answer import answer_of
from orchestrator.analysis.sweep_table import rows_of, table_of
from orchestrator.sweep.sweep import Sweep
from trainer.spec.errors import UserError


def end_facts(sweep: Sweep, outcome: str) -> dict[str, object]:
    """Counts of runs, and of a sweep that ended the best configuration and what its verdict says.

    Without those that damaged or unreadable files keep from being known: the command ends as it would without them.
    """
    facts: dict[str, object] = {}
    with contextlib.suppress(UserError, OSError):
        for part in _parts(sweep, outcome):
            facts |= part
    return facts


def _parts(sweep: Sweep, outcome: str) -> Iterator[dict[str, object]]:
    if not sweep.folder.exists():  # nothing was begun
        return
    state = sweep.state()
    failed = sum(record.status == "failed" for record in state.records.values())
    yield {"runs": state.total_runs, "runs_recorded": len(state.records), "runs_failed": failed}
    if outcome in ("complete", "failed"):
        frame = rows_of(sweep)
        answer = answer_of(sweep, frame, table_of(sweep, frame))
        if answer.best is not None:
            yield {"best": answer.name(answer.best.config), "verdict": answer.named(answer.best.sentence)}
