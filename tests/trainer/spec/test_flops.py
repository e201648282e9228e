"""MFU: operations by the usual count, against what the GPUs could do."""

import pytest

from trainer.nn.depth import layer_order
from trainer.spec.flops import flops_per_token, mfu
from trainer.spec.load import load_preset


def test_operations_of_a_token_by_hand():
    recipe = load_preset("tiny", {"data.train_seq_len": 64}).recipe
    # 4 layers: queries and output 64 x 64 each, keys and values 64 x 32 each, two MLP matrices 64 x 192; and the head
    matrices = 4 * (2 * 64 * 64 + 2 * 64 * 32 + 2 * 64 * 192)
    attention = 4 * 2 * 64 * 64  # width x positions, halved since attention is causal, in two products
    assert flops_per_token(recipe) == 2 * (matrices + recipe.data.vocab_size * 64) + attention


def test_layers_that_run_again_count_again():
    once = load_preset("tiny", {"model.recur_loops": 0}).recipe
    twice = load_preset("tiny", {"model.recur_loops": 1, "model.recur_first": 1, "model.recur_last": 2}).recipe
    head = 2 * once.data.vocab_size * 64
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
