"""The stage `export`: quantises and compresses the averaged weights to the artifact, whose bytes are counted.

Reads which average to use and the quantisation, and the limit where the artifact is made to fit it: from the scales
that training saw, if it saw any. Stands on train; GPTQ also reads train text, and those seconds count as training.
Leaves `artifact.bin`, and `unlimited.bin` where scales were coarsened: the artifact by the rule alone. Starts again
when any of these changes; training does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from trainer.quant.artifact import encode_artifact
from trainer.quant.fit import encode_to_fit
from trainer.quant.gptq import Hessian
from trainer.quant.prune import encode_pruned_to_fit
from trainer.spec.budget import model_limit_bytes
from trainer.spec.errors import UserError
from trainer.spec.record import Metric
from trainer.spec.stage_table import ARTIFACT_FILE
from trainer.stages.calibrate import calibration_batches, layer_hessians
from trainer.stages.context import RunContext
from trainer.stages.train import EMA_FILE, LAST, SWA_FILE
from trainer.stages.weights import build_model, load_weights

UNLIMITED = "unlimited.bin"
WEIGHTS_FILE = {"none": LAST, "swa": SWA_FILE, "ema": EMA_FILE}


def averaged_weights(context: RunContext) -> Path:
    """The file of the weights that `averaging.use` names. Raises UserError when training left none."""
    use = context.recipe.averaging.use
    path = context.folder("train") / WEIGHTS_FILE[use]
    if not path.exists():
        averaging = context.recipe.averaging
        raise UserError(
            f"averaging.use = '{use}', but training took no snapshot: the learning-rate multiplier was never below "
            f"averaging.swa_below = {averaging.swa_below} after step {averaging.swa_min_step} at a multiple of "
            f"averaging.swa_every = {averaging.swa_every}; raise swa_below, or set averaging.use to none"
        )
    return path


def export(context: RunContext, folder: Path) -> dict[str, Metric]:
    """Quantises and compresses. Every rank calls it: they calibrate together, and the first does the rest alone."""
    if context.recipe.quantization.method != "gptq":
        return context.on_first(lambda: _written(context, folder, _weights(context), None))
    weights = _weights(context)
    started_s = context.settled_s()
    hessians = _hessians(context, weights)
    calibration_s = context.settled_s() - started_s
    return context.on_first(lambda: _written(context, folder, weights, hessians) | {"calibration_s": calibration_s})


def _weights(context: RunContext) -> dict[str, Tensor]:
    return load_weights(averaged_weights(context), context.ranks.device)


def _written(
    context: RunContext, folder: Path, weights: dict[str, Tensor], hessians: Mapping[str, Hessian] | None
) -> dict[str, Metric]:
    """Writes what the stage leaves."""
    recipe, metrics = context.recipe, dict[str, Metric]()
    if recipe.quantization.fit_bytes:
        metrics |= _export_to_fit(context, folder, weights, hessians)
    elif recipe.quantization.prune_to_fit:
        model = (weights, recipe.model, recipe.data.vocab_size, recipe.quantization)
        pruned = encode_pruned_to_fit(*model, model_limit_bytes(recipe.budget), hessians, context.check_alone)
        (folder / ARTIFACT_FILE).write_bytes(pruned.artifact)
        metrics |= {"pruned_share": pruned.share, "encodings": pruned.encodings}
    else:
        model = (weights, recipe.model, recipe.data.vocab_size, recipe.quantization)
        (folder / ARTIFACT_FILE).write_bytes(encode_artifact(*model, hessians, context.check_alone))
    return {"model_bytes": (folder / ARTIFACT_FILE).stat().st_size} | metrics


def _export_to_fit(
    context: RunContext, folder: Path, weights: Mapping[str, Tensor], hessians: Mapping[str, Hessian] | None
) -> dict[str, Metric]:
    """Writes the artifact that fits, and beside it the one by the rule alone, for `diagnose` to score."""
    recipe, seen = context.recipe, _seen_by_training(context)
    model = (weights, recipe.model, recipe.data.vocab_size)
    limit_bytes = model_limit_bytes(recipe.budget)
    fitted = encode_to_fit(*model, recipe.quantization, limit_bytes, hessians, context.check_alone, seen)
    (folder / ARTIFACT_FILE).write_bytes(fitted.artifact)
    if fitted.coarser != 1:
        quick = recipe.quantization.model_copy(update={"compressor": "zstd", "zstd_level": 1})
        unlimited = fitted.first if seen == 1 else encode_artifact(*model, quick, hessians, context.check_alone)
        (folder / UNLIMITED).write_bytes(unlimited)
    return {"scale_multiplier": fitted.coarser, "encodings": fitted.encodings}


def _seen_by_training(context: RunContext) -> float:
    """The multiplier of scales that QAT saw last; 1 without."""
    return float(context.metrics("train").get("scale_multiplier") or 1.0)


def _hessians(context: RunContext, weights: dict[str, Tensor]) -> dict[str, Hessian]:
    context.tell("export", 0.1, "calibrating GPTQ")
    model = build_model(context.recipe.model, context.recipe.data.vocab_size, context.ranks.device)
    model.load_state_dict(weights)
    return layer_hessians(model, calibration_batches(context), context.ranks)
