"""An artifact of ours, or a checkpoint of the lineage, scored by a recipe's own functions, as an evaluator to audit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.audit.evaluators.behaviour import CountsBytes
from trainer.audit.evaluators.behaviour_callable import CallableSubject, Request
from trainer.data.byte_counts import ByteTable
from trainer.nn.gpt import GPT
from trainer.ranks import Ranks
from trainer.scoring.legality import Issue, Ledger, Score
from trainer.scoring.sliding import score
from trainer.spec.recipe import Recipe
from trainer.stages.adapt import PROCEDURES, make_sgd
from trainer.stages.context import StageContext
from trainer.stages.pipeline import obtain
from trainer.stages.run_record import fingerprints_of
from trainer.stages.score_file import model_of_file
from trainer.store.local import StageStore

OnRanks = Callable[[int, Callable[[Ranks], Score]], Sequence[Score]]
"""(number of ranks, work) → what each rank's work returned."""


def artifact_subject(
    model: GPT, recipe: Recipe, table: ByteTable, name: str, on_ranks: OnRanks | None = None
) -> CallableSubject:
    """The evaluator of a recipe with this model.

    on_ranks:  runs work on ranks, where the audit shall ask for several
    """

    def evaluate(_: object, tokens: list[int], request: Request) -> dict[str, object]:
        watched: dict[int, Tensor] = {}

        def work(ranks: Ranks) -> Score:
            ledger = _watching(recipe, frozenset(request.positions), watched)(
                torch.tensor(tokens), table, recipe.data.vocab_size, ranks
            )
            _run(ledger, copy.deepcopy(model), recipe, ranks)
            closed = ledger.close()
            if ranks.size == 1:
                request.events.extend(ledger.summary["ranks"][0]["events"])
            return closed

        alone = request.ranks == 1 or on_ranks is None
        result = work(Ranks()) if alone or on_ranks is None else on_ranks(request.ranks, work)[0]
        return {
            "nats": result.nll_P.double().numpy(),
            "distributions": {p: row.double().log_softmax(-1).numpy() for p, row in watched.items()},
            "num_tokens": result.num_tokens,
            "num_bytes": result.num_bytes,
            "val_loss": result.val_loss,
            "val_bpb": result.val_bpb,
        }

    claims = {
        "vocab_size": recipe.data.vocab_size,
        "chunk_tokens": recipe.ttt.chunk_tokens
        if recipe.ttt.mode == "score_first"
        else recipe.evaluation.window_tokens,
        "ranks": (1,) if on_ranks is None else (1, 2),
    }
    return CallableSubject(name, evaluate, claims)


def file_subject(path: Path, recipe: Recipe, store: StageStore) -> tuple[CallableSubject, CountsBytes]:
    """The evaluator of a recipe with the weights in a file, and how bytes are counted with the recipe's tokenizer.

    Raises ArtifactError for a file that cannot be read, or whose tensors are not those of the recipe's model.
    """
    model = model_of_file(path, recipe)
    context = StageContext(recipe, path.name, store, fingerprints_of(recipe, 1))
    obtain(context, "train_text")
    table = ByteTable.from_tokenizer(context.tokenizer, recipe.data.vocab_size)
    return artifact_subject(model, recipe, table, str(path)), counting(table)


def counting(table: ByteTable) -> CountsBytes:
    """Counts by the table over a whole stream, which is another way than the ledger's."""

    def count(targets: Sequence[int], previous: Sequence[int]) -> int:
        stream = np.array([previous[0], *targets])
        return table.count_stream(stream, np.bincount(stream, minlength=len(table.base_V)))

    return count


def _watching(recipe: Recipe, positions: frozenset[int], seen: dict[int, Tensor]) -> type[Ledger]:
    """The ledger's class of the recipe's mode, which also keeps the logits that it is handed for some positions."""
    kind = Ledger if recipe.ttt.mode == "off" else PROCEDURES[recipe.ttt.mode][0]

    class Watching(kind):  # type: ignore[valid-type,misc]
        def commit(self, issue: Issue, model, outputs_BSX, head=lambda logits_NV: logits_NV) -> None:
            super().commit(issue, model, outputs_BSX, head)
            rows = [number for number, p in enumerate(issue.positions_N.tolist()) if p in positions]
            if rows:
                with torch.no_grad():
                    logits_NV = head(issue.scored(outputs_BSX.detach())[rows])
                seen.update(zip(issue.positions_N[rows].tolist(), logits_NV, strict=True))

    return Watching


def _run(ledger: Ledger, model: GPT, recipe: Recipe, ranks: Ranks) -> None:
    if recipe.ttt.mode == "off":
        score(ledger, model, recipe.evaluation, ranks)
    else:
        procedure = PROCEDURES[recipe.ttt.mode][1]
        procedure(ledger, model, recipe.ttt, recipe.evaluation, make_sgd, ranks)
