"""What a step launches on an accelerator, counted on torch's meta device (tests/counting.py)."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch

from tests.counting import META, Count, DistantRanks, Exchanges, exchanged_by_a_step, meta_model, one_rank_of
from trainer.data.loader import make_loader
from trainer.nn.gpt import GPT, num_parameters
from trainer.optim.averaging import EMA, SWA
from trainer.optim.muon import Muon
from trainer.optim.optimizers import clip_gradients, make_optimizers
from trainer.ranks import Ranks
from trainer.scoring.ttt import _step
from trainer.spec.load import load_preset
from trainer.stages.adapt import make_sgd
from trainer.stages.train import AT_WARM_UP, accumulate_gradients, update
from trainer.stages.training import Training


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


@pytest.fixture
def on_a_cpu():
    """Parameters with gradients: for meta torch clips in a way of its own."""
    recipe = load_preset("pr1413_nano").recipe
    parameters = list(GPT(recipe.model, recipe.data.vocab_size).parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    return parameters


def test_gradients_are_clipped_together(on_a_cpu):
    with Count() as count:
        clip_gradients(on_a_cpu, 0.3)
    assert count.kernels["_foreach_norm"] == count.kernels["_foreach_mul_"] == 1
    assert count.kernels.total() <= 10, count.kernels


def test_gradients_of_test_time_training_are_clipped_together(on_a_cpu):
    ids_RT, optimizer = torch.zeros(1, 8, dtype=torch.int64), make_sgd(on_a_cpu, 0.002, 0.0)
    with Count() as count:
        _step(lambda ids_RT, targets_RT: sum(p.sum() for p in on_a_cpu), optimizer, ids_RT, ids_RT, 1.0, Ranks())
    assert count.kernels["_foreach_norm"] == count.kernels["_foreach_mul_"] == count.kernels["_foreach_add_"] == 1


def test_a_step_leaves_the_next_batch_on_its_way_as_16_bit_integers(recipe, model):
    ranks, tokens = DistantRanks(), torch.zeros(1_000_000, dtype=torch.uint16).numpy()
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"micro_batches": 1})})
    loader = make_loader(recipe.data, 0, [tokens], ranks, torch.device("cuda"))
    optimizers = make_optimizers(dict(model.blocks[0].named_parameters(prefix="blocks.0")), recipe.optimizer)
    model.zero_grad()
    training = Training(model, optimizers, loader, swa=None, ema=None)
    update(training, recipe, AT_WARM_UP, ranks, lambda model, x_BT, y_BT: model.blocks[0].attn.c_q.weight.sum())
    assert ranks.uploads == 2 * [torch.uint16] * 2  # inputs and targets of two batches
    for ids_BT in loader.next_micro_batch():
        assert (ids_BT.dtype, ids_BT.device) == (torch.int64, META)
    assert len(ranks.uploads) == 4  # they were there


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


@dataclass(frozen=True)
class NotingRanks(DistantRanks):
    """Notes when updates are sent and when they are awaited."""

    def start_gather(self, tensor):
        self.waits.append("sent")
        finish = super().start_gather(tensor)
        return lambda: (self.waits.append("awaited"), finish())[1]


def test_adam_steps_while_the_updates_optimizers_travel(recipe, model, one_of_eight, monkeypatch):
    ranks = NotingRanks(one_of_eight.rank, 8)
    optimizers = make_optimizers(dict(model.named_parameters()), recipe.optimizer, ranks)
    monkeypatch.setattr(optimizers.adam, "step", lambda: ranks.waits.append("adam"))
    optimizers.step(1.0, 0)
    assert ranks.waits == ["sent", "adam", "awaited"]


@pytest.mark.parametrize("recipe", ["pr150_v21"], indirect=True)
def test_a_step_of_test_time_training_sums_all_gradients_at_once(recipe, model, one_of_eight):
    """One of the two ranks has rows, and one has none."""
    optimizer = make_sgd(list(model.parameters()), 0.002, 0.9)
    optimizer.zero_grad()
    ids_RT = torch.zeros(2, 16, dtype=torch.int64, device=META)
    with Exchanges() as exchanges:
        _step(partial(model.cross_entropy, reduction="sum"), optimizer, ids_RT, ids_RT, 1.0, one_of_eight)
    assert exchanges.sent == [("allreduce", 4 * num_parameters(model))]
    assert one_of_eight.waits == []


@pytest.mark.parametrize("recipe", ["pr150_v21"], indirect=True)
def test_a_step_of_test_time_training_waits_for_nothing(recipe, model):
    """Uncompiled, with attention as the operators that meta takes for it."""
    optimizer = make_sgd(list(model.parameters()), 0.002, 0.9)
    ids_RT = torch.zeros(2, 256, dtype=torch.int64, device=META)
    with Count() as count:
        _step(partial(model.cross_entropy, reduction="sum"), optimizer, ids_RT, ids_RT, 1.0, Ranks(device=META))
    assert count.kernels.total() <= 2950, count.kernels
