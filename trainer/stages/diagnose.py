"""The stage `diagnose`: how much quantisation changes the score, and how much the byte limit. In no budget.

Runs where `evaluation.diagnose` or `quantization.fit_bytes` is on. Reads the window length; depends on train, export
and val_text. Leaves scores over non-overlapping windows: of the weights before quantisation, of those in the artifact,
and of those in the artifact that the rule of scales gives without a limit, where that is another.
"""

from __future__ import annotations

from pathlib import Path

from trainer.nn.gpt import GPT
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.spec.record import Metric
from trainer.stages.context import StageContext
from trainer.stages.evaluate import load_artifact, open_ledger
from trainer.stages.export import UNLIMITED, averaged_weights
from trainer.stages.weights import load_weights


def diagnose(context: StageContext, folder: Path) -> dict[str, Metric]:
    """Runs on every rank; writes no file to `folder`."""
    model = load_artifact(context)
    roundtrip_bpb = _rows_bpb(context, model)
    model.load_state_dict(load_weights(averaged_weights(context), context.ranks.device))
    context.tell("diagnose", 0.5)
    metrics: dict[str, Metric] = {"pre_quant_bpb": _rows_bpb(context, model), "roundtrip_bpb": roundtrip_bpb}
    if context.recipe.quantization.fit_bytes:
        coarsened = (context.folder("export") / UNLIMITED).exists()
        unlimited_bpb = _rows_bpb(context, load_artifact(context, UNLIMITED)) if coarsened else roundtrip_bpb
        metrics["fit_cost_bpb"] = roundtrip_bpb - unlimited_bpb
    return metrics


def _rows_bpb(context: StageContext, model: GPT) -> float:
    evaluation = context.recipe.evaluation
    rows = evaluation.model_copy(update={"stride_tokens": evaluation.window_tokens})
    ledger: Ledger = open_ledger(context)
    score(ledger, model, rows, context.ranks, lambda: context.ranks.is_first and context.stopping())
    return ledger.close().val_bpb
