"""The pipeline: every stage that a recipe needs is taken from the store, or computed and published to it.

The same code runs inline on one rank and in a worker group on many. The first rank reads the store, claims and writes,
and broadcasts its decisions to the other ranks.
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
from trainer.spec.errors import BudgetExceeded, Interrupted, StoreError, StoreFull, UserError
from trainer.spec.fingerprint import workload
from trainer.spec.messages import Progress
from trainer.spec.recipe import Recipe
from trainer.spec.record import Metric, Record, StageOutcome, now
from trainer.spec.stage_table import TEXT_STAGES
from trainer.stages.adapt import adapt
from trainer.stages.context import SNAPSHOT_EVERY_S, StageContext
from trainer.stages.cpu import prepare_cpu
from trainer.stages.diagnose import diagnose
from trainer.stages.evaluate import evaluate
from trainer.stages.export import export
from trainer.stages.prepare import prepare_train_text, prepare_val_text, require_sound_data
from trainer.stages.run_record import RunRequest, fingerprints_of, keep_record, make_record
from trainer.stages.train import train
from trainer.stages.weights import attention_of
from trainer.store.local import Claim, StageStore
from trainer.store.unreadable import refuse_failing_disk

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
FIRST_RANK_ONLY = frozenset(TEXT_STAGES)
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
    """Computes the missing stages of a run and writes its record; returns it on every rank.

    machine:  the machine's name in the cluster; by default the host name

    A UserError becomes a failed record with its message. Raises Interrupted if `stopping` returns true, and StoreFull;
    then no record is written. Any other exception becomes a failed record on one rank, and is raised on several, since
    the other ranks would wait for this one for ever.
    """
    ranks = ranks or Ranks.alone()
    torch.manual_seed(0)  # the same state in every run of a slot, though nothing draws from it
    if ranks.device.type == "cpu":
        prepare_cpu()
    started_at = now()
    recipe = request.load_recipe()
    assert isinstance(recipe, Recipe), "programs are run by `trainer.program.run_program`"
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
        require_sound_data(context)
        for stage in context.fingerprints:
            outcomes[stage], computed = obtain(context, stage)
            if computed:
                stages_run.append(stage)
    except (Interrupted, StoreFull):
        raise
    except UserError as mistake:
        error = str(mistake)
    except Exception as fault:
        refuse_failing_disk(fault)
        if ranks.size > 1:
            raise
        store.check_writable()  # raises StoreFull: an error caused by a full disk is no result
        traceback.print_exc()
        error = f"{type(fault).__name__}: {fault}"
    record = make_record(request, recipe, outcomes, stages_run, started_at, ranks.size, error, facts)
    if ranks.is_first:
        keep_record(request, record)
    return record


def prepare_texts(recipe: Recipe, store: StageStore) -> dict[str, bool]:
    """Computes the stages of a recipe's text that the store lacks; its runs find them there. Which were computed."""
    context = StageContext(recipe, "prepare", store, fingerprints_of(recipe, 1))
    computed: dict[str, bool] = {}
    for stage in TEXT_STAGES:
        context.outcomes[stage], computed[stage] = obtain(context, stage)
    return computed


def obtain(context: StageContext, stage: str) -> tuple[StageOutcome, bool]:
    """Takes a stage from the store or computes it; returns its outcome and whether this run computed it."""
    fingerprint = context.fingerprints[stage]
    while True:
        context.check_interrupted()
        stored, claim = _look(context, stage, fingerprint)
        kind, outcome = context.ranks.broadcast_object(_decision(context, stage, stored, claim))
        try:
            if kind == "stored":
                return outcome, False
            if kind == "exceeded":
                raise BudgetExceeded(f"{stage}: did not end within budget.eval_s = {outcome:g} s in an earlier run")
            if kind == "mine":
                return _compute(context, stage, fingerprint), True
        finally:
            if claim:
                claim.release()
        context.tell(stage, 0.0, "waiting for another run that computes this stage")
        time.sleep(POLL_S)


def _look(context: StageContext, stage: str, fingerprint: str) -> tuple[StageOutcome | None, Claim | None]:
    if not context.ranks.is_first:
        return None, None
    stored = context.store.find_intact(stage, fingerprint)
    if stored:
        return stored, None
    claim = context.store.claim(stage, fingerprint)
    return context.store.find_intact(
        stage, fingerprint
    ), claim  # read again: another run may have finished it in between


def _decision(
    context: StageContext, stage: str, stored: StageOutcome | None, claim: Claim | None
) -> tuple[str, StageOutcome | float | None]:
    if stored:
        return "stored", stored
    exceeded_s = context.store.exceeded_s(stage, context.fingerprints[stage]) if stage in BUDGETED else None
    if exceeded_s is not None and exceeded_s >= context.recipe.budget.eval_s:
        return "exceeded", exceeded_s
    return ("mine" if claim else "wait"), None


def _compute(context: StageContext, stage: str, fingerprint: str) -> StageOutcome:
    context.tell(stage, 0.0)
    started_at, started_s = now(), context.clock()
    writing = context.store.writing(stage, fingerprint) if context.ranks.is_first else contextlib.nullcontext(Path())
    with writing as folder:
        metrics = _work(context, stage, fingerprint, folder)
        outcome: StageOutcome | str = ""
        if context.ranks.is_first:
            try:
                outcome = StageOutcome(
                    stage=stage,
                    fingerprint=fingerprint,
                    seconds=context.clock() - started_s,
                    started_at=started_at,
                    host=context.machine,
                    metrics=metrics,
                    workload=workload(context.recipe, stage),
                )
                outcome = context.store.publish(folder, outcome)
            except (OSError, StoreError) as fault:
                outcome = f"{stage}: its folder cannot be kept: {fault}"
        outcome = context.ranks.broadcast_object(outcome)
    if isinstance(outcome, str):
        raise StoreFull(outcome)
    return outcome


def _work(context: StageContext, stage: str, fingerprint: str, folder: Path) -> dict[str, Metric]:
    if stage not in FIRST_RANK_ONLY:
        try:
            return WORK[stage](context, folder)
        except BudgetExceeded as over:
            context.check_interrupted()  # scoring loops raise BudgetExceeded also when the run was asked to stop
            if stage not in BUDGETED:
                raise
            limit_s = context.recipe.budget.eval_s
            if context.ranks.is_first:
                context.store.mark_exceeded(stage, fingerprint, limit_s)
            raise BudgetExceeded(f"{stage}: {over} (budget.eval_s = {limit_s:g} s)") from None
    return context.on_first(lambda: WORK[stage](context, folder))
