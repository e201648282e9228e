"""What a step launches on an accelerator, counted on torch's meta device (tests/counting.py)."""

from collections import defaultdict
from functools import partial

import pytest
import torch

from tests.counting import META, Count, DistantRanks, exchanged_by_a_step, meta_model, one_rank_of
from tests.fakes import OneByteEach
from trainer.data.loader import make_loader
from trainer.nn.gpt import GPT, num_parameters
from trainer.optim.averaging import EMA, SWA
from trainer.optim.muon import Muon
from trainer.optim.optimizers import clip_gradients
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.scoring.ttt import _step
from trainer.spec.load import load_preset
from trainer.stages.adapt import make_sgd
from trainer.stages.train import accumulate_gradients


@pytest.fixture(params=["pr150_v21", "pr1413"])
def recipe(request):
    return load_preset(request.param).recipe


@pytest.fixture
def model(recipe):
    model = meta_model(recipe)
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    return model


def test_a_muon_step_of_66_matrices_is_at_most_60_kernels(recipe, model):
    muon = make_muon(recipe, model)
    muon.step()
    with Count() as count:
        muon.step()
    normalising = 4 * 2 if recipe.optimizer.muon.row_normalize else 0  # of each of the four shapes
    assert count.kernels.total() <= 60 + normalising, count.kernels


def make_muon(recipe, model) -> Muon:
    matrices = [
        value for name, value in model.named_parameters() if name.startswith("blocks.") and name.endswith("weight")
    ]
    assert len(matrices) == 66
    return Muon(matrices, lr=0.02, weight_decay=0.1, momentum=0.9, row_normalize=recipe.optimizer.muon.row_normalize)


@pytest.mark.parametrize("make", [lambda: EMA(0.99), SWA])
def test_an_average_is_one_call(model, make):
    average = make()
    average.update(model.named_parameters())
    with Count() as count:
        average.update(model.named_parameters())
    assert count.kernels.total() <= 5, count.kernels


def test_gradients_loss_and_clipping_wait_for_nothing(recipe, model):
    ranks = Ranks(device=META)
    tokens = torch.zeros(200_000, dtype=torch.int64).numpy()
    loader = make_loader(recipe.data, 0, [tokens], ranks, META)
    loss = accumulate_gradients(model, loader, 1, ranks)  # on meta, `item` raises
    norm = clip_gradients(model.parameters(), 0.3)
    assert loss.device == norm.device == META
    with pytest.raises(RuntimeError, match="meta"):
        loss.item()


@pytest.fixture(params=[0, 7])
def one_of_eight(request):
    """The first and the last rank, in torch's process group that sends nothing."""
    with one_rank_of(8, request.param) as ranks:
        yield ranks


def test_a_step_of_eight_ranks_exchanges_three_times_and_waits_once(recipe, model, one_of_eight, tmp_path):
    ranks, sent = one_of_eight, exchanged_by_a_step(recipe, model, one_of_eight, tmp_path)
    names, num_bytes = zip(*sent, strict=True)
    assert names == ("allreduce", "allgather_base", "broadcast")
    matrices = sum(matrix.numel() for matrix in make_muon(recipe, model).param_groups[0]["params"])
    assert num_bytes[0] == 4 * (num_parameters(model) + 1)  # gradients and loss
    assert matrices / 8 <= num_bytes[1] / 2 <= 1.1 * matrices / 8  # updates in bfloat16, the longest share of all
    assert num_bytes[2] == 2 * 8  # seconds and stop
    assert len(ranks.waits) == 1


def test_scoring_computes_the_head_on_scored_positions_alone():
    recipe = load_preset("pr150_v21_nano").recipe
    vocab_size, window = recipe.data.vocab_size + 3, recipe.evaluation.window_tokens  # a width no other tensor has
    model = GPT(recipe.model, vocab_size).eval()
    tokens = torch.randint(0, vocab_size, (4 * window,), generator=torch.Generator().manual_seed(0))
    ledger = Ledger(tokens, OneByteEach(), vocab_size, Ranks())
    with Count() as count:
        score(ledger, model, recipe.evaluation, Ranks())
    batch = recipe.evaluation.batch_windows * recipe.evaluation.stride_tokens + window
    assert 0 < max(count.rows_of_width[vocab_size]) <= batch
    assert ledger.close().num_tokens == len(tokens) - 1


def test_the_last_block_is_computed_on_scored_positions_alone():
    recipe = load_preset("pr150_v21_nano").recipe
    evaluation, model = recipe.evaluation, GPT(recipe.model, recipe.data.vocab_size).eval()
    rows = defaultdict(list)
    for layer, block in enumerate(model.blocks):
        block.mlp.fc.register_forward_hook(lambda module, x, y, layer=layer: rows[layer].append(y.shape[:-1].numel()))
    windows = 3 * evaluation.batch_windows
    tokens = torch.zeros(windows * evaluation.stride_tokens + evaluation.window_tokens, dtype=torch.int64)
    score(Ledger(tokens, OneByteEach(), recipe.data.vocab_size, Ranks()), model, evaluation, Ranks())
    *before, last = rows.values()
    whole, scored = (evaluation.batch_windows * n for n in (evaluation.window_tokens, evaluation.stride_tokens))
    assert all(counts[1:3] == [whole] * 2 for counts in before)
    assert last[1:3] == [scored] * 2


def test_scoring_waits_once_for_each_batch_and_for_nothing_else(recipe, model):
    ranks, evaluation = DistantRanks(), recipe.evaluation.model_copy(update={"batch_windows": 2})
    tokens = torch.zeros(2 * 2 * evaluation.stride_tokens + evaluation.window_tokens, dtype=torch.int64)
    ledger = Ledger(tokens, OneByteEach(), recipe.data.vocab_size, ranks)
    score(ledger, model, evaluation, ranks)  # on meta, reading a value raises
    ledger.close()
    assert len(ranks.waits) == 3  # batches of 5 windows


@pytest.mark.parametrize("recipe", ["pr150_v21"], indirect=True)
def test_a_step_of_test_time_training_waits_for_nothing(recipe, model):
    """Uncompiled, with attention as the operators that meta takes for it."""
    optimizer = make_sgd(list(model.parameters()), 0.002, 0.9)
    ids_RT = torch.zeros(2, 256, dtype=torch.int64, device=META)
    with Count() as count:
        _step(partial(model.cross_entropy, reduction="sum"), optimizer, ids_RT, ids_RT, 1.0, Ranks(device=META))
    assert count.kernels.total() <= 2950, count.kernels
