"""Export: from averaged weights to the artifact, the bytes that count.

Reads which average to use and the quantisation, stands on train. Leaves `artifact.bin`. Starts again when either
changes; training does not.
"""

from __future__ import annotations

from pathlib import Path

from trainer.quant.artifact import encode_artifact
from trainer.spec.errors import UserError
from trainer.spec.record import Metric
from trainer.stages.context import StageContext
from trainer.stages.train import EMA_FILE, LAST, SWA_FILE
from trainer.stages.weights import load_weights

ARTIFACT = "artifact.bin"
WEIGHTS_FILE = {"none": LAST, "swa": SWA_FILE, "ema": EMA_FILE}


def averaged_weights(context: StageContext) -> Path:
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


def export(context: StageContext, folder: Path) -> dict[str, Metric]:
    """Quantises and compresses; runs on the first rank alone."""
    recipe = context.recipe
    weights = load_weights(averaged_weights(context), context.ranks.device)
    artifact = encode_artifact(weights, recipe.model, recipe.data.vocab_size, recipe.quantization)
    (folder / ARTIFACT).write_bytes(artifact)
    return {"model_bytes": (folder / ARTIFACT).stat().st_size}
