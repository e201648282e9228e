"""What several ranks compute and exchange, counted on torch's meta device for the tables of `scale`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.counting import META, DistantRanks, Exchanges, exchanged_by_a_step, meta_model, one_rank_of
from tests.fakes import OneByteEach
from trainer.nn.gpt import num_parameters
from trainer.optim.optimizers import make_optimizers
from trainer.scoring.forward import Forward
from trainer.scoring.legality import Ledger
from trainer.scoring.ttt import score_first
from trainer.spec.load import load_preset, with_values
from trainer.spec.recipe import Recipe
from trainer.stages.adapt import make_sgd

TTT_VALUES = {"ttt.mode": "score_first", "ttt.lr": 0.002, "ttt.epochs": 3}
"""Of PR #549, also where a preset has none."""
Sent = tuple[tuple[str, int], ...]
"""Collectives in order: name, and the bytes that one rank brings."""


@cache
def recipe_of(name: str) -> Recipe:
    """A preset with test-time training on."""
    return with_values(load_preset(name).recipe, TTT_VALUES, "benchmark")


@cache
def of_a_step(name: str, num_ranks: int) -> Sent:
    """Collectives of one training step."""
    if num_ranks == 1:
        return ()
    recipe = recipe_of(name)
    with one_rank_of(num_ranks) as ranks:
        return tuple(exchanged_by_a_step(recipe, meta_model(recipe), ranks, Path()))


@cache
def orthogonalisation_flops(name: str, num_ranks: int) -> int:
    """Operations of Muon's matrix products on the rank that has the most of them."""
    return max(_orthogonalisation(name, num_ranks, rank) for rank in range(num_ranks))


def _orthogonalisation(name: str, num_ranks: int, rank: int) -> int:
    recipe, model = recipe_of(name), meta_model(recipe_of(name))
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    with one_rank_of(num_ranks, rank) as ranks, FlopCounterMode(display=False) as counter:
        make_optimizers(dict(model.named_parameters()), recipe.optimizer, ranks).muon.step()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class TrustingRanks(DistantRanks):
    """Sums and maxima that the host reads tell of one rank that scored each position: what the ledger wants to see."""

    def sum_(self, tensor: Tensor) -> Tensor:
        super().sum_(tensor)
        return tensor if tensor.is_floating_point() else torch.ones_like(tensor, device="cpu")

    def max_(self, tensor: Tensor) -> Tensor:
        return torch.zeros_like(super().max_(tensor), device="cpu")


@cache
def of_a_chunk(name: str, num_ranks: int) -> Sent:
    """Collectives of one chunk of test-time training: it is learned, and the next one is scored."""
    if num_ranks == 1:
        return ()
    longer, shorter = (_of_chunks(name, num_ranks, num_chunks) for num_chunks in (3, 2))
    return longer[len(shorter) :]


def _of_chunks(name: str, num_ranks: int, num_chunks: int) -> Sent:
    """Of all chunks; the last is scored and not learned. All weights are one, which sends the same bytes."""
    recipe = recipe_of(name)
    model, vocab_size = nn.Module(), recipe.data.vocab_size
    model.weight = nn.Parameter(torch.empty(num_parameters(meta_model(recipe)), device=META))
    tokens = torch.zeros(num_chunks * recipe.ttt.chunk_tokens + 1, dtype=torch.int64)
    forward = Forward(
        lambda ids_BT, first: ids_BT.new_empty(*ids_BT.shape, 1),
        lambda states_ND: torch.empty(len(states_ND), vocab_size, device=META),
        lambda ids_RT, targets_RT: model.weight.sum(),
    )
    with one_rank_of(num_ranks), Exchanges() as exchanges:
        ranks = TrustingRanks(0, num_ranks)
        ledger = Ledger(tokens, OneByteEach(), vocab_size, ranks)
        score_first(ledger, model, recipe.ttt, recipe.evaluation, make_sgd, ranks, lambda: False, forward=forward)
    return tuple(exchanges.sent)
