"""Search spaces and made-up runs for the tests of the orchestrator."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.search.run_queue import FINISHED, Run, RunQueue
from orchestrator.search.searcher import Searcher
from orchestrator.space.configuration import Configuration
from orchestrator.space.load_space import load_space
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.open_queue import queue_of
from orchestrator.sweep.sweep import Sweep
from results.verdicts.seed_ledger import Ledger
from trainer.spec.fingerprint import TextDigests
from trainer.spec.record import Record, StageOutcome

TEXTS = TextDigests("train text", "validation text")
TTT = """
name: ttt
preset: tiny
method: tpe
run_cap: 5
seeds: [1, 2]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2}
  ttt.epochs: {values: [1, 2, 3]}
compare: {baseline: {ttt.mode: off}}
"""


def space_of(folder: Path, text: str, **said: Any) -> SearchSpace:
    """The space a file with this text holds."""
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return load_space(path, **said)


def score(run: Run) -> float:
    """A bowl over the learning rate, with noise that depends on the seed alone."""
    return 2.0 + 0.01 * math.log(run.recipe.ttt.lr / 0.004) ** 2 + 1e-3 * (run.seed % 7)


def leave_runs(sweep: Sweep, val_bpb: Callable[[Run], float], eval_s: Callable[[Run], float] = lambda run: 1.0) -> None:
    """Finishes a whole sweep with these scores and seconds of scoring, as a driver would leave it."""
    queue, ledger = queue_of(sweep), Ledger(sweep.store)
    while isinstance(run := queue.next_run(), Run):
        sweep.declare(run.configuration)
        ledger.start(sweep.name, run.configuration.id, run.seed)
        record = record_of(run, val_bpb=val_bpb(run), eval_s=eval_s(run))
        path = sweep.record_path(run.run_id, short=run.configuration.rung < 1)
        path.parent.mkdir(exist_ok=True)
        path.write_text(record.model_dump_json())
        ledger.end(sweep.name, run.configuration.id, run.seed, record.status)
        queue.finished(run.run_id, record)


def record_of(run: Run, status: str = "done", val_bpb: float | None = None, eval_s: float = 1.0) -> Record:
    """What a run would have written."""
    metrics = {
        "val_bpb": score(run) if val_bpb is None else val_bpb,
        "val_loss": 1.5 * (score(run) if val_bpb is None else val_bpb),
        "eval_s": eval_s,
        "legal": True,
    }

    def outcome(stage: str, **values: Any) -> StageOutcome:
        return StageOutcome(
            stage=stage, fingerprint=f"{stage}-{run.run_id}", seconds=1.0, started_at="", host="", metrics=values
        )

    return Record(
        run_id=run.run_id,
        preset="tiny",
        seed=run.seed,
        status=status,
        recipe=run.recipe.model_dump(mode="json"),
        headline="evaluate",
        stages={"export": outcome("export", model_bytes=250_000), "evaluate": outcome("evaluate", **metrics)},
        within_budget=True,
        error="" if status == "done" else "it broke",
        started_at="",
        commit="",
        hardware="",
        versions="",
    )


class Memory:
    """A journal that forgets nothing but lives in memory."""

    def __init__(self) -> None:
        self.lines: list[Configuration] = []

    def asked(self) -> list[Configuration]:
        return list(self.lines)

    def append(self, configuration: Configuration) -> None:
        self.lines.append(configuration)


def drained(
    space: SearchSpace, val_bpb: Callable[[Run], float], slots: int = 1, dice: random.Random | None = None
) -> tuple[RunQueue, list[str]]:
    """All runs of a sweep, `slots` at once, ending in the order of the dice."""
    queue = RunQueue(space, Searcher(space, 0), Memory(), {}, 1)
    in_flight: list[Run] = []
    done: list[str] = []
    while True:
        while len(in_flight) < slots and isinstance(run := queue.next_run(), Run):
            in_flight.append(run)
        if not in_flight:
            assert queue.next_run() is FINISHED
            return queue, done
        run = in_flight.pop(dice.randrange(len(in_flight)) if dice else 0)
        queue.finished(run.run_id, record_of(run, val_bpb=val_bpb(run)))
        done.append(run.run_id)
