"""The stage `evaluate`: scores the artifact as read from disk, by sliding windows through the ledger.

Reads the evaluation section; depends on export and val_text. Leaves the score, `nll.safetensors` with the nats of every
validation token, and `ledger.json` with what the ledger's digest covers. Is computed again when the artifact, the text
or the windows change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from trainer.data.byte_counts import ByteTable
from trainer.data.shard_files import Split
from trainer.data.shards import read_split
from trainer.nn.gpt import GPT
from trainer.quant.artifact import decode_artifact
from trainer.scoring.ledger_summary import LEDGER_FILE
from trainer.scoring.legality import Ledger, Score
from trainer.scoring.sliding import score
from trainer.spec.record import Metric
from trainer.spec.stage_table import ARTIFACT_FILE
from trainer.stages.compiling import scoring_forward
from trainer.stages.context import RunContext
from trainer.stages.weights import build_model, require_shapes, save_weights

NLL = "nll.safetensors"
Text = TypeVar("Text", bound=Ledger)


def evaluate(context: RunContext, folder: Path | None) -> dict[str, Metric]:
    """Runs on every rank; the first one writes."""
    started_s = context.settled_s()
    model = load_artifact(context)
    ledger: Ledger = open_ledger(context)
    stop = context.eval_stop(started_s)
    forward = scoring_forward(model, context.recipe, ledger.num_positions, context.ranks)
    report = context.scoring_report("evaluate", ledger.num_positions, started_s)
    score(ledger, model, context.recipe.evaluation, context.ranks, stop, report, forward)
    return keep_score(context, folder, ledger, started_s)


def load_artifact(context: RunContext, file: str = ARTIFACT_FILE) -> GPT:
    """The model decoded from an exported artifact."""
    artifact = decode_artifact(context.artifact(file).read_bytes())
    hint = "holds other tensors than its own model section has"
    require_shapes("the artifact", artifact.model, artifact.vocab_size, artifact.state, hint)
    model = build_model(artifact.model, artifact.vocab_size, context.ranks.device)
    model.load_state_dict(artifact.state)
    return model.eval()


def open_ledger(context: RunContext, kind: type[Text] = Ledger) -> Text:  # type: ignore[assignment]
    """A ledger of this class over the validation tokens."""
    vocab_size = context.recipe.data.vocab_size
    return kind.open(
        context.text_folder("val_text"),
        read_split=read_tokens,
        byte_table=ByteTable.from_tokenizer(context.tokenizer, vocab_size),
        vocab_size=vocab_size,
        ranks=context.ranks,
    )


def read_tokens(folder: Path, split: Split, vocab_size: int) -> Tensor:
    """All tokens of a split as one uint16 tensor."""
    return torch.from_numpy(np.concatenate(read_split(folder, split, vocab_size)))


def keep_score(context: RunContext, folder: Path | None, ledger: Ledger, started_s: float) -> dict[str, Metric]:
    """Closes the ledger, writes nats and what the ledger did unless `folder` is None, and returns the metrics."""
    result: Score = ledger.close()
    eval_s = context.settled_s() - started_s
    if context.ranks.is_first and folder is not None:
        save_weights(folder / NLL, {"nll": result.nll_P})
        (folder / LEDGER_FILE).write_text(json.dumps(ledger.summary), encoding="utf-8")
    return {
        "val_loss": result.val_loss,
        "val_bpb": result.val_bpb,
        "num_tokens": result.num_tokens,
        "num_bytes": result.num_bytes,
        "eval_s": eval_s,
        "legal": ledger.legal,
        "ledger_digest": ledger.digest,
    }
