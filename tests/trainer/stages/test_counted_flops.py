"""Floating point operations of calibration and of each rank's part of an optimiser step, by torch's own counter."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.counting import META, Exchanges, meta_model, one_rank_of
from tests.fakes import HandClock
from trainer.data.shard_files import shard_name
from trainer.data.shards import HEADER_WORDS, MAGIC
from trainer.nn.depth import layer_order
from trainer.optim.optimizers import make_optimizers
from trainer.spec.flops import flops_per_token
from trainer.spec.load import load_preset
from trainer.stages.calibrate import calibration_batches, layer_hessians
from trainer.stages.context import StageContext
from trainer.store.local import StageStore


def flops(work) -> int:
    """Operations of matrix products, a multiply-add counted as two, causal attention as if nothing were masked."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.fixture
def recipe(tmp_path):
    """The preset that calibrates, on text of zeros that is read again and again."""
    header, tokens = np.zeros(HEADER_WORDS, dtype="<i4"), np.zeros(150_000, dtype="<u2")
    header[:3] = MAGIC, 1, len(tokens)
    (tmp_path / shard_name("train", 0)).write_bytes(header.tobytes() + tokens.tobytes())
    return load_preset("pr1413", {"data.folder": str(tmp_path)}).recipe


def batches_of(recipe, ranks, folder) -> list[torch.Tensor]:
    return list(calibration_batches(StageContext(recipe, "run", StageStore(folder), {}, ranks, clock=HandClock())))


def of_grams(model, ids_BT, ranks=None) -> int:
    """Operations of x^T x over the inputs of every layer; on meta, reading a value raises."""
    return flops(lambda: layer_hessians(model, [ids_BT], ranks)) - flops(lambda: model.hidden(ids_BT))


@torch.no_grad()
def test_gram_matrices_of_calibration_are_943_tflop_on_one_rank(recipe):
    model, ids_BT = meta_model(recipe), torch.zeros(48, 2048, dtype=torch.int64, device=META)
    order = layer_order(recipe.model, looped=True)
    num_visits = len(order.encoder) + len(order.decoder)
    inputs = num_visits * (3 * 512**2 + 2048**2) + 512**2  # of c_q, attn.proj, mlp.fc and mlp.proj; of the head
    of_batch = of_grams(model, ids_BT)
    assert of_batch == 2 * ids_BT.numel() * inputs
    assert recipe.quantization.calibration_batches * of_batch == pytest.approx(943e12, rel=0.001)


def of_forward(model, ids_BT) -> float:
    """Operations of the states, of attention what its causal mask leaves, a half."""
    with FlopCounterMode(display=False) as counter:
        model.hidden(ids_BT)
    products = counter.get_flop_counts()["Global"][torch.ops.aten.mm]
    attention = counter.get_total_flops() - products  # meta computes it by `bmm`
    assert attention > 0
    return products + attention / 2


@torch.no_grad()
def test_forwards_of_calibration_are_742_tflop_without_the_head_and_93_on_each_of_eight_ranks(recipe, tmp_path):
    model, ids_BT = meta_model(recipe), torch.zeros(48, 2048, dtype=torch.int64, device=META)
    of_batch, head = of_forward(model, ids_BT), 2 * recipe.model.model_dim * recipe.data.vocab_size
    assert recipe.quantization.calibration_batches * of_batch == pytest.approx(742e12, rel=0.001)
    assert of_batch == (flops_per_token(recipe) - head) * ids_BT.numel()
    with one_rank_of(8, 7) as ranks:
        share = batches_of(recipe, ranks, tmp_path)
    assert sum(of_forward(model, ids_BT) for ids_BT in share) == pytest.approx(93e12, rel=0.003)


@torch.no_grad()
def test_gram_matrices_are_118_tflop_on_each_of_eight_ranks_which_sum_each_matrix_once(recipe, tmp_path):
    model = meta_model(recipe)
    with one_rank_of(8, 7) as ranks, Exchanges() as exchanges:
        batches = batches_of(recipe, ranks, tmp_path)
        assert len(batches) == len(ranks.waits) == 8  # one look at clock and stop before each
        exchanges.sent.clear()
        assert len(batches) * of_grams(model, batches[0], ranks) == pytest.approx(118e12, rel=0.001)
    assert len(ranks.waits) == 8
    sizes = [4 * width**2 for width in 11 * [512, 512, 512, 2048] + [512]]
    assert exchanges.sent == [("allreduce", size) for size in sizes]


@pytest.mark.parametrize(("preset", "largest"), [("pr150_v21", 1.08), ("pr549", 1.09), ("pr1413", 1.09)])
def test_orthogonalisation_of_eight_ranks_is_dealt_evenly_to_a_tenth(preset, largest):
    recipe = load_preset(preset).recipe
    model, of_rank = meta_model(recipe), []
    for parameter in model.parameters():
        parameter.grad = torch.empty_like(parameter)
    for rank in range(8):
        with one_rank_of(8, rank) as ranks:
            muon = make_optimizers(dict(model.named_parameters()), recipe.optimizer, ranks).muon
            of_rank.append(flops(muon.begin_step))
    assert max(of_rank) / (sum(of_rank) / 8) == pytest.approx(largest, abs=0.005)
