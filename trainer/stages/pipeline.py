"""The pipeline: every stage a recipe needs, each one found in the store or computed and kept.

The same code runs inline on one rank and inside a worker group on many. All ranks walk in step: the first rank looks
things up, claims and writes, and tells the others what it decided.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from trainer.data.corpus import shard_facts
from trainer.ranks import Ranks
from trainer.spec.environment import machine_facts
from trainer.spec.errors import BudgetExceeded, StoreError, StoreFull, UserError
from trainer.spec.fingerprint import workload
from trainer.spec.messages import Progress
from trainer.spec.record import Metric, Record, StageOutcome, now
from trainer.stages.adapt import adapt
from trainer.stages.context import SNAPSHOT_EVERY_S, Interrupted, StageContext
from trainer.stages.diagnose import diagnose
from trainer.stages.evaluate import evaluate
from trainer.stages.export import export
from trainer.stages.prepare import prepare_train_text, prepare_val_text
from trainer.stages.run_record import RunRequest, fingerprints_of, keep_record, make_record
from trainer.stages.train import train
from trainer.stages.weights import attention_of
from trainer.store.local import Claim, StageStore

StageFunction = Callable[[StageContext, Path], dict[str, Metric]]
WORK: Mapping[str, StageFunction] = {
    "train_text": prepare_train_text,
    "val_text": prepare_val_text,
    "train": train,
    "export": export,
    "evaluate": evaluate,
    "adapt": adapt,
    "diagnose": diagnose,
}
FIRST_RANK_ONLY = frozenset({"train_text", "val_text", "export"})
BUDGETED = frozenset({"evaluate", "adapt"})
POLL_S = 0.2


def run_pipeline(
    request: RunRequest,
    store: StageStore,
    ranks: Ranks | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    stopping: Callable[[], bool] = lambda: False,
    snapshot_every_s: float = SNAPSHOT_EVERY_S,
    machine: str = "",
) -> Record:
    """Runs what is missing of a run and writes its record; returns it on every rank.

    machine:  what the cluster calls this machine; by default the host's name

    A mistake that a person can mend becomes a failed record, with the message. Raises Interrupted when `stopping` says
    so: then no record is written. With several ranks any other exception leaves here, since its peers would wait for
    ever; with one rank it becomes a failed record too.
    """
    ranks = ranks or Ranks.alone()
    torch.manual_seed(0)  # nothing draws from it; a slot's second run must not see the first one's state
    if ranks.device.type == "cpu":
        torch.set_num_threads(1)  # sums then add up in one order: the bits do not depend on the number of cores
    started_at = now()
    recipe = request.load_recipe()
    outcomes: dict[str, StageOutcome] = {}
    stages_run: list[str] = []
    error = ""
    facts = machine_facts(machine)
    try:
        facts |= shard_facts(recipe.data) | {"attention": attention_of(recipe.model, ranks.device)}
        context = StageContext(
            recipe,
            request.run_id,
            store,
            fingerprints_of(recipe, ranks.size),
            ranks,
            report,
            stopping,
            snapshot_every_s=snapshot_every_s,
            outcomes=outcomes,
            machine=facts["name"],
        )
        for stage in context.fingerprints:
            outcomes[stage], computed = obtain(context, stage)
            if computed:
                stages_run.append(stage)
    except (Interrupted, StoreFull):
        raise
    except UserError as mistake:
        error = str(mistake)
    except Exception as fault:
        if ranks.size > 1:
            raise
        store.check_writable()  # a full disk breaks a stage in many ways, none of which is a result
        traceback.print_exc()
        error = f"{type(fault).__name__}: {fault}"
    record = make_record(request, recipe, outcomes, stages_run, started_at, ranks.size, error, facts)
    if ranks.is_first:
        keep_record(request, record)
    return record


def obtain(context: StageContext, stage: str) -> tuple[StageOutcome, bool]:
    """The stage's outcome, and whether this run computed it."""
    mark = context.fingerprints[stage]
    while True:
        context.check_interrupted()
        found, claim = _look(context, stage, mark)
        kind, outcome = context.ranks.broadcast_object(_decision(context, stage, found, claim))
        try:
            if kind == "found":
                return outcome, False
            if kind == "exceeded":
                raise BudgetExceeded(f"{stage}: did not end within budget.eval_s = {outcome:g} s in an earlier run")
            if kind == "mine":
                return _compute(context, stage, mark), True
        finally:
            if claim:
                claim.release()
        context.tell(stage, 0.0, "waiting for another run that computes this stage")
        time.sleep(POLL_S)


def _look(context: StageContext, stage: str, mark: str) -> tuple[StageOutcome | None, Claim | None]:
    if not context.ranks.is_first:
        return None, None
    found = context.store.find_intact(stage, mark)
    if found:
        return found, None
    claim = context.store.claim(stage, mark)
    return context.store.find_intact(stage, mark), claim  # looked up again: it may have been finished in between


def _decision(
    context: StageContext, stage: str, found: StageOutcome | None, claim: Claim | None
) -> tuple[str, StageOutcome | float | None]:
    if found:
        return "found", found
    exceeded_s = context.store.exceeded_s(stage, context.fingerprints[stage]) if stage in BUDGETED else None
    if exceeded_s is not None and exceeded_s >= context.recipe.budget.eval_s:
        return "exceeded", exceeded_s
    return ("mine" if claim else "wait"), None


def _compute(context: StageContext, stage: str, mark: str) -> StageOutcome:
    context.tell(stage, 0.0)
    started_at, started_s = now(), context.clock()
    writing = context.store.writing(stage, mark) if context.ranks.is_first else contextlib.nullcontext(Path())
    with writing as aside:
        metrics = _work(context, stage, mark, aside)
        outcome: StageOutcome | str = ""
        if context.ranks.is_first:
            try:
                outcome = StageOutcome(
                    stage=stage,
                    fingerprint=mark,
                    seconds=context.clock() - started_s,
                    started_at=started_at,
                    host=context.machine,
                    metrics=metrics,
                    workload=workload(context.recipe, stage),
                )
                outcome = context.store.publish(aside, outcome)
            except (OSError, StoreError) as fault:
                outcome = f"{stage}: its folder cannot be kept: {fault}"
        outcome = context.ranks.broadcast_object(outcome)
    if isinstance(outcome, str):
        raise StoreFull(outcome)
    return outcome


def _work(context: StageContext, stage: str, mark: str, aside: Path) -> dict[str, Metric]:
    if stage not in FIRST_RANK_ONLY:
        try:
            return WORK[stage](context, aside)
        except BudgetExceeded:
            context.check_interrupted()  # a scoring loop stops in the same way for both
            if stage in BUDGETED and context.ranks.is_first:
                context.store.mark_exceeded(stage, mark, context.recipe.budget.eval_s)
            raise
    metrics: dict[str, Metric] | str | None = {}
    if context.ranks.is_first:
        try:
            metrics = WORK[stage](context, aside)
        except UserError as mistake:
            metrics = str(mistake)
        except Interrupted:
            metrics = None
    metrics = context.ranks.broadcast_object(metrics)
    if metrics is None:
        raise Interrupted(context.run_id)
    if isinstance(metrics, str):
        raise UserError(metrics)
    return metrics
