"""MFU: operations by the usual count, against what the GPUs could do."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer.nn.depth import layer_order
from trainer.nn.gpt import GPT
from trainer.spec.flops import flops_per_token, mfu, scoring_flops
from trainer.spec.load import load_preset
from trainer.spec.recipe import Recipe


def test_operations_of_a_token_by_hand():
    recipe = load_preset("tiny", {"data.train_seq_len": 64}).recipe
    # 4 layers: queries and output 64 x 64 each, keys and values 64 x 32 each, two MLP matrices 64 x 192; and the head
    matrices = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 2 * 64 * 192)
    bigram = 32 * 64  # behind its table, which is narrower than the model
    attention = 4 * 2 * 64 * 64  # width x positions, halved since attention is causal, in two products
    assert flops_per_token(recipe) == 2 * (matrices + bigram + recipe.data.vocab_size * 64) + attention


PRODUCTS, ATTENTION = (torch.ops.aten.mm, torch.ops.aten.addmm), torch.ops.aten.bmm


def counted(work) -> tuple[int, int]:
    """Operations of linear maps, and of the products of attention, which torch counts as if none were masked."""
    with FlopCounterMode(display=False) as counter:
        work()
    counts = counter.get_flop_counts()["Global"]
    assert set(counts) <= {*PRODUCTS, ATTENTION}, counts
    return sum(counts.get(product, 0) for product in PRODUCTS), counts.get(ATTENTION, 0)


def on_meta(preset: str) -> tuple[Recipe, GPT]:
    recipe = load_preset(preset).recipe
    with torch.device("meta"):
        return recipe, GPT(recipe.model, recipe.data.vocab_size)


@pytest.mark.parametrize("preset", ["tiny", "pr549", "pr1413", "pr549_nano", "baseline"])
def test_operations_of_training_are_those_that_torch_counts(preset):
    recipe, model = on_meta(preset)
    ids_BT = torch.zeros(2, recipe.data.train_seq_len, dtype=torch.int64, device="meta")
    products, attention = counted(lambda: model(ids_BT))
    assert flops_per_token(recipe) * ids_BT.numel() == products + attention / 2


@pytest.mark.parametrize("preset", ["tiny", "pr549", "pr1413", "pr549_nano", "baseline"])
def test_operations_of_scoring_are_those_that_torch_counts_on_scored_positions(preset):
    recipe, model = on_meta(preset)
    tokens, dim = recipe.evaluation.window_tokens, recipe.model.model_dim
    for scored in (tokens, tokens // 2, tokens // 8):
        ids_BT = torch.zeros(3, tokens, dtype=torch.int64, device="meta")
        products, attention = counted(lambda: model.logits(model.hidden(ids_BT, tokens - scored)))  # noqa: B023
        of_last = 3 * 4 * dim * scored * tokens
        causal = (attention - of_last) / 2 + of_last * (1 - scored / tokens / 2)
        assert scoring_flops(recipe, 3, scored) == products + causal


def test_layers_that_run_again_count_again():
    once = load_preset("tiny", {"model.recur_loops": 0}).recipe
    twice = load_preset("tiny", {"model.recur_loops": 1, "model.recur_first": 1, "model.recur_last": 2}).recipe
    head = 2 * (once.data.vocab_size * 64 + 32 * 64)  # and the projection of bigrams
    assert flops_per_token(twice) - head == pytest.approx((flops_per_token(once) - head) * 6 / 4)
    assert flops_per_token(twice, looped=False) == flops_per_token(once)
    for looped in (True, False):
        order = layer_order(twice.model, looped)
        assert (flops_per_token(twice, looped) - head) * 4 == pytest.approx(
            (flops_per_token(once) - head) * (len(order.encoder) + len(order.decoder))
        )


def test_mfu_is_per_gpu_and_only_where_the_peak_is_known():
    recipe = load_preset("tiny").recipe
    speed = 8 * 989e12 / (3 * flops_per_token(recipe))  # backward takes twice the forward
    assert mfu(recipe, "NVIDIA H100 80GB HBM3", 8, speed / 2) == pytest.approx(0.5)
    assert mfu(recipe, "NVIDIA H100 PCIe", 8, speed / 2) == pytest.approx(0.5 * 989 / 756)
    assert mfu(recipe, "NVIDIA GeForce GTX 970", 8, speed) is None
    assert mfu(recipe, "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 1, speed) is None


def test_a_training_counts_repeated_layers_for_the_part_of_it_that_repeats_them():
    recipe = load_preset("tiny", {"model.recur_loops": 1, "model.recur_first": 1, "model.recur_last": 2}).recipe
    before, after = (3 * flops_per_token(recipe, looped) for looped in (False, True))
    speed = 989e12 / (0.25 * before + 0.75 * after)
    assert mfu(recipe, "NVIDIA H100", 1, speed, looped_part=0.75) == pytest.approx(1)
