"""Scores a checkpoint of the lineage or an artifact by the evaluation and TTT settings of a recipe.

The text is prepared as for a run of the recipe; its stages are all that is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from trainer.nn.gpt import GPT
from trainer.quant.artifact import MAGIC, decode_artifact
from trainer.quant.lineage_files import read_lineage_file
from trainer.scoring.legality import Ledger, Score
from trainer.scoring.sliding import score
from trainer.spec.errors import ArtifactError
from trainer.spec.recipe import Recipe
from trainer.spec.tensors import LANE_MERGE
from trainer.stages.adapt import PROCEDURES, make_sgd
from trainer.stages.context import StageContext
from trainer.stages.evaluate import open_ledger
from trainer.stages.pipeline import obtain
from trainer.stages.prepare import require_sound_data
from trainer.stages.run_record import fingerprints_of
from trainer.stages.weights import build_model
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
    data = path.read_bytes()
    state = decode_artifact(data).state if data.startswith(MAGIC) else read_lineage_file(path)
    model = build_model(recipe.model, recipe.data.vocab_size, torch.device("cpu"))
    _refuse_other_shapes(path, model, {name: tuple(tensor.shape) for name, tensor in state.items()})
    model.load_state_dict(state)
    return model.eval()


def _refuse_other_shapes(path: Path, model: GPT, shapes: dict[str, tuple[int, ...]]) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [
        f"{name}: {shapes.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')}"
        for name in sorted({*expected, *shapes})
        if shapes.get(name) != expected.get(name)
    ]
    if LANE_MERGE in shapes and LANE_MERGE not in expected:
        raise ArtifactError(
            f"{path} holds {LANE_MERGE}: its model keeps two residual lanes and merges them at the end, as #1477 does; "
            "model.parallel_residual has one lane, so no recipe reads this file"
        )
    if wrong:
        more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        listed = "\n  ".join(wrong[:5])
        raise ArtifactError(f"{path} is not of this recipe's model; another --preset or --set?\n  {listed}{more}")
