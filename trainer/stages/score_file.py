"""Scores a checkpoint of the lineage or an artifact by the evaluation and TTT settings of a recipe.

The text is prepared as for a run of the recipe; its stages are all that is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from trainer.nn.gpt import GPT
from trainer.quant.artifact import MAGIC, decode_artifact
from trainer.quant.bounded_streams import LARGEST_CONTENT_BYTES
from trainer.quant.lineage_files import read_lineage_file
from trainer.scoring.legality import Ledger, Score
from trainer.scoring.sliding import score
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Recipe
from trainer.spec.units import human_bytes
from trainer.stages.adapt import PROCEDURES, make_sgd
from trainer.stages.context import StageContext
from trainer.stages.evaluate import open_ledger
from trainer.stages.pipeline import obtain
from trainer.stages.prepare import require_sound_data
from trainer.stages.run_record import fingerprints_of
from trainer.stages.weights import build_model, require_shapes
from trainer.store.local import StageStore


def score_file(path: Path, recipe: Recipe, store: StageStore, progress: Callable[[float], None]) -> Score:
    """The score of the weights in `path`, by the recipe's scoring and, if it is on, test-time training.

    Raises ArtifactError for a file that cannot be read, or whose tensors are not those of the recipe's model.
    """
    context = StageContext(recipe, path.name, store, fingerprints_of(recipe, 1))
    model = model_of_file(path, recipe)
    require_sound_data(context)
    for stage in ("train_text", "val_text"):
        obtain(context, stage)
    if recipe.ttt.mode == "off":
        ledger: Ledger = open_ledger(context)
        score(ledger, model, recipe.evaluation, context.ranks, progress=progress)
        return ledger.close()
    kind, procedure = PROCEDURES[recipe.ttt.mode]
    ledger = open_ledger(context, kind)
    procedure(ledger, model, recipe.ttt, recipe.evaluation, make_sgd, context.ranks, progress=progress)
    return ledger.close()


def model_of_file(path: Path, recipe: Recipe) -> GPT:
    """The recipe's model with the weights of a file."""
    if not path.is_file():
        raise ArtifactError(f"{path} is no file; expected a .pt or .ptz of the lineage, or an artifact")
    state = decode_artifact(path.read_bytes()).state if _is_artifact(path) else read_lineage_file(path)
    hint = "is not of this recipe's model; another --preset or --set?"
    require_shapes(str(path), recipe.model, recipe.data.vocab_size, state, hint)
    model = build_model(recipe.model, recipe.data.vocab_size, torch.device("cpu"))
    model.load_state_dict(state)
    return model.eval()


def _is_artifact(path: Path) -> bool:
    with path.open("rb") as file:
        starts = file.read(len(MAGIC)) == MAGIC
    if starts and path.stat().st_size > LARGEST_CONTENT_BYTES:
        raise ArtifactError(f"{path} is larger than {human_bytes(LARGEST_CONTENT_BYTES)}; that is not read")
    return starts
