"""The stage `adapt`: scores the artifact with test-time training on positions that were already scored.

Reads ttt, evaluation and seed; depends on export and val_text. Leaves what `evaluate` leaves. Is computed again when a
TTT setting, the artifact or the text changes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from trainer.optim.first_order import SGD
from trainer.scoring.legality import Ledger
from trainer.scoring.ttt import score_first
from trainer.scoring.unguarded import UnguardedText, pre_eval
from trainer.spec.record import Metric
from trainer.stages.compiling import scoring_forward
from trainer.stages.context import RunContext
from trainer.stages.evaluate import keep_score, load_artifact, open_ledger

PROCEDURES: dict[str, tuple[type[Ledger], Callable[..., None]]] = {
    "score_first": (Ledger, score_first),
    "pre_eval": (UnguardedText, pre_eval),
}
"""Ledger and procedure of each mode."""


def adapt(context: RunContext, folder: Path | None) -> dict[str, Metric]:
    """Runs on every rank; the first one writes."""
    recipe = context.recipe
    started_s = context.settled_s()
    torch.manual_seed(recipe.seed)
    model = load_artifact(context)
    kind, procedure = PROCEDURES[recipe.ttt.mode]
    ledger = open_ledger(context, kind)
    procedure(
        ledger,
        model,
        recipe.ttt,
        recipe.evaluation,
        make_sgd,
        context.ranks,
        context.eval_stop(started_s),
        context.scoring_report("adapt", ledger.num_positions, started_s),
        scoring_forward(model, recipe, ledger.num_positions, context.ranks),
    )
    return keep_score(context, folder, ledger, started_s)


def make_sgd(parameters: list[torch.nn.Parameter], lr: float, momentum: float) -> SGD:
    """Plain SGD with momentum and no decay, as the lineage adapts."""
    return SGD(parameters, lr=lr, momentum=momentum)
